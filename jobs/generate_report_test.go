package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/blob"
	"gatehouse/internal/bus"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/jobs/report"
	"gatehouse/queue"
	"gatehouse/queue/transport"
)

var reportDay = time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC)

func TestTheArgumentsOfASchedulesReportAreThoseOfTheMutation(t *testing.T) {
	for _, c := range []struct {
		input string
		scope ReportScope
		code  fault.Code // "": taken
	}{
		{`{"kind": "JOB_ACTIVITY", "days": 7}`, OwnReport, ""},
		{`{"kind": "JOB_ACTIVITY", "days": 7, "scope": "OWN", "paper": "LETTER"}`, OwnReport, ""},
		{`{"kind": "ACCOUNT_ACTIVITY", "from": "2026-03-05T00:00:00Z", "to": "2026-03-06T00:00:00Z", "scope": "ALL"}`, AllReport, ""},
		{`{"kind": "JOB_ACTIVITY", "days": 7, "scope": "ALL"}`, OwnReport, fault.Invalid},
		{`{"kind": "JOB_ACTIVITY", "days": 7, "scope": "OWN"}`, AllReport, fault.Invalid},
		{`{"kind": "JOB_ACTIVITY", "days": 7, "from": "2026-03-05T00:00:00Z"}`, OwnReport, fault.Required},
		{`{"kind": "SALES", "days": 7}`, OwnReport, fault.Invalid},
		{`{"days": 7}`, OwnReport, fault.Required},
		{`{"kind": "JOB_ACTIVITY", "days": -1}`, OwnReport, fault.Invalid},
		{`{"kind": "JOB_ACTIVITY", "days": 7, "paper": "A3"}`, OwnReport, fault.Invalid},
		{`{"kind": "JOB_ACTIVITY", "days": "7"}`, OwnReport, fault.Invalid},
		{`{"kind": "JOB_ACTIVITY", "days": 7, "owner": "usr_eve"}`, OwnReport, fault.Invalid},
		{`{"kind": "JOB_ACTIVITY", "from": "yesterday", "to": "2026-03-06T00:00:00Z"}`, OwnReport, fault.Invalid},
	} {
		args, err := readReportArguments(json.RawMessage(c.input), c.scope)
		if c.code == "" && err != nil || c.code != "" && !fault.Is(err, c.code) {
			t.Errorf("%s for %s: %+v, %v, want %q", c.input, c.scope, args, err, c.code)
		}
	}
}

func TestTheLastDaysAreWholeAndEndBeforeTheJobsOwn(t *testing.T) {
	berlin := time.FixedZone("", 2*60*60)
	args := ReportArgs{Days: 7}
	from, to := args.period(time.Date(2026, 3, 12, 1, 0, 0, 0, berlin)) // still the 11th in UTC
	if want := time.Date(2026, 3, 11, 0, 0, 0, 0, time.UTC); !to.Equal(want) || !from.Equal(want.AddDate(0, 0, -7)) {
		t.Errorf("the last seven days are %v to %v", from, to)
	}
}

func TestWhatAReportTellsIsReadByThoseWhoMaySeeIt(t *testing.T) {
	key := func(roles []viewer.Role, scopes ...viewer.Scope) viewer.Viewer {
		return viewer.Viewer{User: "usr_ada", Machine: "key_1", Roles: roles, Scopes: scopes}
	}
	admin := []viewer.Role{viewer.Admin}
	for name, c := range map[string]struct {
		by       viewer.Viewer
		own, all bool
	}{
		"the owner":                  {viewer.Viewer{User: "usr_ada"}, true, false},
		"another":                    {viewer.Viewer{User: "usr_eve"}, false, false},
		"an admin":                   {viewer.Viewer{User: "usr_eve", Roles: admin}, true, true},
		"a key that runs jobs":       {key(admin, viewer.RunJobs), false, false},
		"a key that reads":           {key(nil, viewer.RunJobs, viewer.ReadAccount), true, false},
		"a key of the audit alone":   {key(admin, viewer.RunJobs, viewer.ReadAudit), false, false},
		"a key of all":               {key(admin, viewer.ReadAudit, viewer.ReadJobs, viewer.ReadUsers), true, true},
		"a key of no admin any more": {key(nil, viewer.ReadAudit, viewer.ReadJobs, viewer.ReadUsers), false, false},
	} {
		own := MayReadReport(c.by, &queue.Job{Kind: Report.Name, Owner: "usr_ada"})
		all := MayReadReport(c.by, &queue.Job{Kind: DeploymentReport.Name, Owner: "usr_ada"})
		if (own == nil) != c.own || (all == nil) != c.all {
			t.Errorf("%s: own %v, all %v; want allowed %t, %t", name, own, all, c.own, c.all)
		}
	}
}

func TestEveryEventThatAPersonSeesHasANameInEveryLanguage(t *testing.T) {
	for _, tag := range []string{"en", "de", "es"} {
		l, err := report.LanguageOf(tag)
		if err != nil {
			t.Fatal(err)
		}
		for _, action := range audit.Personal() {
			if l.Name(string(action)) == string(action) {
				t.Errorf("%s has no words for %s", tag, action)
			}
		}
	}
}

// manyJobs are jobs of thirty days, 50 owners and six kinds.
var manyJobs = store.SQL(`WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)
	INSERT INTO jobs (id, owner_id, kind, queue, priority, max_attempts, input, state, created_at, run_at, started_at, finished_at, error_code)
	SELECT 'job_many' || i, CASE WHEN i % 2 = 0 THEN 'usr_ada' ELSE 'usr_' || (i % 117) END, 'kind' || (i * i % 6), 'default', 2, 1, '{}',
		CASE WHEN i % 10 = 3 THEN 'FAILED' WHEN i % 31 = 1 THEN 'CANCELLED' ELSE 'SUCCEEDED' END,
		? + i * CAST(? AS BIGINT), ? + i * CAST(? AS BIGINT), ? + i * CAST(? AS BIGINT), ? + i * CAST(? AS BIGINT) + i % 5000000,
		CASE WHEN i % 10 = 3 THEN 'INTERNAL' END FROM n`)

// ledger returns a queue over a database with n jobs of the thirty days from reportDay on, and an audit.
func ledger(t testing.TB, n int) (*queue.Queue, *audit.Log) {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "test.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, apart := store.At(reportDay), (30 * 24 * time.Hour / time.Duration(n)).Microseconds()
	err = db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), manyJobs, n, first, apart, first, apart, first, apart, first, apart)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	files, err := blob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	q, err := queue.New(db, transport.Local(transport.Options{}), bus.Local(), files, nil, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return q, audit.New(db, audit.Options{})
}

// tellJobs writes the report of all jobs.
func tellJobs(t testing.TB, q *queue.Queue, locale string) ([]byte, int) {
	t.Helper()
	l, err := report.LanguageOf(locale)
	if err != nil {
		t.Fatal(err)
	}
	by := viewer.Viewer{User: "usr_root", Roles: []viewer.Role{viewer.Admin}}
	from, to := reportDay, reportDay.AddDate(0, 0, 30)
	a, err := q.Activity(t.Context(), by, "", from, to, maxReportRows)
	if err != nil {
		t.Fatal(err)
	}
	r := &reporter{product: "Gatehouse of Ada", now: func() time.Time { return to }}
	names := map[viewer.UserID]account.User{"usr_ada": {Name: "Ada Λάβλεϊς"}, "usr_7": {Name: "Ђорђе 中文"}, "usr_9": {}}
	d := r.jobDocument(telling{reader{by, "Root", l}, JobActivity, "", from, to}, a, names)
	d.Paper = report.A4
	var file bytes.Buffer
	pages, err := d.Write(&file)
	if err != nil {
		t.Fatal(err)
	}
	keep(t, "jobs-"+locale, file.Bytes())
	return file.Bytes(), pages
}

// keep writes a report to look at into the folder REPORT_SAMPLES.
func keep(t testing.TB, name string, file []byte) {
	t.Helper()
	folder := os.Getenv("REPORT_SAMPLES")
	if folder == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(folder, name+".pdf"), file, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAReportOfManyJobsIsAsSmallAsOneOfFew(t *testing.T) {
	few, fewPages := tellJobs(t, first(ledger(t, 1000)), "en")
	q, _ := ledger(t, 100_000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	many, pages := tellJobs(t, q, "es")
	runtime.ReadMemStats(&after)
	made := (after.TotalAlloc - before.TotalAlloc) >> 20
	t.Logf("100,000 jobs: %d pages, %d KB, %v, %d MB allocated in all", pages, len(many)>>10, time.Since(began).Round(time.Millisecond), made)
	if made > 64 || pages > fewPages+1 || len(many) > len(few)+64<<10 {
		t.Errorf("100,000 jobs take %d MB, %d pages and %d bytes, 1,000 jobs %d pages and %d bytes", made, pages, len(many), fewPages, len(few))
	}
}

func first[A, B any](a A, _ B) A { return a }

func TestTheReportOfAnAccountTellsItsEvents(t *testing.T) {
	_, log := ledger(t, 1)
	now := time.Now().UTC()
	for i, e := range []audit.Event{
		{Action: audit.AccountRegistered},
		{Action: audit.LoginSucceeded, Details: map[string]string{"agent": "Firefox on Linux"}},
		{Action: audit.ChallengeRefused, Outcome: audit.Refused},
		{Action: audit.SessionSuspended},
		{Action: audit.PasswordChanged},
	} {
		for range i + 20 {
			e.Subject, e.Network = "usr_ada", "192.0.2.0/24"
			if err := log.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	from, to := now.Truncate(24*time.Hour).AddDate(0, 0, -29), now.Truncate(24*time.Hour).AddDate(0, 0, 1)
	r := &reporter{log: func() *audit.Log { return log }, product: "Gatehouse", now: func() time.Time { return now }}
	for _, of := range []viewer.UserID{"usr_ada", ""} {
		l, err := report.LanguageOf("de")
		if err != nil {
			t.Fatal(err)
		}
		by := viewer.Viewer{User: "usr_ada", Roles: []viewer.Role{viewer.Admin}}
		d, err := r.tell(context.Background(), nil, telling{reader{by, "Ada", l}, AccountActivity, of, from, to})
		if err != nil {
			t.Fatal(err)
		}
		d.Paper = report.Letter
		var file bytes.Buffer
		if _, err := d.Write(&file); err != nil {
			t.Fatal(err)
		}
		keep(t, "account"+string(of), file.Bytes())
		got := fmt.Sprint(d.Figures)
		if want := "[{Anmeldungen 21} {Abweisungen 22} {Sperren 23} {Andere Ereignisse 44}]"; of != "" && got != want {
			t.Errorf("the figures are %s, want %s", got, want)
		}
		if want := "[{Anmeldungen 21} {Abweisungen 22} {Sperren 23} {Neue Konten 20}]"; of == "" && got != want {
			t.Errorf("the figures of all are %s, want %s", got, want)
		}
		for _, table := range d.Tables {
			if len(table.Rows) > maxReportRows || table.Title == l.Say("newestEvents") && (len(table.Rows) != 50 || table.More != 60) {
				t.Errorf("%s has %d rows and %d more", table.Title, len(table.Rows), table.More)
			}
			if of == "" && (fmt.Sprint(table.Rows) != "" && bytes.Contains([]byte(fmt.Sprint(table.Rows)), []byte("usr_ada"))) {
				t.Errorf("%s of all tells whose events they are", table.Title)
			}
		}
	}
}
