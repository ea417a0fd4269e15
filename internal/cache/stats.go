package cache

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/maypok86/otter/v2/stats"
)

// Stats are the counts of a layer since New, and what it holds now.
type Stats struct {
	Name string

	Hits     uint64 // answered from memory, absences and stale values included
	Negative uint64 // of these, absences
	Stale    uint64 // values served past their time because a load failed

	Misses       uint64 // not answered from memory
	Coalesced    uint64 // of these, answered by a load that another caller had begun
	RemoteHits   uint64 // values and absences found fresh in Redis
	RemoteMisses uint64 // looked for in Redis without finding them fresh
	Loads        uint64 // calls of a load function, one for all keys of a GetMany
	Failures     uint64 // values that could not be loaded, and were not replaced by stale ones
	Raced        uint64 // loads whose result was thrown away since an invalidation overtook them

	Evicted uint64 // entries that left memory for want of room or because their time was over
	Entries int    // held in memory, about
	Bytes   uint64 // sum of their weights
}

// Stats returns the counts. They are read one after the other, not at one moment.
func (l *Layer[K, V]) Stats() Stats {
	c := &l.counters
	return Stats{
		Name: l.options.Name, Hits: c.hits.sum(), Negative: c.negative.Load(), Stale: c.stale.Load(),
		Misses: c.misses.Load(), Coalesced: c.coalesced.Load(),
		RemoteHits: c.remoteHits.Load(), RemoteMisses: c.remoteMisses.Load(),
		Loads: c.loads.Load(), Failures: c.failures.Load(), Raced: c.raced.Load(),
		Evicted: c.evicted.Load(), Entries: l.memory.EstimatedSize(), Bytes: l.memory.WeightedSize(),
	}
}

// counters are otter's recorder too, of which they count the evictions only.
type counters struct {
	stats.NoopRecorder
	hits                                                                striped
	negative, stale, misses, coalesced, loads, failures, raced, evicted atomic.Uint64
	remoteHits, remoteMisses                                            atomic.Uint64
}

// RecordEviction implements otter's stats.Recorder.
func (c *counters) RecordEviction(uint32) { c.evicted.Add(1) }

// flown counts a Get that missed by how often it had to load.
func (c *counters) flown(runs int) {
	switch {
	case runs == 0:
		c.coalesced.Add(1)
	case runs > 1:
		c.raced.Add(uint64(runs - 1))
	}
}

// striped is a counter for the one path where a shared cache line would cost more than the lookup.
type striped [16]struct {
	n atomic.Uint64
	_ [56]byte // the rest of the cache line
}

func (s *striped) add() { s[rand.Uint32()%uint32(len(s))].n.Add(1) }

func (s *striped) sum() (total uint64) {
	for i := range s {
		total += s[i].n.Load()
	}
	return total
}

// flag is raised by one caller at a time.
type flag struct{ up atomic.Bool }

func (f *flag) raise() bool { return f.up.CompareAndSwap(false, true) }
func (f *flag) lower()      { f.up.Store(false) }
