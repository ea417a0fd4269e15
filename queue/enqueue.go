package queue

import (
	"context"
	"fmt"
	"time"

	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
)

// Enqueue writes the job in a transaction of its own; see [Queue.EnqueueTx].
func (q *Queue) Enqueue(ctx context.Context, r Request) (*Job, error) {
	if err := q.admitRequest(ctx, q.db, r); err != nil {
		return nil, err
	}
	w, err := q.wish(r)
	if err != nil {
		return nil, err
	}
	p := &pending{ctx: ctx, wish: w}
	err = q.writer.commit(ctx, p)
	if err == nil && p.fresh || store.Uncertain(err) { // what no job came to know after all, the sweep of the blob store removes
		claim(r.Files)
	}
	if err != nil {
		return nil, err
	}
	return p.job, nil
}

// EnqueueTx writes the job in tx and pushes it to the workers once tx has committed. The same
// idempotency key of the same owner and kind gives the first job again, and nothing is written.
// Options that no job can have are a fault, and what the owner's quota has no room for.
func (q *Queue) EnqueueTx(ctx context.Context, tx *store.Tx, r Request) (*Job, error) {
	if err := q.admitRequest(ctx, tx, r); err != nil {
		return nil, err
	}
	changes := new(changes)
	job, fresh, err := q.enqueueTx(ctx, tx, r, changes)
	if err != nil {
		return nil, err
	}
	after := context.WithoutCancel(ctx)
	tx.AfterCommit(func() {
		if fresh {
			claim(r.Files)
		}
		q.announce(after, changes)
	})
	return job, nil
}

// wish is a request that was found good, and the row that it becomes.
type wish struct {
	Request
	row []any
}

// wish checks r.
func (q *Queue) wish(r Request) (*wish, error) {
	kind, known := q.kinds[r.Kind]
	if !known {
		return nil, fmt.Errorf("enqueue: no kind of job is called %q", r.Kind)
	}
	if err := r.check(q.options.Now()); err != nil {
		return nil, err
	}
	if len(r.Input) > maxInputBytes {
		return nil, fault.New(fault.TooLarge, "", "The job's arguments are larger than 1 MiB.")
	}
	attempts := r.MaxAttempts
	if attempts == 0 {
		attempts = kind.MaxAttempts
	}
	priority := r.Priority
	if priority == 0 {
		priority = Normal
	}
	return &wish{r, []any{
		r.id, r.Owner, r.Kind, kind.Queue, priority, attempts, string(r.Input),
		store.OrNull(r.IdempotencyKey), store.OrNull(r.parent), store.At(r.RunAt),
	}}, nil
}

// enqueueTx also tells whether the job is a fresh one, of this request.
func (q *Queue) enqueueTx(ctx context.Context, tx *store.Tx, r Request, changes *changes) (*Job, bool, error) {
	w, err := q.wish(r)
	if err != nil {
		return nil, false, err
	}
	p := &pending{wish: w}
	err = enqueueAllTx(ctx, tx, []*pending{p})
	changes.all = append(changes.all, p.changes.all...)
	return p.job, p.fresh, err
}

// enqueueAllTx writes the jobs of all, by one statement.
func enqueueAllTx(ctx context.Context, tx *store.Tx, all []*pending) error {
	rows := make([][]any, len(all))
	for i, p := range all {
		rows[i] = p.wish.row
	}
	written, err := store.Rows(ctx, tx, insertJobs, scanJobs(), rows)
	if err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	fresh := make(map[ID]*Job, len(written))
	for _, j := range written {
		fresh[j.ID] = j
	}
	var told []telling
	for _, p := range all {
		r := p.wish.Request
		if p.job, p.fresh = fresh[r.id], fresh[r.id] != nil; !p.fresh { // the key is taken, or this transaction was committed before
			if p.job, err = store.One(ctx, tx, selectSame, scanJob, r.id, r.Owner, r.Kind, r.IdempotencyKey); err != nil {
				return fmt.Errorf("enqueue %s: %w", r.Kind, err)
			}
			p.fresh = p.job.ID == r.id
			continue
		}
		for _, upload := range r.Files {
			if err := addFileTx(ctx, tx, p.job, Input, upload.Object, upload.Name, upload.MediaType); err != nil {
				return err
			}
		}
		told = append(told, telling{p.job, &p.changes})
	}
	return recordStates(ctx, tx, told, "")
}

// claim tells the receiver of the uploads that they now belong to a job.
func claim(uploads []*blob.Upload) {
	for _, upload := range uploads {
		upload.Keep()
	}
}

// pushPatience bounds how long whoever starts a job waits for a transport that hangs.
const pushPatience = 250 * time.Millisecond

// push hands queued jobs to the transport. What cannot be pushed now, the sweeper pushes later.
func (q *Queue) push(ctx context.Context, jobs ...*Job) {
	if len(jobs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pushPatience)
	defer cancel()
	if err := q.pushes.pushAll(ctx, jobs); err != nil {
		q.metrics.pushFailed.Add(1)
		q.options.Logger.WarnContext(ctx, "jobs were not pushed; the sweeper will", "job", jobs[0].ID, "jobs", len(jobs), "error", err)
	}
}
