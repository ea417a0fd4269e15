package resolvers

import (
	"context"
	"errors"
	"slices"

	"github.com/99designs/gqlgen/graphql"

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
	if err := shown(ctx, by.User); err != nil {
		return nil, err
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
	sessions, err := of(ctx, &dataloaders.From(ctx).Sessions, obj)
	if err != nil {
		return nil, err
	}
	return sessionConnection(sessions), nil
}

func (r *userResolver) Jobs(ctx context.Context, obj *account.User, filter *graph.JobFilter, orderBy *graph.JobOrder, first *int, after *string, last *int, before *string) (*graph.JobConnection, error) {
	return r.jobsOf(ctx, obj, filter, orderBy, page.Request{First: first, After: after, Last: last, Before: before})
}

// of returns what loader has of user. What the viewer may not see is NOT_FOUND.
func of[V any](ctx context.Context, loader *dataloaders.Loader[viewer.UserID, V], user *account.User) (V, error) {
	value, err := loader.Load(ctx, user.ID)
	if errors.Is(err, dataloaders.ErrMissing) {
		err = fault.Missing("user")
	}
	return value, err
}

// shown refuses a viewer who may not see the account id, but for what decides for itself: whose a machine
// is, and what it does, it may know by another scope.
func shown(ctx context.Context, id viewer.UserID) error {
	if viewer.From(ctx).Owns(id, viewer.ReadUsers) {
		return nil
	}
	for _, field := range graphql.CollectAllFields(ctx) {
		if !slices.Contains([]string{"__typename", "id", "jobs"}, field) {
			return fault.Denied("This takes the scope account:read, or for the accounts of others users:read.")
		}
	}
	return nil
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
