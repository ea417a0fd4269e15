package account

import (
	"context"
	"fmt"

	"gatehouse/account/password"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// ResetPassword gives the account that a reset was mailed to another password, ends all of its sessions
// and signs nobody in. Since the mail has reached the address, it is confirmed. Faults: TOKEN_INVALID
// and TOKEN_EXPIRED at token; TOO_SHORT, TOO_LONG and WEAK_PASSWORD at newPassword, and the link stays
// good; RATE_LIMITED; UNAVAILABLE.
func (a *Accounts) ResetPassword(ctx context.Context, token, fresh string, from session.Origin) (User, error) {
	if err := a.countTry(ctx, from); err != nil {
		return User{}, err
	}
	p, err := a.findLink(ctx, a.db, ToResetPassword, token)
	if err != nil {
		return User{}, err
	}
	user, err := a.Get(ctx, p.User)
	if err != nil {
		return User{}, err
	}
	if err := a.check(ctx, "newPassword", fresh, user); err != nil {
		return User{}, err
	}
	hash, err := a.hasher.Hash(ctx, fresh)
	if err != nil {
		return User{}, busy("reset password", err)
	}
	err = a.db.Update(ctx, func(tx *store.Tx) error {
		p, err := a.claimLinkTx(ctx, tx, ToResetPassword, token)
		if err != nil {
			return err
		}
		user, err = a.resetTx(ctx, tx, p, hash, session.Network(from.IP))
		return err
	})
	return user, provingFault(ToResetPassword, err)
}

func (a *Accounts) resetTx(ctx context.Context, tx *store.Tx, p Proof, hash password.Encoded, network string) (User, error) {
	user, err := a.userTx(ctx, tx, p.User)
	if err != nil {
		return user, err
	}
	if user.Status != Active {
		return user, fault.New(fault.AccountDisabled, "", "This account is disabled.")
	}
	owner := viewer.Viewer{User: user.ID}
	if err := a.verifyTx(ctx, tx, user, p, network); err != nil {
		return user, err
	}
	if _, err := tx.Exec(ctx, resetPassword, hash, store.At(a.now()), user.ID); err != nil {
		return user, fmt.Errorf("reset password of %s: %w", user.ID, err)
	}
	if err := a.sessions.RevokeAllTx(ctx, tx, owner, user.ID, session.PasswordChanged); err != nil {
		return user, err
	}
	if err := a.passwordChangedTx(ctx, tx, user); err != nil {
		return user, err
	}
	event := audit.Event{Action: audit.PasswordReset, By: owner, Subject: user.ID, Network: network}
	if err := a.audit.RecordTx(ctx, tx, event); err != nil {
		return user, err
	}
	return a.userTx(ctx, tx, user.ID)
}

// passwordChangedTx does what belongs to every change of a password: links and codes that were mailed
// before are worthless, every server reads the account again, and the owner is told.
func (a *Accounts) passwordChangedTx(ctx context.Context, tx *store.Tx, user User) error {
	if err := a.voidTx(ctx, tx, user.ID); err != nil {
		return err
	}
	if err := a.ForgetDevicesTx(ctx, tx, user.ID); err != nil {
		return err
	}
	if err := a.changedTx(ctx, tx, user.ID); err != nil {
		return err
	}
	link, err := a.DisownTx(ctx, tx, user)
	if err != nil {
		return err
	}
	return a.PostTx(ctx, tx, notify.Message{
		Kind: notify.PasswordChanged, Locale: user.Locale, To: user.Email, Name: user.Name, Link: link, At: a.now(),
	})
}

// DisownTx returns a link for a mail to the address of user that says "this was not me": see
// [Accounts.Disown]. A newer one to the same address replaces it; one to an address that was left
// since stays good.
func (a *Accounts) DisownTx(ctx context.Context, tx *store.Tx, user User) (link string, err error) {
	proof, err := a.issueTx(ctx, tx, user.ID, ToDisown, a.emailIndex(user.Email), ProofDetail{Email: user.Email})
	return proof.link, err
}

// Disown acts on "this was not me": all sessions end, the password opens nothing until it was replaced,
// and a link for that is mailed to the account's address. Faults: TOKEN_INVALID, TOKEN_EXPIRED,
// RATE_LIMITED.
func (a *Accounts) Disown(ctx context.Context, token string, from session.Origin) (User, error) {
	return a.prove(ctx, ToDisown, Shown{Token: token}, from, func(tx *store.Tx, user User, _ Proof) error {
		return a.secureTx(ctx, tx, user, audit.Event{
			Action: audit.AccountDisowned, By: viewer.Viewer{User: user.ID}, Subject: user.ID, Network: session.Network(from.IP),
		})
	})
}

// secureTx shuts an account that somebody else may be in, and mails its owner the way back.
func (a *Accounts) secureTx(ctx context.Context, tx *store.Tx, user User, event audit.Event) error {
	if err := a.voidTx(ctx, tx, user.ID); err != nil {
		return err
	}
	if err := a.mustResetTx(ctx, tx, user.ID); err != nil {
		return err
	}
	if err := a.dropFreshFactorsTx(ctx, tx, user.ID); err != nil {
		return err
	}
	if err := a.sessions.EndMachinesTx(ctx, tx, event.By, user.ID, a.now().Add(-terms[ToDisown])); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, cancelDeletion, store.At(a.now()), user.ID); err != nil { // it may not be theirs
		return fmt.Errorf("keep account %s: %w", user.ID, err)
	}
	if err := a.sessions.RevokeAllTx(ctx, tx, event.By, user.ID, session.Compromised); err != nil {
		return err
	}
	if err := a.changedTx(ctx, tx, user.ID); err != nil {
		return err
	}
	if err := a.audit.RecordTx(ctx, tx, event); err != nil {
		return err
	}
	if user.Status != Active {
		return nil
	}
	w := wish{Kind: notify.PasswordReset, Network: event.Network}
	return a.mailProofTx(ctx, tx, user, w, ToResetPassword, user.Email)
}
