package cache_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	gocache "github.com/eko/gocache/lib/v4/cache"
	"github.com/maypok86/otter/v2"

	"gatehouse/internal/cache"
	"gatehouse/test/services"
)

// pairKey is a struct key as sessions and answers have it.
type pairKey struct {
	User  string
	Query int
}

// BenchmarkHit sets a hit in memory beside one of otter alone; the bar is three times.
func BenchmarkHit(b *testing.B) {
	keys := make([]pairKey, 1024)
	for i := range keys {
		keys[i] = pairKey{User: fmt.Sprint("usr_", i), Query: i}
	}
	b.Run("otter", func(b *testing.B) {
		raw := otter.Must(&otter.Options[pairKey, *user]{
			MaximumWeight: 16 << 20, Weigher: func(pairKey, *user) uint32 { return 500 },
			ExpiryCalculator: otter.ExpiryWriting[pairKey, *user](time.Minute),
		})
		defer raw.StopAllGoroutines()
		for _, key := range keys {
			raw.Set(key, &user{})
		}
		each(b, func(i int) { raw.GetIfPresent(keys[i%len(keys)]) })
	})
	b.Run("layer", func(b *testing.B) {
		l := layer(b, nil, nil, cache.Options[pairKey, *user]{Name: "user", TTL: time.Hour})
		load := func(context.Context, pairKey) (*user, error) { return &user{}, nil }
		ctx := b.Context()
		for _, key := range keys {
			_, _ = l.Get(ctx, key, load)
		}
		each(b, func(i int) { _, _ = l.Get(ctx, keys[i%len(keys)], load) })
	})
}

// each runs op alone and from all cores.
func each(b *testing.B, op func(i int)) {
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			op(i)
			i++
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := rand.IntN(1000); pb.Next(); i++ {
				op(i)
			}
		})
	})
}

// entity is 500 bytes in JSON.
func entity() user { return user{Name: strings.Repeat("n", 400), Version: 1, Seen: time.Now().UTC()} }

// BenchmarkRemoteHit sets an entity, and twenty, from Redis beside a bare GET; the bars are 1.15 times
// and twice.
func BenchmarkRemoteHit(b *testing.B) {
	url := services.Redis(b)
	c := client(b, url)
	encoded, _ := json.Marshal(entity())
	c.Set(b.Context(), "bare", encoded, 0)
	load := func(context.Context, string) (user, error) { return entity(), nil }
	// Memory keeps what may never be stale for 5 s, so that each step of the clock sends us to Redis.
	now := newClock()
	o := cache.Options[string, user]{Name: "user", TTL: 100_000 * time.Hour, Key: identity, NeverStale: true, Now: now.now}
	l := layer(b, remote(b, url), nil, o)
	keys := make([]string, 20)
	for i := range keys {
		keys[i] = fmt.Sprint(i)
		_, _ = l.Get(b.Context(), keys[i], load)
	}
	before := uint64(0)
	step := func(b *testing.B) {
		now.advance(6 * time.Second)
		if got := l.Stats().RemoteHits; got != before {
			b.Fatalf("%d hits in Redis, want %d", got, before)
		}
	}
	b.Run("bare GET", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.Get(b.Context(), "bare").Bytes(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("one entity", func(b *testing.B) {
		for b.Loop() {
			step(b)
			if _, err := l.Get(b.Context(), "1", load); err != nil {
				b.Fatal(err)
			}
			before++
		}
	})
	b.Run("twenty entities", func(b *testing.B) {
		none := func(context.Context, []string) (map[string]user, error) { return nil, nil }
		for b.Loop() {
			step(b)
			if got, err := l.GetMany(b.Context(), keys, none); err != nil || len(got) != 20 {
				b.Fatal(len(got), err)
			}
			before += 20
		}
	})
}

// BenchmarkMiss is a load without Redis, with it, and with one that is dead.
func BenchmarkMiss(b *testing.B) {
	load := func(context.Context, string) (user, error) { return entity(), nil }
	miss := func(b *testing.B, r *cache.Remote) {
		o := cache.Options[string, user]{Name: "user", Key: identity, MaxBytes: 1 << 20}
		l := layer(b, r, nil, o)
		i := 0
		for b.Loop() {
			_, _ = l.Get(b.Context(), fmt.Sprint(b.N, i), load)
			i++
		}
	}
	b.Run("memory", func(b *testing.B) { miss(b, nil) })
	b.Run("redis", func(b *testing.B) { miss(b, remote(b, services.Redis(b))) })
	b.Run("dead redis", func(b *testing.B) {
		server := services.StartRedis(b)
		r := remote(b, server.URL)
		server.Kill()
		miss(b, r)
	})
	b.Run("paused redis", func(b *testing.B) {
		server := services.StartRedis(b)
		r := remote(b, server.URL)
		server.Pause()
		miss(b, r)
		server.Resume()
	})
}

// BenchmarkDeadRedis is the first failure: one GET of the tuned client on a Redis that is gone.
func BenchmarkDeadRedis(b *testing.B) {
	server := services.StartRedis(b)
	c := client(b, server.URL)
	server.Kill()
	for b.Loop() {
		if c.Get(b.Context(), "any").Err() == nil {
			b.Fatal("the dead answer")
		}
	}
}

func BenchmarkInvalidate(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		l := layer(b, nil, newHub(), options(nil))
		for b.Loop() {
			_ = l.Invalidate(b.Context(), "ada")
		}
	})
	b.Run("redis", func(b *testing.B) {
		l := layer(b, remote(b, services.Redis(b)), newHub(), options(nil))
		for b.Loop() {
			_ = l.Invalidate(b.Context(), "ada")
		}
	})
}

// BenchmarkGocacheAdapter is a hit through the interface of gocache.
func BenchmarkGocacheAdapter(b *testing.B) {
	l := layer(b, nil, nil, options(nil))
	var c gocache.CacheInterface[user] = cache.AsGocache(l)
	_ = c.Set(b.Context(), "ada", entity())
	for b.Loop() {
		_, _ = c.Get(b.Context(), "ada")
	}
}
