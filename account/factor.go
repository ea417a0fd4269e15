package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// FactorID names a second factor, "fac_…".
type FactorID string

// FactorKind is what a second factor is.
type FactorKind string

// The kinds. A confirmed address is a method without being a factor: see [Email].
const (
	TOTPFactor    FactorKind = "TOTP"
	PhoneFactor   FactorKind = "PHONE"
	PasskeyFactor FactorKind = "PASSKEY"
)

// Method is how a challenge is answered.
type Method string

// The methods.
const (
	TOTP         Method = "TOTP"
	Passkey      Method = "PASSKEY"
	SMS          Method = "SMS"
	Email        Method = "EMAIL"         // a code to the confirmed address, of who has no factor
	RecoveryCode Method = "RECOVERY_CODE" // only beside a factor
	Password     Method = "PASSWORD"      // to step up without a factor, and after a passkey that did not verify its user
)

// Factor is a confirmed second factor, without its secret.
type Factor struct {
	ID         FactorID
	User       viewer.UserID
	Kind       FactorKind
	Name       string
	CreatedAt  time.Time
	LastUsedAt time.Time // zero: not since it was confirmed
}

// Factors returns the confirmed factors of user, oldest first; by is user or may read all users.
// Faults: UNAUTHENTICATED, NOT_FOUND.
func (a *Accounts) Factors(ctx context.Context, by viewer.Viewer, user viewer.UserID) ([]Factor, error) {
	if err := mayRead(by, user); err != nil {
		return nil, err
	}
	rows, err := store.All(ctx, a.db, selectFactors, scanFactor, user)
	if err != nil {
		return nil, fmt.Errorf("read factors of %s: %w", user, err)
	}
	factors := make([]Factor, 0, len(rows))
	for _, r := range rows {
		f, err := a.openFactor(r)
		if err != nil {
			return nil, err
		}
		factors = append(factors, f)
	}
	return factors, nil
}

// Factor returns the confirmed factor id if by may see it. Faults: UNAUTHENTICATED, NOT_FOUND.
func (a *Accounts) Factor(ctx context.Context, by viewer.Viewer, id FactorID) (Factor, error) {
	if err := by.SignedIn(); err != nil {
		return Factor{}, err
	}
	r, err := store.One(ctx, a.db, selectFactor, scanFactor, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && (r.confirmedAt.IsZero() || !by.Owns(r.User, viewer.ReadUsers)) {
		return Factor{}, fault.Missing("factor")
	}
	if err != nil {
		return Factor{}, fmt.Errorf("read factor: %w", err)
	}
	return a.openFactor(r)
}

// RecoveryCodesLeft counts the recovery codes of user that were not used; by is user or may read all
// users.
func (a *Accounts) RecoveryCodesLeft(ctx context.Context, by viewer.Viewer, user viewer.UserID) (int, error) {
	if err := mayRead(by, user); err != nil {
		return 0, err
	}
	hashes, err := recoveryHashes(ctx, a.db, user)
	return len(hashes), err
}

// openFactor unseals the name.
func (a *Accounts) openFactor(r factorRow) (Factor, error) {
	name, err := a.ring.Open(r.nameSealed, factorPlace(r.ID, "name"))
	if err != nil {
		return Factor{}, fmt.Errorf("open factor %s: %w", r.ID, err)
	}
	r.Name = string(name)
	return r.Factor, nil
}

// secretOf unseals what the factor is made of.
func (a *Accounts) secretOf(r factorRow) (string, error) {
	secret, err := a.ring.Open(r.sealed, factorPlace(r.ID, "sealed"))
	if err != nil {
		return "", fmt.Errorf("open factor %s: %w", r.ID, err)
	}
	return string(secret), nil
}

func factorPlace(id FactorID, column string) []byte {
	return []byte("factors/" + string(id) + "/" + column)
}

// WrongCode is the one answer for a code that is wrong, was used, or was never sent.
func WrongCode() error { return wrongCode() }

func wrongCode() *fault.Fault {
	return fault.New(fault.InvalidCode, "code", "The code is wrong or was used already.")
}

// mayRead returns why by may not see what belongs to user.
func mayRead(by viewer.Viewer, user viewer.UserID) error {
	if err := by.SignedIn(); err != nil {
		return err
	}
	if !by.Owns(user, viewer.ReadUsers) {
		return fault.Missing("user")
	}
	return nil
}
