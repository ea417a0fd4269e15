package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/account/password"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// passwordChanges limits how often a signed-in caller may try a current password: five at once, then
// one a minute. Whoever finds an open session is not to guess the password with it.
var passwordChanges = limit.Rule{Name: "change-password", Limit: 1, Per: time.Minute, Burst: 5}

// ByPassword returns the account whose address and password these are. Faults: INVALID_CREDENTIALS,
// the same for an unknown address and a wrong password; ACCOUNT_DISABLED, PASSWORD_RESET_REQUIRED and,
// where addresses are confirmed first, EMAIL_NOT_VERIFIED, with the right password only; UNAVAILABLE
// when too many passwords wait to be checked. A hash made with older parameters is
// replaced.
func (a *Accounts) ByPassword(ctx context.Context, email, secret string) (User, error) {
	r, err := a.find(ctx, email)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return User{}, err
	}
	right, outdated, err := a.verify(ctx, r, secret)
	switch {
	case err != nil:
		return User{}, busy("check password", err)
	case !right:
		return User{}, fault.New(fault.InvalidCredentials, "", "The e-mail address or the password is wrong.")
	case r.Status != Active:
		return User{}, fault.New(fault.AccountDisabled, "", "This account is disabled.")
	case r.MustReset:
		return User{}, fault.New(fault.PasswordResetRequired, "", "This password must be replaced. Ask for a mail to choose another one.")
	}
	if err := a.confirmed(r.Verified); err != nil {
		return User{}, err
	}
	if outdated {
		a.rehash(ctx, r, secret)
	}
	return a.open(r.row)
}

// PasswordRight reports whether secret is the password of the account id; it costs one hash. Without a
// password, or with one that must be replaced, it is not. The caller has counted the try. Faults:
// NOT_FOUND, UNAVAILABLE.
func (a *Accounts) PasswordRight(ctx context.Context, id viewer.UserID, secret string) (bool, error) {
	r, err := store.One(ctx, a.db, selectSecret, scanSecret, id)
	if errors.Is(err, store.ErrNotFound) {
		return false, fault.Missing("user")
	}
	if err != nil {
		return false, fmt.Errorf("check password: %w", err)
	}
	right, _, err := a.verify(ctx, r, secret)
	if err != nil {
		return false, busy("check password", err)
	}
	return right && !r.MustReset, nil
}

// HasPassword reports whether the account id has a password that opens something: not one that must be
// replaced, which somebody else may know.
func (a *Accounts) HasPassword(ctx context.Context, reader store.Reader, id viewer.UserID) (bool, error) {
	r, err := store.One(ctx, reader, selectSecret, scanSecret, id)
	if err != nil {
		return false, fmt.Errorf("read password of %s: %w", id, err)
	}
	return r.hash != "" && !r.MustReset, nil
}

// verify costs one hash, whether or not r has a password.
func (a *Accounts) verify(ctx context.Context, r secretRow, secret string) (right, outdated bool, err error) {
	if r.hash == "" {
		return false, false, a.hasher.VerifyNothing(ctx, secret)
	}
	return a.hasher.Verify(ctx, r.hash, secret)
}

// rehash replaces an outdated hash. It is no reason to refuse a sign-in: the next one tries again.
func (a *Accounts) rehash(ctx context.Context, r secretRow, secret string) {
	fresh, err := a.hasher.Hash(ctx, secret)
	if err != nil {
		return
	}
	_ = a.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, rehashPassword, fresh, r.ID, r.hash)
		return err
	})
}

// ChangePassword gives by another password, ends all other sessions, keeps the one that asks and tells
// the owner by mail, with a link for when it was not them.
// Faults: UNAUTHENTICATED; INVALID_CREDENTIALS at currentPassword; TOO_SHORT, TOO_LONG and
// WEAK_PASSWORD at newPassword; RATE_LIMITED; UNAVAILABLE; WRONG_STATE when the password was changed
// meanwhile.
func (a *Accounts) ChangePassword(ctx context.Context, by viewer.Viewer, current, fresh string) error {
	if err := by.InPerson(); err != nil {
		return err
	}
	r, err := store.One(ctx, a.db, selectSecret, scanSecret, by.User)
	if err != nil {
		return fmt.Errorf("change password: %w", err)
	}
	user, err := a.open(r.row)
	if err != nil {
		return fmt.Errorf("change password: %w", err)
	}
	if err := a.check(ctx, "newPassword", fresh, user); err != nil {
		return err
	}
	if err := a.checkCurrent(ctx, r, "currentPassword", current); err != nil {
		return err
	}
	if current == fresh {
		return fault.New(fault.Invalid, "newPassword", "The new password is the current one.")
	}
	hash, err := a.hasher.Hash(ctx, fresh)
	if err != nil {
		return busy("change password", err)
	}
	return a.db.Update(ctx, func(tx *store.Tx) error { return a.changePasswordTx(ctx, tx, by, r, user, hash) })
}

// checkCurrent checks the password of who is signed in, given at field.
func (a *Accounts) checkCurrent(ctx context.Context, r secretRow, field, current string) error {
	decision, err := a.limiter.Allow(ctx, passwordChanges, string(r.ID), 1)
	if err != nil {
		return fmt.Errorf("check current password: %w", err)
	}
	if !decision.Allowed {
		return fault.Slow(decision.RetryAfter)
	}
	right, _, err := a.verify(ctx, r, current)
	switch {
	case err != nil:
		return busy("check current password", err)
	case !right:
		return fault.New(fault.InvalidCredentials, field, "The current password is wrong.")
	case r.MustReset: // a thief knows it too
		return fault.New(fault.PasswordResetRequired, field, "This password must be replaced. Ask for a mail to choose another one.")
	}
	return nil
}

func (a *Accounts) changePasswordTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, r secretRow, user User, hash password.Encoded) error {
	changed, err := tx.Exec(ctx, replacePassword, hash, store.At(a.now()), r.ID, r.hash)
	if err != nil {
		return fmt.Errorf("change password: %w", err)
	}
	if changed == 0 {
		return fault.New(fault.WrongState, "", "The password was changed a moment ago. Sign in again.")
	}
	if err := a.sessions.LiveTx(ctx, tx, by); err != nil {
		return err
	}
	if err := a.sessions.RevokeOthersTx(ctx, tx, by, session.PasswordChanged); err != nil {
		return fmt.Errorf("change password: %w", err)
	}
	if err := a.passwordChangedTx(ctx, tx, user); err != nil {
		return fmt.Errorf("change password: %w", err)
	}
	return a.audit.RecordTx(ctx, tx, audit.Event{Action: audit.PasswordChanged, By: by, Subject: r.ID, Session: by.Session})
}

// check returns the fault of a new password at field, nil for a good one.
func (a *Accounts) check(ctx context.Context, field, secret string, user User) error {
	err := password.Check(secret, user.Email, user.Name, a.o.Product)
	if err == nil {
		if a.breaches != nil && a.breaches.Has(ctx, secret) {
			return fault.New(fault.WeakPassword, field, "This password stands in a list of passwords that were stolen elsewhere.")
		}
		return nil
	}
	var weak *password.Weakness
	if !errors.As(err, &weak) {
		return fmt.Errorf("check password: %w", err)
	}
	code := fault.WeakPassword
	switch weak.Reason {
	case password.TooShort:
		code = fault.TooShort
	case password.TooLong:
		code = fault.TooLong
	}
	return fault.New(code, field, weak.Error())
}

// ForgetAttempts gives user back what was counted here and could keep them out: tries of the current
// password, mails to their address, enrolments and the codes for these.
func (a *Accounts) ForgetAttempts(ctx context.Context, user User) error {
	spent := []limit.Request{
		{Rule: passwordChanges, Subject: string(user.ID)},
		{Rule: enrolments, Subject: string(user.ID)},
		{Rule: codesPerAccount, Subject: string(user.ID)},
	}
	for _, kind := range []notify.Kind{notify.VerifyEmail, notify.PasswordReset, notify.LoginCode} {
		spent = append(spent, a.byAddress(user.Email, kind)...)
	}
	for _, s := range spent {
		if err := a.limiter.Reset(ctx, s.Rule, s.Subject); err != nil {
			return err
		}
	}
	return nil
}
