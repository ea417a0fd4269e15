package resolvers

import (
	"context"
	"encoding/json"
	"fmt"

	"gatehouse/account"
	"gatehouse/graph"
	"gatehouse/internal/notify"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

func (r *mutationResolver) SendEmail(ctx context.Context, input graph.SendEmailInput) (*graph.SendEmailPayload, error) {
	mail := notify.Mail{To: input.To, Subject: input.Subject, Text: input.Text, HTML: orEmpty(input.HTML)}
	j, err := r.Accounts.RequestEmail(ctx, viewer.From(ctx), mail, optionsOf(input.Options))
	refused, err := userErrors(err)
	return &graph.SendEmailPayload{Job: j, UserErrors: refused}, err
}

// deliveryReport opens the result of a sendEmail job.
func (r *Resolver) deliveryReport(j *queue.Job, raw json.RawMessage) (graph.JobResult, error) {
	var report account.DeliveryReport
	if err := json.Unmarshal(raw, &report); err != nil {
		return nil, fmt.Errorf("read result of %s: %w", j.Kind, err)
	}
	delivery, err := report.Delivery(r.Accounts.Keyring(), j.ID)
	if err != nil {
		return nil, err
	}
	return &graph.DeliveryReport{
		MessageID: report.MessageID, AcceptedAt: report.AcceptedAt, To: delivery.To, Response: delivery.Response,
	}, nil
}
