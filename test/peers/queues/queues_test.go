//go:build linux

// Package queues measures Gatehouse's queue beside asynq, River and gocraft/work as it is: the same jobs, the
// same private Redis and PostgreSQL, one run. It is a module of its own, so that Gatehouse does not depend on
// its peers.
//
//	test/peers/run.sh --queues                       # or, in this folder:
//	GATEHOUSE_LOAD=quick go test -count=1 -v .       # -args -postgres URL -redis URL for servers that run
//
// "Durable" in the table: the job is committed in a database, or at least not only in memory, before the call
// returns. Redis runs without a file, as it does for all who use it here, so that its peers pay nothing for
// durability that they do not promise.
package queues

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"gatehouse/test/services"
)

var (
	postgresURL = flag.String("postgres", "", "a PostgreSQL that runs; its user may make databases")
	redisURL    = flag.String("redis", "", "a Redis that runs; it is emptied")
)

// contender is one queue with nothing in it.
type contender interface {
	// enqueue adds a job that does nothing.
	enqueue(ctx context.Context) error
	// work runs workers that call began at the first line of each job, until stop is called. It is called once.
	work(workers int, began func()) (stop func())
	close()
}

// entry is a queue in the table.
type entry struct {
	name    string
	durable string
	workers int // that drain
	open    func(t *testing.T, s *servers) contender
}

func entries() []entry {
	return []entry{
		{"Gatehouse, embedded (SQLite)", "yes", 10, openEmbedded},
		{"Gatehouse, PostgreSQL and Redis", "yes", 50, openGatehouse},
		{"River v0.51.1, cool-down 1 ms", "yes", 50, openRiver},
		{"asynq v0.26.0", "no", 50, openAsynq},
		{"gocraft/work v0.5.1 as it is", "no", 50, openGocraft},
	}
}

// TestQueues prints one table in Markdown. It fails when something cannot be measured.
func TestQueues(t *testing.T) {
	mode := os.Getenv("GATEHOUSE_LOAD")
	if mode == "" {
		t.Skip("measures only when GATEHOUSE_LOAD is full or quick")
	}
	jobs, pickups, rounds := 20_000, 200, 3
	if mode == "quick" {
		jobs, pickups, rounds = 3_000, 60, 1
	}
	s := start(t)
	all := entries()
	figures := make([]figures, len(all))
	for range rounds { // in turns, so that a noisy neighbour meets all of them alike
		for i, e := range all {
			figures[i].take(t, s, e, jobs, pickups)
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "| queue | durable | idle pick-up p50 / p99 | enqueue, 8 callers | drain |\n|---|---|---|---|---|\n")
	for i, e := range all {
		f := figures[i]
		fmt.Fprintf(&table, "| %s | %s | %.2f / %.2f ms | %.0f/s | %.0f/s, %d workers |\n",
			e.name, e.durable, millis(at(f.waits, 0.5)), millis(at(f.waits, 0.99)), at(f.enqueued, 0.5), at(f.drained, 0.5), e.workers)
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Fprintf(&table, "\n%d jobs, middle of %d rounds; load average at the end %s", jobs, rounds, load)
	if path := os.Getenv("GATEHOUSE_LOAD_TABLE"); path != "" {
		if err := os.WriteFile(path, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("\n" + table.String())
}

// figures are what was measured of one queue, round by round.
type figures struct {
	waits             []time.Duration
	enqueued, drained []float64 // jobs a second
}

func (f *figures) take(t *testing.T, s *servers, e entry, jobs, pickups int) {
	t.Helper()
	c := e.open(t, s)
	took := fill(t, c, jobs)
	f.enqueued = append(f.enqueued, float64(jobs)/took.Seconds())
	f.drained = append(f.drained, float64(jobs)/drain(t, c, e.workers, jobs).Seconds())
	c.close()
	c = e.open(t, s)
	f.waits = append(f.waits, pickUps(t, c, pickups)...)
	c.close()
	t.Logf("%s: enqueue %.0f/s, drain %.0f/s", e.name, f.enqueued[len(f.enqueued)-1], f.drained[len(f.drained)-1])
}

// fill enqueues n jobs by 8 callers.
func fill(t *testing.T, c contender, n int) time.Duration {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var callers sync.WaitGroup
	began := time.Now()
	for range 8 {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				if err := c.enqueue(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	return time.Since(began)
}

// drain takes the time from the start of the workers to the beginning of the last of n jobs.
func drain(t *testing.T, c contender, workers, n int) time.Duration {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	done := make(chan struct{})
	began := time.Now()
	stop := c.work(workers, func() {
		if left.Add(-1) == 0 {
			close(done)
		}
	})
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		t.Fatalf("%d jobs were not begun within 5 minutes", left.Load())
	}
	took := time.Since(began)
	stop()
	return took
}

// pickUps runs jobs one after the other on workers that have nothing else to do, for at most 20 s, and
// returns how long each waited after its enqueue had returned.
func pickUps(t *testing.T, c contender, n int) []time.Duration {
	t.Helper()
	began := make(chan time.Time, 1)
	stop := c.work(8, func() { began <- time.Now() })
	defer stop()
	<-time.After(time.Second) // until the workers idle
	var waits []time.Duration
	for end := time.Now().Add(20 * time.Second); len(waits) < n && time.Now().Before(end); {
		if err := c.enqueue(t.Context()); err != nil {
			t.Fatal(err)
		}
		enqueued := time.Now()
		select {
		case at := <-began:
			waits = append(waits, max(0, at.Sub(enqueued)))
		case <-time.After(time.Minute):
			t.Fatal("a job was not begun within a minute")
		}
		<-time.After(20 * time.Millisecond)
	}
	return waits
}

// servers are the private PostgreSQL and Redis, or those of the flags.
type servers struct {
	postgres, redis string
	made            int
}

func start(t *testing.T) *servers {
	s := &servers{postgres: *postgresURL, redis: *redisURL}
	if s.postgres == "" {
		s.postgres = services.StartPostgres(t).URL
	}
	if s.redis == "" {
		s.redis = services.StartRedis(t).URL
	}
	return s
}

// database makes an empty database.
func (s *servers) database(t *testing.T) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	s.made++
	name := fmt.Sprintf("queues_%d_%d", os.Getpid(), s.made)
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.drop(name) })
	u, err := url.Parse(s.postgres)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

func (s *servers) drop(name string) {
	ctx := context.Background()
	if conn, err := pgx.Connect(ctx, s.postgres); err == nil {
		defer conn.Close(ctx)
		_, _ = conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
	}
}

// emptied returns the options of a Redis with nothing in it.
func (s *servers) emptied(t *testing.T) *redis.Options {
	t.Helper()
	options, err := redis.ParseURL(s.redis)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	if err := client.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	return options
}

// at returns the value that the fraction q of values does not exceed.
func at[T cmp.Ordered](values []T, q float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted)-1)+0.5))]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
