// Package vault keeps what lies sealed in the database readable when the deployment's secret key is
// changed.
//
// # Keys that outlive the secret key
//
// What is not sealed but computed with a key, such as the index by which an address is found, cannot be
// computed anew from another secret key. Such keys are drawn once and kept in the table
// deployment_keys, sealed like everything else ([Vault.Key]).
//
// # Sealing anew
//
// A keyring opens with former keys and seals with the current one. [Vault.Reseal] walks every sealed
// column that the rooms have told of ([secret.Column]) and seals anew what a former key sealed, in
// batches of 200 rows. It can be stopped and begun again at any time, also on several servers at once:
// a value that changed meanwhile is left to its writer. A former key may be forgotten once
// [Vault.Stale] counts nothing.
package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
)

// batch is how many rows are read at once, and written in one transaction.
const batch = 200

// maxPasses bounds how often Reseal walks: a server that still seals with a former key could keep it
// busy for ever.
const maxPasses = 5

// Vault is the sealed values of one deployment. Its methods may be called from many goroutines.
type Vault struct {
	db      *store.DB
	ring    *secret.Keyring
	columns []secret.Column
	now     func() time.Time
}

// New returns the vault of db. columns are all sealed columns but those of the vault itself; now may be
// nil.
func New(db *store.DB, ring *secret.Keyring, now func() time.Time, columns ...secret.Column) *Vault {
	if now == nil {
		now = time.Now
	}
	own := secret.Column{Table: "deployment_keys", ID: "name", Name: "sealed", Place: place}
	return &Vault{db: db, ring: ring, columns: append([]secret.Column{own}, columns...), now: now}
}

func place(name string) []byte { return []byte("deployment_keys/" + name) }

// Current names the key that seals.
func (v *Vault) Current() string { return v.ring.Current() }

// Key returns the deployment's key of that name. The first ask keeps what first gives; of several
// servers that ask at once, one does. [secret.ErrUnknownKey] means that the secret key was changed
// without the former one being named.
func (v *Vault) Key(ctx context.Context, name string, first func() (secret.Key, error)) (secret.Key, error) {
	key, err := v.read(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		if err = v.keep(ctx, name, first); err == nil {
			key, err = v.read(ctx, name)
		}
	}
	if err != nil {
		return secret.Key{}, fmt.Errorf("open deployment key %q: %w", name, err)
	}
	return key, nil
}

func (v *Vault) read(ctx context.Context, name string) (secret.Key, error) {
	sealed, err := store.One(ctx, v.db, selectKey, store.Value[[]byte], name)
	if err != nil {
		return secret.Key{}, err
	}
	plain, err := v.ring.Open(sealed, place(name))
	if err != nil {
		return secret.Key{}, err
	}
	defer clear(plain)
	if len(plain) != len(secret.Key{}) {
		return secret.Key{}, secret.ErrKey
	}
	return secret.Key(plain), nil
}

func (v *Vault) keep(ctx context.Context, name string, first func() (secret.Key, error)) error {
	key, err := first()
	if err != nil {
		return err
	}
	sealed, err := v.ring.Seal(key[:], place(name))
	if err != nil {
		return err
	}
	return v.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, insertKey, name, sealed, store.At(v.now()))
		return err
	})
}

// Reseal seals with the current key whatever a former one sealed and returns how many values that were.
// report, which may be nil, is told how many rows of how many were looked at.
func (v *Vault) Reseal(ctx context.Context, report func(done, total int64)) (int64, error) {
	total, err := v.rows(ctx)
	if err != nil {
		return 0, err
	}
	var changed int64
	for range maxPasses {
		var done, found int64
		for _, c := range v.columns {
			n, err := v.walk(ctx, c, v.resealRows, func(rows int64) {
				if done += rows; report != nil {
					report(min(done, total), total)
				}
			})
			changed, found = changed+n, found+n
			if err != nil {
				return changed, err
			}
		}
		if found == 0 {
			break
		}
	}
	if report != nil {
		report(total, total)
	}
	return changed, nil
}

// Stale counts the values that a former key sealed.
func (v *Vault) Stale(ctx context.Context) (int64, error) {
	var stale int64
	for _, c := range v.columns {
		n, err := v.walk(ctx, c, v.staleRows, func(int64) {})
		if err != nil {
			return 0, err
		}
		stale += n
	}
	return stale, nil
}

// walk gives do all rows of a column, batch by batch, and returns the sum of what it returned.
func (v *Vault) walk(ctx context.Context, c secret.Column, do func(context.Context, secret.Column, []row) (int64, error), walked func(rows int64)) (sum int64, err error) {
	for after := ""; ; {
		rows, err := store.All(ctx, v.db, selectRows(c), scanRow, after, batch)
		if err != nil {
			return sum, fmt.Errorf("walk %s.%s: %w", c.Table, c.Name, err)
		}
		n, err := do(ctx, c, rows)
		sum += n
		if err != nil {
			return sum, err
		}
		walked(int64(len(rows)))
		if len(rows) < batch {
			return sum, nil
		}
		after = rows[len(rows)-1].id
	}
}

// row is one stored value.
type row struct {
	id     string
	stored []byte
	fresh  []byte
}

// resealRows writes the rows whose value is stale. One that was changed meanwhile stays as it is.
func (v *Vault) resealRows(ctx context.Context, c secret.Column, rows []row) (int64, error) {
	stale, err := v.freshen(c, rows)
	if err != nil || len(stale) == 0 {
		return 0, err
	}
	write := updateRow(c)
	err = v.db.Update(ctx, func(tx *store.Tx) error {
		for _, r := range stale {
			if _, err := tx.Exec(ctx, write, value(c, r.fresh), r.id, value(c, r.stored)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("seal %s.%s anew: %w", c.Table, c.Name, err)
	}
	return int64(len(stale)), nil
}

func (v *Vault) staleRows(_ context.Context, c secret.Column, rows []row) (int64, error) {
	stale, err := v.freshen(c, rows)
	return int64(len(stale)), err
}

// freshen returns the rows that are stale, with what they are to hold.
func (v *Vault) freshen(c secret.Column, rows []row) ([]row, error) {
	var stale []row
	for _, r := range rows {
		fresh, changed, err := c.Reseal(v.ring, r.id, r.stored)
		if err != nil {
			return nil, err
		}
		if changed {
			r.fresh = fresh
			stale = append(stale, r)
		}
	}
	return stale, nil
}

// rows counts the rows that a walk looks at.
func (v *Vault) rows(ctx context.Context) (total int64, err error) {
	for _, c := range v.columns {
		n, err := store.One(ctx, v.db, countRows(c), store.Value[int64])
		if err != nil {
			return 0, fmt.Errorf("count %s.%s: %w", c.Table, c.Name, err)
		}
		total += n
	}
	return total, nil
}

// OnceTx marks that what name tells of has happened, if tx commits. It happens once in a deployment:
// a second time, also at the same moment on another server, is WRONG_STATE.
func (v *Vault) OnceTx(ctx context.Context, tx *store.Tx, name string) error {
	sealed, err := v.ring.Seal(nil, place(name))
	if err != nil {
		return err
	}
	inserted, err := tx.Exec(ctx, insertKey, name, sealed, store.At(v.now()))
	if err != nil {
		return fmt.Errorf("mark %q: %w", name, err)
	}
	if inserted == 0 {
		return fault.New(fault.WrongState, "", "This has been done already.")
	}
	return nil
}
