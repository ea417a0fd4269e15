package transport

import (
	"context"
	"slices"
	"sync"
	"time"
)

// local is the in-process form. A message never waits beside a worker that could take it: push
// hands it over, and fetch looks before it waits, both under one lock.
type local struct {
	limit limits

	mu     sync.Mutex
	lanes  map[string]*lane
	idle   []*idler // longest waiting first
	closed bool
}

// idler is a worker that waits.
type idler struct {
	lanes []string
	got   chan entry // capacity 1; closed when there is nothing more to wait for
}

func newLocal(limit limits) *local {
	return &local{limit: limit, lanes: make(map[string]*lane)}
}

func (l *local) push(_ context.Context, key string, entries [][]byte) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.lanes[key]
	if q == nil {
		q = &lane{}
		l.lanes[key] = q
	}
	if q.len()+len(entries) > l.limit.lane {
		return 0, ErrFull
	}
	var err error
	for _, json := range entries {
		if w := l.takeIdle(key); w != nil {
			w.got <- entry{key, json}
		} else if !q.push(json, l.limit.owner) {
			err = ErrFull
		}
	}
	return int64(q.len()), err
}

// takeIdle returns the longest waiting worker that serves the lane, or nil.
func (l *local) takeIdle(key string) *idler {
	for i, w := range l.idle {
		if slices.Contains(w.lanes, key) {
			l.idle = slices.Delete(l.idle, i, i+1)
			return w
		}
	}
	return nil
}

func (l *local) fetch(lanes []string) (entry, bool) {
	w, e, ok := l.popOrWait(lanes)
	if w != nil {
		e, ok = <-w.got
	}
	return e, ok
}

func (l *local) popOrWait(lanes []string) (w *idler, e entry, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, entry{}, false
	}
	for _, key := range lanes {
		if q := l.lanes[key]; q != nil && q.len() > 0 {
			return nil, entry{key, q.pop()}, true
		}
	}
	w = &idler{lanes: lanes, got: make(chan entry, 1)}
	l.idle = append(l.idle, w)
	return w, entry{}, false
}

func (l *local) waiting(_ context.Context, lanes []string) ([]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := make([]int64, len(lanes))
	for i, key := range lanes {
		if q := l.lanes[key]; q != nil {
			counts[i] = int64(q.len())
		}
	}
	return counts, nil
}

func (l *local) turns(_ context.Context, key string, owners []string) ([]bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	there := make([]bool, len(owners))
	for i, owner := range owners {
		there[i] = l.lanes[key] != nil && l.lanes[key].of[owner] != nil
	}
	return there, nil
}

// keep keeps nothing: there is no other process to read it.
func (*local) keep(name string, _ []any) any { return nothingKept(name) }

// ring has nobody to wake: no message waits beside an idle worker.
func (*local) ring() {}

func (l *local) closeBell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, w := range l.idle {
		close(w.got)
	}
	l.idle = nil
}

func (l *local) run(ctx context.Context) error {
	<-ctx.Done()
	l.closeBell()
	return nil
}

func (*local) returned() <-chan time.Time { return nil }
