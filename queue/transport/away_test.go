package transport

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/test/services"

	"github.com/gocraft/work"
)

func TestALostBellIsCoveredByThePollAndByRing(t *testing.T) {
	url := services.Redis(t)
	foreign := client(t, url)
	for _, way := range []struct {
		name string
		open func(t testing.TB, url string, o Options) *Wire
		look func(w *Wire)
	}{
		{
			"poll",
			func(t testing.TB, url string, o Options) *Wire { return start(t, polling(t, url, o)) },
			func(*Wire) {},
		},
		{"ring", process, (*Wire).Ring},
	} {
		t.Run(way.name, func(t *testing.T) {
			w := way.open(t, url, Options{})
			got := make(chan string, 1)
			go func() { job, _ := fetchJob(t, w, "lane"); got <- job }()
			awaitIdle(t, w, 1)
			json, _ := encode("lane", 0, Message{"job": way.name})
			if err := foreign.LPush(t.Context(), w.jobs+"lane", json).Err(); err != nil {
				t.Fatal(err)
			}
			way.look(w)
			if job := receive(t, got, "the message is found"); job != way.name {
				t.Errorf("got %s, want %s", job, way.name)
			}
		})
	}
}

func TestWorkersGoOnWhenRedisComesBackEmpty(t *testing.T) {
	for _, way := range []struct {
		name       string
		lose, mend func(t *testing.T, r *services.RedisServer)
	}{
		{
			"killed",
			func(_ *testing.T, r *services.RedisServer) { r.Kill() },
			func(t *testing.T, r *services.RedisServer) { r.Restart(t) },
		},
		{
			"stalled",
			func(_ *testing.T, r *services.RedisServer) { r.Pause() },
			func(_ *testing.T, r *services.RedisServer) { r.Resume() },
		},
	} {
		t.Run(way.name, func(t *testing.T) {
			r := services.StartRedis(t)
			var log lines
			w := start(t, polling(t, r.URL, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}))
			got := make(chan string, 100)
			workers(t, w, 5, func(j *work.Job) { got <- j.ArgString("job") }, "a", "b")
			push(t, w, "a", "before")
			receive(t, got, "a message is handled")
			awaitIdle(t, w, 5)

			way.lose(t, r)
			eventually(t, "the loss is noticed", func() bool { return w.store.(*remote).away.Load() })
			if err := w.Push(t.Context(), "a", Message{}); !errors.Is(err, ErrAway) {
				t.Errorf("push without redis: %v, want %v", err, ErrAway)
			}
			way.mend(t, r)
			back := time.Now()
			eventually(t, "a push gets through", func() bool {
				return w.Push(t.Context(), "b", Message{"job": "after"}) == nil
			})
			if job := receive(t, got, "a message is handled again"); job != "after" {
				t.Errorf("handled %q, want after", job)
			}
			t.Logf("handled again after %v, %d lines logged", time.Since(back), log.n.Load())
			if n := log.n.Load(); n > 4 {
				t.Errorf("%d lines were logged about one absence", n)
			}
		})
	}
}

// lines counts what is logged.
type lines struct{ n atomic.Int64 }

func (l *lines) Write(p []byte) (int, error) { l.n.Add(1); return len(p), nil }

func TestABrokenLaneIsToldOnceAndHealsWhenItIsRemoved(t *testing.T) {
	url := services.Redis(t)
	var log lines
	w := process(t, url, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	admin := client(t, url)
	if err := admin.Set(t.Context(), w.jobs+"lane", "not a list", 0).Err(); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() { job, _ := fetchJob(t, w, "lane"); got <- job }()
	eventually(t, "it is told", func() bool { return log.n.Load() > 0 })
	if err := admin.Del(t.Context(), w.jobs+"lane").Err(); err != nil {
		t.Fatal(err)
	}
	push(t, w, "lane", "1")
	if job := receive(t, got, "the message"); job != "1" {
		t.Errorf("got %s, want 1", job)
	}
	if n := log.n.Load(); n > 2 {
		t.Errorf("%d lines were logged about one break", n)
	}
}

// A fetch that was sent pops whenever Redis gets to it, and then nobody hears the answer.
func TestARedisThatStandsStillIsPingedAndNotAskedToPop(t *testing.T) {
	r := services.StartRedis(t)
	w := process(t, r.URL, Options{})
	push(t, w, "lane", "1")
	fetchJob(t, w, "lane")
	sent := make(watcher, 1000)
	w.store.(*remote).client.AddHook(sent)
	r.Pause()
	got := make(chan string, 1)
	go func() { job, _ := fetchJob(t, w, "lane"); got <- job }()
	fetches, pings := 0, 0
	for pings < 2 {
		switch receive(t, sent, "a command is sent") {
		case "evalsha":
			fetches++
		case "ping":
			pings++
		}
	}
	if fetches != 1 {
		t.Errorf("%d fetches were sent, want 1", fetches)
	}
	r.Resume()
	eventually(t, "a push gets through", func() bool {
		return w.Push(t.Context(), "lane", Message{"job": "2"}) == nil
	})
	if job := receive(t, got, "the message"); job != "2" {
		t.Errorf("got %s, want 2", job)
	}
}
