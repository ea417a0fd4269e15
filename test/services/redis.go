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
	"time"
)

// RedisServer is a private redis-server.
type RedisServer struct {
	URL string // redis://127.0.0.1:PORT/0

	program string
	folder  string
	port    int
	bus     int      // where the other nodes of a cluster speak with it
	more    []string // arguments beside those that all have
	dial    func() (net.Conn, error)
	running *Child
}

// StartRedis starts a private server that ends with t. It keeps no data over a restart.
func StartRedis(t Host) *RedisServer {
	t.Helper()
	return endWith(t, startRedis(t, t.TempDir()))
}

// StartDurableRedis starts one that keeps all it has confirmed, also when it is killed.
func StartDurableRedis(t Host) *RedisServer {
	t.Helper()
	return endWith(t, startRedis(t, t.TempDir(), "--appendonly", "yes"))
}

func endWith(t Host, s *RedisServer) *RedisServer {
	t.Cleanup(s.Kill)
	return s
}

func startRedis(t Host, folder string, more ...string) *RedisServer {
	t.Helper()
	s := newRedis(t, folder, more...)
	s.Restart(t)
	return s
}

// newRedis returns a server that is not started yet.
func newRedis(t Host, folder string, more ...string) *RedisServer {
	t.Helper()
	s := &RedisServer{program: need(t, "redis-server"), folder: folder, port: FreePort(t), more: more}
	s.URL = fmt.Sprintf("redis://%s/0", s.Addr())
	s.dial = func() (net.Conn, error) { return net.DialTimeout("tcp", s.Addr(), time.Second) }
	return s
}

// Addr is where the server listens, HOST:PORT.
func (s *RedisServer) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Forget deletes what a killed server has kept.
func (s *RedisServer) Forget() error { return os.RemoveAll(filepath.Join(s.folder, "appendonlydir")) }

// Restart starts the server again on its port and returns once it answers: empty, unless it is durable.
func (s *RedisServer) Restart(t Host) {
	t.Helper()
	command := exec.Command(s.program, append([]string{
		"--port", fmt.Sprint(s.port), "--bind", "127.0.0.1", "--save", "",
		"--appendonly", "no", "--dir", s.folder, "--databases", "1024", "--loglevel", "warning",
	}, s.more...)...)
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
	conn, err := s.dial()
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
func Redis(t Host) string {
	t.Helper()
	need(t, "redis-server")
	sharedRedisOnce.Do(func() { sharedRedis = startRedis(t, sharedFolder(t)) })
	if sharedRedis == nil {
		t.Fatalf("the shared redis-server did not start")
	}
	return emptyDatabase(t, sharedRedis.URL)
}
