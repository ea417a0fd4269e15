package cache

import (
	"math/rand/v2"
	"time"

	"github.com/maypok86/otter/v2"
)

// entry is a value, or an absence, in memory. Times are nanoseconds since 1970. It is of one type for all
// kinds of values, so that the machine code of otter is there once.
type entry struct {
	value  any // a V; nil for an absence
	absent bool
	stale  bool // serves though it is old, since the last load failed
	weight uint32
	epoch  uint64 // of the layer when its load began

	created   int64 // when it was loaded, by whichever server
	soft      int64 // fresh until then wherever it is
	ahead     int64 // to be refreshed from then on
	fresh     int64 // fresh in this memory until then
	freshDown int64 // and until then while Redis is down
	dead      int64 // useless from then on

	refreshing flag
}

// valueOf returns the value that e holds, the zero one for an absence.
func valueOf[V any](e *entry) V {
	value, _ := e.value.(V)
	return value
}

// result is what Get returns.
func result[V any](e *entry) (V, error) {
	if e.absent {
		return valueOf[V](e), ErrAbsent
	}
	return valueOf[V](e), nil
}

// lifetime tells otter when to let an entry go.
func lifetime[K comparable](e otter.Entry[K, *entry]) time.Duration {
	return max(time.Duration(e.Value.dead-e.SnapshotAtNano), 1)
}

// newEntry is an entry that was just loaded: its time to live is the layer's, give or take a tenth, so
// that what was loaded together does not expire together.
func (l *Layer[K, V]) newEntry(key K, value V, absent bool) *entry {
	now := l.options.Now().UnixNano()
	life := l.options.TTL
	if absent {
		life = max(l.options.Negative, 1)
	}
	jittered := int64(float64(life) * (0.9 + 0.2*rand.Float64()))
	e := &entry{absent: absent, created: now, soft: now + max(jittered, 1)}
	if !absent {
		e.value = value
	}
	l.place(key, e, now)
	return e
}

// place gives e, which comes into this memory at now, the times and the weight that it has here.
func (l *Layer[K, V]) place(key K, e *entry, now int64) {
	e.fresh, e.freshDown = e.soft, now+int64(downMemory)
	e.dead = l.hard(e)
	if l.options.NeverStale {
		e.freshDown = now + int64(downNeverStale)
		if l.remote != nil {
			e.fresh = min(e.soft, now+int64(neverStaleMemory))
		}
		e.dead = e.fresh
	}
	e.ahead = now + (e.fresh-now)/5*4
	if e.absent {
		e.ahead = e.fresh // an absence is not worth a refresh
	}
	e.weight = uint32(min(max(l.options.Weigh(key, valueOf[V](e)), 1), 1<<31))
}

// hard is when e ends even as a substitute for a failing load.
func (l *Layer[K, V]) hard(e *entry) int64 {
	if l.options.NeverStale || e.absent {
		return e.soft
	}
	return e.created + hardLives*(e.soft-e.created)
}

// revive returns old to serve for a short while because a load failed.
func (l *Layer[K, V]) revive(old *entry) *entry {
	now := l.options.Now().UnixNano()
	pause := min(int64(l.options.TTL)/10, int64(time.Second))
	e := &entry{
		value: old.value, stale: true, weight: old.weight,
		created: old.created, soft: old.soft, fresh: min(now+pause, old.dead), dead: old.dead,
	}
	e.ahead, e.freshDown = e.fresh, e.fresh
	return e
}
