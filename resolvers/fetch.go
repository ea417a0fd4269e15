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

func (r *mutationResolver) FetchUrls(ctx context.Context, input graph.FetchUrlsInput) (*graph.FetchUrlsPayload, error) {
	j, err := r.fetchURLs(ctx, input)
	refused, err := userErrors(err)
	return &graph.FetchUrlsPayload{Job: j, UserErrors: refused}, err
}

func (r *mutationResolver) fetchURLs(ctx context.Context, input graph.FetchUrlsInput) (*queue.Job, error) {
	args := jobs.FetchArgs{URLs: input.Urls, TimeoutSeconds: input.TimeoutSeconds, CacheSeconds: input.CacheSeconds}
	if err := args.Check(); err != nil {
		return nil, err
	}
	request, err := jobs.FetchURLs.Request(viewer.From(ctx).User, args, optionsOf(input.Options))
	if err != nil {
		return nil, err
	}
	return r.Queue.Enqueue(ctx, request)
}

func fetchReport(job queue.ID, report jobs.FetchReport) *graph.FetchReport {
	for _, result := range report.Results {
		result.Job = job
	}
	return &graph.FetchReport{Fetched: report.Fetched, Failed: report.Failed, Results: report.Results}
}

func (r *fetchResultResolver) Artifact(ctx context.Context, obj *jobs.FetchResult) (*graph.Artifact, error) {
	return r.artifactCalled(ctx, obj.Job, obj.File)
}

// artifactCalled returns the file with that name that a job has made, nil when there is none.
func (r *Resolver) artifactCalled(ctx context.Context, job queue.ID, name string) (*graph.Artifact, error) {
	if name == "" {
		return nil, nil
	}
	files, err := dataloaders.From(ctx).Artifacts.Load(ctx, job)
	if err != nil && !errors.Is(err, dataloaders.ErrMissing) {
		return nil, err
	}
	for _, f := range files {
		if f.Name == name {
			return r.artifact(f), nil
		}
	}
	return nil, nil
}

// FetchResult returns the resolvers of the type.
func (r *Resolver) FetchResult() graph.FetchResultResolver { return &fetchResultResolver{r} }
