package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// claim takes the job for this process. It returns nil when the job is not to be had: another
// worker has it, it was cancelled, its kind or queue is paused or at its limit.
func (q *Queue) claim(ctx context.Context, id ID) (*Job, error) {
	p := &pending{ctx: ctx, claim: id}
	if err := q.writer.commit(ctx, p); err != nil {
		return nil, fmt.Errorf("claim %s: %w", id, err)
	}
	if p.job == nil {
		q.metrics.dropped.Add(1)
	}
	return p.job, nil
}

// claimTx takes all jobs of claims that can be had, in one statement as far as nothing is limited.
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
		jobs, err := q.claimSomeTx(ctx, tx, *process, some)
		if err != nil {
			return err
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
	attempts, told := make([][]any, len(jobs)), make([]telling, len(jobs))
	for i, j := range jobs {
		p := wanted[j.ID]
		attempts[i], told[i], p.job = []any{j.ID, j.Claim, j.Attempt, j.Process, store.At(j.StartedAt)}, telling{j, &p.changes}, j
	}
	if _, err := store.Rows(ctx, tx, insertAttempts, store.Value[string], attempts); err != nil {
		return err
	}
	return recordStates(ctx, tx, told, "")
}

// claimSomeTx takes those of ids that can be had; at most store.MaxList.
func (q *Queue) claimSomeTx(ctx context.Context, tx *store.Tx, process string, ids []ID) (jobs []*Job, err error) {
	if q.options.OwnerRunning == 0 {
		query, size := claimJobs.List(len(ids))
		jobs, err = store.All(ctx, tx, query, scanJobs(), append([]any{process}, store.Values(ids, size)...)...)
		if err != nil || len(jobs) == len(ids) {
			return jobs, err
		}
	}
	limited, err := q.claimLimitedTx(ctx, tx, process, ids)
	return append(jobs, limited...), err
}

// candidate is a queued job of which a limit may let only so many run at once.
type candidate struct {
	id      ID
	kind    string
	owner   viewer.UserID
	limited bool // the kind is
}

// claimLimitedTx takes those of ids that limits leave room for, and refuses the others.
func (q *Queue) claimLimitedTx(ctx context.Context, tx *store.Tx, process string, ids []ID) ([]*Job, error) {
	query, size := selectCandidates.List(len(ids))
	candidates, err := store.All(ctx, tx, query, func(scan store.Scan) (c candidate, err error) {
		err = scan(&c.id, &c.kind, &c.owner, &c.limited)
		return c, err
	}, store.Values(ids, size)...)
	if err != nil || len(candidates) == 0 {
		return nil, err
	}
	kinds, err := q.roomOfKindsTx(ctx, tx, candidates)
	if err != nil {
		return nil, err
	}
	owners, err := q.roomOfOwnersTx(ctx, tx, candidates)
	if err != nil {
		return nil, err
	}
	var taken, refused []ID
	for _, c := range candidates {
		if !kinds.has(c.kind) || !owners.has(string(c.owner)) {
			refused = append(refused, c.id)
			continue
		}
		kinds.take(c.kind)
		owners.take(string(c.owner))
		if c.limited { // when one is freed, whoever is taken first has had the turn
			q.limited.served(c.kind, c.owner)
		}
		taken = append(taken, c.id)
	}
	if err := refuseTx(ctx, tx, refused); err != nil || len(taken) == 0 {
		return nil, err
	}
	query, size = claimChosen.List(len(taken))
	return store.All(ctx, tx, query, scanJobs(), append([]any{process}, store.Values(taken, size)...)...)
}

// room is how many more may run, by kind or owner. What is not in it is not limited.
type room map[string]int

func (r room) has(name string) bool {
	left, limited := r[name]
	return !limited || left > 0
}

func (r room) take(name string) {
	if _, limited := r[name]; limited {
		r[name]--
	}
}

// roomOfKindsTx counts what runs of the limited kinds among candidates. The row of each kind is locked, in
// the order of their names, so that two processes never count at the same time.
func (q *Queue) roomOfKindsTx(ctx context.Context, tx *store.Tx, candidates []candidate) (room, error) {
	left := room{}
	for _, c := range candidates {
		if c.limited {
			left[c.kind] = 0
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(left)) {
		q.limited.add(kind)
		most, err := store.One(ctx, tx, lockKind, store.Value[int], kind)
		if errors.Is(err, store.ErrNotFound) { // it was paused, or is not limited any more: the sweeper comes again
			continue
		}
		if err != nil {
			return nil, err
		}
		running, err := store.One(ctx, tx, countRunning, store.Value[int], kind)
		if err != nil {
			return nil, err
		}
		left[kind] = most - running
	}
	return left, nil
}

// roomOfOwnersTx counts what runs of the owners of candidates, when that is limited. The server itself is
// nobody's owner. Owners are locked as kinds are.
func (q *Queue) roomOfOwnersTx(ctx context.Context, tx *store.Tx, candidates []candidate) (room, error) {
	left := room{}
	if q.options.OwnerRunning == 0 {
		return left, nil
	}
	for _, c := range candidates {
		if c.owner != "" {
			left[string(c.owner)] = q.options.OwnerRunning
		}
	}
	if len(left) == 0 {
		return left, nil
	}
	owners := slices.Sorted(maps.Keys(left))
	for _, owner := range owners {
		if err := q.lockOwnerTx(ctx, tx, viewer.UserID(owner)); err != nil {
			return nil, err
		}
	}
	query, size := countOfOwners.List(len(owners))
	_, err := store.All(ctx, tx, query, func(scan store.Scan) (none struct{}, err error) {
		var (
			owner   string
			running int
		)
		err = scan(&owner, &running)
		left[owner] -= running
		return none, err
	}, store.Values(owners, size)...)
	return left, err
}

// lockOwnerTx keeps others from counting what runs of owner until tx has ended. SQLite has one writer.
func (q *Queue) lockOwnerTx(ctx context.Context, tx *store.Tx, owner viewer.UserID) error {
	if q.db.Dialect() == store.SQLite {
		return nil
	}
	_, err := tx.Exec(ctx, lockOwner, "queue:"+string(owner))
	return err
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
