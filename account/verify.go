package account

import (
	"context"
	"fmt"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// Shown is what somebody shows of a mail: the token of its link, or its code with the address that it
// was sent to.
type Shown struct {
	Token string
	Email string
	Code  string
}

// VerifyEmail confirms the address that a mail was sent to. Faults: TOKEN_INVALID, TOKEN_EXPIRED,
// REQUIRED, RATE_LIMITED.
func (a *Accounts) VerifyEmail(ctx context.Context, shown Shown, from session.Origin) (User, error) {
	return a.prove(ctx, ToVerifyEmail, shown, from, func(tx *store.Tx, user User, p Proof) error {
		return a.verifyTx(ctx, tx, user, p, session.Network(from.IP))
	})
}

// ProveLogIn finds out who signs in by a mailed code or link and calls enter in the transaction that
// uses it up. An address that was not confirmed is so now, and its account theirs alone: see
// [Accounts.ReclaimTx]. Faults: those of VerifyEmail, ACCOUNT_DISABLED.
func (a *Accounts) ProveLogIn(ctx context.Context, shown Shown, from session.Origin, enter func(tx *store.Tx, user User) error) (User, error) {
	return a.prove(ctx, ToLogIn, shown, from, func(tx *store.Tx, user User, p Proof) error {
		if user.Status != Active {
			return fault.New(fault.AccountDisabled, "", "This account is disabled.")
		}
		user, err := a.provenTx(ctx, tx, user, p, session.Network(from.IP))
		if err != nil {
			return err
		}
		return enter(tx, user)
	})
}

// prove claims what is shown and runs act in the same transaction, while the account is locked. It returns the account as it is
// afterwards. A wrong code is recorded, for an address without an account too, so that both cost one
// commit.
func (a *Accounts) prove(ctx context.Context, purpose Purpose, shown Shown, from session.Origin, act func(tx *store.Tx, user User, p Proof) error) (User, error) {
	if err := shown.check(); err != nil {
		return User{}, err
	}
	if err := a.countTry(ctx, from); err != nil {
		return User{}, err
	}
	var user User
	var refused error
	err := a.db.Update(ctx, func(tx *store.Tx) error {
		refused = nil
		p, right, err := a.claimTx(ctx, tx, purpose, shown)
		if err != nil {
			return err
		}
		if !right {
			refused = badCode()
			return a.audit.RecordTx(ctx, tx, audit.Event{
				Action: audit.ProofRefused, Outcome: audit.Refused, Network: session.Network(from.IP),
				Details: map[string]string{"purpose": string(purpose), "identifier": a.Identifier(shown.Email)},
			})
		}
		if user, err = a.LockTx(ctx, tx, p.User); err != nil {
			return err
		}
		if err := act(tx, user, p); err != nil {
			return err
		}
		user, err = a.userTx(ctx, tx, p.User)
		return err
	})
	if err == nil {
		err = refused
	}
	return user, provingFault(purpose, err)
}

// claimTx claims by token, or by code.
func (a *Accounts) claimTx(ctx context.Context, tx *store.Tx, purpose Purpose, shown Shown) (Proof, bool, error) {
	if shown.Token != "" {
		p, err := a.claimLinkTx(ctx, tx, purpose, shown.Token)
		return p, err == nil, err
	}
	owner, err := a.ownerTx(ctx, tx, shown.Email)
	if err != nil {
		return Proof{}, false, err
	}
	id := viewer.UserID("") // of nobody: the statement below runs all the same
	if owner != nil {
		id = owner.ID
	}
	return a.claimCodeTx(ctx, tx, id, purpose, shown.Code)
}

func (s Shown) check() error {
	switch {
	case s.Token != "" && s.Code != "":
		return fault.New(fault.Invalid, "token", "Give the link's token or the code, not both.")
	case s.Token == "" && s.Code == "":
		return fault.New(fault.Required, "token", "Give the link's token, or the address and the code.")
	case s.Token == "" && s.Email == "":
		return fault.New(fault.Required, "email", "Give the address that the code was sent to.")
	}
	return nil
}

// provingFault says what was being done, unless a fault came out.
func provingFault(purpose Purpose, err error) error {
	if _, ok := fault.As(err); ok || err == nil {
		return err
	}
	return fmt.Errorf("prove %s: %w", purpose, err)
}

// verifyTx marks the address of user as confirmed, once the mail that p came with has reached it.
func (a *Accounts) verifyTx(ctx context.Context, tx *store.Tx, user User, p Proof, network string) error {
	if user.Verified {
		return nil
	}
	if a.Identifier(p.Detail.Email) != a.Identifier(user.Email) {
		return badToken()
	}
	if _, err := tx.Exec(ctx, verifyEmail, store.At(a.now()), user.ID); err != nil {
		return fmt.Errorf("verify address of %s: %w", user.ID, err)
	}
	if err := a.changedTx(ctx, tx, user.ID); err != nil {
		return err
	}
	return a.audit.RecordTx(ctx, tx, audit.Event{
		Action: audit.EmailVerified, By: viewer.Viewer{User: user.ID}, Subject: user.ID, Network: network,
	})
}

// Confirmed refuses user while the address must be confirmed first. The caller has a mail sent. Fault:
// EMAIL_NOT_VERIFIED.
func (a *Accounts) Confirmed(user User) error { return a.confirmed(user.Verified) }

func (a *Accounts) confirmed(verified bool) error {
	if verified || a.o.EmailVerification != Required {
		return nil
	}
	return fault.New(fault.EmailNotVerified, "", "Confirm your e-mail address first: we have sent you a mail.")
}

// mustResetTx keeps the password of id from opening anything until it was replaced.
func (a *Accounts) mustResetTx(ctx context.Context, tx *store.Tx, id viewer.UserID) error {
	if _, err := tx.Exec(ctx, demandReset, store.At(a.now()), id); err != nil {
		return fmt.Errorf("demand reset of %s: %w", id, err)
	}
	return nil
}
