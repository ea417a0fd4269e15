package session

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/agent"
	"gatehouse/session/token"
)

// Of a session's refresh tokens the last keptGenerations are remembered, so that one used twice is
// recognised; what is older is forgotten each forgetEvery generations and then simply unknown.
const (
	keptGenerations = 1000
	forgetEvery     = 100
)

// refreshToken is one generation of a session's refresh token.
type refreshToken struct {
	hash       token.OpaqueHash
	session    viewer.SessionID
	generation int64
	parent     []byte // hash of the generation before; nil for the first
	createdAt  time.Time
	usedAt     time.Time // zero: never
	expiresAt  time.Time
}

// renewal is a refresh token with all that decides about it.
type renewal struct {
	refreshToken
	session   Session
	principal principal

	childUsedAt    time.Time // of the successor
	childExpiresAt time.Time // zero: there is no successor
}

// Refresh gives the next tokens of a session for its refresh token, which is then used up (RFC 9700
// §4.14.2). Within Options.Grace of its use it gives the same successor again, so that clients that
// refresh in parallel or lose an answer stay signed in; used at any other time once more, it ends the
// session. From another device or browser than the session's it suspends the session. Faults:
// TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_REUSED, SESSION_REVOKED, ACCOUNT_DISABLED, STEP_UP_REQUIRED.
func (s *Sessions) Refresh(ctx context.Context, secret string, origin Origin) (Tokens, error) {
	now := s.now()
	held, err := findRenewal(ctx, s.db, token.HashOpaque(secret))
	if err == nil {
		err = held.refusal(now)
	}
	if err != nil {
		return Tokens{}, refused("refresh session", err)
	}
	if why := held.session.home().strange(origin, true); why != "" && held.good(now, s.o.Grace) {
		if err := s.suspend(ctx, held.session.ID, held.session.User, origin, why); err != nil {
			return Tokens{}, refused("refresh session", err)
		}
		return Tokens{}, fault.StepUp()
	}
	successor := s.successorOf(secret)
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		return s.rotateTx(ctx, tx, &held, successor, origin, now)
	})
	if err != nil {
		return Tokens{}, refused("refresh session", err)
	}
	if held.session.Reason == Reused {
		return Tokens{}, fault.New(fault.TokenReused, "refreshToken", "This refresh token was used before. The session has ended: sign in again.")
	}
	return s.issue(held.session, held.principal, successor, held.childExpiresAt)
}

// successorOf derives the next refresh token from this one. A server holds no list of successors and
// yet gives the same one each time; without the server's key nobody can go from one to the next.
func (s *Sessions) successorOf(secret string) string {
	mac := hmac.New(sha256.New, s.successor)
	mac.Write([]byte(secret))
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// rotateTx uses held up and inserts its successor. When another request was first, it is a replay.
func (s *Sessions) rotateTx(ctx context.Context, tx *store.Tx, held *renewal, successor string, origin Origin, now time.Time) error {
	claimed, err := tx.Exec(ctx, claimToken, store.At(now), held.hash[:])
	if err != nil {
		return fmt.Errorf("use refresh token: %w", err)
	}
	if claimed == 0 {
		return s.replayTx(ctx, tx, held, origin, now)
	}
	expires := s.expiry(held.session.Remember, held.session.CreatedAt, now)
	next := refreshToken{
		hash: token.HashOpaque(successor), session: held.session.ID, generation: held.generation + 1,
		parent: held.hash[:], createdAt: now, expiresAt: expires,
	}
	if err := insertTokenTx(ctx, tx, next); err != nil {
		return err
	}
	held.session.ExpiresAt, held.session.LastSeenAt, held.childExpiresAt = expires, now, expires
	if err := s.moveTx(ctx, tx, &held.session, origin); err != nil {
		return err
	}
	renewed, err := tx.Exec(ctx, renewSession, store.At(expires), store.At(now), held.session.Network, held.session.ID)
	if err != nil {
		return fmt.Errorf("renew session: %w", err)
	}
	if renewed == 0 {
		return endedSince(ctx, tx, held.hash, now)
	}
	return forgetTokensTx(ctx, tx, next)
}

// endedSince is why a session, which was good when the refresh began, gives nothing any more.
func endedSince(ctx context.Context, tx *store.Tx, hash token.OpaqueHash, now time.Time) error {
	again, err := findRenewal(ctx, tx, hash)
	if err != nil {
		return err
	}
	if err := again.refusal(now); err != nil {
		return err
	}
	return ended(fault.SessionRevoked)
}

func forgetTokensTx(ctx context.Context, tx *store.Tx, latest refreshToken) error {
	if latest.generation%forgetEvery != 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, forgetTokens, latest.session, latest.generation-keptGenerations); err != nil {
		return fmt.Errorf("forget old refresh tokens: %w", err)
	}
	return nil
}

// replayTx decides about a refresh token that was used before: the direct parent of the live one,
// within the grace, gives the live one again; anything else ends the session. It commits either way.
func (s *Sessions) replayTx(ctx context.Context, tx *store.Tx, held *renewal, origin Origin, now time.Time) error {
	again, err := findRenewal(ctx, tx, held.hash)
	if err != nil {
		return err
	}
	*held = again
	if err := held.refusal(now); err != nil {
		return err
	}
	if held.good(now, s.o.Grace) {
		return nil
	}
	if err := s.endTx(ctx, tx, []viewer.SessionID{held.session.ID}, Reused); err != nil {
		return err
	}
	held.session.Reason = Reused
	return s.recordTx(ctx, tx, Event{
		Action: ActionReused, By: viewer.System(), User: held.session.User, Session: held.session.ID,
		Network: Network(origin.IP), Agent: agent.Of(origin.Agent).String(), Reason: Reused, Count: 1,
	})
}

// moveTx notes that a session is used in another network.
func (s *Sessions) moveTx(ctx context.Context, tx *store.Tx, session *Session, origin Origin) error {
	before, network := session.Network, Network(origin.IP)
	if network == "" || network == before {
		return nil
	}
	session.Network = network
	return s.recordTx(ctx, tx, moved(session.ID, session.User, before, network))
}

// good reports whether the token gives a successor: it was never used, or it is the direct parent of the
// live one and within the grace.
func (r *renewal) good(now time.Time, grace time.Duration) bool {
	if r.usedAt.IsZero() {
		return true
	}
	return !r.childExpiresAt.IsZero() && r.childUsedAt.IsZero() && now.Sub(r.usedAt) <= grace
}

// refusal is why the token, used or not, gives nothing.
func (r *renewal) refusal(now time.Time) error {
	switch {
	case !r.session.RevokedAt.IsZero():
		return ended(fault.SessionRevoked)
	case !r.principal.active():
		return ended(fault.AccountDisabled)
	case !now.Before(r.session.ExpiresAt), !now.Before(r.expiresAt):
		return ended(fault.TokenExpired)
	case !r.session.SuspendedAt.IsZero():
		return fault.StepUp()
	}
	return nil
}

func ended(code fault.Code) *fault.Fault {
	switch code {
	case fault.SessionRevoked:
		return fault.New(code, "refreshToken", "This session has ended. Sign in again.")
	case fault.AccountDisabled:
		return fault.New(code, "", "This account is disabled.")
	case fault.TokenExpired:
		return fault.New(code, "refreshToken", "This refresh token has expired. Sign in again.")
	}
	return fault.New(fault.TokenInvalid, "refreshToken", "This refresh token is not known. Sign in again.")
}

// refused turns a missing row into TOKEN_INVALID, leaves faults as they are, and says for the rest
// what was being done.
func refused(doing string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return ended(fault.TokenInvalid)
	}
	if f, ok := fault.As(err); ok {
		return f
	}
	return fmt.Errorf("%s: %w", doing, err)
}
