package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/store"
)

var (
	insertSettings = store.SQL("INSERT INTO kind_settings (kind, max_running) VALUES (?, ?)")
	selectAbove    = store.SQL("SELECT kind FROM kind_settings WHERE kind LIKE ? AND max_running > ? ORDER BY kind DESC LIMIT ?")
	selectListed   = store.SQL("SELECT kind FROM kind_settings WHERE kind IN (?*) AND max_running > ? ORDER BY kind")
)

// letters makes three rows for each of n letters, a1 to a3 and so on.
func letters(t *testing.T, db *store.DB, n int) (patterns []string) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("k%03d-", i)
		patterns = append(patterns, name+"%")
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			for row := range 3 {
				if _, err := tx.Exec(t.Context(), insertSettings, fmt.Sprint(name, row), row); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return patterns
}

func TestEachKeyGetsNoMoreRowsThanItWouldAlone(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		patterns := letters(t, db, 101)
		for _, n := range []int{0, 1, 2, 20, 101} {
			got, err := store.Each(t.Context(), db, selectAbove, "kind DESC", store.Value[string], patterns[:n], 0, 1)
			if err != nil || len(got) != n {
				t.Fatalf("%d keys get %d rows, %v; want one each", n, len(got), err)
			}
			for _, kind := range got {
				if !strings.HasSuffix(kind, "-2") {
					t.Errorf("%s is not the last of its key", kind)
				}
			}
		}
		inOne, err := store.Each(t.Context(), db, selectAbove, "kind DESC", store.Value[string], patterns[:5], -1, 2)
		if err != nil || len(inOne) != 10 || !slices.IsSortedFunc(inOne, func(a, b string) int { return strings.Compare(b, a) }) {
			t.Errorf("two rows for each of five keys are %v, %v", inOne, err)
		}
	})
}

func TestManyFindsTheRowsOfAListOfAnyLength(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		letters(t, db, 3)
		for _, n := range []int{0, 1, 3, 700} {
			list := []string{"k000-1", "k001-0", "k002-2"}[:min(n, 3)]
			for len(list) < n {
				list = append(list, fmt.Sprint("none", len(list)))
			}
			want := []string{"k000-1", "k002-2"}[:min(n, 2)]
			if n == 1 {
				want = want[:1]
			}
			got, err := store.Many(t.Context(), db, selectListed, store.Value[string], list, 0)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%d values find %v, %v; want %v", n, got, err, want)
			}
		}
	})
}

func TestAGroupIsThereForEachKeyEvenWithoutRows(t *testing.T) {
	groups := store.Group([]string{"a", "b"}, []string{"a2", "a1"}, func(row string) string { return row[:1] })
	if len(groups) != 2 || !slices.Equal(groups["a"], []string{"a2", "a1"}) || groups["b"] == nil || len(groups["b"]) != 0 {
		t.Errorf("groups are %v", groups)
	}
}
