//go:build linux

package queues

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

type riverArgs struct{}

// Kind is how River names its jobs.
func (riverArgs) Kind() string { return "nothing" }

type riverQueue struct {
	t      *testing.T
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
}

type riverWorker struct {
	river.WorkerDefaults[riverArgs]
	began *atomic.Pointer[func()]
}

func (w *riverWorker) Work(context.Context, *river.Job[riverArgs]) error {
	(*w.began.Load())()
	return nil
}

func openRiver(t *testing.T, s *servers) contender {
	t.Helper()
	config, err := pgxpool.ParseConfig(s.database(t))
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 20 // as many as Gatehouse has
	r := &riverQueue{t: t}
	if r.pool, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(r.pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil); err != nil {
		t.Fatal(err)
	}
	if r.client, err = river.NewClient(riverpgxv5.New(r.pool), &river.Config{
		FetchCooldown: time.Millisecond, // within it, no second insert is told of
		Logger:        slog.New(slog.DiscardHandler),
	}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *riverQueue) enqueue(ctx context.Context) error {
	_, err := r.client.Insert(ctx, riverArgs{}, nil)
	return err
}

func (r *riverQueue) work(workers int, began func()) func() {
	w := &riverWorker{began: new(atomic.Pointer[func()])}
	w.began.Store(&began)
	known := river.NewWorkers()
	river.AddWorker(known, w)
	client, err := river.NewClient(riverpgxv5.New(r.pool), &river.Config{
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		Workers:       known,
		FetchCooldown: time.Millisecond,
		Logger:        slog.New(slog.DiscardHandler),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := client.Start(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	return func() {
		if err := client.Stop(context.Background()); err != nil {
			r.t.Error(err)
		}
	}
}

func (r *riverQueue) close() { r.pool.Close() }
