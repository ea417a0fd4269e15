package resolvers

import (
	"context"
	"time"

	"gatehouse/graph"
	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
	"gatehouse/jobs"
	"gatehouse/queue"
)

func (r *mutationResolver) CallWebhook(ctx context.Context, input graph.CallWebhookInput) (*graph.CallWebhookPayload, error) {
	j, err := r.callWebhook(ctx, input)
	refused, err := userErrors(err)
	return &graph.CallWebhookPayload{Job: j, UserErrors: refused}, err
}

func (r *mutationResolver) callWebhook(ctx context.Context, input graph.CallWebhookInput) (*queue.Job, error) {
	args := jobs.WebhookArgs{URL: input.URL, Payload: input.Payload, Silence: input.SilenceSeconds}
	if err := args.Check(); err != nil {
		return nil, err
	}
	request, err := jobs.Webhook.Request(viewer.From(ctx).User, args, optionsOf(input.Options))
	if err != nil {
		return nil, err
	}
	return r.Queue.Enqueue(ctx, request)
}

func (r *mutationResolver) ReportJobProgress(ctx context.Context, input graph.ReportJobProgressInput) (*graph.ReportJobProgressPayload, error) {
	word := queue.Word{Progress: queue.Progress{Done: input.Done, Total: input.Total, Stage: input.Stage}, Line: orEmpty(input.Log)}
	j, err := r.Queue.Tell(ctx, viewer.From(ctx), queue.ID(input.JobID), input.Token, word)
	refused, err := userErrors(err)
	return &graph.ReportJobProgressPayload{Job: j, UserErrors: refused}, err
}

func (r *mutationResolver) CompleteJob(ctx context.Context, input graph.CompleteJobInput) (*graph.CompleteJobPayload, error) {
	j, err := r.completeJob(ctx, input)
	refused, err := userErrors(err)
	return &graph.CompleteJobPayload{Job: j, UserErrors: refused}, err
}

func (r *mutationResolver) completeJob(ctx context.Context, input graph.CompleteJobInput) (*queue.Job, error) {
	by, id := viewer.From(ctx), queue.ID(input.JobID)
	switch e := input.Error; {
	case (e == nil) == (input.Result == nil):
		return nil, fault.New(fault.Required, "", "Give exactly one of result and error.")
	case e != nil:
		return r.Queue.GiveUp(ctx, by, id, input.Token, e.Message, e.Retry)
	}
	return r.Queue.Complete(ctx, by, id, input.Token, input.Result)
}

func (r *mutationResolver) RotateWebhookSecret(ctx context.Context, input graph.RotateWebhookSecretInput) (*graph.RotateWebhookSecretPayload, error) {
	secret, err := r.Sessions.RotateWebhookSecret(ctx, viewer.From(ctx), time.Duration(input.GraceSeconds)*time.Second)
	if err != nil {
		refused, err := userErrors(err)
		return &graph.RotateWebhookSecretPayload{UserErrors: refused}, err
	}
	shown := secret.Text()
	return &graph.RotateWebhookSecretPayload{Secret: &shown, UserErrors: noErrors()}, nil
}

func webhookReport(w jobs.WebhookReport) *graph.WebhookReport {
	return &graph.WebhookReport{Status: w.Status, Body: w.Body, Attempts: w.Attempts, DurationMs: w.DurationMs}
}
