//go:build linux

package queues

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"gatehouse/internal/blob"
	"gatehouse/internal/bus"
	"gatehouse/internal/store"
	"gatehouse/queue"
	"gatehouse/queue/transport"
)

type nothing struct{}

// gatehouse is the queue package on a database of its own. One process enqueues; work is another.
type gatehouse struct {
	t     *testing.T
	db    *store.DB
	files *blob.Store
	redis *redis.Options // nil: embedded
	local *transport.Wire

	began atomic.Pointer[func()]
	kind  queue.Kind[nothing, nothing]
	front *queue.Queue
	stop  func()
}

func openEmbedded(t *testing.T, _ *servers) contender {
	return openOn(t, "sqlite:"+filepath.Join(t.TempDir(), "queue.db"), nil)
}

func openGatehouse(t *testing.T, s *servers) contender {
	return openOn(t, s.database(t), s.emptied(t))
}

func openOn(t *testing.T, database string, options *redis.Options) contender {
	t.Helper()
	g := &gatehouse{t: t, redis: options, local: transport.Local(transport.Options{})}
	var err error
	if g.db, err = store.Open(t.Context(), database, store.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := g.db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if g.files, err = blob.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	g.kind = queue.Kind[nothing, nothing]{Name: "nothing", Handle: func(context.Context, *queue.Run, nothing) (nothing, error) {
		(*g.began.Load())()
		return nothing{}, nil
	}}
	g.front, g.stop = g.process(0)
	return g
}

// process starts a queue with its own connections to Redis.
func (g *gatehouse) process(workers int) (*queue.Queue, func()) {
	wire, messages, client := g.local, bus.Local(), (*redis.Client)(nil)
	if g.redis != nil {
		options := *g.redis
		options.ContextTimeoutEnabled = true
		client = redis.NewClient(&options)
		wire, messages = transport.Redis(client, transport.Options{}), bus.Redis(client, "queues", bus.Options{})
	}
	q, err := queue.New(g.db, wire, messages, g.files, []queue.Definition{g.kind.Define()}, queue.Options{Workers: workers})
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = messages.Run(ctx) }) // it ends with ctx
	running.Go(func() {
		if err := q.Run(ctx); err != nil {
			g.t.Error(err)
		}
	})
	return q, func() {
		cancel()
		running.Wait()
		if client != nil {
			_ = client.Close()
		}
	}
}

func (g *gatehouse) enqueue(ctx context.Context) error {
	wish, err := g.kind.Request("usr_ada", nothing{}, queue.JobOptions{})
	if err != nil {
		return err
	}
	_, err = g.front.Enqueue(ctx, wish)
	return err
}

func (g *gatehouse) work(workers int, began func()) func() {
	g.began.Store(&began)
	_, stop := g.process(workers)
	return stop
}

func (g *gatehouse) close() {
	g.stop()
	_ = g.db.Close()
}
