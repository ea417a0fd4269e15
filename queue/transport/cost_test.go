package transport

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/test/services"

	"github.com/gocraft/work"
	redigo "github.com/gomodule/redigo/redis"
	"github.com/redis/go-redis/v9"
)

func TestGocraftsOwnPageFindsPoolsAndKnownJobs(t *testing.T) {
	url := services.Redis(t)
	w := process(t, url, Options{})
	workers(t, w, 2, func(*work.Job) {}, "a", "b")
	page := work.NewClient(w.Namespace(), &redigo.Pool{Dial: func() (redigo.Conn, error) { return redigo.DialURL(url) }})
	eventually(t, "the heartbeat is written", func() bool {
		beats, err := page.WorkerPoolHeartbeats()
		return err == nil && len(beats) == 1 && slices.Equal(beats[0].JobNames, []string{"a", "b"})
	})
	push(t, w, "c", "1")
	awaitIdle(t, w, 2)
	eventually(t, "the queues are listed", func() bool {
		queues, err := page.Queues()
		return err == nil && len(queues) == 2
	})
}

// An idle process with 50 workers asks little of Redis, and what it leaves there is bounded.
func TestAnIdleProcessCostsFewCommandsAndLeavesFewKeys(t *testing.T) {
	r := services.StartRedis(t)
	w := start(t, polling(t, r.URL, Options{}))
	admin := client(t, r.URL)
	got := make(chan struct{}, 1000)
	workers(t, w, 50, func(*work.Job) { got <- struct{}{} }, "a", "b", "c", "d", "e", "f", "g", "h")
	for range 100 {
		enqueue(t, w, "a", "x")
		receive(t, got, "a message is handled")
	}
	awaitIdle(t, w, 50)
	keys, err := admin.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) > 3 { // known_jobs, worker_pools, worker_pools:ID
		t.Errorf("these keys are left: %v", keys)
	}
	const window = 5 * time.Second // one heartbeat
	before := commands(t, admin)
	<-time.After(window)
	perSecond := float64(commands(t, admin)-before-1) / window.Seconds()
	t.Logf("%.1f commands a second", perSecond)
	if perSecond > 5 {
		t.Errorf("an idle process sends %.1f commands a second, want at most 5", perSecond)
	}
}

func commands(t *testing.T, c redis.UniversalClient) int64 {
	t.Helper()
	info, err := c.Info(t.Context(), "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, count, _ := strings.Cut(info, "total_commands_processed:")
	count, _, _ = strings.Cut(count, "\r\n")
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
