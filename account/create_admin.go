package account

import (
	"context"
	"fmt"
	"slices"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// CreateAdmin makes the account of an administrator, confirmed from the start, for the command line.
// An address that has an account is TAKEN unless promote is set: then that account becomes an
// administrator and keeps its password and name. Faults beyond those of [Accounts.Prepare]:
// EMAIL_NOT_VERIFIED and WRONG_STATE for an account that cannot be promoted, see [Accounts.promoteTx].
func (a *Accounts) CreateAdmin(ctx context.Context, email, secret, name string, promote bool) (User, error) {
	if promote {
		var user User
		err := a.db.Update(ctx, func(tx *store.Tx) (err error) {
			if user, err = a.LockByEmailTx(ctx, tx, email); err == nil {
				user, err = a.promoteTx(ctx, tx, user)
			}
			return err
		})
		if err == nil || !fault.Is(err, fault.NotFound) {
			return user, err
		}
	}
	n, err := a.Prepare(ctx, Registration{Email: email, Password: secret, Name: name})
	if err != nil {
		return User{}, err
	}
	n.user.Verified, n.user.Roles = true, append(n.user.Roles, viewer.Admin)
	var user User
	err = a.db.Update(ctx, func(tx *store.Tx) (err error) {
		if user, err = a.keepTx(ctx, tx, n); err != nil {
			return err
		}
		return a.adminCreatedTx(ctx, tx, user.ID)
	})
	return user, err
}

// ReclaimAdmin makes an administrator of the account of an address that nobody has confirmed, for the
// command line: it is emptied of what whoever has opened it has put there, confirmed, and gets this
// password and name. Faults: those of [Accounts.Prepare]; NOT_FOUND; WRONG_STATE for one whose address is
// confirmed.
func (a *Accounts) ReclaimAdmin(ctx context.Context, email, secret, name string) (User, error) {
	n, err := a.Prepare(ctx, Registration{Email: email, Password: secret, Name: name})
	if err != nil {
		return User{}, err
	}
	var user User
	err = a.db.Update(ctx, func(tx *store.Tx) error {
		if user, err = a.LockByEmailTx(ctx, tx, email); err != nil {
			return err
		}
		if user.Verified {
			return fault.New(fault.WrongState, "email", "The address of this account is confirmed: it is its owner's and can be promoted as it is.")
		}
		by := viewer.System()
		if err := a.emptyTx(ctx, tx, by, user.ID); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, resetPassword, n.hash, store.At(a.now()), user.ID); err != nil {
			return fmt.Errorf("set password of %s: %w", user.ID, err)
		}
		if user, err = a.userTx(ctx, tx, user.ID); err != nil {
			return err
		}
		if user.Name = n.user.Name; user.Name != "" {
			if err := a.setProfileTx(ctx, tx, by, &user); err != nil {
				return err
			}
		}
		if err := a.audit.RecordTx(ctx, tx, audit.Event{Action: audit.AccountReclaimed, By: by, Subject: user.ID}); err != nil {
			return err
		}
		user, err = a.promoteTx(ctx, tx, user)
		return err
	})
	return user, err
}

// promoteTx makes user, who is locked, an administrator. Faults: EMAIL_NOT_VERIFIED for an account that
// somebody else may have opened, to wait inside for just this; WRONG_STATE for one that is going to be deleted.
func (a *Accounts) promoteTx(ctx context.Context, tx *store.Tx, user User) (User, error) {
	if !user.Verified {
		return User{}, unverified("email")
	}
	if err := stays(user); err != nil {
		return User{}, err
	}
	if slices.Contains(user.Roles, viewer.Admin) {
		return user, nil
	}
	roles := append(user.Roles, viewer.Admin)
	if _, err := tx.Exec(ctx, updateRoles, roleNames(roles), store.At(a.now()), user.ID); err != nil {
		return User{}, fmt.Errorf("promote %s: %w", user.ID, err)
	}
	if err := a.changedTx(ctx, tx, user.ID); err != nil {
		return User{}, err
	}
	if err := a.adminCreatedTx(ctx, tx, user.ID); err != nil {
		return User{}, err
	}
	return a.userTx(ctx, tx, user.ID)
}

// HasAdmin reports whether any account, active or not, is an administrator's.
func (a *Accounts) HasAdmin(ctx context.Context, r store.Reader) (bool, error) {
	n, err := store.One(ctx, r, countAdmins, store.Value[int])
	if err != nil {
		return false, fmt.Errorf("count administrators: %w", err)
	}
	return n > 0, nil
}

// CreateFirstAdmin makes the account of the first administrator, confirmed from the start, for whoever
// holds the link of the first start. onceTx fails the second time, so that of two who try at once one
// succeeds. Faults: those of [Accounts.Prepare]; TAKEN; WRONG_STATE when there is an administrator.
func (a *Accounts) CreateFirstAdmin(ctx context.Context, r Registration, onceTx func(*store.Tx) error) (User, error) {
	n, err := a.Prepare(ctx, r)
	if err != nil {
		return User{}, err
	}
	n.user.Verified, n.user.Roles = true, append(n.user.Roles, viewer.Admin)
	var user User
	err = a.db.Update(ctx, func(tx *store.Tx) error {
		if err := onceTx(tx); err != nil {
			return err
		}
		there, err := a.HasAdmin(ctx, tx)
		if err != nil {
			return err
		}
		if there {
			return fault.New(fault.WrongState, "", "There is an administrator already.")
		}
		if user, err = a.keepTx(ctx, tx, n); err != nil {
			return err
		}
		return a.adminCreatedTx(ctx, tx, user.ID)
	})
	return user, err
}

func (a *Accounts) adminCreatedTx(ctx context.Context, tx *store.Tx, id viewer.UserID) error {
	return a.audit.RecordTx(ctx, tx, audit.Event{Action: audit.AdminCreated, By: viewer.System(), Subject: id})
}
