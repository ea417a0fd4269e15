package resolvers

import (
	"context"
	"encoding/json"
	"time"

	"gatehouse/account"
	"gatehouse/dataloaders"
	"gatehouse/graph"
	"gatehouse/internal/page"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

func (r *mutationResolver) CreateSchedule(ctx context.Context, input graph.CreateScheduleInput) (*graph.CreateSchedulePayload, error) {
	s, err := r.Queue.CreateSchedule(ctx, viewer.From(ctx), queue.Schedule{
		Name: input.Name, Kind: input.Kind, Arguments: input.Arguments, Cron: input.Cron, TimeZone: input.TimeZone,
		CatchUp: input.CatchUp, CatchUpMost: input.CatchUpMost, Overlap: input.Overlap, Paused: input.Paused,
		Priority: input.Priority, MaxAttempts: attemptsOf(input.MaxAttempts),
	})
	refused, err := userErrors(err)
	return &graph.CreateSchedulePayload{Schedule: s, UserErrors: refused}, err
}

func (r *mutationResolver) UpdateSchedule(ctx context.Context, input graph.UpdateScheduleInput) (*graph.UpdateSchedulePayload, error) {
	change := queue.ScheduleChange{
		Name: input.Name, Cron: input.Cron, TimeZone: input.TimeZone, CatchUp: input.CatchUp, CatchUpMost: input.CatchUpMost,
		Overlap: input.Overlap, Paused: input.Paused, Priority: input.Priority, MaxAttempts: input.MaxAttempts,
	}
	if given := json.RawMessage(input.Arguments); given != nil {
		change.Arguments = &given
	}
	s, err := r.Queue.UpdateSchedule(ctx, viewer.From(ctx), queue.ScheduleID(input.ID), change)
	refused, err := userErrors(err)
	return &graph.UpdateSchedulePayload{Schedule: s, UserErrors: refused}, err
}

func (r *mutationResolver) DeleteSchedule(ctx context.Context, input graph.DeleteScheduleInput) (*graph.DeleteSchedulePayload, error) {
	if err := r.Queue.DeleteSchedule(ctx, viewer.From(ctx), queue.ScheduleID(input.ID)); err != nil {
		refused, err := userErrors(err)
		return &graph.DeleteSchedulePayload{UserErrors: refused}, err
	}
	return &graph.DeleteSchedulePayload{DeletedID: &input.ID, UserErrors: noErrors()}, nil
}

// attemptsOf reads a bound that a caller may leave to the kind by leaving it out.
func attemptsOf(given *int) int {
	switch {
	case given == nil:
		return 0
	case *given == 0:
		return -1 // whoever writes 0 means something else
	}
	return *given
}

func (r *queryResolver) Schedules(ctx context.Context, filter *graph.ScheduleFilter, first *int, after *string, last *int, before *string) (*graph.ScheduleConnection, error) {
	window, err := page.Request{First: first, After: after, Last: last, Before: before}.Window()
	if err != nil {
		return nil, err
	}
	var chosen queue.ScheduleFilter
	if filter != nil {
		chosen = queue.ScheduleFilter{Owner: viewer.UserID(orEmpty(filter.OwnerID)), Kinds: filter.Kinds, Paused: filter.Paused}
	}
	found, err := r.Queue.Schedules(ctx, viewer.From(ctx), chosen, window, asks(ctx, "totalCount"))
	if err != nil {
		return nil, err
	}
	dataloaders.From(ctx).MeetSchedules(found.Items...)
	c := &graph.ScheduleConnection{
		Nodes: found.Items, Edges: make([]*graph.ScheduleEdge, len(found.Items)), TotalCount: found.Total,
		PageInfo: &graph.PageInfo{HasNextPage: found.HasNext, HasPreviousPage: found.HasPrev},
	}
	for i, s := range found.Items {
		c.Edges[i] = &graph.ScheduleEdge{Cursor: s.Cursor().String(), Node: s}
	}
	if n := len(c.Edges); n > 0 {
		c.PageInfo.StartCursor, c.PageInfo.EndCursor = &c.Edges[0].Cursor, &c.Edges[n-1].Cursor
	}
	return c, nil
}

func (r *scheduleResolver) NextRuns(_ context.Context, obj *queue.Schedule, first int) ([]*time.Time, error) {
	moments, err := r.Queue.NextRuns(obj, first)
	all := make([]*time.Time, len(moments))
	for i := range moments {
		all[i] = &moments[i]
	}
	return all, err
}

// LastJob leaves out a job that is gone, and one that the caller may not see.
func (r *scheduleResolver) LastJob(ctx context.Context, obj *queue.Schedule) (*queue.Job, error) {
	if obj.LastJob == "" {
		return nil, nil
	}
	return seen(dataloaders.From(ctx).LastJob.Load(ctx, obj.LastJob))
}

// Owner shows the account to whoever may see it; who may see the schedule alone sees the account's id.
func (r *scheduleResolver) Owner(ctx context.Context, obj *queue.Schedule) (*account.User, error) {
	if err := shown(ctx, obj.Owner); err != nil {
		return nil, err
	}
	return present(dataloaders.From(ctx).Users.Load(ctx, obj.Owner))
}

// Schedule returns the resolvers of the type.
func (r *Resolver) Schedule() graph.ScheduleResolver { return &scheduleResolver{r} }
