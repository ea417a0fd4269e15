//go:build linux

package queues

import (
	"context"
	"testing"

	"github.com/gocraft/work"
	redigo "github.com/gomodule/redigo/redis"
	"github.com/hibiken/asynq"
)

type asynqQueue struct {
	t       *testing.T
	options asynq.RedisClientOpt
	client  *asynq.Client
}

func openAsynq(t *testing.T, s *servers) contender {
	o := s.emptied(t)
	options := asynq.RedisClientOpt{Addr: o.Addr, Username: o.Username, Password: o.Password, DB: o.DB, PoolSize: 64}
	return &asynqQueue{t, options, asynq.NewClient(options)}
}

func (a *asynqQueue) enqueue(ctx context.Context) error {
	_, err := a.client.EnqueueContext(ctx, asynq.NewTask("nothing", nil))
	return err
}

func (a *asynqQueue) work(workers int, began func()) func() {
	server := asynq.NewServer(a.options, asynq.Config{Concurrency: workers, LogLevel: asynq.FatalLevel})
	handler := asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		began()
		return nil
	})
	if err := server.Start(handler); err != nil {
		a.t.Fatal(err)
	}
	return server.Shutdown
}

func (a *asynqQueue) close() { _ = a.client.Close() }

type gocraftQueue struct {
	pool     *redigo.Pool
	enqueuer *work.Enqueuer
}

func openGocraft(t *testing.T, s *servers) contender {
	s.emptied(t)
	pool := &redigo.Pool{MaxActive: 128, MaxIdle: 128, Wait: true, Dial: func() (redigo.Conn, error) { return redigo.DialURL(s.redis) }}
	return &gocraftQueue{pool, work.NewEnqueuer("queues", pool)}
}

func (g *gocraftQueue) enqueue(context.Context) error {
	_, err := g.enqueuer.Enqueue("nothing", nil)
	return err
}

func (g *gocraftQueue) work(workers int, began func()) func() {
	pool := work.NewWorkerPool(struct{}{}, uint(workers), "queues", g.pool)
	pool.Job("nothing", func(*work.Job) error {
		began()
		return nil
	})
	pool.Start()
	return pool.Stop
}

func (g *gocraftQueue) close() { _ = g.pool.Close() }
