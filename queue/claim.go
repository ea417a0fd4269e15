package queue

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/internal/store"
)

// claim takes the job for this process. It returns nil when the job is not to be had: another
// worker has it, it was cancelled, its kind or queue is paused or at its limit.
func (q *Queue) claim(ctx context.Context, id ID) (*Job, error) {
	p := &pending{ctx: ctx, claim: id, done: make(chan struct{})}
	if err := q.writer.commit(ctx, p); err != nil {
		return nil, fmt.Errorf("claim %s: %w", id, err)
	}
	if p.claimed == nil {
		q.metrics.dropped.Add(1)
		return nil, nil
	}
	q.announce(ctx, &p.changes)
	return p.claimed, nil
}

// claimTx takes all jobs of claims that can be had, in one statement as far as no kind is limited.
func (q *Queue) claimTx(ctx context.Context, tx *store.Tx, claims []*pending) error {
	process := q.process.Load()
	if process == nil {
		return nil
	}
	if err := q.proveAgainTx(ctx, tx, *process); err != nil {
		return err
	}
	wanted := make(map[ID]*pending, len(claims))
	var ids []ID
	for _, p := range claims {
		if wanted[p.claim] == nil { // a doubled message takes nothing
			wanted[p.claim] = p
			ids = append(ids, p.claim)
		}
	}
	for len(ids) > 0 {
		some := ids[:min(len(ids), store.MaxList)]
		ids = ids[len(some):]
		query, size := claimJobs.List(len(some))
		jobs, err := store.All(ctx, tx, query, scanJobs(), append([]any{*process}, store.Values(some, size)...)...)
		if err != nil {
			return err
		}
		if len(jobs) < len(some) {
			limited, err := q.claimLimitedTx(ctx, tx, *process, some)
			if err != nil {
				return err
			}
			jobs = append(jobs, limited...)
		}
		if err := q.takeTx(ctx, tx, wanted, jobs); err != nil {
			return err
		}
	}
	return nil
}

// takeTx records the beginning of jobs.
func (q *Queue) takeTx(ctx context.Context, tx *store.Tx, wanted map[ID]*pending, jobs []*Job) error {
	if len(jobs) == 0 {
		return nil
	}
	ids := make([]ID, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
		p := wanted[j.ID]
		p.claimed = j
		if err := p.changes.record(ctx, tx, j, StateChanged, ""); err != nil {
			return err
		}
	}
	return eachList(ids, func(some []ID) error {
		query, size := insertAttempts.List(len(some))
		_, err := tx.Exec(ctx, query, store.Values(some, size)...)
		return err
	})
}

// claimLimitedTx takes those of ids whose kinds run only so many at once. The row of the kind is
// locked, so that two processes never count at the same time.
func (q *Queue) claimLimitedTx(ctx context.Context, tx *store.Tx, process string, ids []ID) ([]*Job, error) {
	type candidate struct {
		id   ID
		kind string
	}
	query, size := selectLimited.List(len(ids))
	candidates, err := store.All(ctx, tx, query, func(scan store.Scan) (c candidate, err error) {
		err = scan(&c.id, &c.kind)
		return c, err
	}, store.Values(ids, size)...)
	if err != nil {
		return nil, err
	}
	room := map[string]int{}
	var jobs []*Job
	for _, c := range candidates {
		if _, counted := room[c.kind]; !counted {
			q.limited.add(c.kind)
			if room[c.kind], err = roomTx(ctx, tx, c.kind); err != nil {
				return nil, err
			}
		}
		if room[c.kind] <= 0 {
			continue
		}
		j, err := store.One(ctx, tx, claimLimited, scanJob, process, c.id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		room[c.kind]--
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// roomTx returns how many more jobs of kind may run.
func roomTx(ctx context.Context, tx *store.Tx, kind string) (int, error) {
	limit, err := store.One(ctx, tx, lockKind, store.Value[int], kind)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	running, err := store.One(ctx, tx, countRunning, store.Value[int], kind)
	return limit - running, err
}

// eachList calls fn with parts of all that fit into one statement.
func eachList[T any](all []T, fn func(some []T) error) error {
	for len(all) > 0 {
		some := all[:min(len(all), store.MaxList)]
		all = all[len(some):]
		if err := fn(some); err != nil {
			return err
		}
	}
	return nil
}
