package login

import (
	"context"
	"fmt"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
)

// Unlock forgets the failed attempts to sign in to the account id, from devices that it knows and from
// others, so that its owner need not wait. by is an administrator. The counts of addresses and networks
// stay: they are not the account's. Faults: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.
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
	devices := map[string]bool{"": true}
	sessions, err := l.sessions.List(ctx, by, id)
	if err != nil {
		return fmt.Errorf("unlock %s: %w", id, err)
	}
	for _, s := range sessions {
		devices[s.Device.ID] = true
	}
	for device := range devices {
		if err := l.throttle.forget(ctx, user, device); err != nil {
			return fmt.Errorf("unlock %s: %w", id, err)
		}
	}
	if err := l.accounts.ForgetAttempts(ctx, id); err != nil {
		return fmt.Errorf("unlock %s: %w", id, err)
	}
	return l.audit.Record(ctx, audit.Event{Action: audit.AccountUnlocked, By: by, Subject: id})
}

// forget gives the attempts at user's address from a device back.
func (t throttle) forget(ctx context.Context, user account.User, device string) error {
	last, err := t.sessions.LastSignIn(ctx, user.ID, device)
	if err != nil {
		return err
	}
	subject := t.accounts.Identifier(user.Email) + "/" + string(last)
	return t.limiter.Reset(ctx, t.limits.Identifier, subject)
}
