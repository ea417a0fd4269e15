// Package dataloaders holds the batches of one answer: each level of a query costs one statement, however
// many objects ask.
//
// [Source.With] puts fresh loaders into the context of an answer; a field takes its own with [From]. Whoever
// brings a list names it as company ([Loaders.MeetUsers] and its like). A field of its elements asks
// its loader for one key, and the first that asks brings what the whole company may ask for. So elements
// are written one after the other, and the lists of one level meet as the elements of one list do.
package dataloaders

import (
	"context"
	"sync"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/page"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
	"gatehouse/session"
)

// Loaders are the batches of one answer. A key that its viewer may not see is [ErrMissing].
type Loaders struct {
	users    company[viewer.UserID]
	jobs     company[queue.ID]
	started  company[queue.ID]
	stepJobs company[queue.ID]
	wholes   company[queue.ID]
	sessions company[viewer.SessionID]

	Users           Loader[viewer.UserID, account.User] // whoever may see them
	Sessions        Loader[viewer.UserID, []session.Session]
	APIKeys         Loader[viewer.UserID, []session.APIKey]
	ServiceAccounts Loader[viewer.UserID, []session.ServiceAccount]
	Factors         Loader[viewer.UserID, []account.Factor]
	RecoveryCodes   Loader[viewer.UserID, int] // how many are left
	TrustedDevices  Loader[viewer.UserID, []account.TrustedDevice]
	Identities      Loader[viewer.UserID, []account.Identity]
	Jobs            Pages[viewer.UserID, page.Page[*queue.Excerpt]]
	SecurityEvents  Pages[viewer.UserID, page.Page[*audit.Entry]]

	Attempts  Loader[queue.ID, []queue.Attempt] // of jobs that the viewer may see
	Artifacts Loader[queue.ID, []queue.File]    // likewise
	Steps     Loader[queue.ID, []queue.StepView]
	StepJob   Loader[queue.ID, *queue.Job] // of a step of a workflow
	Workflow  Loader[queue.ID, *queue.Job] // of which a job is a step

	Session Loader[viewer.SessionID, session.Session]
	LastJob Loader[queue.ID, *queue.Job] // of a schedule
}

// MeetUsers says that the fields of these accounts may be asked for; "" is nobody.
func (l *Loaders) MeetUsers(ids ...viewer.UserID) { l.users.meet(ids) }

// MeetJobs says that the fields of these jobs may be asked for.
func (l *Loaders) MeetJobs(ids ...queue.ID) { l.jobs.meet(ids) }

// MeetWorkflows says that these workflows of jobs may be asked for; "" is none.
func (l *Loaders) MeetWorkflows(ids ...queue.ID) { l.wholes.meet(ids) }

// MeetSchedules says that the fields of these schedules may be asked for.
func (l *Loaders) MeetSchedules(schedules ...*queue.Schedule) {
	for _, s := range schedules {
		l.MeetUsers(s.Owner)
		l.started.meet([]queue.ID{s.LastJob})
	}
}

// MeetSessions says that these sessions may be asked for; "" is none.
func (l *Loaders) MeetSessions(ids ...viewer.SessionID) { l.sessions.meet(ids) }

// Source is what the loaders of all answers fetch from.
type Source struct {
	accounts *account.Accounts
	sessions *session.Sessions
	queue    *queue.Queue
}

// NewSource returns a source over the domain.
func NewSource(accounts *account.Accounts, sessions *session.Sessions, q *queue.Queue) *Source {
	return &Source{accounts, sessions, q}
}

func (s *Source) loaders() *Loaders {
	l := &Loaders{}
	l.Users.from(&l.users, s.accounts.ByIDs)
	l.Sessions.from(&l.users, asViewer(s.sessions.ByUsers))
	l.APIKeys.from(&l.users, asViewer(s.sessions.APIKeys))
	l.ServiceAccounts.from(&l.users, asViewer(s.sessions.ServiceAccounts))
	l.Factors.from(&l.users, asViewer(s.accounts.Factors))
	l.RecoveryCodes.from(&l.users, asViewer(s.accounts.RecoveryCodesLeft))
	l.TrustedDevices.from(&l.users, asViewer(s.accounts.TrustedDevices))
	l.Identities.from(&l.users, asViewer(s.accounts.Identities))
	l.Jobs.company, l.SecurityEvents.company = &l.users, &l.users
	l.Attempts.from(&l.jobs, s.queue.Attempts)
	l.Artifacts.from(&l.jobs, s.queue.Artifacts)
	l.Session.from(&l.sessions, asViewer(s.sessions.ByIDs))
	l.LastJob.from(&l.started, l.meeting(asViewer(s.queue.ByIDs)))
	l.StepJob.from(&l.stepJobs, l.meeting(asViewer(s.queue.ByIDs)))
	l.Workflow.from(&l.wholes, l.meeting(asViewer(s.queue.ByIDs)))
	l.Steps.from(&l.jobs, l.meetingSteps(s.queue.Steps))
	return l
}

// meeting is read, and names the jobs that it brings, and their owners, as company.
func (l *Loaders) meeting(read fetch[queue.ID, *queue.Job]) fetch[queue.ID, *queue.Job] {
	return func(ctx context.Context, ids []queue.ID) (map[queue.ID]*queue.Job, error) {
		jobs, err := read(ctx, ids)
		for _, j := range jobs {
			l.MeetJobs(j.ID)
			l.MeetWorkflows(j.Parent)
			l.MeetUsers(j.Owner)
		}
		return jobs, err
	}
}

// meetingSteps is read, and names the jobs of the steps that it brings as company.
func (l *Loaders) meetingSteps(read fetch[queue.ID, []queue.StepView]) fetch[queue.ID, []queue.StepView] {
	return func(ctx context.Context, ids []queue.ID) (map[queue.ID][]queue.StepView, error) {
		all, err := read(ctx, ids)
		for _, steps := range all {
			for _, s := range steps {
				l.stepJobs.meet([]queue.ID{s.JobID})
			}
		}
		return all, err
	}
}

// asViewer is read on behalf of the viewer of the context.
func asViewer[K comparable, V any](read func(context.Context, viewer.Viewer, []K) (map[K]V, error)) func(context.Context, []K) (map[K]V, error) {
	return func(ctx context.Context, keys []K) (map[K]V, error) { return read(ctx, viewer.From(ctx), keys) }
}

// answer is a context with its loaders, which are made when the first field asks.
type answer struct {
	context.Context
	source  *Source
	once    sync.Once
	loaders *Loaders
}

type contextKey struct{}

// Value implements context.Context.
func (a *answer) Value(key any) any {
	if key == (contextKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// With returns ctx with empty loaders.
func (s *Source) With(ctx context.Context) context.Context { return &answer{Context: ctx, source: s} }

// From returns the loaders of the answer. Without [Source.With] before it panics: a field that loads
// outside of an answer is a defect.
func From(ctx context.Context) *Loaders {
	a := ctx.Value(contextKey{}).(*answer)
	a.once.Do(func() { a.loaders = a.source.loaders() })
	return a.loaders
}
