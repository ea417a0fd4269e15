package queue_test

import (
	"context"
	"testing"
	"time"

	"gatehouse/queue"
	"gatehouse/test/services"
)

// TestJobsOfAnOutageArePushedOnceRedisIsBack has a sweeper that does not push what merely waits: Stale is an hour.
func TestJobsOfAnOutageArePushedOnceRedisIsBack(t *testing.T) {
	for _, form := range []struct {
		name  string
		start func(services.Host) *services.RedisServer
	}{{"empty", services.StartRedis}, {"as it was", services.StartDurableRedis}} {
		t.Run(form.name, func(t *testing.T) {
			redis := form.start(t)
			y := newYard(t, services.Postgres(t), redis.URL)
			busy, open := make(chan struct{}, 4), make(chan struct{})
			k := queue.Kind[args, answer]{Name: "wait", Handle: func(ctx context.Context, _ *queue.Run, a args) (answer, error) {
				if a.Text == "block" {
					busy <- struct{}{}
					select {
					case <-open:
					case <-ctx.Done():
					}
				}
				return answer{}, nil
			}}
			p := y.start(queue.Options{Workers: cap(busy), Stale: time.Hour}, k.Define())
			var ids []queue.ID
			enqueue := func(n int, text string) {
				for range n {
					ids = append(ids, p.enqueue(t, k, text, queue.JobOptions{}).ID)
				}
			}
			enqueue(cap(busy), "block")
			for range cap(busy) {
				<-busy
			}
			enqueue(520, "") // more than are pushed again at a time
			redis.Kill()
			enqueue(20, "")
			redis.Restart(t)
			returned := time.Now()
			close(open)
			for _, id := range ids {
				wantState(t, p.finished(t, id), queue.Succeeded)
			}
			t.Logf("%d jobs have ended %v after Redis came back", len(ids), time.Since(returned))
		})
	}
}
