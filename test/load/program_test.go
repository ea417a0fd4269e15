//go:build linux

package load

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// readyWithin bounds how long a program may take until it says that it listens.
const readyWithin = 30 * time.Second

// anyCore leaves a program on all cores.
const anyCore = -1

// program is a started server: Gatehouse or a peer.
type program struct {
	addr   string // host:port
	debug  string // host:port of the profiles, of Gatehouse
	token  string // a bearer token that a peer accepts
	notes  string // what a peer says of itself
	took   time.Duration
	cmd    *exec.Cmd
	ended  chan struct{}
	output *tail
}

// build compiles the package pkg of the module at folder.
func build(t testing.TB, folder, target, pkg string, flags ...string) {
	t.Helper()
	command := exec.Command("go", append(append([]string{"build", "-o", target}, flags...), pkg)...)
	command.Dir = folder
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}

// gatehouse starts the server on data with flags of its own.
func (b *bench) gatehouse(t testing.TB, core int, data string, flags ...string) *program {
	t.Helper()
	flags = append([]string{"--addr=127.0.0.1:0", "--data=" + data}, flags...)
	if os.Getenv("GATEHOUSE_LOAD_PROFILES") != "" && !slices.Contains(flags, "--debug-addr=127.0.0.1:0") {
		flags = append(flags, "--debug-addr=127.0.0.1:0")
	}
	return start(t, core, b.program, flags...)
}

// profile takes a CPU profile of what the program does in the coming time span, when profiles are
// wanted, and returns a function that waits for it.
func (p *program) profile(t testing.TB, span time.Duration) (done func()) {
	if os.Getenv("GATEHOUSE_LOAD_PROFILES") == "" || p.debug == "" {
		return func() {}
	}
	var taking sync.WaitGroup
	taking.Go(func() { p.snapshot(t, fmt.Sprintf("profile?seconds=%d", max(1, int(span.Seconds())))) })
	return taking.Wait
}

// snapshot asks the program, which has --debug-addr, for a profile and keeps it in the folder
// GATEHOUSE_LOAD_PROFILES, when that is set.
func (p *program) snapshot(t testing.TB, what string) {
	t.Helper()
	answer, err := http.Get("http://" + p.debug + "/debug/pprof/" + what)
	if err != nil {
		t.Errorf("take a profile: %v", err)
		return
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Errorf("take a profile: %v", err)
		return
	}
	if folder := os.Getenv("GATEHOUSE_LOAD_PROFILES"); folder != "" {
		what, _, _ = strings.Cut(what, "?")
		name := strings.ReplaceAll(t.Name()+"-"+what, "/", "-") + ".pprof"
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			t.Errorf("keep a profile: %v", err)
		}
	}
}

var (
	readyLine = regexp.MustCompile(`(?:graphql=|health=|listening at )http://([0-9.:]+)`)
	debugLine = regexp.MustCompile(`msg=profiles url=http://([0-9.:]+)`)
	tokenLine = regexp.MustCompile(`^token (\S+)`)
	notesLine = regexp.MustCompile(`^peer (.+)`)
)

// start runs a program on one core, or on any, and returns once it says that it listens. The program
// ends with the test at the latest.
func start(t testing.TB, core int, name string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(name, args...), ended: make(chan struct{}), output: new(tail)}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = writer, writer
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Env = append(os.Environ(), "GATEHOUSE_LOAD=", "GATEHOUSE_LOAD_TABLE=")
	p.cmd.Env = settingsRemoved(p.cmd.Env)
	if core != anyCore {
		p.cmd.Env = append(p.cmd.Env, "GOMAXPROCS=1")
	}
	began := time.Now()
	if err := p.spawn(core); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	_ = writer.Close()
	t.Cleanup(p.kill)
	ready := make(chan struct{})
	go p.listen(reader, ready)
	select {
	case <-ready:
		p.took = time.Since(began)
	case <-p.ended:
		t.Fatalf("%s ended at once:\n%s", filepath.Base(name), p.output)
	case <-time.After(readyWithin):
		t.Fatalf("%s does not say that it listens:\n%s", filepath.Base(name), p.output)
	}
	return p
}

// settingsRemoved keeps what the caller's environment says to Gatehouse away from the servers.
func settingsRemoved(environ []string) []string {
	var kept []string
	for _, entry := range environ {
		if !strings.HasPrefix(entry, "GATEHOUSE_") {
			kept = append(kept, entry)
		}
	}
	return kept
}

// spawn starts the program from a thread that is bound to core, which the program inherits, and that
// lives as long as it does: the kernel sends the death signal when the starting thread ends.
func (p *program) spawn(core int) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		defer close(p.ended)
		var err error
		if core != anyCore {
			err = bind(0, core)
		} else {
			err = unbind(0)
		}
		if err == nil {
			err = p.cmd.Start()
		}
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
		}
	}()
	return <-started
}

// listen reads what the program says until it ends.
func (p *program) listen(from io.ReadCloser, ready chan<- struct{}) {
	defer from.Close()
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		p.output.add(line)
		for pattern, into := range map[*regexp.Regexp]*string{debugLine: &p.debug, tokenLine: &p.token, notesLine: &p.notes} {
			if found := pattern.FindStringSubmatch(line); found != nil && p.addr == "" {
				*into = found[1]
			}
		}
		if found := readyLine.FindStringSubmatch(line); found != nil && p.addr == "" {
			p.addr = found[1]
			close(ready)
		}
	}
}

// kill ends the program at once, as kill -9 does, and waits for its end.
func (p *program) kill() { p.end(syscall.SIGKILL) }

// stop ends the program as an operator does.
func (p *program) stop() { p.end(syscall.SIGTERM) }

func (p *program) end(signal syscall.Signal) {
	_ = p.cmd.Process.Signal(signal)
	<-p.ended
}

// pause and resume stop the process without ending it, so that it costs nothing while others are
// measured.
func (p *program) pause()  { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *program) resume() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// tail is the last lines that a program wrote.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (o *tail) add(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lines = append(o.lines, line); len(o.lines) > 50 {
		o.lines = o.lines[1:]
	}
}

func (o *tail) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.lines, "\n")
}

// cpu returns the CPU time that the process has used, user and kernel together, all threads.
func (p *program) cpu(t testing.TB) time.Duration {
	t.Helper()
	clock := ^p.cmd.Process.Pid<<3 | 2 // CPUCLOCK_SCHED of the process, see clock_getcpuclockid(3)
	var spent syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&spent)), 0)
	if errno != 0 {
		t.Fatalf("read the CPU clock of a process: %v", errno)
	}
	return time.Duration(spent.Nano())
}

// resident returns the memory of the process in bytes: now, and the most since the last forgetPeak.
func (p *program) resident(t testing.TB) (now, peak int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes(string(status), "VmRSS:"), kilobytes(string(status), "VmHWM:")
}

// forgetPeak begins a new peak.
func (p *program) forgetPeak() {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

func kilobytes(status, field string) int64 {
	_, rest, _ := strings.Cut(status, field)
	n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return n << 10
}

const mebibyte = 1 << 20

// alone gives this process, which is the client, the last core and one processor of the Go runtime,
// until the function that it returns is called. On a machine with one core it changes nothing.
func alone(t testing.TB) (back func()) {
	t.Helper()
	if runtime.NumCPU() < 2 {
		return func() {}
	}
	eachThread(t, func(thread int) error { return bind(thread, runtime.NumCPU()-1) })
	before := runtime.GOMAXPROCS(1)
	return func() {
		runtime.GOMAXPROCS(before)
		eachThread(t, unbind)
	}
}

func eachThread(t testing.TB, do func(thread int) error) {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range threads {
		thread, _ := strconv.Atoi(entry.Name())
		if err := do(thread); err != nil && err != syscall.ESRCH {
			t.Fatalf("bind a thread to a core: %v", err)
		}
	}
}

// bind lets a thread, 0 for the calling one, run on one core only.
func bind(thread, core int) error { return affinity(thread, 1<<core) }

// unbind lets it run on all of at most 64.
func unbind(thread int) error { return affinity(thread, 1<<runtime.NumCPU()-1) }

func affinity(thread int, cores uint64) error {
	_, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, uintptr(thread), 8, uintptr(unsafe.Pointer(&cores)))
	if errno != 0 {
		return errno
	}
	return nil
}
