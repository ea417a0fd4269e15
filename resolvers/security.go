package resolvers

import (
	"context"

	"gatehouse/account"
	"gatehouse/audit"
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
	found, err := r.Audit.Security(ctx, viewer.From(ctx), obj.ID, window, asks(ctx, "totalCount"))
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

// Session finds the sessions of events in one statement. An event's subject owns its session, and only
// who may see the one is here.
func (r *securityEventResolver) Session(ctx context.Context, objs []*audit.Entry) ([]*session.Session, error) {
	var ids []viewer.SessionID
	for _, e := range objs {
		if e.Session != "" {
			ids = append(ids, e.Session)
		}
	}
	found, err := r.Sessions.ByIDs(ctx, ids)
	if err != nil {
		return nil, err
	}
	all := make([]*session.Session, len(objs))
	for i, e := range objs {
		if s, exists := found[e.Session]; exists && s.User == e.Subject {
			all[i] = &s
		}
	}
	return all, nil
}

// SecurityEvent returns the resolvers of the type.
func (r *Resolver) SecurityEvent() graph.SecurityEventResolver { return &securityEventResolver{r} }
