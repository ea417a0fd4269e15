package login

import (
	"context"
	"slices"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// StepUp asks by to prove once more who they are: by a second factor, or with the password (or, without
// one, a code by mail) where the account has none. A right answer raises the session that asks; of a
// suspended one ([viewer.Viewer.Suspended]) it also puts it back in use, where the answer comes from.
// Faults: UNAUTHENTICATED; WRONG_STATE where nothing is left but to sign in again; ACCOUNT_DISABLED;
// RATE_LIMITED.
func (l *Logins) StepUp(ctx context.Context, by viewer.Viewer) (Challenge, error) {
	if by.Suspended == "" {
		if err := by.InPerson(); err != nil {
			return Challenge{}, err
		}
		if by.Session == "" {
			return Challenge{}, fault.SignIn()
		}
	}
	if err := l.throttle.stepUp(ctx, by); err != nil {
		return Challenge{}, err
	}
	var c Challenge
	err := l.db.Update(ctx, func(tx *store.Tx) error {
		user, w, err := l.askerTx(ctx, tx, by)
		if err != nil {
			return err
		}
		if w.methods, w.Level, err = l.stepUpBy(ctx, tx, w.Shown, user); err != nil {
			return err
		}
		c, err = l.challengeTx(ctx, tx, user, w)
		return err
	})
	if err != nil {
		return Challenge{}, asked("step up", err)
	}
	return c, nil
}

// askerTx returns whose session asks, locked, and the challenge that it is to get.
func (l *Logins) askerTx(ctx context.Context, tx *store.Tx, by viewer.Viewer) (account.User, waiting, error) {
	owner := by.User
	w := waiting{purpose: toStepUp, session: by.Session, content: content{Shown: by.Methods}}
	if by.Suspended != "" {
		held, err := l.sessions.Liftable(ctx, tx, by.Suspended)
		if err != nil {
			return account.User{}, w, err
		}
		owner = held.User
		w = waiting{purpose: toLift, session: held.ID, content: content{Shown: held.Methods, Mode: held.Mode}}
	}
	user, err := l.accounts.LockTx(ctx, tx, owner)
	if err == nil && user.Status != account.Active {
		err = disabled()
	}
	return user, w, err
}

// stepUpBy returns by what a session is raised that began by what was shown, and how high.
func (l *Logins) stepUpBy(ctx context.Context, tx *store.Tx, shown []string, user account.User) ([]account.Method, viewer.Level, error) {
	standing, err := l.accounts.StandingOf(ctx, tx, user)
	if err != nil {
		return nil, 0, err
	}
	if standing.Asked() {
		first := ""
		if len(shown) > 0 {
			first = shown[0]
		}
		methods := beside(first, standing.Methods)
		if len(methods) == 0 {
			return nil, 0, signInAgain()
		}
		return methods, viewer.AAL2, nil
	}
	has, err := l.accounts.HasPassword(ctx, tx, user.ID)
	switch {
	case err != nil:
		return nil, 0, err
	case has:
		return []account.Method{account.Password}, viewer.AAL1, nil
	case slices.Contains(standing.Methods, account.Email):
		return []account.Method{account.Email}, viewer.AAL1, nil
	}
	return nil, 0, signInAgain()
}

func signInAgain() error { return fault.New(fault.WrongState, "", "Sign in again to do this.") }

// raiseTx raises the session that has asked, after it was lifted if it was suspended: then there is a
// fresh refresh token too.
func (l *Logins) raiseTx(ctx context.Context, tx *store.Tx, user account.User, w waiting, a Answer, shown string) (Outcome, error) {
	methods := []string{shown}
	if w.Level >= viewer.AAL2 {
		methods = append(methods, "mfa")
	}
	var lifted session.Tokens
	if w.purpose == toLift {
		var err error
		if lifted, err = l.sessions.LiftTx(ctx, tx, w.session, a.Origin); err != nil {
			return Outcome{}, err
		}
	}
	tokens, err := l.sessions.ElevateTx(ctx, tx, w.session, w.Level, methods)
	if err != nil {
		return Outcome{}, err
	}
	tokens.Refresh = lifted.Refresh
	err = l.audit.RecordTx(ctx, tx, audit.Event{
		Action: audit.SteppedUp, By: viewer.Viewer{User: user.ID}, Subject: user.ID, Session: w.session,
		Network: session.Network(a.IP), Details: map[string]string{"method": shown, "level": w.Level.String()},
	})
	return Outcome{Tokens: tokens, User: user}, err
}
