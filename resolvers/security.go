package resolvers

import (
	"context"
	"errors"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/dataloaders"
	"gatehouse/graph"
	"gatehouse/internal/page"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

func (r *userResolver) SecurityEvents(ctx context.Context, obj *account.User, first *int, after *string) (*graph.SecurityEventConnection, error) {
	window, err := page.Request{First: first, After: after}.Window()
	if err != nil {
		return nil, err
	}
	count := asks(ctx, "totalCount")
	loaders := dataloaders.From(ctx)
	loader := loaders.SecurityEvents.With(arguments(ctx, count), func(ctx context.Context, users []viewer.UserID) (map[viewer.UserID]page.Page[*audit.Entry], error) {
		pages, err := r.Audit.Security(ctx, viewer.From(ctx), users, window, count)
		for _, found := range pages {
			for _, e := range found.Items {
				loaders.MeetSessions(e.Session)
			}
		}
		return pages, err
	})
	found, err := of(ctx, loader, obj)
	if err != nil {
		return nil, err
	}
	c := &graph.SecurityEventConnection{
		Nodes: found.Items, Edges: make([]*graph.SecurityEventEdge, len(found.Items)), TotalCount: found.Total,
		PageInfo: &graph.PageInfo{HasNextPage: found.HasNext, HasPreviousPage: found.HasPrev},
	}
	if c.Nodes == nil {
		c.Nodes = []*audit.Entry{}
	}
	for i, e := range found.Items {
		c.Edges[i] = &graph.SecurityEventEdge{Cursor: audit.CursorOf(e).String(), Node: e}
	}
	if n := len(c.Edges); n > 0 {
		c.PageInfo.StartCursor, c.PageInfo.EndCursor = &c.Edges[0].Cursor, &c.Edges[n-1].Cursor
	}
	return c, nil
}

func (r *subscriptionResolver) SecurityEvents(ctx context.Context, after *string) (<-chan *audit.Entry, error) {
	return r.Audit.Watch(ctx, viewer.From(ctx), orEmpty(after))
}

// Session finds the session of an event, whose subject owns it.
func (r *securityEventResolver) Session(ctx context.Context, obj *audit.Entry) (*session.Session, error) {
	if obj.Session == "" {
		return nil, nil
	}
	found, err := dataloaders.From(ctx).Session.Load(ctx, obj.Session)
	if errors.Is(err, dataloaders.ErrMissing) || err == nil && found.User != obj.Subject {
		return nil, nil
	}
	return &found, err
}

// SecurityEvent returns the resolvers of the type.
func (r *Resolver) SecurityEvent() graph.SecurityEventResolver { return &securityEventResolver{r} }
