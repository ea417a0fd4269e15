package queue

import (
	"context"
	"sync"

	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// A job that a limit has refused stays QUEUED and has no message: pushed_at says 0. It is pushed again when a slot of its kind or of its owner is free.

// refuseTx notes that ids were refused.
func refuseTx(ctx context.Context, tx *store.Tx, ids []ID) error {
	return eachList(ids, func(some []ID) error {
		query, size := refuseJobs.List(len(some))
		_, err := tx.Exec(ctx, query, store.Values(some, size)...)
		return err
	})
}

// slotFreed pushes what a limit has refused and the end of job leaves room for: the next job of its owner,
// and of its kind the next job of the next owner. It waits for claims that have counted job as running, and
// so sees what they refuse: in a transaction of its own, since those of many jobs would lock in any order. What
// is missed, the sweeper offers.
func (q *Queue) slotFreed(ctx context.Context, job *Job) {
	byOwner, byKind := q.options.OwnerRunning > 0 && job.Owner != "", q.limited.has(job.Kind)
	if !byOwner && !byKind {
		return
	}
	var freed []*Job
	err := q.db.Update(ctx, func(tx *store.Tx) (err error) {
		freed = nil
		if byKind {
			if freed, err = q.freeOfKindTx(ctx, tx, job.Kind); err != nil {
				return err
			}
		}
		if !byOwner {
			return nil
		}
		if err := q.lockOwnerTx(ctx, tx, job.Owner); err != nil {
			return err
		}
		ofOwner, err := store.All(ctx, tx, freeOfOwner, scanJobs(), job.Owner)
		freed = append(freed, ofOwner...)
		return err
	})
	if err != nil {
		q.options.Logger.WarnContext(ctx, "a freed slot waits for the sweeper", "kind", job.Kind, "error", err)
		return
	}
	q.push(ctx, freed...)
}

func (q *Queue) freeOfKindTx(ctx context.Context, tx *store.Tx, kind string) ([]*Job, error) {
	if _, err := store.All(ctx, tx, lockKind, store.Value[int], kind); err != nil {
		return nil, err
	}
	jobs, err := store.All(ctx, tx, freeAfter, scanJobs(), kind, q.limited.last(kind))
	if err == nil && len(jobs) == 0 { // that was the last owner
		jobs, err = store.All(ctx, tx, freeFirst, scanJobs(), kind)
	}
	return jobs, err
}

// offer pushes the oldest refused job of each owner and kind: what else would free them may have been
// lost with a process.
func (q *Queue) offer(ctx context.Context) error {
	ids, err := store.All(ctx, q.db, selectRefused, store.Value[ID])
	if err != nil || len(ids) == 0 {
		return err
	}
	var jobs []*Job
	err = q.db.Update(ctx, func(tx *store.Tx) (err error) {
		query, size := freeJobs.List(len(ids))
		jobs, err = store.All(ctx, tx, query, scanJobs(), store.Values(ids, size)...)
		return err
	})
	if err != nil || len(jobs) == 0 {
		return err
	}
	return q.pushes.pushAll(ctx, jobs)
}

// limited remembers which kinds have refused a claim in this process, so that the end of a job of
// any other kind costs nothing.
type limited struct {
	sync.RWMutex
	kinds map[string]viewer.UserID // and whose job was taken last
}

func (l *limited) add(kind string) {
	l.Lock()
	defer l.Unlock()
	if l.kinds == nil {
		l.kinds = map[string]viewer.UserID{}
	}
	if _, known := l.kinds[kind]; !known {
		l.kinds[kind] = ""
	}
}

func (l *limited) has(kind string) bool {
	l.RLock()
	defer l.RUnlock()
	_, known := l.kinds[kind]
	return known
}

func (l *limited) last(kind string) viewer.UserID {
	l.RLock()
	defer l.RUnlock()
	return l.kinds[kind]
}

func (l *limited) served(kind string, owner viewer.UserID) {
	l.Lock()
	defer l.Unlock()
	l.kinds[kind] = owner
}
