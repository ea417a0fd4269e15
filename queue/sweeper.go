package queue

import (
	"context"
	"slices"
	"time"

	"gatehouse/internal/blob"
	"gatehouse/internal/store"
)

// vitals is what one look at the database tells: moments are in microseconds of its clock, 0 when
// there is none.
type vitals struct {
	now, due, lease, expiry int64
	fire                    int64   // when the next schedule is to start a job
	orphans                 int64   // running jobs of dead processes
	held                    int64   // schedules that may start the job that they held back
	stalled                 int64   // workflows of whose steps there is something to note
	refused                 int64   // whether there are jobs that a limit has refused, 0 or 1
	silent                  int64   // when an attempt outside is to be ended
	pushed                  []int64 // by lane: when its oldest job was pushed
}

// sweep looks at every Options.Sweep, and at the very moment when a job or a schedule is due or a lease
// ends. Every process sweeps; all it does is conditional, so that it is done once.
func (q *Queue) sweep(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-q.wake:
		case since := <-q.wire.Returned():
			q.outage.noted(time.Since(since))
		}
		wait := q.options.Sweep
		if v, err := q.look(ctx); err == nil {
			if err = q.tidy(ctx, v); err != nil && ctx.Err() == nil {
				q.options.Logger.WarnContext(ctx, "a sweep was not finished", "error", err)
			}
			wait = q.untilNext(v)
		} else if ctx.Err() == nil {
			q.options.Logger.WarnContext(ctx, "the queue's database does not answer", "error", err)
		}
		timer.Reset(wait)
	}
}

func (q *Queue) look(ctx context.Context) (vitals, error) {
	return store.One(ctx, q.db, q.vitals, func(scan store.Scan) (vitals, error) {
		moments := make([]*int64, 10+len(q.lanes))
		into := make([]any, len(moments))
		for i := range moments {
			into[i] = &moments[i]
		}
		if err := scan(into...); err != nil {
			return vitals{}, err
		}
		known := make([]int64, len(moments))
		for i, m := range moments {
			if m != nil {
				known[i] = *m
			}
		}
		return vitals{
			now: known[0], due: known[1], lease: known[2], expiry: known[3], orphans: known[4],
			fire: known[5], held: known[6], stalled: known[7], refused: known[8], silent: known[9], pushed: known[10:],
		}, nil
	})
}

// untilNext returns how long the sweeper may rest after it has seen v.
func (q *Queue) untilNext(v vitals) time.Duration {
	wait := q.options.Sweep
	if q.more { // what was pushed again were not all
		q.more, wait = false, min(wait, 20*time.Millisecond)
	}
	for _, moment := range []int64{v.due, v.fire, v.lease, v.silent} {
		if moment > v.now {
			wait = min(wait, time.Duration(moment-v.now)*time.Microsecond+time.Millisecond)
		} else if moment > 0 { // there may be more than one batch of them
			wait = min(wait, 5*time.Millisecond)
		}
	}
	q.next.Store(v.now + wait.Microseconds())
	return wait
}

// lookAt lets the sweeper look no later than at a moment that was just written.
func (q *Queue) lookAt(at time.Time) {
	if at.UnixMicro() < q.next.Load() {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// tidy does what v shows to be needed.
func (q *Queue) tidy(ctx context.Context, v vitals) error {
	if v.due > 0 && v.due <= v.now {
		if err := q.release(ctx); err != nil {
			return err
		}
	}
	if v.fire > 0 && v.fire <= v.now || v.held > 0 {
		if err := q.fire(ctx); err != nil {
			return err
		}
	}
	if v.orphans > 0 || v.lease > 0 && v.lease < v.now {
		if err := q.bury(ctx); err != nil {
			return err
		}
	}
	if v.stalled > 0 {
		if err := q.goOnStalled(ctx); err != nil {
			return err
		}
	}
	if v.silent > 0 && v.silent <= v.now {
		if err := q.collect(ctx); err != nil {
			return err
		}
	}
	if err := q.relay(ctx, v); err != nil {
		return err
	}
	if v.refused > 0 && v.now >= q.offered+q.options.Sweep.Microseconds() {
		q.offered = v.now
		if err := q.offer(ctx); err != nil {
			return err
		}
	}
	if v.expiry > 0 && v.expiry < v.now {
		return q.expire(ctx)
	}
	return nil
}

// release lets jobs run whose time has come.
func (q *Queue) release(ctx context.Context) error {
	return q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) error {
		jobs, err := store.All(ctx, tx, releaseDue, scanJobs())
		if err != nil {
			return err
		}
		return recordAll(ctx, tx, changes, jobs, "")
	})
}

// bury gives back the jobs of dead processes, and then forgets the processes. An attempt that a
// worker did not survive counts.
func (q *Queue) bury(ctx context.Context) error {
	return q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) error {
		orphans, err := store.All(ctx, tx, selectOrphans, store.Value[ID])
		if err != nil {
			return err
		}
		if len(orphans) > 0 {
			if err := q.requeueTx(ctx, tx, orphans, changes); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, deleteDead)
		return err
	})
}

func (q *Queue) requeueTx(ctx context.Context, tx *store.Tx, orphans []ID, changes *changes) error {
	query, size := requeueOrphan.List(len(orphans))
	args := append([]any{q.longestRetention().Microseconds()}, store.Values(orphans, size)...)
	jobs, err := store.All(ctx, tx, query, scanJobs(), args...)
	if err != nil || len(jobs) == 0 { // another server was first
		return err
	}
	ids := make([]ID, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	query, size = endAttemptsOfDead.List(len(ids))
	if _, err := tx.Exec(ctx, query, store.Values(ids, size)...); err != nil {
		return err
	}
	return recordAll(ctx, tx, changes, jobs, "The worker disappeared in the middle of the job.")
}

// expire deletes ended jobs whose time is over, and then their files.
func (q *Queue) expire(ctx context.Context) error {
	for {
		ids, err := store.All(ctx, q.db, selectExpired, store.Value[ID])
		if err != nil || len(ids) == 0 {
			return err
		}
		var keys []blob.Key
		err = q.db.Update(ctx, func(tx *store.Tx) (err error) {
			if keys, err = keysOf(ctx, tx, ids); err != nil {
				return err
			}
			query, size := deleteExpired.List(len(ids))
			_, err = tx.Exec(ctx, query, store.Values(ids, size)...)
			return err
		})
		if err != nil {
			return err
		}
		if !q.removeBlobs(ctx, keys...) {
			return nil
		}
	}
}

// keysOf returns the keys of the files of jobs and of their steps.
func keysOf(ctx context.Context, tx *store.Tx, ids []ID) ([]blob.Key, error) {
	steps, err := store.Many(ctx, tx, selectStepJobs, store.Value[ID], ids)
	if err != nil {
		return nil, err
	}
	return store.Many(ctx, tx, selectFilesOf, scanKey, slices.Concat(ids, steps))
}

// Owned reports whether a job knows the file; the sweep of the blob store asks.
func (q *Queue) Owned(ctx context.Context, key blob.Key) (bool, error) {
	found, err := store.All(ctx, q.db, selectKeyInUse, store.Value[int], key.String())
	return len(found) > 0, err
}

// retentionOf returns how long ended jobs of a kind are kept; a kind that this program does not know
// is another program's, and kept as long as any.
func (q *Queue) retentionOf(kind string) time.Duration {
	if k, known := q.kinds[kind]; known {
		return k.Retention
	}
	return q.longestRetention()
}

func (q *Queue) longestRetention() time.Duration {
	longest := time.Duration(0)
	for _, k := range q.kinds {
		longest = max(longest, k.Retention)
	}
	return longest
}

func recordAll(ctx context.Context, tx *store.Tx, changes *changes, jobs []*Job, message string) error {
	told := make([]telling, len(jobs))
	for i, j := range jobs {
		told[i] = telling{j, changes}
	}
	return recordStates(ctx, tx, told, message)
}
