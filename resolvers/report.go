package resolvers

import (
	"context"
	"errors"

	"gatehouse/dataloaders"
	"gatehouse/graph"
	"gatehouse/internal/viewer"
	"gatehouse/jobs"
	"gatehouse/queue"
)

func (r *mutationResolver) GenerateReport(ctx context.Context, input graph.GenerateReportInput) (*graph.GenerateReportPayload, error) {
	j, err := r.generateReport(ctx, input)
	refused, err := userErrors(err)
	return &graph.GenerateReportPayload{Job: j, UserErrors: refused}, err
}

func (r *mutationResolver) generateReport(ctx context.Context, input graph.GenerateReportInput) (*queue.Job, error) {
	args := jobs.ReportArgs{Subject: input.Kind, Days: orOpen(input.Days), Paper: input.Paper}
	if input.From != nil {
		args.From = *input.From
	}
	if input.To != nil {
		args.To = *input.To
	}
	request, err := jobs.RequestReport(viewer.From(ctx), args, input.Scope, optionsOf(input.Options))
	if err != nil {
		return nil, err
	}
	return r.Queue.Enqueue(ctx, request)
}

func (r *reportFileResolver) Artifact(ctx context.Context, obj *graph.ReportFile) (*graph.Artifact, error) {
	files, err := dataloaders.From(ctx).Artifacts.Load(ctx, obj.Job)
	if err != nil && !errors.Is(err, dataloaders.ErrMissing) {
		return nil, err
	}
	if len(files) == 0 {
		return nil, nil
	}
	return r.artifact(files[0]), nil
}

// ReportFile returns the resolvers of the type.
func (r *Resolver) ReportFile() graph.ReportFileResolver { return &reportFileResolver{r} }
