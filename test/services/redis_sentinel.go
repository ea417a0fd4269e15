package services

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// masterName is what the Sentinels call the Redis that they watch.
const masterName = "gatehouse"

// RedisSentinels are a private Redis with a replica, and three Sentinels that watch over them.
type RedisSentinels struct {
	URL string // the addresses of the Sentinels, as --redis-url takes them

	folder    string
	master    *RedisServer
	replica   *RedisServer
	sentinels []*Child
}

// StartRedisSentinels starts them. They end with t.
func StartRedisSentinels(t Host) *RedisSentinels {
	t.Helper()
	s := startSentinels(t, t.TempDir())
	t.Cleanup(s.stop)
	return s
}

func startSentinels(t Host, folder string) *RedisSentinels {
	t.Helper()
	s := &RedisSentinels{folder: folder}
	s.master = s.startRedis(t, "master")
	s.replica = s.startRedis(t, "replica", "--replicaof", "127.0.0.1 "+fmt.Sprint(s.master.port))
	await(t, "the replica", func() error { return s.replica.follows(t.Context()) })
	var watchers []*RedisServer
	var urls []string
	for range 3 {
		w := s.startSentinel(t)
		watchers = append(watchers, w)
		urls = append(urls, w.URL+"?master_name="+masterName)
	}
	s.URL = strings.Join(urls, ",")
	for _, w := range watchers {
		await(t, "the sentinels", func() error { return s.agree(t, w) })
	}
	return s
}

func (s *RedisSentinels) startRedis(t Host, name string, more ...string) *RedisServer {
	t.Helper()
	folder := filepath.Join(s.folder, name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatalf("%v", err)
	}
	return startRedis(t, folder, append(more, "--repl-diskless-sync-delay", "0")...)
}

// startSentinel starts a Sentinel that thinks a Redis dead after a second, and votes again two seconds after a
// vote without a winner. It writes its file.
func (s *RedisSentinels) startSentinel(t Host) *RedisServer {
	t.Helper()
	w := newRedis(t, s.folder)
	file := filepath.Join(s.folder, fmt.Sprintf("sentinel%d.conf", len(s.sentinels)))
	settings := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor %s 127.0.0.1 %d 2\n"+
		"sentinel down-after-milliseconds %s 1000\nsentinel failover-timeout %s 1000\n",
		w.port, s.folder, masterName, s.master.port, masterName, masterName)
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	command := exec.Command(w.program, file, "--sentinel", "--loglevel", "warning")
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	running, err := Spawn(command)
	if err != nil {
		t.Fatalf("start a sentinel: %v", err)
	}
	s.sentinels = append(s.sentinels, running)
	await(t, "the sentinel", w.ping)
	// They look for each other every two seconds; five times a second makes the start short.
	w.must(t, "sentinel", "debug", "info-period", 200, "publish-period", 200, "ping-period", 200)
	return w
}

// agree returns nil once a Sentinel knows of the two others and of the replica.
func (s *RedisSentinels) agree(t Host, w *RedisServer) error {
	said := fmt.Sprint(w.must(t, "sentinel", "master", masterName))
	for _, part := range []string{"num-slaves:1", "num-other-sentinels:2"} {
		if !strings.Contains(said, part) {
			return fmt.Errorf("%s is missing in %s", part, said)
		}
	}
	return nil
}

// KillMaster kills the Redis that is written to. The replica takes over after a second or two.
func (s *RedisSentinels) KillMaster() { s.master.Kill() }

func (s *RedisSentinels) stop() {
	if s == nil {
		return
	}
	for _, sentinel := range s.sentinels {
		sentinel.Stop(syscall.SIGKILL)
	}
	s.replica.Kill()
	s.master.Kill()
	_ = os.RemoveAll(s.folder)
}
