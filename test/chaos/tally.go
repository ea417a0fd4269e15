package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"gatehouse/internal/blob"
)

// tally is what has become of the jobs.
type tally struct {
	asked, rows, succeeded int
	lost                   int // never ended, or a server said that it had started them and they are not there
	twice                  int // have succeeded more than once
	failed                 int // after all attempts, or for no reason that was meant
	gone                   int // files of jobs that are not in the store of files
	misfits                int // workflows with a step too many or too few
	files                  int // of jobs
	moments, missed        int // of the schedule

	started, late int // at their first attempt while all was whole; more than lateAfter too late
	latest        time.Duration

	attempts, most, workerLost int
	killed                     []time.Duration // from a worker's death to the next start of a job that it was at

	watched, cuts            int
	missing, again, disorder int // events, as watchers were told
	unended                  int // watches that were never told of the end

	resent, dropped int // requests of clients, replies of Redis
	mishaps         []happened
	took            time.Duration
}

// lateAfter is how late a job may start, and settled how long after a mishap lateness is none: a dead worker's
// lease, and a lost message, take as long.
const (
	lateAfter = 2 * time.Second
	settled   = 7 * time.Second
)

// look reads from the database what has become of everything.
func look(ctx context.Context, d *deployment, l *load, m *mishaps, w *watchers) (*tally, error) {
	t := &tally{
		asked: int(l.asked.Load()), cuts: int(w.cuts.Load()), resent: int(l.trials.Load()), dropped: int(d.proxy.lost.Load()), mishaps: m.log,
	}
	for _, count := range []struct {
		into  *int
		query string
	}{
		{&t.rows, `SELECT count(*) FROM jobs WHERE owner_id <> ''`},
		{&t.succeeded, `SELECT count(*) FROM jobs WHERE owner_id <> '' AND state = 'SUCCEEDED'`},
		{&t.failed, `SELECT count(*) FROM jobs WHERE owner_id <> '' AND state IN ('FAILED', 'CANCELLED')`},
		{&t.lost, `SELECT count(*) FROM jobs WHERE owner_id <> '' AND state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')`},
		{&t.twice, `SELECT count(*) FROM (SELECT FROM job_events WHERE type = 'STATE' AND state = 'SUCCEEDED'
			GROUP BY job_id HAVING count(*) > 1) AS doubled`},
		{&t.misfits, `SELECT count(*) FROM jobs w WHERE kind = 'workflow' AND (SELECT count(*) FROM jobs s WHERE s.parent_id = w.id) <> 3`},
		{&t.moments, `SELECT count(*) FROM jobs WHERE idempotency_key LIKE 'sch_%'`},
		{&t.attempts, `SELECT coalesce(sum(attempt), 0) FROM jobs WHERE owner_id <> ''`},
		{&t.most, `SELECT coalesce(max(attempt), 0) FROM jobs WHERE owner_id <> ''`},
		{&t.workerLost, `SELECT count(*) FROM job_attempts WHERE error_code = 'WORKER_LOST'`},
	} {
		if err := d.db.QueryRowContext(ctx, count.query).Scan(count.into); err != nil {
			return nil, err
		}
	}
	t.missed = max(0, l.moments()-t.moments)
	return t, errors.Join(t.lookForUnknown(ctx, d.db, l), t.lookForFiles(ctx, d), t.lookForLate(ctx, d.db), t.lookAtKills(ctx, d.db, m.killed), t.lookAtWatches(ctx, d.db, w))
}

// lookForUnknown counts as lost what a server has started, as it said, and the database does not have.
func (t *tally) lookForUnknown(ctx context.Context, db *sql.DB, l *load) error {
	ids, err := texts(ctx, db, `SELECT id FROM jobs`)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, id := range ids {
		there[id] = true
	}
	for _, s := range l.jobs {
		if !there[s.id] {
			t.lost++
		}
	}
	t.lost += t.asked - len(l.jobs) // each was asked for until it was started
	return nil
}

// lookForFiles opens every file that a job has read or made.
func (t *tally) lookForFiles(ctx context.Context, d *deployment) error {
	files, err := blob.Open(filepath.Join(d.folder, "data", "files"))
	if err != nil {
		return err
	}
	keys, err := texts(ctx, d.db, `SELECT blob_key FROM job_files`)
	if err != nil {
		return err
	}
	for _, text := range keys {
		key, err := blob.ParseKey(text)
		if err != nil {
			return err
		}
		content, _, err := files.Open(ctx, key)
		if err != nil {
			t.gone++
			continue
		}
		_ = content.Close()
	}
	t.files = len(keys)
	return nil
}

// lookForLate looks at the jobs that were begun once, when they were due outside of any mishap.
func (t *tally) lookForLate(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, `SELECT run_at, started_at FROM jobs
		WHERE owner_id <> '' AND kind <> 'workflow' AND attempt = 1 AND started_at IS NOT NULL`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var due, began int64
		if err := rows.Scan(&due, &began); err != nil {
			return err
		}
		if t.disturbed(time.UnixMicro(due)) {
			continue
		}
		t.started++
		if late := time.Duration(began-due) * time.Microsecond; late > lateAfter {
			t.late++
			t.latest = max(t.latest, late)
		}
	}
	return rows.Err()
}

// disturbed reports whether something was down at the moment or right after, or had just come back.
func (t *tally) disturbed(at time.Time) bool {
	return slices.ContainsFunc(t.mishaps, func(h happened) bool {
		return at.After(h.began.Add(-lateAfter)) && at.Before(h.over.Add(settled))
	})
}

// lookAtKills measures how long after a worker's death the jobs that it was at were begun again.
func (t *tally) lookAtKills(ctx context.Context, db *sql.DB, kills []kill) error {
	for _, k := range kills {
		for _, id := range k.ids {
			next, err := numbers(ctx, db, `SELECT (SELECT min(a.started_at) FROM job_attempts a WHERE a.job_id = d.job_id AND a.claim > d.claim)
				FROM job_attempts d WHERE d.process_id = $1 AND d.error_code = 'WORKER_LOST' AND d.finished_at >= $2`, id, k.at.UnixMicro())
			if err != nil {
				return err
			}
			for _, at := range next {
				t.killed = append(t.killed, time.UnixMicro(at).Sub(k.at))
			}
		}
	}
	slices.Sort(t.killed)
	return nil
}

func (t *tally) lookAtWatches(ctx context.Context, db *sql.DB, w *watchers) error {
	for _, told := range w.all {
		rows, err := db.QueryContext(ctx, `SELECT sequence, type = 'PROGRESS' FROM job_events WHERE job_id = $1 ORDER BY sequence`, told.id)
		if err != nil {
			return err
		}
		events, err := scan(rows, func(e *stored) []any { return []any{&e.sequence, &e.progress} })
		if err != nil {
			return err
		}
		missing, twice, disorder := compare(told.seen, events)
		t.watched++
		t.missing, t.again, t.disorder = t.missing+missing, t.again+twice, t.disorder+disorder
		if !told.ended {
			t.unended++
		}
	}
	return nil
}

func scan[T any](rows *sql.Rows, fields func(*T) []any) (all []T, err error) {
	defer rows.Close()
	for rows.Next() {
		var one T
		if err := rows.Scan(fields(&one)...); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

func texts(ctx context.Context, db *sql.DB, query string, args ...any) ([]string, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return scan(rows, func(s *string) []any { return []any{s} })
}

func numbers(ctx context.Context, db *sql.DB, query string, args ...any) ([]int64, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return scan(rows, func(n *int64) []any { return []any{n} })
}

// verdict is nil when the jobs have come through.
func (t *tally) verdict() error {
	if t.lost+t.twice+t.failed+t.gone+t.misfits+t.missed == 0 && t.missing+t.again+t.disorder+t.unended == 0 {
		return nil
	}
	return fmt.Errorf("%d jobs lost, %d done twice, %d failed, %d files gone, %d workflows with wrong steps, %d moments missed; "+
		"of events %d missing, %d twice, %d out of order, and of %d watches no end was told",
		t.lost, t.twice, t.failed, t.gone, t.misfits, t.missed, t.missing, t.again, t.disorder, t.unended)
}

// print writes the tables.
func (t *tally) print(to io.Writer) {
	fmt.Fprintf(to, "\n| what | |\n|---|---|\n")
	for _, line := range []struct {
		what string
		is   any
	}{
		{"jobs asked for, rows with the steps of workflows and the schedule's", fmt.Sprintf("%d, %d", t.asked, t.rows)},
		{"succeeded", t.succeeded},
		{"**lost** (never ended)", t.lost},
		{"**finished twice** (more than one SUCCEEDED)", t.twice},
		{"failed", t.failed},
		{"files of jobs, those that are gone", fmt.Sprintf("%d, %d", t.files, t.gone)},
		{"workflows with a step too many or too few", t.misfits},
		{"jobs of the schedule, moments without one", fmt.Sprintf("%d, %d", t.moments, t.missed)},
		{fmt.Sprintf("late: begun more than %v after due while all was whole", lateAfter), fmt.Sprintf("%d of %d, at most %v", t.late, t.started, brief(t.latest))},
		{"attempts: all, the most of one job, ended by WORKER_LOST", fmt.Sprintf("%d, %d, %d", t.attempts, t.most, t.workerLost)},
		{"kill -9 of a worker in mid-job to the next start of its job: median, worst", t.recovery()},
		{"watched jobs, forced reconnects", fmt.Sprintf("%d, %d", t.watched, t.cuts)},
		{"events **missing**, twice, out of order; watches without an end", fmt.Sprintf("%d, %d, %d; %d", t.missing, t.again, t.disorder, t.unended)},
		{"replies of Redis dropped, requests sent again", fmt.Sprintf("%d, %d", t.dropped, t.resent)},
		{"took", brief(t.took)},
	} {
		fmt.Fprintf(to, "| %s | %v |\n", line.what, line.is)
	}
	fmt.Fprintf(to, "\n| mishap | times | lasted at most | until all answered again, at most |\n|---|---|---|---|\n")
	for _, f := range all() {
		times, lasted, over := 0, time.Duration(0), time.Duration(0)
		for _, h := range t.mishaps {
			if h.name == f.name {
				times, lasted, over = times+1, max(lasted, h.lasted), max(over, h.over.Sub(h.began))
			}
		}
		fmt.Fprintf(to, "| %s | %d | %v | %v |\n", f.name, times, brief(lasted), brief(over))
	}
	fmt.Fprintln(to)
}

func (t *tally) recovery() string {
	if len(t.killed) == 0 {
		return "no job was met"
	}
	return fmt.Sprintf("%v, %v, of %d", brief(t.killed[len(t.killed)/2]), brief(t.killed[len(t.killed)-1]), len(t.killed))
}

func brief(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
