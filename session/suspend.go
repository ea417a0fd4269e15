package session

import (
	"context"
	"fmt"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/agent"
	"gatehouse/session/token"
)

// suspendPatience bounds how long it takes to suspend a session, whether or not the caller waits.
const suspendPatience = 5 * time.Second

// home is what a session is used with: where it began, or where its holder last proved who they are.
type home struct {
	Device string // as the client named it; "": it did not
	Agent  string // User-Agent
}

func (s *Session) home() home { return home{s.Device.ID, s.Agent} }

// strange returns what speaks against a request being of the same machine, "" when nothing does.
//
// A request that names no device says nothing of it, and one without a User-Agent nothing of that, save
// that a browser always sends it when it renews. Only the family counts, so that an update changes
// nothing. A program may speak through several libraries, for HTTP and for sockets, of which only one
// renews the session: so it is compared then.
func (h home) strange(at Origin, renewing bool) Reason {
	if at.DeviceID != "" && h.Device != "" && cut(at.DeviceID, maxDevice) != h.Device {
		return DeviceChanged
	}
	if h.Agent == "" || at.Agent == h.Agent {
		return ""
	}
	then, now := agent.Of(h.Agent), agent.Of(cut(at.Agent, maxAgent))
	compared := renewing || then.Browser
	heard := now != agent.Family{} || renewing && then.Browser
	if then == now || !compared || !heard {
		return ""
	}
	return AgentChanged
}

// suspend takes a session out of use until its holder proves who they are, tells them and lets every
// server know, once however many requests ask for it. Who asks cannot prevent it by hanging up.
func (s *Sessions) suspend(ctx context.Context, id viewer.SessionID, user viewer.UserID, at Origin, why Reason) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), suspendPatience)
	defer cancel()
	return s.change(ctx, "suspend session", func(tx *store.Tx) error {
		suspended, err := tx.Exec(ctx, suspendSession, store.At(s.now()), id)
		if err != nil || suspended == 0 {
			return err
		}
		if err := s.noticeTx(ctx, tx, []viewer.SessionID{id}, Suspended); err != nil {
			return err
		}
		return s.recordTx(ctx, tx, Event{
			Action: ActionSuspended, By: viewer.System(), User: user, Session: id, Network: Network(at.IP),
			Agent: agent.Of(at.Agent).String(), Reason: why, Count: 1,
		})
	})
}

// Holder returns who shows a refresh token of a session, as Admit does for an access token that has
// expired: nobody, whose viewer.Suspended names the session if that is suspended and the token would be
// good otherwise. The token is not used up.
func (s *Sessions) Holder(ctx context.Context, refreshToken string) (viewer.Viewer, error) {
	now := s.now()
	held, err := findRenewal(ctx, s.db, token.HashOpaque(refreshToken))
	if isMissing(err) {
		return viewer.Viewer{}, nil
	}
	if err != nil {
		return viewer.Viewer{}, fmt.Errorf("find holder of refresh token: %w", err)
	}
	if !fault.Is(held.refusal(now), fault.StepUpRequired) || !held.good(now, s.o.Grace) {
		return viewer.Viewer{}, nil
	}
	return viewer.Viewer{Suspended: held.session.ID}, nil
}

// Liftable returns the suspended session id, which LiftTx can put back in use. Faults: UNAUTHENTICATED
// when it has ended; WRONG_STATE when it is not suspended, or somebody acts in it as the person.
func (s *Sessions) Liftable(ctx context.Context, r store.Reader, id viewer.SessionID) (Session, error) {
	found, err := store.One(ctx, r, oneSession, scanSession, id)
	switch {
	case isMissing(err), err == nil && (!found.RevokedAt.IsZero() || !s.now().Before(found.ExpiresAt)):
		return Session{}, unauthenticated("This session has ended. Sign in again.", nil)
	case err != nil:
		return Session{}, fmt.Errorf("read session %s: %w", id, err)
	case found.Actor != "":
		return Session{}, fault.New(fault.WrongState, "", "Who acts as somebody else cannot prove to be them. Begin again.")
	case found.SuspendedAt.IsZero():
		return Session{}, notSuspended()
	}
	return found, nil
}

func notSuspended() error { return fault.New(fault.WrongState, "", "This session is not suspended.") }

// LiftTx puts a suspended session back in use for a person who has just proved, at the place at, who
// they are: from then on it belongs there. The tokens that were out are void, those returned are good
// once tx is committed. Faults: those of Liftable.
func (s *Sessions) LiftTx(ctx context.Context, tx *store.Tx, id viewer.SessionID, at Origin) (Tokens, error) {
	found, err := s.Liftable(ctx, tx, id)
	if err != nil {
		return Tokens{}, err
	}
	now := s.now()
	found.settle(at, now)
	found.ExpiresAt = s.expiry(found.Remember, found.CreatedAt, now)
	lifted, err := tx.Exec(ctx, liftSession, store.OrNull(found.Device.ID), found.Agent, found.Network,
		store.At(now), store.At(now), store.At(found.ExpiresAt), id)
	if err != nil {
		return Tokens{}, fmt.Errorf("lift session %s: %w", id, err)
	}
	if lifted == 0 { // another answer was first
		return Tokens{}, notSuspended()
	}
	tokens, err := s.startOverTx(ctx, tx, found)
	if err != nil {
		return Tokens{}, fmt.Errorf("lift session %s: %w", id, err)
	}
	return tokens, s.recordTx(ctx, tx, Event{
		Action: ActionLifted, By: viewer.Viewer{User: found.User, Session: id}, User: found.User, Session: id,
		Network: found.Network, Agent: found.AgentName(), Count: 1,
	})
}

// settle makes at the home of s.
func (s *Session) settle(at Origin, now time.Time) {
	s.Version++
	s.SuspendedAt, s.AuthTime, s.LastSeenAt = time.Time{}, now, now
	s.Agent = cut(at.Agent, maxAgent)
	if at.DeviceID != "" {
		s.Device.ID = cut(at.DeviceID, maxDevice)
	}
	if network := Network(at.IP); network != "" {
		s.Network = network
	}
}

// startOverTx gives a session tokens of which nobody has seen an ancestor.
func (s *Sessions) startOverTx(ctx context.Context, tx *store.Tx, session Session) (Tokens, error) {
	principal, err := s.principal(ctx, tx, session.User)
	if err != nil {
		return Tokens{}, err
	}
	if _, err := tx.Exec(ctx, deleteTokens, session.ID); err != nil {
		return Tokens{}, err
	}
	secret, hash := token.NewOpaque(refreshPrefix)
	first := refreshToken{hash: hash, session: session.ID, generation: 1, createdAt: session.LastSeenAt, expiresAt: session.ExpiresAt}
	if err := insertTokenTx(ctx, tx, first); err != nil {
		return Tokens{}, err
	}
	if err := s.noticeTx(ctx, tx, []viewer.SessionID{session.ID}, ""); err != nil {
		return Tokens{}, err
	}
	return s.issue(session, principal, secret, session.ExpiresAt)
}

// replaceSuspendedTx ends the suspended sessions of the machine that a session has just begun on: who
// signs in again there needs them no more, and a copy of their tokens must not come back to life.
func (s *Sessions) replaceSuspendedTx(ctx context.Context, tx *store.Tx, begun Session) error {
	suspended, err := store.All(ctx, tx, selectSuspended, scanSession, begun.User)
	if err != nil {
		return fmt.Errorf("find suspended sessions: %w", err)
	}
	var ids []viewer.SessionID
	for _, one := range suspended {
		if one.home().same(begun.home()) {
			ids = append(ids, one.ID)
		}
	}
	return s.revokeTx(ctx, tx, viewer.Viewer{User: begun.User, Session: begun.ID}, begun.User, ids, Replaced)
}

// same reports whether both are one machine, as far as can be told.
func (h home) same(other home) bool {
	if h.Device != "" && other.Device != "" {
		return h.Device == other.Device
	}
	return agent.Of(h.Agent) == agent.Of(other.Agent)
}

// AgentName returns the browser and system, or the program, that the session is used with, for people.
func (s Session) AgentName() string {
	if name := agent.Of(s.Agent).String(); name != "" {
		return name
	}
	return "Unknown program"
}

// Suspension returns since when s is suspended, nil when it is not.
func (s Session) Suspension() *time.Time {
	if s.SuspendedAt.IsZero() {
		return nil
	}
	return &s.SuspendedAt
}
