package e2e

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

const generateReportDocument = `mutation($in: GenerateReportInput!) { generateReport(input: $in) { job ` + jobFields + ` userErrors { code field message } } }`

type reportFile struct {
	Artifact    artifact
	Pages, Rows int
	Period      struct{ From, To time.Time }
}

func (c *client) tryReport(in vars) answer {
	c.t.Helper()
	return c.say(generateReportDocument, vars{"in": in})
}

// report has a report written and returns its job.
func (c *client) report(in vars) job {
	c.t.Helper()
	a := c.tryReport(in)
	made := into[struct{ GenerateReport struct{ Job *job } }](c.t, a).GenerateReport.Job
	if made == nil {
		c.t.Fatalf("no job: %v", a)
	}
	return c.awaitState(made.ID, "SUCCEEDED")
}

const reportResult = `query($id: ID!) { job(id: $id) { result { ... on ReportFile { pages rows period { from to } artifact { id name mediaType bytes sha256 url expiresAt } } } artifacts { id } } }`

// reportOf reads what a job has written.
func (c *client) reportOf(id string) reportFile {
	c.t.Helper()
	return ask[struct{ Job struct{ Result reportFile } }](c, reportResult, vars{"id": id}).Job.Result
}

// checkReport fetches a report and looks whether it is a PDF of that name.
func (c *client) checkReport(j job, name string) reportFile {
	c.t.Helper()
	r := c.reportOf(j.ID)
	content := c.fetch(r.Artifact)
	if !bytes.HasPrefix(content, []byte("%PDF-1.")) || !bytes.HasSuffix(bytes.TrimSpace(content), []byte("%%EOF")) ||
		!strings.HasPrefix(r.Artifact.Name, name) || r.Artifact.MediaType != "application/pdf" || r.Pages < 1 {
		c.t.Errorf("the report is %+v, %d bytes; want a PDF called %s…", r, len(content), name)
	}
	return r
}

func TestReportsAreWrittenOfOneselfAndByAdministratorsOfAll(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		ada, admin := d.person(), d.admin()
		today := time.Now().UTC().Truncate(24 * time.Hour)
		now := vars{"from": today.AddDate(0, 0, -30), "to": today.AddDate(0, 0, 1)}
		in := func(kind, scope string) vars {
			return vars{"kind": kind, "scope": scope, "from": now["from"], "to": now["to"]}
		}
		first := ada.checkReport(ada.report(in("JOB_ACTIVITY", "OWN")), "job-activity_")
		second := ada.checkReport(ada.report(in("JOB_ACTIVITY", "OWN")), "job-activity_")
		if first.Rows < 2 || second.Rows < first.Rows || !first.Period.From.Equal(today.AddDate(0, 0, -30)) || !first.Period.To.Equal(today.AddDate(0, 0, 1)) {
			t.Errorf("the reports of jobs are %+v and %+v", first, second)
		}
		if r := ada.checkReport(ada.report(in("ACCOUNT_ACTIVITY", "OWN")), "account-activity_"); r.Rows < 2 {
			t.Errorf("the report of a fresh account has %d rows, want the registration and the sign-in", r.Rows)
		}
		for kind, name := range map[string]string{"JOB_ACTIVITY": "job-activity_", "ACCOUNT_ACTIVITY": "account-activity_"} {
			all := admin.report(in(kind, "ALL"))
			admin.checkReport(all, name)
			if a := ada.tryReport(in(kind, "ALL")); a.code() != "FORBIDDEN" {
				t.Errorf("a person asked for %s of all: %v", kind, a)
			}
		}
		days := ada.checkReport(ada.report(vars{"kind": "JOB_ACTIVITY", "days": 7, "paper": "LETTER"}), "job-activity_")
		if !days.Period.To.Equal(today) && !days.Period.To.Equal(today.AddDate(0, 0, 1)) || !days.Period.From.Equal(days.Period.To.AddDate(0, 0, -7)) {
			t.Errorf("the last seven days are %v to %v", days.Period.From, days.Period.To)
		}
		refuseCredentials(t, ada, admin)
		refuseDemoted(t, d, admin)
	})
}

// refuseCredentials looks that a credential of less neither has reports made nor reads them, on any way.
func refuseCredentials(t *testing.T, ada, admin *client) {
	t.Helper()
	week := vars{"kind": "ACCOUNT_ACTIVITY", "days": 7}
	own, all := ada.report(week), admin.report(vars{"kind": "ACCOUNT_ACTIVITY", "scope": "ALL", "days": 7})
	_, adas := ada.apiKey("jobs:run")
	_, admins := admin.apiKey("jobs:run", "account:read")
	_, reads := ada.apiKey("jobs:run", "account:read")
	for name, a := range map[string]answer{
		"a report by a key that runs jobs":                adas.tryReport(week),
		"a report of all by a key that reads the account": admins.tryReport(vars{"kind": "JOB_ACTIVITY", "scope": "ALL", "days": 7}),
		"a schedule of reports of all":                    admins.trySchedule(vars{"name": "n", "kind": "generateDeploymentReport", "cron": "0 7 * * 1", "timeZone": "UTC", "arguments": week}),
		"a step that reports of all":                      admins.tryWorkflow(vars{"steps": []vars{{"name": "a", "kind": "generateDeploymentReport", "arguments": week}}}),
		"a schedule of reports by a person":               ada.trySchedule(vars{"name": "n", "kind": "generateDeploymentReport", "cron": "0 7 * * 1", "timeZone": "UTC", "arguments": week}),
		"the own report read by a key that runs jobs":     adas.say(reportResult, vars{"id": own.ID}),
		"a report of all read by a key of the account":    admins.say(reportResult, vars{"id": all.ID}),
	} {
		if a.code() != "FORBIDDEN" || strings.Contains(string(a.body), "/artifacts/") {
			t.Errorf("%s: %v, want FORBIDDEN", name, a)
		}
	}
	reads.checkReport(reads.report(week), "account-activity_")
}

// refuseDemoted looks that a schedule of somebody who is no administrator any more brings no report of all.
func refuseDemoted(t *testing.T, d *deployment, admin *client) {
	t.Helper()
	other := d.admin()
	s := other.schedule(vars{"name": "weekly", "kind": "generateDeploymentReport", "cron": "0 7 * * 1", "timeZone": "UTC", "arguments": vars{"kind": "JOB_ACTIVITY", "days": 7}})
	later := into[struct{ GenerateReport struct{ Job job } }](t, other.tryReport(vars{
		"kind": "JOB_ACTIVITY", "scope": "ALL", "days": 7, "options": vars{"runAt": time.Now().Add(3 * time.Second)},
	})).GenerateReport.Job
	change(admin, "setUserRoles", other.user, ", roles: []")
	d.move(s.ID, -time.Second)
	if failed := admin.awaitState(later.ID, "FAILED"); failed.Error == nil || failed.Error.Code != "FORBIDDEN" {
		t.Errorf("the report of somebody who is no administrator any more ended with %+v", failed.Error)
	}
	if got := other.ran(s.ID, time.Time{}); got.LastRun.Outcome != "NOT_ALLOWED" {
		t.Errorf("the schedule of somebody who is no administrator any more: %+v", got.LastRun)
	}
}

func TestAReportThatCannotBeMadeIsRefusedByItsField(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	day := time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC)
	for name, row := range map[string]struct {
		in          vars
		code, field string
	}{
		"no period":          {vars{}, "REQUIRED", ""},
		"an open period":     {vars{"from": day}, "REQUIRED", ""},
		"two periods":        {vars{"from": day, "to": day.AddDate(0, 0, 1), "days": 3}, "REQUIRED", ""},
		"no days":            {vars{"days": 0}, "INVALID", "days"},
		"too many days":      {vars{"days": 367}, "INVALID", "days"},
		"a period backwards": {vars{"from": day, "to": day}, "INVALID", "to"},
		"too long a period":  {vars{"from": day, "to": day.AddDate(0, 0, 366).Add(time.Second)}, "INVALID", "to"},
	} {
		row.in["kind"] = "JOB_ACTIVITY"
		a := c.tryReport(row.in)
		if a.userError() != row.code || row.field != "" && !strings.Contains(string(a.body), `"field":["`+row.field+`"]`) {
			t.Errorf("%s: %v, want %s of %q", name, a, row.code, row.field)
		}
	}
}
