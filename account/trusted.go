package account

import (
	"context"
	"fmt"
	"time"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
	"gatehouse/session/token"
)

// TrustedDeviceID names a trusted device, "tdv_…".
type TrustedDeviceID string

// TrustedDevice is a device on which its owner is not asked for a second factor. It never stands in for
// one where a step-up is asked for.
type TrustedDevice struct {
	ID         TrustedDeviceID
	User       viewer.UserID
	Name       string // as the person calls it; may be empty
	Agent      string
	Network    string // where it was trusted
	CreatedAt  time.Time
	LastUsedAt time.Time
	ExpiresAt  time.Time
}

const (
	// TrustLife is how long a device is trusted.
	TrustLife = 30 * 24 * time.Hour

	maxTrusted  = 20 // devices of one account; the oldest gives way
	trustPrefix = "ghd_"
)

// TrustTx trusts a device of user and returns its token, of which only the hash is kept.
func (a *Accounts) TrustTx(ctx context.Context, tx *store.Tx, user viewer.UserID, device session.Device, origin session.Origin) (secret string, until time.Time, err error) {
	secret, hash := token.NewOpaque(trustPrefix)
	now := a.now()
	device, agent := session.Bounded(device, origin.Agent)
	until = now.Add(TrustLife)
	id := store.NewID[TrustedDeviceID]("tdv")
	_, err = tx.Exec(ctx, insertTrusted, id, user, hash[:], device.Name, agent, session.Network(origin.IP),
		store.At(now), store.At(now), store.At(until))
	if err != nil {
		return "", time.Time{}, fmt.Errorf("trust device: %w", err)
	}
	if _, err := tx.Exec(ctx, deleteSurplusTrusted, user, user, maxTrusted); err != nil {
		return "", time.Time{}, fmt.Errorf("trust device: %w", err)
	}
	return secret, until, a.audit.RecordTx(ctx, tx, audit.Event{
		Action: audit.DeviceTrusted, By: viewer.Viewer{User: user}, Subject: user, Network: session.Network(origin.IP),
		Details: map[string]string{"device": string(id)},
	})
}

// TrustsTx reports whether secret is the token of a device that user trusts, and notes its use.
func (a *Accounts) TrustsTx(ctx context.Context, tx *store.Tx, user viewer.UserID, secret string) (bool, error) {
	if secret == "" {
		return false, nil
	}
	hash, now := token.HashOpaque(secret), a.now()
	used, err := tx.Exec(ctx, useTrusted, store.At(now), hash[:], user, store.At(now))
	if err != nil {
		return false, fmt.Errorf("check trusted device: %w", err)
	}
	return used == 1, nil
}

// RevokeTrustedDevice asks for the second factor again on a device of by. Faults: UNAUTHENTICATED,
// NOT_FOUND.
func (a *Accounts) RevokeTrustedDevice(ctx context.Context, by viewer.Viewer, id TrustedDeviceID) error {
	if err := by.InPerson(); err != nil {
		return err
	}
	return a.db.Update(ctx, func(tx *store.Tx) error {
		deleted, err := tx.Exec(ctx, deleteOneTrusted, id, by.User)
		if err != nil {
			return fmt.Errorf("revoke trusted device: %w", err)
		}
		if deleted == 0 {
			return fault.Missing("trusted device")
		}
		return a.audit.RecordTx(ctx, tx, audit.Event{
			Action: audit.DeviceUntrusted, By: by, Subject: by.User, Session: by.Session,
			Details: map[string]string{"device": string(id)},
		})
	})
}

// ForgetDevicesTx takes the trust from all devices of user: the password was changed or reset, or the
// owner has said that a sign-in was not theirs.
func (a *Accounts) ForgetDevicesTx(ctx context.Context, tx *store.Tx, user viewer.UserID) error {
	if _, err := tx.Exec(ctx, deleteTrusted, user); err != nil {
		return fmt.Errorf("forget trusted devices of %s: %w", user, err)
	}
	return nil
}
