package queue

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"gatehouse/internal/bus"
	"gatehouse/internal/feed"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// maxChanged is how many changed jobs a slow reader may be behind; beyond it the oldest change is
// forgotten until that job changes again.
const maxChanged = 1000

// Updates tells of by's jobs that f chooses, each time one changes, everybody's for those who may
// read them. Quick changes of one job are drawn together. The channel is closed when ctx ends. A reader
// that ctx offers (package feed) is called when there is something to read. The jobs are
// shared with other readers and read only.
func (q *Queue) Updates(ctx context.Context, by viewer.Viewer, f Filter) (<-chan *Job, error) {
	f, _, err := q.allowed(by, f, Order{})
	if err != nil {
		return nil, err
	}
	topic := topicOfAll
	if f.Owner != "" {
		topic = topicOfOwner(f.Owner)
	}
	u := &updates{queue: q, ctx: ctx, by: by, filter: f, out: make(chan *Job, 1)}
	stop, err := q.bus.Subscribe(ctx, topic, bus.Listener{Deliver: u.hear})
	if err != nil {
		return nil, fmt.Errorf("watch jobs: %w", err)
	}
	u.begin(stop)
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
	order   []ID         // of jobs that have changed
	waiting map[ID]int64 // by id of those, the number of the newest event
	begun   bool
	pumping bool
	closed  bool

	reader feed.Reader // is called with each job, nil when it waits on out by itself; set by begin
}

// begin lets the pump run, from now on and when ctx ends, until which stop is not called.
func (u *updates) begin(stop func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reader, u.begun = feed.Accept(u.ctx), true
	if len(u.order) > 0 {
		u.start()
	}
	context.AfterFunc(u.ctx, func() {
		stop()
		u.mu.Lock()
		defer u.mu.Unlock()
		u.start() // the pump closes the channel
	})
}

func (u *updates) hear(data []byte) {
	events := u.queue.news.decode(data)
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, e := range events {
		u.note(e)
	}
}

// note remembers that a job has changed. mu is held.
func (u *updates) note(e *Event) {
	known, waits := u.waiting[e.JobID]
	if u.waiting == nil {
		u.waiting = make(map[ID]int64)
	}
	u.waiting[e.JobID] = max(known, e.Sequence)
	if waits {
		return
	}
	if len(u.order) == maxChanged {
		delete(u.waiting, u.order[0])
		u.order = u.order[1:]
	}
	u.order = append(u.order, e.JobID)
	u.start()
}

// start lets the pump run unless it does. mu is held.
func (u *updates) start() {
	if u.begun && !u.pumping && !u.closed {
		u.pumping = true
		go u.pump()
	}
}

func (u *updates) pump() {
	for {
		ids, changed := u.take()
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
		jobs, err := u.queue.fresh(u.ctx, changed)
		if err != nil && u.ctx.Err() == nil {
			u.queue.options.Logger.WarnContext(u.ctx, "a watch of jobs ends early; its client comes again", "error", err)
			u.close()
			return
		}
		for _, id := range ids {
			if j := jobs[id]; j != nil && u.by.Owns(j.Owner, viewer.ReadJobs) && u.filter.matches(j) {
				u.send(j)
			}
		}
	}
}

func (u *updates) send(j *Job) {
	select {
	case u.out <- j:
	case <-u.ctx.Done():
		return
	}
	if u.reader != nil {
		u.reader.Ready(false)
	}
}

// take returns the changed jobs, at most as many as one statement reads, and how new they are.
func (u *updates) take() (ids []ID, changed map[ID]int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := min(len(u.order), 100)
	ids, changed = slices.Clone(u.order[:n]), make(map[ID]int64, n)
	for _, id := range ids {
		changed[id] = u.waiting[id]
		delete(u.waiting, id)
	}
	if u.order = u.order[n:]; len(u.order) == 0 {
		u.order, u.waiting = nil, nil
	}
	return ids, changed
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
	u.closed = true
	u.mu.Unlock()
	close(u.out)
	if u.reader != nil {
		u.reader.Ready(true)
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
