//go:build linux

package load

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/internal/blob"
	"gatehouse/internal/bus"
	"gatehouse/internal/store"
	"gatehouse/queue"
	"gatehouse/queue/transport"
	"gatehouse/test/services"
)

// measurePickup takes the time from the commit of a job to the first line of its handler, while the
// workers have nothing else to do.
func measurePickup(t *testing.T, b *bench) {
	for _, one := range []struct {
		name     string
		database string
		redis    string
		p50, p99 float64
	}{
		{"embedded", "sqlite:" + filepath.Join(t.TempDir(), "queue.db"), "", 0.8, 5},
		{"PostgreSQL and Redis", services.Postgres(t), services.Redis(t), 4, 20},
	} {
		waits := pickups(t, one.database, one.redis, of(b, 500, 150))
		how := fmt.Sprintf("%d jobs, one at a time, 8 workers; worst %.1f ms", len(waits), at(waits, 1))
		b.atMost(t, "idle pick-up p50, "+one.name, one.p50, middle(waits), " ms", how)
		b.atMost(t, "idle pick-up p99, "+one.name, one.p99, at(waits, 0.99), " ms", "the same run")
	}
}

type nothing struct{}

// pickups runs n jobs one after the other and returns how long each waited after its commit, in ms.
func pickups(t testing.TB, database, redisURL string, n int) []float64 {
	t.Helper()
	db, err := store.Open(t.Context(), database, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := blob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	wire, messages := transport.Local(transport.Options{}), bus.Local()
	if redisURL != "" {
		options, err := redis.ParseURL(redisURL)
		if err != nil {
			t.Fatal(err)
		}
		options.ContextTimeoutEnabled = true
		client := redis.NewClient(options)
		defer client.Close()
		wire, messages = transport.Redis(client, transport.Options{}), bus.Redis(client, "pickup", bus.Options{})
	}
	began := make(chan time.Time)
	kind := queue.Kind[nothing, nothing]{
		Name: "noop",
		Handle: func(context.Context, *queue.Run, nothing) (nothing, error) {
			began <- time.Now()
			return nothing{}, nil
		},
	}
	q, err := queue.New(db, wire, messages, files, []queue.Definition{kind.Define()}, queue.Options{Workers: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer runBeside(t, messages.Run)()
	defer runBeside(t, q.Run)()
	var waits []float64
	for range n {
		committed := enqueue(t, db, q, kind)
		waits = append(waits, max(0, millis((<-began).Sub(committed))))
		time.Sleep(2 * time.Millisecond) // let the end of the job be written: idle is what is measured
	}
	return waits
}

// enqueue writes a job and returns when its transaction was durable.
func enqueue(t testing.TB, db *store.DB, q *queue.Queue, kind queue.Kind[nothing, nothing]) (committed time.Time) {
	t.Helper()
	wish, err := kind.Request("usr_ada", nothing{}, queue.JobOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx *store.Tx) error {
		tx.AfterCommit(func() { committed = time.Now() }) // before the queue's own, which pushes
		_, err := q.EnqueueTx(t.Context(), tx, wish)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return committed
}

// runBeside runs one long goroutine until the function that it returns is called.
func runBeside(t testing.TB, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("got %v from what runs beside", err)
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}
