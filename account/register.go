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
	r, err := a.seal(user, n.hash)
	if err != nil {
		return User{}, fmt.Errorf("register: %w", err)
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

// seal returns user as the database holds it.
func (a *Accounts) seal(user User, hash password.Encoded) (r secretRow, err error) {
	r = secretRow{hash: hash, row: row{
		ID: user.ID, Verified: user.Verified, Locale: user.Locale, RoleNames: roleNames(user.Roles),
		Status: user.Status, CreatedAt: user.CreatedAt, UpdatedAt: user.UpdatedAt,
	}}
	if r.EmailSealed, err = a.ring.Seal([]byte(user.Email), place(user.ID, "email")); err != nil {
		return r, err
	}
	if user.Name != "" {
		r.NameSealed, err = a.ring.Seal([]byte(user.Name), place(user.ID, "name"))
	}
	return r, err
}

// busy turns a full line of hashes into UNAVAILABLE.
func busy(doing string, err error) error {
	var full *password.BusyError
	if errors.As(err, &full) {
		return fault.Busy(full.Wait).With(err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
