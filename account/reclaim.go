package account

import (
	"context"
	"fmt"
	"time"

	"gatehouse/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// ReclaimTx hands an account whose address nobody had confirmed to the person who has now proved that
// the address is theirs: somebody else may have made it and wait inside. Password, name and
// sessions go, and all other ways in. user is locked.
func (a *Accounts) ReclaimTx(ctx context.Context, tx *store.Tx, user User, network string) (User, error) {
	owner := viewer.Viewer{User: user.ID}
	if _, err := tx.Exec(ctx, reclaimUser, store.At(a.now()), user.ID); err != nil {
		return User{}, fmt.Errorf("reclaim account: %w", err)
	}
	if err := a.dropWaysInTx(ctx, tx, user.ID); err != nil {
		return User{}, fmt.Errorf("reclaim account: %w", err)
	}
	if err := a.voidTx(ctx, tx, user.ID); err != nil {
		return User{}, fmt.Errorf("reclaim account: %w", err)
	}
	if err := a.sessions.RevokeAllTx(ctx, tx, owner, user.ID, session.Reclaimed); err != nil {
		return User{}, fmt.Errorf("reclaim account: %w", err)
	}
	if err := a.changedTx(ctx, tx, user.ID); err != nil {
		return User{}, fmt.Errorf("reclaim account: %w", err)
	}
	err := a.audit.RecordTx(ctx, tx, audit.Event{Action: audit.AccountReclaimed, By: owner, Subject: user.ID, Network: network})
	user.Verified, user.Name = true, ""
	return user, err
}

// takeOverTx takes the account from whoever has registered an address that was not theirs.
func (a *Accounts) takeOverTx(ctx context.Context, tx *store.Tx, user User) error {
	if err := a.mustResetTx(ctx, tx, user.ID); err != nil {
		return err
	}
	if err := a.dropWaysInTx(ctx, tx, user.ID); err != nil {
		return err
	}
	return a.sessions.RevokeAllTx(ctx, tx, viewer.Viewer{User: user.ID}, user.ID, session.Compromised)
}

// dropWaysInTx deletes all that lets somebody into the account of user, save the password.
func (a *Accounts) dropWaysInTx(ctx context.Context, tx *store.Tx, user viewer.UserID) error {
	if _, err := tx.Exec(ctx, deleteIdentities, user); err != nil {
		return fmt.Errorf("drop identities of %s: %w", user, err)
	}
	if err := a.dropFactorsTx(ctx, tx, user); err != nil {
		return err
	}
	return a.sessions.EndMachinesTx(ctx, tx, viewer.Viewer{User: user}, user, time.Time{})
}
