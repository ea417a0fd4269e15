package services

import (
	"fmt"
	"go/build"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// s3Module is the S3 server of the tests, as .ci/run installs it.
const s3Module = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"

// Of every private S3 server.
const (
	S3AccessKey = "gatehouse-test-access"
	S3SecretKey = "gatehouse-test-secret-that-nobody-else-has"
)

// S3Server is a private versitygw over a folder.
type S3Server struct {
	Address string // 127.0.0.1:PORT

	program string
	folder  string
	running *Child
}

// Bucket is an empty bucket of a server.
type Bucket struct {
	URL    string // s3://NAME?endpoint=http://127.0.0.1:PORT
	Folder string // where its objects lie as files
}

// StartS3 starts a private server that ends with t. It keeps its buckets over a restart.
func StartS3(t Host) *S3Server {
	t.Helper()
	s := startS3(t, t.TempDir())
	t.Cleanup(s.Kill)
	return s
}

func startS3(t Host, folder string) *S3Server {
	t.Helper()
	s := &S3Server{program: needS3(t), folder: folder, Address: fmt.Sprintf("127.0.0.1:%d", FreePort(t))}
	for _, room := range []string{s.buckets(), s.metadata()} {
		if err := os.Mkdir(room, 0o700); err != nil {
			t.Fatalf("make a folder for versitygw: %v", err)
		}
	}
	s.Restart(t)
	return s
}

func (s *S3Server) buckets() string { return filepath.Join(s.folder, "buckets") }

// metadata lies beside the buckets: not every file system of a test has extended attributes.
func (s *S3Server) metadata() string { return filepath.Join(s.folder, "metadata") }

// Restart starts the server again on its port and returns once it answers.
func (s *S3Server) Restart(t Host) {
	t.Helper()
	command := exec.Command(s.program, "--port", s.Address, "--quiet", "--keep-alive", "posix", "--sidecar", s.metadata(), s.buckets())
	command.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+S3AccessKey, "ROOT_SECRET_KEY="+S3SecretKey)
	command.Dir = s.folder
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if s.running, err = Spawn(command); err != nil {
		t.Fatalf("start versitygw: %v", err)
	}
	await(t, "versitygw", s.answers)
}

// Kill ends the server at once, as kill -9 does.
func (s *S3Server) Kill() { s.running.Stop(syscall.SIGKILL) }

// Pause stops the server's process without closing its connections.
func (s *S3Server) Pause() { s.running.Signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *S3Server) Resume() { s.running.Signal(syscall.SIGCONT) }

// answers asks without keys: any answer will do.
func (s *S3Server) answers() error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + s.Address + "/")
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

var buckets atomic.Int64

// Bucket makes an empty bucket: a folder of the server's is one.
func (s *S3Server) Bucket(t Host) Bucket {
	t.Helper()
	name := fmt.Sprintf("bucket-%d", buckets.Add(1))
	folder := filepath.Join(s.buckets(), name)
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatalf("make a folder for versitygw: %v", err)
	}
	return Bucket{URL: fmt.Sprintf("s3://%s?endpoint=http://%s", name, s.Address), Folder: folder}
}

var (
	sharedS3     *S3Server
	sharedS3Once sync.Once
)

// S3 returns an empty bucket on the server that the tests of this binary share.
func S3(t Host) Bucket {
	t.Helper()
	needS3(t)
	sharedS3Once.Do(func() {
		folder, err := os.MkdirTemp("", "gatehouse-s3-")
		if err != nil {
			t.Fatalf("make a folder for versitygw: %v", err)
		}
		sharedS3 = startS3(t, folder)
	})
	if sharedS3 == nil {
		t.Fatalf("the shared versitygw did not start")
	}
	return sharedS3.Bucket(t)
}

// needS3 returns the path of versitygw: on the path, or where go install has put it. Who must not skip a test
// builds it, once for all packages, which takes minutes.
func needS3(t Host) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		unavailable(t, "there is no folder to keep versitygw in: %v", err)
	}
	kept := filepath.Join(cache, "gatehouse-test", "versitygw-v1.8.0")
	program := filepath.Join(kept, "versitygw")
	for _, p := range []string{"versitygw", filepath.Join(build.Default.GOPATH, "bin", "versitygw"), program} {
		if found, err := exec.LookPath(p); err == nil {
			return found
		}
	}
	if os.Getenv("GATEHOUSE_TEST_REQUIRE") != "all" {
		t.Skipf("versitygw is not on this machine; go install %s brings it", s3Module)
	}
	installS3(t, kept, program)
	return program
}

func installS3(t Host, folder, program string) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatalf("make a folder for versitygw: %v", err)
	}
	lock, err := os.Open(folder)
	if err != nil {
		t.Fatalf("make a folder for versitygw: %v", err)
	}
	defer lock.Close() // and so unlocks
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatalf("lock %s: %v", folder, err)
	}
	if _, err := os.Stat(program); err == nil { // another package was first
		return
	}
	install := exec.CommandContext(t.Context(), "go", "install", s3Module)
	install.Env, install.Dir = append(os.Environ(), "GOBIN="+folder, "GOFLAGS="), folder
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("go install %s: %v\n%s", s3Module, err, out)
	}
}
