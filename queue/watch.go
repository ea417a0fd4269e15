package queue

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"gatehouse/internal/bus"
	"gatehouse/internal/feed"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// maxHeard is how many events a watch keeps that its reader has not taken. Beyond it the oldest are
// forgotten and read again from SQL.
const maxHeard = 32

// Watch tells what happens to a job: first a snapshot, then all stored events after the number
// after (nil: none of them), then live ones, each once and in order; the channel is closed after
// the terminal event, or when ctx ends. NOT_FOUND when there is no such job or by may not see it.
//
// A reader that falls far behind gets progress drawn together and every change of state. A watch
// without news holds no goroutine; a reader that ctx offers (package feed) is called when there are.
func (q *Queue) Watch(ctx context.Context, by viewer.Viewer, id ID, after *int64) (<-chan *Event, error) {
	w := &watch{queue: q, ctx: ctx, id: id, out: make(chan *Event, 1)}
	// Listen first: what happens from here on is heard, and what was stored before is read.
	var err error
	if w.unsubscribe, err = q.bus.Subscribe(ctx, topicOf(id), bus.Listener{Deliver: w.hear, Gap: w.recheck}); err != nil {
		return nil, fmt.Errorf("watch %s: %w", id, err)
	}
	q.watches.add(w)
	j, err := q.owned(ctx, q.db, by, id, viewer.ReadJobs)
	if err != nil {
		w.leave()
		return nil, err
	}
	w.begin(j, after)
	return w.out, nil
}

// watch is one subscription to a job. Its pump runs only while there is something to send.
type watch struct {
	queue *Queue
	ctx   context.Context
	id    ID
	out   chan *Event // capacity 1; sent to and closed by the pump alone
	at    int         // its place among the watches of the job; of the watches
	// unsubscribe ends hear and recheck.
	unsubscribe func()
	// unhook takes back what the end of ctx does.
	unhook func() bool
	// reader is called with each event, nil when the reader waits on out by itself.
	reader feed.Reader

	mu      sync.Mutex
	heard   []*Event // from the bus, by sequence; at most maxHeard
	page    []Event  // from SQL, not yet sent
	behind  bool     // SQL may know more than was heard
	pumping bool
	begun   bool
	closed  bool

	first  *Event // the snapshot, until it is sent; of the pump
	job    *Job   // as last seen, shared and read only; of the pump
	sent   int64  // number of the newest event sent or skipped; of the pump
	ended  bool   // that event was the job's last, so far; of the pump
	target int64  // number up to which SQL is known to hold events; guarded by mu
}

func (w *watch) begin(j *Job, after *int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.job, w.sent = w.queue.news.share(j), j.Sequence
	if after != nil {
		w.sent = min(max(0, *after), j.Sequence)
	}
	w.target = max(w.target, j.Sequence)
	w.first = &Event{
		JobID: j.ID, Sequence: j.Sequence, At: w.queue.options.Now().UTC().Truncate(time.Microsecond), Type: Snapshot, State: j.State, Attempt: j.Attempt, Job: j,
	}
	w.begun = true
	w.reader = feed.Accept(w.ctx)
	w.start()
	w.unhook = context.AfterFunc(w.ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.start() // the pump closes the channel
	})
}

// hear takes an event from the bus. It never blocks.
func (w *watch) hear(data []byte) {
	events := w.queue.news.decode(data)
	if len(events) == 0 {
		w.recheck()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		w.note(e)
	}
	w.start()
}

// note puts an event among those to be sent. mu is held.
func (w *watch) note(e *Event) {
	w.target = max(w.target, e.Sequence)
	at, seen := slices.BinarySearchFunc(w.heard, e.Sequence, func(h *Event, n int64) int { return int(h.Sequence - n) })
	if seen {
		return
	}
	w.heard = slices.Insert(w.heard, at, e)
	if len(w.heard) > maxHeard {
		w.heard = slices.Delete(w.heard, 0, len(w.heard)-maxHeard)
	}
}

// reach takes it that the job has events up to number n.
func (w *watch) reach(n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n > w.target {
		w.target = n
		w.start()
	}
}

// recheck looks into SQL for events that the bus may have lost.
func (w *watch) recheck() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.behind = true
	w.start()
}

// start lets the pump run unless it does. mu is held.
func (w *watch) start() {
	if w.begun && !w.pumping && !w.closed {
		w.pumping = true
		go w.pump()
	}
}

// pump sends what there is to send and ends when nothing is left.
func (w *watch) pump() {
	for {
		e, err := w.next()
		switch {
		case err != nil && w.ctx.Err() == nil:
			w.queue.options.Logger.WarnContext(w.ctx, "a watch ends early; its client resumes", "job", w.id, "error", err)
			fallthrough
		case w.ctx.Err() != nil:
			w.close()
			return
		case e == nil && w.ended && w.drained():
			w.close()
			return
		case e == nil:
			if w.rest() {
				return
			}
			continue
		}
		select {
		case w.out <- e:
		case <-w.ctx.Done():
			w.close()
			return
		}
		w.ended = e.State.Final()
		if w.ended && w.drained() {
			w.close()
			return
		}
		if w.reader != nil {
			w.reader.Ready(false)
		}
	}
}

// drained reports whether everything known has been sent.
func (w *watch) drained() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent >= w.target && len(w.page) == 0 && !w.behind
}

// rest ends the pump unless something has come meanwhile.
func (w *watch) rest() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.target > w.sent || w.behind || len(w.page) > 0 || w.ctx.Err() != nil {
		return false
	}
	w.pumping = false
	return true
}

// close ends the watch; the last event may wait in out.
func (w *watch) close() {
	w.mu.Lock()
	w.closed = true
	unhook := w.unhook
	w.mu.Unlock()
	close(w.out)
	if w.reader != nil {
		w.reader.Ready(true)
	}
	unhook()
	w.leave()
}

// leave lets nobody tell the watch any more.
func (w *watch) leave() {
	w.unsubscribe()
	w.queue.watches.remove(w)
}

// next returns the next event to send, nil when there is none.
func (w *watch) next() (*Event, error) {
	if e := w.first; e != nil {
		w.first = nil
		return e, nil
	}
	e, ok, behind := w.take()
	if !ok && behind {
		if err := w.fill(); err != nil {
			return nil, err
		}
		e, ok, _ = w.take()
	}
	if !ok {
		return nil, nil
	}
	return w.dress(e)
}

// take returns the next event that is at hand: from the page that was read, or the one that the
// bus brought right after the last one sent. It also tells whether SQL knows of one that is not.
func (w *watch) take() (e Event, ok, behind bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.heard = after(w.heard, w.sent); {
	case len(w.page) > 0:
		e, w.page = w.page[0], w.page[1:]
	case len(w.heard) > 0 && w.heard[0].Sequence == w.sent+1:
		e, w.heard = *w.heard[0], w.heard[1:]
	default:
		return e, false, w.behind || w.target > w.sent
	}
	w.sent = e.Sequence
	return e, true, false
}

// after returns the events with a number above n.
func after(events []*Event, n int64) []*Event {
	for len(events) > 0 && events[0].Sequence <= n {
		events = events[1:]
	}
	if len(events) == 0 {
		return nil // and not an empty end of what is no longer needed
	}
	return events
}

// fill reads a page of the events after the last one sent.
func (w *watch) fill() error {
	w.mu.Lock()
	w.behind = false
	w.mu.Unlock()
	events, err := store.All(w.ctx, w.queue.db, selectEvents, scanEvent, w.id, w.sent, maxEventPage)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(events) == 0 { // what was heard of was not committed, or the job is deleted
		w.target, w.heard = w.sent, nil
		return nil
	}
	w.target = max(w.target, events[len(events)-1].Sequence)
	if len(events) == maxEventPage {
		w.behind = true
		events = drawTogether(events)
	}
	w.page = events
	return nil
}

// drawTogether leaves out progress that newer progress follows: the reader is far behind.
func drawTogether(events []Event) []Event {
	kept := events[:0]
	for i, e := range events {
		if e.Type == ProgressMade && i+1 < len(events) && events[i+1].Type == ProgressMade {
			continue
		}
		kept = append(kept, e)
	}
	return kept
}

// dress gives the event the job as it stood then: a change of state needs a row that has seen it,
// progress is laid over what is known.
func (w *watch) dress(e Event) (*Event, error) {
	if e.Type == StateChanged {
		jobs, err := w.queue.fresh(w.ctx, map[ID]int64{w.id: e.Sequence})
		if err != nil {
			return nil, err
		}
		if w.job = jobs[w.id]; w.job == nil {
			return nil, fmt.Errorf("read job: %w", store.ErrNotFound)
		}
	}
	j := *w.job
	j.Sequence, j.State, j.Attempt = e.Sequence, e.State, e.Attempt
	j.Progress = Progress{e.Done, e.Total, e.Stage}
	if !e.State.Final() {
		j.Result = nil
		j.FinishedAt, j.ExpiresAt = w.job.FinishedAt, w.job.ExpiresAt
	}
	e.Job = &j
	return &e, nil
}
