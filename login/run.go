package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/internal/store"
)

// pruneEvery is how often what has expired is deleted.
const pruneEvery = time.Minute

// Run deletes challenges, passkey ceremonies, trusted devices and unconfirmed factors that have expired,
// until ctx ends; report is told what went wrong. Each server runs it once.
func (l *Logins) Run(ctx context.Context, report func(error)) error {
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := l.Prune(ctx); err != nil && ctx.Err() == nil {
			report(err)
		}
	}
}

// Prune deletes what has expired, 500 in a transaction.
func (l *Logins) Prune(ctx context.Context) error {
	err := l.db.Prune(ctx, pruneChallenges, store.At(l.accounts.Now()))
	if err != nil {
		err = fmt.Errorf("prune challenges: %w", err)
	}
	return errors.Join(err, l.accounts.PruneFactors(ctx))
}
