// Package dataloaders holds the batches of one request: each level of a query costs one statement,
// however many objects ask.
//
// [Source.With] puts fresh loaders into the context of an operation; a field takes its own with [From]. A
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

// operation is a context with its loaders.
type operation struct {
	context.Context
	loaders Loaders
}

type contextKey struct{}

// Value implements context.Context.
func (o *operation) Value(key any) any {
	if key == (contextKey{}) {
		return &o.loaders
	}
	return o.Context.Value(key)
}

// With returns ctx with empty loaders.
func (s *Source) With(ctx context.Context) context.Context {
	o := &operation{Context: ctx}
	o.loaders.Users.fetch, o.loaders.Sessions.fetch = s.users, s.sessions
	o.loaders.Attempts.fetch, o.loaders.Artifacts.fetch = s.attempts, s.artifacts
	return o
}

// From returns the loaders of the operation. Without [Source.With] before it panics: a field that loads
// outside of an operation is a defect.
func From(ctx context.Context) *Loaders { return ctx.Value(contextKey{}).(*Loaders) }
