package cache

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"regexp"
	"time"

	gocache "github.com/eko/gocache/lib/v4/cache"
	"github.com/eko/gocache/lib/v4/store"
	redisstore "github.com/eko/gocache/store/redis/v4"
	"github.com/redis/go-redis/v9"
)

// The time limits that Tune sets.
const (
	DialTimeout = 300 * time.Millisecond
	IOTimeout   = 100 * time.Millisecond // of one read, of one write, and of waiting for a connection
)

// Tune sets what a cache's client needs: with go-redis's defaults a GET on a dead Redis takes 0.6 to
// 1.7 s, with these 0.4 ms when nobody listens and IOTimeout when nobody answers.
func Tune(o *redis.UniversalOptions) {
	o.DialTimeout = DialTimeout
	o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = IOTimeout, IOTimeout, IOTimeout
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.MaxRedirects = 1 // a Cluster's client takes a failure for a redirection too
	o.ContextTimeoutEnabled = true
}

const (
	defaultNamespace = "gatehouse"
	// tombstoneLife is how long an invalidated key stays closed to stores, maxLoadTime how long a load
	// may have taken whose result is stored. A load that began before the invalidation and is within
	// maxLoadTime meets the tombstone.
	tombstoneLife = 10 * time.Second
	maxLoadTime   = 5 * time.Second
	// scanCount is how many keys Redis looks at in one step of emptying a layer.
	scanCount = 1000
)

// tombstone is the envelope of an invalidated key.
var tombstone = string([]byte{formTombstone})

//go:embed store.lua
var storeSource string

var storeScript = redis.NewScript(storeSource)

// RemoteOptions of a Remote. The zero value is a good default.
type RemoteOptions struct {
	// Namespace is the first part of all keys, such as "gh:production"; zero: "gatehouse". It is of
	// letters, digits, ":", "_", "." and "-".
	Namespace string
}

// Remote is the Redis that the layers of all servers share.
//
// # When Redis fails
//
// After three failures in a row, or one failed invalidation, Redis is down: it is not asked any more,
// the layers live on memory, whose entries then serve 5 s at most (1 s if NeverStale), and on loads.
// Run asks every 250 ms. Redis is up again when it has answered twice, 250 ms apart, and every
// invalidation that it missed has been made up for; since all servers do so, each has made up for its
// own before any reads again. Then all memory is dropped. At most 10,000 missed invalidations are
// remembered one by one; of a layer with more, all keys are invalidated.
type Remote struct {
	client    redis.UniversalClient
	values    *gocache.Cache[[]byte]
	namespace string
	outage
}

var namespacePattern = regexp.MustCompile(`^[A-Za-z0-9:_.-]{1,64}$`)

// NewRemote returns the Redis behind client, which Tune has prepared. Its Run must run.
func NewRemote(client redis.UniversalClient, o RemoteOptions) (*Remote, error) {
	if o.Namespace == "" {
		o.Namespace = defaultNamespace
	}
	if !namespacePattern.MatchString(o.Namespace) {
		return nil, errors.New("cache: the namespace is not of letters, digits and :_.-")
	}
	return &Remote{
		client: client, namespace: o.Namespace,
		values: gocache.New[[]byte](redisstore.NewRedis(client)),
		outage: newOutage(),
	}, nil
}

// get returns an envelope; nil: there is none, or Redis is down.
func (r *Remote) get(ctx context.Context, key string) []byte {
	if r.isDown() {
		return nil
	}
	envelope, err := r.values.Get(ctx, key)
	if missing := (*store.NotFound)(nil); errors.As(err, &missing) {
		err = nil
	}
	r.note(ctx, err)
	if err != nil {
		return nil
	}
	return envelope
}

// getMany returns an envelope for each key, in one round trip.
func (r *Remote) getMany(ctx context.Context, keys []string) [][]byte {
	envelopes := make([][]byte, len(keys))
	if r.isDown() {
		return envelopes
	}
	values, err := r.mget(ctx, keys)
	r.note(ctx, err)
	for i, value := range values {
		if text, found := value.(string); found {
			envelopes[i] = []byte(text)
		}
	}
	return envelopes
}

// mget is MGET, or as many GETs where the keys live on several servers.
func (r *Remote) mget(ctx context.Context, keys []string) ([]any, error) {
	if !r.isCluster() {
		return r.client.MGet(ctx, keys...).Result()
	}
	replies, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.Get(ctx, key)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	values := make([]any, len(keys))
	for i, reply := range replies {
		if reply.Err() == nil {
			values[i] = reply.(*redis.StringCmd).Val()
		}
	}
	return values, nil
}

func (r *Remote) isCluster() bool {
	_, cluster := r.client.(*redis.ClusterClient)
	return cluster
}

// record is an envelope to be stored.
type record struct {
	key      string
	envelope []byte
	life     time.Duration
}

// put stores records whose keys are neither under a tombstone nor pinned.
func (r *Remote) put(ctx context.Context, records []record) {
	if len(records) == 0 || r.isDown() {
		return
	}
	if r.isCluster() && len(records) > 1 {
		for i := range records {
			r.put(ctx, records[i:i+1])
		}
		return
	}
	keys, arguments := make([]string, len(records)), []any{formTombstone, formPinned}
	for i, record := range records {
		keys[i] = record.key
		arguments = append(arguments, record.envelope, max(record.life.Milliseconds(), 1))
	}
	r.note(ctx, storeScript.Run(ctx, r.client, keys, arguments...).Err())
}

// pin stores a record whatever is there; if Redis is down, what is there is invalidated later.
func (r *Remote) pin(ctx context.Context, prefix string, record record) {
	r.buryOrOwe(prefix, debt{keys: []string{record.key}}, func() error {
		return r.values.Set(ctx, record.key, record.envelope, store.WithExpiration(record.life))
	})
}

// entomb puts tombstones on keys.
func (r *Remote) entomb(ctx context.Context, keys []string) error {
	_, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.Set(ctx, key, tombstone, tombstoneLife)
		}
		return nil
	})
	return err
}

// entombAll puts tombstones on all keys that begin with prefix. It does not block Redis.
func (r *Remote) entombAll(ctx context.Context, prefix string) error {
	if cluster, ok := r.client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return r.entombScanned(ctx, node, prefix)
		})
	}
	return r.entombScanned(ctx, r.client, prefix)
}

func (r *Remote) entombScanned(ctx context.Context, node redis.Cmdable, prefix string) error {
	var cursor uint64
	for {
		keys, next, err := node.Scan(ctx, cursor, prefix+"*", scanCount).Result()
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			if err := r.entomb(ctx, keys); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// plainPart is a key's part that may stand in a Redis key as it is.
var plainPart = regexp.MustCompile(`^[A-Za-z0-9_.:@-]{1,100}$`)

// remoteKey is the key in Redis. The "#" keeps hashed parts apart from plain ones.
func (l *Layer[K, V]) remoteKey(key K) string {
	part := l.options.Key(key)
	if !plainPart.MatchString(part) {
		sum := sha256.Sum256([]byte(part))
		part = "#" + hex.EncodeToString(sum[:])
	}
	return l.prefix + part
}

func (l *Layer[K, V]) remoteKeys(keys []K) []string {
	ids := make([]string, len(keys))
	for i, key := range keys {
		ids[i] = l.remoteKey(key)
	}
	return ids
}

// readRemote returns what Redis holds for key, fresh or not; nil: nothing that can be read.
func (l *Layer[K, V]) readRemote(ctx context.Context, key K) *entry {
	if l.remote == nil {
		return nil
	}
	return l.fromRemote(key, l.remote.get(ctx, l.remoteKey(key)))
}

// readRemoteMany returns one entry, or nil, for each key.
func (l *Layer[K, V]) readRemoteMany(ctx context.Context, keys []K) []*entry {
	entries := make([]*entry, len(keys))
	if l.remote == nil {
		return entries
	}
	for i, envelope := range l.remote.getMany(ctx, l.remoteKeys(keys)) {
		entries[i] = l.fromRemote(keys[i], envelope)
	}
	return entries
}

// fromRemote reads an envelope and gives the entry its place in this memory. However wrong another
// server's clock is, the entry is not fresh for longer than one of our own.
func (l *Layer[K, V]) fromRemote(key K, envelope []byte) *entry {
	e, err := unseal(l.options.Codec, envelope)
	if err != nil {
		l.counters.remoteMisses.Add(1)
		return nil
	}
	now := l.options.Now().UnixNano()
	e.created = min(e.created, now)
	e.soft = min(e.soft, now+int64(l.options.TTL)/10*11)
	l.place(key, e, now)
	if now < e.soft {
		l.counters.remoteHits.Add(1)
	} else {
		l.counters.remoteMisses.Add(1)
	}
	return e
}

// writeRemote stores entries whose loads began at started, unless an invalidation came between. The
// caller may have gone: the value is there.
func (l *Layer[K, V]) writeRemote(ctx context.Context, started time.Time, keys []K, entries []*entry) {
	now := l.options.Now()
	if l.remote.isDown() || l.remote == nil || now.Sub(started) > maxLoadTime {
		return
	}
	var records []record
	for i, e := range entries {
		life := time.Duration(l.hard(e) - now.UnixNano())
		if e.stale || life < time.Millisecond {
			continue
		}
		envelope, err := seal(l.options.Codec, e)
		if err != nil {
			continue // it serves from memory
		}
		records = append(records, record{key: l.remoteKey(keys[i]), envelope: envelope, life: life})
	}
	l.remote.put(context.WithoutCancel(ctx), records)
}

// buryRemote makes keys unreadable in Redis, now or before it is read again.
func (l *Layer[K, V]) buryRemote(ctx context.Context, keys []K) {
	if l.remote != nil {
		l.remote.bury(ctx, l.prefix, l.remoteKeys(keys))
	}
}

// pinRemote puts e into Redis in place of whatever is there, to stay until it expires. An error is
// that of the codec.
func (l *Layer[K, V]) pinRemote(ctx context.Context, key K, e *entry) error {
	if l.remote == nil {
		return nil
	}
	envelope, err := seal(l.options.Codec, e)
	if err != nil {
		return err
	}
	envelope[0] |= formPinned
	life := max(time.Duration(e.soft-e.created), time.Millisecond)
	l.remote.pin(ctx, l.prefix, record{key: l.remoteKey(key), envelope: envelope, life: life})
	return nil
}
