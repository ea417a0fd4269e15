package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// missing is the answer for a job that does not exist and for somebody else's.
func missing() error { return fault.Missing("job") }

// owned returns the job if by may do scope to it.
func (q *Queue) owned(ctx context.Context, r store.Reader, by viewer.Viewer, id ID, scope viewer.Scope) (*Job, error) {
	if err := by.SignedIn(); err != nil {
		return nil, err
	}
	j, err := q.read(ctx, r, id)
	if err != nil {
		return nil, err
	}
	if !by.Owns(j.Owner, scope) {
		return nil, missing()
	}
	return j, nil
}

// read returns the job, whoever asks.
func (q *Queue) read(ctx context.Context, r store.Reader, id ID) (*Job, error) {
	if !store.ValidID("job", string(id)) {
		return nil, missing()
	}
	j, err := store.One(ctx, r, selectJob, scanJob, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, missing()
	}
	if err != nil {
		return nil, fmt.Errorf("read job %s: %w", id, err)
	}
	return j, nil
}

// Cancel ends a job: at once when it waits; when it runs, its context ends within a beat at the
// latest. A job that has ended is WRONG_STATE.
func (q *Queue) Cancel(ctx context.Context, by viewer.Viewer, id ID) (*Job, error) {
	j, err := q.owned(ctx, q.db, by, id, viewer.ManageJobs)
	if err != nil {
		return nil, err
	}
	err = q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) error {
		now, err := q.cancelTx(ctx, tx, id, j.Kind, changes)
		if err == nil {
			j = now
		}
		return err
	})
	if errors.Is(err, errFenced) {
		return nil, fault.New(fault.WrongState, "id", "The job has already ended.")
	}
	if err != nil {
		return nil, fmt.Errorf("cancel %s: %w", id, err)
	}
	switch {
	case j.State != Running:
	case j.Kind == WorkflowKind.Name:
		q.goOn(ctx, id)
		return q.owned(ctx, q.db, by, id, viewer.ManageJobs)
	default:
		q.tellOfCancel(ctx, id)
	}
	return j, nil
}

// cancelTx ends a job that waits, and marks one that runs. One that has ended is errFenced.
func (q *Queue) cancelTx(ctx context.Context, tx *store.Tx, id ID, kind string, changes *changes) (*Job, error) {
	j, err := store.One(ctx, tx, cancelWaiting, scanJob, q.retentionOf(kind).Microseconds(), id)
	if err == nil {
		return j, changes.record(ctx, tx, j, StateChanged, "Cancelled before it began.")
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	j, err = fenced(ctx, tx, askCancel, id)
	if err == nil && j.Process == "" { // nobody here would hear of it
		tx.AfterCommit(q.sweepNow)
	}
	return j, err
}

// tellOfCancel tells whoever has the job that it is to end.
func (q *Queue) tellOfCancel(ctx context.Context, id ID) {
	if err := q.bus.Publish(ctx, topicOfCancel, []byte(id)); err != nil {
		q.options.Logger.WarnContext(ctx, "a cancel waits for the next beat", "job", id, "error", err)
	}
}

// What is kept of a job that is started anew, by its owner as often as they like: two rounds of attempts,
// and the newest events.
const (
	keptAttempts = 2 * maxAttempts
	keptEvents   = 10_000
)

// Retry starts a failed or cancelled job anew, with all its attempts. Its newest history stays. Of a workflow
// the steps that have succeeded are not done again.
func (q *Queue) Retry(ctx context.Context, by viewer.Viewer, id ID) (*Job, error) {
	j, err := q.owned(ctx, q.db, by, id, viewer.ManageJobs)
	if err != nil {
		return nil, err
	}
	if j.Parent != "" {
		return nil, fault.New(fault.WrongState, "id", "The job is a step of a workflow. Start that anew.")
	}
	if err := q.admit(ctx, q.db, j.Owner, 1, 0); err != nil {
		return nil, err
	}
	var keys []blob.Key
	err = q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) (err error) {
		query, size := restartJobs.List(1)
		if j, err = fenced(ctx, tx, query, store.Values([]ID{id}, size)...); err != nil {
			return err
		}
		keys, err = q.beginAnewTx(ctx, tx, changes, []*Job{j})
		return err
	})
	if errors.Is(err, errFenced) {
		return nil, fault.New(fault.WrongState, "id", "Only a failed or cancelled job can be started anew.")
	}
	if err != nil {
		return nil, fmt.Errorf("retry %s: %w", id, err)
	}
	q.removeBlobs(ctx, keys...)
	return j, nil
}

// Delete removes a job that has ended, with its events, files and steps.
func (q *Queue) Delete(ctx context.Context, by viewer.Viewer, id ID) error {
	j, err := q.owned(ctx, q.db, by, id, viewer.ManageJobs)
	if err != nil {
		return err
	}
	if j.Parent != "" {
		return fault.New(fault.WrongState, "id", "The job is a step of a workflow and goes with it. Delete that.")
	}
	var keys []blob.Key
	err = q.db.Update(ctx, func(tx *store.Tx) (err error) {
		if keys, err = keysOf(ctx, tx, []ID{id}); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, deleteJob, id)
		if err == nil && n == 0 {
			err = errFenced
		}
		return err
	})
	if errors.Is(err, errFenced) {
		return fault.New(fault.WrongState, "id", "A job can be deleted once it has ended. Cancel it first.")
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", id, err)
	}
	q.removeBlobs(ctx, keys...)
	return nil
}

// Pause lets no further job of queue begin on any server, or lets them begin again.
func (q *Queue) Pause(ctx context.Context, by viewer.Viewer, queue string, paused bool) error {
	if err := by.Require(viewer.ManageJobs); err != nil {
		return err
	}
	if !slices.Contains(q.queues(), queue) {
		return fault.New(fault.Invalid, "queue", "There is no such queue.")
	}
	return q.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, setPaused, queue, paused); err != nil {
			return fmt.Errorf("pause queue: %w", err)
		}
		if paused {
			return nil
		}
		tx.AfterCommit(q.sweepNow)
		_, err := tx.Exec(ctx, refresh, queue) // what was refused meanwhile is pushed again
		return err
	})
}

// PauseKind lets no further job of kind begin on any server, or lets them begin again.
func (q *Queue) PauseKind(ctx context.Context, by viewer.Viewer, kind string, paused bool) error {
	if err := by.Require(viewer.ManageJobs); err != nil {
		return err
	}
	if _, known := q.kinds[kind]; !known {
		return fault.New(fault.Invalid, "kind", "There is no such kind of job.")
	}
	return q.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, setPausedKind, kind, paused); err != nil {
			return fmt.Errorf("pause kind: %w", err)
		}
		if paused {
			return nil
		}
		tx.AfterCommit(q.sweepNow)
		_, err := tx.Exec(ctx, refreshKind, kind)
		return err
	})
}

// Limit bounds how many jobs of kind run at once over all servers; nil lifts the bound.
func (q *Queue) Limit(ctx context.Context, by viewer.Viewer, kind string, most *int) error {
	if err := by.Require(viewer.ManageJobs); err != nil {
		return err
	}
	if _, known := q.kinds[kind]; !known {
		return fault.New(fault.Invalid, "kind", "There is no such kind of job.")
	}
	if most != nil && (*most < 0 || *most > 10_000) {
		return fault.New(fault.Invalid, "maxRunning", "The bound is 0 to 10000.")
	}
	return q.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, setLimit, kind, most); err != nil {
			return fmt.Errorf("limit kind: %w", err)
		}
		tx.AfterCommit(q.sweepNow)
		_, err := tx.Exec(ctx, refreshKind, kind)
		return err
	})
}

// sweepNow lets the sweeper look at once.
func (q *Queue) sweepNow() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Setting is what an operator has set for a kind.
type Setting struct {
	Paused     bool
	MaxRunning *int
}

// Settings returns what is set, by the name of the kind.
func (q *Queue) Settings(ctx context.Context) (map[string]Setting, error) {
	type row struct {
		kind string
		Setting
	}
	rows, err := store.All(ctx, q.db, selectKinds, func(scan store.Scan) (r row, err error) {
		err = scan(&r.kind, &r.Paused, &r.MaxRunning)
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("read settings of kinds: %w", err)
	}
	settings := make(map[string]Setting, len(rows))
	for _, r := range rows {
		settings[r.kind] = r.Setting
	}
	return settings, nil
}
