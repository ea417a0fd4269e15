package queue_test

import (
	"fmt"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

// oldJob is a job of another day.
var oldJob = store.SQL(`INSERT INTO jobs (id, owner_id, kind, queue, priority, max_attempts, input, state, created_at, run_at, started_at, finished_at, error_code)
	VALUES (?, ?, ?, 'default', 2, 1, '{}', ?, ?, ?, ?, ?, ?)`)

func TestActivityCountsTheJobsOfAPeriodForThoseWhoMaySeeThem(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		q := y.start(queue.Options{}, echo("a").Define())
		day := time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC)
		n := 0
		add := func(owner viewer.UserID, kind string, state queue.State, made time.Time, took time.Duration, code string) {
			n++
			var began, ended any
			due := time.Now().Add(time.Hour) // so that nobody works on it
			if state.Final() {
				began, ended = store.At(made), store.At(made.Add(took))
			}
			y.run(oldJob, fmt.Sprintf("job_old%03d", n), owner, kind, state, store.At(made), store.At(due), began, ended, store.OrNull(code))
		}
		add(ada.User, "a", queue.Succeeded, day, 2*time.Second, "")
		add(ada.User, "a", queue.Succeeded, day.Add(24*time.Hour-time.Microsecond), 4*time.Second, "")
		add(ada.User, "b", queue.Failed, day.AddDate(0, 0, 1), time.Hour, "TOO_LARGE")
		add(ada.User, "b", queue.Failed, day.AddDate(0, 0, 2), time.Minute, "TOO_LARGE")
		add(ada.User, "c", queue.Cancelled, day.AddDate(0, 0, 2), time.Minute, "")
		add(ada.User, "c", queue.Scheduled, day.AddDate(0, 0, 2), 0, "")
		add(ada.User, "a", queue.Succeeded, day.Add(-time.Microsecond), time.Hour, "") // before
		add(ada.User, "a", queue.Succeeded, day.AddDate(0, 0, 3), time.Hour, "")       // after
		add(eve.User, "a", queue.Failed, day, time.Second, "INTERNAL")
		add("", "deliver", queue.Scheduled, day, 0, "")

		ask := func(by viewer.Viewer, owner viewer.UserID, most int) queue.Activity {
			t.Helper()
			a, err := q.Activity(t.Context(), by, owner, day, day.AddDate(0, 0, 3), most)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		type (
			kinds    = queue.Cut[queue.KindActivity]
			failures = queue.Cut[queue.FailureActivity]
		)
		want := queue.Activity{
			Tally: queue.Tally{Jobs: 6, Succeeded: 2, Failed: 2, Cancelled: 1},
			Days: []queue.DayActivity{
				{Day: day, Tally: queue.Tally{Jobs: 2, Succeeded: 2}},
				{Day: day.AddDate(0, 0, 1), Tally: queue.Tally{Jobs: 1, Failed: 1}},
				{Day: day.AddDate(0, 0, 2), Tally: queue.Tally{Jobs: 3, Failed: 1, Cancelled: 1}},
			},
			Kinds: kinds{Rows: []queue.KindActivity{
				{Kind: "a", Tally: queue.Tally{Jobs: 2, Succeeded: 2}, Mean: 3 * time.Second, Longest: 4 * time.Second},
				{Kind: "b", Tally: queue.Tally{Jobs: 2, Failed: 2}},
				{Kind: "c", Tally: queue.Tally{Jobs: 2, Cancelled: 1}},
			}, All: 3},
			Failures: failures{Rows: []queue.FailureActivity{{Kind: "b", Code: "TOO_LARGE", Times: 2, Last: day.AddDate(0, 0, 2).Add(time.Minute)}}, All: 1},
		}
		for name, by := range map[string]viewer.Viewer{"the owner": ada, "an admin": root} {
			if diff := gocmp.Diff(want, ask(by, ada.User, 50)); diff != "" {
				t.Errorf("%s is told (-want +got):\n%s", name, diff)
			}
		}
		all := ask(root, "", 1)
		if len(all.Owners.Rows) != 1 || all.Owners.Rows[0].Owner != ada.User || all.Owners.More() != 2 || all.Kinds.More() != 3 || all.Jobs != 8 || all.Open() != 2 {
			t.Errorf("of all jobs the one largest of each is %+v", all)
		}
		limited := viewer.Viewer{User: ada.User, Machine: "key_1", Scopes: []viewer.Scope{viewer.ReadAccount}}
		for name, c := range map[string]struct {
			by    viewer.Viewer
			owner viewer.UserID
			code  fault.Code
		}{
			"nobody":                     {viewer.Viewer{}, ada.User, fault.Unauthenticated},
			"another person":             {eve, ada.User, fault.Forbidden},
			"a person of all":            {eve, "", fault.Forbidden},
			"a key without the scope":    {limited, ada.User, fault.Forbidden},
			"an admin's key, as to them": {viewer.Viewer{User: root.User, Roles: root.Roles, Machine: "key_2", Scopes: []viewer.Scope{viewer.RunJobs}}, "", fault.Forbidden},
		} {
			if _, err := q.Activity(t.Context(), c.by, c.owner, day, day.AddDate(0, 0, 3), 50); !fault.Is(err, c.code) {
				t.Errorf("%s: %v, want %s", name, err, c.code)
			}
		}
	})
}
