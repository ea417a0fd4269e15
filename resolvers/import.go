package resolvers

import (
	"context"

	"gatehouse/graph"
	"gatehouse/internal/blob"
	"gatehouse/internal/viewer"
	"gatehouse/jobs"
	"gatehouse/queue"
)

func (r *mutationResolver) ImportUsers(ctx context.Context, input graph.ImportUsersInput) (*graph.ImportUsersPayload, error) {
	j, err := r.importUsers(ctx, input)
	refused, err := userErrors(err)
	return &graph.ImportUsersPayload{Job: j, UserErrors: refused}, err
}

func (r *mutationResolver) importUsers(ctx context.Context, input graph.ImportUsersInput) (*queue.Job, error) {
	by := viewer.From(ctx)
	if err := r.Accounts.MayImport(ctx, by, input.AllowRoles); err != nil {
		return nil, err
	}
	if err := jobs.CheckImport(ctx, r.Files, input.File); err != nil {
		return nil, err
	}
	request, err := jobs.ImportUsers.Request(by.User, jobs.ImportArgs{AllowRoles: input.AllowRoles}, optionsOf(input.Options))
	if err != nil {
		return nil, err
	}
	request.Files = []*blob.Upload{input.File}
	return r.Queue.Enqueue(ctx, request)
}

func importSummary(s jobs.ImportSummary) *graph.ImportSummary {
	summary := &graph.ImportSummary{Created: s.Created, Skipped: s.Skipped, Failed: s.Failed, Rejects: make([]*graph.ImportReject, len(s.Rejects))}
	for i, reject := range s.Rejects {
		summary.Rejects[i] = &graph.ImportReject{Line: reject.Line, Code: reject.Code, Reason: reject.Reason}
	}
	return summary
}
