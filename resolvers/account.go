package resolvers

import (
	"context"

	"gatehouse/account"
	"gatehouse/dataloaders"
	"gatehouse/graph"
	"gatehouse/internal/fault"
	"gatehouse/internal/page"
	"gatehouse/internal/viewer"
	"gatehouse/login"
	"gatehouse/session"
)

func (r *mutationResolver) Register(ctx context.Context, input graph.RegisterInput) (*graph.RegisterPayload, error) {
	entry, err := r.Logins.Register(ctx, login.Registration{
		Registration: account.Registration{
			Email: input.Email, Password: input.Password, Name: orEmpty(input.Name), Locale: orEmpty(input.Locale),
		},
		Client: clientOf(ctx, input.RememberMe, input.Device),
	})
	if err != nil {
		refused, err := userErrors(err)
		return &graph.RegisterPayload{UserErrors: refused}, err
	}
	return &graph.RegisterPayload{Outcome: loginOutcome(ctx, entry), UserErrors: noErrors()}, nil
}

func (r *mutationResolver) ChangePassword(ctx context.Context, input graph.ChangePasswordInput) (*graph.ChangePasswordPayload, error) {
	by := viewer.From(ctx)
	err := r.Accounts.ChangePassword(ctx, by, input.CurrentPassword, input.NewPassword)
	user, refused, err := r.accountAfter(ctx, by, err)
	return &graph.ChangePasswordPayload{User: user, UserErrors: refused}, err
}

func (r *queryResolver) Me(ctx context.Context) (*account.User, error) {
	by := viewer.From(ctx)
	if by.Suspended != "" {
		return nil, by.SignedIn()
	}
	if by.User == "" {
		return nil, nil
	}
	user, err := r.Accounts.Get(ctx, by.User)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return &user, err
}

// Sessions answers for the account's owner and for those who may read users; the type User is also
// reached as the owner of a job.
func (r *userResolver) Sessions(ctx context.Context, obj *account.User) (*graph.SessionConnection, error) {
	if !viewer.From(ctx).Owns(obj.ID, viewer.ReadUsers) {
		return nil, fault.Denied("Only the account itself may see its sessions.")
	}
	sessions, err := dataloaders.From(ctx).Sessions.LoadAll(ctx, []viewer.UserID{obj.ID})
	if err != nil {
		return nil, err
	}
	return sessionConnection(sessions[0]), nil
}

func (r *userResolver) Jobs(ctx context.Context, obj *account.User, filter *graph.JobFilter, orderBy *graph.JobOrder, first *int, after *string, last *int, before *string) (*graph.JobConnection, error) {
	if filter == nil {
		filter = &graph.JobFilter{}
	}
	narrowed, owner := *filter, string(obj.ID)
	narrowed.OwnerID = &owner
	return r.jobs(ctx, &narrowed, orderBy, page.Request{First: first, After: after, Last: last, Before: before})
}

// User returns the resolvers of the type.
func (r *Resolver) User() graph.UserResolver { return &userResolver{r} }

// sessionConnection puts a whole list on one page: an account has at most 100 live sessions.
func sessionConnection(sessions []session.Session) *graph.SessionConnection {
	c := &graph.SessionConnection{
		Edges: make([]*graph.SessionEdge, len(sessions)), Nodes: make([]*session.Session, len(sessions)),
		PageInfo: &graph.PageInfo{}, TotalCount: len(sessions),
	}
	for i := range sessions {
		s := &sessions[i]
		c.Nodes[i] = s
		c.Edges[i] = &graph.SessionEdge{Cursor: page.Cursor{Key: s.CreatedAt.UnixMicro(), ID: string(s.ID)}.String(), Node: s}
	}
	if n := len(sessions); n > 0 {
		c.PageInfo.StartCursor, c.PageInfo.EndCursor = &c.Edges[0].Cursor, &c.Edges[n-1].Cursor
	}
	return c
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
