package login

import (
	"context"
	"fmt"
	"time"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// Beginning is the wish to sign in through a provider, or to link an identity.
type Beginning struct {
	Provider   string
	RedirectTo string // "": the provider's default
	// Challenge binds the flow to the caller: S256 of a verifier that the caller keeps (RFC 7636 §4.2).
	// Without it Browser does: what the browser's cookie holds.
	Challenge string
	Browser   string
	Link      bool // to the account of by
	Client
}

// Begun is a flow that waits for the person.
type Begun struct {
	AuthorizationURL string // where to send the browser
	Flow             string // names the flow in the log
}

// Start begins a flow. Faults: INVALID at provider or clientChallenge, REQUIRED at clientChallenge when
// there is nothing to bind the flow to, OAUTH_REDIRECT_REFUSED, RATE_LIMITED; of a link UNAUTHENTICATED and
// STEP_UP_REQUIRED; of the provider OAUTH_PROVIDER_UNAVAILABLE, OAUTH_CONFIGURATION and the like.
func (i *Identities) Start(ctx context.Context, by viewer.Viewer, b Beginning) (Begun, error) {
	p, address, err := i.begin(ctx, by, b)
	if err != nil {
		return Begun{}, i.refuseStart(ctx, p, b.Client, err)
	}
	if err := i.keepFlow(ctx, p); err != nil {
		return Begun{}, fmt.Errorf("start sign-in: %w", err)
	}
	return Begun{AuthorizationURL: address, Flow: p.id()}, nil
}

// begin returns a flow that waits, and where its provider is asked. Of one that is refused it returns what
// is known by then, nothing of it in the caller's words.
func (i *Identities) begin(ctx context.Context, by viewer.Viewer, b Beginning) (p pending, address string, err error) {
	if err := i.logins.throttle.oauth(ctx, b.IP); err != nil {
		return p, "", err
	}
	source, err := i.source(b.Provider)
	if err != nil {
		return p, "", err
	}
	p.Flow.Provider = source.Provider.Name()
	if b.Link {
		if err := i.fresh(by); err != nil {
			return p, "", err
		}
		p.Link, p.Session = by.User, by.Session
	}
	if p.Binding, err = b.binding(); err != nil {
		return p, "", err
	}
	back, err := source.back(b.RedirectTo)
	if err != nil {
		return p, "", err
	}
	p.RedirectTo = back.redirectTo
	flow, address, err := source.Provider.Begin(ctx, back.redirectURL)
	if err != nil {
		return p, "", err
	}
	p.Flow = flow
	return p, address, nil
}

// slowed bounds how many of the starts that a limit refuses are recorded: one a minute for each network.
var slowed = limit.Rule{Name: "oauth-slowed", Limit: 1, Per: time.Minute, Burst: 1}

// refuseStart is refuse for a flow that was not begun, whose record names none. That a limit has refused
// one is recorded too, now and then: whoever is refused often is not to fill the audit.
func (i *Identities) refuseStart(ctx context.Context, p pending, client Client, why error) error {
	if !fault.Is(why, fault.RateLimited) {
		return i.refuse(ctx, p, client, why)
	}
	network := session.Network(client.IP)
	first, err := i.logins.throttle.limiter.Allow(ctx, slowed, network, 1)
	if err == nil && first.Allowed {
		i.o.Log.WarnContext(ctx, "oauth: sign-ins are slowed", "network", network)
		err = i.logins.audit.Record(ctx, audit.Event{
			Action: audit.LoginRefused, Outcome: audit.Refused, Network: network,
			Details: map[string]string{"method": byProvider.method, "reason": string(fault.RateLimited)},
		})
	}
	if err != nil {
		return fmt.Errorf("refuse sign-in: %w", err)
	}
	return why
}

// binding chooses the challenge where there is one.
func (b Beginning) binding() (binding, error) {
	switch {
	case b.Challenge != "" && !challengeForm.MatchString(b.Challenge):
		return binding{}, fault.New(fault.Invalid, "clientChallenge", "A challenge is the SHA-256 of a verifier in base64url, 43 characters.")
	case b.Challenge != "":
		return binding{Challenge: b.Challenge}, nil
	case BrowserSecret(b.Browser):
		return binding{Challenge: challengeOf(b.Browser), ByCookie: true}, nil
	}
	return binding{}, fault.New(fault.Required, "clientChallenge", "Give a challenge, or ask in cookie mode.")
}
