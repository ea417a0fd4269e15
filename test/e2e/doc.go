// Package e2e tests the real binary from outside: over HTTP, WebSocket and server-sent events, with
// real PostgreSQL and Redis, real signals and a real disk that is full.
//
// # Forms
//
// A [deployment] is one of two forms: embedded, one process on SQLite; or distributed, two servers
// without workers and two workers on one PostgreSQL and one Redis. [eachForm] runs a test on both.
// The tests of failures take the second form apart: they kill, pause and restart its pieces.
//
// # What every test checks
//
// A client writes down every secret that it sends or is given: passwords, tokens, codes, ids of challenges,
// keys, addresses and numbers; so do the mailbox and the identity provider of the tests. When a test ends,
// its processes are stopped and their logs, the data folder, all tables and all keys of Redis are searched
// for them; one that stands there in clear fails the test. A log that tells of a panic or of a data race
// does too.
//
// # Running
//
//	go test ./test/e2e/          # a minute and a half on two cores
//	go test -race ./test/e2e/    # the binary is built with the race detector as well: four minutes
//	GATEHOUSE_TEST_LONG=1 go test -run Long -v ./test/e2e/
//	GATEHOUSE_TEST_BINARY=/usr/bin/gatehouse go test ./test/e2e/
//
// Without PostgreSQL or Redis on the machine the distributed form is skipped, unless
// GATEHOUSE_TEST_REQUIRE is "all". Some tests need root, for a file system of their own.
package e2e
