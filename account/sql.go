package account

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gatehouse/internal/cache"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

const columns = `id, email_sealed, name_sealed, email_verified, locale, roles, status, version, created_at, updated_at`

var (
	selectByID    = store.SQL(`SELECT ` + columns + ` FROM users WHERE id = ?`)
	selectByIDs   = store.SQL(`SELECT ` + columns + ` FROM users WHERE id IN (?*)`)
	selectByEmail = store.SQL(`SELECT ` + columns + `, password_hash FROM users WHERE email_index = ?`)
	selectSecret  = store.SQL(`SELECT ` + columns + `, password_hash FROM users WHERE id = ?`)
	insertUser    = store.SQL(`INSERT INTO users (id, email_sealed, email_index, email_verified, name_sealed,
		locale, password_hash, roles, status, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	replacePassword = store.SQL(`UPDATE users SET password_hash = ?, version = version + 1, updated_at = ?
		WHERE id = ? AND password_hash = ?`)
	rehashPassword = store.SQL(`UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ?`)
	updateRoles    = store.SQL(`UPDATE users SET roles = ?, version = version + 1, updated_at = ? WHERE id = ?`)
	updateStatus   = store.SQL(`UPDATE users SET status = ?, version = version + 1, updated_at = ? WHERE id = ?`)
	lockVersion    = store.SQL(`SELECT version FROM users WHERE id = ?`).
			On(store.Postgres, `SELECT version FROM users WHERE id = ? FOR SHARE`)
	lockAdmins = store.SQL(`SELECT id FROM users WHERE ' ' || roles || ' ' LIKE '% ADMIN %' AND status = 'ACTIVE' ORDER BY id`).
			On(store.Postgres, `SELECT id FROM users WHERE ' ' || roles || ' ' LIKE '% ADMIN %' AND status = 'ACTIVE' ORDER BY id FOR UPDATE`)
	countAdmins    = store.SQL(`SELECT count(*) FROM users WHERE ' ' || roles || ' ' LIKE '% ADMIN %'`)
	selectAnyIndex = store.SQL(`SELECT id, email_sealed, email_index FROM users ORDER BY id LIMIT 1`)
	verifyEmail    = store.SQL(`UPDATE users SET email_verified = TRUE, version = version + 1, updated_at = ?
		WHERE id = ?`)
)

func (r *row) into() []any {
	return []any{
		&r.ID, &r.EmailSealed, &r.NameSealed, &r.Verified, &r.Locale, &r.RoleNames, &r.Status, &r.Version,
		store.Time(&r.CreatedAt), store.Time(&r.UpdatedAt),
	}
}

func scanRow(scan store.Scan) (r row, err error) {
	err = scan(r.into()...)
	return r, err
}

// scanSecret scans columns and the password's hash.
func scanSecret(scan store.Scan) (r secretRow, err error) {
	err = scan(append(r.into(), store.Text(&r.hash))...)
	return r, err
}

// read reads one row for the cache.
func (a *Accounts) read(ctx context.Context, id viewer.UserID) (row, error) {
	r, err := store.One(ctx, a.db, selectByID, scanRow, id)
	if errors.Is(err, store.ErrNotFound) {
		return row{}, cache.ErrAbsent
	}
	return r, err
}

// readMany reads rows for the cache.
func (a *Accounts) readMany(ctx context.Context, ids []viewer.UserID) (map[viewer.UserID]row, error) {
	found := make(map[viewer.UserID]row, len(ids))
	for part := range slices.Chunk(ids, store.MaxList) {
		sized, size := selectByIDs.List(len(part))
		rows, err := store.All(ctx, a.db, sized, scanRow, store.Values(part, size)...)
		if err != nil {
			return nil, fmt.Errorf("read accounts: %w", err)
		}
		for _, r := range rows {
			found[r.ID] = r
		}
	}
	return found, nil
}

func (a *Accounts) insertTx(ctx context.Context, tx *store.Tx, r secretRow, index []byte) error {
	_, err := tx.Exec(ctx, insertUser, r.ID, r.EmailSealed, index, r.Verified, r.NameSealed, r.Locale,
		store.OrNull(r.hash), r.RoleNames, r.Status, store.At(r.CreatedAt), store.At(r.UpdatedAt))
	return err
}
