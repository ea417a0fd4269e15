package queue

import (
	"context"
	"fmt"
	"os"
	"time"

	"gatehouse/internal/bus"
	"gatehouse/internal/store"
)

// topicOfCancel carries the ids of running jobs that are to end.
const topicOfCancel = "queue:cancel"

// beginLease writes this process into the list of those that live.
func (q *Queue) beginLease(ctx context.Context) error {
	id := store.NewID[string]("prc")
	err := q.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, insertProcess, id, hostname(), os.Getpid(), q.options.Lease.Microseconds())
		return err
	})
	if err != nil {
		return fmt.Errorf("begin lease: %w", err)
	}
	q.process.Store(&id)
	return nil
}

// keepLease proves at every beat that this process lives, and looks for jobs that are to be
// cancelled. When it cannot prove it, it ends its own jobs before the lease does: from then on
// another process may run them.
func (q *Queue) keepLease(ctx context.Context) error {
	cancelled, err := q.bus.Subscribe(ctx, topicOfCancel, bus.Listener{
		Deliver: func(id []byte) { q.running.end(ID(id), ErrCancelled) },
	})
	if err != nil {
		return fmt.Errorf("listen for cancelled jobs: %w", err)
	}
	defer cancelled()
	beat := time.NewTicker(q.options.Beat)
	defer beat.Stop()
	proved := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
		}
		asked := time.Now()
		err := q.renew(ctx)
		switch {
		case err == nil:
			proved = asked
		case ctx.Err() != nil:
			return nil
		case time.Since(proved) > q.options.Lease-q.options.Beat/2:
			q.loseLease(ctx, err)
			proved = time.Now()
		default:
			q.options.Logger.WarnContext(ctx, "the lease was not renewed", "error", err)
		}
	}
}

// renew prolongs the lease and ends the jobs that bear a cancel mark.
func (q *Queue) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, q.options.Beat)
	defer cancel()
	process := *q.process.Load()
	var changed int64
	err := q.db.Update(ctx, func(tx *store.Tx) (err error) {
		changed, err = tx.Exec(ctx, renewLease, q.options.Lease.Microseconds(), process)
		return err
	})
	if err != nil {
		return err
	}
	if changed == 0 { // we were taken for dead
		q.running.endAll(ErrLeaseLost)
		return q.beginLease(ctx)
	}
	if q.running.count() == 0 {
		return nil
	}
	marked, err := store.All(ctx, q.db, selectCancelMark, store.Value[ID], process)
	for _, id := range marked {
		q.running.end(id, ErrCancelled)
	}
	return err
}

func (q *Queue) loseLease(ctx context.Context, err error) {
	q.options.Logger.ErrorContext(ctx, "the lease is lost; the jobs in hand end here", "jobs", q.running.count(), "error", err)
	q.running.endAll(ErrLeaseLost)
}

// endLease takes this process from the list, so that nobody waits for its lease to end.
func (q *Queue) endLease() {
	process := q.process.Swap(nil)
	if process == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := q.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, endLease, *process)
		return err
	})
	if err != nil {
		q.options.Logger.WarnContext(ctx, "the lease was left to run out", "error", err)
	}
}
