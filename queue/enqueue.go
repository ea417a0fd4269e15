package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
)

// Enqueue writes the job in a transaction of its own; see [Queue.EnqueueTx].
func (q *Queue) Enqueue(ctx context.Context, r Request) (*Job, error) {
	var (
		job   *Job
		fresh bool
	)
	if err := q.admitRequest(ctx, q.db, r); err != nil {
		return nil, err
	}
	err := q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) (err error) {
		job, fresh, err = q.enqueueTx(ctx, tx, r, changes)
		return err
	})
	if fresh || store.Uncertain(err) { // what no job came to know after all, the sweep of the blob store removes
		claim(r.Files)
	}
	if err != nil {
		return nil, err
	}
	return job, nil
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

// enqueueTx also tells whether the job is a fresh one, of this request.
func (q *Queue) enqueueTx(ctx context.Context, tx *store.Tx, r Request, changes *changes) (*Job, bool, error) {
	kind, known := q.kinds[r.Kind]
	if !known {
		return nil, false, fmt.Errorf("enqueue: no kind of job is called %q", r.Kind)
	}
	if err := r.check(q.options.Now()); err != nil {
		return nil, false, err
	}
	if len(r.Input) > maxInputBytes {
		return nil, false, fault.New(fault.TooLarge, "", "The job's arguments are larger than 1 MiB.")
	}
	attempts := r.MaxAttempts
	if attempts == 0 {
		attempts = kind.MaxAttempts
	}
	priority := r.Priority
	if priority == 0 {
		priority = Normal
	}
	at := store.At(r.RunAt)
	job, err := store.One(ctx, tx, insertJob, scanJob, r.id, r.Owner, r.Kind, kind.Queue, priority,
		attempts, string(r.Input), store.OrNull(r.IdempotencyKey), store.OrNull(r.parent), at, at, at)
	if errors.Is(err, store.ErrNotFound) { // the key is taken, or this transaction was committed before
		job, err = store.One(ctx, tx, selectSame, scanJob, r.id, r.Owner, r.Kind, r.IdempotencyKey)
		return job, err == nil && job.ID == r.id, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("enqueue %s: %w", r.Kind, err)
	}
	for _, upload := range r.Files {
		if err := addFileTx(ctx, tx, job, Input, upload.Object, upload.Name, upload.MediaType); err != nil {
			return nil, false, err
		}
	}
	return job, true, changes.record(ctx, tx, job, StateChanged, "")
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
	ctx, cancel := context.WithTimeout(ctx, pushPatience)
	defer cancel()
	for _, j := range jobs {
		if err := q.pushes.push(ctx, j); err != nil {
			q.metrics.pushFailed.Add(1)
			q.options.Logger.WarnContext(ctx, "a job was not pushed; the sweeper will", "job", j.ID, "error", err)
		}
	}
}
