package account

import (
	"fmt"
	"time"

	"gatehouse/internal/fault"
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
