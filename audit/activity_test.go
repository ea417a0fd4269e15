package audit_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

func TestActivityCountsTheEventsOfAPeriodForThoseWhoMaySeeThem(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		now := time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC)
		day := now
		log := audit.New(db, audit.Options{Now: func() time.Time { return now }})
		record := func(at time.Time, e audit.Event) {
			t.Helper()
			now = at
			if err := log.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		signIn := audit.Event{Action: audit.LoginSucceeded, Subject: ada, Network: "192.0.2.0/24"}
		record(day.Add(-time.Microsecond), signIn) // before
		record(day, audit.Event{Action: audit.AccountRegistered, Subject: ada})
		record(day.Add(time.Hour), signIn)
		record(day.Add(2*time.Hour), audit.Event{Action: audit.AccountRegistered, Outcome: audit.Refused, Subject: ada})
		record(day.AddDate(0, 0, 1), audit.Event{Action: audit.ChallengeRefused, Outcome: audit.Refused, Subject: ada, Details: map[string]string{"reason": "INVALID_CODE"}})
		record(day.AddDate(0, 0, 1), audit.Event{Action: audit.ChallengeRefused, Outcome: audit.Refused, Subject: ada, Details: map[string]string{"reason": "RATE_LIMITED"}})
		record(day.AddDate(0, 0, 1), audit.Event{Action: audit.SessionSuspended, Subject: ada})
		record(day.AddDate(0, 0, 1), audit.Event{Action: audit.LoginRefused, Outcome: audit.Refused, Details: map[string]string{"reason": `"reason":"RATE_LIMITED"`}})
		record(day.AddDate(0, 0, 1), audit.Event{Action: audit.LoginSucceeded, Subject: eve})
		record(day.AddDate(0, 0, 2), signIn) // after

		ask := func(by viewer.Viewer, user viewer.UserID, most int) audit.Activity {
			t.Helper()
			a, err := log.Activity(t.Context(), by, user, day, day.AddDate(0, 0, 2), most)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		admin := viewer.Viewer{User: "usr_root", Roles: []viewer.Role{viewer.Admin}}
		for name, by := range map[string]viewer.Viewer{"the person": {User: ada}, "an admin": admin} {
			got := ask(by, ada, 2)
			want := audit.Counts{Events: 6, SignIns: 1, Refusals: 1, Lockouts: 2, Registered: 1}
			if diff := cmp.Diff(want, got.Counts); diff != "" || got.Others() != 1 {
				t.Errorf("%s is told (-want +got):\n%s", name, diff)
			}
			if len(got.Days) != 2 || got.Days[0].Events != 3 || !got.Days[1].Day.Equal(day.AddDate(0, 0, 1)) {
				t.Errorf("%s is told of the days %+v", name, got.Days)
			}
			if len(got.Actions) != 2 || got.Kinds != 5 || got.Actions[0].Action != audit.ChallengeRefused || got.Actions[0].Times != 2 {
				t.Errorf("%s is told of the actions %+v, of %d", name, got.Actions, got.Kinds)
			}
			if len(got.Newest) != 2 || got.Newest[0].Action != audit.SessionSuspended {
				t.Errorf("%s is told of the newest events %+v", name, got.Newest)
			}
		}
		all := ask(admin, "", 50)
		want := audit.Counts{Events: 8, SignIns: 2, Refusals: 2, Lockouts: 2, Registered: 1}
		if diff := cmp.Diff(want, all.Counts); diff != "" || all.Newest != nil {
			t.Errorf("of all accounts: newest %v, counts (-want +got):\n%s", all.Newest, diff)
		}
		for name, c := range map[string]struct {
			by   viewer.Viewer
			user viewer.UserID
			code fault.Code
		}{
			"nobody":                  {viewer.Viewer{}, ada, fault.Unauthenticated},
			"another person":          {viewer.Viewer{User: eve}, ada, fault.NotFound},
			"a person of all":         {viewer.Viewer{User: ada}, "", fault.Forbidden},
			"a key without the scope": {viewer.Viewer{User: ada, Machine: "key_1", Scopes: []viewer.Scope{viewer.RunJobs}}, ada, fault.NotFound},
		} {
			if _, err := log.Activity(t.Context(), c.by, c.user, day, day.AddDate(0, 0, 2), 50); !fault.Is(err, c.code) {
				t.Errorf("%s: %v, want %s", name, err, c.code)
			}
		}
	})
}
