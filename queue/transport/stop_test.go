package transport

import (
	"context"
	"testing"
	"time"

	"gatehouse/test/services"

	"github.com/gocraft/work"
	"github.com/redis/go-redis/v9"
)

func TestStopReturnsOnceTheBellIsClosed(t *testing.T) {
	forms(t, func(t *testing.T, w *Wire) {
		started, release := make(chan struct{}), make(chan struct{})
		pool := workers(t, w, 10, func(*work.Job) { started <- struct{}{}; <-release }, "lane")
		push(t, w, "lane", "1", "2", "3")
		for range 3 {
			receive(t, started, "a handler starts")
		}
		awaitIdle(t, w, 7)
		w.CloseBell()
		w.CloseBell()
		stopped := make(chan struct{})
		go func() { pool.Stop(); close(stopped) }()
		eventually(t, "the idle workers are gone", func() bool { return idle(w) == 0 })
		select {
		case <-stopped:
			t.Fatal("stopped although handlers run")
		default:
		}
		close(release)
		receive(t, stopped, "the pool stops")
		push(t, w, "lane", "late")
		if job, ok := fetchJob(t, w, "lane"); ok {
			t.Errorf("fetched %s through a closed bell", job)
		}
	})
}

// watcher is told the name of each command as it goes to Redis.
type watcher chan string

func (watcher) DialHook(next redis.DialHook) redis.DialHook { return next }

func (w watcher) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, c redis.Cmder) error {
		w <- c.Name()
		return next(ctx, c)
	}
}

func (watcher) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestAClosedBellDoesNotWaitForARedisThatStandsStill(t *testing.T) {
	r := services.StartRedis(t)
	patient := redis.NewClient(&redis.Options{Addr: services.RedisOptions(t, r.URL).Addrs[0], ReadTimeout: time.Hour})
	t.Cleanup(func() { patient.Close() })
	w := start(t, Redis(patient, Options{}))
	push(t, w, "lane", "1")
	fetchJob(t, w, "lane")
	asked := make(watcher, 10)
	w.store.(*remote).client.AddHook(asked)
	r.Pause()
	defer r.Resume()
	got := make(chan bool, 1)
	go func() { _, ok := fetchJob(t, w, "lane"); got <- ok }()
	receive(t, asked, "the fetch is under way")
	w.CloseBell()
	if receive(t, got, "the fetch ends") {
		t.Error("fetched something")
	}
}

func TestTheEndOfRunClosesTheBell(t *testing.T) {
	for name, w := range map[string]*Wire{
		"local": Local(Options{}),
		"redis": Redis(client(t, services.Redis(t)), Options{Namespace: t.Name()}),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			done, got := make(chan error, 1), make(chan bool, 1)
			go func() { done <- w.Run(ctx) }()
			go func() { _, ok := fetchJob(t, w, "lane"); got <- ok }()
			awaitIdle(t, w, 1)
			cancel()
			if err := receive(t, done, "run ends"); err != nil {
				t.Error(err)
			}
			if receive(t, got, "the fetch ends") {
				t.Error("fetched something")
			}
		})
	}
}
