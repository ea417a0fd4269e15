// Package resolvers translates GraphQL to one call of the domain and back.
//
// A resolver reads its input, calls one function and shapes the answer; rules, SQL, hashing and
// clocks live below. What a person can mend becomes userErrors ([userErrors]); everything else goes
// up and is presented at the edge ([Presenter]).
package resolvers

import (
	"time"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/graph"
	"gatehouse/internal/blob"
	"gatehouse/internal/limit"
	"gatehouse/login"
	"gatehouse/queue"
	"gatehouse/session"
)

// Resolver holds what the resolvers call.
type Resolver struct {
	Accounts *account.Accounts
	Logins   *login.Logins
	Sessions *session.Sessions
	Queue    *queue.Queue
	Audit    *audit.Log
	Files    *blob.Store
	Signer   blob.Signer
	Limiter  *limit.Limiter

	Identities *login.Identities

	PublicURL string           // where links to artifacts begin, without a slash at the end
	Version   string           // of the program
	Now       func() time.Time // nil is not allowed
}

// linkLife is how long the link to an artifact works.
const linkLife = 15 * time.Minute

type (
	mutationResolver       struct{ *Resolver }
	queryResolver          struct{ *Resolver }
	subscriptionResolver   struct{ *Resolver }
	userResolver           struct{ *Resolver }
	sessionResolver        struct{ *Resolver }
	sessionTokensResolver  struct{ *Resolver }
	jobResolver            struct{ *Resolver }
	imageVariantResolver   struct{ *Resolver }
	reportFileResolver     struct{ *Resolver }
	fetchResultResolver    struct{ *Resolver }
	downloadedFileResolver struct{ *Resolver }
	workflowStepResolver   struct{ *Resolver }
	scheduleResolver       struct{ *Resolver }
	identityResolver       struct{ *Resolver }
	securityEventResolver  struct{ *Resolver }
	auditEventResolver     struct{ *Resolver }
)

// Mutation returns the resolvers of mutations.
func (r *Resolver) Mutation() graph.MutationResolver { return &mutationResolver{r} }

// Query returns the resolvers of queries.
func (r *Resolver) Query() graph.QueryResolver { return &queryResolver{r} }

// Subscription returns the resolvers of subscriptions.
func (r *Resolver) Subscription() graph.SubscriptionResolver { return &subscriptionResolver{r} }
