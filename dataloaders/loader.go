package dataloaders

import (
	"context"
	"errors"
	"runtime"
	"sync"
)

// ErrMissing is what Load answers for a key that the fetch did not bring.
var ErrMissing = errors.New("no such object")

// maxBatch is how many keys one fetch is asked for at the most.
const maxBatch = 500

// quiet is how often in a row the goroutines that run beside a batch are let go first without one of
// them adding a key, until the batch is taken for complete. A timer would cost a millisecond a level.
const quiet = 3

// Loader gathers the keys that the fields of one request ask for and fetches them together. What was
// fetched is kept for the request. Results are found by key, whatever the order of the fetch.
type Loader[K comparable, V any] struct {
	fetch func(ctx context.Context, keys []K) (map[K]V, error)

	mu      sync.Mutex
	known   map[K]*batch[K, V]
	waiting *batch[K, V]
}

// batch is one fetch, done or to come.
type batch[K comparable, V any] struct {
	keys  []K
	found map[K]V
	err   error
	done  chan struct{}
}

// Load returns the value of key, together with what other goroutines ask for at the same time.
// A key that is not found is ErrMissing.
func (l *Loader[K, V]) Load(ctx context.Context, key K) (V, error) {
	b, leader := l.join(key)
	if leader {
		l.settle(b)
		l.run(ctx, b)
	}
	select {
	case <-b.done:
		return b.value(key)
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

// LoadAll returns the values of keys in their order, with ErrMissing left as the zero value, in one
// fetch for those that are not known yet.
func (l *Loader[K, V]) LoadAll(ctx context.Context, keys []K) ([]V, error) {
	batches := make([]*batch[K, V], len(keys))
	var own []*batch[K, V]
	for i, key := range keys {
		b, leader := l.join(key)
		if leader {
			own = append(own, b)
		}
		batches[i] = b
	}
	for _, b := range own {
		l.run(ctx, b)
	}
	values := make([]V, len(keys))
	for i, key := range keys {
		select {
		case <-batches[i].done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		v, err := batches[i].value(key)
		if err != nil && !errors.Is(err, ErrMissing) {
			return nil, err
		}
		values[i] = v
	}
	return values, nil
}

// join adds key to the batch in waiting unless it is known. The goroutine that opens a batch leads it.
func (l *Loader[K, V]) join(key K) (b *batch[K, V], leader bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.known[key]; b != nil {
		return b, false
	}
	if l.known == nil {
		l.known = make(map[K]*batch[K, V])
	}
	if l.waiting == nil || len(l.waiting.keys) == maxBatch {
		l.waiting = &batch[K, V]{done: make(chan struct{})}
		leader = true
	}
	b = l.waiting
	b.keys = append(b.keys, key)
	l.known[key] = b
	return b, leader
}

// settle lets all goroutines that are about to ask do so.
func (l *Loader[K, V]) settle(b *batch[K, V]) {
	for still, size := 0, 0; still < quiet; still++ {
		runtime.Gosched()
		l.mu.Lock()
		if n := len(b.keys); n != size {
			still, size = 0, n
		}
		l.mu.Unlock()
	}
}

// run closes the batch and fetches it.
func (l *Loader[K, V]) run(ctx context.Context, b *batch[K, V]) {
	l.mu.Lock()
	if l.waiting == b {
		l.waiting = nil
	}
	l.mu.Unlock()
	defer close(b.done)
	b.found, b.err = l.fetch(ctx, b.keys)
}

func (b *batch[K, V]) value(key K) (V, error) {
	v, ok := b.found[key]
	if b.err != nil {
		return v, b.err
	}
	if !ok {
		return v, ErrMissing
	}
	return v, nil
}
