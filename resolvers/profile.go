package resolvers

import (
	"context"

	"gatehouse/account"
	"gatehouse/graph"
	"gatehouse/internal/viewer"
	"gatehouse/jobs"
)

func (r *mutationResolver) UpdateProfile(ctx context.Context, input graph.UpdateProfileInput) (*graph.UpdateProfilePayload, error) {
	user, err := r.Accounts.UpdateProfile(ctx, viewer.From(ctx), account.Profile{Name: input.Name, Locale: input.Locale})
	refused, err := userErrors(err)
	return &graph.UpdateProfilePayload{User: ownOnly(ctx, user), UserErrors: refused}, err
}

func (r *mutationResolver) RequestDataExport(ctx context.Context) (*graph.RequestDataExportPayload, error) {
	job, err := r.Accounts.RequestExport(ctx, viewer.From(ctx))
	refused, err := userErrors(err)
	return &graph.RequestDataExportPayload{Job: job, UserErrors: refused}, err
}

func (r *mutationResolver) DeleteAccount(ctx context.Context, input *graph.DeleteAccountInput) (*graph.DeleteAccountPayload, error) {
	password := ""
	if input != nil {
		password = orEmpty(input.Password)
	}
	user, err := r.Accounts.Delete(ctx, viewer.From(ctx), password)
	if err != nil {
		refused, err := userErrors(err)
		return &graph.DeleteAccountPayload{UserErrors: refused}, err
	}
	clearCookies(ctx)
	return &graph.DeleteAccountPayload{DeletesAt: user.DeletionAt(), UserErrors: noErrors()}, nil
}

func (r *mutationResolver) CancelAccountDeletion(ctx context.Context, input *graph.CancelAccountDeletionInput) (*graph.CancelAccountDeletionPayload, error) {
	token := ""
	if input != nil {
		token = orEmpty(input.Token)
	}
	user, err := r.Accounts.KeepAccount(ctx, viewer.From(ctx), token, origin(ctx))
	refused, err := userErrors(err)
	return &graph.CancelAccountDeletionPayload{Kept: done(err, refused), User: ownOnly(ctx, user), UserErrors: refused}, err
}

// dataExport is the result of an exportData job as the schema has it.
func dataExport(e jobs.Exported) *graph.DataExport {
	export := &graph.DataExport{Sections: make([]*graph.DataExportSection, len(e.Sections))}
	for i, s := range e.Sections {
		export.Sections[i] = &graph.DataExportSection{Name: s.Name, Entries: s.Entries}
	}
	return export
}
