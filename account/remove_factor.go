package account

import (
	"context"
	"fmt"
	"slices"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// RemoveFactor removes a factor of by, who has proved both factors within [Freshness]. With the last one
// go the recovery codes and the trusted devices. Faults: UNAUTHENTICATED, STEP_UP_REQUIRED, NOT_FOUND;
// WRONG_STATE for the last one of who must have one; LAST_WAY_IN for a passkey without which nothing is left
// to sign in with.
func (a *Accounts) RemoveFactor(ctx context.Context, by viewer.Viewer, id FactorID) error {
	if err := a.Assure(ctx, by, viewer.AAL2, Freshness); err != nil {
		return err
	}
	return a.db.Update(ctx, func(tx *store.Tx) error {
		user, hasPassword, err := a.lockTx(ctx, tx, selectLocked, by.User)
		if err != nil {
			return err
		}
		rows, err := store.All(ctx, tx, selectFactors, scanFactor, by.User)
		if err != nil {
			return fmt.Errorf("remove factor: %w", err)
		}
		i := slices.IndexFunc(rows, func(r factorRow) bool { return r.ID == id })
		if i < 0 {
			return fault.Missing("factor")
		}
		if len(rows) == 1 {
			if a.Enforced(user) {
				return fault.New(fault.WrongState, "factorId", "Your account must keep a second factor. Add another one first.")
			}
			if err := a.dropFactorsTx(ctx, tx, by.User); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, deleteFactor, id); err != nil {
			return fmt.Errorf("remove factor: %w", err)
		}
		if rows[i].Kind == PasskeyFactor {
			if err := a.keepsWayInTx(ctx, tx, by.User, hasPassword); err != nil {
				return err
			}
		}
		factor, err := a.openFactor(rows[i])
		if err != nil {
			return err
		}
		return a.tellFactorTx(ctx, tx, by, user, factor, audit.FactorRemoved, notify.FactorRemoved)
	})
}

// ResetFactors is ResetFactorsTx for an owner who has lost their factors; it ends their sessions too.
func (a *Accounts) ResetFactors(ctx context.Context, by viewer.Viewer, id viewer.UserID) error {
	return a.db.Update(ctx, func(tx *store.Tx) error {
		if err := a.ResetFactorsTx(ctx, tx, by, id); err != nil {
			return err
		}
		return a.sessions.RevokeAllTx(ctx, tx, by, id, session.RevokedByAdmin)
	})
}

// ResetFactorsTx takes all factors, recovery codes, trusted devices and open challenges from user; by is
// an administrator or the server. The caller has locked nothing and ends the sessions if it wants to.
// Faults: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.
func (a *Accounts) ResetFactorsTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, id viewer.UserID) error {
	if err := administers(by); err != nil {
		return err
	}
	user, err := a.LockTx(ctx, tx, id)
	if err != nil {
		return err
	}
	rows, err := store.All(ctx, tx, selectFactors, scanFactor, id)
	if err != nil {
		return fmt.Errorf("reset factors of %s: %w", id, err)
	}
	if err := a.dropFactorsTx(ctx, tx, id); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, bumpVersion, store.At(a.now()), id); err != nil { // ends open challenges
		return fmt.Errorf("reset factors of %s: %w", id, err)
	}
	if err := a.changedTx(ctx, tx, id); err != nil {
		return err
	}
	removed := make([]notify.Message, len(rows))
	for i, r := range rows {
		factor, err := a.openFactor(r)
		if err != nil {
			return err
		}
		removed[i] = notify.Message{Kind: notify.FactorRemoved, Factor: factor.Name}
	}
	if err := a.warnTx(ctx, tx, user, removed...); err != nil {
		return err
	}
	return a.audit.RecordTx(ctx, tx, audit.Event{Action: audit.FactorsReset, By: by, Subject: id})
}

// dropFactorsTx deletes all by which user could answer a challenge, and what spares them one.
func (a *Accounts) dropFactorsTx(ctx context.Context, tx *store.Tx, user viewer.UserID) error {
	for _, q := range []*store.Query{deleteFactors, deleteRecoveryCodes, deleteTrusted} {
		if _, err := tx.Exec(ctx, q, user); err != nil {
			return fmt.Errorf("drop factors of %s: %w", user, err)
		}
	}
	return nil
}
