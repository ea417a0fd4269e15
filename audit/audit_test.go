package audit_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/test/services"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) { services.Main(m) }

func eachDatabase(t *testing.T, test func(t *testing.T, db *store.DB)) {
	t.Helper()
	for name, address := range map[string]func(testing.TB) string{
		"SQLite":     func(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") },
		"PostgreSQL": services.Postgres,
	} {
		t.Run(name, func(t *testing.T) {
			db, err := store.Open(t.Context(), address(t), store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			if err := db.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			test(t, db)
		})
	}
}

const (
	ada  viewer.UserID = "usr_ada"
	eve  viewer.UserID = "usr_eve"
	noon               = 1_800_000_000
)

func newLog(db *store.DB) *audit.Log {
	return audit.New(db, audit.Options{
		Now:       func() time.Time { return time.Unix(noon, 0) },
		RequestID: func(context.Context) string { return "req_1" },
	})
}

func TestAnEventIsReadAsItWasWrittenByItsSubjectAndByAdmins(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		log := newLog(db)
		err := log.Record(t.Context(), audit.Event{
			Action: audit.LoginRefused, Outcome: audit.Refused, Subject: ada, Session: "ses_1",
			Network: "192.0.2.0/24", Details: map[string]string{"reason": "wrong password"},
		})
		if err != nil {
			t.Fatal(err)
		}
		want := audit.Entry{
			At: time.Unix(noon, 0).UTC(), Action: audit.LoginRefused, Outcome: audit.Refused, Actor: "nobody",
			Subject: ada, Session: "ses_1", Network: "192.0.2.0/24", RequestID: "req_1",
			Details: map[string]string{"reason": "wrong password"},
		}
		for name, by := range map[string]viewer.Viewer{
			"the subject": {User: ada}, "an admin": {User: eve, Roles: []viewer.Role{viewer.Admin}}, "the server": viewer.System(),
		} {
			got, err := log.ByUser(t.Context(), by, ada, 10)
			if err != nil || len(got) != 1 {
				t.Fatalf("%s reads %d events, %v; want one", name, len(got), err)
			}
			got[0].ID = ""
			if diff := cmp.Diff(want, got[0]); diff != "" {
				t.Errorf("%s reads another event (-want +got):\n%s", name, diff)
			}
		}
	})
}

func TestNobodyReadsTheEventsOfAnother(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		log := newLog(db)
		if _, err := log.ByUser(t.Context(), viewer.Viewer{User: eve}, ada, 10); !fault.Is(err, fault.NotFound) {
			t.Errorf("another account: %v, want NOT_FOUND", err)
		}
		if _, err := log.ByUser(t.Context(), viewer.Viewer{}, "", 10); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("nobody: %v, want UNAUTHENTICATED", err)
		}
	})
}

func TestAnEventOfATransactionThatFailsIsNotRecorded(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		log := newLog(db)
		broken := errors.New("broken")
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			if err := log.RecordTx(t.Context(), tx, audit.Event{Action: audit.PasswordChanged, Subject: ada}); err != nil {
				return err
			}
			return broken
		})
		if !errors.Is(err, broken) {
			t.Fatal(err)
		}
		if got, err := log.ByUser(t.Context(), viewer.System(), ada, 10); err != nil || len(got) != 0 {
			t.Errorf("%d events, %v; want none", len(got), err)
		}
	})
}

func TestTheNewestEventsComeFirstAndAreBounded(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		log := newLog(db)
		for range 3 {
			if err := log.Record(t.Context(), audit.Event{Action: audit.LoginSucceeded, By: viewer.Viewer{User: ada}, Subject: ada}); err != nil {
				t.Fatal(err)
			}
		}
		if err := log.Record(t.Context(), audit.Event{Action: audit.SessionRevoked, By: viewer.System(), Subject: ada}); err != nil {
			t.Fatal(err)
		}
		got, err := log.ByUser(t.Context(), viewer.System(), ada, 2)
		if err != nil || len(got) != 2 || got[0].Action != audit.SessionRevoked || got[0].Actor != "system" || got[1].Actor != string(ada) {
			t.Errorf("got %+v, %v; want the revocation by the system, then a login by ada", got, err)
		}
	})
}

func TestDetailsAboveTheBoundAreRefused(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		err := newLog(db).Record(t.Context(), audit.Event{
			Action: audit.LoginRefused, Details: map[string]string{"long": strings.Repeat("x", 5<<10)},
		})
		if err == nil {
			t.Error("5 KiB of details were recorded")
		}
	})
}
