//go:build linux

package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/internal/blob"
	"gatehouse/internal/bus"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
	"gatehouse/queue/transport"
	"gatehouse/test/services"
)

// ada owns the jobs that are measured.
var ada = viewer.Viewer{User: "usr_ada"}

// part is one process of a deployment, as far as jobs go: with its own connections to the database and to
// Redis, so that nothing reaches another part but through those.
type part struct {
	*queue.Queue
	statements atomic.Int64
	stop       func()
}

func newPart(t testing.TB, database, redisURL string, wire *transport.Wire, o queue.Options, kinds ...queue.Definition) *part {
	t.Helper()
	p := &part{}
	db, err := store.Open(t.Context(), database, store.Options{Trace: func(context.Context, string) { p.statements.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := blob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	messages, hangUp := bus.Local(), func() error { return nil }
	if redisURL != "" {
		options, err := redis.ParseURL(redisURL)
		if err != nil {
			t.Fatal(err)
		}
		options.ContextTimeoutEnabled = true
		client := redis.NewClient(options)
		wire, messages, hangUp = transport.Redis(client, transport.Options{}), bus.Redis(client, "queue", bus.Options{}), client.Close
	}
	if p.Queue, err = queue.New(db, wire, messages, files, kinds, o); err != nil {
		t.Fatal(err)
	}
	stopBus, stopQueue := runBeside(t, messages.Run), runBeside(t, p.Run)
	p.stop = func() {
		stopQueue()
		stopBus()
		_ = hangUp()
		_ = db.Close()
	}
	return p
}

// measureQueue takes what the queue does in a second, embedded and on PostgreSQL and Redis.
func measureQueue(t *testing.T, b *bench) {
	for _, one := range []struct {
		name            string
		database, redis string
		workers         int
		enqueue, drain  float64
	}{
		{"embedded", "sqlite:" + filepath.Join(t.TempDir(), "queue.db"), "", 10, 20_000, 15_000},
		{"PostgreSQL and Redis", services.Postgres(t), services.Redis(t), 50, 7_000, 0},
	} {
		jobs := of(b, 30_000, 5_000)
		var left atomic.Int64
		left.Store(int64(jobs))
		done := make(chan struct{})
		kind := queue.Kind[nothing, nothing]{Name: "noop", Handle: func(context.Context, *queue.Run, nothing) (nothing, error) {
			if left.Add(-1) == 0 {
				close(done)
			}
			return nothing{}, nil
		}}
		wire := transport.Local(transport.Options{})
		front := newPart(t, one.database, one.redis, wire, queue.Options{}, kind.Define())
		took := enqueueAll(t, front, kind, jobs)
		b.atLeast(t, "durable enqueue, 8 callers, "+one.name, one.enqueue, float64(jobs)/took.Seconds(), "/s", fmt.Sprintf("%d jobs", jobs))
		began := time.Now()
		worker := newPart(t, one.database, one.redis, wire, queue.Options{Workers: one.workers}, kind.Define())
		<-done
		rate := float64(jobs) / time.Since(began).Seconds()
		what, how := "durable drain, "+one.name, fmt.Sprintf("%d jobs that do nothing, %d workers", jobs, one.workers)
		if one.drain > 0 {
			b.atLeast(t, what, one.drain, rate, "/s", how)
		} else {
			b.tell(t, what, figure(rate)+"/s", how+"; the bar is River's in one run, see test/peers/queues")
		}
		worker.stop()
		front.stop()
	}
}

// enqueueAll enqueues n jobs by 8 callers.
func enqueueAll(t testing.TB, p *part, kind queue.Kind[nothing, nothing], n int) time.Duration {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var callers sync.WaitGroup
	began := time.Now()
	for range 8 {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				wish, err := kind.Request(ada.User, nothing{}, queue.JobOptions{})
				if err == nil {
					_, err = p.Enqueue(t.Context(), wish)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	return time.Since(began)
}

// measureNews takes the time from a report to the event in another process, and from a cancel in another
// process to the end of the job's context.
func measureNews(t *testing.T, b *bench) {
	database, redisURL := services.Postgres(t), services.Redis(t)
	begun, cancelled, report := make(chan queue.ID), make(chan time.Time, 1), make(chan int64)
	kind := queue.Kind[nothing, nothing]{Name: "reports", Handle: func(ctx context.Context, run *queue.Run, _ nothing) (nothing, error) {
		begun <- run.Job.ID
		for {
			select {
			case n := <-report:
				run.Report(n, 0, "")
			case <-ctx.Done():
				cancelled <- time.Now()
				return nothing{}, ctx.Err()
			}
		}
	}}
	front := newPart(t, database, redisURL, nil, queue.Options{}, kind.Define())
	defer front.stop()
	worker := newPart(t, database, redisURL, nil, queue.Options{Workers: 4}, kind.Define())
	defer worker.stop()

	enqueueAll(t, front, kind, 1)
	id := <-begun
	ctx, leave := context.WithCancel(t.Context())
	events, err := front.Watch(ctx, ada, id, nil)
	if err != nil {
		t.Fatal(err)
	}
	var heard []float64
	for n := int64(1); n <= int64(of(b, 200, 50)); n++ {
		// Reports that come sooner than a tenth of a second after the last are drawn together on purpose.
		time.Sleep(120*time.Millisecond + rand.N(20*time.Millisecond))
		reported := time.Now()
		report <- n
		for e := range events {
			if e.Done == n {
				break
			}
		}
		heard = append(heard, millis(time.Since(reported)))
	}
	leave()
	b.atMost(t, "report in a worker to event in another process, p99", 20, at(heard, 0.99), " ms",
		fmt.Sprintf("%d reports, committed on the way; median %.1f ms, worst %.1f ms", len(heard), middle(heard), at(heard, 1)))

	var ends []float64
	for range of(b, 100, 30) {
		asked := time.Now()
		if _, err := front.Cancel(t.Context(), ada, id); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, millis((<-cancelled).Sub(asked)))
		enqueueAll(t, front, kind, 1)
		id = <-begun
	}
	if _, err := front.Cancel(t.Context(), ada, id); err != nil {
		t.Fatal(err)
	}
	<-cancelled
	b.atMost(t, "cancel to ctx.Done in another process, p99", 50, at(ends, 0.99), " ms",
		fmt.Sprintf("%d cancels, committed on the way; median %.1f ms, worst %.1f ms", len(ends), middle(ends), at(ends, 1)))
}

// measureIdle counts what a process with 50 workers and nothing to do asks of Redis and of the database.
func measureIdle(t *testing.T, b *bench) {
	server := services.StartRedis(t)
	kind := queue.Kind[nothing, nothing]{Name: "noop", Handle: func(context.Context, *queue.Run, nothing) (nothing, error) { return nothing{}, nil }}
	worker := newPart(t, services.Postgres(t), server.URL, nil, queue.Options{Workers: 50}, kind.Define())
	defer worker.stop()
	options, err := redis.ParseURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	admin := redis.NewClient(options)
	defer admin.Close()
	span := of(b, 20*time.Second, 10*time.Second)
	time.Sleep(3 * time.Second) // it has begun
	statements, commands := worker.statements.Load(), commandsOf(t, admin)
	time.Sleep(span)
	how := fmt.Sprintf("50 workers, %s without a job", span)
	b.atMost(t, "commands of an idle worker process to Redis", 5, float64(commandsOf(t, admin)-commands-1)/span.Seconds(), "/s", how)
	b.atMost(t, "statements of an idle worker process", 3, float64(worker.statements.Load()-statements)/span.Seconds(), "/s", how+"; BEGIN and COMMIT are not counted")
}

// commandsOf returns how many commands Redis has done.
func commandsOf(t testing.TB, client *redis.Client) int64 {
	t.Helper()
	info, err := client.InfoMap(t.Context(), "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(info["Stats"]["total_commands_processed"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
