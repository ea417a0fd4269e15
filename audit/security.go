package audit

import (
	"context"
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

// Security returns for each of users a page of what a person sees of their own account, newest first: an
// entry for each whose events by may see, their own or as a reader of all users. Without count the Total
// of a page is 0. Faults: UNAUTHENTICATED, BAD_USER_INPUT for a window that counts from the end.
func (l *Log) Security(ctx context.Context, by viewer.Viewer, users []viewer.UserID, w page.Window, count bool) (map[viewer.UserID]page.Page[*Entry], error) {
	if err := by.SignedIn(); err != nil {
		return nil, err
	}
	if w.Backward || w.Before != nil {
		return nil, fault.New(fault.BadUserInput, "", "Security events are read from the newest on: give first and after.")
	}
	after := afterAll
	if w.After != nil {
		after = w.After.ID
	}
	owned := by.Owned(users, viewer.ReadUsers)
	totals, err := l.totals(ctx, owned, count)
	if err != nil {
		return nil, err
	}
	entries, err := store.Each(ctx, l.db, selectSecurity, "subject, id DESC", scanPointer, owned, after, w.Size+1)
	if err != nil {
		return nil, fmt.Errorf("read security events: %w", err)
	}
	pages := make(map[viewer.UserID]page.Page[*Entry], len(owned))
	for user, rows := range store.Group(owned, entries, func(e *Entry) viewer.UserID { return e.Subject }) {
		pages[user] = page.Cut(w, rows, totals[user])
	}
	return pages, nil
}

// totals counts what each of users sees of their own account, if it is wanted.
func (l *Log) totals(ctx context.Context, users []viewer.UserID, wanted bool) (map[viewer.UserID]int, error) {
	totals := make(map[viewer.UserID]int)
	if !wanted {
		return totals, nil
	}
	_, err := store.Many(ctx, l.db, countSecurity, func(scan store.Scan) (user viewer.UserID, err error) {
		var total int
		err = scan(&user, &total)
		totals[user] = total
		return user, err
	}, users)
	if err != nil {
		return nil, fmt.Errorf("count security events: %w", err)
	}
	return totals, nil
}

// ByIDs returns those of ids that are events their person may see, if by is that person or may read all
// users. Fault: UNAUTHENTICATED.
func (l *Log) ByIDs(ctx context.Context, by viewer.Viewer, ids []string) (map[string]Entry, error) {
	if err := by.SignedIn(); err != nil {
		return nil, err
	}
	entries, err := store.Many(ctx, l.db, selectByIDs, scanEntry, ids)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	found := make(map[string]Entry, len(entries))
	for _, e := range entries {
		if mayRead(by, e.Subject) == nil {
			found[e.ID] = e
		}
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
