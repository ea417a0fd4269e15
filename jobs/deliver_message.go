package jobs

import (
	"context"
	"errors"
	"time"

	"gatehouse/account"
	"gatehouse/internal/notify"
	"gatehouse/internal/secret"
	"gatehouse/queue"
)

// errOutdated says that a message waited for longer than what it holds is good.
var errOutdated = errors.New("the message has grown old")

// deliverMessages hands the letters of accounts to the mail server or the SMS vendor. A server that is
// away is tried again for three hours or so, and for as long as the letter's code or link is good.
func deliverMessages(ring *secret.Keyring, post *notify.Post, now func() time.Time) queue.Definition {
	return queue.Kind[account.Letter, any]{
		Name:        account.DeliverMessage,
		Description: "Delivers a message of an account by mail or SMS.",
		Queue:       "messages",
		MaxAttempts: 12,
		Deadline:    time.Minute,
		Retention:   24 * time.Hour,
		Backoff:     queue.Exponential(5*time.Second, 30*time.Minute),
		Handle: func(ctx context.Context, _ *queue.Run, letter account.Letter) (any, error) {
			if !letter.Until.IsZero() && now().After(letter.Until) {
				return nil, queue.Permanent(errOutdated)
			}
			message, err := letter.Open(ring)
			if err != nil {
				return nil, queue.Permanent(err)
			}
			err = post.Deliver(ctx, message)
			if errors.Is(err, notify.ErrPermanent) {
				return nil, queue.Permanent(err)
			}
			return nil, err
		},
	}.Define()
}
