package login

import (
	"context"
	"encoding/json"
	"slices"

	"gatehouse/account"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// Confirmation shows that a person holds the factor they enrol.
type Confirmation struct {
	Challenge string // of who must enrol before they are let in; "" in a session
	Mode      session.Mode
	session.Origin

	Factor   account.FactorID // an app or phone that waits to be confirmed
	Code     string           // of it
	Ceremony string           // a passkey's
	Response json.RawMessage  // of the browser
	Name     string           // of a passkey
}

// Enrolled is a factor that counts from now on.
type Enrolled struct {
	Factor  account.Factor
	Codes   []string // recovery codes, shown once; nil when the account has some already
	Outcome Outcome  // of who had to enrol to be let in: a session
}

// EnrollTOTP is [account.Accounts.EnrollTOTP] for by, or for whoever must enrol by challenge. Faults
// beyond: CHALLENGE_EXPIRED.
func (l *Logins) EnrollTOTP(ctx context.Context, by viewer.Viewer, challenge, name string) (account.Authenticator, error) {
	who, _, err := l.enrollee(ctx, by, challenge)
	if err != nil {
		return account.Authenticator{}, err
	}
	return l.accounts.EnrollTOTP(ctx, who, name)
}

// EnrollPhone is [account.Accounts.EnrollPhone] for by, or for whoever must enrol by challenge. Faults
// beyond: CHALLENGE_EXPIRED.
func (l *Logins) EnrollPhone(ctx context.Context, by viewer.Viewer, challenge, number, name string, from session.Origin) (account.FactorID, error) {
	who, _, err := l.enrollee(ctx, by, challenge)
	if err != nil {
		return "", err
	}
	return l.accounts.EnrollPhone(ctx, who, number, name, from)
}

// StartPasskeyRegistration is [account.Accounts.StartPasskeyRegistration] for by, or for whoever must
// enrol by challenge. Faults beyond: CHALLENGE_EXPIRED.
func (l *Logins) StartPasskeyRegistration(ctx context.Context, by viewer.Viewer, challenge string) (account.Ceremony, error) {
	who, _, err := l.enrollee(ctx, by, challenge)
	if err != nil {
		return account.Ceremony{}, err
	}
	return l.accounts.StartPasskeyRegistration(ctx, who)
}

// ConfirmTOTP makes an app a factor. Faults: those of [account.Accounts.ProveTOTP], CHALLENGE_EXPIRED.
func (l *Logins) ConfirmTOTP(ctx context.Context, by viewer.Viewer, c Confirmation) (Enrolled, error) {
	return l.confirm(ctx, by, c, "otp", func(who viewer.Viewer) (account.Proven, error) {
		return l.accounts.ProveTOTP(ctx, who, c.Factor, c.Code)
	})
}

// ConfirmPhone makes a phone a factor. Faults: those of [account.Accounts.ProvePhone], CHALLENGE_EXPIRED.
func (l *Logins) ConfirmPhone(ctx context.Context, by viewer.Viewer, c Confirmation) (Enrolled, error) {
	return l.confirm(ctx, by, c, "sms", func(who viewer.Viewer) (account.Proven, error) {
		return l.accounts.ProvePhone(ctx, who, c.Factor, c.Code)
	})
}

// FinishPasskeyRegistration makes a passkey a factor. Faults: those of [account.Accounts.ProvePasskey],
// CHALLENGE_EXPIRED.
func (l *Logins) FinishPasskeyRegistration(ctx context.Context, by viewer.Viewer, c Confirmation) (Enrolled, error) {
	return l.confirm(ctx, by, c, "pop", func(who viewer.Viewer) (account.Proven, error) {
		return l.accounts.ProvePasskey(ctx, who, c.Ceremony, c.Response, c.Name)
	})
}

// confirm makes what prove has proved a factor and, by a challenge, lets its owner in: they have shown
// both.
func (l *Logins) confirm(ctx context.Context, by viewer.Viewer, c Confirmation, shown string, prove func(viewer.Viewer) (account.Proven, error)) (Enrolled, error) {
	who, w, err := l.enrollee(ctx, by, c.Challenge)
	if err != nil {
		return Enrolled{}, err
	}
	if w != nil {
		if err := w.in(c.Mode); err != nil {
			return Enrolled{}, err
		}
	}
	proven, err := prove(who)
	if err != nil {
		return Enrolled{}, err
	}
	var done Enrolled
	err = l.db.Update(ctx, func(tx *store.Tx) (err error) {
		if w != nil {
			if err := l.useTx(ctx, tx, *w); err != nil {
				return err
			}
		}
		if done.Factor, done.Codes, err = l.accounts.ConfirmTx(ctx, tx, who, proven); err != nil || w == nil {
			return err
		}
		user, err := l.accounts.LockTx(ctx, tx, who.User)
		if err != nil {
			return err
		}
		done.Outcome, err = l.beginTx(ctx, tx, user, w.client(c.Origin), viewer.AAL2, slices.Concat(w.Shown, []string{shown, "mfa"}))
		return err
	})
	if err != nil {
		return Enrolled{}, asked("confirm factor", err)
	}
	return done, nil
}

// useTx uses a challenge up, once. Fault: CHALLENGE_EXPIRED.
func (l *Logins) useTx(ctx context.Context, tx *store.Tx, w waiting) error {
	now := store.At(l.accounts.Now())
	used, err := tx.Exec(ctx, useChallenge, now, w.hash[:])
	if err != nil {
		return err
	}
	if used == 0 {
		return over()
	}
	_, err = l.ownerTx(ctx, tx, w)
	return err
}

// enrollee returns on whose behalf a factor is enrolled: by, or the owner of a challenge that can only
// enrol, who has shown the first factor a moment ago.
func (l *Logins) enrollee(ctx context.Context, by viewer.Viewer, challenge string) (viewer.Viewer, *waiting, error) {
	if challenge == "" {
		return by, nil, nil
	}
	w, err := l.find(ctx, by, challenge)
	if err != nil {
		return viewer.Viewer{}, nil, err
	}
	if w.purpose != toEnroll {
		return viewer.Viewer{}, nil, over()
	}
	return viewer.Viewer{User: w.user, Level: viewer.AAL1, Methods: w.Shown, AuthTime: l.accounts.Now()}, &w, nil
}
