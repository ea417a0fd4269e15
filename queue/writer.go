package queue

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"gatehouse/internal/store"
)

// maxBatch is how many writes share a transaction at the most.
const maxBatch = 512

// write is one change of jobs. It may run twice, so it only touches tx and resets what it fills.
type write func(ctx context.Context, tx *store.Tx, changes *changes) error

// writer commits the writes of this process: whatever waits goes into one transaction, with no
// delay added. Claims that wait together become one statement.
type writer struct {
	queue   *Queue
	waiting chan *pending

	closing sync.RWMutex // held for reading while a write is handed over
	closed  bool
}

// pending is a write, or a claim, that waits for its commit.
type pending struct {
	ctx     context.Context
	write   write
	claim   ID // of a claim; write is nil
	claimed *Job
	changes changes
	err     error
	done    chan struct{}
}

func newWriter(q *Queue) *writer {
	return &writer{queue: q, waiting: make(chan *pending, maxBatch)}
}

// write runs fn in a transaction that it may share, waits for the commit and tells the world.
func (q *Queue) write(ctx context.Context, fn write) error {
	p := &pending{ctx: ctx, write: fn, done: make(chan struct{})}
	if err := q.writer.commit(ctx, p); err != nil {
		return err
	}
	q.announce(context.WithoutCancel(ctx), &p.changes)
	return nil
}

// commit waits for p's commit. Once p was handed over its end is waited for whatever becomes of
// ctx: only so is the answer true.
func (w *writer) commit(ctx context.Context, p *pending) error {
	if err := w.hand(ctx, p); err != nil {
		return err
	}
	<-p.done
	return p.err
}

func (w *writer) hand(ctx context.Context, p *pending) error {
	w.closing.RLock()
	defer w.closing.RUnlock()
	if w.closed {
		return store.ErrClosed
	}
	select {
	case w.waiting <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) close() {
	w.closing.Lock()
	already := w.closed
	w.closed = true
	w.closing.Unlock()
	if !already {
		close(w.waiting)
	}
}

func (w *writer) loop() {
	for first := range w.waiting {
		w.flush(w.gather(first))
	}
}

func (w *writer) gather(first *pending) []*pending {
	batch := []*pending{first}
	for len(batch) < maxBatch {
		select {
		case next, ok := <-w.waiting:
			if !ok {
				return batch
			}
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// flush commits batch together; when one of it breaks the transaction, each goes alone.
func (w *writer) flush(batch []*pending) {
	if err := w.together(batch); err != nil && len(batch) > 1 {
		for _, p := range batch {
			w.alone(p, err)
		}
	} else if err != nil {
		batch[0].err = err
	}
	for _, p := range batch {
		close(p.done)
	}
}

// alone runs p after a transaction that it shared has ended with err. Where that may have been committed, a
// failure of the second tells nothing of p.
func (w *writer) alone(p *pending, err error) {
	if again := w.together([]*pending{p}); again != nil {
		p.err = again
	}
	if p.err != nil && store.Uncertain(err) {
		p.err = errors.Join(p.err, err)
	}
}

// together runs batch in one transaction. A write that finds its fence passed has written nothing
// and keeps its error to itself; any other error takes the transaction with it.
func (w *writer) together(batch []*pending) error {
	ctx := context.WithoutCancel(batch[0].ctx)
	return w.queue.db.Update(ctx, func(tx *store.Tx) error {
		var claims []*pending
		for _, p := range batch {
			p.changes, p.claimed, p.err = changes{}, nil, nil
			if p.write == nil {
				claims = append(claims, p)
				continue
			}
			err := p.write(ctx, tx, &p.changes)
			if errors.Is(err, errFenced) {
				p.err = err
				continue
			}
			if err != nil {
				return err
			}
		}
		if len(claims) == 0 {
			return nil
		}
		return w.queue.claimTx(ctx, tx, claims)
	})
}

// changes is what a transaction has done to jobs, to be told once it has committed.
type changes struct{ all []change }

type change struct {
	job   *Job
	event Event
}

// record stores the event of a change in tx and remembers to tell it.
func (c *changes) record(ctx context.Context, tx *store.Tx, j *Job, kind EventType, message string) error {
	e, err := recordTx(ctx, tx, j, kind, message)
	c.all = append(c.all, change{j, e})
	return err
}

// announce tells every server of committed changes and pushes the jobs that are ready.
func (q *Queue) announce(ctx context.Context, c *changes) {
	for _, change := range c.all {
		if change.event.Type == StateChanged {
			switch change.job.State {
			case Queued:
				q.push(ctx, change.job)
			case Scheduled, Retrying:
				q.lookAt(change.job.RunAt)
			}
		}
		q.publish(ctx, change)
	}
	for _, change := range c.all {
		if change.event.Type == StateChanged && change.job.State.Final() && change.job.Parent != "" {
			q.goOn(ctx, change.job.Parent)
		}
	}
}

// The topics on which changes travel: of one job, of one owner's jobs, of all.
func topicOf(id ID) string                   { return "job:" + string(id) }
func topicOfOwner[T ~string](owner T) string { return "jobs:" + string(owner) }

const topicOfAll = "jobs"

func (q *Queue) publish(ctx context.Context, c change) {
	data, err := json.Marshal(c.event)
	if err != nil {
		q.options.Logger.ErrorContext(ctx, "an event was not published", "job", c.job.ID, "error", err)
		return
	}
	topics := []string{topicOf(c.job.ID)}
	if c.event.Type != LineWritten {
		topics = append(topics, topicOfOwner(c.job.Owner), topicOfAll)
	}
	for _, topic := range topics {
		if err := q.bus.Publish(ctx, topic, data); err != nil { // watchers find the event in SQL
			q.options.Logger.DebugContext(ctx, "an event reached only this server", "job", c.job.ID, "error", err)
		}
	}
}
