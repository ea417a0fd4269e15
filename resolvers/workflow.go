package resolvers

import (
	"context"
	"encoding/json"
	"errors"

	"gatehouse/dataloaders"
	"gatehouse/graph"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

func (r *mutationResolver) StartWorkflow(ctx context.Context, input graph.StartWorkflowInput) (*graph.StartWorkflowPayload, error) {
	w := queue.Workflow{OnFailure: input.OnFailure, Steps: make([]queue.Step, len(input.Steps))}
	for i, s := range input.Steps {
		w.Steps[i] = queue.Step{
			Name: s.Name, Kind: s.Kind, Arguments: json.RawMessage(s.Arguments), Needs: s.Needs, When: s.When, Optional: s.Optional,
			MaxAttempts: attemptsOf(s.MaxAttempts),
		}
		if s.Priority != nil {
			w.Steps[i].Priority = *s.Priority
		}
	}
	j, err := r.Queue.StartWorkflow(ctx, viewer.From(ctx), w, optionsOf(input.Options))
	refused, err := userErrors(err)
	return &graph.StartWorkflowPayload{Job: j, UserErrors: refused}, err
}

func (r *jobResolver) Steps(ctx context.Context, obj *queue.Job) ([]*queue.StepView, error) {
	steps, err := dataloaders.From(ctx).Steps.Load(ctx, obj.ID)
	if errors.Is(err, dataloaders.ErrMissing) {
		return nil, nil
	}
	return pointers(steps), err
}

// Workflow leaves out one that is gone.
func (r *jobResolver) Workflow(ctx context.Context, obj *queue.Job) (*queue.Job, error) {
	if obj.Parent == "" {
		return nil, nil
	}
	return seen(dataloaders.From(ctx).Workflow.Load(ctx, obj.Parent))
}

// Job leaves out one that is gone.
func (r *workflowStepResolver) Job(ctx context.Context, obj *queue.StepView) (*queue.Job, error) {
	if obj.JobID == "" {
		return nil, nil
	}
	return seen(dataloaders.From(ctx).StepJob.Load(ctx, obj.JobID))
}

// seen returns a job, nil for one that is gone, and for one that the caller may not see.
func seen(j *queue.Job, err error) (*queue.Job, error) {
	if errors.Is(err, dataloaders.ErrMissing) {
		return nil, nil
	}
	return j, err
}

// WorkflowStep returns the resolvers of the type.
func (r *Resolver) WorkflowStep() graph.WorkflowStepResolver { return &workflowStepResolver{r} }
