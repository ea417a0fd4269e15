package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// report is what has become of the jobs.
type report struct {
	asked, rows, succeeded int
	lost                   int // never ended, or a server said that it had started them and they are not there
	twice                  int // have succeeded more than once
	failed                 int // after all attempts, or for no reason that was meant
	misfits                int // workflows with a step too many or too few
	moments, missed        int // of the schedule

	started, late int // at their first attempt while all was whole; more than lateAfter too late
	latest        time.Duration

	attempts, most, workerLost int
	killed                     []time.Duration // from a worker's death to the next start of a job that it was at

	watched, cuts            int
	missing, again, disorder int // events, as watchers were told
	unended                  int // watches that were never told of the end

	resent, dropped int // requests of clients, replies of Redis
	faults          []happened
	took            time.Duration
}

// lateAfter is how late a job may start, and settled how long after a fault lateness is none: a dead worker's
// lease, and a lost message, take as long.
const (
	lateAfter = 2 * time.Second
	settled   = 7 * time.Second
)

// look reads from the database what has become of everything.
func look(ctx context.Context, d *deployment, l *load, f *faults, w *watchers) (*report, error) {
	r := &report{
		asked: int(l.asked.Load()), cuts: int(w.cuts.Load()), resent: int(l.trials.Load()), dropped: int(d.proxy.lost.Load()), faults: f.log,
	}
	for _, count := range []struct {
		into  *int
		query string
	}{
		{&r.rows, `SELECT count(*) FROM jobs WHERE owner_id <> ''`},
		{&r.succeeded, `SELECT count(*) FROM jobs WHERE owner_id <> '' AND state = 'SUCCEEDED'`},
		{&r.failed, `SELECT count(*) FROM jobs WHERE owner_id <> '' AND state IN ('FAILED', 'CANCELLED')`},
		{&r.lost, `SELECT count(*) FROM jobs WHERE owner_id <> '' AND state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')`},
		{&r.twice, `SELECT count(*) FROM (SELECT FROM job_events WHERE type = 'STATE' AND state = 'SUCCEEDED'
			GROUP BY job_id HAVING count(*) > 1) AS doubled`},
		{&r.misfits, `SELECT count(*) FROM jobs w WHERE kind = 'workflow' AND (SELECT count(*) FROM jobs s WHERE s.parent_id = w.id) <> 3`},
		{&r.moments, `SELECT count(*) FROM jobs WHERE idempotency_key LIKE 'sch_%'`},
		{&r.attempts, `SELECT coalesce(sum(attempt), 0) FROM jobs WHERE owner_id <> ''`},
		{&r.most, `SELECT coalesce(max(attempt), 0) FROM jobs WHERE owner_id <> ''`},
		{&r.workerLost, `SELECT count(*) FROM job_attempts WHERE error_code = 'WORKER_LOST'`},
	} {
		if err := d.db.QueryRowContext(ctx, count.query).Scan(count.into); err != nil {
			return nil, err
		}
	}
	return r, errors.Join(r.lookForUnknown(ctx, d.db, l), r.lookForLate(ctx, d.db), r.lookAtKills(ctx, d.db, f.killed), r.lookAtWatches(ctx, d.db, w))
}

// lookForUnknown counts as lost what a server has started, as it said, and the database does not have.
func (r *report) lookForUnknown(ctx context.Context, db *sql.DB, l *load) error {
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
			r.lost++
		}
	}
	r.lost += r.asked - len(l.jobs) // each was asked for until it was started
	return nil
}

// lookForLate looks at the jobs that were begun once, when they were due outside of any fault.
func (r *report) lookForLate(ctx context.Context, db *sql.DB) error {
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
		if r.disturbed(time.UnixMicro(due)) {
			continue
		}
		r.started++
		if late := time.Duration(began-due) * time.Microsecond; late > lateAfter {
			r.late++
			r.latest = max(r.latest, late)
		}
	}
	return rows.Err()
}

// disturbed reports whether something was down at the moment or right after, or had just come back.
func (r *report) disturbed(at time.Time) bool {
	return slices.ContainsFunc(r.faults, func(h happened) bool {
		return at.After(h.began.Add(-lateAfter)) && at.Before(h.over.Add(settled))
	})
}

// lookAtKills measures how long after a worker's death the jobs that it was at were begun again.
func (r *report) lookAtKills(ctx context.Context, db *sql.DB, kills []kill) error {
	for _, k := range kills {
		for _, id := range k.ids {
			next, err := numbers(ctx, db, `SELECT (SELECT min(a.started_at) FROM job_attempts a WHERE a.job_id = d.job_id AND a.claim > d.claim)
				FROM job_attempts d WHERE d.process_id = $1 AND d.error_code = 'WORKER_LOST' AND d.finished_at >= $2`, id, k.at.UnixMicro())
			if err != nil {
				return err
			}
			for _, at := range next {
				r.killed = append(r.killed, time.UnixMicro(at).Sub(k.at))
			}
		}
	}
	slices.Sort(r.killed)
	return nil
}

func (r *report) lookAtWatches(ctx context.Context, db *sql.DB, w *watchers) error {
	for _, told := range w.all {
		rows, err := db.QueryContext(ctx, `SELECT sequence, type = 'PROGRESS' FROM job_events WHERE job_id = $1 ORDER BY sequence`, told.id)
		if err != nil {
			return err
		}
		events, err := scan(rows, func(e *stored) []any { return []any{&e.sequence, &e.progress} })
		if err != nil {
			return err
		}
		missing, twice, disorder := faultsOf(told.seen, events)
		r.watched++
		r.missing, r.again, r.disorder = r.missing+missing, r.again+twice, r.disorder+disorder
		if !told.ended {
			r.unended++
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
func (r *report) verdict() error {
	if r.lost+r.twice+r.failed+r.misfits == 0 && r.missing+r.again+r.disorder+r.unended == 0 {
		return nil
	}
	return fmt.Errorf("%d jobs lost, %d done twice, %d failed, %d workflows with wrong steps; "+
		"of events %d missing, %d twice, %d out of order, and of %d watches no end was told",
		r.lost, r.twice, r.failed, r.misfits, r.missing, r.again, r.disorder, r.unended)
}

// print writes the tables.
func (r *report) print(to io.Writer) {
	fmt.Fprintf(to, "\n| what | |\n|---|---|\n")
	for _, line := range []struct {
		what string
		is   any
	}{
		{"jobs asked for, rows with the steps of workflows and the schedule's", fmt.Sprintf("%d, %d", r.asked, r.rows)},
		{"succeeded", r.succeeded},
		{"**lost** (never ended)", r.lost},
		{"**finished twice** (more than one SUCCEEDED)", r.twice},
		{"failed", r.failed},
		{"workflows with a step too many or too few", r.misfits},
		{"jobs of the schedule", r.moments},
		{fmt.Sprintf("late: begun more than %v after due while all was whole", lateAfter), fmt.Sprintf("%d of %d, at most %v", r.late, r.started, brief(r.latest))},
		{"attempts: all, the most of one job, ended by WORKER_LOST", fmt.Sprintf("%d, %d, %d", r.attempts, r.most, r.workerLost)},
		{"kill -9 of a worker in mid-job to the next start of its job: median, worst", r.recovery()},
		{"watched jobs, forced reconnects", fmt.Sprintf("%d, %d", r.watched, r.cuts)},
		{"events **missing**, twice, out of order; watches without an end", fmt.Sprintf("%d, %d, %d; %d", r.missing, r.again, r.disorder, r.unended)},
		{"replies of Redis dropped, requests sent again", fmt.Sprintf("%d, %d", r.dropped, r.resent)},
		{"took", brief(r.took)},
	} {
		fmt.Fprintf(to, "| %s | %v |\n", line.what, line.is)
	}
	fmt.Fprintf(to, "\n| fault | times | lasted at most | until all answered again, at most |\n|---|---|---|---|\n")
	for _, f := range all() {
		times, lasted, over := 0, time.Duration(0), time.Duration(0)
		for _, h := range r.faults {
			if h.name == f.name {
				times, lasted, over = times+1, max(lasted, h.lasted), max(over, h.over.Sub(h.began))
			}
		}
		fmt.Fprintf(to, "| %s | %d | %v | %v |\n", f.name, times, brief(lasted), brief(over))
	}
	fmt.Fprintln(to)
}

func (r *report) recovery() string {
	if len(r.killed) == 0 {
		return "no job was met"
	}
	return fmt.Sprintf("%v, %v, of %d", brief(r.killed[len(r.killed)/2]), brief(r.killed[len(r.killed)-1]), len(r.killed))
}

func brief(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
