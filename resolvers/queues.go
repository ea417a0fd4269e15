package resolvers

import (
	"context"

	"gatehouse/graph"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

func (r *mutationResolver) CancelJobs(ctx context.Context, input graph.CancelJobsInput) (*graph.CancelJobsPayload, error) {
	done, err := r.Queue.CancelAll(ctx, viewer.From(ctx), filterOf(input.Filter))
	refused, err := userErrors(err)
	count, more := changed(done, refused)
	return &graph.CancelJobsPayload{Count: count, HasMore: more, UserErrors: refused}, err
}

func (r *mutationResolver) RetryJobs(ctx context.Context, input graph.RetryJobsInput) (*graph.RetryJobsPayload, error) {
	done, err := r.Queue.RetryAll(ctx, viewer.From(ctx), filterOf(input.Filter))
	refused, err := userErrors(err)
	count, more := changed(done, refused)
	return &graph.RetryJobsPayload{Count: count, HasMore: more, UserErrors: refused}, err
}

// changed returns what was done, nothing when it was refused from the beginning.
func changed(done queue.Changed, refused []*graph.UserError) (count *int64, more *bool) {
	if len(refused) > 0 && done.Count == 0 {
		return nil, nil
	}
	n := int64(done.Count)
	return &n, &done.More
}

func (r *mutationResolver) PauseKind(ctx context.Context, input graph.PauseKindInput) (*graph.PauseKindPayload, error) {
	kind, refused, err := r.pauseKind(ctx, input.Kind, true)
	return &graph.PauseKindPayload{Kind: kind, UserErrors: refused}, err
}

func (r *mutationResolver) ResumeKind(ctx context.Context, input graph.ResumeKindInput) (*graph.ResumeKindPayload, error) {
	kind, refused, err := r.pauseKind(ctx, input.Kind, false)
	return &graph.ResumeKindPayload{Kind: kind, UserErrors: refused}, err
}

func (r *Resolver) pauseKind(ctx context.Context, name string, paused bool) (*graph.JobKind, []*graph.UserError, error) {
	if err := r.Queue.PauseKind(ctx, viewer.From(ctx), name, paused); err != nil {
		refused, err := userErrors(err)
		return nil, refused, err
	}
	kind, err := r.kindNamed(ctx, name)
	return kind, noErrors(), err
}

// kindNamed returns a kind that there is, with what is set for it.
func (r *Resolver) kindNamed(ctx context.Context, name string) (*graph.JobKind, error) {
	settings, err := r.Queue.Settings(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range r.Queue.Kinds() {
		if k.Name == name {
			return kindOf(k, settings[name]), nil
		}
	}
	return nil, nil
}

func (r *queryResolver) Queues(ctx context.Context) ([]*queue.QueueStats, error) {
	stats, err := r.Queue.Stats(ctx, viewer.From(ctx))
	if err != nil {
		return nil, err
	}
	return stats.Queues, nil
}

func (r *queryResolver) JobQuota(ctx context.Context) (*graph.JobQuota, error) {
	used, quota, running, err := r.Queue.Used(ctx, viewer.From(ctx))
	if err != nil {
		return nil, err
	}
	return &graph.JobQuota{
		OpenJobs: int64(used.Open), MaxOpenJobs: bound(int64(quota.Open)),
		StoredBytes: used.Stored, MaxStoredBytes: bound(quota.Stored), MaxRunning: bound(running),
	}, nil
}

// bound returns nil for 0, which bounds nothing.
func bound[T int | int64](most T) *T {
	if most == 0 {
		return nil
	}
	return &most
}

func (r *subscriptionResolver) QueueStats(ctx context.Context) (<-chan *queue.Stats, error) {
	return r.Queue.WatchStats(ctx, viewer.From(ctx))
}
