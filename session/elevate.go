package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// ElevateTx raises the live session id to level, if it stands lower, for a person who has just proved by
// methods (RFC 8176) who they are: its auth_time is now. The session, its refresh token and its end stay
// as they are; every server knows of it once tx is committed. The tokens have an access token alone.
// Faults: UNAUTHENTICATED when the session has ended, STEP_UP_REQUIRED when it is suspended.
func (s *Sessions) ElevateTx(ctx context.Context, tx *store.Tx, id viewer.SessionID, level viewer.Level, methods []string) (Tokens, error) {
	session, err := store.One(ctx, tx, oneSession, scanSession, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && !session.RevokedAt.IsZero() {
		return Tokens{}, unauthenticated("This session has ended. Sign in again.", nil)
	}
	if err != nil {
		return Tokens{}, fmt.Errorf("elevate session %s: %w", id, err)
	}
	if !session.SuspendedAt.IsZero() {
		return Tokens{}, fault.StepUp()
	}
	session.Level, session.AuthTime = max(session.Level, level), s.now()
	for _, method := range methods {
		if !slices.Contains(session.Methods, method) {
			session.Methods = append(session.Methods, method)
		}
	}
	raised, err := tx.Exec(ctx, elevateSession, int64(session.Level), strings.Join(session.Methods, " "),
		store.At(session.AuthTime), id, store.At(session.AuthTime))
	if err != nil {
		return Tokens{}, fmt.Errorf("elevate session %s: %w", id, err)
	}
	if raised == 0 {
		return Tokens{}, fault.New(fault.Unauthenticated, "", "This session has ended. Sign in again.")
	}
	principal, err := s.principal(ctx, tx, session.User)
	if err != nil {
		return Tokens{}, fmt.Errorf("elevate session %s: %w", id, err)
	}
	if err := s.noticeTx(ctx, tx, []viewer.SessionID{id}, ""); err != nil {
		return Tokens{}, err
	}
	return s.issue(session, principal, "", session.ExpiresAt)
}
