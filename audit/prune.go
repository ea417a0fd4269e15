package audit

import (
	"context"
	"fmt"

	"gatehouse/internal/store"
)

// Prune deletes the events that are older than Options.Retention, 500 in a transaction.
func (l *Log) Prune(ctx context.Context) error {
	if l.o.Retention <= 0 {
		return nil
	}
	if err := l.db.Prune(ctx, pruneEvents, store.At(l.o.Now().Add(-l.o.Retention))); err != nil {
		return fmt.Errorf("prune events: %w", err)
	}
	return nil
}
