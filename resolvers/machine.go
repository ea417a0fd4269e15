package resolvers

import (
	"context"
	"time"

	"gatehouse/account"
	"gatehouse/dataloaders"
	"gatehouse/graph"
	"gatehouse/internal/page"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

func (r *mutationResolver) CreateAPIKey(ctx context.Context, input graph.CreateAPIKeyInput) (*graph.CreateAPIKeyPayload, error) {
	by := viewer.From(ctx)
	wish := session.KeyWish{Name: input.Name, Scopes: scopesOf(input.Scopes)}
	if input.ExpiresAt != nil {
		wish.ExpiresAt = *input.ExpiresAt
	}
	key, shown, err := r.Sessions.CreateAPIKey(ctx, by, wish)
	if err != nil {
		refused, err := userErrors(err)
		return &graph.CreateAPIKeyPayload{UserErrors: refused}, err
	}
	return &graph.CreateAPIKeyPayload{APIKey: &key, Key: &shown, UserErrors: noErrors()}, nil
}

func (r *mutationResolver) RevokeAPIKey(ctx context.Context, input graph.RevokeAPIKeyInput) (*graph.RevokeAPIKeyPayload, error) {
	if err := r.Sessions.RevokeAPIKey(ctx, viewer.From(ctx), viewer.MachineID(input.ID)); err != nil {
		refused, err := userErrors(err)
		return &graph.RevokeAPIKeyPayload{UserErrors: refused}, err
	}
	return &graph.RevokeAPIKeyPayload{RevokedID: &input.ID, UserErrors: noErrors()}, nil
}

func (r *mutationResolver) CreateServiceAccount(ctx context.Context, input graph.CreateServiceAccountInput) (*graph.CreateServiceAccountPayload, error) {
	by := viewer.From(ctx)
	made, shown, err := r.Sessions.CreateServiceAccount(ctx, by, input.Name, scopesOf(input.Scopes))
	if err != nil {
		refused, err := userErrors(err)
		return &graph.CreateServiceAccountPayload{UserErrors: refused}, err
	}
	return &graph.CreateServiceAccountPayload{ServiceAccount: &made, ClientSecret: &shown, UserErrors: noErrors()}, nil
}

func (r *mutationResolver) RotateServiceAccountSecret(ctx context.Context, input graph.RotateServiceAccountSecretInput) (*graph.RotateServiceAccountSecretPayload, error) {
	by := viewer.From(ctx)
	grace := session.MaxGrace
	if input.GraceSeconds != nil {
		grace = time.Duration(*input.GraceSeconds) * time.Second
	}
	changed, shown, err := r.Sessions.RotateServiceAccount(ctx, by, viewer.MachineID(input.ID), grace)
	if err != nil {
		refused, err := userErrors(err)
		return &graph.RotateServiceAccountSecretPayload{UserErrors: refused}, err
	}
	return &graph.RotateServiceAccountSecretPayload{ServiceAccount: &changed, ClientSecret: &shown, UserErrors: noErrors()}, nil
}

func (r *mutationResolver) DeleteServiceAccount(ctx context.Context, input graph.DeleteServiceAccountInput) (*graph.DeleteServiceAccountPayload, error) {
	if err := r.Sessions.DeleteServiceAccount(ctx, viewer.From(ctx), viewer.MachineID(input.ID)); err != nil {
		refused, err := userErrors(err)
		return &graph.DeleteServiceAccountPayload{UserErrors: refused}, err
	}
	return &graph.DeleteServiceAccountPayload{DeletedID: &input.ID, UserErrors: noErrors()}, nil
}

// APIKeys puts all keys on one page: an account has at most 50.
func (r *userResolver) APIKeys(ctx context.Context, obj *account.User) (*graph.APIKeyConnection, error) {
	keys, err := of(ctx, &dataloaders.From(ctx).APIKeys, obj)
	if err != nil {
		return nil, err
	}
	c := &graph.APIKeyConnection{
		Edges: make([]*graph.APIKeyEdge, len(keys)), Nodes: make([]*session.APIKey, len(keys)),
		PageInfo: &graph.PageInfo{}, TotalCount: len(keys),
	}
	for i := range keys {
		c.Nodes[i] = &keys[i]
		c.Edges[i] = &graph.APIKeyEdge{Cursor: cursorAt(keys[i].CreatedAt, keys[i].NodeID()), Node: &keys[i]}
	}
	if n := len(keys); n > 0 {
		c.PageInfo.StartCursor, c.PageInfo.EndCursor = &c.Edges[0].Cursor, &c.Edges[n-1].Cursor
	}
	return c, nil
}

// ServiceAccounts puts all of them on one page: an account has at most 20.
func (r *userResolver) ServiceAccounts(ctx context.Context, obj *account.User) (*graph.ServiceAccountConnection, error) {
	accounts, err := of(ctx, &dataloaders.From(ctx).ServiceAccounts, obj)
	if err != nil {
		return nil, err
	}
	c := &graph.ServiceAccountConnection{
		Edges: make([]*graph.ServiceAccountEdge, len(accounts)), Nodes: make([]*session.ServiceAccount, len(accounts)),
		PageInfo: &graph.PageInfo{}, TotalCount: len(accounts),
	}
	for i := range accounts {
		c.Nodes[i] = &accounts[i]
		c.Edges[i] = &graph.ServiceAccountEdge{Cursor: cursorAt(accounts[i].CreatedAt, accounts[i].NodeID()), Node: &accounts[i]}
	}
	if n := len(accounts); n > 0 {
		c.PageInfo.StartCursor, c.PageInfo.EndCursor = &c.Edges[0].Cursor, &c.Edges[n-1].Cursor
	}
	return c, nil
}

func cursorAt(at time.Time, id string) string {
	return page.Cursor{Key: at.UnixMicro(), ID: id}.String()
}

func scopesOf(names []string) []viewer.Scope {
	scopes := make([]viewer.Scope, len(names))
	for i, name := range names {
		scopes[i] = viewer.Scope(name)
	}
	return scopes
}
