package store_test

import (
	"testing"

	"gatehouse/internal/store"
)

func TestTheNthNameOfARowIsTheSameEachTimeAndNoOthers(t *testing.T) {
	from, other := store.NewID[string]("job"), store.NewID[string]("job")
	seen := map[string]bool{}
	for n := range int64(1000) {
		id := store.NthID[string]("usr", from, n)
		if id != store.NthID[string]("usr", from, n) || !store.ValidID("usr", id) {
			t.Fatalf("the name of row %d is %q", n, id)
		}
		for _, name := range []string{id, store.NthID[string]("usr", other, n)} {
			if seen[name] {
				t.Fatalf("row %d has the name %s of another one", n, name)
			}
			seen[name] = true
		}
		if time := len("usr_") + 9; id[4:time] != from[4:time] { // 45 of the 48 bits of its time
			t.Fatalf("%s does not sort with %s", id, from)
		}
	}
}
