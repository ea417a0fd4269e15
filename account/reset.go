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
// and signs nobody in. Since the mail has reached the address, an account whose address was not confirmed
// is theirs alone (see [Accounts.ReclaimTx]), and one whose address a mail has confirmed within 7 days
// loses its API keys, service accounts and identities. Faults: TOKEN_INVALID and TOKEN_EXPIRED at token;
// TOO_SHORT, TOO_LONG and WEAK_PASSWORD at newPassword, and the link stays good; RATE_LIMITED; UNAVAILABLE.
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
	user, err := a.LockTx(ctx, tx, p.User)
	if err != nil {
		return user, err
	}
	if user.Status != Active {
		return user, fault.New(fault.AccountDisabled, "", "This account is disabled.")
	}
	owner := viewer.Viewer{User: user.ID}
	if user, err = a.provenTx(ctx, tx, user, p, network); err != nil {
		return user, err
	}
	if err := a.dropUntiedTx(ctx, tx, user); err != nil {
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
	return a.warnTx(ctx, tx, user, notify.Message{Kind: notify.PasswordChanged})
}
