package account

import (
	"context"
	"fmt"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Filter chooses accounts; what is zero does not matter.
type Filter struct {
	Email  string // exactly this address
	ID     viewer.UserID
	Status Status
	Role   viewer.Role
	After  time.Time // made at or after it
	Before time.Time // made before it
}

// List returns a page of the accounts that f chooses, newest first, for those who may read them.
// Faults: UNAUTHENTICATED, FORBIDDEN.
func (a *Accounts) List(ctx context.Context, by viewer.Viewer, f Filter, w page.Window) (page.Page[User], error) {
	none := page.Page[User]{}
	if err := by.Require(viewer.ReadUsers); err != nil {
		return none, err
	}
	where, args := a.where(f)
	place, places, end := w.Newest("created_at")
	var (
		rows  []row
		total int
	)
	err := a.db.View(ctx, func(tx *store.Tx) (err error) {
		list := store.Passing(`SELECT ` + columns + ` FROM users WHERE ` + where + place + end)
		if rows, err = store.All(ctx, tx, list, scanRow, append(args, places...)...); err != nil {
			return err
		}
		total, err = store.One(ctx, tx, store.Passing(`SELECT count(*) FROM users WHERE `+where), store.Value[int], args...)
		return err
	})
	if err != nil {
		return none, fmt.Errorf("list accounts: %w", err)
	}
	users := make([]User, len(rows))
	for i, r := range rows {
		if users[i], err = a.open(r); err != nil {
			return none, err
		}
	}
	return page.Cut(w, users, total), nil
}

// Seen returns the account id if by is its owner or may read all accounts. Faults: UNAUTHENTICATED,
// NOT_FOUND.
func (a *Accounts) Seen(ctx context.Context, by viewer.Viewer, id viewer.UserID) (User, error) {
	if err := by.SignedIn(); err != nil {
		return User{}, err
	}
	if !by.Owns(id, viewer.ReadUsers) {
		return User{}, fault.Missing("user")
	}
	return a.Get(ctx, id)
}

// SeenByIDs returns those of ids that by may see, their own or as a reader of all accounts. Fault:
// UNAUTHENTICATED.
func (a *Accounts) SeenByIDs(ctx context.Context, by viewer.Viewer, ids []viewer.UserID) (map[viewer.UserID]User, error) {
	if err := by.SignedIn(); err != nil {
		return nil, err
	}
	return a.ByIDs(ctx, by.Owned(ids, viewer.ReadUsers))
}

// where returns the conditions of f. Roles stand separated by spaces, without USER, which all hold.
func (a *Accounts) where(f Filter) (string, []any) {
	where, args := "1 = 1", []any{}
	and := func(condition string, value any) {
		where += " AND " + condition
		args = append(args, value)
	}
	if f.Email != "" {
		and("email_index = ?", a.emailIndex(f.Email))
	}
	if f.ID != "" {
		and("id = ?", f.ID)
	}
	if f.Status != "" {
		and("status = ?", f.Status)
	}
	if f.Role != "" && f.Role != viewer.User {
		and("' ' || roles || ' ' LIKE ?", "% "+string(f.Role)+" %")
	}
	if !f.After.IsZero() {
		and("created_at >= ?", store.At(f.After))
	}
	if !f.Before.IsZero() {
		and("created_at < ?", store.At(f.Before))
	}
	return where, args
}

// CursorOf returns the place of u in a list.
func CursorOf(u User) page.Cursor {
	return page.Cursor{Key: u.CreatedAt.UnixMicro(), ID: string(u.ID)}
}
