package dataloaders

import (
	"context"
	"errors"
	"sync"
)

// ErrMissing is what Load answers for a key that the fetch did not bring.
var ErrMissing = errors.New("no such object")

// maxBatch is how many keys one fetch is asked for at the most.
const maxBatch = 500

// Loader fetches the value of a key together with those of its company. What was fetched is kept for the
// answer. Results are found by key, whatever the order of the fetch.
type Loader[K comparable, V any] struct {
	fetch   fetch[K, V]
	company *company[K]

	mu    sync.Mutex
	known map[K]*batch[K, V]
	met   int // how many of the company were looked at
}

// fetch brings what there is for keys.
type fetch[K comparable, V any] func(ctx context.Context, keys []K) (map[K]V, error)

// from says where values come from, and who asks.
func (l *Loader[K, V]) from(c *company[K], f fetch[K, V]) { l.company, l.fetch = c, f }

// batch is one fetch, done or to come.
type batch[K comparable, V any] struct {
	keys  []K
	found map[K]V
	err   error
	done  chan struct{}
}

// Load returns the value of key. The first that asks fetches for the company too. A key that is not found
// is ErrMissing.
func (l *Loader[K, V]) Load(ctx context.Context, key K) (V, error) {
	b, first := l.join(key)
	if first {
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

// join returns the batch of key; the first that asks for it opens one and fetches it.
func (l *Loader[K, V]) join(key K) (b *batch[K, V], first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.known[key]; b != nil {
		return b, false
	}
	if l.known == nil {
		l.known = make(map[K]*batch[K, V])
	}
	b = &batch[K, V]{keys: []K{key}, done: make(chan struct{})}
	l.known[key] = b
	for _, other := range l.company.since(l.met) {
		if len(b.keys) == maxBatch {
			break
		}
		l.met++
		if l.known[other] == nil {
			b.keys = append(b.keys, other)
			l.known[other] = b
		}
	}
	return b, true
}

func (l *Loader[K, V]) run(ctx context.Context, b *batch[K, V]) {
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

// company are the objects of one kind that an answer has brought.
type company[K comparable] struct {
	mu   sync.Mutex
	keys []K
}

// meet adds keys; the zero key is nobody.
func (c *company[K]) meet(keys []K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var nobody K
	for _, key := range keys {
		if key != nobody {
			c.keys = append(c.keys, key)
		}
	}
}

// since returns the keys after the first n. They are only ever added to.
func (c *company[K]) since(n int) []K {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys[n:]
}

// Pages are loaders of a field that takes arguments, one for each set of them.
type Pages[K comparable, V any] struct {
	company *company[K]

	mu     sync.Mutex
	byArgs map[any]*Loader[K, V]
}

// With returns the loader for args, which tells one set of arguments from another; the fetch of the first
// that asks stands for all.
func (p *Pages[K, V]) With(args any, f func(ctx context.Context, keys []K) (map[K]V, error)) *Loader[K, V] {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.byArgs[args]; l != nil {
		return l
	}
	if p.byArgs == nil {
		p.byArgs = make(map[any]*Loader[K, V])
	}
	l := &Loader[K, V]{}
	l.from(p.company, f)
	p.byArgs[args] = l
	return l
}
