package queue

import (
	"context"
	"errors"
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
	asked := time.Now()
	if err := q.db.Update(ctx, func(tx *store.Tx) error { return q.proveTx(ctx, tx, id) }); err != nil {
		return fmt.Errorf("begin lease: %w", err)
	}
	q.process.Store(&id)
	q.proved.Store(&asked)
	return nil
}

// proveTx gives the process a lease, whether or not it was taken for dead.
func (q *Queue) proveTx(ctx context.Context, tx *store.Tx, process string) error {
	_, err := tx.Exec(ctx, proveProcess, process, hostname(), os.Getpid(), q.options.Lease.Microseconds())
	return err
}

// proveAgainTx proves that this process lives before it takes jobs, when the last proof is old: after the
// database was away, the lease has run out, and what were taken without one would be taken away at once.
func (q *Queue) proveAgainTx(ctx context.Context, tx *store.Tx, process string) error {
	if time.Since(*q.proved.Load()) < q.options.Lease/2 {
		return nil
	}
	return q.proveTx(ctx, tx, process)
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
			q.proved.Store(&asked)
		case ctx.Err() != nil:
			return nil
		case time.Since(*q.proved.Load()) > q.options.Lease-q.options.Beat/2:
			q.loseLease(ctx, err)
		default:
			q.options.Logger.WarnContext(ctx, "the lease was not renewed", "error", err)
		}
	}
}

// renew prolongs the lease and ends the jobs that bear a cancel mark.
func (q *Queue) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, q.options.Beat)
	defer cancel()
	process, figures := *q.process.Load(), q.figures()
	var changed int64
	err := q.db.Update(ctx, func(tx *store.Tx) (err error) {
		changed, err = tx.Exec(ctx, renewLease, q.options.Lease.Microseconds(), figures, process)
		return err
	})
	if err != nil {
		return err
	}
	if changed == 0 { // we were taken for dead
		q.running.endAll(ErrLeaseLost)
		return q.beginLease(ctx)
	}
	return q.reconcile(ctx, process)
}

// mine is a job that the database has as ours.
type mine struct {
	id     ID
	claim  int64
	cancel bool
}

// reconcile compares the jobs in hand with those that the database has as ours. What bears a cancel
// mark is cancelled. A job that is in hand and no longer ours, or ours and not in hand, was lost
// when an answer of the database was: the first ends, the second is handed back. Either counts only
// when it is so at two beats, since a claim or an ending may be on its way.
func (q *Queue) reconcile(ctx context.Context, process string) error {
	rows, err := store.All(ctx, q.db, selectMine, func(scan store.Scan) (m mine, err error) {
		err = scan(&m.id, &m.claim, &m.cancel)
		return m, err
	}, process)
	if err != nil {
		return err
	}
	strays := make(map[taking]bool)
	for _, m := range q.running.compare(rows) {
		s := taking{m.id, m.claim}
		strays[s] = true
		if !q.strays[s] {
			continue
		}
		q.options.Logger.WarnContext(ctx, "a job that was taken and not begun is handed back", "job", m.id)
		if _, err := q.refund(ctx, &Run{Job: &Job{ID: m.id, Claim: m.claim}}); err != nil && !errors.Is(err, errFenced) {
			return err
		}
	}
	q.strays = strays
	return nil
}

// taking is one taking of a job by a worker.
type taking struct {
	id    ID
	claim int64
}

// compare ends what is cancelled or no longer ours, and returns the rows that are not in hand.
func (r *running) compare(rows []mine) (strays []mine) {
	r.Lock()
	defer r.Unlock()
	ours := make(map[ID]int64, len(rows))
	for _, m := range rows {
		ours[m.id] = m.claim
		t := r.jobs[m.id]
		if t == nil {
			strays = append(strays, m)
		} else if m.cancel {
			t.end(ErrCancelled)
		}
	}
	for id, t := range r.jobs {
		if ours[id] == t.job.Claim {
			t.absent = false
		} else if t.absent {
			t.end(ErrLeaseLost)
		} else {
			t.absent = true
		}
	}
	return strays
}

func (q *Queue) loseLease(ctx context.Context, err error) {
	q.options.Logger.ErrorContext(ctx, "the lease is lost; jobs in hand end here", "jobs", q.running.count(), "error", err)
	q.running.endAll(ErrLeaseLost)
}

// endLease gives the lease up, so that nobody waits for its end: what this process may still hold is
// given back by another's sweeper, which then takes the process from the list.
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
