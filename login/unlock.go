package login

import (
	"context"
	"fmt"
	"slices"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/viewer"
)

// Bounds of what is given back to one account, the newest of each.
const (
	maxUnlockDevices  = 50
	maxUnlockSessions = 50
	maxUnlockNetworks = 20
	maxUnlockEvents   = 200 // among which the networks are looked for
)

// Unlock gives back what was counted against the account id and could keep its owner waiting: sign-ins,
// from strangers and from known devices; answers and codes of challenges, at a sign-in and in a session;
// mails to its address; tries of the current password, and enrolments. by is an administrator. The counts
// of IP addresses and networks stay: they are not the account's. Nothing else sets the strangers' count
// back, and this tells somebody who guesses at that moment that the address has an account. Faults:
// UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.
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
	where, err := l.countedUnder(ctx, by, user.ID)
	if err == nil {
		err = l.throttle.forget(ctx, user, where)
	}
	if err == nil {
		err = l.accounts.ForgetAttempts(ctx, user)
	}
	if err != nil {
		return fmt.Errorf("unlock %s: %w", id, err)
	}
	return l.audit.Record(ctx, audit.Event{Action: audit.AccountUnlocked, By: by, Subject: id})
}

// countedUnder is what divides the counts of an account.
type countedUnder struct {
	devices  []string // parts of the known ones; "" for strangers
	sessions []string // that live, and so may step up
	networks []string // from which it was used or tried
}

func (l *Logins) countedUnder(ctx context.Context, by viewer.Viewer, user viewer.UserID) (c countedUnder, err error) {
	devices, err := l.sessions.KnownDevices(ctx, user)
	if err != nil {
		return c, err
	}
	c.devices = []string{""}
	for _, d := range devices[:min(len(devices), maxUnlockDevices)] {
		c.devices = append(c.devices, part(d.LastSeenAt))
	}
	sessions, err := l.sessions.List(ctx, by, user)
	if err != nil {
		return c, err
	}
	for _, s := range sessions[:min(len(sessions), maxUnlockSessions)] {
		c.sessions = append(c.sessions, string(s.ID))
	}
	events, err := l.audit.ByUser(ctx, by, user, maxUnlockEvents)
	if err != nil {
		return c, err
	}
	for _, e := range events {
		if !slices.Contains(c.networks, e.Network) && len(c.networks) < maxUnlockNetworks {
			c.networks = append(c.networks, e.Network)
		}
	}
	return c, nil
}

// forget gives back what was counted for user.
func (t throttle) forget(ctx context.Context, user account.User, where countedUnder) error {
	var spent []limit.Request
	forget := func(rule limit.Rule, subject string) {
		spent = append(spent, limit.Request{Rule: rule, Subject: subject})
	}
	challenges := slices.Clone(where.sessions)
	for _, device := range where.devices {
		forget(t.limits.Identifier, t.accounts.Identifier(user.Email)+device)
		challenges = append(challenges, string(user.ID)+device)
	}
	for _, id := range where.sessions {
		forget(stepUps, id)
	}
	for _, subject := range challenges {
		forget(t.limits.Answers, subject)
		forget(t.limits.Codes, subject)
		for _, network := range where.networks {
			forget(t.limits.AnswersNetwork, subject+"/"+network)
			forget(t.limits.CodesNetwork, subject+"/"+network)
		}
	}
	for _, s := range spent {
		if err := t.limiter.Reset(ctx, s.Rule, s.Subject); err != nil {
			return err
		}
	}
	return nil
}
