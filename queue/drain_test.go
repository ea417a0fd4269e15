package queue_test

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"gatehouse/queue"
	"gatehouse/test/services"
)

// eachYardOf is eachYard for benchmarks.
func eachYardOf(b *testing.B, bench func(b *testing.B, y *yard)) {
	b.Run("embedded", func(b *testing.B) { bench(b, newYard(b, "sqlite:"+filepath.Join(b.TempDir(), "q.db"), "")) })
	b.Run("PostgreSQL and Redis", func(b *testing.B) { bench(b, newYard(b, services.Postgres(b), services.Redis(b))) })
}

// fill enqueues n jobs of ada, each in a commit that it may share, with 8 callers.
func (p *process) fill(b *testing.B, k queue.Kind[args, answer], n int) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				r, err := k.Request(ada.User, args{}, queue.JobOptions{})
				if err == nil {
					_, err = p.Enqueue(b.Context(), r)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
}

// BenchmarkEnqueue is a durable enqueue, 8 callers.
func BenchmarkEnqueue(b *testing.B) {
	eachYardOf(b, func(b *testing.B, y *yard) {
		k := echo("echo")
		p := y.start(queue.Options{}, k.Define())
		b.ResetTimer()
		p.fill(b, k, b.N)
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
	})
}

// BenchmarkDrain is no-op jobs of one owner that lie in their lane when the workers start.
func BenchmarkDrain(b *testing.B) {
	eachYardOf(b, func(b *testing.B, y *yard) {
		var left atomic.Int64
		left.Store(int64(b.N))
		done := make(chan struct{})
		k := queue.Kind[args, answer]{Name: "nothing", Handle: func(context.Context, *queue.Run, args) (answer, error) {
			if left.Add(-1) == 0 {
				close(done)
			}
			return answer{}, nil
		}}
		y.start(queue.Options{}, k.Define()).fill(b, k, b.N)
		workers := 10
		if y.redisURL != "" {
			workers = 50
		}
		b.ResetTimer()
		y.start(queue.Options{Workers: workers}, k.Define())
		<-done
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
	})
}
