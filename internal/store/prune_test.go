package store_test

import (
	"fmt"
	"testing"

	"gatehouse/internal/store"
)

var pruneSettings = store.SQL(`DELETE FROM kind_settings WHERE kind IN
	(SELECT kind FROM kind_settings WHERE kind LIKE ? LIMIT 500)`)

func TestPruningGoesOnUntilNothingIsLeftToDelete(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			for i := range 2*store.PruneBatch + 1 {
				if err := insert(t.Context(), fmt.Sprintf("old%d", i))(tx); err != nil {
					return err
				}
			}
			return insert(t.Context(), "new")(tx)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Prune(t.Context(), pruneSettings, "old%"); err != nil {
			t.Fatal(err)
		}
		if left, err := store.One(t.Context(), db, countSettings, store.Value[int]); err != nil || left != 1 {
			t.Errorf("%d rows are left, %v, want the one that stays", left, err)
		}
	})
}
