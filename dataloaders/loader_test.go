package dataloaders

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func newLoader[V any](c *company[int], f fetch[int, V]) *Loader[int, V] {
	l := &Loader[int, V]{}
	l.from(c, f)
	return l
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryKeyGetsItsOwnValueWhateverIsMissingOrAskedTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(rapid.IntRange(1, 40), 1, 200).Draw(t, "keys")
		met := rapid.SliceOfN(rapid.IntRange(0, 60), 0, 100).Draw(t, "met")
		there := rapid.MapOf(rapid.IntRange(1, 40), rapid.String()).Draw(t, "there")
		var mu sync.Mutex
		seen := map[int]bool{}
		c := &company[int]{}
		l := newLoader(c, func(_ context.Context, asked []int) (map[int]string, error) {
			mu.Lock()
			defer mu.Unlock()
			found := map[int]string{}
			for _, k := range asked {
				if seen[k] {
					t.Errorf("key %d was fetched twice", k)
				}
				seen[k] = true
				if v, ok := there[k]; ok {
					found[k] = v
				}
			}
			return found, nil
		})
		var wait sync.WaitGroup
		wait.Go(func() { c.meet(met) })
		for _, k := range keys {
			wait.Go(func() {
				v, err := l.Load(context.Background(), k)
				want, ok := there[k]
				if v != want || errors.Is(err, ErrMissing) == ok {
					t.Errorf("Load(%d) = %q, %v; want %q, there: %v", k, v, err, want, ok)
				}
			})
		}
		wait.Wait()
		if seen[0] {
			t.Error("nobody was fetched")
		}
	})
}

func TestTheFirstThatAsksFetchesForItsCompany(t *testing.T) {
	fetches := 0
	c := &company[int]{}
	l := newLoader(c, func(_ context.Context, keys []int) (map[int]int, error) {
		fetches++
		found := map[int]int{}
		for _, k := range keys {
			found[k] = k
		}
		return found, nil
	})
	load := func(keys ...int) {
		t.Helper()
		for _, k := range keys {
			if v, err := l.Load(t.Context(), k); v != k || err != nil {
				t.Errorf("Load(%d) = %d, %v", k, v, err)
			}
		}
	}
	c.meet([]int{1, 2, 3, 2, 1})
	load(2, 1, 3, 2)
	if fetches != 1 {
		t.Errorf("three of a company cost %d fetches", fetches)
	}
	c.meet([]int{3, 4, 5})
	load(5, 4, 3, 1)
	if fetches != 2 {
		t.Errorf("with two more in company: %d fetches, want 2", fetches)
	}
	load(6)
	if fetches != 3 {
		t.Errorf("with one who comes alone: %d fetches, want 3", fetches)
	}
}

func TestALargeCompanyIsFetchedInParts(t *testing.T) {
	var sizes []int
	c := &company[int]{}
	l := newLoader(c, func(_ context.Context, keys []int) (map[int]bool, error) {
		sizes = append(sizes, len(keys))
		found := map[int]bool{}
		for _, k := range keys {
			found[k] = true
		}
		return found, nil
	})
	const all = 2*maxBatch + 10
	for k := range all {
		c.meet([]int{k + 1})
	}
	for k := all; k > 0; k-- {
		if _, err := l.Load(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	if want := []int{maxBatch, maxBatch, 10}; !slices.Equal(sizes, want) {
		t.Errorf("fetches of %v keys, want %v", sizes, want)
	}
}

func TestAFailedFetchFailsAllItsKeys(t *testing.T) {
	broken := errors.New("the database is away")
	c := &company[int]{}
	c.meet([]int{1, 2})
	l := newLoader(c, func(context.Context, []int) (map[int]int, error) { return nil, broken })
	for _, k := range []int{1, 2} {
		if _, err := l.Load(t.Context(), k); !errors.Is(err, broken) {
			t.Errorf("Load(%d) = %v", k, err)
		}
	}
}

func TestACallerWhoLeavesDoesNotHoldTheOthers(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	l := newLoader(&company[int]{}, func(_ context.Context, keys []int) (map[int]int, error) {
		close(begun)
		<-finish
		return map[int]int{1: 1}, nil
	})
	var wait sync.WaitGroup
	wait.Go(func() {
		if v, err := l.Load(t.Context(), 1); v != 1 || err != nil {
			t.Errorf("the one who stayed got %d, %v", v, err)
		}
	})
	<-begun
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Load(gone, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("the one who left got %v", err)
	}
	close(finish)
	wait.Wait()
}

func TestEachSetOfArgumentsHasALoaderOfItsOwn(t *testing.T) {
	var fetches atomic.Int32
	c := &company[int]{}
	c.meet([]int{1, 2})
	p := &Pages[int, string]{company: c}
	for range 2 {
		for _, k := range []int{1, 2} {
			for _, args := range []string{"newest", "oldest"} {
				l := p.With(args, func(_ context.Context, keys []int) (map[int]string, error) {
					fetches.Add(1)
					return map[int]string{1: args, 2: args}, nil
				})
				if got, err := l.Load(t.Context(), k); got != args || err != nil {
					t.Errorf("%d of the %s = %q, %v", k, args, got, err)
				}
			}
		}
	}
	if fetches.Load() != 2 {
		t.Errorf("two sets of arguments cost %d fetches", fetches.Load())
	}
}

// BenchmarkLevel is what batching costs a level of 20 keys.
func BenchmarkLevel(b *testing.B) {
	company20 := make([]int, 20)
	for k := range company20 {
		company20[k] = k + 1
	}
	for b.Loop() {
		c := &company[int]{}
		c.meet(company20)
		l := newLoader(c, func(_ context.Context, keys []int) (map[int]int, error) { return map[int]int{}, nil })
		for _, k := range company20 {
			_, _ = l.Load(b.Context(), k)
		}
	}
}
