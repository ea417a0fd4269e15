package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"gatehouse/internal/fault"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Get returns the job; NOT_FOUND when there is none or by may not see it.
func (q *Queue) Get(ctx context.Context, by viewer.Viewer, id ID) (*Job, error) {
	return q.owned(ctx, q.db, by, id, viewer.ReadJobs)
}

// List returns a page of the jobs that f chooses: of by's own, or of everybody's for those who may
// read them. Naming another owner without that right is FORBIDDEN, whether or not there is such an owner.
func (q *Queue) List(ctx context.Context, by viewer.Viewer, f Filter, o Order, w page.Window, want Want) (page.Page[*Excerpt], error) {
	none := page.Page[*Excerpt]{}
	f, o, err := q.allowed(by, f, o)
	if err != nil {
		return none, err
	}
	fields, known := f.tells(want.fields(o))
	text, args := list(f, o, w, fields)
	query, kept := q.shapes.of(text)
	rows, total := []*Excerpt(nil), 0
	err = q.reading(ctx, kept && !want.Total, func(r store.Reader) (err error) {
		rows, err = store.All(ctx, r, query, newReader(fields, known).excerpt, args...)
		if err != nil || !want.Total {
			return err
		}
		query, args := count(f)
		total, err = store.One(ctx, r, query, store.Value[int], args...)
		return err
	})
	if err != nil {
		return none, fmt.Errorf("list jobs: %w", err)
	}
	return page.Cut(w, rows, total), nil
}

// ListOf returns for each of owners a page of their jobs that f chooses: an entry for each whose jobs by may
// see, and for no other. Faults: those of List, save what concerns one owner.
func (q *Queue) ListOf(ctx context.Context, by viewer.Viewer, owners []viewer.UserID, f Filter, o Order, w page.Window, want Want) (map[viewer.UserID]page.Page[*Excerpt], error) {
	seen, o, err := q.seen(by, owners, f, o)
	if err != nil || len(seen) == 0 {
		return nil, err
	}
	f.Owner = seen[0] // in the place of each
	fields := want.fields(o) | WithOwner
	text, args := list(f, o, w, fields)
	var (
		rows   []*Excerpt
		totals map[viewer.UserID]int
	)
	query, kept := q.shapes.of(text)
	err = q.reading(ctx, kept && !want.Total, func(r store.Reader) (err error) {
		rows, err = store.Each(ctx, r, query, "owner_id, "+o.by(w), newReader(fields, Job{}).excerpt, seen, args[1:]...)
		if err == nil && want.Total {
			totals, err = countOf(ctx, r, f, seen)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list jobs of owners: %w", err)
	}
	pages := make(map[viewer.UserID]page.Page[*Excerpt], len(seen))
	for owner, some := range store.Group(seen, rows, func(e *Excerpt) viewer.UserID { return e.Owner }) {
		pages[owner] = page.Cut(w, some, totals[owner])
	}
	return pages, nil
}

// reading calls read with the database as it is when one statement suffices, else with a snapshot of it.
func (q *Queue) reading(ctx context.Context, alone bool, read func(store.Reader) error) error {
	if alone {
		return read(q.db)
	}
	return q.db.View(ctx, func(tx *store.Tx) error { return read(tx) })
}

// seen returns those of owners whose jobs by may list.
func (q *Queue) seen(by viewer.Viewer, owners []viewer.UserID, f Filter, o Order) ([]viewer.UserID, Order, error) {
	var seen []viewer.UserID
	for _, owner := range owners {
		f.Owner = owner
		_, checked, err := q.allowed(by, f, o)
		if fault.Is(err, fault.Forbidden) {
			continue
		}
		if err != nil {
			return nil, o, err
		}
		seen, o = append(seen, owner), checked
	}
	return seen, o, nil
}

// maxShapes bounds how many forms of the list's statement are kept prepared.
const maxShapes = 128

// shapes are the forms of the list's statement that were asked for.
type shapes struct {
	sync.Mutex
	byText map[string]*store.Query
}

// of returns the statement with this text, and whether it is kept prepared: there may be too many. One
// that is not is for a transaction, which closes it.
func (s *shapes) of(text string) (query *store.Query, kept bool) {
	s.Lock()
	defer s.Unlock()
	if query := s.byText[text]; query != nil {
		return query, true
	}
	if len(s.byText) >= maxShapes {
		return store.Passing(text), false
	}
	if s.byText == nil {
		s.byText = make(map[string]*store.Query)
	}
	made := store.SQL(text)
	s.byText[text] = made
	return made, true
}

// allowed narrows f to what by may see.
func (q *Queue) allowed(by viewer.Viewer, f Filter, o Order) (Filter, Order, error) {
	if err := by.SignedIn(); err != nil {
		return f, o, err
	}
	if !by.May(viewer.ReadJobs) {
		if f.Owner != "" && f.Owner != by.User {
			return f, o, fault.Denied("Only admins may see the jobs of other accounts.")
		}
		f.Owner = by.User
		if !by.Owns(by.User, viewer.ReadJobs) {
			return f, o, fault.Denied("This credential may not see jobs.")
		}
	}
	if len(f.States)+len(f.Kinds)+len(f.Queues) > 200 {
		return f, o, fault.New(fault.BadUserInput, "", "The filter names more than 200 values.")
	}
	if o.Field == "" {
		o.Field = CreatedAt
	}
	if keys[o.Field].column == "" {
		return f, o, fault.New(fault.BadUserInput, "", "Jobs are not sorted by that.")
	}
	return f, o, nil
}

// Cursor returns the place of e in the list that brought it, which is ordered by field.
func (e *Excerpt) Cursor(field OrderField) page.Cursor {
	at := e.CreatedAt
	switch field {
	case RunAt:
		at = e.RunAt
	case FinishedAt:
		if e.FinishedAt.IsZero() {
			return page.Cursor{Key: 0, ID: string(e.ID)}
		}
		at = e.FinishedAt
	}
	return page.Cursor{Key: at.UnixMicro(), ID: string(e.ID)}
}

// ByIDs returns those of ids that by may see, by id.
func (q *Queue) ByIDs(ctx context.Context, by viewer.Viewer, ids []ID) (map[ID]*Job, error) {
	jobs, err := store.Many(ctx, q.db, selectJobs, scanJobs(), ids)
	if err != nil {
		return nil, fmt.Errorf("read jobs: %w", err)
	}
	found := make(map[ID]*Job, len(jobs))
	for _, j := range jobs {
		if by.Owns(j.Owner, viewer.ReadJobs) {
			found[j.ID] = j
		}
	}
	return found, nil
}

// Artifacts returns the files that jobs have made, by job. The caller may see the jobs.
func (q *Queue) Artifacts(ctx context.Context, ids []ID) (map[ID][]File, error) {
	return q.filesOf(ctx, Artifact, ids)
}

func (q *Queue) filesOf(ctx context.Context, role Role, ids []ID) (map[ID][]File, error) {
	all := make(map[ID][]File, len(ids))
	err := eachList(ids, func(some []ID) error {
		query, size := selectFiles.List(len(some))
		files, err := store.All(ctx, q.db, query, scanFile, append([]any{role}, store.Values(some, size)...)...)
		for _, f := range files {
			all[f.Job] = append(all[f.Job], f)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read files of jobs: %w", err)
	}
	return all, nil
}

// File returns the artifact; the caller holds a signed link to it.
func (q *Queue) File(ctx context.Context, id FileID) (File, error) {
	if !store.ValidID("art", string(id)) {
		return File{}, fault.Missing("file")
	}
	f, err := store.One(ctx, q.db, selectFile, scanFile, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && f.Role != Artifact {
		return File{}, fault.Missing("file")
	}
	if err != nil {
		return File{}, fmt.Errorf("read file %s: %w", id, err)
	}
	return f, nil
}

// Attempts returns what became of each attempt, oldest first, by job. The caller may see the jobs.
func (q *Queue) Attempts(ctx context.Context, ids []ID) (map[ID][]Attempt, error) {
	all := make(map[ID][]Attempt, len(ids))
	err := eachList(ids, func(some []ID) error {
		query, size := selectAttempts.List(len(some))
		attempts, err := store.All(ctx, q.db, query, scanAttempt, store.Values(some, size)...)
		if err != nil {
			return err
		}
		logs, err := q.logsOf(ctx, some)
		for _, a := range attempts {
			if a.Log = logs[attemptOf{a.Job, a.claim}]; a.Log == nil {
				a.Log = []string{} // the schema's list is never null
			}
			all[a.Job] = append(all[a.Job], a)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read attempts of jobs: %w", err)
	}
	return all, nil
}

type attemptOf struct {
	job   ID
	claim int64
}

func (q *Queue) logsOf(ctx context.Context, ids []ID) (map[attemptOf][]string, error) {
	type line struct {
		attemptOf
		text string
	}
	query, size := selectLogs.List(len(ids))
	lines, err := store.All(ctx, q.db, query, func(scan store.Scan) (l line, err error) {
		err = scan(&l.job, &l.claim, &l.text)
		return l, err
	}, store.Values(ids, size)...)
	logs := make(map[attemptOf][]string)
	for _, l := range lines {
		if len(logs[l.attemptOf]) < maxLogLines { // its handler and a worker outside may each have written as many
			logs[l.attemptOf] = append(logs[l.attemptOf], l.text)
		}
	}
	return logs, err
}

// Depth is how much a queue holds.
type Depth struct {
	Queue  string
	State  State
	Count  int64
	Oldest int64 // microseconds since 1970 of the oldest run_at
}

// Depths counts the unfinished jobs of every queue by state.
func (q *Queue) Depths(ctx context.Context) ([]Depth, error) {
	return store.All(ctx, q.db, selectDepth, scanDepth)
}

func scanDepth(scan store.Scan) (d Depth, err error) {
	err = scan(&d.Queue, &d.State, &d.Count, &d.Oldest)
	return d, err
}
