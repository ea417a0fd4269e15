package services

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// RedisServer is a private redis-server.
type RedisServer struct {
	URL string // redis://127.0.0.1:PORT/0

	program string
	folder  string
	port    int
	keeps   bool // its data, over a restart
	running *Child
}

// StartRedis starts a private server that ends with t. It keeps no data over a restart.
func StartRedis(t Host) *RedisServer {
	t.Helper()
	s := startRedis(t, t.TempDir())
	t.Cleanup(s.Kill)
	return s
}

// StartLastingRedis is StartRedis for a server that keeps over a restart what it has answered for, even when it
// was killed.
func StartLastingRedis(t Host) *RedisServer {
	t.Helper()
	s := newRedis(t, t.TempDir())
	s.keeps = true
	s.Restart(t)
	t.Cleanup(s.Kill)
	return s
}

func startRedis(t Host, folder string) *RedisServer {
	t.Helper()
	s := newRedis(t, folder)
	s.Restart(t)
	return s
}

func newRedis(t Host, folder string) *RedisServer {
	t.Helper()
	s := &RedisServer{program: need(t, "redis-server"), folder: folder, port: FreePort(t)}
	s.URL = fmt.Sprintf("redis://127.0.0.1:%d/0", s.port)
	return s
}

// Addr is where the server listens, HOST:PORT.
func (s *RedisServer) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Forget deletes what a killed server has kept.
func (s *RedisServer) Forget() error { return os.RemoveAll(filepath.Join(s.folder, "appendonlydir")) }

// Restart starts the server again on its port and returns once it answers: empty, unless it lasts.
func (s *RedisServer) Restart(t Host) {
	t.Helper()
	command := exec.Command(s.program, "--port", fmt.Sprint(s.port), "--bind", "127.0.0.1", "--save", "",
		"--appendonly", map[bool]string{false: "no", true: "yes"}[s.keeps], "--dir", s.folder, "--databases", "1024", "--loglevel", "warning")
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if s.running, err = Spawn(command); err != nil {
		t.Fatalf("start redis-server: %v", err)
	}
	await(t, "redis-server", s.ping)
}

// Kill ends the server at once, as kill -9 does.
func (s *RedisServer) Kill() { s.running.Stop(syscall.SIGKILL) }

// Pause stops the server's process without closing its connections.
func (s *RedisServer) Pause() { _ = s.running.command.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *RedisServer) Resume() { _ = s.running.command.Process.Signal(syscall.SIGCONT) }

func (s *RedisServer) ping() error {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer := make([]byte, 7)
	if _, err := conn.Read(answer); err != nil {
		return err
	}
	if !strings.HasPrefix(string(answer), "+PONG") {
		return fmt.Errorf("PING was answered %q", answer)
	}
	return nil
}

var (
	sharedRedis     *RedisServer
	sharedRedisOnce sync.Once
	redisDatabases  atomic.Int64
)

// Redis returns the URL of an empty database on the Redis that the tests of this binary share.
// Publish and subscribe know no databases: tests that use them name their channels apart.
func Redis(t testing.TB) string {
	t.Helper()
	need(t, "redis-server")
	sharedRedisOnce.Do(func() {
		folder, err := os.MkdirTemp("", "gatehouse-redis-")
		if err != nil {
			t.Fatalf("make a folder for redis-server: %v", err)
		}
		sharedRedis = startRedis(t, folder)
	})
	if sharedRedis == nil {
		t.Fatalf("the shared redis-server did not start")
	}
	n := redisDatabases.Add(1)
	if n >= 1024 {
		t.Fatalf("more than 1023 tests asked for a Redis database")
	}
	return strings.TrimSuffix(sharedRedis.URL, "/0") + fmt.Sprintf("/%d", n)
}
