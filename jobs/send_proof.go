package jobs

import (
	"context"
	"errors"
	"time"

	"gatehouse/account"
	"gatehouse/queue"
)

// sendProofs answers those who asked for a mail that proves something: whether there is an account, and
// what it is sent, is found out here and not while they wait.
func sendProofs(accounts func() *account.Accounts) queue.Definition {
	return queue.Kind[account.ProofRequest, any]{
		Name:        account.SendProof,
		Description: "Makes a single-use link or code that somebody asked for, and has it mailed.",
		Queue:       "messages",
		MaxAttempts: 8,
		Deadline:    time.Minute,
		Retention:   24 * time.Hour,
		Backoff:     queue.Exponential(time.Second, 10*time.Minute),
		Handle: func(ctx context.Context, _ *queue.Run, request account.ProofRequest) (any, error) {
			if accounts() == nil {
				return nil, queue.Permanent(errors.New("this process has no accounts"))
			}
			return nil, accounts().Answer(ctx, request)
		},
	}.Define()
}
