package resolvers

import (
	"context"
	"fmt"
	"gatehouse/account"
	"gatehouse/graph"
)

func (r *mutationResolver) CreateAPIKey(ctx context.Context, input graph.CreateAPIKeyInput) (*graph.CreateAPIKeyPayload, error) {
	panic(fmt.Errorf("not implemented: CreateAPIKey - createApiKey"))
}

func (r *mutationResolver) RevokeAPIKey(ctx context.Context, input graph.RevokeAPIKeyInput) (*graph.RevokeAPIKeyPayload, error) {
	panic(fmt.Errorf("not implemented: RevokeAPIKey - revokeApiKey"))
}

func (r *mutationResolver) CreateServiceAccount(ctx context.Context, input graph.CreateServiceAccountInput) (*graph.CreateServiceAccountPayload, error) {
	panic(fmt.Errorf("not implemented: CreateServiceAccount - createServiceAccount"))
}

func (r *mutationResolver) RotateServiceAccountSecret(ctx context.Context, input graph.RotateServiceAccountSecretInput) (*graph.RotateServiceAccountSecretPayload, error) {
	panic(fmt.Errorf("not implemented: RotateServiceAccountSecret - rotateServiceAccountSecret"))
}

func (r *mutationResolver) DeleteServiceAccount(ctx context.Context, input graph.DeleteServiceAccountInput) (*graph.DeleteServiceAccountPayload, error) {
	panic(fmt.Errorf("not implemented: DeleteServiceAccount - deleteServiceAccount"))
}

func (r *userResolver) APIKeys(ctx context.Context, obj *account.User) (*graph.APIKeyConnection, error) {
	panic(fmt.Errorf("not implemented: APIKeys - apiKeys"))
}

func (r *userResolver) ServiceAccounts(ctx context.Context, obj *account.User) (*graph.ServiceAccountConnection, error) {
	panic(fmt.Errorf("not implemented: ServiceAccounts - serviceAccounts"))
}
