// Package load measures the built server as its clients see it, beside its peers and in one run.
//
// The measurements are tests that do nothing unless GATEHOUSE_LOAD says "full" or "quick":
//
//	test/peers/run.sh --quick                                      # everything, one table
//	GATEHOUSE_LOAD=quick go test -v -count=1 -run Bars/login ./test/load
//
// # What is compared
//
// Ratios inside one run, never figures of different runs. Rounds of the programs under comparison
// take turns, and the middle round counts, so that a noisy neighbour meets all of them alike. Where
// cores are compared, the server has one core to itself and the client the other.
//
// # Bounds
//
// Linux only. Everything listens on free loopback ports and ends with the test. The client is our own:
// a goroutine a connection that writes a prepared request and reads the answer without allocating.
// A full run takes about six minutes, a quick one about two.
package load
