package resolvers

import (
	"context"

	"gatehouse/account"
	"gatehouse/graph"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

func (r *mutationResolver) RequestEmailVerification(ctx context.Context, input *graph.RequestEmailVerificationInput) (*graph.RequestEmailVerificationPayload, error) {
	email := ""
	if input != nil {
		email = orEmpty(input.Email)
	}
	err := r.Accounts.RequestEmailVerification(ctx, viewer.From(ctx), email, origin(ctx))
	refused, err := userErrors(err)
	return &graph.RequestEmailVerificationPayload{UserErrors: refused}, err
}

func (r *mutationResolver) VerifyEmail(ctx context.Context, input graph.VerifyEmailInput) (*graph.VerifyEmailPayload, error) {
	shown := account.Shown{Token: orEmpty(input.Token), Email: orEmpty(input.Email), Code: orEmpty(input.Code)}
	user, err := r.Accounts.VerifyEmail(ctx, shown, origin(ctx))
	refused, err := userErrors(err)
	return &graph.VerifyEmailPayload{Verified: done(err, refused), User: ownOnly(ctx, user), UserErrors: refused}, err
}

func (r *mutationResolver) RequestPasswordReset(ctx context.Context, input graph.RequestPasswordResetInput) (*graph.RequestPasswordResetPayload, error) {
	err := r.Accounts.RequestPasswordReset(ctx, input.Email, origin(ctx))
	refused, err := userErrors(err)
	return &graph.RequestPasswordResetPayload{UserErrors: refused}, err
}

func (r *mutationResolver) ResetPassword(ctx context.Context, input graph.ResetPasswordInput) (*graph.ResetPasswordPayload, error) {
	_, err := r.Accounts.ResetPassword(ctx, input.Token, input.NewPassword, origin(ctx))
	refused, err := userErrors(err)
	return &graph.ResetPasswordPayload{Reset: done(err, refused), UserErrors: refused}, err
}

func (r *mutationResolver) RequestLoginCode(ctx context.Context, input graph.RequestLoginCodeInput) (*graph.RequestLoginCodePayload, error) {
	client := clientOf(ctx, nil, nil)
	err := r.Accounts.RequestLoginCode(ctx, input.Email, client.Mode, client.Origin)
	refused, err := userErrors(err)
	return &graph.RequestLoginCodePayload{UserErrors: refused}, err
}

func (r *mutationResolver) LoginWithCode(ctx context.Context, input graph.LoginWithCodeInput) (*graph.LoginWithCodePayload, error) {
	shown := account.Shown{Token: orEmpty(input.Token), Email: orEmpty(input.Email), Code: orEmpty(input.Code)}
	entry, err := r.Logins.ByMail(ctx, shown, clientOf(ctx, input.RememberMe, input.Device))
	if err != nil {
		refused, err := userErrors(err)
		return &graph.LoginWithCodePayload{UserErrors: refused}, err
	}
	return &graph.LoginWithCodePayload{Outcome: loginOutcome(ctx, entry), UserErrors: noErrors()}, nil
}

func (r *mutationResolver) RequestEmailChange(ctx context.Context, input graph.RequestEmailChangeInput) (*graph.RequestEmailChangePayload, error) {
	err := r.Accounts.RequestEmailChange(ctx, viewer.From(ctx), input.NewEmail, orEmpty(input.Password), origin(ctx))
	refused, err := userErrors(err)
	return &graph.RequestEmailChangePayload{UserErrors: refused}, err
}

func (r *mutationResolver) ConfirmEmailChange(ctx context.Context, input graph.ConfirmEmailChangeInput) (*graph.ConfirmEmailChangePayload, error) {
	user, err := r.Accounts.ConfirmEmailChange(ctx, viewer.From(ctx), orEmpty(input.Token), orEmpty(input.Code), origin(ctx))
	refused, err := userErrors(err)
	return &graph.ConfirmEmailChangePayload{Changed: done(err, refused), User: ownOnly(ctx, user), UserErrors: refused}, err
}

func (r *mutationResolver) UndoEmailChange(ctx context.Context, input graph.UndoEmailChangeInput) (*graph.UndoEmailChangePayload, error) {
	_, err := r.Accounts.UndoEmailChange(ctx, input.Token, origin(ctx))
	refused, err := userErrors(err)
	return &graph.UndoEmailChangePayload{Restored: done(err, refused), UserErrors: refused}, err
}

func (r *mutationResolver) ReportNotMe(ctx context.Context, input graph.ReportNotMeInput) (*graph.ReportNotMePayload, error) {
	_, err := r.Accounts.Disown(ctx, input.Token, origin(ctx))
	refused, err := userErrors(err)
	return &graph.ReportNotMePayload{Secured: done(err, refused), UserErrors: refused}, err
}

// done is true unless something was refused, and then nil.
func done(err error, refused []*graph.UserError) *bool {
	if err != nil || len(refused) > 0 {
		return nil
	}
	yes := true
	return &yes
}

// ownOnly returns user to the person who is signed in to it: a link proves that a mail was read, and
// opens nothing else.
func ownOnly(ctx context.Context, user account.User) *account.User {
	if user.ID == "" || user.ID != viewer.From(ctx).User {
		return nil
	}
	return &user
}

// origin is where the request comes from.
func origin(ctx context.Context) session.Origin { return requestOf(ctx).Origin }
