package resolvers

import (
	"context"

	"gatehouse/account"
	"gatehouse/dataloaders"
	"gatehouse/graph"
	"gatehouse/internal/viewer"
	"gatehouse/login"
	"gatehouse/session"
)

func (r *mutationResolver) Login(ctx context.Context, input graph.LoginInput) (*graph.LoginPayload, error) {
	entry, err := r.Logins.ByPassword(ctx, login.Attempt{
		Email: input.Email, Password: input.Password, Client: clientOf(ctx, input.RememberMe, input.Device),
	})
	if err != nil {
		refused, err := userErrors(err)
		return &graph.LoginPayload{UserErrors: refused}, err
	}
	return &graph.LoginPayload{Outcome: loginOutcome(ctx, entry), UserErrors: noErrors()}, nil
}

func (r *mutationResolver) Logout(ctx context.Context) (*graph.LogoutPayload, error) {
	by := viewer.From(ctx)
	if err := r.Logins.Logout(ctx, by); err != nil {
		refused, err := userErrors(err)
		return &graph.LogoutPayload{UserErrors: refused}, err
	}
	clearCookies(ctx)
	id := string(by.Session)
	return &graph.LogoutPayload{SessionID: &id, UserErrors: noErrors()}, nil
}

func (r *sessionTokensResolver) User(ctx context.Context, obj *graph.SessionTokens) (*account.User, error) {
	user, err := dataloaders.From(ctx).Users.Load(ctx, obj.Session.User)
	return &user, err
}

// SessionTokens returns the resolvers of the type.
func (r *Resolver) SessionTokens() graph.SessionTokensResolver { return &sessionTokensResolver{r} }

// clientOf describes whoever asks to be signed in.
func clientOf(ctx context.Context, remember *bool, device *graph.DeviceInput) login.Client {
	request := requestOf(ctx)
	c := login.Client{Origin: request.Origin, Mode: modeOf(ctx), Remember: remember != nil && *remember}
	if request.Cookies != nil {
		c.Trust = request.Cookies.Device()
	}
	c.Device.ID = request.Origin.DeviceID
	if device != nil {
		c.Device.ID = device.ID
		c.Device.Name = orEmpty(device.Name)
		if request.Cookies == nil {
			c.Trust = orEmpty(device.TrustToken)
		}
	}
	return c
}

// outcome hands tokens over: in the answer, or as cookies and then nowhere else.
func outcome(ctx context.Context, t session.Tokens) *graph.SessionTokens {
	requestOf(ctx).entered = t.Session.ID
	tokens := &graph.SessionTokens{
		AccessTokenExpiresAt: t.AccessExpiresAt, RefreshTokenExpiresAt: t.RefreshExpiresAt, Session: &t.Session,
	}
	if t.Session.Mode == session.Cookie {
		if cookies := requestOf(ctx).Cookies; cookies != nil {
			cookies.Set(t)
		}
		return tokens
	}
	tokens.AccessToken = &t.Access
	if t.Refresh != "" { // a session that was raised keeps its own
		tokens.RefreshToken = &t.Refresh
	}
	return tokens
}

func clearCookies(ctx context.Context) {
	if cookies := requestOf(ctx).Cookies; cookies != nil {
		cookies.Clear()
	}
}
