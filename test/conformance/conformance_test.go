package conformance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheServerServesTheClientsThatPeopleUse(t *testing.T) {
	ctx := bounded(t)
	need(t, "node", "npm")
	install(ctx, t, ".")
	report := node(ctx, t, ".", "run.mjs", "BASE_URL="+startServer(ctx, t))
	_, summary, _ := strings.Cut(report, "\nℹ tests ")
	t.Logf("tests %s", summary)
}

func TestABrowserGoesThroughTheExplorerFromAnAccountToAFinishedJob(t *testing.T) {
	ctx := bounded(t)
	browse(ctx, t, "explorer.mjs", "BASE_URL="+startServer(ctx, t))
}

func TestTheExplorerSaysTheTruthAboutItsSessionWhateverBecomesOfIt(t *testing.T) {
	ctx := bounded(t)
	i := prepare(ctx, t)
	const email, password = "root@example.com", "violet-kettle-orbit-28"
	i.admin(ctx, t, email, password)
	browse(ctx, t, "session.mjs", "BASE_URL="+i.start(ctx, t), "ADMIN_EMAIL="+email, "ADMIN_PASSWORD="+password)
}

func TestABrowserSignsInWithItsPasskeys(t *testing.T) {
	ctx := bounded(t)
	url := strings.Replace(startServer(ctx, t), "127.0.0.1", "localhost", 1) // an IP address has no passkeys
	browse(ctx, t, "passkey.mjs", "BASE_URL="+url)
}

func TestEveryPageOfALinkSpeaksItsAccountsLanguageOnAPhone(t *testing.T) {
	ctx := bounded(t)
	i := prepare(ctx, t)
	browse(ctx, t, "links.mjs", "BASE_URL="+i.start(ctx, t), "OUTBOX="+filepath.Join(i.data(), "outbox"))
}

// tidyUp is left of the tests' deadline for ending what they have started.
const tidyUp = 20 * time.Second

// bounded returns a context that ends with the test, or a little before the deadline of all tests. It
// also looks at every source file, so that go test does not take the result of another server for this one's.
func bounded(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server and its clients")
	}
	lookAtSources(t, "../..")
	deadline, ok := t.Deadline()
	if !ok {
		return t.Context()
	}
	ctx, cancel := context.WithDeadline(t.Context(), deadline.Add(-tidyUp))
	t.Cleanup(cancel)
	return ctx
}

// lookAtSources lists every folder of the module: go test remembers the folders that a test has listed,
// with the sizes and times of their files, and runs the test again when one has changed.
func lookAtSources(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		hidden := strings.HasPrefix(entry.Name(), ".") && path != root
		if err == nil && entry.IsDir() && (hidden || entry.Name() == "node_modules" || entry.Name() == "data") {
			return filepath.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatalf("list the sources: %v", err)
	}
}

// need returns the path of the first program and checks that the others are there too, or ends the test.
func need(t *testing.T, programs ...string) string {
	t.Helper()
	var first string
	for _, program := range programs {
		path, err := exec.LookPath(program)
		if err != nil {
			missing(t, "%s is not on this machine", program)
		}
		if first == "" {
			first = path
		}
	}
	return first
}

// missing skips the test, or fails it when everything is required.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("GATEHOUSE_TEST_REQUIRE") == "all" {
		t.Fatalf(format+", and GATEHOUSE_TEST_REQUIRE=all asks for it", args...)
	}
	t.Skipf(format, args...)
}

// install brings the packages of folder to the state of its lock file, unless they are.
func install(ctx context.Context, t *testing.T, folder string) {
	t.Helper()
	lock, err := os.ReadFile(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	installed := filepath.Join(folder, "node_modules", ".gatehouse-lock")
	if last, err := os.ReadFile(installed); err == nil && string(last) == hex.EncodeToString(sum[:]) {
		return
	}
	npm := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund")
	npm.Dir = folder
	if out, err := npm.CombinedOutput(); err != nil {
		missing(t, "what npm ci installs in %s (%v) is not on this machine:\n%s", folder, err, out)
	}
	if err := os.WriteFile(installed, []byte(hex.EncodeToString(sum[:])), 0o644); err != nil {
		t.Fatal(err)
	}
}

// node runs a script in folder with more in its environment, and returns what it wrote.
func node(ctx context.Context, t *testing.T, folder, script string, environment ...string) string {
	t.Helper()
	command := exec.CommandContext(ctx, "node", script)
	command.Dir, command.Env = folder, append(os.Environ(), environment...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = tidyUp / 2
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// browse runs a script that drives a browser, and shows what it wrote.
func browse(ctx context.Context, t *testing.T, script string, environment ...string) {
	t.Helper()
	need(t, "node", "npm")
	chromium := os.Getenv("CHROMIUM")
	if chromium == "" {
		chromium = need(t, "chromium")
	}
	install(ctx, t, "../browser")
	t.Log(node(ctx, t, "../browser", script, append(environment, "CHROMIUM="+chromium)...))
}

// readyLine finds the server's address in its log.
var readyLine = regexp.MustCompile(`graphql=(http://[^/\s]+)/graphql`)

// installation is a program with a folder to work in.
type installation struct{ program, folder string }

// prepare builds the server for an embedded start with nothing in its data folder.
func prepare(ctx context.Context, t *testing.T) installation {
	t.Helper()
	folder := t.TempDir()
	return installation{build(ctx, t, folder), folder}
}

func (i installation) data() string { return filepath.Join(i.folder, "data") }

// admin makes an administrator before the server starts.
func (i installation) admin(ctx context.Context, t *testing.T, email, password string) {
	t.Helper()
	create := exec.CommandContext(ctx, i.program, "admin", "create", "--email", email, "--data", i.data())
	create.Dir, create.Env, create.Stdin = i.folder, withoutSettings(os.Environ()), strings.NewReader(password+"\n")
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("admin create: %v\n%s", err, out)
	}
}

func startServer(ctx context.Context, t *testing.T) (address string) {
	t.Helper()
	return prepare(ctx, t).start(ctx, t)
}

// start starts the server with more flags and returns its address. It is stopped with t, must then end
// well, and shows its log when t has failed.
func (i installation) start(ctx context.Context, t *testing.T, flags ...string) (address string) {
	t.Helper()
	log := newJournal()
	flags = append([]string{"serve", "--addr", "127.0.0.1:0", "--data", i.data()}, flags...)
	server := exec.CommandContext(context.WithoutCancel(ctx), i.program, flags...)
	server.Dir, server.Env, server.Stderr = i.folder, withoutSettings(os.Environ()), log
	if err := server.Start(); err != nil {
		t.Fatalf("start the server: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM) // once, since a second signal ends it without goodbye; it may have ended
		if err := <-ended; err != nil && server.ProcessState.ExitCode() != 0 {
			t.Errorf("the server ended: %v", err)
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", log)
		}
	})
	select {
	case address = <-log.address:
		return address
	case err := <-ended:
		ended <- err
		t.Fatalf("the server ended before it was ready: %v", err)
	case <-ctx.Done():
		t.Fatal("the server did not become ready in time")
	}
	return ""
}

func build(ctx context.Context, t *testing.T, folder string) string {
	t.Helper()
	if given := os.Getenv("GATEHOUSE_TEST_BINARY"); given != "" {
		given, err := filepath.Abs(given)
		if err != nil {
			t.Fatal(err)
		}
		return given
	}
	program := filepath.Join(folder, "gatehouse")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "gatehouse/server").CombinedOutput(); err != nil {
		t.Fatalf("build the server: %v\n%s", err, out)
	}
	return program
}

// withoutSettings leaves out what would set up the server another way than its defaults.
func withoutSettings(environ []string) []string {
	var kept []string
	for _, entry := range environ {
		if !strings.HasPrefix(entry, "GATEHOUSE_") {
			kept = append(kept, entry)
		}
	}
	return kept
}
