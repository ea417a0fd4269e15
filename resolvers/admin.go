package resolvers

import (
	"context"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/dataloaders"
	"gatehouse/graph"
	"gatehouse/internal/page"
	"gatehouse/internal/viewer"
)

// administered runs a change of the account id by an administrator and returns the account after it.
func (r *Resolver) administered(ctx context.Context, id string, change func(by viewer.Viewer, id viewer.UserID) error) (*account.User, []*graph.UserError, error) {
	by := viewer.From(ctx)
	err := r.Accounts.AssureFactor(ctx, by)
	if err == nil {
		err = change(by, viewer.UserID(id))
	}
	if err != nil {
		refused, err := userErrors(err)
		return nil, refused, err
	}
	user, err := r.Accounts.Get(ctx, viewer.UserID(id))
	return &user, noErrors(), err
}

func (r *mutationResolver) SetUserRoles(ctx context.Context, input graph.SetUserRolesInput) (*graph.SetUserRolesPayload, error) {
	user, refused, err := r.administered(ctx, input.UserID, func(by viewer.Viewer, id viewer.UserID) error {
		return r.Accounts.SetRoles(ctx, by, id, input.Roles)
	})
	return &graph.SetUserRolesPayload{User: user, UserErrors: refused}, err
}

func (r *mutationResolver) DisableUser(ctx context.Context, input graph.DisableUserInput) (*graph.DisableUserPayload, error) {
	user, refused, err := r.administered(ctx, input.UserID, func(by viewer.Viewer, id viewer.UserID) error {
		return r.Accounts.Disable(ctx, by, id)
	})
	return &graph.DisableUserPayload{User: user, UserErrors: refused}, err
}

func (r *mutationResolver) EnableUser(ctx context.Context, input graph.EnableUserInput) (*graph.EnableUserPayload, error) {
	user, refused, err := r.administered(ctx, input.UserID, func(by viewer.Viewer, id viewer.UserID) error {
		return r.Accounts.Enable(ctx, by, id)
	})
	return &graph.EnableUserPayload{User: user, UserErrors: refused}, err
}

func (r *mutationResolver) UnlockUser(ctx context.Context, input graph.UnlockUserInput) (*graph.UnlockUserPayload, error) {
	user, refused, err := r.administered(ctx, input.UserID, func(by viewer.Viewer, id viewer.UserID) error {
		return r.Logins.Unlock(ctx, by, id)
	})
	return &graph.UnlockUserPayload{User: user, UserErrors: refused}, err
}

func (r *mutationResolver) ResetUserFactors(ctx context.Context, input graph.ResetUserFactorsInput) (*graph.ResetUserFactorsPayload, error) {
	user, refused, err := r.administered(ctx, input.UserID, func(by viewer.Viewer, id viewer.UserID) error {
		return r.Accounts.ResetFactors(ctx, by, id)
	})
	return &graph.ResetUserFactorsPayload{User: user, UserErrors: refused}, err
}

func (r *mutationResolver) RevokeUserSessions(ctx context.Context, input graph.RevokeUserSessionsInput) (*graph.RevokeUserSessionsPayload, error) {
	user, refused, err := r.administered(ctx, input.UserID, func(by viewer.Viewer, id viewer.UserID) error {
		return r.Accounts.RevokeSessions(ctx, by, id)
	})
	return &graph.RevokeUserSessionsPayload{User: user, UserErrors: refused}, err
}

func (r *mutationResolver) ImpersonateUser(ctx context.Context, input graph.ImpersonateUserInput) (*graph.ImpersonateUserPayload, error) {
	by := viewer.From(ctx)
	if err := r.Accounts.AssureFactor(ctx, by); err != nil {
		return nil, err
	}
	readOnly := input.ReadOnly == nil || *input.ReadOnly
	tokens, err := r.Accounts.Impersonate(ctx, by, viewer.UserID(input.UserID), input.Reason, readOnly, requestOf(ctx).Origin)
	if err != nil {
		refused, err := userErrors(err)
		return &graph.ImpersonateUserPayload{UserErrors: refused}, err
	}
	return &graph.ImpersonateUserPayload{Outcome: &graph.SessionTokens{
		AccessToken: &tokens.Access, AccessTokenExpiresAt: tokens.AccessExpiresAt,
		RefreshTokenExpiresAt: tokens.RefreshExpiresAt, Session: &tokens.Session,
	}, UserErrors: noErrors()}, nil
}

func (r *queryResolver) Users(ctx context.Context, filter *graph.UserFilter, first *int, after *string, last *int, before *string) (*graph.UserConnection, error) {
	window, err := page.Request{First: first, After: after, Last: last, Before: before}.Window()
	if err != nil {
		return nil, err
	}
	found, err := r.Accounts.List(ctx, viewer.From(ctx), userFilter(filter), window)
	if err != nil {
		return nil, err
	}
	c := &graph.UserConnection{
		Nodes: make([]*account.User, len(found.Items)), Edges: make([]*graph.UserEdge, len(found.Items)), TotalCount: found.Total,
		PageInfo: &graph.PageInfo{HasNextPage: found.HasNext, HasPreviousPage: found.HasPrev},
	}
	loaders := dataloaders.From(ctx)
	for i := range found.Items {
		user := &found.Items[i]
		loaders.MeetUsers(user.ID)
		c.Nodes[i], c.Edges[i] = user, &graph.UserEdge{Cursor: account.CursorOf(*user).String(), Node: user}
	}
	if n := len(c.Edges); n > 0 {
		c.PageInfo.StartCursor, c.PageInfo.EndCursor = &c.Edges[0].Cursor, &c.Edges[n-1].Cursor
	}
	return c, nil
}

func userFilter(f *graph.UserFilter) account.Filter {
	if f == nil {
		return account.Filter{}
	}
	filter := account.Filter{Email: orEmpty(f.Email), ID: viewer.UserID(orEmpty(f.ID))}
	if f.Status != nil {
		filter.Status = *f.Status
	}
	if f.Role != nil {
		filter.Role = *f.Role
	}
	if f.CreatedAfter != nil {
		filter.After = *f.CreatedAfter
	}
	if f.CreatedBefore != nil {
		filter.Before = *f.CreatedBefore
	}
	return filter
}

func (r *queryResolver) User(ctx context.Context, id string) (*account.User, error) {
	user, err := r.Accounts.Seen(ctx, viewer.From(ctx), viewer.UserID(id))
	if err != nil {
		return nil, err
	}
	return &user, nil
}

func (r *queryResolver) AuditEvents(ctx context.Context, filter *graph.AuditEventFilter, first *int, after *string, last *int, before *string) (*graph.AuditEventConnection, error) {
	window, err := page.Request{First: first, After: after, Last: last, Before: before}.Window()
	if err != nil {
		return nil, err
	}
	found, err := r.Audit.List(ctx, viewer.From(ctx), auditFilter(filter), window)
	if err != nil {
		return nil, err
	}
	c := &graph.AuditEventConnection{
		Nodes: make([]*audit.Entry, len(found.Items)), Edges: make([]*graph.AuditEventEdge, len(found.Items)), TotalCount: found.Total,
		PageInfo: &graph.PageInfo{HasNextPage: found.HasNext, HasPreviousPage: found.HasPrev},
	}
	loaders := dataloaders.From(ctx)
	for i := range found.Items {
		event := &found.Items[i]
		loaders.MeetUsers(event.Subject)
		c.Nodes[i], c.Edges[i] = event, &graph.AuditEventEdge{Cursor: audit.CursorOf(event).String(), Node: event}
	}
	if n := len(c.Edges); n > 0 {
		c.PageInfo.StartCursor, c.PageInfo.EndCursor = &c.Edges[0].Cursor, &c.Edges[n-1].Cursor
	}
	return c, nil
}

func auditFilter(f *graph.AuditEventFilter) audit.Filter {
	if f == nil {
		return audit.Filter{}
	}
	filter := audit.Filter{User: viewer.UserID(orEmpty(f.UserID)), Action: orEmpty(f.Action)}
	if f.Outcome != nil {
		filter.Outcome = *f.Outcome
	}
	if f.From != nil {
		filter.From = *f.From
	}
	if f.To != nil {
		filter.To = *f.To
	}
	return filter
}

// Subject shows the account to those who may read accounts; whoever may read the audit alone sees the id.
func (r *auditEventResolver) Subject(ctx context.Context, obj *audit.Entry) (*account.User, error) {
	if obj.Subject == "" || !viewer.From(ctx).May(viewer.ReadUsers) {
		return nil, nil
	}
	return present(dataloaders.From(ctx).Users.Load(ctx, obj.Subject))
}

// AuditEvent returns the resolvers of the type.
func (r *Resolver) AuditEvent() graph.AuditEventResolver { return &auditEventResolver{r} }
