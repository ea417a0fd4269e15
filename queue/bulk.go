package queue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// The bounds of one call that changes many jobs. What is left, the caller asks for again.
const (
	bulkMost     = 10_000
	bulkBatch    = 500 // jobs in a transaction
	bulkPatience = 10 * time.Second
)

// Changed is what a call did to many jobs.
type Changed struct {
	Count int
	More  bool // some that may be meant were not looked at
}

// CancelAll is [Queue.Cancel] for the jobs that f chooses and that have not ended, oldest first: by's own, or
// everybody's for those who may manage them.
func (q *Queue) CancelAll(ctx context.Context, by viewer.Viewer, f Filter) (Changed, error) {
	return q.each(ctx, by, f, []State{Scheduled, Queued, Retrying, Running}, q.cancelBatch)
}

// RetryAll is [Queue.Retry] for the failed and cancelled jobs that f chooses, oldest first: by's own, or
// everybody's for those who may manage them. Steps are started anew with their workflow. Fault: QUOTA_EXCEEDED,
// for what one's quota has no room for.
func (q *Queue) RetryAll(ctx context.Context, by viewer.Viewer, f Filter) (Changed, error) {
	return q.each(ctx, by, f, []State{Failed, Cancelled}, q.retryBatch)
}

// each calls change with the jobs that f chooses in one of states, a batch at a time. An error after the first
// batch is told with what was done.
func (q *Queue) each(ctx context.Context, by viewer.Viewer, f Filter, states []State, change func(context.Context, []*Excerpt) (int, error)) (all Changed, err error) {
	if f, err = q.managed(by, f); err != nil {
		return all, err
	}
	if f.States = among(f.States, states); len(f.States) == 0 {
		return all, nil
	}
	order, fields := Order{Field: CreatedAt, Ascending: true}, WithOwner|WithKind|WithState|WithCreatedAt
	for w, began := (page.Window{Size: bulkBatch}), time.Now(); ; {
		text, args := list(f, order, w, fields)
		found, err := store.All(ctx, q.db, store.Passing(text), newReader(fields, Job{}).excerpt, args...)
		if err != nil {
			return all, fmt.Errorf("read jobs to change: %w", err)
		}
		all.More = len(found) > bulkBatch
		found = found[:min(len(found), bulkBatch)]
		if len(found) == 0 {
			return all, nil
		}
		n, err := change(ctx, found)
		all.Count += n
		if err != nil {
			all.More = true
			return all, err
		}
		last := found[len(found)-1].Cursor(CreatedAt)
		if w.After = &last; !all.More || all.Count >= bulkMost || time.Since(began) > bulkPatience {
			return all, nil
		}
	}
}

// managed narrows f to what by may manage.
func (q *Queue) managed(by viewer.Viewer, f Filter) (Filter, error) {
	if err := by.SignedIn(); err != nil {
		return f, err
	}
	if !by.May(viewer.ManageJobs) {
		if f.Owner != "" && f.Owner != by.User {
			return f, fault.Denied("Only admins may change the jobs of other accounts.")
		}
		f.Owner = by.User
		if !by.Owns(by.User, viewer.ManageJobs) {
			return f, fault.Denied("This credential may not change jobs.")
		}
	}
	if len(f.States)+len(f.Kinds)+len(f.Queues) > 200 {
		return f, fault.New(fault.BadUserInput, "", "The filter names more than 200 values.")
	}
	return f, nil
}

// among returns those of possible that are asked for; none asked for are all.
func among(asked, possible []State) []State {
	if len(asked) == 0 {
		return possible
	}
	return slices.DeleteFunc(slices.Clone(possible), func(s State) bool { return !slices.Contains(asked, s) })
}

func (q *Queue) cancelBatch(ctx context.Context, found []*Excerpt) (int, error) {
	var (
		cancelled int
		running   []*Job
	)
	err := q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) (err error) {
		cancelled = 0
		for kind, ids := range idsByKind(found) {
			query, size := cancelWaitingJobs.List(len(ids))
			args := append([]any{q.retentionOf(kind).Microseconds()}, store.Values(ids, size)...)
			jobs, err := store.All(ctx, tx, query, scanJobs(), args...)
			if err != nil {
				return err
			}
			if err := recordAll(ctx, tx, changes, jobs, "Cancelled before it began."); err != nil {
				return err
			}
			cancelled += len(jobs)
		}
		query, size := askCancelJobs.List(len(found))
		running, err = store.All(ctx, tx, query, scanJobs(), store.Values(idsOf(found), size)...)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("cancel jobs: %w", err)
	}
	for _, j := range running {
		switch {
		case j.Kind == WorkflowKind.Name:
			q.goOn(ctx, j.ID)
		case j.Process == "": // a worker outside has it
			q.sweepNow()
		default:
			q.tellOfCancel(ctx, j.ID)
		}
	}
	return cancelled + len(running), nil
}

func (q *Queue) retryBatch(ctx context.Context, found []*Excerpt) (int, error) {
	counts := map[viewer.UserID]int{}
	for _, e := range found {
		counts[e.Owner]++
	}
	for owner, n := range counts {
		if err := q.admit(ctx, q.db, owner, n, 0); err != nil {
			return 0, err
		}
	}
	var (
		jobs []*Job
		keys []blob.Key
	)
	err := q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) (err error) {
		query, size := restartJobs.List(len(found))
		if jobs, err = store.All(ctx, tx, query, scanJobs(), store.Values(idsOf(found), size)...); err != nil || len(jobs) == 0 {
			return err
		}
		keys, err = q.beginAnewTx(ctx, tx, changes, jobs)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("retry jobs: %w", err)
	}
	q.removeBlobs(ctx, keys...)
	return len(jobs), nil
}

// beginAnewTx forgets what jobs, which have just been queued again, had made, and the oldest of their history. It
// returns the keys of files to remove once tx has committed.
func (q *Queue) beginAnewTx(ctx context.Context, tx *store.Tx, changes *changes, jobs []*Job) ([]blob.Key, error) {
	ids := make([]ID, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	query, size := selectMade.List(len(ids))
	keys, err := store.All(ctx, tx, query, scanKey, store.Values(ids, size)...)
	if err != nil {
		return nil, err
	}
	if len(keys) > 0 {
		query, size = deleteMade.List(len(ids))
		if _, err := tx.Exec(ctx, query, store.Values(ids, size)...); err != nil {
			return nil, err
		}
	}
	for _, j := range jobs {
		if j.Kind == WorkflowKind.Name {
			if _, err := tx.Exec(ctx, forgetSteps, j.ID); err != nil {
				return nil, err
			}
		}
		if q.kinds[j.Kind].afresh {
			left, err := dropAllKeptTx(ctx, tx, j.ID)
			if err != nil {
				return nil, err
			}
			keys = append(keys, left...)
		}
		if j.Claim > keptAttempts {
			if _, err := tx.Exec(ctx, forgetAttempts, j.ID, j.Claim-keptAttempts); err != nil {
				return nil, err
			}
		}
		if j.Sequence > keptEvents {
			if _, err := tx.Exec(ctx, forgetEvents, j.ID, j.Sequence-keptEvents); err != nil {
				return nil, err
			}
		}
	}
	return keys, recordAll(ctx, tx, changes, jobs, "Started anew.")
}

func idsOf(found []*Excerpt) []ID {
	ids := make([]ID, len(found))
	for i, e := range found {
		ids[i] = e.ID
	}
	return ids
}

func idsByKind(found []*Excerpt) map[string][]ID {
	ids := map[string][]ID{}
	for _, e := range found {
		ids[e.Kind] = append(ids[e.Kind], e.ID)
	}
	return ids
}
