package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"gatehouse/internal/cache"
	"gatehouse/test/services"
)

func TestAValueIsLoadedOnceAndAgainAfterAnInvalidation(t *testing.T) {
	l, d := layer(t, nil, nil, options(nil)), newTable()
	d.write("ada", 1)
	for range 3 {
		expect(t, l, d, "ada", 1)
	}
	expectReads(t, d, 1)
	d.write("ada", 2)
	if err := l.Invalidate(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	expect(t, l, d, "ada", 2)
	expectReads(t, d, 2)
}

func TestAnAbsenceIsKeptUntilInvalidatedOrOld(t *testing.T) {
	c := newClock()
	l, d := layer(t, nil, nil, options(c)), newTable() // TTL 1 min: absences 6 s
	for range 3 {
		expect(t, l, d, "ada", -1)
	}
	expectReads(t, d, 1)
	d.write("ada", 1)
	c.advance(7 * time.Second)
	expect(t, l, d, "ada", 1)
	d.delete("ada")
	_ = l.Invalidate(t.Context(), "ada")
	expect(t, l, d, "ada", -1)
	d.write("ada", 2)
	_ = l.Invalidate(t.Context(), "ada")
	expect(t, l, d, "ada", 2)
}

func TestANegativeBelowZeroKeepsNoAbsence(t *testing.T) {
	c := newClock()
	o := options(c)
	o.Negative = -1
	l, d := layer(t, nil, nil, o), newTable()
	expect(t, l, d, "ada", -1)
	c.advance(time.Millisecond)
	expect(t, l, d, "ada", -1)
	expectReads(t, d, 2)
}

func TestAThousandCallersMissOneKeyAndOneLoads(t *testing.T) {
	for _, servers := range []string{"memory", "redis"} {
		t.Run(servers, func(t *testing.T) {
			var r *cache.Remote
			if servers == "redis" {
				r = remote(t, services.Redis(t))
			}
			l := layer(t, r, nil, options(nil))
			var loads atomic.Int64
			begun, finish := make(chan struct{}), make(chan struct{})
			load := func(context.Context, string) (user, error) {
				if loads.Add(1) == 1 {
					close(begun)
				}
				<-finish
				return user{Version: 1}, nil
			}
			var ready, done sync.WaitGroup
			get := func() {
				ready.Done()
				if got, err := l.Get(context.Background(), "ada", load); err != nil || got.Version != 1 {
					t.Errorf("got %+v, %v", got, err)
				}
			}
			ready.Add(1000)
			done.Go(get)
			<-begun
			for range 999 {
				done.Go(get)
			}
			ready.Wait()
			close(finish)
			done.Wait()
			if loads.Load() != 1 {
				t.Errorf("%d loads, want 1", loads.Load())
			}
			stats := l.Stats()
			if stats.Hits+stats.Misses != 1000 || stats.Coalesced != stats.Misses-1 || stats.Loads != 1 {
				t.Errorf("stats %+v", stats)
			}
		})
	}
}

func TestACallerWhoGivesUpDoesNotFailThoseWhoWaitWithHim(t *testing.T) {
	l := layer(t, nil, nil, options(nil))
	begun := make(chan struct{}, 2)
	load := func(ctx context.Context, _ string) (user, error) {
		begun <- struct{}{}
		if ctx.Done() == nil { // the second caller, whose context does not end
			return user{Version: 1}, nil
		}
		<-ctx.Done()
		return user{}, ctx.Err()
	}
	hasty, giveUp := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if _, err := l.Get(hasty, "ada", load); !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up got %v", err)
		}
	})
	<-begun
	done.Go(func() {
		if got, err := l.Get(context.Background(), "ada", load); err != nil || got.Version != 1 {
			t.Errorf("who waited got %+v, %v", got, err)
		}
	})
	eventually(t, "the second caller waits", func() bool { return l.Stats().Misses == 2 })
	giveUp()
	done.Wait()
}

func TestAPanicOfALoadReachesItsCallerAndTheNextLoadIsTried(t *testing.T) {
	c := newClock()
	l, d := layer(t, nil, nil, options(c)), newTable()
	d.write("ada", 1)
	panicking := func(context.Context, string) (user, error) { panic("oops") }
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = l.Get(t.Context(), "ada", panicking)
	}()
	expect(t, l, d, "ada", 1)
	c.advance(53 * time.Second)
	if got, err := l.Get(t.Context(), "ada", panicking); err != nil || got.Version != 1 {
		t.Errorf("while a refresh panics: %+v, %v", got, err)
	}
	eventually(t, "the refresh fails", func() bool { return l.Stats().Failures == 1 })
}

func TestAFailedLoadIsNotKept(t *testing.T) {
	l, d := layer(t, nil, nil, options(nil)), newTable()
	d.write("ada", 1)
	d.fails.Store(true)
	if _, err := l.Get(t.Context(), "ada", d.load); !errors.Is(err, failure{}) {
		t.Fatalf("got %v", err)
	}
	d.fails.Store(false)
	expect(t, l, d, "ada", 1)
}

func TestWhileLoadsFailTheLastValueServesForFourLives(t *testing.T) {
	c := newClock()
	l, d := layer(t, nil, nil, options(c)), newTable()
	d.write("ada", 1)
	expect(t, l, d, "ada", 1)
	d.fails.Store(true)
	c.advance(70 * time.Second)
	for range 10 {
		expect(t, l, d, "ada", 1)
	}
	if stats := l.Stats(); stats.Stale != 10 || d.reads.Load() != 2 {
		t.Errorf("stats %+v, %d reads; want 10 stale and 2 reads: a failing load is not repeated at once", stats, d.reads.Load())
	}
	c.advance(2 * time.Minute)
	expect(t, l, d, "ada", 1)
	c.advance(2 * time.Minute)
	if got, err := l.Get(t.Context(), "ada", d.load); !errors.Is(err, failure{}) {
		t.Fatalf("after five minutes: %+v, %v", got, err)
	}
	d.fails.Store(false)
	d.write("ada", 2)
	expect(t, l, d, "ada", 2)
}

func TestAnInvalidatedValueNeverServesAsStale(t *testing.T) {
	c := newClock()
	l, d := layer(t, nil, nil, options(c)), newTable()
	d.write("ada", 1)
	expect(t, l, d, "ada", 1)
	c.advance(70 * time.Second)
	begun, invalidated := make(chan struct{}), make(chan struct{})
	var once sync.Once
	failing := func(context.Context, string) (user, error) {
		once.Do(func() { close(begun); <-invalidated })
		return user{}, failure{}
	}
	var got user
	var err error
	var done sync.WaitGroup
	done.Go(func() { got, err = l.Get(context.Background(), "ada", failing) })
	<-begun
	_ = l.Invalidate(t.Context(), "ada")
	close(invalidated)
	done.Wait()
	if !errors.Is(err, failure{}) {
		t.Fatalf("got %+v, %v; want the failure", got, err)
	}
	if _, err := l.Get(t.Context(), "ada", failing); !errors.Is(err, failure{}) {
		t.Fatalf("afterwards: %v", err)
	}
}

func TestANeverStaleLayerFailsWithItsLoad(t *testing.T) {
	c := newClock()
	o := options(c)
	o.NeverStale = true
	l, d := layer(t, nil, nil, o), newTable()
	d.write("ada", 1)
	expect(t, l, d, "ada", 1)
	d.fails.Store(true)
	c.advance(70 * time.Second)
	if got, err := l.Get(t.Context(), "ada", d.load); !errors.Is(err, failure{}) {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestAValueInUseIsRefreshedBeforeItExpires(t *testing.T) {
	c := newClock()
	l, d := layer(t, nil, nil, options(c)), newTable()
	d.write("ada", 1)
	expect(t, l, d, "ada", 1)
	d.write("ada", 2)
	c.advance(53 * time.Second) // past four fifths of 54 s at the least, before 54 s
	expect(t, l, d, "ada", 1)
	eventually(t, "the refresh", func() bool {
		got, err := l.Get(context.Background(), "ada", d.load)
		return err == nil && got.Version == 2
	})
	expectReads(t, d, 2)
}

func TestARefreshThatRacedAnInvalidationStoresNothing(t *testing.T) {
	c := newClock()
	l, d := layer(t, nil, nil, options(c)), newTable()
	d.write("ada", 1)
	expect(t, l, d, "ada", 1)
	c.advance(53 * time.Second)
	begun, finish := make(chan struct{}), make(chan struct{})
	slow := func(ctx context.Context, key string) (user, error) {
		got, err := d.load(ctx, key)
		close(begun)
		<-finish
		return got, err
	}
	if got, _ := l.Get(t.Context(), "ada", slow); got.Version != 1 {
		t.Fatalf("got %+v", got)
	}
	<-begun // it has read version 1
	d.write("ada", 2)
	_ = l.Invalidate(t.Context(), "ada")
	expect(t, l, d, "ada", 2)
	close(finish)
	eventually(t, "the refresh ends", func() bool { return l.Stats().Raced == 1 })
	expect(t, l, d, "ada", 2)
}

func TestCloseWaitsForRefreshesAndCancelsThem(t *testing.T) {
	c := newClock()
	l, d := layer(t, nil, nil, options(c)), newTable()
	d.write("ada", 1)
	expect(t, l, d, "ada", 1)
	c.advance(53 * time.Second)
	begun, ended := make(chan struct{}), atomic.Bool{}
	_, _ = l.Get(t.Context(), "ada", func(ctx context.Context, _ string) (user, error) {
		close(begun)
		<-ctx.Done()
		ended.Store(true)
		return user{}, ctx.Err()
	})
	<-begun
	l.Close()
	if !ended.Load() {
		t.Error("Close returned before the refresh had")
	}
}

func TestValuesLoadedTogetherDoNotExpireTogether(t *testing.T) {
	c := newClock()
	l, d := layer(t, nil, nil, options(c)), newTable()
	keys := make([]string, 200)
	for i := range keys {
		keys[i] = fmt.Sprint("user", i)
		d.write(keys[i], 1)
		expect(t, l, d, keys[i], 1)
	}
	reloadedBy := func(after time.Duration) int64 {
		c.advance(after)
		before := l.Stats().Misses
		for _, key := range keys {
			_, _ = l.Lookup(t.Context(), key)
		}
		return int64(l.Stats().Misses - before)
	}
	if n := reloadedBy(53 * time.Second); n != 0 {
		t.Errorf("%d of 200 expired before 54 s", n)
	}
	if n := reloadedBy(7 * time.Second); n < 40 || n > 160 {
		t.Errorf("%d of 200 have expired at the TTL, want about half", n)
	}
	if n := reloadedBy(7 * time.Second); n != 200 {
		t.Errorf("%d of 200 have expired after 66 s", n)
	}
}

func TestMemoryIsBoundedByBytes(t *testing.T) {
	l := layer(t, nil, nil, cache.Options[int, string]{
		Name: "blob", MaxBytes: 1 << 20, Weigh: func(int, string) int { return 10 << 10 },
	})
	for i := range 1000 {
		_, _ = l.Get(t.Context(), i, func(context.Context, int) (string, error) { return "x", nil })
	}
	eventually(t, "room is made", func() bool {
		stats := l.Stats()
		return stats.Bytes <= 1<<20 && stats.Entries <= 102 && stats.Evicted >= 898
	})
}

func TestStructKeysThatPrintAlikeAreTwo(t *testing.T) {
	type key struct{ User, Query string }
	l := layer(t, nil, nil, cache.Options[key, string]{Name: "answer"})
	for _, k := range []key{{"alice x", "me"}, {"alice", "x me"}} {
		got, err := l.Get(t.Context(), k, func(_ context.Context, k key) (string, error) { return k.User, nil })
		if err != nil || got != k.User {
			t.Errorf("%+v: got %q, %v", k, got, err)
		}
	}
}

func TestGetManyAsksMemoryThenLoadsTheRestOnce(t *testing.T) {
	for _, form := range []string{"memory", "redis"} {
		t.Run(form, func(t *testing.T) {
			var r *cache.Remote
			if form == "redis" {
				r = remote(t, services.Redis(t))
			}
			l, d := layer(t, r, nil, options(nil)), newTable()
			for i := range 10 {
				d.write(fmt.Sprint(i), i)
			}
			expect(t, l, d, "3", 3)
			expect(t, l, d, "x", -1)
			keys := []string{"0", "3", "x", "7", "0", "y"}
			for range 2 {
				got, err := l.GetMany(t.Context(), keys, d.loadMany)
				if err != nil {
					t.Fatal(err)
				}
				want := map[string]int{"0": 0, "3": 3, "7": 7}
				versions := make(map[string]int)
				for key, u := range got {
					versions[key] = u.Version
				}
				if diff := cmp.Diff(want, versions); diff != "" {
					t.Fatal(diff)
				}
			}
			expectReads(t, d, 3)
			expect(t, l, d, "7", 7)
			expect(t, l, d, "y", -1)
			expectReads(t, d, 3)
			if none, err := l.GetMany(t.Context(), nil, d.loadMany); err != nil || len(none) != 0 {
				t.Errorf("no keys: %v, %v", none, err)
			}
		})
	}
}

func TestGetManyServesStaleValuesOnlyIfItHasThemAll(t *testing.T) {
	c := newClock()
	l, d := layer(t, nil, nil, options(c)), newTable()
	d.write("a", 1)
	d.write("b", 1)
	if _, err := l.GetMany(t.Context(), []string{"a", "b"}, d.loadMany); err != nil {
		t.Fatal(err)
	}
	c.advance(70 * time.Second)
	d.fails.Store(true)
	got, err := l.GetMany(t.Context(), []string{"a", "b"}, d.loadMany)
	if err != nil || len(got) != 2 {
		t.Fatalf("got %v, %v", got, err)
	}
	c.advance(2 * time.Second)
	if got, err := l.GetMany(t.Context(), []string{"a", "c"}, d.loadMany); !errors.Is(err, failure{}) {
		t.Fatalf("with a key that has none: %v, %v", got, err)
	}
}

func TestALookupDoesNotLoadAndALoadDoesNotMistakeItForOne(t *testing.T) {
	l, d := layer(t, nil, nil, options(nil)), newTable()
	d.write("ada", 1)
	if got, err := l.Lookup(t.Context(), "ada"); !errors.Is(err, cache.ErrAbsent) {
		t.Fatalf("got %+v, %v", got, err)
	}
	expectReads(t, d, 0)
	expect(t, l, d, "ada", 1)
	if got, err := l.Lookup(t.Context(), "ada"); err != nil || got.Version != 1 {
		t.Fatalf("got %+v, %v", got, err)
	}
}

// TestWhatIsReadWasTrueNotLongAgo draws writes, invalidations, reads and pauses for one layer and holds
// every answer against what the database held.
func TestWhatIsReadWasTrueNotLongAgo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		o := options(c)
		o.NeverStale = rapid.Bool().Draw(t, "never stale")
		l, err := cache.New(nil, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		d := newTable()
		type write struct {
			at      time.Time
			version int // below zero: deleted
		}
		history := []write{{c.now(), -1}} // since the last invalidation; the last is the present
		const longest = 67 * time.Second  // a minute and a tenth
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				d.write("ada", step)
				history = append(history, write{c.now(), step})
			case 1:
				d.delete("ada")
				history = append(history, write{c.now(), -1})
			case 2:
				_ = l.Invalidate(context.Background(), "ada")
				history = history[len(history)-1:]
			case 3:
				c.advance(time.Duration(rapid.IntRange(0, 50).Draw(t, "seconds")) * time.Second)
			default:
				got, err := l.Get(context.Background(), "ada", d.load)
				if errors.Is(err, cache.ErrAbsent) {
					got.Version, err = -1, nil
				}
				if err != nil {
					t.Fatal(err)
				}
				ok := false
				for i, w := range history {
					replaced := i+1 < len(history) && c.now().Sub(history[i+1].at) > longest
					ok = ok || w.version == got.Version && !replaced
				}
				if !ok {
					t.Fatalf("got version %d; history %+v, now %v", got.Version, history, c.now())
				}
			}
		}
	})
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	r := remote(t, services.Redis(t))
	type hidden struct{ _ string }
	type skipped struct {
		Name string `json:"-"`
	}
	for name, build := range map[string]func() error{
		"no name":           func() error { _, err := cache.New(nil, nil, cache.Options[string, int]{}); return err },
		"a name with space": func() error { _, err := cache.New(nil, nil, cache.Options[string, int]{Name: "a b"}); return err },
		"TTL below zero": func() error {
			_, err := cache.New(nil, nil, cache.Options[string, int]{Name: "a", TTL: -1})
			return err
		},
		"Redis without Key": func() error { _, err := cache.New(r, nil, cache.Options[string, int]{Name: "a"}); return err },
		"unexported field": func() error {
			_, err := cache.New(r, nil, cache.Options[string, []hidden]{Name: "a", Key: identity})
			return err
		},
		"skipped field": func() error {
			_, err := cache.New(r, nil, cache.Options[string, *skipped]{Name: "a", Key: identity})
			return err
		},
		"interface": func() error {
			_, err := cache.New(r, nil, cache.Options[string, map[string]any]{Name: "a", Key: identity})
			return err
		},
		"namespace": func() error { _, err := cache.NewRemote(nil, cache.RemoteOptions{Namespace: "a*"}); return err },
	} {
		if build() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTheDefaultWeightCountsWhatAValueReaches(t *testing.T) {
	type node struct {
		Text string
		Next *node
		Tags map[string][]byte
		Any  any
	}
	loop := &node{Text: strings.Repeat("x", 1000)}
	loop.Next = loop
	for name, row := range map[string]struct {
		value       *node
		least, most uint64
	}{
		"nothing": {nil, 1, 400},
		"a loop":  {loop, 1000, 1600},
		"a map":   {&node{Tags: map[string][]byte{"a": make([]byte, 5000)}}, 5000, 5600},
		"any":     {&node{Any: strings.Repeat("y", 3000)}, 3000, 3600},
	} {
		l := layer(t, nil, nil, cache.Options[string, *node]{Name: "node"})
		_, _ = l.Get(t.Context(), "k", func(context.Context, string) (*node, error) { return row.value, nil })
		eventually(t, name, func() bool { return l.Stats().Entries == 1 && l.Stats().Bytes > 0 })
		if bytes := l.Stats().Bytes; bytes < row.least || bytes > row.most {
			t.Errorf("%s: %d bytes, want %d to %d", name, bytes, row.least, row.most)
		}
	}
}
