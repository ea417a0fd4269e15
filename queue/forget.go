package queue

import (
	"context"
	"fmt"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// ownedAtOnce is how many jobs of an owner are read at a time.
const ownedAtOnce = 100

// Forget removes the schedules of owners, a person and their service accounts, and then their jobs with the
// events and files. What runs is cancelled and left for a later call; left is how many those are.
func (q *Queue) Forget(ctx context.Context, owners ...viewer.UserID) (left int, err error) {
	for _, owner := range owners {
		if err := q.forgetSchedules(ctx, owner); err != nil {
			return left, err
		}
		err := q.EachOf(ctx, owner, func(j *Job) error {
			gone, err := q.remove(ctx, j)
			if err == nil && !gone {
				left++
			}
			return err
		})
		if err != nil {
			return left, err
		}
	}
	return left, nil
}

func (q *Queue) forgetSchedules(ctx context.Context, owner viewer.UserID) error {
	err := q.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, deleteSchedulesOf, owner)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget schedules of %s: %w", owner, err)
	}
	return nil
}

// remove reports whether the job is gone.
func (q *Queue) remove(ctx context.Context, j *Job) (bool, error) {
	if !j.State.Final() {
		// It may have ended meanwhile, which is as good.
		if _, err := q.Cancel(ctx, viewer.System(), j.ID); err != nil && !fault.Is(err, fault.WrongState) && !fault.Is(err, fault.NotFound) {
			return false, err
		}
	}
	err := q.Delete(ctx, viewer.System(), j.ID)
	if fault.Is(err, fault.WrongState) {
		return false, nil // it still runs
	}
	if fault.Is(err, fault.NotFound) {
		return true, nil
	}
	return err == nil, err
}

// EachOf calls fn with every job of owner, oldest first. The caller checks who may see them.
func (q *Queue) EachOf(ctx context.Context, owner viewer.UserID, fn func(*Job) error) error {
	last := ID("")
	for {
		jobs, err := store.All(ctx, q.db, selectOwned, scanJob, owner, last, ownedAtOnce)
		if err != nil {
			return fmt.Errorf("read jobs of %s: %w", owner, err)
		}
		for _, j := range jobs {
			if err := fn(j); err != nil {
				return err
			}
			last = j.ID
		}
		if len(jobs) < ownedAtOnce {
			return nil
		}
	}
}
