// Package guard executes GraphQL operations and keeps one document from costing more than it should.
//
// # Order
//
// [Executor] stands in for gqlgen's, whose hooks cannot say this order. A request goes through
//
//  1. persisted documents: the document behind a hash; what is not on an allow-list is refused.
//  2. the cache of documents, which holds only what has passed 3 and 4.
//  3. the shape: bytes, tokens, depth, aliases, fragments. It is checked before validation, since
//     validating a hostile document is itself what costs.
//  4. validation.
//  5. the cost, with the variables: what the operation may cost to execute. Then introspection.
//
// # Bounds
//
// Every check is linear in the document, fragments are measured once and remembered, and a document
// has at most [Limits.Tokens] tokens. The caches are bounded by bytes. A refusal is a
// *gqlerror.Error whose extensions carry code LIMIT_EXCEEDED and limit, max, seen and where.
package guard

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
)

// Options of an Executor. The zero value is the production default: the standard limits, no
// introspection, no suggestions, automatic persisted queries on.
type Options struct {
	// Limits bound a document; a zero field takes its default.
	Limits Limits
	// DocumentCacheBytes bounds the cache of parsed documents; 0 means 16 MiB.
	DocumentCacheBytes int
	// Introspection says whether the viewer in the context may query __schema and __type; nil refuses all.
	Introspection func(context.Context) bool
	// Suggestions lets validation errors say "Did you mean …?", which tells a stranger names of the schema.
	Suggestions bool
	// Persisted says how documents are found by their hash.
	Persisted PersistedOptions
	// Present shows an error of a resolver to a client, Recover makes one of a panic; nil: as gqlgen does.
	Present graphql.ErrorPresenterFunc
	Recover graphql.RecoverFunc
	// Around gives the context of one answer, of which a subscription has many, and of one change of a
	// mutation; nil leaves it as it is.
	Around func(context.Context) context.Context
}

func (o Options) withDefaults() Options {
	o.Limits = o.Limits.withDefaults()
	if o.Present == nil {
		o.Present = graphql.DefaultErrorPresenter
	}
	if o.Recover == nil {
		o.Recover = graphql.DefaultRecover
	}
	if o.Around == nil {
		o.Around = func(ctx context.Context) context.Context { return ctx }
	}
	return o
}
