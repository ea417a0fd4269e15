package session

import (
	"context"
	"fmt"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// What belongs to accounts is read for many at once. A map by account has an entry for each account whose
// things by may see, owned by them or to be read by all readers of users, and for no other; one by id has
// only what by may see.

// List returns the live sessions of user, newest first; by is user or may read all users. Faults:
// NOT_FOUND, UNAUTHENTICATED.
func (s *Sessions) List(ctx context.Context, by viewer.Viewer, user viewer.UserID) ([]Session, error) {
	found, err := s.ByUsers(ctx, by, []viewer.UserID{user})
	if err != nil {
		return nil, err
	}
	sessions, seen := found[user]
	if !seen {
		return nil, fault.Missing("user")
	}
	return sessions, nil
}

// ByUsers returns the live sessions of each of users, newest first. Fault: UNAUTHENTICATED.
func (s *Sessions) ByUsers(ctx context.Context, by viewer.Viewer, users []viewer.UserID) (map[viewer.UserID][]Session, error) {
	return ofEach(ctx, s.db, by, users, selectByUsers, scanSession, Session.owner, store.At(s.now()))
}

// ByIDs returns those of ids that by may see, ended ones too. Fault: UNAUTHENTICATED.
func (s *Sessions) ByIDs(ctx context.Context, by viewer.Viewer, ids []viewer.SessionID) (map[viewer.SessionID]Session, error) {
	return byIDs(ctx, s.db, by, ids, selectSessions, scanSession, Session.owner, func(s Session) viewer.SessionID { return s.ID })
}

// APIKeys returns the living keys of each of owners, newest first. Fault: UNAUTHENTICATED.
func (s *Sessions) APIKeys(ctx context.Context, by viewer.Viewer, owners []viewer.UserID) (map[viewer.UserID][]APIKey, error) {
	return ofEach(ctx, s.db, by, owners, selectKeysOf, scanAPIKey, APIKey.owner, store.At(s.now()))
}

// APIKeysByIDs returns those of ids that live and by may see. Fault: UNAUTHENTICATED.
func (s *Sessions) APIKeysByIDs(ctx context.Context, by viewer.Viewer, ids []viewer.MachineID) (map[viewer.MachineID]APIKey, error) {
	return byIDs(ctx, s.db, by, ids, selectKeysByIDs, scanAPIKey, APIKey.owner, func(k APIKey) viewer.MachineID { return k.ID }, store.At(s.now()))
}

// ServiceAccounts returns the service accounts of each of owners, newest first. Fault: UNAUTHENTICATED.
func (s *Sessions) ServiceAccounts(ctx context.Context, by viewer.Viewer, owners []viewer.UserID) (map[viewer.UserID][]ServiceAccount, error) {
	return ofEach(ctx, s.db, by, owners, selectServicesOf, scanService, ServiceAccount.owner)
}

// ServiceAccountsByIDs returns those of ids that by may see. Fault: UNAUTHENTICATED.
func (s *Sessions) ServiceAccountsByIDs(ctx context.Context, by viewer.Viewer, ids []viewer.MachineID) (map[viewer.MachineID]ServiceAccount, error) {
	return byIDs(ctx, s.db, by, ids, selectServicesByIDs, scanService, ServiceAccount.owner, func(a ServiceAccount) viewer.MachineID { return a.ID })
}

func (s Session) owner() viewer.UserID        { return s.User }
func (k APIKey) owner() viewer.UserID         { return k.Owner }
func (a ServiceAccount) owner() viewer.UserID { return a.Owner }

// ofEach runs q, whose list is of users, for those whose things by may see.
func ofEach[T any](ctx context.Context, r store.Reader, by viewer.Viewer, users []viewer.UserID, q *store.Query,
	scan func(store.Scan) (T, error), ownerOf func(T) viewer.UserID, rest ...any,
) (map[viewer.UserID][]T, error) {
	if err := by.SignedIn(); err != nil {
		return nil, err
	}
	owned := by.Owned(users, viewer.ReadUsers)
	all, err := store.Many(ctx, r, q, scan, owned, rest...)
	if err != nil {
		return nil, fmt.Errorf("read what belongs to users: %w", err)
	}
	return store.Group(owned, all, ownerOf), nil
}

// byIDs runs q, whose list is of ids, and returns what by may see.
func byIDs[K comparable, T any](ctx context.Context, r store.Reader, by viewer.Viewer, ids []K, q *store.Query,
	scan func(store.Scan) (T, error), ownerOf func(T) viewer.UserID, idOf func(T) K, rest ...any,
) (map[K]T, error) {
	if err := by.SignedIn(); err != nil {
		return nil, err
	}
	all, err := store.Many(ctx, r, q, scan, ids, rest...)
	if err != nil {
		return nil, fmt.Errorf("read by id: %w", err)
	}
	found := make(map[K]T, len(all))
	for _, one := range all {
		if by.Owns(ownerOf(one), viewer.ReadUsers) {
			found[idOf(one)] = one
		}
	}
	return found, nil
}

// AllOf returns the newest 1,000 sessions of user, ended ones included, that are still kept, newest
// first. The caller checks who may see them.
func (s *Sessions) AllOf(ctx context.Context, user viewer.UserID) ([]Session, error) {
	found, err := store.All(ctx, s.db, selectAllOf, scanSession, user)
	if err != nil {
		return nil, fmt.Errorf("read sessions of %s: %w", user, err)
	}
	return found, nil
}
