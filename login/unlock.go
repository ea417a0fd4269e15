package login

import (
	"context"
	"fmt"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// Unlock forgets the failed attempts to sign in to the account id, from devices that are signed in and
// from strangers, so that its owner need not wait. by is an administrator. The counts of IP addresses and
// networks stay: they are not the account's. Nothing else sets the strangers' count back, and this tells
// somebody who guesses at that moment that the address has an account. Faults: UNAUTHENTICATED,
// FORBIDDEN, NOT_FOUND.
func (l *Logins) Unlock(ctx context.Context, by viewer.Viewer, id viewer.UserID) error {
	if err := by.SignedIn(); err != nil {
		return err
	}
	if !by.Has(viewer.Admin) {
		return fault.Denied("Only an administrator may do this.")
	}
	user, err := l.accounts.Get(ctx, id)
	if err != nil {
		return err
	}
	sessions, err := l.sessions.List(ctx, by, id)
	if err != nil {
		return fmt.Errorf("unlock %s: %w", id, err)
	}
	for _, s := range append(sessions, session.Session{}) { // one without a device: the strangers
		if err := l.throttle.forget(ctx, user, s.Device, session.Origin{Agent: s.Agent}); err != nil {
			return fmt.Errorf("unlock %s: %w", id, err)
		}
	}
	if err := l.accounts.ForgetAttempts(ctx, id); err != nil {
		return fmt.Errorf("unlock %s: %w", id, err)
	}
	return l.audit.Record(ctx, audit.Event{Action: audit.AccountUnlocked, By: by, Subject: id})
}

// forget gives the attempts at user's address from a device back, or from strangers by none.
func (t throttle) forget(ctx context.Context, user account.User, device session.Device, from session.Origin) error {
	subject, err := t.onDevice(ctx, t.accounts.Identifier(user.Email), user.ID, device, from)
	if err != nil {
		return err
	}
	return t.limiter.Reset(ctx, t.limits.Identifier, subject)
}
