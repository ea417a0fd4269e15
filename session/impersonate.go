package session

import (
	"context"
	"fmt"
	"time"

	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"
)

// ImpersonationTTL is how long an administrator may act as somebody else. There is no refresh token.
const ImpersonationTTL = 30 * time.Minute

// ImpersonateTx begins a session in which by, an administrator, acts as user. It stands among the
// user's sessions, who can end it; it ends with by's role too. The caller has checked that by may, and
// records it.
func (s *Sessions) ImpersonateTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, user viewer.UserID, readOnly bool, origin Origin) (Tokens, error) {
	session := s.begin(Start{User: user, Level: viewer.AAL1, Origin: origin})
	session.Actor, session.ReadOnly = by.User, readOnly
	session.ExpiresAt = session.CreatedAt.Add(ImpersonationTTL)
	if err := insertSessionTx(ctx, tx, session); err != nil {
		return Tokens{}, fmt.Errorf("impersonate: %w", err)
	}
	access, err := token.Issue(s.keys.Set().Current(), token.Claims{
		Issuer: s.o.Issuer, Audience: s.o.Audience, Subject: string(user), Session: string(session.ID),
		Version: session.Version, ID: store.NewID[string]("tok"), Class: session.Level.String(), AuthTime: session.AuthTime,
		Roles: []string{string(viewer.User)}, Actor: string(by.User), IssuedAt: session.CreatedAt, ExpiresAt: session.ExpiresAt,
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("impersonate: %w", err)
	}
	return Tokens{Access: access, AccessExpiresAt: session.ExpiresAt.Truncate(time.Second), RefreshExpiresAt: session.ExpiresAt, Session: session}, nil
}

// EndImpersonationsTx ends the sessions in which actor acts as somebody else.
func (s *Sessions) EndImpersonationsTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, actor viewer.UserID) error {
	ids, err := store.All(ctx, tx, selectActing, store.Value[viewer.SessionID], actor)
	if err != nil {
		return fmt.Errorf("end impersonations of %s: %w", actor, err)
	}
	return s.revokeTx(ctx, tx, by, actor, ids, RevokedByAdmin)
}
