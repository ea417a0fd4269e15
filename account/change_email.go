package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// freshFor is how long after a sign-in, or after its last step up, a person need not give the password
// for what is hard to take back.
const freshFor = 10 * time.Minute

// RequestEmailChange has a mail sent to fresh that makes it the address of by's account. The answer is
// the same for an address that somebody else has: then they get a mail. by has signed in within the
// last 10 minutes, or gives their password. Faults: UNAUTHENTICATED; STEP_UP_REQUIRED without
// either; INVALID_CREDENTIALS at password; INVALID and REQUIRED at newEmail; RATE_LIMITED.
func (a *Accounts) RequestEmailChange(ctx context.Context, by viewer.Viewer, fresh, secret string, from session.Origin) error {
	if err := a.confirm(ctx, by, secret); err != nil {
		return err
	}
	email, err := parseEmail(fresh)
	if f, ok := fault.As(err); ok {
		return fault.New(f.Code, "newEmail", f.Message)
	}
	if err := a.countMail(ctx, email, notify.EmailChangeConfirm, from); err != nil {
		return err
	}
	w := wish{Kind: notify.EmailChangeConfirm, Email: email, User: by.User, Network: session.Network(from.IP)}
	err = a.db.Update(ctx, func(tx *store.Tx) error {
		asker, err := a.lockAsTx(ctx, tx, by)
		if err != nil {
			return err
		}
		w.Version = asker.version
		if err := a.requestTx(ctx, tx, w); err != nil {
			return err
		}
		return a.audit.RecordTx(ctx, tx, audit.Event{
			Action: audit.EmailChangeAsked, By: by, Subject: by.User, Session: by.Session, Network: w.Network,
			Details: map[string]string{"to": a.Identifier(email)},
		})
	})
	if err != nil {
		return fmt.Errorf("ask for another address: %w", err)
	}
	return nil
}

// confirm makes sure that by is the person and not only somebody at their machine: they have signed in
// just now, or know the password. Faults: UNAUTHENTICATED, STEP_UP_REQUIRED, INVALID_CREDENTIALS at
// password, RATE_LIMITED, UNAVAILABLE.
func (a *Accounts) confirm(ctx context.Context, by viewer.Viewer, secret string) error {
	if err := by.InPerson(); err != nil {
		return err
	}
	if secret == "" {
		if age := a.now().Sub(by.AuthTime); age <= freshFor {
			return nil
		}
		return fault.New(fault.StepUpRequired, "", "Sign in again, or give your password, to do this.")
	}
	r, err := store.One(ctx, a.db, selectSecret, scanSecret, by.User)
	if err != nil {
		return fmt.Errorf("confirm %s: %w", by.User, err)
	}
	if err := a.checkCurrent(ctx, r, "password", secret); err != nil {
		return err
	}
	return nil
}

// ConfirmEmailChange makes the address that a mail was sent to the address of the account that asked
// for it. The token alone is enough; the code wants by to be that account. The address that is left is
// told, with a way back for 7 days, if it was confirmed; mail that was sent there is worthless.
// Faults: TOKEN_INVALID, TOKEN_EXPIRED; TAKEN when somebody was faster; REQUIRED; RATE_LIMITED.
func (a *Accounts) ConfirmEmailChange(ctx context.Context, by viewer.Viewer, token, code string, from session.Origin) (User, error) {
	shown := Shown{Token: token}
	if token == "" && code != "" {
		if err := by.InPerson(); err != nil {
			return User{}, err
		}
		owner, err := a.Get(ctx, by.User)
		if err != nil {
			return User{}, err
		}
		shown = Shown{Email: owner.Email, Code: code}
	}
	return a.prove(ctx, ToChangeEmail, shown, from, func(tx *store.Tx, user User, p Proof) error {
		return a.changeEmailTx(ctx, tx, user, p, session.Network(from.IP))
	})
}

func (a *Accounts) changeEmailTx(ctx context.Context, tx *store.Tx, user User, p Proof, network string) error {
	if user.Status != Active {
		return fault.New(fault.AccountDisabled, "", "This account is disabled.")
	}
	fresh := p.Detail.Email
	if err := a.setEmailTx(ctx, tx, user.ID, fresh); err != nil {
		return err
	}
	if err := a.voidTx(ctx, tx, user.ID); err != nil {
		return err
	}
	if err := a.changedTx(ctx, tx, user.ID); err != nil {
		return err
	}
	err := a.audit.RecordTx(ctx, tx, audit.Event{
		Action: audit.EmailChanged, By: viewer.Viewer{User: user.ID}, Subject: user.ID, Network: network,
		Details: map[string]string{"from": a.Identifier(user.Email), "to": a.Identifier(fresh)},
	})
	if err != nil || !user.Verified || a.Identifier(user.Email) == a.Identifier(fresh) {
		return err // whoever has an address that was never confirmed has no say
	}
	proof, err := a.issueTx(ctx, tx, user.ID, ToUndoEmail, a.emailIndex(user.Email), ProofDetail{Email: user.Email})
	if err != nil {
		return err
	}
	return a.PostTx(ctx, tx, notify.Message{
		Kind: notify.EmailChanged, Locale: user.Locale, To: user.Email, Name: user.Name, Link: proof.link, Minutes: proof.minutes, At: a.now(),
	})
}

// setEmailTx gives an account another address, which is confirmed. Fault: TAKEN.
func (a *Accounts) setEmailTx(ctx context.Context, tx *store.Tx, id viewer.UserID, email string) error {
	owner, err := a.ownerTx(ctx, tx, email)
	if err != nil {
		return err
	}
	kept, err := a.keptForTx(ctx, tx, email, id)
	if err != nil {
		return err
	}
	if kept || owner != nil && owner.ID != id {
		return taken()
	}
	sealed, err := a.ring.Seal([]byte(email), place(id, "email"))
	if err != nil {
		return fmt.Errorf("change address of %s: %w", id, err)
	}
	_, err = tx.Exec(ctx, updateEmail, sealed, a.emailIndex(email), store.At(a.now()), id)
	if store.Conflict(err) {
		return taken()
	}
	if err != nil {
		return fmt.Errorf("change address of %s: %w", id, err)
	}
	return nil
}

func taken() error {
	return fault.Conflict("email", "This address already has an account.")
}

// keptForTx reports whether an address is kept for another account, which has left it within the last
// 7 days and may come back: else a thief who changes the address could register the old one at once, and the
// way back would be shut.
func (a *Accounts) keptForTx(ctx context.Context, tx *store.Tx, email string, asker viewer.UserID) (bool, error) {
	_, err := store.One(ctx, tx, selectKept, store.Value[int64], ToUndoEmail, a.emailIndex(email), store.At(a.now()), asker)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read who keeps an address: %w", err)
	}
	return true, nil
}

// UndoEmailChange puts an address back that was left within the last 7 days, ends all sessions and
// mails a link to choose another password: somebody else knows the old one. Ways back that were given
// since, and so to the thief, are worthless. Faults: TOKEN_INVALID, TOKEN_EXPIRED, RATE_LIMITED.
func (a *Accounts) UndoEmailChange(ctx context.Context, token string, from session.Origin) (User, error) {
	return a.prove(ctx, ToUndoEmail, Shown{Token: token}, from, func(tx *store.Tx, _ User, p Proof) error {
		user, err := a.takeBackTx(ctx, tx, p)
		if err != nil {
			return err
		}
		return a.secureTx(ctx, tx, user, a.restored(user, session.Network(from.IP)))
	})
}

// takeBackTx puts the address of p, a proof of ToUndoEmail, back, and forgets what was proved since.
func (a *Accounts) takeBackTx(ctx context.Context, tx *store.Tx, p Proof) (User, error) {
	if _, err := tx.Exec(ctx, forgetLater, p.User, store.At(p.createdAt), p.ID); err != nil {
		return User{}, fmt.Errorf("forget proofs of %s: %w", p.User, err)
	}
	if _, err := tx.Exec(ctx, useProof, store.At(a.now()), p.ID); err != nil {
		return User{}, fmt.Errorf("use proof: %w", err)
	}
	if err := a.setEmailTx(ctx, tx, p.User, p.Detail.Email); err != nil {
		return User{}, err
	}
	return a.userTx(ctx, tx, p.User)
}

// restored is that user has got an address back.
func (a *Accounts) restored(user User, network string) audit.Event {
	return audit.Event{
		Action: audit.EmailRestored, By: viewer.Viewer{User: user.ID}, Subject: user.ID, Network: network,
		Details: map[string]string{"to": a.Identifier(user.Email)},
	}
}
