package bus

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/test/services"
)

func BenchmarkPublishInProcess(b *testing.B) {
	bus := Local()
	var heard atomic.Int64
	stop, err := bus.Subscribe(b.Context(), "job", Listener{Deliver: func([]byte) { heard.Add(1) }})
	if err != nil {
		b.Fatal(err)
	}
	defer stop()
	data := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		if err := bus.Publish(b.Context(), "job", data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFanOutToFiveThousandListeners(b *testing.B) {
	bus := Local()
	for range 5000 {
		full := make(chan struct{}, 1)
		_, err := bus.Subscribe(b.Context(), "job", Listener{Deliver: func([]byte) {
			select {
			case full <- struct{}{}:
			default:
			}
		}})
		if err != nil {
			b.Fatal(err)
		}
	}
	data := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		if err := bus.Publish(b.Context(), "job", data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPublishThroughRedis(b *testing.B) {
	for _, callers := range []int{1, 32} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			bus := server(b, services.Redis(b), b.Name())
			data := make([]byte, 200)
			b.SetParallelism(callers / 2)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := bus.Publish(b.Context(), "job", data); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// From Publish in one process to Deliver in another, one message at a time.
func BenchmarkPublishToDeliverInAnotherProcess(b *testing.B) {
	url := services.Redis(b)
	from, to := server(b, url, b.Name()), server(b, url, b.Name())
	arrived := make(chan time.Time, 1)
	stop, err := to.Subscribe(b.Context(), "job", Listener{Deliver: func([]byte) { arrived <- time.Now() }})
	if err != nil {
		b.Fatal(err)
	}
	defer stop()
	var took []time.Duration
	for b.Loop() {
		started := time.Now()
		if err := from.Publish(b.Context(), "job", []byte("report")); err != nil {
			b.Fatal(err)
		}
		took = append(took, (<-arrived).Sub(started))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
}
