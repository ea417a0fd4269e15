package cache

import (
	"context"
	"errors"

	"github.com/maypok86/otter/v2"
)

// flight is one Get that missed. otter calls Load for the first of those who miss a key together, and
// again if the key was invalidated meanwhile.
type flight[K comparable, V any] struct {
	layer *Layer[K, V]
	load  func(context.Context, K) (V, error)
	stale *entry // serves if load fails; nil: nothing does
	runs  int    // how often Load was called; zero: another Get's was joined
}

// Load implements otter.Loader.
func (f *flight[K, V]) Load(ctx context.Context, key K) (*entry, error) {
	f.runs++
	stale := f.stale
	f.stale = nil // a second call follows an invalidation: what was stale is wrong then
	return f.layer.fetch(ctx, key, f.load, stale, false)
}

// mustRepeat tells whether a Get that began in epoch joined a flight that does not answer it: one that
// began before all of memory was dropped, or a Lookup's, which does not load.
func (f *flight[K, V]) mustRepeat(e *entry, err error, epoch uint64) bool {
	if err != nil {
		return f.load != nil && errors.Is(err, otter.ErrNotFound)
	}
	return e.epoch < epoch
}

// Reload implements otter.Loader; otter calls it for refreshes of its own, of which we ask none.
func (f *flight[K, V]) Reload(ctx context.Context, key K, _ *entry) (*entry, error) {
	return f.Load(ctx, key)
}

// fetch returns the entry of key from Redis or from load; without a load, what Redis does not hold is
// otter's ErrNotFound. With ahead, an entry in Redis must have a
// fifth of its time left, as one just refreshed by another server has.
func (l *Layer[K, V]) fetch(
	ctx context.Context, key K, load func(context.Context, K) (V, error), stale *entry, ahead bool,
) (*entry, error) {
	epoch := l.epoch.Load()
	held := l.readRemote(ctx, key)
	if held != nil {
		if l.options.Now().UnixNano() < held.deadline(ahead) {
			held.epoch = epoch
			return held, nil
		}
		stale = l.substitute(stale, held)
	}
	if load == nil {
		return nil, otter.ErrNotFound
	}
	started := l.options.Now()
	l.counters.loads.Add(1)
	value, err := load(ctx, key)
	e, err := l.loaded(ctx, key, value, err, stale)
	if err != nil {
		return nil, err
	}
	e.epoch = epoch
	l.writeRemote(ctx, started, []K{key}, []*entry{e})
	return e, nil
}

// deadline is until when an entry from Redis is taken as it is.
func (e *entry) deadline(ahead bool) int64 {
	if ahead {
		return e.created + (e.soft-e.created)/5*4
	}
	return e.soft
}

// substitute returns the newer of two entries that are no longer fresh, if it may serve.
func (l *Layer[K, V]) substitute(a, b *entry) *entry {
	if l.options.NeverStale || b.absent || l.options.Now().UnixNano() >= b.dead {
		return a
	}
	if a == nil || b.created > a.created {
		return b
	}
	return a
}

// loaded turns what a load returned into an entry: a value, an absence, or, if it failed, what is
// stale.
func (l *Layer[K, V]) loaded(ctx context.Context, key K, value V, err error, stale *entry) (*entry, error) {
	switch {
	case err == nil:
		return l.newEntry(key, value, false), nil
	case errors.Is(err, ErrAbsent):
		var none V
		return l.newEntry(key, none, true), nil
	case stale != nil && ctx.Err() == nil:
		l.counters.stale.Add(1)
		return l.revive(stale), nil
	}
	l.counters.failures.Add(1)
	return nil, err
}

// refreshAhead loads key in the background while e still serves. Of those who see that e is due, the
// first does it, and none if too many are under way.
func (l *Layer[K, V]) refreshAhead(
	ctx context.Context, key K, load func(context.Context, K) (V, error), e *entry,
) {
	if !e.refreshing.raise() {
		return
	}
	select {
	case l.room <- struct{}{}:
	default:
		e.refreshing.lower()
		return
	}
	l.refreshes.Go(func() {
		defer func() { <-l.room }()
		l.refresh(ctx, key, load, e)
	})
}

// refresh replaces e if it is still what memory holds; an invalidation has taken it out. If the load
// fails or panics, e serves until it is no longer fresh, and then a Get meets the fault.
func (l *Layer[K, V]) refresh(
	ctx context.Context, key K, load func(context.Context, K) (V, error), e *entry,
) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTimeout)
	defer cancel()
	defer context.AfterFunc(l.closing, cancel)()
	defer func() {
		if recover() != nil {
			l.counters.failures.Add(1)
		}
	}()
	next, err := l.fetch(ctx, key, load, nil, true)
	if err != nil {
		return
	}
	l.memory.Compute(key, func(held *entry, found bool) (*entry, otter.ComputeOp) {
		if found && held == e {
			return next, otter.WriteOp
		}
		l.counters.raced.Add(1)
		return held, otter.CancelOp
	})
}
