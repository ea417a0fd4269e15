package account

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// LockTx returns the account id and keeps it from being changed by another until tx ends. Fault:
// NOT_FOUND.
func (a *Accounts) LockTx(ctx context.Context, tx *store.Tx, id viewer.UserID) (User, error) {
	r, err := store.One(ctx, tx, lockUser, scanRow, id)
	if errors.Is(err, store.ErrNotFound) {
		return User{}, fault.Missing("user")
	}
	if err != nil {
		return User{}, fmt.Errorf("lock account %s: %w", id, err)
	}
	return a.open(r)
}

// lockAsTx is LockTx for the account of by, whose session is kept from ending until tx does: see
// [session.Sessions.LiveTx]. Faults: NOT_FOUND, UNAUTHENTICATED.
func (a *Accounts) lockAsTx(ctx context.Context, tx *store.Tx, by viewer.Viewer) (User, error) {
	user, err := a.LockTx(ctx, tx, by.User)
	if err != nil {
		return User{}, err
	}
	return user, a.sessions.LiveTx(ctx, tx, by)
}

// Version counts the changes of password, roles, status and address; what hangs on them compares it.
func (u User) Version() int64 { return u.version }

// LockByEmailTx is LockTx for the account of an address.
func (a *Accounts) LockByEmailTx(ctx context.Context, tx *store.Tx, email string) (User, error) {
	user, _, err := a.lockTx(ctx, tx, selectLockedByEmail, a.emailIndex(email))
	return user, err
}

// lockTx returns with the account whether it has a password that opens something.
func (a *Accounts) lockTx(ctx context.Context, tx *store.Tx, q *store.Query, key any) (user User, hasPassword bool, err error) {
	r, err := store.One(ctx, tx, q, scanSecret, key)
	if errors.Is(err, store.ErrNotFound) {
		return User{}, false, fault.Missing("user")
	}
	if err != nil {
		return User{}, false, fmt.Errorf("lock account: %w", err)
	}
	user, err = a.open(r.row)
	return user, r.hash != "" && !r.MustReset, err
}

// UnchangedTx keeps user, whom ByPassword has returned, from being changed until tx ends: a session
// that begins in tx is then ended by whatever change comes next. Fault: WRONG_STATE when the password,
// the roles or the status were changed since.
func (a *Accounts) UnchangedTx(ctx context.Context, tx *store.Tx, user User) error {
	version, err := store.One(ctx, tx, lockVersion, store.Value[int64], user.ID)
	if err != nil {
		return fmt.Errorf("lock account %s: %w", user.ID, err)
	}
	if version != user.version {
		return fault.New(fault.WrongState, "", "The account was changed a moment ago. Sign in again.")
	}
	return nil
}
