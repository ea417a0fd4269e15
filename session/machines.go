package session

import (
	"context"
	"fmt"
	"time"

	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// EndMachinesTx ends the API keys of owner that were made since and the service accounts whose secret was,
// all when since is zero: whoever was in the account must not keep a key of their own. The caller has checked that by may.
func (s *Sessions) EndMachinesTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, owner viewer.UserID, since time.Time) error {
	made := int64(0)
	if !since.IsZero() {
		made = since.UnixMicro()
	}
	for _, kind := range []struct {
		made, end      *store.Query
		action, detail string
	}{
		{selectKeysSince, revokeKey, ActionKeyRevoked, "key"},
		{selectServicesSince, revokeService, ActionServiceDeleted, "client"},
	} {
		ids, err := store.All(ctx, tx, kind.made, store.Value[viewer.SessionID], owner, made)
		if err != nil {
			return fmt.Errorf("end machines of %s: %w", owner, err)
		}
		for _, id := range ids {
			if _, err := tx.Exec(ctx, kind.end, store.At(s.now()), id); err != nil {
				return fmt.Errorf("end machines of %s: %w", owner, err)
			}
			event := Event{Action: kind.action, By: by, User: owner, Session: by.Session, Details: map[string]string{kind.detail: string(id)}}
			if err := s.o.Audit(ctx, tx, event); err != nil {
				return err
			}
		}
		if err := s.noticeTx(ctx, tx, ids, Revoked); err != nil {
			return err
		}
	}
	return nil
}
