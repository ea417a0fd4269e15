package session

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Revoke ends the session id of by, or of anybody when by is an administrator. To end one's own is to
// sign out. A session that has already ended stays so. Faults: NOT_FOUND, UNAUTHENTICATED.
func (s *Sessions) Revoke(ctx context.Context, by viewer.Viewer, id viewer.SessionID) error {
	if err := by.Person(); err != nil && (by.Actor == "" || by.Session != id) { // whoever acts as another may stop
		return err
	}
	return s.change(ctx, "revoke session", func(tx *store.Tx) error {
		session, err := store.One(ctx, tx, oneSession, scanSession, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && !mayEnd(by, session.User) {
			return fault.Missing("session")
		}
		if err != nil || !session.RevokedAt.IsZero() {
			return err
		}
		return s.revokeTx(ctx, tx, by, session.User, []viewer.SessionID{id}, reasonOf(by, session.User, id))
	})
}

// RevokeOthers ends all sessions of by except the one that asks.
func (s *Sessions) RevokeOthers(ctx context.Context, by viewer.Viewer) error {
	if err := by.InPerson(); err != nil {
		return err
	}
	return s.change(ctx, "revoke other sessions", func(tx *store.Tx) error {
		return s.RevokeOthersTx(ctx, tx, by, Revoked)
	})
}

// RevokeOthersTx is RevokeOthers inside tx, for reason.
func (s *Sessions) RevokeOthersTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, reason Reason) error {
	ids, err := s.liveTx(ctx, tx, by.User, by.Session)
	if err != nil {
		return err
	}
	return s.revokeTx(ctx, tx, by, by.User, ids, reason)
}

// RevokeAll ends all sessions of user: of by, or of anybody when by is an administrator. Faults:
// NOT_FOUND, UNAUTHENTICATED.
func (s *Sessions) RevokeAll(ctx context.Context, by viewer.Viewer, user viewer.UserID) error {
	if err := by.Person(); err != nil {
		return err
	}
	if !mayEnd(by, user) {
		return fault.Missing("user")
	}
	return s.change(ctx, "revoke all sessions", func(tx *store.Tx) error {
		return s.RevokeAllTx(ctx, tx, by, user, reasonOf(by, user, ""))
	})
}

// RevokeAllTx is RevokeAll inside tx, for reason; the caller has checked that by may.
func (s *Sessions) RevokeAllTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, user viewer.UserID, reason Reason) error {
	ids, err := s.liveTx(ctx, tx, user, "")
	if err != nil {
		return err
	}
	return s.revokeTx(ctx, tx, by, user, ids, reason)
}

// ForgetTx makes every server read the records of user's sessions and machines again once tx is
// committed: roles, status or verification have changed. It is called after the change. Streams that
// were opened with other roles end.
func (s *Sessions) ForgetTx(ctx context.Context, tx *store.Tx, user viewer.UserID) error {
	ids, err := s.liveTx(ctx, tx, user, "")
	if err != nil {
		return err
	}
	machines, err := store.All(ctx, tx, selectMachines, store.Value[viewer.SessionID], user, user)
	if err != nil {
		return fmt.Errorf("read machines of %s: %w", user, err)
	}
	return s.noticeTx(ctx, tx, append(ids, machines...), "")
}

// change runs fn and says, unless a fault came out, what was being done.
func (s *Sessions) change(ctx context.Context, doing string, fn func(*store.Tx) error) error {
	err := s.db.Update(ctx, fn)
	if _, ok := fault.As(err); err == nil || ok {
		return err
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// mayEnd reports whether by may end sessions of owner.
func mayEnd(by viewer.Viewer, owner viewer.UserID) bool {
	return by.Has(viewer.Admin) || owner != "" && by.User == owner
}

func reasonOf(by viewer.Viewer, owner viewer.UserID, id viewer.SessionID) Reason {
	switch {
	case by.User != owner:
		return RevokedByAdmin
	case by.Session == id:
		return SignedOut
	}
	return Revoked
}

// liveTx returns the sessions of user that were not revoked, those in which user acts as somebody else
// included, except one.
func (s *Sessions) liveTx(ctx context.Context, tx *store.Tx, user viewer.UserID, except viewer.SessionID) ([]viewer.SessionID, error) {
	ids, err := store.All(ctx, tx, selectLive, store.Value[viewer.SessionID], user, user, except)
	if err != nil {
		return nil, fmt.Errorf("read sessions of %s: %w", user, err)
	}
	return ids, nil
}

// revokeTx ends ids, which belong to user, and writes it into the audit.
func (s *Sessions) revokeTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, user viewer.UserID, ids []viewer.SessionID, reason Reason) error {
	if len(ids) == 0 {
		return nil
	}
	if err := s.endTx(ctx, tx, ids, reason); err != nil {
		return err
	}
	event := Event{Action: ActionRevoked, By: by, User: user, Reason: reason, Count: len(ids)}
	if len(ids) == 1 {
		event.Session = ids[0]
	}
	return s.recordTx(ctx, tx, event)
}

// endTx ends ids and lets every server know once tx is committed.
func (s *Sessions) endTx(ctx context.Context, tx *store.Tx, ids []viewer.SessionID, reason Reason) error {
	if err := execMany(ctx, tx, endMany, ids, store.At(s.now()), reason); err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	return s.noticeTx(ctx, tx, ids, reason)
}
