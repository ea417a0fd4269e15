package cache

import (
	"context"
	"slices"

	"github.com/maypok86/otter/v2"
)

// GetMany returns the values of keys, in three steps for all of them together: memory, one MGET, one
// load of what is left. load returns what it found; a key that it leaves out is absent, and so it is in
// the result. If load fails and something cannot be served stale, its error is returned and no values.
// What Get says of load holds here too.
func (l *Layer[K, V]) GetMany(
	ctx context.Context, keys []K, load func(context.Context, []K) (map[K]V, error),
) (map[K]V, error) {
	epoch := l.epoch.Load()
	values := make(map[K]V, len(keys))
	f := &bulkFlight[K, V]{layer: l, load: load}
	var missing []K
	for _, key := range keys {
		e, now := l.lookup(key)
		if e != nil && l.isFresh(e, now) {
			if now >= e.ahead {
				l.refreshAhead(ctx, key, one(load), e)
			}
			if value, err := l.hit(e); err == nil {
				values[key] = value
			}
			continue
		}
		l.counters.misses.Add(1)
		if old := l.retire(key, e, now); old != nil {
			f.keepStale(key, old)
		}
		missing = append(missing, key)
	}
	if len(missing) == 0 {
		return values, nil
	}
	defer func() { l.counters.flown(f.runs) }()
	for len(missing) > 0 {
		entries, err := l.memory.BulkGet(ctx, missing, f)
		if err != nil {
			return nil, err
		}
		missing = slices.DeleteFunc(missing, func(key K) bool {
			e, found := entries[key]
			if !found { // joined a Lookup, which does not load
				return false
			}
			if e.epoch < epoch { // joined a load that may have missed an invalidation
				l.retire(key, e, 0)
				return false
			}
			if !e.absent {
				values[key] = valueOf[V](e)
			}
			return true
		})
	}
	return values, nil
}

// one makes a load of one key out of a load of many.
func one[K comparable, V any](load func(context.Context, []K) (map[K]V, error)) func(context.Context, K) (V, error) {
	return func(ctx context.Context, key K) (V, error) {
		values, err := load(ctx, []K{key})
		value, found := values[key]
		if err == nil && !found {
			err = ErrAbsent
		}
		return value, err
	}
}

// bulkFlight is one GetMany that missed. otter calls BulkLoad with the keys that nobody else loads.
type bulkFlight[K comparable, V any] struct {
	layer *Layer[K, V]
	load  func(context.Context, []K) (map[K]V, error)
	stale map[K]*entry
	runs  int
}

func (f *bulkFlight[K, V]) keepStale(key K, e *entry) {
	if f.stale == nil {
		f.stale = make(map[K]*entry)
	}
	f.stale[key] = e
}

// BulkLoad implements otter.BulkLoader.
func (f *bulkFlight[K, V]) BulkLoad(ctx context.Context, keys []K) (map[K]*entry, error) {
	f.runs++
	stale := f.stale
	f.stale = nil // as in flight.Load
	return f.layer.fetchMany(ctx, keys, f.load, stale)
}

// BulkReload implements otter.BulkLoader; otter calls it for refreshes, of which we ask none.
func (f *bulkFlight[K, V]) BulkReload(ctx context.Context, keys []K, _ []*entry) (map[K]*entry, error) {
	return f.BulkLoad(ctx, keys)
}

var _ otter.BulkLoader[int, *entry] = (*bulkFlight[int, int])(nil)

// fetchMany is fetch for several keys.
func (l *Layer[K, V]) fetchMany(
	ctx context.Context, keys []K, load func(context.Context, []K) (map[K]V, error), stale map[K]*entry,
) (map[K]*entry, error) {
	epoch := l.epoch.Load()
	entries := make(map[K]*entry, len(keys))
	now := l.options.Now()
	var missing []K
	for i, held := range l.readRemoteMany(ctx, keys) {
		key := keys[i]
		if held != nil && now.UnixNano() < held.soft {
			held.epoch = epoch
			entries[key] = held
			continue
		}
		if held != nil {
			if stale == nil {
				stale = make(map[K]*entry)
			}
			stale[key] = l.substitute(stale[key], held)
		}
		missing = append(missing, key)
	}
	if len(missing) == 0 {
		return entries, nil
	}
	started := l.options.Now()
	l.counters.loads.Add(1)
	values, loadErr := load(ctx, missing)
	fresh := make([]*entry, len(missing))
	for i, key := range missing {
		value, found := values[key]
		err := loadErr
		if err == nil && !found {
			err = ErrAbsent
		}
		e, err := l.loaded(ctx, key, value, err, stale[key])
		if err != nil {
			return nil, err
		}
		e.epoch = epoch
		fresh[i], entries[key] = e, e
	}
	l.writeRemote(ctx, started, missing, fresh)
	return entries, nil
}
