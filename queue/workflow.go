package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
)

// Workflow is work in steps, each a job of its own. A step begins once those that it needs have ended;
// steps that do not need each other run side by side.
type Workflow struct {
	Steps     []Step      `json:"steps"`
	OnFailure FailureRule `json:"onFailure"`
}

// Step is one job of a workflow.
type Step struct {
	Name        string          `json:"name"`
	Kind        string          `json:"kind"`
	Arguments   json.RawMessage `json:"arguments"`       // as [Kind.Arguments] reads them, with references in it
	Needs       []string        `json:"needs,omitempty"` // names of steps; those that Arguments refers to are among them
	When        StepCondition   `json:"when"`
	Optional    bool            `json:"optional,omitempty"` // its failure is not the workflow's
	Priority    Priority        `json:"priority,omitempty"`
	MaxAttempts int             `json:"maxAttempts,omitempty"`
}

// FailureRule says what becomes of the other steps when one has failed or was cancelled.
type FailureRule string

// The rules for failures. Under both, what needs the success of the failed step is skipped, and the workflow
// fails in the end.
const (
	CancelRest     FailureRule = "CANCEL_REST"     // what runs is cancelled, what waits is skipped
	FinishBranches FailureRule = "FINISH_BRANCHES" // what does not need the failed step goes on
)

// StepCondition says what a step needs of the steps that it needs.
type StepCondition string

// The conditions. A step that begins after the end of others begins whatever the rule for failures says, but
// not once the workflow is cancelled.
const (
	AfterSuccess StepCondition = "SUCCEEDED"
	AfterEnd     StepCondition = "ENDED" // well or badly
)

// StepState is where a step stands.
type StepState string

// The states of a step.
const (
	StepWaiting   StepState = "WAITING"
	StepRunning   StepState = "RUNNING" // its job was started and has not ended
	StepSucceeded StepState = "SUCCEEDED"
	StepFailed    StepState = "FAILED" // without a job: it could not be started
	StepCancelled StepState = "CANCELLED"
	StepSkipped   StepState = "SKIPPED"
)

func (s StepState) ended() bool { return s != StepWaiting && s != StepRunning }

// StepView is how a step of a workflow stands.
type StepView struct {
	Step
	State StepState
	JobID ID       // of the step's newest job; "" when it has none
	Error *Failure // why it could not be started
}

// WorkflowReport is what a workflow brings.
type WorkflowReport struct {
	Steps     int `json:"steps"`
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"` // or were cancelled; all were optional
	Skipped   int `json:"skipped"`
}

// WorkflowKind is the kind of the job that a workflow as a whole is. Its progress counts steps. It runs, held
// by no process, until its last step has ended.
var WorkflowKind = Kind[Workflow, WorkflowReport]{
	Name:        "workflow",
	Description: "Does work in steps: each begins once those that it needs have ended.",
	Deadline:    time.Minute, // of what a worker does for it: to begin the first steps
	Arguments:   readWorkflow,
	Handle: func(ctx context.Context, run *Run, _ Workflow) (WorkflowReport, error) {
		// Steps that were begun have to be ended with the workflow, whatever has ended ctx.
		err := run.queue.advance(context.WithoutCancel(ctx), run.Job.ID)
		if err == nil || errors.Is(context.Cause(ctx), ErrCancelled) {
			err = errHeld
		}
		return WorkflowReport{}, err
	},
}

// errHeld says that a job goes on without a worker.
var errHeld = errors.New("the job goes on by its steps")

// The bounds of workflows.
const (
	maxSteps         = 100
	maxStepNameBytes = 60
)

// StartWorkflow starts w for by. Faults: UNAUTHENTICATED, FORBIDDEN for a kind that by may not start; by
// field, those of a step inside of steps and its number: REQUIRED, INVALID, TOO_LARGE, TAKEN and what the kind
// says of arguments that do not refer to other steps; those of [Queue.Enqueue].
func (q *Queue) StartWorkflow(ctx context.Context, by viewer.Viewer, w Workflow, o JobOptions) (*Job, error) {
	if err := by.Require(viewer.RunJobs); err != nil {
		return nil, err
	}
	if err := w.check(); err != nil {
		return nil, err
	}
	if err := q.checkSteps(by, by.User, w); err != nil {
		return nil, err
	}
	request, err := WorkflowKind.Request(by.User, w, o)
	if err != nil {
		return nil, err
	}
	return q.Enqueue(ctx, request)
}

// readWorkflow reads what a schedule starts a workflow with.
func readWorkflow(input json.RawMessage) (Workflow, error) {
	w := Workflow{OnFailure: CancelRest}
	if err := json.Unmarshal(input, &w); err != nil {
		return w, fault.New(fault.Invalid, "", "These are not the steps of a workflow.").With(err)
	}
	return w, w.check()
}

// check returns a fault unless w can be carried out, and completes what its steps need by what they refer to.
func (w *Workflow) check() error {
	if len(w.Steps) == 0 || len(w.Steps) > maxSteps {
		return fault.New(fault.Invalid, "steps", "A workflow has 1 to 100 steps.")
	}
	if w.OnFailure != CancelRest && w.OnFailure != FinishBranches {
		return fault.New(fault.Invalid, "onFailure", "The rule is CANCEL_REST or FINISH_BRANCHES.")
	}
	names := make(map[string]bool, len(w.Steps))
	for i := range w.Steps {
		s := &w.Steps[i]
		if err := s.check(); err != nil {
			return ofStep(i, err)
		}
		if names[s.Name] {
			return ofStep(i, fault.New(fault.Taken, "name", "Two steps have this name."))
		}
		names[s.Name] = true
	}
	for i, s := range w.Steps {
		for _, need := range s.Needs {
			if !names[need] {
				return ofStep(i, fault.New(fault.Invalid, "needs", "There is no step called "+strconv.Quote(need)+"."))
			}
		}
	}
	if i, found := w.circle(); found {
		return ofStep(i, fault.New(fault.Invalid, "needs", "The step needs itself, through others or at once."))
	}
	return nil
}

func (s *Step) check() error {
	switch {
	case !stepName(s.Name):
		return fault.New(fault.Invalid, "name", "A name has 1 to 60 letters a to z, digits, - and _.")
	case s.When == "":
		s.When = AfterSuccess
	case s.When != AfterSuccess && s.When != AfterEnd:
		return fault.New(fault.Invalid, "when", "The condition is SUCCEEDED or ENDED.")
	}
	if len(s.Arguments) == 0 {
		s.Arguments = json.RawMessage("{}")
	}
	if len(s.Arguments) > maxArgumentsBytes {
		return fault.New(fault.TooLarge, "arguments", "The arguments are larger than 64 KiB.")
	}
	references, err := referencesIn(s.Arguments)
	if err != nil {
		return within("arguments", err)
	}
	for _, r := range references {
		if !slices.Contains(s.Needs, r.step) {
			s.Needs = append(s.Needs, r.step)
		}
	}
	return nil
}

// circle returns a step that needs itself.
func (w *Workflow) circle() (at int, found bool) {
	settled := make(map[string]bool, len(w.Steps))
	for range w.Steps {
		for _, s := range w.Steps {
			if !slices.ContainsFunc(s.Needs, func(need string) bool { return !settled[need] }) {
				settled[s.Name] = true
			}
		}
	}
	at = slices.IndexFunc(w.Steps, func(s Step) bool { return !settled[s.Name] })
	return at, at >= 0
}

// checkSteps returns a fault unless by may start the kinds of all steps, and they take the arguments that are
// known before any step has ended.
func (q *Queue) checkSteps(by viewer.Viewer, owner viewer.UserID, w Workflow) error {
	for i, s := range w.Steps {
		kind, known := q.kinds[s.Kind]
		if !known || !kind.CanBeStep() {
			return ofStep(i, fault.New(fault.Invalid, "kind", "There is no kind of this name that can be a step; see jobKinds."))
		}
		if err := by.Require(kind.Scope); err != nil {
			return err
		}
		references, err := referencesIn(s.Arguments)
		if err != nil {
			return ofStep(i, within("arguments", err))
		}
		if err := kind.checkReferences(references); err != nil {
			return ofStep(i, within("arguments", err))
		}
		if err := s.options().check(q.options.Now()); err != nil {
			return ofStep(i, err)
		}
		if len(references) > 0 {
			continue // the kind sees them when the step begins
		}
		if _, err := kind.request(owner, s.Arguments, s.options(), nil); err != nil {
			return ofStep(i, within("arguments", err))
		}
	}
	return nil
}

// checkStepsOf is checkSteps for a request that may be for a workflow.
func (q *Queue) checkStepsOf(by viewer.Viewer, r Request) error {
	if r.Kind != WorkflowKind.Name {
		return nil
	}
	var w Workflow
	if err := json.Unmarshal(r.Input, &w); err != nil {
		return fmt.Errorf("read the steps: %w", err)
	}
	return q.checkSteps(by, r.Owner, w)
}

func (s *Step) options() JobOptions {
	return JobOptions{Priority: s.Priority, MaxAttempts: s.MaxAttempts}
}

// ofStep returns err with its field inside of the step.
func ofStep(i int, err error) error { return within("steps", within(strconv.Itoa(i), err)) }

// stepName reports whether a step may be called that.
func stepName(name string) bool {
	return name != "" && len(name) <= maxStepNameBytes && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}
