package account

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

// ImportUsers is the kind of job that makes accounts of a list.
const ImportUsers = "importUsers"

// MaxImport is how many rows of a list share a transaction at the most.
const MaxImport = 200

// Import is who makes accounts of a list, and what its rows may ask for.
type Import struct {
	Job   queue.ID
	By    viewer.UserID // an administrator
	Roles []viewer.Role // that a row may give beside USER
}

// MayImport returns nil for who may import accounts, with these roles. Faults: UNAUTHENTICATED, FORBIDDEN,
// STEP_UP_REQUIRED; INVALID at allowRoles.
func (a *Accounts) MayImport(ctx context.Context, by viewer.Viewer, roles []viewer.Role) error {
	if err := administers(by); err != nil {
		return err
	}
	if err := a.AssureFactor(ctx, by); err != nil {
		return err
	}
	if slices.ContainsFunc(roles, func(r viewer.Role) bool { return !r.Valid() }) {
		return fault.New(fault.Invalid, "allowRoles", "There is no such role.")
	}
	return nil
}

// Import makes accounts of rows, at most MaxImport, in one transaction. It returns for each row nil when
// its account is there, or why none was made: TAKEN for an address that has an account, which stays as it
// is, or is kept for whoever has left it; REQUIRED, INVALID, TOO_LONG or FORBIDDEN for what a row must not
// say. An account's id is made of the job's and the row's line: so the rows of an attempt that was cut off
// are known when they come again, and the job has made their accounts. Fault: FORBIDDEN when the
// administrator is none any more.
func (a *Accounts) Import(ctx context.Context, i Import, rows []ImportRow) ([]*fault.Fault, error) {
	refused := make([]*fault.Fault, len(rows))
	var arrivals []*arrival
	for n, r := range rows {
		arrived, why, err := a.arrive(i, r)
		if err != nil {
			return nil, fmt.Errorf("import line %d: %w", r.Line, err)
		}
		if refused[n] = why; why == nil {
			arrived.row = n
			arrivals = append(arrivals, arrived)
		}
	}
	// In the order of addresses two imports of the same ones wait for each other and cannot lock up.
	slices.SortStableFunc(arrivals, func(a, b *arrival) int { return bytes.Compare(a.index, b.index) })
	err := a.db.Update(ctx, func(tx *store.Tx) error {
		if err := a.importsTx(ctx, tx, i.By); err != nil {
			return err
		}
		there, err := a.thereTx(ctx, tx, arrivals)
		if err != nil {
			return err
		}
		for _, n := range arrivals {
			if refused[n.row], err = a.importTx(ctx, tx, i, n, there); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("import accounts: %w", err)
	}
	return refused, nil
}

// importsTx returns FORBIDDEN unless id is still an active administrator.
func (a *Accounts) importsTx(ctx context.Context, tx *store.Tx, id viewer.UserID) error {
	r, err := store.One(ctx, tx, selectByID, scanRow, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read account %s: %w", id, err)
	}
	if err != nil || r.Status != Active || !slices.Contains(r.roles(), viewer.Admin) {
		return fault.Denied("Only an administrator may import accounts.")
	}
	return nil
}

// there is what the database has of some arrivals.
type there struct {
	ids   map[viewer.UserID]bool
	taken map[string]bool // by the index of the address
}

// thereTx looks for all arrivals at once.
func (a *Accounts) thereTx(ctx context.Context, tx *store.Tx, arrivals []*arrival) (there, error) {
	found := there{ids: map[viewer.UserID]bool{}, taken: map[string]bool{}}
	ids, indexes := make([]viewer.UserID, len(arrivals)), make([][]byte, len(arrivals))
	for i, n := range arrivals {
		ids[i], indexes[i] = n.user.ID, n.index
	}
	made, err := store.Many(ctx, tx, selectThere, store.Value[viewer.UserID], ids)
	if err != nil {
		return found, fmt.Errorf("look for accounts: %w", err)
	}
	for _, id := range made {
		found.ids[id] = true
	}
	taken, err := store.Many(ctx, tx, selectTaken, store.Value[[]byte], indexes)
	if err != nil {
		return found, fmt.Errorf("look for addresses: %w", err)
	}
	kept, err := store.Many(ctx, tx, selectAllKept, store.Value[[]byte], indexes, ToUndoEmail, store.At(a.now()))
	if err != nil {
		return found, fmt.Errorf("look for addresses that are kept: %w", err)
	}
	for _, index := range append(taken, kept...) {
		found.taken[string(index)] = true
	}
	return found, nil
}

// importTx makes one account, unless it is there or may not be.
func (a *Accounts) importTx(ctx context.Context, tx *store.Tx, i Import, n *arrival, there there) (*fault.Fault, error) {
	switch {
	case there.ids[n.user.ID]: // by an attempt that was cut off
		return nil, nil
	case there.taken[string(n.index)]:
		return alreadyThere(), nil
	}
	there.taken[string(n.index)] = true
	made, err := tx.Exec(ctx, insertUnlessThere, n.sealed.values(n.index)...)
	if err != nil {
		return nil, fmt.Errorf("insert account: %w", err)
	}
	if made == 0 { // somebody was faster
		return alreadyThere(), nil
	}
	details := map[string]string{"job": string(i.Job)}
	if n.sealed.RoleNames != "" {
		details["roles"] = n.sealed.RoleNames
	}
	return nil, a.audit.RecordTx(ctx, tx, audit.Event{
		Action: audit.AccountImported, By: viewer.Viewer{User: i.By}, Subject: n.user.ID, Details: details,
	})
}

func alreadyThere() *fault.Fault {
	return fault.Conflict("email", "This address already has an account.")
}

// RecordImport records that i has come to its end. A crash at the very end of its job may have it recorded
// again.
func (a *Accounts) RecordImport(ctx context.Context, i Import, created, skipped, failed int) error {
	return a.audit.Record(ctx, audit.Event{
		Action: audit.UsersImported, By: viewer.Viewer{User: i.By}, Subject: i.By, Details: map[string]string{
			"job": string(i.Job), "created": strconv.Itoa(created),
			"skipped": strconv.Itoa(skipped), "failed": strconv.Itoa(failed),
		},
	})
}
