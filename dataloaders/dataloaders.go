// Package dataloaders holds the batches of one request: each level of a query costs one statement,
// however many objects ask.
//
// [With] puts fresh loaders into the context of an operation; a field takes its own with [From]. A
// field of a list's elements (batch: true in gqlgen.yml) asks for all its keys at once with LoadAll;
// any other asks for one with Load and meets its neighbours in the loader.
package dataloaders

import (
	"context"

	"gatehouse/account"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
	"gatehouse/session"
)

// Loaders are the batches of one operation.
type Loaders struct {
	Users     *Loader[viewer.UserID, account.User]
	Sessions  *Loader[viewer.UserID, []session.Session]
	Attempts  *Loader[queue.ID, []queue.Attempt]
	Artifacts *Loader[queue.ID, []queue.File]
}

// Sources are what the loaders fetch from.
type Sources struct {
	Accounts *account.Accounts
	Sessions *session.Sessions
	Queue    *queue.Queue
}

// New returns empty loaders.
func (s Sources) New() *Loaders {
	return &Loaders{
		Users:     NewLoader(s.Accounts.ByIDs),
		Sessions:  NewLoader(s.Sessions.ByUsers),
		Attempts:  NewLoader(s.Queue.Attempts),
		Artifacts: NewLoader(s.Queue.Artifacts),
	}
}

type contextKey struct{}

// With returns ctx with loaders.
func With(ctx context.Context, l *Loaders) context.Context {
	return context.WithValue(ctx, contextKey{}, l)
}

// From returns the loaders of the operation. Without [With] before it panics: a field that loads
// outside of an operation is a defect.
func From(ctx context.Context) *Loaders { return ctx.Value(contextKey{}).(*Loaders) }
