package queue

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gatehouse/internal/blob"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// columns of a whole job, which [scanJob] reads.
var columns = columnsFor(whole)

// columnsOfJob are the columns of a job, the fields that need them, and where they are read into.
var columnsOfJob = []struct {
	of   Fields // 0: every statement reads it
	name string
	into func(*reader) any
}{
	{0, "id", func(r *reader) any { return (*string)(&r.job.ID) }},
	{WithOwner, "owner_id", func(r *reader) any { return (*string)(&r.job.Owner) }},
	{WithKind | WithResult, "kind", func(r *reader) any { return &r.job.Kind }},
	{WithQueue, "queue", func(r *reader) any { return &r.job.Queue }},
	{WithPriority, "priority", func(r *reader) any { return store.Number(&r.job.Priority) }},
	{WithState | WithResult, "state", func(r *reader) any { return (*string)(&r.job.State) }},
	{WithAttempt, "attempt", func(r *reader) any { return store.Number(&r.job.Attempt) }},
	{WithMaxAttempts, "max_attempts", func(r *reader) any { return store.Number(&r.job.MaxAttempts) }},
	{forWorkers, "claim", func(r *reader) any { return store.Number(&r.job.Claim) }},
	{forWorkers, "process_id", func(r *reader) any { return store.Text(&r.job.Process) }},
	{WithInput, "input", func(r *reader) any { return (*[]byte)(&r.job.Input) }},
	{WithSequence, "sequence", func(r *reader) any { return store.Number(&r.job.Sequence) }},
	{WithProgress, "progress_done", func(r *reader) any { return store.Number(&r.job.Progress.Done) }},
	{WithProgress, "progress_total", func(r *reader) any { return store.Number(&r.job.Progress.Total) }},
	{WithStage, "progress_stage", func(r *reader) any { return &r.job.Progress.Stage }},
	{WithResult, "result", func(r *reader) any { return (*[]byte)(&r.job.Result) }},
	{withOutcome, outcomeOfJob, func(r *reader) any { return store.Text(&r.job.outcome) }},
	{WithError, "error_code", func(r *reader) any { return store.Text(&r.failure.Code) }},
	{WithError, "error_message", func(r *reader) any { return store.Text(&r.failure.Message) }},
	{forWorkers, "cancel_asked_at", func(r *reader) any { return store.Time(&r.job.CancelAskedAt) }},
	{WithCreatedAt, "created_at", func(r *reader) any { return store.Time(&r.job.CreatedAt) }},
	{WithRunAt, "run_at", func(r *reader) any { return store.Time(&r.job.RunAt) }},
	{WithStartedAt, "started_at", func(r *reader) any { return store.Time(&r.job.StartedAt) }},
	{WithFinishedAt, "finished_at", func(r *reader) any { return store.Time(&r.job.FinishedAt) }},
	{WithExpiresAt, "expires_at", func(r *reader) any { return store.Time(&r.job.ExpiresAt) }},
	{WithParent, "parent_id", func(r *reader) any { return store.Text(&r.job.Parent) }},
}

// outcomeOfJob is the key of a result that is too large for its row.
const outcomeOfJob = `CASE WHEN state = 'SUCCEEDED' AND result IS NULL THEN
	(SELECT blob_key FROM job_files WHERE job_id = jobs.id AND role = 'RESULT' LIMIT 1) END`

// columnsFor returns the columns of fields, in the order in which a reader of them reads.
func columnsFor(fields Fields) string {
	var names []string
	for _, c := range columnsOfJob {
		if c.of == 0 || c.of&fields != 0 {
			names = append(names, c.name)
		}
	}
	return strings.Join(names, ", ")
}

// reader reads rows of jobs, one after the other into the same place.
type reader struct {
	job     Job
	failure Failure
	targets []any
}

// newReader returns a reader of the columns for fields; the rest of each job is as in known.
func newReader(fields Fields, known Job) *reader {
	r := &reader{job: known, targets: make([]any, 0, len(columnsOfJob))}
	for _, c := range columnsOfJob {
		if c.of == 0 || c.of&fields != 0 {
			r.targets = append(r.targets, c.into(r))
		}
	}
	return r
}

// read returns a copy of the row.
func (r *reader) read(scan store.Scan) (*Job, error) {
	if err := scan(r.targets...); err != nil {
		return nil, err
	}
	j := r.job
	if r.failure.Code != "" {
		j.Error = &Failure{r.failure.Code, r.failure.Message}
	}
	return &j, nil
}

func (r *reader) excerpt(scan store.Scan) (*Excerpt, error) {
	j, err := r.read(scan)
	return (*Excerpt)(j), err
}

// scanJob reads one row of columns.
func scanJob(scan store.Scan) (*Job, error) { return newReader(whole, Job{}).read(scan) }

// scanJobs reads many.
func scanJobs() func(store.Scan) (*Job, error) { return newReader(whole, Job{}).read }

// A job's life.
var (
	insertJobs = store.SQL(`INSERT INTO jobs
		(id, owner_id, kind, queue, priority, max_attempts, input, idempotency_key, parent_id, state, run_at, sequence, created_at, pushed_at)
		SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9,
			CASE WHEN column10 > {now} THEN 'SCHEDULED' ELSE 'QUEUED' END,
			CASE WHEN column10 > {now} THEN column10 ELSE {now} END, 1, {now}, {now}
		FROM (VALUES (CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS INTEGER), CAST(? AS INTEGER),
			CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT))*) AS wishes
		WHERE TRUE
		ON CONFLICT DO NOTHING
		RETURNING ` + columns)

	selectSame  = store.SQL(`SELECT ` + columns + ` FROM jobs WHERE id = ? OR (owner_id = ? AND kind = ? AND idempotency_key = ?)`)
	selectJob   = store.SQL(`SELECT ` + columns + ` FROM jobs WHERE id = ?`)
	selectJobs  = store.SQL(`SELECT ` + columns + ` FROM jobs WHERE id IN (?*)`)
	selectOwned = store.SQL(`SELECT ` + columns + ` FROM jobs WHERE owner_id = ? AND id > ? ORDER BY id LIMIT ?`)

	claimJobs = store.SQL(`UPDATE jobs SET state = 'RUNNING', attempt = attempt + 1, claim = claim + 1, process_id = ?,
			started_at = {now}, sequence = sequence + 1, progress_done = 0, progress_total = 0, progress_stage = ''
		WHERE state = 'QUEUED'
			AND queue NOT IN (SELECT queue FROM queue_settings WHERE paused)
			AND kind NOT IN (SELECT kind FROM kind_settings WHERE paused OR max_running IS NOT NULL)
			AND id IN (?*)
		RETURNING ` + columns)

	lockKind     = store.SQL(`SELECT max_running FROM kind_settings WHERE kind = ? AND NOT paused AND max_running IS NOT NULL FOR UPDATE`).On(store.SQLite, `SELECT max_running FROM kind_settings WHERE kind = ? AND NOT paused AND max_running IS NOT NULL`)
	countRunning = store.SQL(`SELECT count(*) FROM jobs WHERE kind = ? AND state = 'RUNNING'`)
	claimChosen  = store.SQL(`UPDATE jobs SET state = 'RUNNING', attempt = attempt + 1, claim = claim + 1, process_id = ?,
			started_at = {now}, sequence = sequence + 1, progress_done = 0, progress_total = 0, progress_stage = ''
		WHERE state = 'QUEUED' AND id IN (?*) RETURNING ` + columns)
	selectCandidates = store.SQL(`SELECT id, kind, owner_id, kind IN (SELECT kind FROM kind_settings WHERE max_running IS NOT NULL)
		FROM jobs WHERE state = 'QUEUED'
			AND queue NOT IN (SELECT queue FROM queue_settings WHERE paused)
			AND kind NOT IN (SELECT kind FROM kind_settings WHERE paused)
			AND id IN (?*)
		ORDER BY id`)
	lockOwner     = store.SQL(`SELECT pg_advisory_xact_lock(hashtextextended(?, 0))`)
	countOfOwners = store.SQL(`SELECT owner_id, count(*) FROM jobs WHERE state = 'RUNNING' AND process_id IS NOT NULL AND owner_id IN (?*) GROUP BY owner_id`).
			On(store.SQLite, `SELECT owner_id, count(*) FROM jobs INDEXED BY jobs_running WHERE state = 'RUNNING' AND process_id IS NOT NULL AND owner_id IN (?*) GROUP BY owner_id`)

	insertAttempts = store.SQL(`INSERT INTO job_attempts (job_id, claim, number, process_id, started_at)
		SELECT column1, column2, column3, column4, column5
		FROM (VALUES (CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS INTEGER), CAST(? AS TEXT), CAST(? AS BIGINT))*) AS begun
		WHERE TRUE ON CONFLICT DO NOTHING RETURNING job_id`)
	endAttempt = store.SQL(`UPDATE job_attempts SET finished_at = {now}, error_code = ?, error_message = ?, stack = ?
		WHERE job_id = ? AND claim = ?`)
	endAttempts = store.SQL(`UPDATE job_attempts SET finished_at = {now}
		FROM (VALUES (CAST(? AS TEXT), CAST(? AS BIGINT))*) AS ends WHERE job_id = column1 AND claim = column2 RETURNING job_id`)
	endAttemptsOfDead = store.SQL(`UPDATE job_attempts SET finished_at = {now}, error_code = 'WORKER_LOST',
			error_message = 'The worker disappeared in the middle of the job.'
		WHERE finished_at IS NULL AND job_id IN (?*)`)
	forgetAttempt  = store.SQL(`DELETE FROM job_attempts WHERE job_id = ? AND claim = ?`)
	forgetAttempts = store.SQL(`DELETE FROM job_attempts WHERE job_id = ? AND claim <= ?`)
	forgetEvents   = store.SQL(`DELETE FROM job_events WHERE job_id = ? AND sequence <= ?`)

	// fenced: a write by the worker that took the job, and by no earlier one.
	progressJob = store.SQL(`UPDATE jobs SET progress_done = ?, progress_total = ?, progress_stage = ?, sequence = sequence + 1
		WHERE id = ? AND claim = ? AND state = 'RUNNING' RETURNING ` + columns)
	touchJob = store.SQL(`UPDATE jobs SET sequence = sequence + 1
		WHERE id = ? AND claim = ? AND state = 'RUNNING' RETURNING ` + columns)
	succeedJobs = store.SQL(`UPDATE jobs SET state = 'SUCCEEDED', result = column3, error_code = NULL, error_message = NULL,
			progress_done = column4, progress_total = column5, progress_stage = column6,
			finished_at = {now}, expires_at = {now} + column7, sequence = sequence + 1, process_id = NULL
		FROM (VALUES (CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS TEXT),
			CAST(? AS BIGINT))*) AS ends
		WHERE id = column1 AND claim = column2 AND state = 'RUNNING' RETURNING ` + columns)
	failJob = store.SQL(`UPDATE jobs SET state = 'FAILED', error_code = ?, error_message = ?,
			finished_at = {now}, expires_at = {now} + ?, sequence = sequence + 1, process_id = NULL
		WHERE id = ? AND claim = ? AND state = 'RUNNING' RETURNING ` + columns)
	retryLater = store.SQL(`UPDATE jobs SET state = CASE WHEN cancel_asked_at IS NULL THEN 'RETRYING' ELSE 'CANCELLED' END,
			error_code = ?, error_message = ?, run_at = {now} + ?,
			finished_at = CASE WHEN cancel_asked_at IS NULL THEN NULL ELSE {now} END,
			expires_at = CASE WHEN cancel_asked_at IS NULL THEN NULL ELSE {now} + ? END,
			sequence = sequence + 1, process_id = NULL
		WHERE id = ? AND claim = ? AND state = 'RUNNING' RETURNING ` + columns)
	endCancelled = store.SQL(`UPDATE jobs SET state = 'CANCELLED', finished_at = {now}, expires_at = {now} + ?,
			sequence = sequence + 1, process_id = NULL
		WHERE id = ? AND claim = ? AND state = 'RUNNING' RETURNING ` + columns)
	handBack = store.SQL(`UPDATE jobs SET state = 'QUEUED', attempt = attempt - 1, process_id = NULL, pushed_at = 1,
			progress_done = 0, progress_total = 0, progress_stage = '', sequence = sequence + 1
		WHERE id = ? AND claim = ? AND state = 'RUNNING' RETURNING ` + columns)

	cancelWaiting = store.SQL(`UPDATE jobs SET state = 'CANCELLED', cancel_asked_at = {now}, finished_at = {now}, expires_at = {now} + ?,
			sequence = sequence + 1
		WHERE id = ? AND state IN ('SCHEDULED', 'QUEUED', 'RETRYING') RETURNING ` + columns)
	askCancel = store.SQL(`UPDATE jobs SET cancel_asked_at = coalesce(cancel_asked_at, {now})
		WHERE id = ? AND state = 'RUNNING' RETURNING ` + columns)
	restartJobs = store.SQL(`UPDATE jobs SET state = 'QUEUED', attempt = 0, result = NULL, error_code = NULL, error_message = NULL,
			cancel_asked_at = NULL, run_at = {now}, pushed_at = {now}, started_at = NULL, finished_at = NULL, expires_at = NULL,
			progress_done = 0, progress_total = 0, progress_stage = '', sequence = sequence + 1
		WHERE state IN ('FAILED', 'CANCELLED') AND parent_id IS NULL AND id IN (?*) RETURNING ` + columns)
	deleteJob = store.SQL(`DELETE FROM jobs WHERE id = ? AND state IN ` + ended + `
		AND NOT EXISTS (SELECT 1 FROM jobs step WHERE step.parent_id = jobs.id AND step.state IN ` + open + `)`)
)

// What the sweeper asks and does.
var (
	releaseDue  = due("")
	relayPushed = store.SQL(`UPDATE jobs SET pushed_at = {now} WHERE state = 'QUEUED' AND id IN (`+pushedIDs+`) RETURNING `+columns).
			On(store.Postgres, `UPDATE jobs SET pushed_at = {now} WHERE state = 'QUEUED' AND id IN (`+pushedIDs+` FOR UPDATE SKIP LOCKED) RETURNING `+columns)

	selectPushed = store.SQL(`SELECT id, owner_id ` + pushed)
	relayChosen  = store.SQL(`UPDATE jobs SET pushed_at = {now} WHERE state = 'QUEUED' AND pushed_at > 0 AND pushed_at < ?
		AND id IN (?*) RETURNING ` + columns)

	selectOrphans = store.SQL(`SELECT id FROM jobs WHERE ` + orphaned + ` ORDER BY id LIMIT 500`)
	requeueOrphan = store.SQL(`UPDATE jobs SET
			state = CASE WHEN cancel_asked_at IS NOT NULL THEN 'CANCELLED' WHEN attempt >= max_attempts THEN 'FAILED' ELSE 'QUEUED' END,
			error_code = 'WORKER_LOST', error_message = 'The worker disappeared in the middle of the job.',
			finished_at = CASE WHEN cancel_asked_at IS NOT NULL OR attempt >= max_attempts THEN {now} ELSE NULL END,
			expires_at = CASE WHEN cancel_asked_at IS NOT NULL OR attempt >= max_attempts THEN {now} + ? ELSE NULL END,
			process_id = NULL, pushed_at = {now}, sequence = sequence + 1
		WHERE ` + orphaned + ` AND id IN (?*) RETURNING ` + columns)
	deleteDead = store.SQL(`DELETE FROM processes WHERE lease_until < {now}
		AND NOT EXISTS (SELECT 1 FROM jobs WHERE state = 'RUNNING' AND process_id = processes.id)`)

	selectExpired  = store.SQL(`SELECT id FROM jobs WHERE expires_at < {now} AND parent_id IS NULL ORDER BY expires_at LIMIT 100`)
	selectFilesOf  = store.SQL(`SELECT blob_key FROM job_files WHERE job_id IN (?*)`)
	selectStepJobs = store.SQL(`SELECT id FROM jobs WHERE parent_id IN (?*)`)
	deleteExpired  = store.SQL(`DELETE FROM jobs WHERE expires_at < {now} AND id IN (?*)`)
	selectKeyInUse = store.SQL(`SELECT 1 FROM job_files WHERE blob_key = ?`)
	proveProcess   = store.SQL(`INSERT INTO processes (id, host, pid, started_at, lease_until) VALUES (?, ?, ?, {now}, {now} + ?)
		ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until`)
	renewLease      = store.SQL(`UPDATE processes SET lease_until = {now} + ?, figures = ? WHERE id = ?`)
	endLease        = store.SQL(`UPDATE processes SET lease_until = 0 WHERE id = ?`)
	selectMine      = store.SQL(`SELECT id, claim, cancel_asked_at IS NOT NULL FROM jobs WHERE process_id = ? AND state = 'RUNNING'`)
	selectSequences = store.SQL(`SELECT id, sequence FROM jobs WHERE id IN (?*)`)
)

// orphaned is true of a running job whose process does not live; one that is held by none has a worker outside.
const orphaned = `state = 'RUNNING' AND process_id IS NOT NULL AND process_id NOT IN (SELECT id FROM processes WHERE lease_until >= {now})`

// vitalsOf returns the statement that tells the sweeper all it needs to know: the clock, when the next
// job is due, the next lease ends and the next job expires, when the next of our schedules is due, whether
// a limit has refused a job, when the next worker outside has been silent for too long, and when each
// lane's oldest was pushed.
func vitalsOf(lanes []laneOf, ours string) *store.Query {
	text := `SELECT {now},
		(SELECT min(run_at) FROM jobs WHERE state IN ('SCHEDULED', 'RETRYING')),
		(SELECT min(lease_until) FROM processes),
		(SELECT min(expires_at) FROM jobs WHERE expires_at IS NOT NULL AND parent_id IS NULL),
		(SELECT count(*) FROM jobs WHERE ` + orphaned + `),
		(SELECT min(next_at) FROM schedules WHERE next_at IS NOT NULL AND ` + ours + `),
		(SELECT count(*) FROM schedules WHERE ` + released + ` AND ` + ours + `),
		(SELECT count(*) FROM (` + stalled + `) AS stalled),
		(SELECT count(*) FROM (SELECT 1 FROM jobs WHERE ` + refusedJob + ` LIMIT 1) AS refused),
		(` + nextSilent + `)`
	for _, l := range lanes {
		text += fmt.Sprintf(`,
		(SELECT min(pushed_at) FROM jobs WHERE state = 'QUEUED' AND pushed_at > 0 AND queue = %s AND priority = %d)`,
			quoted(l.queue), l.priority)
	}
	return store.SQL(text)
}

const pushedIDs = `SELECT id ` + pushed

// pushed are the queued jobs of a lane that were pushed from one moment on and before another. That it is more
// than 0 is said for the index.
const pushed = `FROM jobs WHERE state = 'QUEUED' AND queue = ? AND priority = ? AND pushed_at > 0 AND pushed_at >= ? AND pushed_at < ?
	AND queue NOT IN (SELECT queue FROM queue_settings WHERE paused)
	AND kind NOT IN (SELECT kind FROM kind_settings WHERE paused)
	ORDER BY pushed_at, id LIMIT 500`

func due(lock string) *store.Query {
	text := func(lock string) string {
		return `UPDATE jobs SET state = 'QUEUED', pushed_at = {now}, sequence = sequence + 1
			WHERE state IN ('SCHEDULED', 'RETRYING') AND id IN (
				SELECT id FROM jobs WHERE state IN ('SCHEDULED', 'RETRYING') AND run_at <= {now} ORDER BY run_at LIMIT 500` + lock + `)
			RETURNING ` + columns
	}
	return store.SQL(text(lock)).On(store.Postgres, text(" FOR UPDATE SKIP LOCKED"))
}

// Events, files and settings.
var (
	insertEvent = store.SQL(`INSERT INTO job_events (job_id, sequence, at, type, state, attempt, claim, done, total, stage, message)
		VALUES (?, ?, {now}, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING at`)
	// insertEvents reads no other table: a plan that was made while jobs was empty would read all of it.
	insertEvents = store.SQL(`INSERT INTO job_events (job_id, sequence, at, type, state, attempt, claim, done, total, stage, message)
		SELECT column1, column2, {now}, column3, column4, column5, column6, column7, column8, column9, column10
		FROM (VALUES (CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS INTEGER), CAST(? AS BIGINT),
			CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS TEXT))*) AS happened
		WHERE TRUE ON CONFLICT DO NOTHING RETURNING job_id, at`)
	selectEvents = store.SQL(`SELECT job_id, sequence, at, type, state, attempt, done, total, stage, message
		FROM job_events WHERE job_id = ? AND sequence > ? ORDER BY sequence LIMIT ?`)

	selectAttempts = store.SQL(`SELECT job_id, claim, number, started_at, finished_at, error_code, error_message
		FROM job_attempts WHERE job_id IN (?*) ORDER BY job_id, claim`)
	selectLogs = store.SQL(`SELECT job_id, claim, message FROM job_events
		WHERE type = 'LOG' AND job_id IN (?*) ORDER BY job_id, sequence`)

	insertFile = store.SQL(`INSERT INTO job_files (id, job_id, owner_id, role, blob_key, name, media_type, bytes, sha256, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {now})`)
	selectFiles = store.SQL(`SELECT id, job_id, role, blob_key, name, media_type, bytes, sha256, created_at
		FROM job_files WHERE role = ? AND job_id IN (?*) ORDER BY job_id, id`)
	selectFile = store.SQL(`SELECT id, job_id, role, blob_key, name, media_type, bytes, sha256, created_at
		FROM job_files WHERE id = ?`)
	selectMade    = store.SQL(`SELECT blob_key FROM job_files WHERE role NOT IN ('INPUT', 'KEPT') AND job_id IN (?*)`)
	deleteMade    = store.SQL(`DELETE FROM job_files WHERE role NOT IN ('INPUT', 'KEPT') AND job_id IN (?*)`)
	setPaused     = store.SQL(`INSERT INTO queue_settings (queue, paused) VALUES (?, ?) ON CONFLICT (queue) DO UPDATE SET paused = excluded.paused`)
	setPausedKind = store.SQL(`INSERT INTO kind_settings (kind, paused) VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET paused = excluded.paused`)
	setLimit      = store.SQL(`INSERT INTO kind_settings (kind, max_running) VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET max_running = excluded.max_running`)
	selectKinds   = store.SQL(`SELECT kind, paused, max_running FROM kind_settings`)
	refresh       = store.SQL(`UPDATE jobs SET pushed_at = 1 WHERE state = 'QUEUED' AND queue = ?`)
	refreshKind   = store.SQL(`UPDATE jobs SET pushed_at = 1 WHERE state = 'QUEUED' AND kind = ?`)

	selectPaused  = store.SQL(`SELECT queue FROM queue_settings WHERE paused`)
	selectFigures = store.SQL(`SELECT figures FROM processes WHERE lease_until >= {now}`)
	selectDepth   = store.SQL(`SELECT queue, state, count(*), min(run_at) FROM jobs WHERE state IN ('QUEUED', 'RUNNING', 'SCHEDULED', 'RETRYING') GROUP BY queue, state`)
)

// What attempts keep. keepHold locks the job for the worker that has it.
var (
	keepHold = store.SQL(`UPDATE jobs SET claim = claim WHERE id = ? AND claim = ? AND state = 'RUNNING' RETURNING ` + columns)

	insertKept    = store.SQL(`INSERT INTO job_kept (job_id, name, note) VALUES (?, ?, ?)`)
	selectKept    = store.SQL(`SELECT name, note FROM job_kept WHERE job_id = ? ORDER BY name`)
	deleteKept    = store.SQL(`DELETE FROM job_kept WHERE job_id = ? AND name = ?`)
	deleteAllKept = store.SQL(`DELETE FROM job_kept WHERE job_id = ?`)

	selectKeptFile  = store.SQL(`SELECT blob_key FROM job_files WHERE job_id = ? AND role = 'KEPT' AND name = ?`)
	deleteKeptFile  = store.SQL(`DELETE FROM job_files WHERE job_id = ? AND role = 'KEPT' AND name = ?`)
	selectKeptFiles = store.SQL(`SELECT blob_key FROM job_files WHERE job_id = ? AND role = 'KEPT'`)
	deleteKeptFiles = store.SQL(`DELETE FROM job_files WHERE job_id = ? AND role = 'KEPT'`)
	deliverKept     = store.SQL(`UPDATE job_files SET role = 'ARTIFACT', name = ?, media_type = ?, created_at = {now}
		WHERE id = ? AND job_id = ? AND role = 'KEPT'`)
)

func scanFile(scan store.Scan) (File, error) {
	var (
		f   File
		key string
	)
	err := scan(&f.ID, &f.Job, &f.Role, &key, &f.Name, &f.MediaType, &f.Bytes, &f.SHA256, store.Time(&f.CreatedAt))
	if err == nil {
		f.Key, err = blob.ParseKey(key)
	}
	return f, err
}

func scanKey(scan store.Scan) (blob.Key, error) {
	var key string
	if err := scan(&key); err != nil {
		return blob.Key{}, err
	}
	return blob.ParseKey(key)
}

func scanEvent(scan store.Scan) (Event, error) {
	var e Event
	err := scan(&e.JobID, &e.Sequence, store.Time(&e.At), &e.Type, &e.State, &e.Attempt, &e.Done, &e.Total, &e.Stage, &e.Message)
	return e, err
}

func scanAttempt(scan store.Scan) (Attempt, error) {
	var (
		a             Attempt
		code, message string
	)
	err := scan(&a.Job, &a.claim, &a.Number, store.Time(&a.StartedAt), store.Time(&a.FinishedAt), store.Text(&code), store.Text(&message))
	if code != "" {
		a.Error = &Failure{code, message}
	}
	return a, err
}

func scanMoment(scan store.Scan) (t time.Time, err error) {
	err = scan(store.Time(&t))
	return t, err
}

// recordTx stores what has just happened to j, which is as RETURNING gave it, and returns the event.
func recordTx(ctx context.Context, tx *store.Tx, j *Job, kind EventType, message string) (Event, error) {
	e := eventOf(j, kind, message)
	var err error
	e.At, err = store.One(ctx, tx, insertEvent, scanMoment, e.JobID, e.Sequence, e.Type, e.State, e.Attempt,
		j.Claim, e.Done, e.Total, e.Stage, e.Message)
	return e, err
}

func eventOf(j *Job, kind EventType, message string) Event {
	return Event{
		JobID: j.ID, Sequence: j.Sequence, Type: kind, State: j.State, Attempt: j.Attempt,
		Done: j.Progress.Done, Total: j.Progress.Total, Stage: j.Progress.Stage, Message: message,
	}
}

// telling is a job whose state has just changed, and where that is to be remembered.
type telling struct {
	job     *Job
	changes *changes
}

// recordStates stores the changes of state of all, which are as RETURNING gave them, and remembers to tell
// them. No job comes twice.
func recordStates(ctx context.Context, tx *store.Tx, all []telling, message string) error {
	rows := make([][]any, len(all))
	for i, t := range all {
		e := eventOf(t.job, StateChanged, message)
		rows[i] = []any{e.JobID, e.Sequence, e.Type, e.State, e.Attempt, t.job.Claim, e.Done, e.Total, e.Stage, e.Message}
	}
	at := make(map[ID]time.Time, len(all))
	_, err := store.Rows(ctx, tx, insertEvents, func(scan store.Scan) (id ID, err error) {
		var t time.Time
		err = scan((*string)(&id), store.Time(&t))
		at[id] = t
		return id, err
	}, rows)
	if err != nil {
		return err
	}
	if len(at) != len(all) {
		return fmt.Errorf("%d of %d events were stored before", len(all)-len(at), len(all))
	}
	for _, t := range all {
		e := eventOf(t.job, StateChanged, message)
		e.At = at[t.job.ID]
		t.changes.all = append(t.changes.all, change{t.job, e})
	}
	return nil
}

// Filter chooses jobs. What is empty does not matter.
type Filter struct {
	States        []State
	Kinds         []string
	Queues        []string
	Owner         viewer.UserID
	CreatedAfter  any // a stored moment, see store.At; nil: any
	CreatedBefore any
}

// OrderField is what a list of jobs is sorted by.
type OrderField string

// The fields to sort by.
const (
	CreatedAt  OrderField = "CREATED_AT"
	RunAt      OrderField = "RUN_AT"
	FinishedAt OrderField = "FINISHED_AT"
)

// keys are what a list is sorted by, and the field of a job that tells it.
var keys = map[OrderField]struct {
	column string
	field  Fields
}{
	CreatedAt:  {"created_at", WithCreatedAt},
	RunAt:      {"run_at", WithRunAt},
	FinishedAt: {"coalesce(finished_at, 0)", WithFinishedAt},
}

// Order is how a list of jobs is sorted; the id breaks ties.
type Order struct {
	Field     OrderField // "": CreatedAt
	Ascending bool
}

// where returns the condition of f and its parameters.
func (f Filter) where() (string, []any) {
	conditions, args := []string{"TRUE"}, []any(nil)
	in := func(column string, values []any) {
		if len(values) > 0 {
			conditions = append(conditions, column+" IN (?"+strings.Repeat(", ?", len(values)-1)+")")
			args = append(args, values...)
		}
	}
	compare := func(condition string, value any) {
		if value != nil {
			conditions, args = append(conditions, condition), append(args, value)
		}
	}
	if f.Owner != "" { // first: see ListOf
		compare("owner_id = ?", f.Owner)
	}
	in("state", anys(f.States))
	in("kind", anys(f.Kinds))
	in("queue", anys(f.Queues))
	compare("created_at >= ?", f.CreatedAfter)
	compare("created_at < ?", f.CreatedBefore)
	return strings.Join(conditions, " AND "), args
}

func anys[T any](values []T) []any {
	all := make([]any, len(values))
	for i, v := range values {
		all[i] = v
	}
	return all
}

// list returns the statement for one page and its parameters; it fetches fields of one row more than the page has.
func list(f Filter, o Order, w page.Window, fields Fields) (string, []any) {
	where, args := f.where()
	key := keys[o.Field].column
	place := func(c *page.Cursor, beyond bool) {
		if c == nil {
			return
		}
		sign := "<"
		if beyond == o.Ascending {
			sign = ">"
		}
		where += fmt.Sprintf(" AND (%[1]s %[2]s ? OR (%[1]s = ? AND id %[2]s ?))", key, sign)
		args = append(args, c.Key, c.Key, c.ID)
	}
	place(w.After, true)
	place(w.Before, false)
	text := fmt.Sprintf("SELECT %s FROM jobs WHERE %s ORDER BY %s LIMIT ?", columnsFor(fields), where, o.by(w))
	return text, append(args, w.Size+1)
}

// by returns what a statement for w is sorted by.
func (o Order) by(w page.Window) string {
	direction := "DESC"
	if o.Ascending != w.Backward {
		direction = "ASC"
	}
	return fmt.Sprintf("%s %[2]s, id %[2]s", keys[o.Field].column, direction)
}

// countOf counts the jobs that f chooses of each of owners.
func countOf(ctx context.Context, r store.Reader, f Filter, owners []viewer.UserID) (map[viewer.UserID]int, error) {
	f.Owner = ""
	where, args := f.where()
	query := store.Passing("SELECT owner_id, count(*) FROM jobs WHERE owner_id IN (?*) AND " + where + " GROUP BY owner_id")
	totals := make(map[viewer.UserID]int, len(owners))
	_, err := store.Many(ctx, r, query, func(scan store.Scan) (owner viewer.UserID, err error) {
		var total int
		err = scan(&owner, &total)
		totals[owner] = total
		return owner, err
	}, owners, args...)
	return totals, err
}

func count(f Filter) (*store.Query, []any) {
	where, args := f.where()
	return store.Passing("SELECT count(*) FROM jobs WHERE " + where), args
}

// whole days since 1970 in UTC, of a moment in microseconds.
const dayOfCreation = `created_at / 86400000000`

// tally counts rows by what became of them, in the order of [Tally].
const tally = `count(*), count(CASE WHEN state = 'SUCCEEDED' THEN 1 END),
	count(CASE WHEN state = 'FAILED' THEN 1 END), count(CASE WHEN state = 'CANCELLED' THEN 1 END)`

// activityQueries read what became of the jobs of a period. The last column of the three that are cut off is how
// many rows there are in all.
type activityQueries struct{ days, kinds, failures, owners *store.Query }

var (
	activityOfOwner = activityWhere(`owner_id = ? AND `)
	activityOfAll   = activityWhere(``)
)

// activityWhere returns the queries for the jobs of which whose holds, made in a period.
func activityWhere(whose string) activityQueries {
	const ran = `CASE WHEN state = 'SUCCEEDED' THEN finished_at - started_at END`
	in := ` FROM jobs WHERE ` + whose + `created_at >= ? AND created_at < ? `
	return activityQueries{
		days: store.SQL(`SELECT ` + dayOfCreation + `, ` + tally + in + `GROUP BY 1 ORDER BY 1`),
		kinds: store.SQL(`SELECT kind, ` + tally + `, CAST(COALESCE(avg(` + ran + `), 0) AS BIGINT), COALESCE(max(` + ran + `), 0), count(*) OVER ()` +
			in + `GROUP BY kind ORDER BY 2 DESC, kind LIMIT ?`),
		failures: store.SQL(`SELECT kind, COALESCE(error_code, ''), count(*), max(finished_at), count(*) OVER ()` +
			in + `AND state = 'FAILED' GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT ?`),
		owners: store.SQL(`SELECT owner_id, ` + tally + `, count(*) OVER ()` + in + `GROUP BY owner_id ORDER BY 2 DESC, owner_id LIMIT ?`),
	}
}

func (t *Tally) into() []any { return []any{&t.Jobs, &t.Succeeded, &t.Failed, &t.Cancelled} }

func scanDayActivity(scan store.Scan) (d DayActivity, err error) {
	var day int64
	err = scan(append([]any{&day}, d.Tally.into()...)...)
	d.Day = time.Unix(day*24*60*60, 0).UTC()
	return d, err
}

func scanKindActivity(scan store.Scan, k *KindActivity, all *int) error {
	var mean, longest int64
	err := scan(append(append([]any{&k.Kind}, k.Tally.into()...), &mean, &longest, all)...)
	k.Mean, k.Longest = time.Duration(mean)*time.Microsecond, time.Duration(longest)*time.Microsecond
	return err
}

func scanFailureActivity(scan store.Scan, f *FailureActivity, all *int) error {
	return scan(&f.Kind, &f.Code, &f.Times, store.Time(&f.Last), all)
}

func scanOwnerActivity(scan store.Scan, o *OwnerActivity, all *int) error {
	return scan(append(append([]any{(*string)(&o.Owner)}, o.Tally.into()...), all)...)
}
