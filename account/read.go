package account

import (
	"context"
	"fmt"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// What hangs on accounts is read for many at once. A map has an entry for each account whose things by
// may see, owned by them or to be read by all readers of users, and for no other.

// Factors returns the confirmed factors of each of users, oldest first. Fault: UNAUTHENTICATED.
func (a *Accounts) Factors(ctx context.Context, by viewer.Viewer, users []viewer.UserID) (map[viewer.UserID][]Factor, error) {
	return ofEach(by, users, Factor.owner, func(owned []viewer.UserID) ([]Factor, error) {
		rows, err := store.Many(ctx, a.db, selectFactorsOfMany, scanFactor, owned)
		if err != nil {
			return nil, fmt.Errorf("read factors: %w", err)
		}
		return opened(rows, a.openFactor)
	})
}

// FactorsByIDs returns those of ids that are confirmed factors by may see. Fault: UNAUTHENTICATED.
func (a *Accounts) FactorsByIDs(ctx context.Context, by viewer.Viewer, ids []FactorID) (map[FactorID]Factor, error) {
	return seen(by, factorRow.owner, a.openFactor, func(f Factor) FactorID { return f.ID }, func() ([]factorRow, error) {
		return store.Many(ctx, a.db, selectConfirmed, scanFactor, ids)
	})
}

// RecoveryCodesLeft counts the recovery codes of each of users that were not used. Fault: UNAUTHENTICATED.
func (a *Accounts) RecoveryCodesLeft(ctx context.Context, by viewer.Viewer, users []viewer.UserID) (map[viewer.UserID]int, error) {
	if err := by.SignedIn(); err != nil {
		return nil, err
	}
	type count struct {
		user viewer.UserID
		left int
	}
	owned := by.Owned(users, viewer.ReadUsers)
	counts, err := store.Many(ctx, a.db, countRecoveryCodes, func(scan store.Scan) (c count, err error) {
		err = scan(&c.user, &c.left)
		return c, err
	}, owned)
	if err != nil {
		return nil, fmt.Errorf("count recovery codes: %w", err)
	}
	left := make(map[viewer.UserID]int, len(owned))
	for _, user := range owned {
		left[user] = 0
	}
	for _, c := range counts {
		left[c.user] = c.left
	}
	return left, nil
}

// TrustedDevices returns the devices that each of users trusts, newest first. Fault: UNAUTHENTICATED.
func (a *Accounts) TrustedDevices(ctx context.Context, by viewer.Viewer, users []viewer.UserID) (map[viewer.UserID][]TrustedDevice, error) {
	return ofEach(by, users, TrustedDevice.owner, func(owned []viewer.UserID) ([]TrustedDevice, error) {
		devices, err := store.Many(ctx, a.db, selectTrusted, scanTrusted, owned, store.At(a.now()))
		if err != nil {
			return nil, fmt.Errorf("read trusted devices: %w", err)
		}
		return devices, nil
	})
}

// TrustedDevicesByIDs returns those of ids that by may see. Fault: UNAUTHENTICATED.
func (a *Accounts) TrustedDevicesByIDs(ctx context.Context, by viewer.Viewer, ids []TrustedDeviceID) (map[TrustedDeviceID]TrustedDevice, error) {
	asItIs := func(d TrustedDevice) (TrustedDevice, error) { return d, nil }
	return seen(by, TrustedDevice.owner, asItIs, func(d TrustedDevice) TrustedDeviceID { return d.ID }, func() ([]TrustedDevice, error) {
		return store.Many(ctx, a.db, selectTrustedByIDs, scanTrusted, ids)
	})
}

// Identities returns the identities of each of users, oldest first. Fault: UNAUTHENTICATED.
func (a *Accounts) Identities(ctx context.Context, by viewer.Viewer, users []viewer.UserID) (map[viewer.UserID][]Identity, error) {
	return ofEach(by, users, Identity.owner, func(owned []viewer.UserID) ([]Identity, error) {
		rows, err := store.Many(ctx, a.db, selectIdentities, scanIdentity, owned)
		if err != nil {
			return nil, fmt.Errorf("read identities: %w", err)
		}
		return opened(rows, a.openIdentity)
	})
}

// IdentitiesByIDs returns those of ids that by may see. Fault: UNAUTHENTICATED.
func (a *Accounts) IdentitiesByIDs(ctx context.Context, by viewer.Viewer, ids []IdentityID) (map[IdentityID]Identity, error) {
	return seen(by, identityRow.owner, a.openIdentity, func(i Identity) IdentityID { return i.ID }, func() ([]identityRow, error) {
		return store.Many(ctx, a.db, selectIdentitiesByIDs, scanIdentity, ids)
	})
}

// Identity returns one identity; by is its owner or may read all users. Faults: UNAUTHENTICATED,
// NOT_FOUND.
func (a *Accounts) Identity(ctx context.Context, by viewer.Viewer, id IdentityID) (Identity, error) {
	found, err := a.IdentitiesByIDs(ctx, by, []IdentityID{id})
	if err != nil {
		return Identity{}, err
	}
	identity, exists := found[id]
	if !exists {
		return Identity{}, fault.Missing("identity")
	}
	return identity, nil
}

func (f Factor) owner() viewer.UserID        { return f.User }
func (d TrustedDevice) owner() viewer.UserID { return d.User }
func (i Identity) owner() viewer.UserID      { return i.User }

// ofEach returns what read brings for those of users whose things by may see, by user.
func ofEach[T any](by viewer.Viewer, users []viewer.UserID, ownerOf func(T) viewer.UserID, read func(owned []viewer.UserID) ([]T, error)) (map[viewer.UserID][]T, error) {
	if err := by.SignedIn(); err != nil {
		return nil, err
	}
	owned := by.Owned(users, viewer.ReadUsers)
	all, err := read(owned)
	if err != nil {
		return nil, err
	}
	return store.Group(owned, all, ownerOf), nil
}

// seen opens those of the rows that read brings which by may see, by id.
func seen[R, T any, K comparable](by viewer.Viewer, ownerOf func(R) viewer.UserID, open func(R) (T, error), idOf func(T) K, read func() ([]R, error)) (map[K]T, error) {
	if err := by.SignedIn(); err != nil {
		return nil, err
	}
	rows, err := read()
	if err != nil {
		return nil, fmt.Errorf("read by id: %w", err)
	}
	found := make(map[K]T, len(rows))
	for _, r := range rows {
		if !by.Owns(ownerOf(r), viewer.ReadUsers) {
			continue
		}
		one, err := open(r)
		if err != nil {
			return nil, err
		}
		found[idOf(one)] = one
	}
	return found, nil
}

// opened opens all of rows.
func opened[R, T any](rows []R, open func(R) (T, error)) ([]T, error) {
	all := make([]T, len(rows))
	for i, r := range rows {
		var err error
		if all[i], err = open(r); err != nil {
			return nil, err
		}
	}
	return all, nil
}
