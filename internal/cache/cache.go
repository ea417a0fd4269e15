// Package cache keeps what was read, typed, in memory and in Redis.
//
// # Use
//
// A [Layer] holds one kind of value by a key that is a comparable Go value; the scope of a value, such
// as the user it belongs to, is a field of that key. [Layer.Get] returns the value or loads it:
//
//	users, err := cache.New(remote, bus, cache.Options[account.ID, account.User]{
//		Name: "user", TTL: time.Minute, Key: account.ID.String,
//	})
//	user, err := users.Get(ctx, id, a.load) // ErrAbsent when load says so
//	err = users.Invalidate(ctx, id)         // after the transaction that changed it has committed
//
// A value is shared by all who get it and is read only. Give Get a function that was made once: a
// closure or a method value made for each call is an allocation for each call.
//
// # Order of the layers
//
// Memory (otter, W-TinyLFU, bounded by bytes), then Redis through gocache's store, then the load. With
// no [Remote] there is no Redis; with no [Invalidations] there are no other servers.
//
// # What it promises
//
// One load for a key at a time in this process; whoever waits for it keeps his own deadline. Once
// Invalidate has returned, no Get of this process returns a value that was read before it, and the
// other servers follow as fast as the bus is: a load that began before an invalidation stores its
// result in no memory, and not in Redis either, since an invalidation leaves a tombstone there for as
// long as a load may store. A server that may have missed an invalidation drops all it holds in memory.
//
// A value is fresh for the TTL, give or take a tenth, and is loaded again in the background from four
// fifths of it on. When a load fails, the last value serves for up to four TTLs, unless the layer is
// NeverStale. That something is absent is kept too, for a tenth of the TTL and at most 30 s.
//
// With a dead Redis the layers go on with memory and loads: see [Remote].
//
// # What there is not
//
// otter evicts by W-TinyLFU only, so there is no choice of LRU or FIFO. One load for all servers
// together, tags, and whole responses are not here yet.
package cache

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// ErrAbsent is what a load returns, and then Get, when there is no such value.
var ErrAbsent = errors.New("absent")

const (
	defaultTTL      = time.Minute
	defaultMaxBytes = 16 << 20
	maxNegative     = 30 * time.Second
	// hardLives is how many TTLs a value may serve when loads fail.
	hardLives = 4
	// neverStaleMemory is how long the memory of one among several servers keeps a value that may never
	// be stale: the bound on what a lost invalidation can cost.
	neverStaleMemory = 5 * time.Second
	// downMemory, and for NeverStale downNeverStale, is the same while Redis is down, which the bus
	// between the servers may be with it.
	downMemory     = 5 * time.Second
	downNeverStale = time.Second
	// refreshTimeout bounds a load in the background, maxRefreshes how many run at once in a layer.
	refreshTimeout = 10 * time.Second
	maxRefreshes   = 16
)

// Options of a layer. Only Name is required, and Key when there is a Remote.
type Options[K comparable, V any] struct {
	// Name is the kind of value, in metrics and in keys: lower-case letters, digits, "_" and "-".
	Name string
	// TTL is how long a value is fresh; zero: one minute.
	TTL time.Duration
	// Negative is how long an absence is kept; zero: a tenth of TTL, at most 30 s; below zero: not.
	Negative time.Duration
	// MaxBytes bounds the memory by the sum of the weights; zero: 16 MiB.
	MaxBytes int64
	// Weigh returns the bytes that a pair takes in memory; nil: an estimate by reflection.
	Weigh func(K, V) int
	// Key returns the key's part of the Redis key; what is long or not plain is hashed there.
	Key func(K) string
	// Codec writes values for Redis; nil: JSON, for which New refuses types with unexported fields.
	Codec Codec[V]
	// Schema is the version of the encoding and part of the Redis key; zero: 1.
	Schema int
	// NeverStale is for sessions, revocation, factors and permissions: a failed load is an error, and
	// memory keeps a value for 5 s at most when there is a Remote.
	NeverStale bool
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Layer is the cache of one kind of value. It is safe for concurrent use.
type Layer[K comparable, V any] struct {
	options       Options[K, V]
	memory        *otter.Cache[K, *entry]
	remote        *Remote // nil: none
	prefix        string  // of the keys in Redis
	invalidations Invalidations
	origin        uint64 // tells our own invalidations from those of other servers
	unsubscribe   func()
	counters      counters

	// epoch counts how often all of memory was dropped. An entry of an older epoch is not served, which
	// holds for the result of a load that began before the drop and ends after it.
	epoch atomic.Uint64

	refreshes sync.WaitGroup
	room      chan struct{} // holds one for each refresh under way
	closing   context.Context
	close     context.CancelFunc
}

// namePattern keeps names plain in keys, topics and metrics.
var namePattern = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// New returns a layer over remote and told by invalidations; both may be nil. It subscribes; Close ends
// that.
func New[K comparable, V any](remote *Remote, invalidations Invalidations, o Options[K, V]) (*Layer[K, V], error) {
	if err := o.complete(remote != nil); err != nil {
		return nil, fmt.Errorf("make cache %q: %w", o.Name, err)
	}
	l := &Layer[K, V]{
		options: o, remote: remote, invalidations: invalidations, origin: newOrigin(),
		room: make(chan struct{}, maxRefreshes),
	}
	l.closing, l.close = context.WithCancel(context.Background())
	var err error
	if l.memory, err = otter.New(&otter.Options[K, *entry]{
		MaximumWeight:    uint64(o.MaxBytes),
		Weigher:          func(_ K, e *entry) uint32 { return e.weight },
		ExpiryCalculator: otter.ExpiryWritingFunc(lifetime[K]),
		StatsRecorder:    &l.counters,
		Executor:         func(work func()) { work() }, // a goroutine for each handful of reads costs more than the work
		Clock:            clock(o.Now),
	}); err != nil {
		return nil, fmt.Errorf("make cache %q: %w", o.Name, err)
	}
	if remote != nil {
		l.prefix = fmt.Sprintf("%s:%s:%d:", remote.namespace, o.Name, o.Schema)
		remote.register(l.prefix, &follower{drop: l.drop, announce: l.announceAll})
	}
	if err := l.subscribe(); err != nil {
		return nil, fmt.Errorf("make cache %q: %w", o.Name, err)
	}
	return l, nil
}

// complete fills in the defaults and reports what cannot be.
func (o *Options[K, V]) complete(remote bool) error {
	if !namePattern.MatchString(o.Name) {
		return errors.New("the name is not of lower-case letters, digits, _ and -")
	}
	if o.TTL < 0 || o.MaxBytes < 0 || o.Schema < 0 {
		return errors.New("TTL, MaxBytes or Schema is below zero")
	}
	if o.TTL == 0 {
		o.TTL = defaultTTL
	}
	if o.Negative == 0 {
		o.Negative = min(o.TTL/10, maxNegative)
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.Weigh == nil {
		o.Weigh = estimate[K, V]
	}
	if o.Schema == 0 {
		o.Schema = 1
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if !remote {
		return nil
	}
	if o.Key == nil {
		return errors.New("a cache in Redis needs Key")
	}
	if o.Codec == nil {
		o.Codec = jsonCodec[V]{}
		return encodable[V]()
	}
	return nil
}

// Close ends the subscription and returns once no refresh is under way. Get may still be called.
func (l *Layer[K, V]) Close() {
	l.unsubscribe()
	l.close()
	l.refreshes.Wait()
	if l.remote != nil {
		l.remote.unregister(l.prefix)
	}
}

// Get returns the value of key from memory, from Redis or from load, which is called at most once at a
// time for a key; the others wait for it as long as their own ctx lets them. An error of load is
// returned as it is and is not kept, save ErrAbsent. load may also run after Get has returned, without
// the cancellation of ctx, to refresh a value before it expires, so it must not need ctx's transaction.
func (l *Layer[K, V]) Get(ctx context.Context, key K, load func(context.Context, K) (V, error)) (V, error) {
	epoch := l.epoch.Load()
	e, now := l.lookup(key)
	if e != nil && l.isFresh(e, now) {
		if now >= e.ahead && load != nil {
			l.refreshAhead(ctx, key, load, e)
		}
		return l.hit(e)
	}
	l.counters.misses.Add(1)
	f := &flight[K, V]{layer: l, load: load, stale: l.retire(key, e, now)}
	e, err := l.memory.Get(ctx, key, f)
	for f.mustRepeat(e, err, epoch) {
		l.retire(key, e, 0)
		e, err = l.memory.Get(ctx, key, f)
	}
	l.counters.flown(f.runs)
	if err != nil {
		var none V
		return none, err
	}
	return result[V](e)
}

// lookup returns what memory holds for key, fresh or not, and the time.
func (l *Layer[K, V]) lookup(key K) (*entry, int64) {
	found, ok := l.memory.GetEntry(key)
	if !ok {
		return nil, 0
	}
	return found.Value, found.SnapshotAtNano
}

// isFresh tells whether e may be served at now.
func (l *Layer[K, V]) isFresh(e *entry, now int64) bool {
	return now < e.fresh && e.epoch == l.epoch.Load() && (now < e.freshDown || !l.remote.isDown())
}

// hit counts and returns e.
func (l *Layer[K, V]) hit(e *entry) (V, error) {
	l.counters.hits.add()
	if e.absent {
		l.counters.negative.Add(1)
	} else if e.stale {
		l.counters.stale.Add(1)
	}
	return result[V](e)
}

// retire takes an entry that is no longer fresh out of memory, so that the next load of its key is
// shared, and returns it if it may serve should that load fail.
func (l *Layer[K, V]) retire(key K, e *entry, now int64) *entry {
	if e == nil {
		return nil
	}
	l.memory.ComputeIfPresent(key, func(held *entry) (*entry, otter.ComputeOp) {
		if held == e {
			return nil, otter.InvalidateOp
		}
		return held, otter.CancelOp
	})
	if l.options.NeverStale || e.absent || now >= e.dead || e.epoch != l.epoch.Load() {
		return nil
	}
	return e
}

// clock is otter's view of Options.Now. It has no ticks, so otter runs no goroutine of its own; what
// has expired leaves when room is needed.
type clock func() time.Time

// NowNano returns nanoseconds since 1970.
func (c clock) NowNano() int64 { return c().UnixNano() }

// Tick never ticks.
func (c clock) Tick(time.Duration) <-chan time.Time { return nil }
