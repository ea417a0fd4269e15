package resolvers

import (
	"context"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"gatehouse/graph"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// Directives are the doors of the schema. They close early; the domain checks its viewer again.
func (r *Resolver) Directives() graph.DirectiveRoot {
	return graph.DirectiveRoot{
		Auth:      r.auth,
		HasRole:   hasRole,
		HasScope:  hasScope,
		RateLimit: r.rateLimit,
	}
}

func (r *Resolver) auth(ctx context.Context, _ any, next graphql.Resolver, aal *int, maxAge *int, verified *bool) (any, error) {
	v := viewer.From(ctx)
	if err := v.SignedIn(); err != nil {
		return nil, err
	}
	if err := mayChange(ctx, v); err != nil {
		return nil, err
	}
	if v.Limited() && (maxAge != nil || aal != nil && *aal > int(viewer.AAL1)) {
		return nil, v.Person() // no step-up would help
	}
	level, age := viewer.AAL1, time.Duration(0)
	if aal != nil {
		level = viewer.Level(*aal)
	}
	if maxAge != nil {
		age = time.Duration(*maxAge) * time.Second
	}
	if level > viewer.AAL1 || age > 0 {
		if err := r.Accounts.Assure(ctx, v, level, age); err != nil {
			return nil, err
		}
	}
	if verified != nil && *verified && !v.Verified {
		return nil, fault.Denied("Confirm your e-mail address to do this.")
	}
	return next(ctx)
}

// mayChange refuses the mutations that are not for a machine, or for somebody who acts as another: all
// but those that ask for a scope. Who acts as another may stop doing so; who may only look changes
// nothing.
func mayChange(ctx context.Context, v viewer.Viewer) error {
	field := graphql.GetFieldContext(ctx)
	if !v.Limited() || field.Object != "Mutation" {
		return nil
	}
	if v.Actor != "" && field.Field.Name == "logout" {
		return nil
	}
	if v.ReadOnly {
		return fault.Denied("Who looks in somebody's place changes nothing.")
	}
	if field.Field.Definition.Directives.ForName("hasScope") == nil {
		return v.Person()
	}
	return nil
}

func hasRole(ctx context.Context, _ any, next graphql.Resolver, role viewer.Role) (any, error) {
	v := viewer.From(ctx)
	if err := v.SignedIn(); err != nil {
		return nil, err
	}
	if !v.Has(role) {
		return nil, fault.Denied("Your account may not do this.")
	}
	return next(ctx)
}

func hasScope(ctx context.Context, _ any, next graphql.Resolver, scope string) (any, error) {
	if err := viewer.From(ctx).Require(viewer.Scope(scope)); err != nil {
		return nil, err
	}
	return next(ctx)
}

func (r *Resolver) rateLimit(ctx context.Context, _ any, next graphql.Resolver, most int, seconds int) (any, error) {
	field := graphql.GetFieldContext(ctx)
	rule := limit.Rule{Name: "field:" + field.Object + "." + field.Field.Name, Limit: most, Burst: most, Per: time.Duration(seconds) * time.Second}
	decision, err := r.Limiter.Allow(ctx, rule, callerOf(ctx), 1)
	if err != nil {
		return nil, err
	}
	if !decision.Allowed {
		return nil, fault.Slow(decision.RetryAfter)
	}
	return next(ctx)
}

// callerOf names whoever is counted: the account, or the network of a stranger.
func callerOf(ctx context.Context) string {
	if v := viewer.From(ctx); !v.Anonymous() {
		return string(v.User)
	}
	return session.Network(requestOf(ctx).Origin.IP)
}
