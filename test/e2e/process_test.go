package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse/test/services"
)

// process is one run of the binary that has said that it is ready.
type process struct {
	t       testing.TB
	url     string // http://127.0.0.1:PORT
	command *exec.Cmd
	log     *journal
	ended   chan struct{} // closed when it has
	began   time.Time
}

// readyLine finds the address in the line that says that a process is ready.
var readyLine = regexp.MustCompile(`msg="Gatehouse (?:is ready" graphql|works" health)=(http://[^/]+)/`)

// tryStart runs the binary and returns once it is ready, or an error with what it wrote.
func tryStart(t testing.TB, c *command) (*process, error) {
	t.Helper()
	p := &process{t: t, command: c.cmd(), log: newJournal(), ended: make(chan struct{}), began: time.Now()}
	p.command.Stdout, p.command.Stderr = p.log, p.log
	if err := spawn(p.command, p.ended); err != nil {
		return nil, err
	}
	found := p.log.await(readyLine, p.ended, patience)
	if found == nil {
		p.kill()
		return nil, fmt.Errorf("%s did not get ready:\n%s", strings.Join(c.args, " "), p.log)
	}
	p.url = found[1]
	return p, nil
}

// start is tryStart for a process that must get ready. It is stopped with t, and shows its log when t failed.
func start(t testing.TB, c *command) *process {
	t.Helper()
	p, err := tryStart(t, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("log of %s at %s:\n%s", c.args[0], p.url, p.log.tail(200))
		}
	})
	return p
}

// spawn starts command so that it dies with these tests: the kernel sends the death signal when the
// starting thread ends, so a thread waits with it.
func spawn(command *exec.Cmd, ended chan<- struct{}) error {
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer close(ended)
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait() // the state tells how it ended
		}
	}()
	return <-started
}

func (p *process) signal(s syscall.Signal) { _ = p.command.Process.Signal(s) }

// kill ends the process as a power cut does.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// stopTimeout bounds a clean stop: the time for streams, then that for jobs, and a little.
const stopTimeout = 40 * time.Second

// stop asks the process to end, waits until it has and returns its exit code.
func (p *process) stop() int {
	p.signal(syscall.SIGTERM)
	return p.wait()
}

// wait waits until a process that was asked to end has, and returns its exit code. A second signal
// would end it at once.
func (p *process) wait() int {
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		p.t.Errorf("%s did not end within %v", p.url, stopTimeout)
		p.signal(syscall.SIGQUIT) // shows its goroutines in the log
		<-p.ended
	}
	return p.command.ProcessState.ExitCode()
}

// alive reports whether the process still runs.
func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// command is how the binary is called.
type command struct {
	args  []string // the subcommand first
	env   []string // NAME=value, added to a clean environment
	dir   string   // where it runs, so that no .env of ours is read; "": a fresh folder
	stdin string
	as    *syscall.Credential // nil: whoever runs the tests
	t     testing.TB
}

func newCommand(t testing.TB, args ...string) *command {
	if err := services.ReadSources(); err != nil {
		t.Fatal(err)
	}
	return &command{t: t, args: args}
}

func (c *command) cmd() *exec.Cmd {
	cmd := exec.Command(binary, c.args...)
	cmd.Env = append(services.CleanEnvironment(), c.env...)
	if cmd.Dir = c.dir; cmd.Dir == "" {
		cmd.Dir = c.t.TempDir()
	}
	cmd.Stdin = strings.NewReader(c.stdin)
	if c.as != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.as}
		cmd.Dir = "/"
	}
	return cmd
}

// run runs the command to its end and returns what it wrote and its exit code.
func (c *command) run() (string, int) {
	c.t.Helper()
	cmd := c.cmd()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	ended := make(chan struct{})
	if err := spawn(cmd, ended); err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		<-ended
		c.t.Fatalf("%q did not end within %v:\n%s", c.args, patience, &out)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// must is run for a command that must succeed.
func (c *command) must() string {
	c.t.Helper()
	out, code := c.run()
	if code != 0 {
		c.t.Fatalf("%q ended with %d:\n%s", c.args, code, out)
	}
	return out
}

// freeAddr returns a loopback address that was free a moment ago.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// journal keeps what a process writes.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and replaced at each write
}

func newJournal() *journal { return &journal{more: make(chan struct{})} }

// Write implements io.Writer.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.more)
	j.more = make(chan struct{})
	return j.text.Write(p)
}

// String returns all that was written.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// tail returns the last lines.
func (j *journal) tail(lines int) string {
	all := strings.Split(strings.TrimSpace(j.String()), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// await returns the first match of pattern, nil when the process has ended or the time is over.
func (j *journal) await(pattern *regexp.Regexp, ended <-chan struct{}, within time.Duration) []string {
	deadline := time.After(within)
	for {
		j.mu.Lock()
		found, more := pattern.FindStringSubmatch(j.text.String()), j.more
		j.mu.Unlock()
		if found != nil {
			return found
		}
		select {
		case <-more:
		case <-ended:
			return nil
		case <-deadline:
			return nil
		}
	}
}
