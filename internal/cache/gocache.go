package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	gocache "github.com/eko/gocache/lib/v4/cache"
	"github.com/eko/gocache/lib/v4/store"
	"github.com/maypok86/otter/v2"
)

// Lookup returns the value of key from memory or from Redis without a load; ErrAbsent: it is in
// neither, or known to be absent.
func (l *Layer[K, V]) Lookup(ctx context.Context, key K) (V, error) {
	value, err := l.Get(ctx, key, nil)
	if errors.Is(err, otter.ErrNotFound) {
		err = ErrAbsent
	}
	return value, err
}

// Set puts a value that is right now, not one that was read a while ago, into memory and Redis for
// life, or for the layer's TTL if life is zero, and makes the other servers forget theirs. No load
// replaces it in Redis. An error is that of Invalidate.
func (l *Layer[K, V]) Set(ctx context.Context, key K, value V, life time.Duration) error {
	ctx = context.WithoutCancel(ctx)
	epoch := l.epoch.Load()
	e := l.newEntry(key, value, false)
	if life > 0 {
		e.soft = e.created + int64(life)
		l.place(key, e, e.created)
	}
	e.epoch = epoch
	if err := l.pinRemote(ctx, key, e); err != nil {
		return fmt.Errorf("set in cache %s: %w", l.options.Name, err)
	}
	l.memory.Set(key, e)
	return l.announce(ctx, []K{key})
}

// AsGocache shows a layer as a cache of gocache, so that what is written against that interface runs on
// it. A key is a string or a gocache CacheKeyGenerator; any other is an error rather than the hash of
// its print, in which two keys may be one. What is missing is gocache's store.NotFound. Of the options
// of Set, Expiration counts. Invalidate, which goes by tags, is an error; Clear empties this layer and
// nothing else.
func AsGocache[V any](l *Layer[string, V]) gocache.CacheInterface[V] { return adapter[V]{l} }

type adapter[V any] struct {
	layer *Layer[string, V]
}

var (
	errKey  = errors.New("cache: a key is a string")
	errTags = errors.New("cache: there are no tags")
)

// Get implements gocache's CacheInterface.
func (a adapter[V]) Get(ctx context.Context, key any) (V, error) {
	var none V
	name, err := stringKey(key)
	if err != nil {
		return none, err
	}
	value, err := a.layer.Lookup(ctx, name)
	if errors.Is(err, ErrAbsent) {
		return none, store.NotFoundWithCause(err)
	}
	return value, err
}

// Set implements gocache's CacheInterface.
func (a adapter[V]) Set(ctx context.Context, key any, value V, options ...store.Option) error {
	name, err := stringKey(key)
	if err != nil {
		return err
	}
	chosen := store.ApplyOptions(options...)
	if len(chosen.Tags) > 0 {
		return errTags
	}
	return a.layer.Set(ctx, name, value, chosen.Expiration)
}

// Delete implements gocache's CacheInterface.
func (a adapter[V]) Delete(ctx context.Context, key any) error {
	name, err := stringKey(key)
	if err != nil {
		return err
	}
	return a.layer.Invalidate(ctx, name)
}

// Invalidate implements gocache's CacheInterface.
func (adapter[V]) Invalidate(context.Context, ...store.InvalidateOption) error { return errTags }

// Clear implements gocache's CacheInterface.
func (a adapter[V]) Clear(ctx context.Context) error { return a.layer.InvalidateAll(ctx) }

// GetType implements gocache's CacheInterface.
func (adapter[V]) GetType() string { return "layer" }

func stringKey(key any) (string, error) {
	switch key := key.(type) {
	case string:
		return key, nil
	case gocache.CacheKeyGenerator:
		return key.GetCacheKey(), nil
	}
	return "", fmt.Errorf("%w, not a %T", errKey, key)
}
