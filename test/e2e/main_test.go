package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/test/services"
)

// binary is the path of the program under test. TestMain builds it once, unless GATEHOUSE_TEST_BINARY
// names one, such as that of a release.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "gatehouse-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	if err := os.Chmod(folder, 0o755); err != nil { // one test runs the program as another user
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if binary = os.Getenv("GATEHOUSE_TEST_BINARY"); binary == "" {
		binary = filepath.Join(folder, "gatehouse")
		if err := build(binary); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return services.Run(m)
}

// build compiles the server, with the race detector when these tests have it.
func build(to string) error {
	if raceEnabled {
		return services.BuildServer(to, "-race")
	}
	return services.BuildServer(to)
}

// patience bounds every wait that should succeed; a test that needs a shorter one says so.
const patience = 30 * time.Second

// until calls done every few milliseconds until it is true, and fails t after within.
func until(t testing.TB, within time.Duration, what string, done func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("after %v: %s", within, what)
		case <-tick.C:
		}
	}
	return time.Since(began)
}

// pause lets d pass: for load that has to go on for a while, never to wait for an event.
func pause(d time.Duration) { <-time.After(d) }
