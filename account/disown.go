package account

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"gatehouse/audit"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// Disown acts on "this was not me": all sessions end, what was added in the last 7 days goes, the password
// opens nothing until it was replaced, and a link for that is mailed to the account's address. Whoever
// says so at an address that the account has left since, and could take it back by [Accounts.UndoEmailChange],
// takes it back: else the mail would go to the thief. Faults: TOKEN_INVALID, TOKEN_EXPIRED, RATE_LIMITED.
func (a *Accounts) Disown(ctx context.Context, token string, from session.Origin) (User, error) {
	return a.prove(ctx, ToDisown, Shown{Token: token}, from, func(tx *store.Tx, user User, p Proof) error {
		network := session.Network(from.IP)
		left, err := a.wayBackTx(ctx, tx, user, p.Detail.Email)
		if err != nil {
			return err
		}
		if left != nil {
			if user, err = a.takeBackTx(ctx, tx, *left); err != nil {
				return err
			}
			if err := a.audit.RecordTx(ctx, tx, a.restored(user, network)); err != nil {
				return err
			}
		}
		return a.secureTx(ctx, tx, user, audit.Event{
			Action: audit.AccountDisowned, By: viewer.Viewer{User: user.ID}, Subject: user.ID, Network: network,
		})
	})
}

// DisownTx returns a link for a mail of this kind to the address of user that says "this was not me": see
// [Accounts.Disown]. A newer one of the kind to the same address replaces it; one to an address that was
// left since stays good.
func (a *Accounts) DisownTx(ctx context.Context, tx *store.Tx, user User, kind notify.Kind) (link string, err error) {
	slot := append(a.emailIndex(user.Email), kind...)
	proof, err := a.issueTx(ctx, tx, user.ID, ToDisown, slot, ProofDetail{Email: user.Email})
	return proof.link, err
}

// wayBackTx returns the proof by which user could take back the address email, nil when there is none.
func (a *Accounts) wayBackTx(ctx context.Context, tx *store.Tx, user User, email string) (*Proof, error) {
	if a.Identifier(email) == a.Identifier(user.Email) {
		return nil, nil
	}
	p, err := store.One(ctx, tx, selectWayBack, scanProof, user.ID, ToUndoEmail, a.emailIndex(email), store.At(a.now()))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find way back to an address: %w", err)
	}
	p, err = a.openProof(p)
	return &p, err
}

// secureTx shuts an account that somebody else may be in, and mails its owner the way back.
func (a *Accounts) secureTx(ctx context.Context, tx *store.Tx, user User, event audit.Event) error {
	// First of all: it waits for the transactions that make something in these sessions (LiveTx).
	if err := a.sessions.RevokeAllTx(ctx, tx, event.By, user.ID, session.Compromised); err != nil {
		return err
	}
	if err := a.voidTx(ctx, tx, user.ID); err != nil {
		return err
	}
	if err := a.mustResetTx(ctx, tx, user.ID); err != nil {
		return err
	}
	if err := a.dropFreshTx(ctx, tx, user.ID, &event); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, cancelDeletion, store.At(a.now()), user.ID); err != nil { // it may not be theirs
		return fmt.Errorf("keep account %s: %w", user.ID, err)
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

// dropFreshTx deletes what was added in the time in which an owner can say "this was not me", and takes
// the trust from all devices: whoever was in the account must not keep a key of their own. What went is
// counted in event.
func (a *Accounts) dropFreshTx(ctx context.Context, tx *store.Tx, user viewer.UserID, event *audit.Event) error {
	since := a.now().Add(-terms[ToDisown])
	at := store.At(since)
	for _, fresh := range []struct {
		name string
		q    *store.Query
		args []any
	}{
		{"factors", deleteFreshFactors, []any{user, at, at}},
		{"recoveryCodes", deleteFreshRecoveryCodes, []any{user, at}},
		{"identities", deleteFreshIdentities, []any{user, at}},
	} {
		dropped, err := tx.Exec(ctx, fresh.q, fresh.args...)
		if err != nil {
			return fmt.Errorf("drop fresh %s of %s: %w", fresh.name, user, err)
		}
		if dropped > 0 {
			if event.Details == nil {
				event.Details = map[string]string{}
			}
			event.Details[fresh.name] = strconv.FormatInt(dropped, 10)
		}
	}
	left, err := store.All(ctx, tx, selectFactors, scanFactor, user)
	if err != nil {
		return fmt.Errorf("drop fresh factors of %s: %w", user, err)
	}
	if len(left) == 0 { // recovery codes stand in for a factor, and would shut the owner out without one
		if err := a.dropFactorsTx(ctx, tx, user); err != nil {
			return err
		}
	}
	if err := a.sessions.EndMachinesTx(ctx, tx, event.By, user, since); err != nil {
		return err
	}
	return a.ForgetDevicesTx(ctx, tx, user)
}
