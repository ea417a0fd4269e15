package resolvers

import (
	"context"

	"gatehouse/account"
	"gatehouse/graph"
	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

func (r *mutationResolver) RefreshSession(ctx context.Context, input *graph.RefreshSessionInput) (*graph.RefreshSessionPayload, error) {
	request := requestOf(ctx)
	token := ""
	switch {
	case input != nil && input.RefreshToken != nil:
		token = *input.RefreshToken
	case request.Cookies != nil:
		token = request.Cookies.Refresh()
	}
	if token == "" {
		return &graph.RefreshSessionPayload{UserErrors: one(fault.Required, "refreshToken", "Give the refresh token.")}, nil
	}
	tokens, err := r.Sessions.Refresh(ctx, token, request.Origin)
	if fault.Is(err, fault.StepUpRequired) { // the cookies stay: the session may be lifted
		return &graph.RefreshSessionPayload{UserErrors: one(fault.StepUpRequired, "refreshToken", fault.StepUp().Message)}, nil
	}
	if err != nil {
		refused, err := userErrors(err)
		if err == nil {
			clearCookies(ctx)
		}
		return &graph.RefreshSessionPayload{UserErrors: refused}, err
	}
	return &graph.RefreshSessionPayload{Outcome: outcome(ctx, tokens), UserErrors: noErrors()}, nil
}

func (r *mutationResolver) RevokeSession(ctx context.Context, input graph.RevokeSessionInput) (*graph.RevokeSessionPayload, error) {
	by := viewer.From(ctx)
	if err := r.Sessions.Revoke(ctx, by, viewer.SessionID(input.SessionID)); err != nil {
		refused, err := userErrors(err)
		return &graph.RevokeSessionPayload{UserErrors: refused}, err
	}
	if string(by.Session) == input.SessionID {
		clearCookies(ctx)
	}
	return &graph.RevokeSessionPayload{SessionID: &input.SessionID, UserErrors: noErrors()}, nil
}

func (r *mutationResolver) RevokeOtherSessions(ctx context.Context) (*graph.RevokeOtherSessionsPayload, error) {
	by := viewer.From(ctx)
	err := r.Sessions.RevokeOthers(ctx, by)
	user, refused, err := r.accountAfter(ctx, by, err)
	return &graph.RevokeOtherSessionsPayload{User: user, UserErrors: refused}, err
}

func (r *mutationResolver) RevokeAllSessions(ctx context.Context) (*graph.RevokeAllSessionsPayload, error) {
	by := viewer.From(ctx)
	err := r.Sessions.RevokeAll(ctx, by, by.User)
	if err == nil {
		clearCookies(ctx)
	}
	user, refused, err := r.accountAfter(ctx, by, err)
	return &graph.RevokeAllSessionsPayload{User: user, UserErrors: refused}, err
}

// accountAfter returns the caller's account unless err refused what was asked.
func (r *Resolver) accountAfter(ctx context.Context, by viewer.Viewer, err error) (*account.User, []*graph.UserError, error) {
	if err != nil {
		refused, err := userErrors(err)
		return nil, refused, err
	}
	user, err := r.Accounts.Get(ctx, by.User)
	return &user, noErrors(), err
}

func (r *sessionResolver) Current(ctx context.Context, obj *session.Session) (bool, error) {
	return obj.ID == viewer.From(ctx).Session || obj.ID == requestOf(ctx).entered, nil
}

// Session returns the resolvers of the type.
func (r *Resolver) Session() graph.SessionResolver { return &sessionResolver{r} }

func one(code fault.Code, field, message string) []*graph.UserError {
	return []*graph.UserError{{Code: code, Field: []string{field}, Message: message}}
}
