package limit

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"
)

// shards is how many locks the subjects share; a power of two no larger than 256.
const shards = 64

// evictionSample is how many subjects a full shard looks at to forget one.
const evictionSample = 8

// memory is the state of this process.
type memory struct {
	perShard int
	shards   [shards]shard
}

type shard struct {
	mu   sync.Mutex
	full map[[sha256.Size]byte]int64 // when the subject's units are full again, in microseconds
}

func newMemory(maxSubjects int) *memory {
	m := &memory{perShard: max(1, maxSubjects/shards)}
	for i := range m.shards {
		m.shards[i].full = make(map[[sha256.Size]byte]int64)
	}
	return m
}

// decide applies all cells or none, under the locks of their shards.
func (m *memory) decide(at time.Time, cells []cell) []outcome {
	unlock := m.lock(cells)
	defer unlock()
	now := at.UnixMicro()
	outcomes, after := make([]outcome, len(cells)), make([]int64, len(cells))
	pass := true
	for i, c := range cells {
		outcomes[i], after[i] = c.arrive(now, m.of(c).full[c.key])
		pass = pass && outcomes[i].wait == 0
	}
	if !pass {
		return outcomes
	}
	for i, c := range cells {
		m.of(c).put(c.key, after[i], now, m.perShard)
		outcomes[i].left -= c.cost
	}
	return outcomes
}

// used returns how much of its tolerance each subject has used, as far as this process knows.
func (m *memory) used(at time.Time, cells []cell) []int64 {
	now := at.UnixMicro()
	used := make([]int64, len(cells))
	for i, c := range cells {
		s := m.of(c)
		s.mu.Lock()
		used[i] = min(max(s.full[c.key]-now, 0), c.tolerance)
		s.mu.Unlock()
	}
	return used
}

// adopt remembers what Redis said of each subject. Answers overtake each other, so the moment when a
// subject is full never moves back; what was given back is remembered as used for as long as it had been.
func (m *memory) adopt(at time.Time, cells []cell, outcomes []outcome) {
	now := at.UnixMicro()
	for i, c := range cells {
		s := m.of(c)
		s.mu.Lock()
		s.put(c.key, max(s.full[c.key], now+c.tolerance-outcomes[i].left), now, m.perShard)
		s.mu.Unlock()
	}
}

// forget has a subject have all its units.
func (m *memory) forget(key [sha256.Size]byte) {
	s := m.of(cell{key: key})
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.full, key)
}

func (m *memory) of(c cell) *shard { return &m.shards[shardOf(c)] }

func shardOf(c cell) int { return int(c.key[0]) % shards }

// lock takes the shards of cells in their order, so that two callers cannot wait for each other.
func (m *memory) lock(cells []cell) (unlock func()) {
	order := make([]int, 0, maxRequests)
	for _, c := range cells {
		order = append(order, shardOf(c))
	}
	slices.Sort(order)
	order = slices.Compact(order)
	for _, i := range order {
		m.shards[i].mu.Lock()
	}
	return func() {
		for _, i := range order {
			m.shards[i].mu.Unlock()
		}
	}
}

// put remembers a subject that has not all its units, and forgets another one if the shard is full.
func (s *shard) put(key [sha256.Size]byte, full, now int64, limit int) {
	if full <= now {
		delete(s.full, key)
		return
	}
	if _, known := s.full[key]; !known && len(s.full) >= limit {
		s.evict(now)
	}
	s.full[key] = full
}

// evict drops, of a few subjects, those that have all their units again, or else the one that has
// most of them: who floods us with new subjects does not free the one he is locked out as.
func (s *shard) evict(now int64) {
	var (
		nearest [sha256.Size]byte
		seen    int
		dropped bool
	)
	for key, full := range s.full { // in random order
		if full <= now {
			delete(s.full, key)
			dropped = true
		} else if seen == 0 || full < s.full[nearest] {
			nearest = key
		}
		if seen++; seen == evictionSample {
			break
		}
	}
	if !dropped {
		delete(s.full, nearest)
	}
}
