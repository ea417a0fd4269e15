package resolvers

import (
	"context"

	"gatehouse/account"
	"gatehouse/dataloaders"
	"gatehouse/graph"
	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
	"gatehouse/login"
	"gatehouse/login/oauth"
)

func (r *queryResolver) OauthProviders(context.Context) ([]*oauth.Provider, error) {
	return r.Resolver.Identities.Providers(), nil
}

func (r *mutationResolver) StartOAuth(ctx context.Context, input graph.StartOAuthInput) (*graph.StartOAuthPayload, error) {
	begun, err := r.Resolver.Identities.Start(ctx, viewer.From(ctx), login.Beginning{
		Provider: input.Provider, RedirectTo: orEmpty(input.RedirectTo), Challenge: orEmpty(input.ClientChallenge),
		Browser: requestOf(ctx).bind(), Link: input.Link != nil && *input.Link, Client: clientOf(ctx, nil, nil),
	})
	if err != nil {
		refused, err := userErrors(err)
		return &graph.StartOAuthPayload{UserErrors: refused}, err
	}
	return &graph.StartOAuthPayload{AuthorizationURL: &begun.AuthorizationURL, FlowID: &begun.Flow, UserErrors: noErrors()}, nil
}

func (r *mutationResolver) CompleteOAuth(ctx context.Context, input graph.CompleteOAuthInput) (*graph.CompleteOAuthPayload, error) {
	entered, err := r.completeOAuth(ctx, input)
	if err != nil {
		refused, err := userErrors(err)
		return &graph.CompleteOAuthPayload{UserErrors: refused}, err
	}
	payload := &graph.CompleteOAuthPayload{Identity: &entered.Identity, UserErrors: noErrors()}
	payload.Outcome = loginOutcome(ctx, entered.Outcome)
	return payload, nil
}

// completeOAuth calls the one of the two ways that input has the parts of.
func (r *mutationResolver) completeOAuth(ctx context.Context, input graph.CompleteOAuthInput) (login.Entered, error) {
	by, client := viewer.From(ctx), clientOf(ctx, input.RememberMe, input.Device)
	proof := login.Proof{Verifier: orEmpty(input.ClientVerifier)}
	if cookies := requestOf(ctx).Cookies; cookies != nil {
		proof.Cookie = cookies.Browser()
	}
	switch {
	case input.ExchangeCode != nil && input.State == nil:
		return r.Resolver.Identities.Redeem(ctx, by, login.Redemption{Code: *input.ExchangeCode, Proof: proof, Client: client})
	case input.ExchangeCode == nil && input.State != nil:
		return r.Resolver.Identities.Complete(ctx, by, login.Return{
			Flow: orEmpty(input.FlowID), Proof: proof, Client: client,
			Answer: oauth.Answer{State: *input.State, Code: orEmpty(input.Code), Iss: orEmpty(input.Iss), Error: orEmpty(input.Error)},
		})
	}
	return login.Entered{}, fault.New(fault.Required, "", "Give either state and code, or exchangeCode.")
}

func (r *mutationResolver) UnlinkIdentity(ctx context.Context, input graph.UnlinkIdentityInput) (*graph.UnlinkIdentityPayload, error) {
	by := viewer.From(ctx)
	err := r.Resolver.Identities.Unlink(ctx, by, account.IdentityID(input.IdentityID))
	user, refused, err := r.accountAfter(ctx, by, err)
	payload := &graph.UnlinkIdentityPayload{User: user, UserErrors: refused}
	if user != nil {
		payload.IdentityID = &input.IdentityID
	}
	return payload, err
}

func (r *mutationResolver) RefreshIdentityProfile(ctx context.Context, input graph.RefreshIdentityProfileInput) (*graph.RefreshIdentityProfilePayload, error) {
	identity, err := r.Resolver.Identities.RefreshProfile(ctx, viewer.From(ctx), account.IdentityID(input.IdentityID))
	if err != nil {
		refused, err := userErrors(err)
		return &graph.RefreshIdentityProfilePayload{UserErrors: refused}, err
	}
	return &graph.RefreshIdentityProfilePayload{Identity: &identity, UserErrors: noErrors()}, nil
}

// Identities answers for the account's owner and for those who may read users.
func (r *userResolver) Identities(ctx context.Context, obj *account.User) ([]*account.Identity, error) {
	if !viewer.From(ctx).Owns(obj.ID, viewer.ReadUsers) {
		return nil, fault.Denied("Only the account itself may see its identities.")
	}
	identities, err := of(ctx, &dataloaders.From(ctx).Identities, obj)
	return pointers(identities), err
}

func (r *identityResolver) ProviderName(_ context.Context, obj *account.Identity) (string, error) {
	return r.Resolver.Identities.Title(obj.Provider), nil
}

// Identity returns the resolvers of the type.
func (r *Resolver) Identity() graph.IdentityResolver { return &identityResolver{r} }

// bind returns the secret that a sign-in through a provider is bound to in cookie mode, and keeps it in
// the browser; "" without cookies. One secret serves all sign-ins that a browser has begun.
func (r *Request) bind() string {
	if r.Cookies == nil {
		return ""
	}
	secret := r.Cookies.Browser()
	if !login.BrowserSecret(secret) {
		secret = login.NewBrowserSecret()
	}
	r.Cookies.SetBrowser(secret)
	return secret
}
