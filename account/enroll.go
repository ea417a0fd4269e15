package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/account/passkey"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Bounds of one account.
const (
	maxTOTP   = 3 // each makes a guess more likely to be right
	maxPhones = 3
)

// pendingLife is how long a factor waits to be confirmed.
const pendingLife = 15 * time.Minute

// enrolments limits how many factors an account may begin to enrol: ten at once, then one each ten minutes.
var enrolments = limit.Rule{Name: "enroll-factor", Limit: 6, Per: time.Hour, Burst: 10}

// mayEnroll returns why by may not enrol a factor of method now, nil if they may.
func (a *Accounts) mayEnroll(ctx context.Context, by viewer.Viewer, m Method) error {
	if err := by.InPerson(); err != nil {
		return err
	}
	if err := a.Assure(ctx, by, viewer.AAL2, Freshness); err != nil {
		return err
	}
	if !a.Offers(m) {
		return fault.New(fault.WrongState, "", "This kind of second factor is not offered here.")
	}
	decision, err := a.limiter.Allow(ctx, enrolments, string(by.User), 1)
	if err != nil {
		return fmt.Errorf("enroll factor: %w", err)
	}
	if !decision.Allowed {
		return fault.Slow(decision.RetryAfter)
	}
	return nil
}

// newFactor returns the row of a factor of by, sealed.
func (a *Accounts) newFactor(by viewer.Viewer, kind FactorKind, secret, name, otherwise string) (factorRow, error) {
	name, err := parseName(name)
	if err != nil {
		return factorRow{}, err
	}
	if name == "" {
		name = otherwise
	}
	r := factorRow{Factor: Factor{ID: store.NewID[FactorID]("fac"), User: by.User, Kind: kind, Name: name, CreatedAt: a.now()}}
	if r.sealed, err = a.ring.Seal([]byte(secret), factorPlace(r.ID, "sealed")); err != nil {
		return factorRow{}, fmt.Errorf("seal factor: %w", err)
	}
	if r.nameSealed, err = a.ring.Seal([]byte(name), factorPlace(r.ID, "name")); err != nil {
		return factorRow{}, fmt.Errorf("seal factor: %w", err)
	}
	return r, nil
}

// pendTx keeps a factor that waits to be confirmed in place of others of its kind that do.
func (a *Accounts) pendTx(ctx context.Context, tx *store.Tx, r factorRow, most int) error {
	if _, err := tx.Exec(ctx, deletePending, r.User, r.Kind); err != nil {
		return fmt.Errorf("enroll factor: %w", err)
	}
	return a.insertFactorTx(ctx, tx, r, most)
}

// pending returns the factor id of by that waits to be confirmed. Fault: NOT_FOUND.
func (a *Accounts) pending(ctx context.Context, by viewer.Viewer, id FactorID, kind FactorKind) (factorRow, error) {
	if err := by.InPerson(); err != nil {
		return factorRow{}, err
	}
	r, err := store.One(ctx, a.db, selectFactor, scanFactor, id)
	if errors.Is(err, store.ErrNotFound) || err == nil &&
		(r.User != by.User || r.Kind != kind || !r.confirmedAt.IsZero() || a.now().Sub(r.CreatedAt) > pendingLife) {
		return factorRow{}, fault.Missing("factor that waits to be confirmed")
	}
	if err != nil {
		return factorRow{}, fmt.Errorf("read factor: %w", err)
	}
	return r, nil
}

// insertFactorTx keeps a factor unless the account has most of its kind. Faults: WRONG_STATE, TAKEN.
func (a *Accounts) insertFactorTx(ctx context.Context, tx *store.Tx, r factorRow, most int) error {
	if _, err := a.LockTx(ctx, tx, r.User); err != nil { // counts, with whoever enrols beside us
		return err
	}
	rows, err := store.All(ctx, tx, selectFactors, scanFactor, r.User)
	if err != nil {
		return fmt.Errorf("enroll factor: %w", err)
	}
	same := 0
	for _, other := range rows {
		if other.Kind == r.Kind {
			same++
		}
	}
	if same >= most {
		return fault.New(fault.WrongState, "", fmt.Sprintf("Your account has %d factors of this kind, the most there can be. Remove one first.", most))
	}
	_, err = tx.Exec(ctx, insertFactor, r.ID, r.User, r.Kind, r.sealed, r.nameSealed, r.lookup, r.counter,
		r.codeHash, store.At(r.codeExpires), store.At(r.CreatedAt), store.At(r.confirmedAt))
	if store.Conflict(err) {
		return fault.New(fault.Taken, "", "This passkey is registered already.")
	}
	if err != nil {
		return fmt.Errorf("enroll factor: %w", err)
	}
	return nil
}

// Proven is a factor of which its owner has shown that they hold it. It counts from [Accounts.ConfirmTx] on.
type Proven struct {
	row   factorRow
	fresh bool // it is not stored yet
}

// ConfirmTx makes p a factor of by. It returns the recovery codes of an account that had none, nil else.
// Faults: NOT_FOUND when another request has confirmed it; TAKEN and WRONG_STATE for passkeys.
func (a *Accounts) ConfirmTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, p Proven) (Factor, []string, error) {
	user, err := a.lockAsTx(ctx, tx, by)
	if err != nil {
		return Factor{}, nil, err
	}
	if err := a.countFactorTx(ctx, tx, p); err != nil {
		return Factor{}, nil, err
	}
	factor, err := a.openFactor(p.row)
	if err != nil {
		return Factor{}, nil, err
	}
	left, err := recoveryHashes(ctx, tx, user.ID)
	if err != nil {
		return Factor{}, nil, err
	}
	var codes []string
	if len(left) == 0 {
		if codes, err = newRecoveryCodesTx(ctx, tx, user.ID, a.now()); err != nil {
			return Factor{}, nil, err
		}
	}
	return factor, codes, a.tellFactorTx(ctx, tx, by, user, factor, audit.FactorAdded, notify.FactorAdded)
}

// countFactorTx makes p count; of two requests at once one does.
func (a *Accounts) countFactorTx(ctx context.Context, tx *store.Tx, p Proven) error {
	if p.fresh {
		p.row.confirmedAt = a.now()
		return a.insertFactorTx(ctx, tx, p.row, passkey.MaxCredentials)
	}
	confirmed, err := tx.Exec(ctx, confirmFactor, store.At(a.now()), p.row.counter, p.row.ID)
	if err != nil {
		return fmt.Errorf("confirm factor: %w", err)
	}
	if confirmed == 0 {
		return fault.Missing("factor that waits to be confirmed")
	}
	return nil
}

// PruneFactors deletes what was not confirmed in time and what has expired, 500 in a transaction.
func (a *Accounts) PruneFactors(ctx context.Context) error {
	now := a.now()
	for _, stale := range []struct {
		q      *store.Query
		before time.Time
	}{{prunePending, now.Add(-pendingLife)}, {pruneCeremonies, now}, {pruneTrusted, now}} {
		if err := a.db.Prune(ctx, stale.q, store.At(stale.before)); err != nil {
			return fmt.Errorf("prune factors: %w", err)
		}
	}
	return nil
}
