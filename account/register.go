package account

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/account/password"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Registration is what a person says to get an account.
type Registration struct {
	Email    string
	Password string
	Name     string // may be empty
	Locale   string // BCP 47; "": en
}

// Newcomer is a registration that was checked and whose password was hashed, which is slow: it is
// made before the transaction that keeps it.
type Newcomer struct {
	user  User
	hash  password.Encoded
	index []byte
	mail  bool // the address may be sent one more
}

// Prepare checks a registration. Faults: INVALID, REQUIRED, TOO_SHORT, TOO_LONG, WEAK_PASSWORD by
// field; UNAVAILABLE when too many passwords wait to be hashed.
func (a *Accounts) Prepare(ctx context.Context, r Registration) (Newcomer, error) {
	user := User{ID: store.NewID[viewer.UserID]("usr"), Roles: []viewer.Role{viewer.User}, Status: Active}
	var err error
	if user.Email, err = parseEmail(r.Email); err != nil {
		return Newcomer{}, err
	}
	if user.Name, err = parseName(r.Name); err != nil {
		return Newcomer{}, err
	}
	if user.Locale, err = parseLocale(r.Locale); err != nil {
		return Newcomer{}, err
	}
	if err := a.check(ctx, "password", r.Password, user); err != nil {
		return Newcomer{}, err
	}
	hash, err := a.hasher.Hash(ctx, r.Password)
	if err != nil {
		return Newcomer{}, busy("register", err)
	}
	mail, err := a.limiter.AllowAll(ctx, a.byAddress(user.Email, notify.VerifyEmail)...)
	if err != nil {
		return Newcomer{}, fmt.Errorf("register: %w", err)
	}
	return Newcomer{user: user, hash: hash, index: a.emailIndex(user.Email), mail: mail.Allowed}, nil
}

// RegisterTx keeps n as an account and has a mail sent that confirms its address. Fault: TAKEN, for an
// address that has one, or is kept for somebody who has just left it; the transaction must then fail.
func (a *Accounts) RegisterTx(ctx context.Context, tx *store.Tx, n Newcomer, network string) (User, error) {
	user, err := a.keepTx(ctx, tx, n)
	if err != nil {
		return User{}, err
	}
	err = a.audit.RecordTx(ctx, tx, audit.Event{
		Action: audit.AccountRegistered, By: viewer.Viewer{User: user.ID}, Subject: user.ID, Network: network,
	})
	if err != nil {
		return User{}, err
	}
	return user, a.welcomeTx(ctx, tx, n, notify.VerifyEmail, network)
}

// welcomeTx has a mail sent to n, as often as the limit for its address allows: whoever registers an
// address again and again is not to fill a mailbox.
func (a *Accounts) welcomeTx(ctx context.Context, tx *store.Tx, n Newcomer, kind notify.Kind, network string) error {
	if !n.mail {
		return nil
	}
	return a.requestTx(ctx, tx, wish{Kind: kind, Email: n.user.Email, Network: network})
}

// RegisterQuietlyTx is RegisterTx for a deployment that wants addresses confirmed first: it says the
// same of an address that has an account, at the same cost. A mail says the rest: to a newcomer how to
// confirm the address, to the owner of an account that there is one.
func (a *Accounts) RegisterQuietlyTx(ctx context.Context, tx *store.Tx, n Newcomer, network string) error {
	owner, err := a.ownerTx(ctx, tx, n.user.Email)
	if err != nil {
		return err
	}
	if owner != nil {
		err := a.audit.RecordTx(ctx, tx, audit.Event{
			Action: audit.AccountRegistered, Outcome: audit.Refused, Subject: owner.ID, Network: network,
		})
		if err != nil {
			return err
		}
		return a.welcomeTx(ctx, tx, n, notify.AlreadyRegistered, network)
	}
	_, err = a.RegisterTx(ctx, tx, n, network)
	return err
}

// keepTx inserts n.
func (a *Accounts) keepTx(ctx context.Context, tx *store.Tx, n Newcomer) (User, error) {
	user := n.user
	user.CreatedAt = a.now()
	user.UpdatedAt, user.version = user.CreatedAt, 1
	r := secretRow{hash: n.hash, row: row{
		ID: user.ID, Verified: user.Verified, Locale: user.Locale, RoleNames: roleNames(user.Roles),
		Status: user.Status, CreatedAt: user.CreatedAt, UpdatedAt: user.UpdatedAt,
	}}
	var err error
	if r.EmailSealed, err = a.ring.Seal([]byte(user.Email), place(user.ID, "email")); err != nil {
		return User{}, fmt.Errorf("register: %w", err)
	}
	if user.Name != "" {
		if r.NameSealed, err = a.ring.Seal([]byte(user.Name), place(user.ID, "name")); err != nil {
			return User{}, fmt.Errorf("register: %w", err)
		}
	}
	err = a.insertTx(ctx, tx, r, n.index)
	if store.Conflict(err) {
		return User{}, taken()
	}
	if err != nil {
		return User{}, fmt.Errorf("register: insert account: %w", err)
	}
	kept, err := a.keptForTx(ctx, tx, user.Email, user.ID)
	if err == nil && kept {
		err = taken()
	}
	return user, err
}

// CreateAdmin makes the account of an administrator, confirmed from the start, for the command line.
// An address that has an account is TAKEN unless promote is set: then that account becomes an
// administrator and keeps its password and name.
func (a *Accounts) CreateAdmin(ctx context.Context, email, secret, name string, promote bool) (User, error) {
	existing, err := a.ByEmail(ctx, email)
	switch {
	case err == nil && promote:
		return a.promote(ctx, existing)
	case err == nil:
		return User{}, taken()
	case !fault.Is(err, fault.NotFound):
		return User{}, fmt.Errorf("create administrator: %w", err)
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

func (a *Accounts) promote(ctx context.Context, user User) (User, error) {
	roles := append(user.Roles, viewer.Admin)
	err := a.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, updateRoles, roleNames(roles), store.At(a.now()), user.ID); err != nil {
			return fmt.Errorf("promote %s: %w", user.ID, err)
		}
		if _, err := tx.Exec(ctx, verifyEmail, store.At(a.now()), user.ID); err != nil {
			return fmt.Errorf("promote %s: %w", user.ID, err)
		}
		if err := a.changedTx(ctx, tx, user.ID); err != nil {
			return err
		}
		return a.adminCreatedTx(ctx, tx, user.ID)
	})
	if err != nil {
		return User{}, err
	}
	return a.Get(ctx, user.ID)
}

func (a *Accounts) adminCreatedTx(ctx context.Context, tx *store.Tx, id viewer.UserID) error {
	return a.audit.RecordTx(ctx, tx, audit.Event{Action: audit.AdminCreated, By: viewer.System(), Subject: id})
}

// busy turns a full line of hashes into UNAVAILABLE.
func busy(doing string, err error) error {
	var full *password.BusyError
	if errors.As(err, &full) {
		return fault.Busy(full.Wait).With(err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
