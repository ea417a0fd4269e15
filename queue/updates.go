package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"gatehouse/internal/bus"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// maxChanged is how many changed jobs a slow reader may be behind; beyond it the oldest change is
// forgotten until that job changes again.
const maxChanged = 1000

// Updates tells of by's jobs that f chooses, each time one changes, everybody's for those who may
// read them. Quick changes of one job are drawn together. The channel is closed when ctx ends.
func (q *Queue) Updates(ctx context.Context, by viewer.Viewer, f Filter) (<-chan *Job, error) {
	f, _, err := q.allowed(by, f, Order{})
	if err != nil {
		return nil, err
	}
	topic := topicOfAll
	if f.Owner != "" {
		topic = topicOfOwner(f.Owner)
	}
	u := &updates{queue: q, ctx: ctx, by: by, filter: f, out: make(chan *Job, 1), waiting: map[ID]bool{}}
	stop, err := q.bus.Subscribe(ctx, topic, bus.Listener{Deliver: u.hear})
	if err != nil {
		return nil, fmt.Errorf("watch jobs: %w", err)
	}
	context.AfterFunc(ctx, func() {
		stop()
		u.mu.Lock()
		defer u.mu.Unlock()
		u.start() // the pump closes the channel
	})
	return u.out, nil
}

// updates is one subscription to many jobs. Its pump runs only while there is something to send.
type updates struct {
	queue  *Queue
	ctx    context.Context
	by     viewer.Viewer
	filter Filter
	out    chan *Job // capacity 1; sent to and closed by the pump alone

	mu      sync.Mutex
	order   []ID
	waiting map[ID]bool
	pumping bool
	closed  bool
}

func (u *updates) hear(data []byte) {
	var e Event
	if json.Unmarshal(data, &e) != nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.waiting[e.JobID] {
		return
	}
	if len(u.order) == maxChanged {
		delete(u.waiting, u.order[0])
		u.order = u.order[1:]
	}
	u.waiting[e.JobID] = true
	u.order = append(u.order, e.JobID)
	u.start()
}

// start lets the pump run unless it does. mu is held.
func (u *updates) start() {
	if !u.pumping && !u.closed {
		u.pumping = true
		go u.pump()
	}
}

func (u *updates) pump() {
	for {
		ids := u.take()
		if u.ctx.Err() != nil {
			u.close()
			return
		}
		if len(ids) == 0 {
			if u.rest() {
				return
			}
			continue
		}
		jobs, err := u.queue.ByIDs(u.ctx, u.by, ids)
		if err != nil && u.ctx.Err() == nil {
			u.queue.options.Logger.WarnContext(u.ctx, "a watch of jobs ends early; its client comes again", "error", err)
			u.close()
			return
		}
		for _, id := range ids {
			if j := jobs[id]; j != nil && u.filter.matches(j) {
				select {
				case u.out <- j:
				case <-u.ctx.Done():
				}
			}
		}
	}
}

// take returns the changed jobs, at most as many as one statement reads.
func (u *updates) take() []ID {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := min(len(u.order), 100)
	ids := slices.Clone(u.order[:n])
	u.order = u.order[n:]
	for _, id := range ids {
		delete(u.waiting, id)
	}
	return ids
}

func (u *updates) rest() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.order) > 0 || u.ctx.Err() != nil {
		return false
	}
	u.pumping = false
	return true
}

func (u *updates) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.closed = true
		close(u.out)
	}
}

// matches reports whether f chooses j; it says in Go what where says in SQL.
func (f Filter) matches(j *Job) bool {
	among := func(n int, found bool) bool { return n == 0 || found }
	created := store.At(j.CreatedAt).(int64)
	after, bounded := f.CreatedAfter.(int64)
	before, ended := f.CreatedBefore.(int64)
	return among(len(f.States), slices.Contains(f.States, j.State)) &&
		among(len(f.Kinds), slices.Contains(f.Kinds, j.Kind)) &&
		among(len(f.Queues), slices.Contains(f.Queues, j.Queue)) &&
		(f.Owner == "" || f.Owner == j.Owner) &&
		(!bounded || created >= after) && (!ended || created < before)
}
