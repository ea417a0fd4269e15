package transport

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/test/services"

	"github.com/gocraft/work"
)

// From Enqueue to the first line of the handler, with idle workers.
func BenchmarkIdlePickUp(b *testing.B) {
	url := services.Redis(b)
	for _, form := range []struct {
		name string
		open func(b *testing.B) (from, to *Wire)
	}{
		{"local", func(b *testing.B) (from, to *Wire) {
			w := start(b, Local(Options{}))
			return w, w
		}},
		{"redis", func(b *testing.B) (from, to *Wire) {
			w := process(b, url, Options{})
			return w, w
		}},
		{"redis, another process", func(b *testing.B) (from, to *Wire) {
			return process(b, url, Options{}), process(b, url, Options{})
		}},
	} {
		b.Run(form.name, func(b *testing.B) {
			from, to := form.open(b)
			started := make(chan time.Time, 1)
			workers(b, to, 10, func(*work.Job) { started <- time.Now() }, "a", "b", "c", "d")
			e := work.NewEnqueuer(from.Namespace(), from.Pool())
			awaitIdle(b, to, 10)
			var took []time.Duration
			b.ResetTimer()
			for range b.N {
				at := time.Now()
				if _, err := e.Enqueue("c", work.Q{"job": "1", "attempt": "1"}); err != nil {
					b.Fatal(err)
				}
				took = append(took, (<-started).Sub(at))
				b.StopTimer()
				awaitIdle(b, to, 10)
				b.StartTimer()
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
			b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
		})
	}
}

// Jobs a second through gocraft's workers when the lanes are full; the time per operation is a job's.
func BenchmarkDrain(b *testing.B) {
	url := services.Redis(b)
	for _, form := range []struct {
		name string
		open func(b *testing.B) *Wire
	}{
		{"local", func(b *testing.B) *Wire { return start(b, Local(Options{LaneLimit: 1 << 30})) }},
		{"redis", func(b *testing.B) *Wire { return process(b, url, Options{LaneLimit: 1 << 30}) }},
	} {
		for _, n := range []uint{10, 50} {
			b.Run(fmt.Sprintf("%s/workers=%d", form.name, n), func(b *testing.B) {
				w := form.open(b)
				messages := make([]Message, b.N)
				for i := range messages {
					messages[i] = Message{"job": "1", "attempt": "1"}
				}
				if err := w.Push(b.Context(), "c", messages...); err != nil {
					b.Fatal(err)
				}
				var left atomic.Int64
				left.Store(int64(b.N))
				done := make(chan struct{})
				b.ResetTimer()
				workers(b, w, n, func(*work.Job) {
					if left.Add(-1) == 0 {
						close(done)
					}
				}, "a", "b", "c", "d")
				<-done
			})
		}
	}
}

func BenchmarkPush(b *testing.B) {
	url := services.Redis(b)
	for _, form := range []struct {
		name string
		open func(b *testing.B) *Wire
	}{
		{"local", func(b *testing.B) *Wire { return start(b, Local(Options{LaneLimit: 1 << 30})) }},
		{"redis", func(b *testing.B) *Wire { return process(b, url, Options{LaneLimit: 1 << 30}) }},
	} {
		b.Run(form.name+"/Enqueuer, 8 callers", func(b *testing.B) {
			w := form.open(b)
			e := work.NewEnqueuer(w.Namespace(), w.Pool())
			b.SetParallelism(4)
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := e.Enqueue("lane", work.Q{"job": "1", "attempt": "1"}); err != nil {
						b.Error(err)
					}
				}
			})
		})
		b.Run(form.name+"/Push of 100", func(b *testing.B) {
			w := form.open(b)
			messages := make([]Message, 100)
			for i := range messages {
				messages[i] = Message{"job": "1", "attempt": "1"}
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := w.Push(b.Context(), "lane", messages...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
