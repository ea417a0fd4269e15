package resolvers

import (
	"context"
	"fmt"
	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/graph"
)

func (r *auditEventResolver) Subject(ctx context.Context, objs []*audit.Entry) ([]*account.User, error) {
	panic(fmt.Errorf("not implemented: Subject - subject"))
}

func (r *mutationResolver) SetUserRoles(ctx context.Context, input graph.SetUserRolesInput) (*graph.SetUserRolesPayload, error) {
	panic(fmt.Errorf("not implemented: SetUserRoles - setUserRoles"))
}

func (r *mutationResolver) DisableUser(ctx context.Context, input graph.DisableUserInput) (*graph.DisableUserPayload, error) {
	panic(fmt.Errorf("not implemented: DisableUser - disableUser"))
}

func (r *mutationResolver) EnableUser(ctx context.Context, input graph.EnableUserInput) (*graph.EnableUserPayload, error) {
	panic(fmt.Errorf("not implemented: EnableUser - enableUser"))
}

func (r *mutationResolver) UnlockUser(ctx context.Context, input graph.UnlockUserInput) (*graph.UnlockUserPayload, error) {
	panic(fmt.Errorf("not implemented: UnlockUser - unlockUser"))
}

func (r *mutationResolver) RevokeUserSessions(ctx context.Context, input graph.RevokeUserSessionsInput) (*graph.RevokeUserSessionsPayload, error) {
	panic(fmt.Errorf("not implemented: RevokeUserSessions - revokeUserSessions"))
}

func (r *mutationResolver) ImpersonateUser(ctx context.Context, input graph.ImpersonateUserInput) (*graph.ImpersonateUserPayload, error) {
	panic(fmt.Errorf("not implemented: ImpersonateUser - impersonateUser"))
}

func (r *queryResolver) Users(ctx context.Context, filter *graph.UserFilter, first *int, after *string, last *int, before *string) (*graph.UserConnection, error) {
	panic(fmt.Errorf("not implemented: Users - users"))
}

func (r *queryResolver) User(ctx context.Context, id string) (*account.User, error) {
	panic(fmt.Errorf("not implemented: User - user"))
}

func (r *queryResolver) AuditEvents(ctx context.Context, filter *graph.AuditEventFilter, first *int, after *string, last *int, before *string) (*graph.AuditEventConnection, error) {
	panic(fmt.Errorf("not implemented: AuditEvents - auditEvents"))
}

func (r *Resolver) AuditEvent() graph.AuditEventResolver { return &auditEventResolver{r} }

type auditEventResolver struct{ *Resolver }
