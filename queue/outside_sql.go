package queue

import (
	"strings"

	"gatehouse/internal/store"
)

// outsideLost is why an attempt failed of whose worker nothing was heard.
var outsideLost = Failure{"OUTSIDE_LOST", "Nothing was heard of the worker outside for too long."}

// A job with a worker outside is running and held by no process, as a workflow is, and has a moment at which it ends.
var (
	handOutJob = soonest(`UPDATE jobs SET process_id = NULL, outside_until = SOONEST, sequence = sequence + 1
		WHERE id = ? AND claim = ? AND state = 'RUNNING' RETURNING ` + columns)
	// While the job's process still waits for the answer, the process holds it.
	tellJob = soonest(`UPDATE jobs SET progress_done = ?, progress_total = ?, progress_stage = ?,
			outside_until = SOONEST, sequence = sequence + 1
		WHERE id = ? AND claim = ? AND state = 'RUNNING' AND cancel_asked_at IS NULL RETURNING ` + columns)
	countLine = store.SQL(`UPDATE job_attempts SET outside_lines = outside_lines + 1
		WHERE job_id = ? AND claim = ? AND outside_lines < ?`)

	selectSilent  = store.SQL(`SELECT id FROM jobs WHERE ` + silent + ` ORDER BY outside_until LIMIT 500`)
	collectSilent = store.SQL(`UPDATE jobs SET
			state = CASE WHEN cancel_asked_at IS NOT NULL THEN 'CANCELLED' WHEN attempt >= max_attempts THEN 'FAILED' ELSE 'QUEUED' END,
			error_code = CASE WHEN cancel_asked_at IS NULL THEN 'OUTSIDE_LOST' ELSE error_code END,
			error_message = CASE WHEN cancel_asked_at IS NULL THEN 'Nothing was heard of the worker outside for too long.' ELSE error_message END,
			finished_at = CASE WHEN cancel_asked_at IS NOT NULL OR attempt >= max_attempts THEN {now} ELSE NULL END,
			expires_at = CASE WHEN cancel_asked_at IS NOT NULL OR attempt >= max_attempts THEN {now} + ? ELSE NULL END,
			pushed_at = {now}, sequence = sequence + 1
		WHERE ` + silent + ` AND id IN (?*) RETURNING ` + columns)
)

// silent is true of a job whose worker outside has been silent for too long, or has nothing more to say.
const silent = `state = 'RUNNING' AND process_id IS NULL AND outside_until IS NOT NULL AND (outside_until <= {now} OR cancel_asked_at IS NOT NULL)`

// nextSilent is when the next attempt outside is to be ended.
const nextSilent = `SELECT min(CASE WHEN cancel_asked_at IS NULL THEN outside_until ELSE 1 END) FROM jobs
	WHERE state = 'RUNNING' AND process_id IS NULL AND outside_until IS NOT NULL`

// soonest puts in place of SOONEST the sooner of the ends of two times, its next parameters: one that
// begins now, and one that began with the attempt.
func soonest(text string) *store.Query {
	const ends = `({now} + CAST(? AS BIGINT), started_at + CAST(? AS BIGINT))`
	return store.SQL(strings.ReplaceAll(text, "SOONEST", "least"+ends)).
		On(store.SQLite, strings.ReplaceAll(text, "SOONEST", "min"+ends))
}
