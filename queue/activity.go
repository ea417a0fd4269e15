package queue

import (
	"context"
	"fmt"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Activity is what became of the jobs that were made in a period and have not been deleted.
type Activity struct {
	Tally
	Days     []DayActivity // those with jobs, oldest first
	Kinds    Cut[KindActivity]
	Failures Cut[FailureActivity]
	Owners   Cut[OwnerActivity] // of all jobs only
}

// Tally counts jobs by what became of them.
type Tally struct{ Jobs, Succeeded, Failed, Cancelled int64 }

// Open returns how many have not ended.
func (t Tally) Open() int64 { return t.Jobs - t.Succeeded - t.Failed - t.Cancelled }

// Cut is the beginning of a list, which has All entries.
type Cut[T any] struct {
	Rows []T
	All  int
}

// More returns how many entries are left out.
func (c Cut[T]) More() int { return max(0, c.All-len(c.Rows)) }

// DayActivity counts the jobs that were made on a day, which begins at Day in UTC.
type DayActivity struct {
	Day time.Time
	Tally
}

// KindActivity counts the jobs of a kind. The times are those of the last attempts of jobs that succeeded.
type KindActivity struct {
	Kind string
	Tally
	Mean, Longest time.Duration
}

// FailureActivity counts the jobs of a kind that failed with a code.
type FailureActivity struct {
	Kind, Code string
	Times      int64
	Last       time.Time
}

// OwnerActivity counts the jobs of an owner, "" for those of the server itself.
type OwnerActivity struct {
	Owner viewer.UserID
	Tally
}

// Activity counts the jobs of owner that were made from a moment on and before another, or with owner "" all
// of the deployment; of kinds, failures and owners those with the most jobs, at most most of each. It reads
// no row into memory. Faults: UNAUTHENTICATED, FORBIDDEN.
func (q *Queue) Activity(ctx context.Context, by viewer.Viewer, owner viewer.UserID, from, to time.Time, most int) (Activity, error) {
	queries, whose, err := activityFor(by, owner)
	if err != nil {
		return Activity{}, err
	}
	period := append(whose, store.At(from), store.At(to))
	cut := append(period[:len(period):len(period)], most)
	var a Activity
	err = q.db.View(ctx, func(tx *store.Tx) error {
		a = Activity{}
		if a.Days, err = store.All(ctx, tx, queries.days, scanDayActivity, period...); err != nil {
			return err
		}
		for _, d := range a.Days {
			a.add(d.Tally)
		}
		if err := a.Kinds.read(ctx, tx, queries.kinds, scanKindActivity, cut); err != nil {
			return err
		}
		if err := a.Failures.read(ctx, tx, queries.failures, scanFailureActivity, cut); err != nil || owner != "" {
			return err
		}
		return a.Owners.read(ctx, tx, queries.owners, scanOwnerActivity, cut)
	})
	if err != nil {
		return Activity{}, fmt.Errorf("count jobs: %w", err)
	}
	return a, nil
}

// Activity is [Queue.Activity] for the handler of a job.
func (r *Run) Activity(ctx context.Context, by viewer.Viewer, owner viewer.UserID, from, to time.Time, most int) (Activity, error) {
	return r.queue.Activity(ctx, by, owner, from, to, most)
}

// activityFor returns the queries for what is asked for, and their first arguments, if by may see it.
func activityFor(by viewer.Viewer, owner viewer.UserID) (queries activityQueries, whose []any, err error) {
	if owner == "" {
		return activityOfAll, nil, by.Require(viewer.ReadJobs)
	}
	if err := by.SignedIn(); err != nil {
		return queries, nil, err
	}
	if !by.Owns(owner, viewer.ReadJobs) {
		return queries, nil, fault.Denied("Only admins may see the jobs of other accounts.")
	}
	return activityOfOwner, []any{owner}, nil
}

func (t *Tally) add(other Tally) {
	t.Jobs += other.Jobs
	t.Succeeded += other.Succeeded
	t.Failed += other.Failed
	t.Cancelled += other.Cancelled
}

// read fills c by a query of which each row tells how many there are.
func (c *Cut[T]) read(ctx context.Context, tx *store.Tx, query *store.Query, scanRow func(store.Scan, *T, *int) error, args []any) (err error) {
	c.Rows, err = store.All(ctx, tx, query, func(scan store.Scan) (row T, err error) {
		err = scanRow(scan, &row, &c.All)
		return row, err
	}, args...)
	return err
}
