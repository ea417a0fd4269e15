package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
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

// readSources looks at every folder of the module, once. These tests do not import the program, so
// go test would give a remembered result after a change of it; but what a test has looked at, it watches.
var readSources = sync.OnceValue(func() error {
	return filepath.WalkDir("../..", func(_ string, e fs.DirEntry, err error) error {
		if e != nil && e.IsDir() && len(e.Name()) > 2 && (e.Name()[0] == '.' || e.Name() == "node_modules") {
			return filepath.SkipDir
		}
		return err
	})
})

// build compiles the server, with the race detector when these tests have it.
func build(to string) error {
	args := []string{"build", "-o", to}
	if raceEnabled {
		args = append(args, "-race")
	}
	command := exec.Command("go", append(args, "gatehouse/server")...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return nil
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
