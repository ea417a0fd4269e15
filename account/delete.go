package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// grace is how long an account waits for its deletion.
const grace = 14 * 24 * time.Hour

// deletedAtOnce is how many accounts one call of DeleteDue takes on.
const deletedAtOnce = 100

// Deleting is the state of an account whose grace is over and whose rows are being removed. Nothing
// leads back from it.
const Deleting Status = "DELETING"

// Delete has the account of by deleted in 14 days and ends its sessions; until then
// [Accounts.KeepAccount] takes it back, and signing in is possible and changes nothing. by has signed
// in within the last 10 minutes, or gives their password. Faults: those of [Accounts.RequestEmailChange]
// for by; WRONG_STATE for an administrator, who has to hand that over first.
func (a *Accounts) Delete(ctx context.Context, by viewer.Viewer, secret string) (User, error) {
	if err := a.confirm(ctx, by, secret); err != nil {
		return User{}, err
	}
	var user User
	err := a.db.Update(ctx, func(tx *store.Tx) (err error) {
		locked, err := a.lockAsTx(ctx, tx, by)
		if err != nil {
			return err
		}
		if slices.Contains(locked.Roles, viewer.Admin) { // by the database: by may be older
			return fault.New(fault.WrongState, "", "Another administrator must take that role from you first.")
		}
		due := a.now().Add(grace)
		changed, err := tx.Exec(ctx, scheduleDeletion, store.At(due), store.At(a.now()), by.User)
		if err != nil {
			return err
		}
		if user, err = a.userTx(ctx, tx, by.User); err != nil || changed == 0 { // it is scheduled already
			return err
		}
		return a.deletionScheduledTx(ctx, tx, by, user)
	})
	if err != nil {
		return User{}, fmt.Errorf("delete account: %w", err)
	}
	return user, nil
}

func (a *Accounts) deletionScheduledTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, user User) error {
	if err := a.sessions.RevokeAllTx(ctx, tx, by, user.ID, session.AccountDeleted); err != nil {
		return err
	}
	if err := a.changedTx(ctx, tx, user.ID); err != nil {
		return err
	}
	event := audit.Event{Action: audit.DeletionScheduled, By: by, Subject: user.ID, Session: by.Session}
	if err := a.audit.RecordTx(ctx, tx, event); err != nil {
		return err
	}
	proof, err := a.issueTx(ctx, tx, user.ID, ToKeepAccount, anySlot, ProofDetail{Email: user.Email})
	if err != nil {
		return err
	}
	return a.PostTx(ctx, tx, notify.Message{
		Kind: notify.AccountDeletionScheduled, Locale: user.Locale, To: user.Email, Name: user.Name, Link: proof.link, Due: user.DeletesAt,
	})
}

// KeepAccount takes a deletion back: by the token of the mail that announced it, or, without one, for
// by. Faults: UNAUTHENTICATED, TOKEN_INVALID, TOKEN_EXPIRED, WRONG_STATE, RATE_LIMITED.
func (a *Accounts) KeepAccount(ctx context.Context, by viewer.Viewer, token string, from session.Origin) (User, error) {
	if token != "" {
		return a.prove(ctx, ToKeepAccount, Shown{Token: token}, from, func(tx *store.Tx, user User, _ Proof) error {
			return a.stayTx(ctx, tx, viewer.Viewer{User: user.ID}, user)
		})
	}
	if err := by.InPerson(); err != nil {
		return User{}, err
	}
	var user User
	err := a.db.Update(ctx, func(tx *store.Tx) (err error) {
		if user, err = a.userTx(ctx, tx, by.User); err != nil {
			return err
		}
		if err := a.stayTx(ctx, tx, by, user); err != nil {
			return err
		}
		user, err = a.userTx(ctx, tx, by.User)
		return err
	})
	if err != nil {
		return User{}, fmt.Errorf("keep account: %w", err)
	}
	return user, nil
}

func (a *Accounts) stayTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, user User) error {
	changed, err := tx.Exec(ctx, cancelDeletion, store.At(a.now()), user.ID)
	if err != nil {
		return fmt.Errorf("keep account %s: %w", user.ID, err)
	}
	if changed == 0 {
		return fault.New(fault.WrongState, "", "The account is not going to be deleted, or that has begun.")
	}
	if err := a.changedTx(ctx, tx, user.ID); err != nil {
		return err
	}
	event := audit.Event{Action: audit.DeletionCancelled, By: by, Subject: user.ID, Session: by.Session}
	if err := a.audit.RecordTx(ctx, tx, event); err != nil {
		return err
	}
	return a.PostTx(ctx, tx, notify.Message{
		Kind: notify.AccountDeletionCancelled, Locale: user.Locale, To: user.Email, Name: user.Name, At: a.now(),
	})
}

// DeleteDue deletes accounts whose grace is over, at most 100 at a call: their jobs with their files,
// and then, in one transaction, all rows of theirs, while the audit forgets who they were. It may be
// cut off anywhere and called again, by several servers at once. An administrator is not deleted. It
// returns how many accounts are gone.
func (a *Accounts) DeleteDue(ctx context.Context) (int, error) {
	due, err := store.All(ctx, a.db, selectDue, store.Value[viewer.UserID], store.At(a.now()), deletedAtOnce)
	if err != nil {
		return 0, fmt.Errorf("find accounts to delete: %w", err)
	}
	gone := 0
	var failed error
	for _, id := range due {
		deleted, err := a.delete(ctx, id)
		failed = errors.Join(failed, err)
		if deleted {
			gone++
		}
	}
	return gone, failed
}

// delete reports whether the account is gone. One with jobs that still run is not, and is tried again.
func (a *Accounts) delete(ctx context.Context, id viewer.UserID) (bool, error) {
	sealed := false
	err := a.db.Update(ctx, func(tx *store.Tx) error {
		changed, err := tx.Exec(ctx, beginDeletion, store.At(a.now()), id, store.At(a.now()))
		sealed = changed > 0
		if err != nil || !sealed {
			return err
		}
		if err := a.sessions.RevokeAllTx(ctx, tx, viewer.System(), id, session.AccountDeleted); err != nil {
			return err
		}
		return a.changedTx(ctx, tx, id)
	})
	if err != nil || !sealed {
		return false, wrapDeletion(id, err) // kept a moment ago, or gone
	}
	services, err := a.sessions.ServicesOf(ctx, id)
	if err != nil {
		return false, wrapDeletion(id, err)
	}
	owners := []viewer.UserID{id}
	for _, service := range services {
		owners = append(owners, viewer.UserID(service))
	}
	left, err := a.queue.Forget(ctx, owners...)
	if err != nil || left > 0 {
		return false, wrapDeletion(id, err)
	}
	err = a.db.Update(ctx, func(tx *store.Tx) error {
		if err := a.audit.ForgetTx(ctx, tx, id); err != nil {
			return err
		}
		if err := a.audit.RecordTx(ctx, tx, audit.Event{Action: audit.AccountDeleted, By: viewer.System()}); err != nil {
			return err
		}
		if err := a.changedTx(ctx, tx, id); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, deleteUser, id)
		return err
	})
	return err == nil, wrapDeletion(id, err)
}

func wrapDeletion(id viewer.UserID, err error) error {
	if err != nil {
		return fmt.Errorf("delete account %s: %w", id, err)
	}
	return nil
}

// DeleteExpiredProofs forgets proofs that were good once, 500 in a transaction.
func (a *Accounts) DeleteExpiredProofs(ctx context.Context) error {
	if err := a.db.Prune(ctx, deleteExpired, store.At(a.now().Add(-remorse))); err != nil {
		return fmt.Errorf("forget old proofs: %w", err)
	}
	return nil
}
