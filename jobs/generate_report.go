package jobs

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
	"gatehouse/jobs/report"
	"gatehouse/queue"
)

// ReportSubject is what a report tells of.
type ReportSubject string

// The subjects.
const (
	JobActivity     ReportSubject = "JOB_ACTIVITY"
	AccountActivity ReportSubject = "ACCOUNT_ACTIVITY"
)

// ReportScope is of whom a report tells.
type ReportScope string

// The scopes: the owner of the job, or the whole deployment.
const (
	OwnReport ReportScope = "OWN"
	AllReport ReportScope = "ALL"
)

// ReportArgs are the arguments of generateReport and generateDeploymentReport.
type ReportArgs struct {
	Subject ReportSubject `json:"kind"`
	From    time.Time     `json:"from,omitzero"`
	To      time.Time     `json:"to,omitzero"`
	Days    int           `json:"days,omitempty"` // in place of From and To: the last whole days in UTC before the job runs
	Paper   report.Paper  `json:"paper,omitempty"`
}

// ReportFile is what a report brings, beside its file.
type ReportFile struct {
	Pages int       `json:"pages"`
	Rows  int       `json:"rows"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
}

// The bounds of a report.
const (
	maxReportDays = 366
	maxReportRows = 50 // of a table, unless each row is a day
)

// Report is the kind generateReport: a PDF of the owner's own jobs or account. A credential needs account:read
// for it, as a person's security events are in one of them.
var Report = queue.Kind[ReportArgs, ReportFile]{
	Name:        "generateReport",
	Description: "Writes a PDF about one's own jobs or account.",
	MaxAttempts: 4,
	Deadline:    5 * time.Minute,
	Scope:       viewer.ReadAccount,
	Arguments:   func(input json.RawMessage) (ReportArgs, error) { return readReportArguments(input, OwnReport) },
}

// DeploymentReport is the kind generateDeploymentReport: a PDF of the jobs or accounts of the whole deployment. It is a
// kind of its own, so that a schedule or a workflow of it asks for the scope as the mutation does.
var DeploymentReport = queue.Kind[ReportArgs, ReportFile]{
	Name:        "generateDeploymentReport",
	Description: "Writes a PDF about the jobs or accounts of the whole deployment, for administrators.",
	MaxAttempts: 4,
	Deadline:    5 * time.Minute,
	Scope:       viewer.ReadAudit,
	Arguments:   func(input json.RawMessage) (ReportArgs, error) { return readReportArguments(input, AllReport) },
}

// RequestReport returns the wish of by for a report, once by may have it and it can be made. Faults:
// UNAUTHENTICATED, FORBIDDEN; by field REQUIRED, INVALID.
func RequestReport(by viewer.Viewer, args ReportArgs, scope ReportScope, o queue.JobOptions) (queue.Request, error) {
	kind := Report
	if scope == AllReport {
		kind = DeploymentReport
	}
	if err := by.Require(kind.Scope); err != nil {
		return queue.Request{}, err
	}
	if scope == AllReport {
		if err := seesAll(by); err != nil {
			return queue.Request{}, err
		}
	}
	if err := args.check(); err != nil {
		return queue.Request{}, err
	}
	return kind.Request(by.User, args, o)
}

// MayReadReport returns FORBIDDEN unless by may read what the job of a report has brought. A credential that may
// see the job need not be one that may see what the report tells.
func MayReadReport(by viewer.Viewer, j *queue.Job) error {
	switch j.Kind {
	case DeploymentReport.Name:
		return seesAll(by)
	case Report.Name:
		if !by.Owns(j.Owner, viewer.ReadUsers) {
			return fault.Denied("This takes the scope account:read, or for the accounts of others users:read.")
		}
	}
	return nil
}

// seesAll returns a fault unless by may see all that a report of the deployment tells.
func seesAll(by viewer.Viewer) error {
	for _, scope := range []viewer.Scope{viewer.ReadAudit, viewer.ReadJobs, viewer.ReadUsers} {
		if err := by.Require(scope); err != nil {
			return err
		}
	}
	return nil
}

// readReportArguments reads the input of the mutation, which may name the scope that the kind has.
func readReportArguments(input json.RawMessage, scope ReportScope) (ReportArgs, error) {
	given, err := readArguments[struct {
		ReportArgs
		Scope ReportScope `json:"scope"`
	}](input)
	if err != nil {
		return ReportArgs{}, err
	}
	if given.Scope != "" && given.Scope != scope {
		return ReportArgs{}, fault.New(fault.Invalid, "scope", "The kind generateReport has the scope OWN, generateDeploymentReport the scope ALL.")
	}
	return given.ReportArgs, given.check()
}

// check returns a fault for arguments of which no report can be made, and completes them.
func (a *ReportArgs) check() error {
	if a.Paper == "" {
		a.Paper = report.A4
	}
	bounded := !a.From.IsZero() && !a.To.IsZero()
	switch {
	case a.Subject == "":
		return fault.New(fault.Required, "kind", "Say what the report shall tell of.")
	case a.Subject != JobActivity && a.Subject != AccountActivity:
		return fault.New(fault.Invalid, "kind", "The kind of report is JOB_ACTIVITY or ACCOUNT_ACTIVITY.")
	case a.Paper != report.A4 && a.Paper != report.Letter:
		return fault.New(fault.Invalid, "paper", "The paper is A4 or LETTER.")
	case a.Days != 0 && (!a.From.IsZero() || !a.To.IsZero()), a.Days == 0 && !bounded:
		return fault.New(fault.Required, "", "Give from and to, or days.")
	case a.Days < 0 || a.Days > maxReportDays:
		return fault.New(fault.Invalid, "days", "The last 1 to 366 days can be told of.")
	case a.Days == 0 && !a.From.Before(a.To):
		return fault.New(fault.Invalid, "to", "A period ends after it has begun.")
	case a.To.Sub(a.From) > maxReportDays*24*time.Hour:
		return fault.New(fault.Invalid, "to", "A period has at most 366 days.")
	}
	return nil
}

// period returns what a job that was due at a moment tells of.
func (a *ReportArgs) period(due time.Time) (from, to time.Time) {
	if a.Days == 0 {
		return a.From.UTC(), a.To.UTC()
	}
	to = due.UTC().Truncate(24 * time.Hour)
	return to.AddDate(0, 0, -a.Days), to
}

// reporter writes reports of what the rooms know.
type reporter struct {
	accounts func() *account.Accounts
	log      func() *audit.Log
	product  string
	now      func() time.Time
}

// reports returns Report and DeploymentReport with their handlers.
func reports(r *reporter) []queue.Definition {
	own, all := Report, DeploymentReport
	own.Handle = func(ctx context.Context, run *queue.Run, args ReportArgs) (ReportFile, error) {
		return r.handle(ctx, run, args, run.Job.Owner)
	}
	all.Handle = func(ctx context.Context, run *queue.Run, args ReportArgs) (ReportFile, error) {
		return r.handle(ctx, run, args, "")
	}
	return []queue.Definition{own.Define(), all.Define()}
}

// handle writes the report of one account, or with of "" of all.
func (r *reporter) handle(ctx context.Context, run *queue.Run, args ReportArgs, of viewer.UserID) (ReportFile, error) {
	reader, err := r.readerFor(ctx, run.Job.Owner, of)
	if err != nil {
		return ReportFile{}, err
	}
	from, to := args.period(run.Job.RunAt)
	run.Report(0, 2, "counting")
	d, err := r.tell(ctx, run, telling{reader, args.Subject, of, from, to})
	if f, refused := fault.As(err); refused {
		return ReportFile{}, queue.Permanent(f)
	}
	if err != nil {
		return ReportFile{}, err
	}
	d.Paper = args.Paper
	run.Report(1, 2, "writing")
	file, err := run.Create(ctx, reportName(args.Subject, from, to), "application/pdf")
	if err != nil {
		return ReportFile{}, err
	}
	pages, err := d.Write(file)
	if err != nil {
		return ReportFile{}, err
	}
	run.Report(2, 2, "done")
	return ReportFile{Pages: pages, Rows: d.Rows(), From: from, To: to}, nil
}

// reader is for whom a report is written.
type reader struct {
	viewer.Viewer
	name     string
	language *report.Language
}

// readerFor returns the owner as they are now: who was an administrator when the job or its schedule was made
// need not be one any more. A service account has no account to look up and no rights but to its own.
func (r *reporter) readerFor(ctx context.Context, owner, of viewer.UserID) (reader, error) {
	user, err := r.accounts().Get(ctx, owner)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return reader{}, err
	}
	by := viewer.Viewer{User: owner, Roles: user.Roles}
	if of == "" && (user.Status != account.Active || seesAll(by) != nil) {
		return reader{}, queue.Permanent(fault.Denied("Your account may not have reports of the whole deployment."))
	}
	name := user.Name
	if name == "" {
		name = user.Email
	}
	language, err := report.LanguageOf(user.Locale)
	return reader{by, name, language}, err
}

// reportName is what the file is called.
func reportName(subject ReportSubject, from, to time.Time) string {
	names := map[ReportSubject]string{JobActivity: "job-activity", AccountActivity: "account-activity"}
	return names[subject] + "_" + from.Format(time.DateOnly) + "_" + to.Add(-time.Microsecond).Format(time.DateOnly) + ".pdf"
}

// telling is a report that is to be written.
type telling struct {
	reader
	subject  ReportSubject
	of       viewer.UserID // "": all
	from, to time.Time
}

// tell counts what the report tells of and puts it into words.
func (r *reporter) tell(ctx context.Context, run *queue.Run, t telling) (*report.Document, error) {
	if t.subject == AccountActivity {
		a, err := r.log().Activity(ctx, t.Viewer, t.of, t.from, t.to, maxReportRows)
		if err != nil {
			return nil, err
		}
		return r.accountDocument(t, a), nil
	}
	a, err := run.Activity(ctx, t.Viewer, t.of, t.from, t.to, maxReportRows)
	if err != nil {
		return nil, err
	}
	owners := make([]viewer.UserID, 0, len(a.Owners.Rows))
	for _, o := range a.Owners.Rows {
		owners = append(owners, o.Owner)
	}
	owners = slices.DeleteFunc(owners, func(id viewer.UserID) bool { return id == "" })
	names := map[viewer.UserID]account.User{}
	if len(owners) > 0 {
		if names, err = r.accounts().SeenByIDs(ctx, t.Viewer, owners); err != nil {
			return nil, err
		}
	}
	return r.jobDocument(t, a, names), nil
}
