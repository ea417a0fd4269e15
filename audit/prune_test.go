package audit_test

import (
	"slices"
	"testing"
	"time"

	"gatehouse/audit"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// TestEventsAreDeletedOnceTheyAreOlderThanTheRetention makes two events a day apart, and looks what is left
// of them as time goes on.
func TestEventsAreDeletedOnceTheyAreOlderThanTheRetention(t *testing.T) {
	const day = 24 * time.Hour
	for name, row := range map[string]struct {
		retention time.Duration
		after     time.Duration // since the older one
		want      []string      // newest first
	}{
		"as old as that":           {400 * day, 400 * day, []string{"second", "first"}},
		"one of them older":        {400 * day, 400*day + time.Hour, []string{"second"}},
		"both older":               {400 * day, 402 * day, nil},
		"years, without retention": {0, 4000 * day, []string{"second", "first"}},
	} {
		t.Run(name, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, db *store.DB) {
				began := time.Unix(noon, 0).UTC()
				now := began
				log := audit.New(db, audit.Options{Now: func() time.Time { return now }, Retention: row.retention})
				for _, n := range []string{"first", "second"} {
					if err := log.Record(t.Context(), audit.Event{Action: audit.LoginSucceeded, Subject: ada, Details: map[string]string{"n": n}}); err != nil {
						t.Fatal(err)
					}
					now = now.Add(day)
				}
				now = began.Add(row.after)
				if err := log.Prune(t.Context()); err != nil {
					t.Fatal(err)
				}
				left, err := log.List(t.Context(), viewer.System(), audit.Filter{}, page.Window{Size: 100})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, e := range left.Items {
					got = append(got, e.Details["n"])
				}
				if !slices.Equal(got, row.want) {
					t.Errorf("after %v %v are left, want %v", row.after, got, row.want)
				}
			})
		})
	}
}
