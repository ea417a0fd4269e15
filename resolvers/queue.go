package resolvers

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"gatehouse/account"
	"gatehouse/dataloaders"
	"gatehouse/graph"
	"gatehouse/internal/fault"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/jobs"
	"gatehouse/queue"
)

func (r *queryResolver) Job(ctx context.Context, id string) (*queue.Job, error) {
	return r.Queue.Get(ctx, viewer.From(ctx), queue.ID(id))
}

func (r *queryResolver) Jobs(ctx context.Context, filter *graph.JobFilter, orderBy *graph.JobOrder, first *int, after *string, last *int, before *string) (*graph.JobConnection, error) {
	return r.jobs(ctx, filter, orderBy, page.Request{First: first, After: after, Last: last, Before: before})
}

func (r *Resolver) jobs(ctx context.Context, filter *graph.JobFilter, orderBy *graph.JobOrder, place page.Request) (*graph.JobConnection, error) {
	window, err := place.Window()
	if err != nil {
		return nil, err
	}
	asked, order := selectionOf(graphql.GetFieldContext(ctx).Field.Selections), orderOf(orderBy)
	found, err := r.Queue.List(ctx, viewer.From(ctx), filterOf(filter), order, window, asked.Want)
	if err != nil {
		return nil, err
	}
	meetJobs(ctx, found)
	return asked.connection(found, order.Field), nil
}

// jobsOf is jobs for one owner, together with the owner's company.
func (r *Resolver) jobsOf(ctx context.Context, owner *account.User, filter *graph.JobFilter, orderBy *graph.JobOrder, place page.Request) (*graph.JobConnection, error) {
	window, err := place.Window()
	if err != nil {
		return nil, err
	}
	asked, order := selectionOf(graphql.GetFieldContext(ctx).Field.Selections), orderOf(orderBy)
	loader := dataloaders.From(ctx).Jobs.With(arguments(ctx, asked.Want), func(ctx context.Context, owners []viewer.UserID) (map[viewer.UserID]page.Page[*queue.Excerpt], error) {
		pages, err := r.Queue.ListOf(ctx, viewer.From(ctx), owners, filterOf(filter), order, window, asked.Want)
		for _, found := range pages {
			meetJobs(ctx, found)
		}
		return pages, err
	})
	found, err := loader.Load(ctx, owner.ID)
	if errors.Is(err, dataloaders.ErrMissing) {
		return nil, fault.Denied("You may not see the jobs of this account.")
	}
	if err != nil {
		return nil, err
	}
	return asked.connection(found, order.Field), nil
}

// meetJobs names the jobs of a page, and their owners, as company.
func meetJobs(ctx context.Context, found page.Page[*queue.Excerpt]) {
	loaders := dataloaders.From(ctx)
	for _, j := range found.Items {
		loaders.MeetJobs(j.ID)
		loaders.MeetWorkflows(j.Parent)
		loaders.MeetUsers(j.Owner)
	}
}

func orderOf(o *graph.JobOrder) queue.Order {
	if o == nil {
		return queue.Order{Field: queue.CreatedAt}
	}
	return queue.Order{Field: o.Field, Ascending: o.Direction == graph.OrderDirectionAsc}
}

func filterOf(f *graph.JobFilter) queue.Filter {
	if f == nil {
		return queue.Filter{}
	}
	filter := queue.Filter{States: f.States, Kinds: f.Kinds, Queues: f.Queues}
	if f.OwnerID != nil {
		filter.Owner = viewer.UserID(*f.OwnerID)
	}
	if f.CreatedAfter != nil {
		filter.CreatedAfter = store.At(*f.CreatedAfter)
	}
	if f.CreatedBefore != nil {
		filter.CreatedBefore = store.At(*f.CreatedBefore)
	}
	return filter
}

func (r *queryResolver) JobKinds(ctx context.Context) ([]*graph.JobKind, error) {
	settings, err := r.Queue.Settings(ctx)
	if err != nil {
		return nil, err
	}
	kinds := r.Queue.Kinds()
	all := make([]*graph.JobKind, len(kinds))
	for i, k := range kinds {
		all[i] = kindOf(k, settings[k.Name])
	}
	return all, nil
}

func kindOf(k queue.Definition, s queue.Setting) *graph.JobKind {
	return &graph.JobKind{
		Name: k.Name, Description: k.Description, Queue: k.Queue, MaxAttempts: k.MaxAttempts,
		DeadlineSeconds: int(k.Deadline / time.Second), RetentionHours: int(k.Retention / time.Hour),
		Paused: s.Paused, MaxRunning: s.MaxRunning, Schedulable: k.Schedulable(), CanBeStep: k.CanBeStep(),
	}
}

func (r *jobResolver) Attempts(ctx context.Context, obj *queue.Job) ([]*queue.Attempt, error) {
	attempts, err := dataloaders.From(ctx).Attempts.Load(ctx, obj.ID)
	if err != nil && !errors.Is(err, dataloaders.ErrMissing) {
		return nil, err
	}
	return pointers(attempts), nil
}

// Owner shows the account to whoever may see it; who may see the job alone sees the account's id.
func (r *jobResolver) Owner(ctx context.Context, obj *queue.Job) (*account.User, error) {
	if err := shown(ctx, obj.Owner); err != nil {
		return nil, err
	}
	return present(dataloaders.From(ctx).Users.Load(ctx, obj.Owner))
}

// present returns an account, nil for one that is gone.
func present(user account.User, err error) (*account.User, error) {
	if errors.Is(err, dataloaders.ErrMissing) {
		return nil, nil
	}
	return &user, err
}

// personal refuses what a job holds of persons to whoever may see the job and not their accounts: a copy of
// its owner's data, whom its owner has written to, a list of accounts, a report.
func personal(ctx context.Context, j *queue.Job) error {
	by := viewer.From(ctx)
	switch {
	case j.Kind == account.ExportData && !by.Owns(j.Owner, viewer.ReadUsers):
		return fault.Denied("This takes the scope account:read, or for the accounts of others users:read.")
	case j.Kind == account.ImportUsers && !by.May(viewer.ReadUsers), j.Kind == account.SendEmail && by.User != j.Owner && !by.May(viewer.ReadUsers):
		return fault.Denied("This takes the scope users:read.")
	}
	return jobs.MayReadReport(by, j)
}

func (r *jobResolver) Artifacts(ctx context.Context, obj *queue.Job) ([]*graph.Artifact, error) {
	if err := personal(ctx, obj); err != nil {
		return nil, err
	}
	files, err := dataloaders.From(ctx).Artifacts.Load(ctx, obj.ID)
	if err != nil && !errors.Is(err, dataloaders.ErrMissing) {
		return nil, err
	}
	all := make([]*graph.Artifact, len(files))
	for i, f := range files {
		all[i] = r.artifact(f)
	}
	return all, nil
}

// artifact returns a file with a fresh link to it. The caller may see its job.
func (r *Resolver) artifact(f queue.File) *graph.Artifact {
	id, until := string(f.ID), r.Now().Add(linkLife).Truncate(time.Second)
	return &graph.Artifact{
		ID: id, Name: f.Name, MediaType: f.MediaType, Bytes: f.Bytes, Sha256: hex.EncodeToString(f.SHA256),
		URL: r.PublicURL + "/artifacts/" + id + "?" + r.Signer.Sign(id, until), ExpiresAt: until,
	}
}

// Result costs no statement of its own for a job that a list has brought.
func (r *jobResolver) Result(ctx context.Context, obj *queue.Job) (graph.JobResult, error) {
	if err := personal(ctx, obj); err != nil {
		return nil, err
	}
	raw, err := r.Queue.Result(ctx, obj)
	if err != nil || raw == nil {
		return nil, err
	}
	if obj.Kind == account.SendEmail {
		return r.deliveryReport(obj, raw)
	}
	return resultOf(obj, raw)
}

func (r *mutationResolver) CancelJob(ctx context.Context, input graph.CancelJobInput) (*graph.CancelJobPayload, error) {
	j, err := r.Queue.Cancel(ctx, viewer.From(ctx), queue.ID(input.ID))
	refused, err := userErrors(err)
	return &graph.CancelJobPayload{Job: j, UserErrors: refused}, err
}

func (r *mutationResolver) RetryJob(ctx context.Context, input graph.RetryJobInput) (*graph.RetryJobPayload, error) {
	j, err := r.Queue.Retry(ctx, viewer.From(ctx), queue.ID(input.ID))
	refused, err := userErrors(err)
	return &graph.RetryJobPayload{Job: j, UserErrors: refused}, err
}

func (r *mutationResolver) DeleteJob(ctx context.Context, input graph.DeleteJobInput) (*graph.DeleteJobPayload, error) {
	err := r.Queue.Delete(ctx, viewer.From(ctx), queue.ID(input.ID))
	if err != nil {
		refused, err := userErrors(err)
		return &graph.DeleteJobPayload{UserErrors: refused}, err
	}
	return &graph.DeleteJobPayload{DeletedID: &input.ID, UserErrors: noErrors()}, nil
}

func (r *mutationResolver) PauseQueue(ctx context.Context, input graph.PauseQueueInput) (*graph.PauseQueuePayload, error) {
	err := r.Queue.Pause(ctx, viewer.From(ctx), input.Queue, true)
	if err != nil {
		refused, err := userErrors(err)
		return &graph.PauseQueuePayload{UserErrors: refused}, err
	}
	return &graph.PauseQueuePayload{Queue: &input.Queue, UserErrors: noErrors()}, nil
}

func (r *mutationResolver) ResumeQueue(ctx context.Context, input graph.ResumeQueueInput) (*graph.ResumeQueuePayload, error) {
	err := r.Queue.Pause(ctx, viewer.From(ctx), input.Queue, false)
	if err != nil {
		refused, err := userErrors(err)
		return &graph.ResumeQueuePayload{UserErrors: refused}, err
	}
	return &graph.ResumeQueuePayload{Queue: &input.Queue, UserErrors: noErrors()}, nil
}

func (r *mutationResolver) SetKindLimit(ctx context.Context, input graph.SetKindLimitInput) (*graph.SetKindLimitPayload, error) {
	err := r.Queue.Limit(ctx, viewer.From(ctx), input.Kind, input.MaxRunning)
	if err != nil {
		refused, err := userErrors(err)
		return &graph.SetKindLimitPayload{UserErrors: refused}, err
	}
	kind, err := r.kindNamed(ctx, input.Kind)
	return &graph.SetKindLimitPayload{Kind: kind, UserErrors: noErrors()}, err
}

func (r *subscriptionResolver) JobEvents(ctx context.Context, id string, after *int) (<-chan *queue.Event, error) {
	var from *int64
	if after != nil {
		if *after < 0 {
			return nil, fault.New(fault.BadUserInput, "", "The number in after is 0 or more.")
		}
		n := int64(*after)
		from = &n
	}
	return r.Queue.Watch(ctx, viewer.From(ctx), queue.ID(id), from)
}

func (r *subscriptionResolver) JobUpdates(ctx context.Context, filter *graph.JobFilter) (<-chan *queue.Job, error) {
	return r.Queue.Updates(ctx, viewer.From(ctx), filterOf(filter))
}

// Job returns the resolvers of the type.
func (r *Resolver) Job() graph.JobResolver { return &jobResolver{r} }
