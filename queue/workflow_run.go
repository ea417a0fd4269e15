package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// advance does for the workflow what is to be done by now: begins, skips and cancels steps, and ends it. It is
// called at the beginning, whenever a job of it has ended, and by the sweeper, who finds what a crash has
// left. It may be called at any time and by many at once: the workflow's row is locked, and what was done is
// not done again.
func (q *Queue) advance(ctx context.Context, id ID) error {
	for {
		j, err := store.One(ctx, q.db, selectJob, scanJob, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read workflow %s: %w", id, err)
		}
		again, err := q.advanceOnce(ctx, j)
		if err != nil {
			return fmt.Errorf("advance workflow %s: %w", id, err)
		}
		if !again {
			return nil
		}
	}
}

// advanceOnce reads what steps need before the transaction, and asks to be called again when it finds others
// ready in it.
func (q *Queue) advanceOnce(ctx context.Context, j *Job) (again bool, err error) {
	var w Workflow
	if err := json.Unmarshal(j.Input, &w); err != nil {
		return false, fmt.Errorf("read the steps: %w", err)
	}
	rows, err := stepsOf(ctx, q.db, j.ID)
	if err != nil {
		return false, err
	}
	a := advancing{queue: q, workflow: &w, prepared: map[int]prepared{}}
	for _, i := range w.plan(w.states(rows), !j.CancelAskedAt.IsZero()).begin {
		if a.prepared[i], err = q.prepare(ctx, j.Owner, &w.Steps[i], rows); err != nil {
			return false, err
		}
	}
	err = q.db.Update(ctx, func(tx *store.Tx) error {
		a.changes, a.running, a.again = changes{}, nil, false
		return a.do(ctx, tx, j.ID)
	})
	if err != nil {
		return false, err
	}
	q.announce(ctx, &a.changes)
	for _, id := range a.running {
		q.tellOfCancel(ctx, id)
	}
	if a.ended != nil {
		q.workflowEnded(ctx, a.ended)
	}
	return a.again, nil
}

// advancing is one transaction that takes a workflow further.
type advancing struct {
	queue    *Queue
	workflow *Workflow
	prepared map[int]prepared // by the number of the step

	changes changes
	running []ID // jobs that are to be told to end
	ended   *Job // the workflow, when it has
	again   bool // there is more to do
}

func (a *advancing) do(ctx context.Context, tx *store.Tx, id ID) error {
	j, err := store.One(ctx, tx, lockJob, scanJob, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if j.State.Final() {
		return a.cancelOpen(ctx, tx, id)
	}
	if j.State != Running { // a worker begins it, and then we are called
		return nil
	}
	rows, err := stepsOf(ctx, tx, id)
	if err != nil {
		return err
	}
	states := a.workflow.states(rows)
	p := a.workflow.plan(states, !j.CancelAskedAt.IsZero())
	for _, i := range p.begin {
		if _, ready := a.prepared[i]; !ready {
			a.again = true
			return nil
		}
	}
	if _, err := tx.Exec(ctx, endSteps, id); err != nil {
		return err
	}
	for _, i := range p.skip {
		if _, err := tx.Exec(ctx, insertStep, id, a.workflow.Steps[i].Name, stepSkipped, nil, nil, nil); err != nil {
			return err
		}
		states[i] = StepSkipped
	}
	for _, i := range p.begin {
		if states[i], err = a.begin(ctx, tx, j, i); err != nil {
			return err
		}
	}
	for _, i := range p.cancel {
		if err := a.cancel(ctx, tx, rows[a.workflow.Steps[i].Name].job, a.workflow.Steps[i].Kind); err != nil {
			return err
		}
	}
	if p.end != "" {
		return a.end(ctx, tx, j, p.end, states, rows)
	}
	return a.report(ctx, tx, j, states)
}

// begin starts the job of a step. One that cannot be started is a step that has failed.
func (a *advancing) begin(ctx context.Context, tx *store.Tx, whole *Job, i int) (StepState, error) {
	step, p := &a.workflow.Steps[i], a.prepared[i]
	refused := p.refused
	if refused == nil {
		p.request.parent = whole.ID
		var job *Job
		err := a.queue.admitRequest(ctx, tx, p.request)
		if err == nil {
			job, _, err = a.queue.enqueueTx(ctx, tx, p.request, &a.changes)
		}
		if err == nil {
			_, err = tx.Exec(ctx, insertStep, whole.ID, step.Name, stepBegun, job.ID, nil, nil)
			return StepRunning, err
		}
		f, ok := fault.As(err)
		if !ok {
			return "", err
		}
		why := failure(f)
		refused = &why
	}
	a.again = true // others may be skipped for it
	_, err := tx.Exec(ctx, insertStep, whole.ID, step.Name, stepRefused, nil, refused.Code, refused.Message)
	return StepFailed, err
}

// cancel ends a job of the workflow, or has it ended.
func (a *advancing) cancel(ctx context.Context, tx *store.Tx, id ID, kind string) error {
	job, err := a.queue.cancelTx(ctx, tx, id, kind, &a.changes)
	if errors.Is(err, errFenced) { // it has ended by itself
		return nil
	}
	if err == nil && job.State == Running {
		a.running = append(a.running, id)
	}
	return err
}

// cancelOpen ends what a workflow has left behind that has ended before its steps: its worker died again and
// again, or did not know what to do.
func (a *advancing) cancelOpen(ctx context.Context, tx *store.Tx, id ID) error {
	jobs, err := store.All(ctx, tx, selectOpen, store.Value[ID], id)
	for _, job := range jobs {
		if err := a.cancel(ctx, tx, job, ""); err != nil {
			return err
		}
	}
	return err
}

// report writes how far the whole has come, when that has changed.
func (a *advancing) report(ctx context.Context, tx *store.Tx, j *Job, states []StepState) error {
	p := a.workflow.progress(states)
	if p == j.Progress {
		return nil
	}
	j, err := fenced(ctx, tx, progressJob, p.Done, p.Total, p.Stage, j.ID, j.Claim)
	if err != nil {
		return err
	}
	return a.changes.record(ctx, tx, j, ProgressMade, "")
}

// end writes the end of the whole.
func (a *advancing) end(ctx context.Context, tx *store.Tx, j *Job, state State, states []StepState, rows stepRows) (err error) {
	var why Failure
	keep := a.queue.retentionOf(j.Kind).Microseconds()
	switch state {
	case Succeeded:
		result, err := json.Marshal(a.workflow.tally(states))
		if err != nil {
			return err
		}
		p := a.workflow.progress(states)
		one, _ := succeedJobs.Rows(1)
		j, err = fenced(ctx, tx, one, j.ID, j.Claim, string(result), p.Done, p.Total, p.Stage, keep)
		if err != nil {
			return err
		}
	case Failed:
		why = a.workflow.why(rows)
		j, err = fenced(ctx, tx, failJob, why.Code, why.Message, keep, j.ID, j.Claim)
	default:
		why = Failure{"CANCELLED", "The owner cancelled the workflow."}
		j, err = fenced(ctx, tx, endCancelled, keep, j.ID, j.Claim)
	}
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, endAttempt, store.OrNull(why.Code), store.OrNull(why.Message), nil, j.ID, j.Claim); err != nil {
		return err
	}
	a.ended = j
	return a.changes.record(ctx, tx, j, StateChanged, why.Message)
}

func (q *Queue) workflowEnded(ctx context.Context, j *Job) {
	q.slotFreed(ctx, j)
	var err error
	if j.State != Succeeded {
		err = fmt.Errorf("the workflow is %s", j.State)
	}
	q.metrics.ran(j, j.FinishedAt.Sub(j.StartedAt), err)
	q.logEnding(ctx, j, j.State, err)
}

// states returns how the steps stand, by number.
func (w *Workflow) states(rows stepRows) []StepState {
	states := make([]StepState, len(w.Steps))
	for i, s := range w.Steps {
		states[i] = rows[s.Name].state
		if states[i] == "" {
			states[i] = StepWaiting
		}
	}
	return states
}

// progress counts the steps that have ended, and names those that run.
func (w *Workflow) progress(states []StepState) Progress {
	p := Progress{Total: int64(len(w.Steps))}
	var running []string
	for i, s := range states {
		if s.ended() {
			p.Done++
		} else if s == StepRunning {
			running = append(running, w.Steps[i].Name)
		}
	}
	p.Stage = clip(strings.Join(running, ", "), maxStageRunes)
	return p
}

func (w *Workflow) tally(states []StepState) WorkflowReport {
	report := WorkflowReport{Steps: len(states)}
	for _, s := range states {
		switch s {
		case StepSucceeded:
			report.Succeeded++
		case StepSkipped:
			report.Skipped++
		default:
			report.Failed++
		}
	}
	return report
}

// why returns the reason of the first step by which the workflow failed.
func (w *Workflow) why(rows stepRows) Failure {
	for _, s := range w.Steps {
		row := rows[s.Name]
		if !s.Optional && row.state == StepFailed {
			return Failure{"STEP_FAILED", clip("Step "+s.Name+" failed: "+row.failure.Message, maxReasonRunes)}
		}
	}
	return Failure{"STEP_CANCELLED", "A step was cancelled."}
}

const maxReasonRunes = 1000

// prepared is a step that is ready: what is to be started, or why it cannot be.
type prepared struct {
	request Request
	refused *Failure
}

// prepare puts into the arguments of a step what others have brought.
func (q *Queue) prepare(ctx context.Context, owner viewer.UserID, s *Step, rows stepRows) (prepared, error) {
	kind, known := q.kinds[s.Kind]
	if !known {
		return prepared{}, fmt.Errorf("this program knows no kind of job called %q", s.Kind)
	}
	var file *blob.Upload
	arguments, err := replaced(s.Arguments, func(r reference) (any, error) {
		row := rows[r.step]
		if row.state != StepSucceeded {
			return nil, fault.New(fault.Invalid, r.path[0], "Step "+r.step+" has brought nothing.")
		}
		if !r.file {
			return q.resultFor(ctx, row.job, r)
		}
		var err error
		if file, err = q.artifactFor(ctx, row.job, r); err != nil {
			return nil, err
		}
		return map[string]any{"name": file.Name, "mediaType": file.MediaType, "bytes": file.Bytes}, nil
	})
	if err == nil {
		var p prepared
		if p.request, err = kind.request(owner, arguments, s.options(), file); err == nil {
			return p, nil
		}
	}
	if f, ok := fault.As(err); ok {
		why := failure(f)
		return prepared{refused: &why}, nil
	}
	return prepared{}, err
}

// resultFor returns what r refers to of the result of job.
func (q *Queue) resultFor(ctx context.Context, job ID, r reference) (any, error) {
	j, err := store.One(ctx, q.db, selectJob, scanJob, job)
	if err != nil {
		return nil, err
	}
	result, err := q.Result(ctx, j)
	if err != nil {
		return nil, err
	}
	value, err := pointed(result, r.pointer)
	if err != nil {
		return nil, within(r.path[0], err)
	}
	return value, nil
}

// artifactFor returns the file of job that r refers to, as if it had been sent. Both jobs then know it; they are
// deleted together.
func (q *Queue) artifactFor(ctx context.Context, job ID, r reference) (*blob.Upload, error) {
	files, err := q.filesOf(ctx, Artifact, []ID{job})
	if err != nil {
		return nil, err
	}
	var found []File
	for _, f := range files[job] {
		if r.name == "" || f.Name == r.name {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		return nil, fault.New(fault.Invalid, r.path[0], fmt.Sprintf("Step %s has made %d such files.", r.step, len(found)))
	}
	f := found[0]
	upload := &blob.Upload{Object: blob.Object{Key: f.Key, Bytes: f.Bytes}, Name: f.Name, MediaType: f.MediaType}
	copy(upload.SHA256[:], f.SHA256)
	return upload, nil
}

// goOn advances a workflow after something has happened to one of its jobs. What fails here the sweeper does.
func (q *Queue) goOn(ctx context.Context, id ID) {
	if err := q.advance(ctx, id); err != nil {
		q.options.Logger.WarnContext(ctx, "a workflow waits for the sweeper", "job", id, "error", err)
	}
}

// goOnStalled advances the workflows that a crash has left behind.
func (q *Queue) goOnStalled(ctx context.Context) error {
	ids, err := store.All(ctx, q.db, selectStalled, store.Value[ID])
	for _, id := range ids {
		q.goOn(ctx, id)
	}
	return err
}

// hold lets go of a workflow whose first steps were begun. One that has ended by then is left as it is.
func (q *Queue) hold(ctx context.Context, run *Run) (State, error) {
	var state State
	err := q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) error {
		j, err := fenced(ctx, tx, holdJob, run.Job.ID, run.Job.Claim)
		if err != nil {
			return err
		}
		state = j.State
		return changes.record(ctx, tx, j, LineWritten, "The steps go on.")
	})
	if errors.Is(err, errFenced) {
		return state, nil
	}
	if err == nil {
		q.slotFreed(ctx, run.Job) // of its owner: no worker is at it
		q.goOn(ctx, run.Job.ID)   // it may have been cancelled while it was held
	}
	return state, err
}

// Steps returns how the steps of workflows stand, in their order, by job. Other jobs have none. The caller may
// see the jobs.
func (q *Queue) Steps(ctx context.Context, ids []ID) (map[ID][]StepView, error) {
	type planned struct {
		id    ID
		steps Workflow
	}
	plans, err := store.Many(ctx, q.db, selectPlans, func(scan store.Scan) (p planned, err error) {
		var input []byte
		if err := scan((*string)(&p.id), &input); err != nil {
			return p, err
		}
		return p, json.Unmarshal(input, &p.steps)
	}, ids)
	if err != nil || len(plans) == 0 {
		return nil, err
	}
	rows, err := store.Many(ctx, q.db, selectSteps, scanStep, ids)
	if err != nil {
		return nil, fmt.Errorf("read steps: %w", err)
	}
	of := make(map[ID]stepRows, len(plans))
	for _, r := range rows {
		if of[r.workflow] == nil {
			of[r.workflow] = stepRows{}
		}
		of[r.workflow][r.name] = r
	}
	all := make(map[ID][]StepView, len(plans))
	for _, p := range plans {
		states := p.steps.states(of[p.id])
		for i, s := range p.steps.Steps {
			view := StepView{Step: s, State: states[i], JobID: of[p.id][s.Name].job}
			if why := of[p.id][s.Name].failure; why.Code != "" {
				view.Error = &why
			}
			all[p.id] = append(all[p.id], view)
		}
	}
	return all, nil
}
