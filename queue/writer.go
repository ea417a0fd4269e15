package queue

import (
	"context"
	"errors"
	"sync"

	"gatehouse/internal/store"
)

// maxBatch is how many writes share a transaction at the most.
const maxBatch = 512

// write is one change of jobs. It may run twice, so it only touches tx and resets what it fills.
type write func(ctx context.Context, tx *store.Tx, changes *changes) error

// writer commits the writes of this process: whatever waits goes into one transaction, with no
// delay added. Jobs that are enqueued, taken or done with together are so by one statement each.
type writer struct {
	queue   *Queue
	waiting chan *pending
	written chan []*pending // committed, to be told of

	closing sync.RWMutex // held for reading while a write is handed over
	closed  bool
}

// untold is how many commits may wait to be told of; then the writer waits.
const untold = 16

// loops is how many transactions of the writer may be under way: a PostgreSQL commits several at once, and
// much of what each of them takes is the way there and back. SQLite has one.
func (w *writer) loops() int {
	if w.queue.db.Dialect() == store.Postgres {
		return 4
	}
	return 1
}

// pending is one of a write, a claim, a new job or a success, and waits for its commit.
type pending struct {
	ctx     context.Context
	write   write
	claim   ID
	wish    *wish
	success *success

	job     *Job // what was taken or written; nil when it was not to be had
	fresh   bool // of a new job: this request has made it
	changes changes
	err     error
	done    chan struct{} // closed after the commit
	told    chan struct{} // closed once the world knows
}

func newWriter(q *Queue) *writer {
	return &writer{queue: q, waiting: make(chan *pending, maxBatch), written: make(chan []*pending, untold)}
}

// write runs fn in a transaction that it may share, waits for the commit and until the world knows.
func (q *Queue) write(ctx context.Context, fn write) error {
	p := &pending{ctx: ctx, write: fn}
	if err := q.writer.commit(ctx, p); err != nil {
		return err
	}
	<-p.told
	q.goOnAll(context.WithoutCancel(ctx), &p.changes)
	return nil
}

// commit waits for p's commit. Once p was handed over its end is waited for whatever becomes of
// ctx: only so is the answer true.
func (w *writer) commit(ctx context.Context, p *pending) error {
	p.done, p.told = make(chan struct{}), make(chan struct{})
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

// run commits until the writer is closed.
func (w *writer) run() {
	defer close(w.written)
	var loops sync.WaitGroup
	defer loops.Wait()
	for range w.loops() {
		loops.Go(func() {
			for first := range w.waiting {
				w.flush(w.gather(first))
			}
		})
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
	w.written <- batch // before anybody goes on, so that what comes of it is told later
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
		var claims, wishes, successes []*pending
		for _, p := range batch {
			p.changes, p.job, p.fresh, p.err = changes{}, nil, false, nil
			switch {
			case p.wish != nil:
				wishes = append(wishes, p)
			case p.success != nil:
				successes = append(successes, p)
			case p.write == nil:
				claims = append(claims, p)
			default:
				err := p.write(ctx, tx, &p.changes)
				if errors.Is(err, errFenced) {
					p.err = err
				} else if err != nil {
					return err
				}
			}
		}
		if err := enqueueAllTx(ctx, tx, wishes); err != nil {
			return err
		}
		if err := succeedAllTx(ctx, tx, successes); err != nil || len(claims) == 0 {
			return err
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
