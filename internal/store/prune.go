package store

import "context"

// PruneBatch is how many rows a statement for [DB.Prune] deletes at most.
const PruneBatch = 500

// Prune runs q, a DELETE of at most [PruneBatch] rows, until it finds fewer, each time in a transaction of
// its own: other writers come in between, and however fast rows are made, as many are deleted.
func (db *DB) Prune(ctx context.Context, q *Query, args ...any) error {
	for {
		var deleted int64
		err := db.Update(ctx, func(tx *Tx) (err error) {
			deleted, err = tx.Exec(ctx, q, args...)
			return err
		})
		if err != nil || deleted < PruneBatch {
			return err
		}
	}
}
