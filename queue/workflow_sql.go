package queue

import (
	"context"

	"gatehouse/internal/store"
)

// open and ended are the states of jobs that have not, and have, come to their end.
const (
	open  = `('SCHEDULED', 'QUEUED', 'RUNNING', 'RETRYING')`
	ended = `('SUCCEEDED', 'FAILED', 'CANCELLED')`
)

// stalled are the workflows of whose steps there is something to note: the job of a step has ended, the
// workflow is to be cancelled, or it has ended before its steps. All that is rare, and found by an index.
const stalled = `SELECT workflow_id FROM workflow_steps JOIN jobs ON jobs.id = job_id
		WHERE workflow_steps.state = 'BEGUN' AND jobs.state IN ` + ended + `
	UNION SELECT id FROM jobs WHERE state = 'RUNNING' AND process_id IS NULL AND kind = 'workflow' AND cancel_asked_at IS NOT NULL
	UNION SELECT parent_id FROM jobs WHERE parent_id IS NOT NULL AND state IN ` + open + `
		AND EXISTS (SELECT 1 FROM jobs whole WHERE whole.id = jobs.parent_id AND whole.state IN ` + ended + `)`

// A workflow and its steps.
var (
	holdJob = store.SQL(`UPDATE jobs SET process_id = NULL, sequence = sequence + 1
		WHERE id = ? AND claim = ? AND state = 'RUNNING' RETURNING ` + columns)
	lockJob = store.SQL(`SELECT `+columns+` FROM jobs WHERE id = ?`).
		On(store.Postgres, `SELECT `+columns+` FROM jobs WHERE id = ? FOR UPDATE`)

	selectSteps = store.SQL(`SELECT workflow_id, name, workflow_steps.state, job_id, jobs.state, coalesce(workflow_steps.error_code, jobs.error_code), coalesce(workflow_steps.error_message, jobs.error_message)
		FROM workflow_steps LEFT JOIN jobs ON jobs.id = job_id WHERE workflow_id IN (?*)`)
	selectPlans   = store.SQL(`SELECT id, input FROM jobs WHERE kind = 'workflow' AND id IN (?*)`)
	selectOpen    = store.SQL(`SELECT id FROM jobs WHERE parent_id = ? AND state IN ` + open)
	selectStalled = store.SQL(stalled + ` LIMIT 500`)

	insertStep = store.SQL(`INSERT INTO workflow_steps (workflow_id, name, state, job_id, error_code, error_message) VALUES (?, ?, ?, ?, ?, ?)`)
	endSteps   = store.SQL(`UPDATE workflow_steps SET state = 'ENDED' WHERE workflow_id = ? AND state = 'BEGUN'
		AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = job_id AND jobs.state IN ` + ended + `)`)
	forgetSteps = store.SQL(`DELETE FROM workflow_steps WHERE workflow_id = ?
		AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = job_id AND jobs.state = 'SUCCEEDED')`)
)

// stepRow is what is stored of a step. One that waits has none.
type stepRow struct {
	workflow ID
	name     string
	state    StepState
	job      ID
	failure  Failure
}

// The states that are stored; those of a step whose job was started are told by the job.
const (
	stepBegun   = "BEGUN"
	stepSkipped = "SKIPPED"
	stepRefused = "REFUSED"
)

func scanStep(scan store.Scan) (stepRow, error) {
	var (
		r      stepRow
		stored string
		job    State
	)
	err := scan((*string)(&r.workflow), &r.name, &stored, store.Text(&r.job), store.Text(&job), store.Text(&r.failure.Code), store.Text(&r.failure.Message))
	switch {
	case stored == stepSkipped:
		r.state = StepSkipped
	case stored == stepRefused:
		r.state = StepFailed
	case job == "": // it was deleted with its owner
		r.state = StepCancelled
	case job.Final():
		r.state = StepState(job)
	default:
		r.state = StepRunning
	}
	return r, err
}

// stepRows are the rows of one workflow, by the name of the step.
type stepRows map[string]stepRow

func stepsOf(ctx context.Context, r store.Reader, id ID) (stepRows, error) {
	all, err := store.Many(ctx, r, selectSteps, scanStep, []ID{id})
	rows := make(stepRows, len(all))
	for _, row := range all {
		rows[row.name] = row
	}
	return rows, err
}
