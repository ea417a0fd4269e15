package queue

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
)

// Enqueue writes the job in a transaction of its own; see [Queue.EnqueueTx].
func (q *Queue) Enqueue(ctx context.Context, r Request) (*Job, error) {
	var job *Job
	err := q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) (err error) {
		job, err = q.enqueueTx(ctx, tx, r, changes)
		return err
	})
	if err != nil {
		return nil, err
	}
	keep(r)
	return job, nil
}

// EnqueueTx writes the job in tx and pushes it to the workers once tx has committed. The same
// idempotency key of the same owner and kind gives the first job again, and nothing is written.
// Options that no job can have are a fault.
func (q *Queue) EnqueueTx(ctx context.Context, tx *store.Tx, r Request) (*Job, error) {
	changes := new(changes)
	job, err := q.enqueueTx(ctx, tx, r, changes)
	if err != nil {
		return nil, err
	}
	after := context.WithoutCancel(ctx)
	tx.AfterCommit(func() {
		keep(r)
		q.announce(after, changes)
	})
	return job, nil
}

func (q *Queue) enqueueTx(ctx context.Context, tx *store.Tx, r Request, changes *changes) (*Job, error) {
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
	at := store.At(r.RunAt)
	job, err := store.One(ctx, tx, insertJob, scanJob, store.NewID[ID]("job"), r.Owner, r.Kind, kind.Queue, priority,
		attempts, string(r.Input), store.OrNull(r.IdempotencyKey), at, at, at)
	if errors.Is(err, store.ErrNotFound) { // the key is taken
		return store.One(ctx, tx, selectByKey, scanJob, r.Owner, r.Kind, r.IdempotencyKey)
	}
	if err != nil {
		return nil, fmt.Errorf("enqueue %s: %w", r.Kind, err)
	}
	for _, upload := range r.Files {
		if err := addFileTx(ctx, tx, job.ID, Input, upload.Object, upload.Name, upload.MediaType); err != nil {
			return nil, err
		}
	}
	return job, changes.record(ctx, tx, job, StateChanged, "")
}

// keep tells the receiver of the uploads that they now belong to a job.
func keep(r Request) {
	for _, upload := range r.Files {
		upload.Keep()
	}
}

// push hands queued jobs to the transport. What cannot be pushed now, the sweeper pushes later.
func (q *Queue) push(ctx context.Context, jobs ...*Job) {
	for _, j := range jobs {
		if err := q.pushes.push(ctx, j); err != nil {
			q.metrics.pushFailed.Add(1)
			q.options.Logger.WarnContext(ctx, "a job was not pushed; the sweeper will", "job", j.ID, "error", err)
		}
	}
}
