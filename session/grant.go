package session

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"
)

// The limits of the token endpoint. A client counts by the network it asks from, so that nobody who
// knows its id can use its share up; the loopback address counts for no network.
var (
	grantsByClient  = limit.Rule{Name: "token-client", Limit: 60, Per: time.Minute, Burst: 60}
	grantsByNetwork = limit.Rule{Name: "token-network", Limit: 600, Per: time.Minute, Burst: 600}
)

// GrantRequest is what a client shows at the token endpoint (RFC 6749 §4.4.2).
type GrantRequest struct {
	Client viewer.MachineID
	Secret string
	Scopes []viewer.Scope // none: all that the client has
	Origin Origin
}

// Granted is an access token of a service account.
type Granted struct {
	Access    string
	ExpiresIn time.Duration
	Scopes    []viewer.Scope
}

// String hides the token from fmt and slog.
func (g Granted) String() string { return "[access token]" }

// GoString hides the token from %#v.
func (g Granted) GoString() string { return g.String() }

// Grant gives a service account an access token for its secret: the client credentials grant of
// RFC 6749 §4.4, with a token after RFC 9068. Faults: INVALID_CREDENTIALS, the same for an unknown
// client, a wrong secret and a disabled owner; INVALID at scope, for a scope that the client does not
// have; RATE_LIMITED.
func (s *Sessions) Grant(ctx context.Context, r GrantRequest) (Granted, error) {
	if err := s.countGrant(ctx, r); err != nil {
		return Granted{}, err
	}
	now := s.now()
	client, err := s.client(ctx, r, now)
	if err != nil {
		return Granted{}, s.refuseGrant(ctx, r, err)
	}
	scopes, err := narrow(r.Scopes, client)
	if err != nil {
		return Granted{}, s.refuseGrant(ctx, r, err)
	}
	issued := token.Claims{
		Issuer: s.o.Issuer, Audience: s.o.Audience, Subject: string(r.Client), ClientID: string(r.Client),
		Version: client.version, ID: store.NewID[string]("tok"), Scope: strings.Fields(joinScopes(scopes)),
		IssuedAt: now, ExpiresAt: now.Add(MachineTTL),
	}
	access, err := token.Issue(s.keys.Set().Current(), issued)
	if err != nil {
		return Granted{}, fmt.Errorf("grant: %w", err)
	}
	err = s.change(ctx, "grant", func(tx *store.Tx) error {
		return s.o.Audit(ctx, tx, Event{
			Action: ActionGranted, By: viewer.Viewer{User: viewer.UserID(r.Client), Machine: r.Client}, User: client.owner,
			Network: Network(r.Origin.IP), Details: map[string]string{"client": string(r.Client), "scopes": joinScopes(scopes)},
		})
	})
	if err != nil {
		return Granted{}, err
	}
	return Granted{Access: access, ExpiresIn: MachineTTL, Scopes: scopes}, nil
}

// countGrant counts before anything is looked up.
func (s *Sessions) countGrant(ctx context.Context, r GrantRequest) error {
	if s.o.Limiter == nil {
		return nil
	}
	network := Network(r.Origin.IP)
	requests := []limit.Request{{Rule: grantsByClient, Subject: cut(string(r.Client), maxMachine) + "/" + network, Cost: 1}}
	if r.Origin.IP.IsValid() && !r.Origin.IP.Unmap().IsLoopback() {
		requests = append(requests, limit.Request{Rule: grantsByNetwork, Subject: network, Cost: 1})
	}
	decision, err := s.o.Limiter.AllowAll(ctx, requests...)
	if err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	if !decision.Allowed {
		return fault.Slow(decision.RetryAfter)
	}
	return nil
}

// client is what decides about a grant.
type client struct {
	owner   viewer.UserID
	version int64
	hash    []byte
	former  []byte
	until   time.Time // of former
	scopes  []viewer.Scope
	principal
}

// client returns the service account whose id and secret r shows.
func (s *Sessions) client(ctx context.Context, r GrantRequest, now time.Time) (client, error) {
	wrong := fault.New(fault.InvalidCredentials, "", "The client or its secret is not known.")
	if !store.ValidID("svc", string(r.Client)) {
		return client{}, wrong
	}
	held, err := store.One(ctx, s.db, selectClient, scanClient, r.Client)
	if isMissing(err) {
		return client{}, wrong
	}
	if err != nil {
		return client{}, fmt.Errorf("grant: read client: %w", err)
	}
	shown := token.HashOpaque(r.Secret)
	right := len(held.hash) == len(shown) && shown.Equal(token.OpaqueHash(held.hash))
	former := len(held.former) == len(shown) && now.Before(held.until) && shown.Equal(token.OpaqueHash(held.former))
	if !right && !former || !held.active() {
		return client{}, wrong
	}
	return held, nil
}

// narrow returns the scopes that were asked for, or all, of those the client has and its owner still
// holds (RFC 6749 §3.3).
func narrow(asked []viewer.Scope, c client) ([]viewer.Scope, error) {
	held := slices.DeleteFunc(viewer.Granted(rolesOf(c.roles)), func(scope viewer.Scope) bool { return !slices.Contains(c.scopes, scope) })
	if len(asked) == 0 {
		asked = held
	}
	for _, scope := range asked {
		if !slices.Contains(held, scope) {
			return nil, fault.New(fault.Invalid, "scope", "The client does not have a scope that was asked for.")
		}
	}
	if len(asked) == 0 {
		return nil, fault.New(fault.Invalid, "scope", "The client has no scope left.")
	}
	return viewer.Sorted(asked), nil
}

// refuseGrant records a refusal and returns why.
func (s *Sessions) refuseGrant(ctx context.Context, r GrantRequest, why error) error {
	f, ok := fault.As(why)
	if !ok || !f.Mendable() {
		return why
	}
	details := map[string]string{"reason": string(f.Code)}
	if store.ValidID("svc", string(r.Client)) { // anything else may be a secret in the wrong place
		details["client"] = string(r.Client)
	}
	err := s.change(ctx, "grant", func(tx *store.Tx) error {
		return s.o.Audit(ctx, tx, Event{Action: ActionGrantRefused, Refused: true, Network: Network(r.Origin.IP), Details: details})
	})
	if err != nil {
		return err
	}
	return f
}

// byClient admits a service account by the claims of its access token.
func (s *Sessions) byClient(ctx context.Context, claims verified) (viewer.Viewer, Credential, error) {
	rec, err := s.machine(ctx, claims.Client)
	if err != nil {
		return viewer.Viewer{}, Credential{}, err
	}
	if claims.Version < rec.Version {
		return viewer.Viewer{}, Credential{}, unauthenticated("The secret behind this token was replaced.", nil)
	}
	scopes := make([]viewer.Scope, 0, len(claims.Scopes))
	for _, scope := range claims.Scopes {
		if slices.Contains(rec.Scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	s.seen.mark(viewer.SessionID(claims.Client), &rec, Origin{}, s.o.Now())
	return rec.machine(claims.Client, scopes), Credential{ExpiresAt: claims.Shown, Machine: claims.Client}, nil
}
