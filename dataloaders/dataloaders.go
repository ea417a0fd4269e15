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
	Users     Loader[viewer.UserID, account.User]
	Sessions  Loader[viewer.UserID, []session.Session]
	Attempts  Loader[queue.ID, []queue.Attempt]
	Artifacts Loader[queue.ID, []queue.File]
}

// Source is what the loaders of all operations fetch from.
type Source struct {
	users     func(context.Context, []viewer.UserID) (map[viewer.UserID]account.User, error)
	sessions  func(context.Context, []viewer.UserID) (map[viewer.UserID][]session.Session, error)
	attempts  func(context.Context, []queue.ID) (map[queue.ID][]queue.Attempt, error)
	artifacts func(context.Context, []queue.ID) (map[queue.ID][]queue.File, error)
}

// NewSource returns a source over the domain.
func NewSource(accounts *account.Accounts, sessions *session.Sessions, q *queue.Queue) *Source {
	return &Source{users: accounts.ByIDs, sessions: sessions.ByUsers, attempts: q.Attempts, artifacts: q.Artifacts}
}

// New returns empty loaders.
func (s *Source) New() *Loaders {
	l := new(Loaders)
	l.Users.fetch, l.Sessions.fetch, l.Attempts.fetch, l.Artifacts.fetch = s.users, s.sessions, s.attempts, s.artifacts
	return l
}

type contextKey struct{}

// With returns ctx with loaders.
func With(ctx context.Context, l *Loaders) context.Context {
	return context.WithValue(ctx, contextKey{}, l)
}

// From returns the loaders of the operation. Without [With] before it panics: a field that loads
// outside of an operation is a defect.
func From(ctx context.Context) *Loaders { return ctx.Value(contextKey{}).(*Loaders) }
