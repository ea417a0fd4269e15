package session

import (
	"context"
	"fmt"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// List returns the live sessions of user, newest first; by is user or may read all users. Faults:
// NOT_FOUND, UNAUTHENTICATED.
func (s *Sessions) List(ctx context.Context, by viewer.Viewer, user viewer.UserID) ([]Session, error) {
	if err := by.SignedIn(); err != nil {
		return nil, err
	}
	if !by.Owns(user, viewer.ReadUsers) {
		return nil, fault.Missing("user")
	}
	return sessionsWhere(ctx, s.db, selectByUsers, []viewer.UserID{user}, store.At(s.now()))
}

// ByIDs returns those of ids that exist, ended ones too, in one statement for every 500. The caller
// checks who may see them.
func (s *Sessions) ByIDs(ctx context.Context, ids []viewer.SessionID) (map[viewer.SessionID]Session, error) {
	found, err := sessionsWhere(ctx, s.db, selectSessions, ids)
	if err != nil {
		return nil, err
	}
	byID := make(map[viewer.SessionID]Session, len(found))
	for _, one := range found {
		byID[one.ID] = one
	}
	return byID, nil
}

// ByUsers returns the live sessions of each user, newest first, in one statement for every 500 users.
// The caller checks who may see them.
func (s *Sessions) ByUsers(ctx context.Context, users []viewer.UserID) (map[viewer.UserID][]Session, error) {
	found, err := sessionsWhere(ctx, s.db, selectByUsers, users, store.At(s.now()))
	if err != nil {
		return nil, err
	}
	byUser := make(map[viewer.UserID][]Session)
	for _, one := range found {
		byUser[one.User] = append(byUser[one.User], one)
	}
	return byUser, nil
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
