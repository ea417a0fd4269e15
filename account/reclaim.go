package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// provenTx returns user as it is once p has shown that a mail reached its address: an account whose address
// was not confirmed before is taken over. user is locked. Fault: TOKEN_INVALID when p went elsewhere.
func (a *Accounts) provenTx(ctx context.Context, tx *store.Tx, user User, p Proof, network string) (User, error) {
	if user.Verified {
		return user, nil
	}
	if a.Identifier(p.Detail.Email) != a.Identifier(user.Email) {
		return User{}, badToken()
	}
	return a.ReclaimTx(ctx, tx, user, network)
}

// ReclaimTx hands an account whose address nobody had confirmed to the person who has now proved that
// the address is theirs: somebody else may have made it and wait inside. Password, name, sessions, known
// devices, mailed links, a deletion that was asked for and all other ways in go. It returns the account as
// it is then. user is locked.
func (a *Accounts) ReclaimTx(ctx context.Context, tx *store.Tx, user User, network string) (User, error) {
	owner := viewer.Viewer{User: user.ID}
	if err := a.emptyTx(ctx, tx, owner, user.ID); err != nil {
		return User{}, fmt.Errorf("reclaim account: %w", err)
	}
	event := audit.Event{Action: audit.AccountReclaimed, By: owner, Subject: user.ID, Network: network}
	if err := a.audit.RecordTx(ctx, tx, event); err != nil {
		return User{}, fmt.Errorf("reclaim account: %w", err)
	}
	return a.userTx(ctx, tx, user.ID)
}

// emptyTx takes out of the account user what whoever has made it has put there, and confirms its address.
func (a *Accounts) emptyTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, user viewer.UserID) error {
	if _, err := tx.Exec(ctx, reclaimUser, store.At(a.now()), user); err != nil {
		return fmt.Errorf("empty account %s: %w", user, err)
	}
	if err := a.dropWaysInTx(ctx, tx, by, user); err != nil {
		return err
	}
	if err := a.voidTx(ctx, tx, user); err != nil {
		return err
	}
	if err := a.sessions.ForgetDevicesTx(ctx, tx, user); err != nil {
		return err
	}
	if err := a.sessions.RevokeAllTx(ctx, tx, by, user, session.Reclaimed); err != nil {
		return err
	}
	return a.changedTx(ctx, tx, user)
}

// dropUntiedTx ends the API keys and service accounts of user and deletes the identities when the mail that
// greets a new account has confirmed its address within [remorse]: whoever has opened the account may be
// somebody else than who has followed the link, and nothing but the password has tied the two. Factors
// stay: a mailbox alone does not defeat them, and it was told of each with a link that says "this was not me".
func (a *Accounts) dropUntiedTx(ctx context.Context, tx *store.Tx, user User) error {
	_, err := store.One(ctx, tx, selectUsedSince, store.Value[int64], user.ID, ToVerifyEmail, store.At(a.now().Add(-remorse)))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read when the address of %s was confirmed: %w", user.ID, err)
	}
	return a.dropKeysTx(ctx, tx, viewer.Viewer{User: user.ID}, user.ID)
}

// dropWaysInTx deletes all that lets somebody into the account of user, save the password.
func (a *Accounts) dropWaysInTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, user viewer.UserID) error {
	if err := a.dropFactorsTx(ctx, tx, user); err != nil {
		return err
	}
	return a.dropKeysTx(ctx, tx, by, user)
}

// dropKeysTx deletes the identities and ends the API keys and service accounts of user.
func (a *Accounts) dropKeysTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, user viewer.UserID) error {
	if _, err := tx.Exec(ctx, deleteIdentities, user); err != nil {
		return fmt.Errorf("drop identities of %s: %w", user, err)
	}
	return a.sessions.EndMachinesTx(ctx, tx, by, user, time.Time{})
}
