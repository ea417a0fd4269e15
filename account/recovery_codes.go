package account

import (
	"context"
	"fmt"
	"time"

	"gatehouse/account/recovery"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// RegenerateRecoveryCodes gives by ten recovery codes in place of those that are left. They are shown
// once. Faults: UNAUTHENTICATED, STEP_UP_REQUIRED; WRONG_STATE for an account without a factor.
func (a *Accounts) RegenerateRecoveryCodes(ctx context.Context, by viewer.Viewer) (codes []string, err error) {
	if err := a.Assure(ctx, by, viewer.AAL2, Freshness); err != nil {
		return nil, err
	}
	err = a.db.Update(ctx, func(tx *store.Tx) error {
		user, err := a.lockAsTx(ctx, tx, by)
		if err != nil {
			return err
		}
		standing, err := a.StandingOf(ctx, tx, user)
		if err != nil {
			return err
		}
		if !standing.Enrolled {
			return fault.New(fault.WrongState, "", "Recovery codes stand in for a second factor. Add one first.")
		}
		if codes, err = newRecoveryCodesTx(ctx, tx, user.ID, a.now()); err != nil {
			return err
		}
		event := audit.Event{Action: audit.RecoveryCodesRegenerated, By: by, Subject: user.ID, Session: by.Session}
		if err := a.audit.RecordTx(ctx, tx, event); err != nil {
			return err
		}
		return a.warnTx(ctx, tx, user, notify.Message{Kind: notify.RecoveryCodesRegenerated})
	})
	if err != nil {
		return nil, err
	}
	return codes, nil
}

// UseRecoveryCodeTx accepts one of user's recovery codes, and takes it away. Fault: INVALID_CODE.
func (a *Accounts) UseRecoveryCodeTx(ctx context.Context, tx *store.Tx, user User, code string) error {
	hashes, err := recoveryHashes(ctx, tx, user.ID)
	if err != nil {
		return err
	}
	i, ok := recovery.Match(hashes, code)
	if !ok {
		return wrongCode()
	}
	deleted, err := tx.Exec(ctx, deleteRecoveryCode, user.ID, hashes[i][:])
	if err != nil {
		return fmt.Errorf("use recovery code: %w", err)
	}
	if deleted == 0 { // another request was first
		return wrongCode()
	}
	if err := a.audit.RecordTx(ctx, tx, audit.Event{Action: audit.RecoveryCodeUsed, By: viewer.Viewer{User: user.ID}, Subject: user.ID}); err != nil {
		return err
	}
	return a.warnTx(ctx, tx, user, notify.Message{Kind: notify.RecoveryCodeUsed, Left: len(hashes) - 1})
}

// newRecoveryCodesTx replaces the recovery codes of user.
func newRecoveryCodesTx(ctx context.Context, tx *store.Tx, user viewer.UserID, now time.Time) ([]string, error) {
	if _, err := tx.Exec(ctx, deleteRecoveryCodes, user); err != nil {
		return nil, fmt.Errorf("replace recovery codes: %w", err)
	}
	codes, hashes := recovery.New()
	for _, hash := range hashes {
		if _, err := tx.Exec(ctx, insertRecoveryCode, user, hash[:], store.At(now)); err != nil {
			return nil, fmt.Errorf("replace recovery codes: %w", err)
		}
	}
	return codes, nil
}

func recoveryHashes(ctx context.Context, r store.Reader, user viewer.UserID) ([]recovery.Hash, error) {
	hashes, err := store.All(ctx, r, selectRecoveryCodes, func(scan store.Scan) (h recovery.Hash, err error) {
		var stored []byte
		if err = scan(&stored); err == nil && len(stored) != recovery.HashBytes {
			err = fmt.Errorf("a recovery code of %d bytes", len(stored))
		}
		copy(h[:], stored)
		return h, err
	}, user)
	if err != nil {
		return nil, fmt.Errorf("read recovery codes of %s: %w", user, err)
	}
	return hashes, nil
}
