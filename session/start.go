package session

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"
)

// Lengths that are kept, in characters.
const (
	maxAgent  = 200
	maxDevice = 100
)

// refreshPrefix tells people and secret scanners what they have found.
const refreshPrefix = "ghr_"

// Start describes a session that begins.
type Start struct {
	User     viewer.UserID
	Level    viewer.Level
	Methods  []string // how the person signed in (RFC 8176), e.g. "pwd"
	Remember bool     // lasts IdleTTL and AbsoluteTTL, not ShortTTL
	Mode     Mode     // "": Bearer
	Device   Device
	Origin
}

// StartTx begins a session for a person who has just proved who they are. A user who would have more
// than Options.MaxPerUser live sessions loses the oldest; suspended ones of the same device end. The tokens are good once tx is committed.
func (s *Sessions) StartTx(ctx context.Context, tx *store.Tx, start Start) (Tokens, error) {
	principal, err := s.principal(ctx, tx, start.User)
	if err != nil {
		return Tokens{}, fmt.Errorf("start session: %w", err)
	}
	session := s.begin(start)
	if err := insertSessionTx(ctx, tx, session); err != nil {
		return Tokens{}, fmt.Errorf("start session: %w", err)
	}
	secret, hash := token.NewOpaque(refreshPrefix)
	first := refreshToken{hash: hash, session: session.ID, generation: 1, createdAt: session.CreatedAt, expiresAt: session.ExpiresAt}
	if err := insertTokenTx(ctx, tx, first); err != nil {
		return Tokens{}, fmt.Errorf("start session: %w", err)
	}
	if err := s.replaceSuspendedTx(ctx, tx, session); err != nil {
		return Tokens{}, fmt.Errorf("start session: %w", err)
	}
	if err := s.replaceOldestTx(ctx, tx, session); err != nil {
		return Tokens{}, fmt.Errorf("start session: %w", err)
	}
	return s.issue(session, principal, secret, session.ExpiresAt)
}

// Bounded returns as much of a device and a user agent as is kept, in a form that both databases take.
func Bounded(d Device, agent string) (Device, string) {
	return Device{ID: cut(d.ID, maxDevice), Name: cut(d.Name, maxDevice)}, cut(agent, maxAgent)
}

// begin returns the row of a new session.
func (s *Sessions) begin(start Start) Session {
	now := s.now()
	device, agent := Bounded(start.Device, start.Agent)
	return Session{
		ID: store.NewID[viewer.SessionID]("ses"), User: start.User, Version: 1,
		Mode: orDefault(start.Mode, Bearer), Level: start.Level, Methods: start.Methods, AuthTime: now,
		Remember: start.Remember,
		Device:   device, Agent: agent, Network: Network(start.IP),
		CreatedAt: now, LastSeenAt: now, ExpiresAt: s.expiry(start.Remember, now, now),
	}
}

// expiry is when a session that is renewed now ends unless it is renewed again.
func (s *Sessions) expiry(remember bool, created, now time.Time) time.Time {
	if !remember {
		return created.Add(s.o.ShortTTL)
	}
	idle, absolute := now.Add(s.o.IdleTTL), created.Add(s.o.AbsoluteTTL)
	if idle.Before(absolute) {
		return idle
	}
	return absolute
}

// replaceOldestTx ends what the user has beyond the allowed number of sessions.
func (s *Sessions) replaceOldestTx(ctx context.Context, tx *store.Tx, begun Session) error {
	now := begun.CreatedAt
	surplus, err := store.All(ctx, tx, selectSurplus, store.Value[viewer.SessionID],
		begun.User, store.At(now), s.o.MaxPerUser)
	if err != nil {
		return fmt.Errorf("find surplus sessions: %w", err)
	}
	return s.endTx(ctx, tx, surplus, Replaced)
}

// issue signs an access token for session and puts it beside its refresh token.
func (s *Sessions) issue(session Session, p principal, refresh string, refreshExpires time.Time) (Tokens, error) {
	now := s.now()
	expires := now.Add(s.o.AccessTTL)
	if session.ExpiresAt.Before(expires) {
		expires = session.ExpiresAt
	}
	claims := token.Claims{
		Issuer: s.o.Issuer, Audience: s.o.Audience, Subject: string(session.User),
		Session: string(session.ID), Version: session.Version, ID: store.NewID[string]("tok"),
		Class: session.Level.String(), Methods: session.Methods, AuthTime: session.AuthTime,
		Roles: append([]string{string(viewer.User)}, strings.Fields(p.roles)...), IssuedAt: now, ExpiresAt: expires,
	}
	access, err := token.Issue(s.keys.Set().Current(), claims)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{
		Access: access, AccessExpiresAt: expires.Truncate(time.Second),
		Refresh: refresh, RefreshExpiresAt: refreshExpires, Session: session,
	}, nil
}

// now is the clock to the microsecond, as moments are stored.
func (s *Sessions) now() time.Time { return s.o.Now().UTC().Truncate(time.Microsecond) }
