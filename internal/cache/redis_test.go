package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	gocache "github.com/eko/gocache/lib/v4/cache"
	"github.com/eko/gocache/lib/v4/store"

	"gatehouse/internal/cache"
	"gatehouse/test/services"
)

// pair are two servers of one deployment: one Redis, one hub, a memory each.
func pair(t testing.TB, url string, h *hub, o cache.Options[string, user]) (a, b *cache.Layer[string, user]) {
	t.Helper()
	return layer(t, remote(t, url), h, o), layer(t, remote(t, url), h, o)
}

func TestWhatOneServerLoadedAnotherFindsInRedis(t *testing.T) {
	services.EachRedis(t, func(t *testing.T, url string) {
		a, b := pair(t, url, newHub(), options(nil))
		d := newTable()
		d.mu.Lock()
		d.rows["ada"] = user{Name: "Ada", Version: 1, Notes: []string{strings.Repeat("long ", 2000)}, Seen: time.Now().UTC()}
		d.mu.Unlock()
		expect(t, a, d, "ada", 1)
		expect(t, b, d, "ada", 1)
		expect(t, a, d, "nobody", -1)
		expect(t, b, d, "nobody", -1)
		expectReads(t, d, 2)
		got, _ := b.Get(t.Context(), "ada", d.load)
		if want := d.rows["ada"]; len(got.Notes) != 1 || got.Notes[0] != want.Notes[0] || !got.Seen.Equal(want.Seen) {
			t.Errorf("the other server has another value: %.100v", got)
		}
		if stats := b.Stats(); stats.RemoteHits != 2 || stats.Loads != 0 {
			t.Errorf("stats %+v", stats)
		}
	})
}

func TestKeysInRedisAreNamespacedHashedAndExpire(t *testing.T) {
	url := services.Redis(t)
	l, d := layer(t, remote(t, url), nil, options(nil)), newTable()
	for _, key := range []string{"usr_1", "a free text", "#" + strings.Repeat("0", 64), strings.Repeat("x", 101), ""} {
		d.write(key, 1)
		expect(t, l, d, key, 1)
	}
	expect(t, l, d, "absent", -1)
	c := client(t, url)
	keys, err := c.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 6 {
		t.Fatalf("keys %q, %v", keys, err)
	}
	plain := 0
	for _, key := range keys {
		id, ours := strings.CutPrefix(key, "gh:test:user:1:")
		if id == "usr_1" || id == "absent" {
			plain++
		} else if !ours || len(id) != 65 || id[0] != '#' {
			t.Errorf("key %q", key)
		}
		life := c.PTTL(t.Context(), key).Val()
		if most := 4*66*time.Second + time.Second; life <= 0 || life > most {
			t.Errorf("%s expires in %v", key, life)
		}
		if id == "absent" && life > 7*time.Second {
			t.Errorf("an absence expires in %v", life)
		}
	}
	if plain != 2 {
		t.Errorf("%d plain keys in %q, want 2", plain, keys)
	}
}

func TestANeverStaleEntryLeavesRedisWhenItIsOld(t *testing.T) {
	url := services.Redis(t)
	o := options(nil)
	o.NeverStale = true
	l, d := layer(t, remote(t, url), nil, o), newTable()
	d.write("ada", 1)
	expect(t, l, d, "ada", 1)
	if life := client(t, url).PTTL(t.Context(), "gh:test:user:1:ada").Val(); life <= 0 || life > 67*time.Second {
		t.Errorf("expires in %v", life)
	}
}

func TestAnotherServersMemoryForgetsWhatWasInvalidated(t *testing.T) {
	services.EachRedis(t, func(t *testing.T, url string) {
		a, b := pair(t, url, newHub(), options(nil))
		d := newTable()
		d.write("ada", 1)
		d.write("\xff", 1) // a key that JSON cannot carry
		for _, key := range []string{"ada", "\xff"} {
			expect(t, a, d, key, 1)
			expect(t, b, d, key, 1)
			d.write(key, 2)
			if err := a.Invalidate(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			expect(t, b, d, key, 2)
			expect(t, a, d, key, 2)
		}
	})
}

func TestInvalidateGoesOnWhenItsCallerHasGone(t *testing.T) {
	a, b := pair(t, services.Redis(t), newHub(), options(nil))
	d := newTable()
	d.write("ada", 1)
	expect(t, a, d, "ada", 1)
	expect(t, b, d, "ada", 1)
	d.write("ada", 2)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Invalidate(gone, "ada"); err != nil {
		t.Fatal(err)
	}
	expect(t, a, d, "ada", 2)
	expect(t, b, d, "ada", 2)
}

func TestAGapEmptiesMemoryAndOutdatesLoadsUnderWay(t *testing.T) {
	h := newHub()
	l, d := layer(t, nil, h, options(nil)), newTable()
	d.write("ada", 1)
	d.write("eve", 1)
	expect(t, l, d, "ada", 1)
	begun, finish := make(chan struct{}), make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		_, _ = l.Get(context.Background(), "eve", func(ctx context.Context, key string) (user, error) {
			got, err := d.load(ctx, key)
			close(begun)
			<-finish
			return got, err
		})
	})
	<-begun // it has read version 1 of eve
	h.sever()
	d.write("ada", 2)
	d.write("eve", 2)
	h.mend()
	expect(t, l, d, "ada", 2)
	var joined user
	done.Go(func() { joined, _ = l.Get(context.Background(), "eve", d.load) })
	eventually(t, "another waits for eve", func() bool { return l.Stats().Misses == 4 })
	close(finish)
	done.Wait()
	if joined.Version != 2 {
		t.Errorf("a Get after the gap got version %d of eve, from a load before it", joined.Version)
	}
	expect(t, l, d, "eve", 2)
}

func TestALoadThatSpansAGapIsServedToNobodyElse(t *testing.T) {
	h := newHub()
	l, d := layer(t, nil, h, options(nil)), newTable()
	d.write("ada", 1)
	if _, err := l.Get(t.Context(), "ada", func(ctx context.Context, key string) (user, error) {
		got, err := d.load(ctx, key)
		d.write("ada", 2)
		h.mend()
		return got, err
	}); err != nil {
		t.Fatal(err)
	}
	expect(t, l, d, "ada", 2)
}

// TestNoReadAfterAnInvalidationIsOlderThanIt races loads that have read the old value, one on each
// server, against a write and its invalidation. Whatever is read once Invalidate has returned is new,
// and so it is when the loads have ended.
func TestNoReadAfterAnInvalidationIsOlderThanIt(t *testing.T) {
	for _, form := range []string{"memory", "redis"} {
		t.Run(form, func(t *testing.T) {
			h, d := newHub(), newTable()
			var a, b *cache.Layer[string, user]
			trials := *races
			if form == "redis" {
				a, b = pair(t, services.Redis(t), h, options(nil))
				trials /= 4
			} else {
				a, b = layer(t, nil, h, options(nil)), layer(t, nil, h, options(nil))
			}
			stale := 0
			for i := range trials {
				key := fmt.Sprint(i)
				d.write(key, 1)
				ended := straddle(d, key, a, b)
				d.write(key, 2)
				if err := a.Invalidate(t.Context(), key); err != nil {
					t.Fatal(err)
				}
				stale += countOld(t, d, key, a, b)
				ended.Wait()
				stale += countOld(t, d, key, a, b)
			}
			if stale != 0 {
				t.Errorf("%d stale reads in %d trials", stale, trials)
			}
			if a.Stats().Raced+b.Stats().Raced == 0 { // which of the two was overtaken is up to the scheduler
				t.Errorf("no load was raced: the trials try nothing: %+v, %+v", a.Stats(), b.Stats())
			}
		})
	}
}

// straddle begins a load of key on each server, the second by GetMany, and returns once one has, or
// both have, read it; they end some turns of the scheduler later.
func straddle(d *table, key string, a, b *cache.Layer[string, user]) *sync.WaitGroup {
	var ended sync.WaitGroup
	begun := make(chan struct{}, 8)
	linger := func() {
		turns := rand.IntN(64)
		begun <- struct{}{}
		for range turns {
			runtime.Gosched()
		}
	}
	ended.Go(func() {
		defer func() { begun <- struct{}{} }() // found in Redis what the other loaded
		_, _ = a.Get(context.Background(), key, func(ctx context.Context, key string) (user, error) {
			got, err := d.load(ctx, key)
			linger()
			return got, err
		})
	})
	ended.Go(func() {
		defer func() { begun <- struct{}{} }()
		_, _ = b.GetMany(context.Background(), []string{key}, func(ctx context.Context, keys []string) (map[string]user, error) {
			got, err := d.loadMany(ctx, keys)
			linger()
			return got, err
		})
	})
	<-begun
	if d.reads.Load()%2 == 0 { // at times, do not wait for the second
		<-begun
	}
	return &ended
}

// countOld reads key on both servers and counts the answers that are not of version 2.
func countOld(t *testing.T, d *table, key string, a, b *cache.Layer[string, user]) int {
	t.Helper()
	old := 0
	for _, l := range []*cache.Layer[string, user]{a, b} {
		got, err := l.Get(t.Context(), key, d.load)
		if err != nil {
			t.Fatal(err)
		}
		if got.Version != 2 {
			old++
		}
	}
	return old
}

func TestWithADeadRedisMemoryAndLoadsGoOnAndNothingIsStaleAfterwards(t *testing.T) {
	server := services.StartRedis(t)
	c, h, d := newClock(), newHub(), newTable()
	ra, rb := remote(t, server.URL), remote(t, server.URL)
	a, b := layer(t, ra, h, options(c)), layer(t, rb, h, options(c))
	for _, key := range []string{"ada", "eve", "kim"} {
		d.write(key, 1)
		expect(t, a, d, key, 1)
		expect(t, b, d, key, 1)
	}
	server.Kill()
	d.write("ada", 2)
	_ = a.Invalidate(t.Context(), "ada")
	expect(t, a, d, "ada", 2)
	expect(t, b, d, "ada", 2)
	d.write("eve", 2) // no invalidation: memory may serve the old value for 5 s
	expect(t, a, d, "eve", 1)
	c.advance(6 * time.Second)
	expect(t, a, d, "eve", 2)
	d.write("kim", 2) // and would for a minute, were memory not dropped when Redis is back
	for i := 0; ra.Up() || rb.Up(); i++ {
		expect(t, b, d, fmt.Sprint("other", i), -1)
	}
	server.Restart(t)
	eventually(t, "Redis is used again", func() bool { return ra.Up() && rb.Up() })
	for _, l := range []*cache.Layer[string, user]{a, b} {
		for _, key := range []string{"ada", "eve", "kim"} {
			expect(t, l, d, key, 2)
		}
	}
	if stats := b.Stats(); stats.RemoteHits < 3 {
		t.Errorf("the other server did not find them in Redis: %+v", stats)
	}
}

// TestAnInvalidationThatRedisMissedIsMadeUpFor cuts the wire between a server and Redis, which keeps
// what is invalidated meanwhile.
func TestAnInvalidationThatRedisMissedIsMadeUpFor(t *testing.T) {
	for _, owed := range []int{1, 20_000} {
		t.Run(fmt.Sprint(owed), func(t *testing.T) {
			url := services.Redis(t)
			w := newWire(t, url)
			ra, rb := remote(t, w.url), remote(t, url)
			h, d := newHub(), newTable()
			a, b := layer(t, ra, h, options(nil)), layer(t, rb, h, options(nil))
			d.write("ada", 1)
			expect(t, a, d, "ada", 1)
			w.cut()
			d.write("ada", 2)
			keys := []string{"ada"}
			for i := range owed - 1 {
				keys = append(keys, fmt.Sprint(i))
			}
			if err := a.Invalidate(t.Context(), keys...); err != nil {
				t.Fatal(err)
			}
			if ra.Up() {
				t.Error("Redis counts as up after a failed invalidation")
			}
			expect(t, a, d, "ada", 2)
			expect(t, b, d, "ada", 1) // from Redis: nobody else can know
			w.join()
			eventually(t, "Redis is used again", ra.Up)
			expect(t, b, d, "ada", 2)
			expect(t, a, d, "ada", 2)
		})
	}
}

func TestADeadRedisCostsNothingAfterThreeFailures(t *testing.T) {
	server := services.StartRedis(t)
	r := remote(t, server.URL)
	l, d := layer(t, r, nil, options(nil)), newTable()
	server.Pause()
	for i := range 3 {
		d.write(fmt.Sprint(i), 1)
		expect(t, l, d, fmt.Sprint(i), 1)
	}
	if r.Up() {
		t.Error("Redis counts as up")
	}
	server.Resume()
	eventually(t, "Redis is used again", r.Up)
}

func TestInvalidateAllEmptiesOneLayerEverywhereAndNothingElse(t *testing.T) {
	services.EachRedis(t, func(t *testing.T, url string) {
		h := newHub()
		a, b := pair(t, url, h, options(nil))
		other := options(nil)
		other.Name = "user2"
		beside := layer(t, remote(t, url), h, other)
		c := client(t, url)
		c.Set(t.Context(), "work:queue", "jobs", 0)
		d := newTable()
		for i := range 2500 {
			d.write(fmt.Sprint(i), 1)
		}
		expect(t, beside, d, "1", 1)
		expect(t, b, d, "1", 1)
		keys := make([]string, 2500)
		for i := range keys {
			keys[i] = fmt.Sprint(i)
		}
		if _, err := a.GetMany(t.Context(), keys, d.loadMany); err != nil {
			t.Fatal(err)
		}
		for i := range keys {
			d.write(fmt.Sprint(i), 2)
		}
		if err := a.InvalidateAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := b.GetMany(t.Context(), keys, d.loadMany)
		if err != nil {
			t.Fatal(err)
		}
		for key, u := range got {
			if u.Version != 2 {
				t.Fatalf("%s has version %d", key, u.Version)
			}
		}
		expect(t, beside, d, "1", 1)
		if c.Get(t.Context(), "work:queue").Val() != "jobs" {
			t.Error("a key that is not ours is gone")
		}
	})
}

func TestALayerRunsWhatIsWrittenAgainstGocache(t *testing.T) {
	services.EachRedis(t, func(t *testing.T, url string) {
		a, b := pair(t, url, newHub(), options(nil))
		var one, two gocache.CacheInterface[user] = cache.AsGocache(a), cache.AsGocache(b)
		ctx := t.Context()
		missing := (*store.NotFound)(nil)
		if _, err := one.Get(ctx, "ada"); !errors.As(err, &missing) {
			t.Fatalf("got %v, want NotFound", err)
		}
		if err := two.Set(ctx, "ada", user{Version: 1}, store.WithExpiration(time.Hour)); err != nil {
			t.Fatal(err)
		}
		for _, c := range []gocache.CacheInterface[user]{one, two} {
			if got, err := c.Get(ctx, "ada"); err != nil || got.Version != 1 {
				t.Fatalf("got %+v, %v", got, err)
			}
		}
		if err := one.Set(ctx, "ada", user{Version: 2}); err != nil {
			t.Fatal(err)
		}
		if got, err := two.Get(ctx, "ada"); err != nil || got.Version != 2 {
			t.Fatalf("after the other's Set: %+v, %v", got, err)
		}
		if err := two.Delete(ctx, "ada"); err != nil {
			t.Fatal(err)
		}
		if _, err := one.Get(ctx, "ada"); !errors.As(err, &missing) {
			t.Fatalf("after Delete: %v", err)
		}
		_ = one.Set(ctx, "eve", user{Version: 1})
		if err := two.Clear(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := one.Get(ctx, "eve"); !errors.As(err, &missing) {
			t.Fatalf("after Clear: %v", err)
		}
		if _, err := one.Get(ctx, 7); err == nil {
			t.Error("a key that is not a string is accepted")
		}
		if err := one.Set(ctx, "ada", user{}, store.WithTags([]string{"x"})); err == nil {
			t.Error("tags are accepted")
		}
		if err := one.Invalidate(ctx); err == nil {
			t.Error("invalidation by tags is accepted")
		}
	})
}

func TestALoadDoesNotReplaceInRedisWhatWasSetMeanwhile(t *testing.T) {
	services.EachRedis(t, func(t *testing.T, url string) {
		a, b := pair(t, url, newHub(), options(nil))
		d := newTable()
		d.write("ada", 1)
		if _, err := b.Get(t.Context(), "ada", func(ctx context.Context, key string) (user, error) {
			got, err := d.load(ctx, key)
			d.write("ada", 2)
			if err := a.Set(ctx, "ada", user{Version: 2}, 0); err != nil {
				t.Error(err)
			}
			return got, err
		}); err != nil {
			t.Fatal(err)
		}
		expect(t, b, d, "ada", 2)
		if stats := b.Stats(); stats.RemoteHits == 0 {
			t.Errorf("not from Redis: %+v", stats)
		}
	})
}

func TestGarbageInRedisIsAMiss(t *testing.T) {
	url := services.Redis(t)
	c := client(t, url)
	for i, garbage := range []string{
		"", "\x00", "\x09", "\x01", "\x01" + strings.Repeat("\x00", 16), "\x02" + strings.Repeat("\x00", 16) + "\xff\xff\xff\xff\xff",
		"\x01" + strings.Repeat("\xff", 16) + "{}", strings.Repeat("x", 100),
	} {
		l, d := layer(t, remote(t, url), nil, options(nil)), newTable()
		d.write("ada", 1)
		c.Set(t.Context(), "gh:test:user:1:ada", garbage, time.Minute)
		if got, err := l.Get(t.Context(), "ada", d.load); err != nil || got.Version != 1 {
			t.Errorf("garbage %d: %+v, %v", i, got, err)
		}
	}
}

func TestAServerWithAWrongClockDoesNotMakeAnEntryLiveLonger(t *testing.T) {
	url := services.Redis(t)
	right, wrong := newClock(), newClock()
	wrong.advance(24 * time.Hour)
	a, b := layer(t, remote(t, url), nil, options(wrong)), layer(t, remote(t, url), nil, options(right))
	d := newTable()
	d.write("ada", 1)
	expect(t, a, d, "ada", 1)
	expect(t, b, d, "ada", 1)
	expectReads(t, d, 1)
	right.advance(67 * time.Second)
	expect(t, b, d, "ada", 1)
	if stats := b.Stats(); stats.RemoteHits != 2 {
		t.Errorf("memory kept the entry for more than a TTL and a tenth: %+v", stats)
	}
}
