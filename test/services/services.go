// Package services starts the private servers that tests need: Redis, PostgreSQL and an S3 server on
// free loopback ports, each in a folder of its own, and an OpenID provider, stopped when the tests end.
//
// A program that is not on the machine skips the test, or fails it when GATEHOUSE_TEST_REQUIRE is
// "all". One Redis, one PostgreSQL and one S3 server are shared by all tests of a test binary; each test
// gets an empty database or bucket of its own. A test that kills its server starts one with [StartRedis]
// or [StartS3]; so does a program that is no test, inside of [Program].
//
// A package whose tests use the shared servers says so in its TestMain, which stops them and then
// looks for leaked goroutines:
//
//	func TestMain(m *testing.M) { services.Main(m) }
package services

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Main runs the tests of a package, stops the shared servers and fails on a leaked goroutine.
func Main(m *testing.M, ignore ...goleak.Option) { os.Exit(Run(m, ignore...)) }

// Run is Main for a TestMain that has something of its own to tidy up: it returns the exit code.
func Run(m *testing.M, ignore ...goleak.Option) int {
	code := m.Run()
	stopShared()
	if err := goleak.Find(ignore...); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

func stopShared() {
	for _, s := range []*RedisServer{sharedRedis, sharedTLS.server} {
		if s != nil {
			s.Kill()
			_ = os.RemoveAll(s.folder)
		}
	}
	sharedCluster.stop()
	sharedSentinels.stop()
	if sharedPostgres != nil {
		sharedPostgres.Kill()
		_ = os.RemoveAll(filepath.Dir(sharedPostgres.folder))
	}
	if sharedS3 != nil {
		sharedS3.Kill()
		_ = os.RemoveAll(sharedS3.folder)
	}
}

// Child is a started program that dies with this process.
type Child struct {
	command *exec.Cmd
	ended   chan struct{}
}

// Spawn starts command from a thread that lives as long as the program: the kernel sends the
// death signal of Pdeathsig when the starting thread ends, not the process.
func Spawn(command *exec.Cmd) (*Child, error) {
	c := &Child{command: command, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer close(c.ended)
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait()
		}
	}()
	return c, <-started
}

// Signal sends signal to a program that has been started.
func (c *Child) Signal(signal os.Signal) { _ = c.command.Process.Signal(signal) }

// PID is the number of the program's process.
func (c *Child) PID() int { return c.command.Process.Pid }

// Ended is closed once the program has ended.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// Stop sends signal and waits until the program has ended.
func (c *Child) Stop(signal os.Signal) {
	if c == nil || c.command.Process == nil {
		return
	}
	_ = c.command.Process.Signal(signal)
	<-c.ended
}

// ready bounds how long a server may take until it answers.
const ready = 30 * time.Second

// need returns the path of the first of programs that exists, or ends the test.
func need(t Host, programs ...string) string {
	t.Helper()
	for _, p := range programs {
		if found, err := exec.LookPath(p); err == nil {
			return found
		}
		if matches, _ := filepath.Glob(p); len(matches) > 0 {
			sort.Strings(matches)
			return matches[len(matches)-1]
		}
	}
	unavailable(t, "%s is not on this machine", programs[0])
	return ""
}

// unavailable skips the test, or fails it when everything is required.
func unavailable(t Host, format string, args ...any) {
	t.Helper()
	if os.Getenv("GATEHOUSE_TEST_REQUIRE") == "all" {
		t.Fatalf(format+", and GATEHOUSE_TEST_REQUIRE=all asks for it", args...)
	}
	t.Skipf(format, args...)
}

// FreePort returns a loopback port that was free a moment ago.
func FreePort(t Host) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// await calls probe until it succeeds.
func await(t Host, what string, probe func() error) {
	t.Helper()
	deadline := time.Now().Add(ready)
	for {
		err := probe()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
