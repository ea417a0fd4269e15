package audit

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/internal/fault"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// afterAll sorts after every id.
const afterAll = "evt_~"

// prefix of the ids of events.
const prefix = "evt"

// Security returns a page of what a person sees of their own account, newest first; by is user or may
// read all users. Without count the page's Total is 0. Faults: NOT_FOUND, UNAUTHENTICATED,
// BAD_USER_INPUT for a window that counts from the end.
func (l *Log) Security(ctx context.Context, by viewer.Viewer, user viewer.UserID, w page.Window, count bool) (page.Page[*Entry], error) {
	if err := mayRead(by, user); err != nil {
		return page.Page[*Entry]{}, err
	}
	if w.Backward || w.Before != nil {
		return page.Page[*Entry]{}, fault.New(fault.BadUserInput, "", "Security events are read from the newest on: give first and after.")
	}
	after := afterAll
	if w.After != nil {
		after = w.After.ID
	}
	total := 0
	if count {
		var err error
		if total, err = store.One(ctx, l.db, countSecurity, store.Value[int], user); err != nil {
			return page.Page[*Entry]{}, fmt.Errorf("count events of %s: %w", user, err)
		}
	}
	entries, err := store.All(ctx, l.db, selectSecurity, scanPointer, user, after, w.Size+1)
	if err != nil {
		return page.Page[*Entry]{}, fmt.Errorf("read events of %s: %w", user, err)
	}
	return page.Cut(w, entries, total), nil
}

// Get returns one event that its person may see; by is they or may read all users. Fault: NOT_FOUND.
func (l *Log) Get(ctx context.Context, by viewer.Viewer, id string) (Entry, error) {
	found, err := store.One(ctx, l.db, selectOne, scanEntry, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && mayRead(by, found.Subject) != nil {
		return Entry{}, fault.Missing("object")
	}
	if err != nil {
		return Entry{}, fmt.Errorf("read event %s: %w", id, err)
	}
	return found, nil
}

func mayRead(by viewer.Viewer, user viewer.UserID) error {
	if err := by.SignedIn(); err != nil {
		return err
	}
	if !by.Owns(user, viewer.ReadUsers) {
		return fault.Missing("user")
	}
	return nil
}
