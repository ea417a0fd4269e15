package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// QueueStats is how one queue stands in the whole deployment.
type QueueStats struct {
	Name                                 string
	Paused                               bool
	Workers                              int // that serve the queue, and perhaps others too
	Scheduled, Queued, Running, Retrying int64
	Oldest                               time.Time // since when the oldest queued job could begin; zero: none
	Begun, Succeeded, Failed             int64     // attempts of the last minute
}

// Since returns since when the oldest queued job could begin, nil when none is queued.
func (s *QueueStats) Since() *time.Time {
	if s.Oldest.IsZero() {
		return nil
	}
	return &s.Oldest
}

// Stats is how all queues stand.
type Stats struct {
	At     time.Time
	Queues []*QueueStats
}

// same reports whether nothing has changed but the time.
func (s *Stats) same(o *Stats) bool {
	return slices.EqualFunc(s.Queues, o.Queues, func(a, b *QueueStats) bool { return *a == *b })
}

// Stats returns how every queue stands, for those who may read everybody's jobs.
func (q *Queue) Stats(ctx context.Context, by viewer.Viewer) (*Stats, error) {
	if err := by.Require(viewer.ReadJobs); err != nil {
		return nil, err
	}
	return q.stats(ctx)
}

func (q *Queue) stats(ctx context.Context) (*Stats, error) {
	s := &Stats{}
	byName := map[string]*QueueStats{}
	for _, name := range q.queues() {
		byName[name] = &QueueStats{Name: name}
	}
	of := func(name string) *QueueStats { // another program may have more of them
		if byName[name] == nil {
			byName[name] = &QueueStats{Name: name}
		}
		return byName[name]
	}
	err := q.db.View(ctx, func(tx *store.Tx) (err error) {
		if s.At, err = store.One(ctx, tx, selectNow, scanMoment); err != nil {
			return err
		}
		if err := readDepths(ctx, tx, of); err != nil {
			return err
		}
		paused, err := store.All(ctx, tx, selectPaused, store.Value[string])
		for _, name := range paused {
			of(name).Paused = true
		}
		if err != nil {
			return err
		}
		figures, err := store.All(ctx, tx, selectFigures, store.Value[string])
		for _, text := range figures {
			addFigures(text, of)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read queues: %w", err)
	}
	for _, one := range byName {
		s.Queues = append(s.Queues, one)
	}
	slices.SortFunc(s.Queues, func(a, b *QueueStats) int { return strings.Compare(a.Name, b.Name) })
	return s, nil
}

func readDepths(ctx context.Context, tx *store.Tx, of func(string) *QueueStats) error {
	depths, err := store.All(ctx, tx, selectDepth, scanDepth)
	for _, d := range depths {
		one := of(d.Queue)
		switch d.State {
		case Scheduled:
			one.Scheduled = d.Count
		case Queued:
			one.Queued, one.Oldest = d.Count, time.UnixMicro(d.Oldest).UTC()
		case Running:
			one.Running = d.Count
		case Retrying:
			one.Retrying = d.Count
		}
	}
	return err
}

// flow is what happened in a queue.
type flow struct {
	Workers   int   `json:"w,omitempty"`
	Begun     int64 `json:"b,omitempty"`
	Succeeded int64 `json:"s,omitempty"`
	Failed    int64 `json:"f,omitempty"`
}

func addFigures(text string, of func(string) *QueueStats) {
	var flows map[string]flow
	if json.Unmarshal([]byte(text), &flows) != nil { // of a program that writes them otherwise
		return
	}
	for name, f := range flows {
		one := of(name)
		one.Workers += f.Workers
		one.Begun += f.Begun
		one.Succeeded += f.Succeeded
		one.Failed += f.Failed
	}
}

// minute is over how long flows are told.
const minute = time.Minute

// flows counts what this process does in each queue, and what it had done at each beat of the last minute. The
// zero value is ready.
type flows struct {
	mu    sync.Mutex
	total map[string]flow
	past  []sample // oldest first
}

type sample struct {
	at    time.Time
	total map[string]flow
}

// count adds to the flow of a queue.
func (f *flows) count(queue string, more flow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.total == nil {
		f.total = map[string]flow{}
	}
	f.total[queue] = f.total[queue].plus(more, 1)
}

func (f flow) plus(o flow, sign int64) flow {
	return flow{f.Workers, f.Begun + sign*o.Begun, f.Succeeded + sign*o.Succeeded, f.Failed + sign*o.Failed}
}

// lately returns the flows of the last minute, and takes a sample.
func (f *flows) lately(now time.Time) map[string]flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.past) == 0 {
		f.past = []sample{{at: now}} // before the process had done anything
	}
	for len(f.past) > 1 && now.Sub(f.past[1].at) >= minute {
		f.past = f.past[1:]
	}
	taken := sample{now, map[string]flow{}}
	recent := map[string]flow{}
	for queue, total := range f.total {
		taken.total[queue] = total
		recent[queue] = total.plus(f.past[0].total[queue], -1)
	}
	f.past = append(f.past, taken)
	return recent
}

// figures is what the row of this process says of the last minute.
func (q *Queue) figures() string {
	lately := q.flows.lately(time.Now())
	for _, c := range q.crews() {
		for _, l := range c.lanes {
			f := lately[l.queue]
			f.Workers = c.workers
			lately[l.queue] = f
		}
	}
	text, err := json.Marshal(lately)
	if err != nil { // it never does
		return "{}"
	}
	return string(text)
}
