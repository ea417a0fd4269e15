package session

import (
	"context"
	"fmt"

	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// LiveTx keeps the session of by from being ended or suspended until tx is done: what tx makes is then
// seen by whatever ends the session next. Who makes a credential asks for it, or one that is being made
// while the owner says "this was not me" would survive. A transaction that locks the account too does so
// first. The server itself has no session and passes. Fault: UNAUTHENTICATED when the session is out of use.
func (s *Sessions) LiveTx(ctx context.Context, tx *store.Tx, by viewer.Viewer) error {
	if by.Session == "" {
		return nil
	}
	live, err := store.All(ctx, tx, lockLive, store.Value[int], by.Session, by.User)
	if err != nil {
		return fmt.Errorf("lock session %s: %w", by.Session, err)
	}
	if len(live) == 0 {
		return unauthenticated("This session has ended. Sign in again.", nil)
	}
	return nil
}
