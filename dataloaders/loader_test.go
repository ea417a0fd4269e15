package dataloaders

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func newLoader[V any](fetch func(context.Context, []int) (map[int]V, error)) *Loader[int, V] {
	return &Loader[int, V]{fetch: fetch}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryKeyGetsItsOwnValueWhateverIsMissingOrAskedTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(rapid.IntRange(0, 40), 1, 200).Draw(t, "keys")
		there := rapid.MapOf(rapid.IntRange(0, 40), rapid.String()).Draw(t, "there")
		l := newLoader(func(_ context.Context, asked []int) (map[int]string, error) {
			seen := map[int]bool{}
			found := map[int]string{}
			for _, k := range asked {
				if seen[k] {
					t.Errorf("key %d was fetched twice in one batch", k)
				}
				seen[k] = true
				if v, ok := there[k]; ok {
					found[k] = v
				}
			}
			return found, nil
		})
		var wait sync.WaitGroup
		half := len(keys) / 2
		wait.Go(func() {
			values, err := l.LoadAll(context.Background(), keys[:half])
			if err != nil {
				t.Errorf("LoadAll: %v", err)
			}
			for i, v := range values {
				if v != there[keys[i]] {
					t.Errorf("LoadAll gave %q for %d, want %q", v, keys[i], there[keys[i]])
				}
			}
		})
		for _, k := range keys[half:] {
			wait.Go(func() {
				v, err := l.Load(context.Background(), k)
				want, ok := there[k]
				if v != want || errors.Is(err, ErrMissing) == ok {
					t.Errorf("Load(%d) = %q, %v; want %q, there: %v", k, v, err, want, ok)
				}
			})
		}
		wait.Wait()
	})
}

func TestNeighboursShareOneFetch(t *testing.T) {
	var fetches atomic.Int32
	l := newLoader(func(_ context.Context, keys []int) (map[int]int, error) {
		fetches.Add(1)
		found := map[int]int{}
		for _, k := range keys {
			found[k] = k
		}
		return found, nil
	})
	values, err := l.LoadAll(t.Context(), []int{1, 2, 3, 2, 1})
	if err != nil || len(values) != 5 || fetches.Load() != 1 {
		t.Fatalf("LoadAll = %v, %v in %d fetches", values, err, fetches.Load())
	}
	if _, err := l.Load(t.Context(), 3); err != nil || fetches.Load() != 1 {
		t.Errorf("a known key was fetched again")
	}
}

func TestAFailedFetchFailsAllItsKeys(t *testing.T) {
	broken := errors.New("the database is away")
	l := newLoader(func(context.Context, []int) (map[int]int, error) { return nil, broken })
	if _, err := l.Load(t.Context(), 1); !errors.Is(err, broken) {
		t.Errorf("Load = %v", err)
	}
	if _, err := l.LoadAll(t.Context(), []int{1, 2}); !errors.Is(err, broken) {
		t.Errorf("LoadAll = %v", err)
	}
}

func TestACallerWhoLeavesDoesNotHoldTheOthers(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	l := newLoader(func(_ context.Context, keys []int) (map[int]int, error) {
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

// BenchmarkLevel is what batching costs a level of 20 goroutines.
func BenchmarkLevel(b *testing.B) {
	for b.Loop() {
		l := newLoader(func(_ context.Context, keys []int) (map[int]int, error) { return map[int]int{}, nil })
		var wait sync.WaitGroup
		for k := range 20 {
			wait.Go(func() { _, _ = l.Load(b.Context(), k) })
		}
		wait.Wait()
	}
}
