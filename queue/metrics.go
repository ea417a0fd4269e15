package queue

import (
	"sync"
	"sync/atomic"
	"time"
)

// Metrics counts what this process has done. The server exports it.
type Metrics struct {
	dropped    atomic.Int64 // messages whose job was not to be had
	repushed   atomic.Int64 // jobs that the sweeper pushed again
	pushFailed atomic.Int64
	lost       atomic.Int64 // endings that were not ours to write

	mu     sync.Mutex
	byKind map[string]*KindFigures
}

// KindFigures are the counts of one kind.
type KindFigures struct {
	Started, Succeeded, Failed int64
	Retried                    int64 // attempts that failed and are followed by another
	Waited, Ran                Histogram
}

// Buckets are the upper bounds of the histograms, in seconds.
var Buckets = [...]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900}

// Histogram counts durations by bucket, not cumulated; the last bucket has no bound.
type Histogram struct {
	Counts [len(Buckets) + 1]uint64
	Sum    float64 // seconds
	Count  uint64
}

func (h *Histogram) add(d time.Duration) {
	s := d.Seconds()
	i := 0
	for i < len(Buckets) && s > Buckets[i] {
		i++
	}
	h.Counts[i]++
	h.Sum += s
	h.Count++
}

func (m *Metrics) kind(name string) *KindFigures {
	if m.byKind == nil {
		m.byKind = map[string]*KindFigures{}
	}
	f := m.byKind[name]
	if f == nil {
		f = &KindFigures{}
		m.byKind[name] = f
	}
	return f
}

// started counts the beginning of an attempt. How long a job has waited is told by the database's
// clock alone, and counted for first attempts.
func (m *Metrics) started(j *Job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.kind(j.Kind)
	f.Started++
	if j.Attempt == 1 {
		f.Waited.add(max(0, j.StartedAt.Sub(j.RunAt)))
	}
}

func (m *Metrics) ran(j *Job, took time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.kind(j.Kind)
	f.Ran.add(took)
	if err == nil {
		f.Succeeded++
	} else {
		f.Failed++
	}
}

func (m *Metrics) retried(kind string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kind(kind).Retried++
}

// Figures is a snapshot of the counts of this process.
type Figures struct {
	Dropped, Repushed, PushFailed, Lost int64
	Busy                                int
	LeaseAge                            time.Duration // since the process last proved that it lives; 0 without workers
	Kinds                               map[string]KindFigures
}

// Figures returns what this process has counted.
func (q *Queue) Figures() Figures {
	m := &q.metrics
	f := Figures{
		Dropped: m.dropped.Load(), Repushed: m.repushed.Load(), PushFailed: m.pushFailed.Load(), Lost: m.lost.Load(),
		Busy: q.Busy(), Kinds: map[string]KindFigures{},
	}
	if proved := q.proved.Load(); proved != nil {
		f.LeaseAge = time.Since(*proved)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, figures := range m.byKind {
		f.Kinds[name] = *figures
	}
	return f
}
