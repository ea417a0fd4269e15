package login

import (
	"context"
	"fmt"

	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
	"gatehouse/login/oauth"
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
	if err := i.logins.throttle.oauth(ctx, b.IP); err != nil {
		return Begun{}, err
	}
	source, err := i.source(b.Provider)
	if err != nil {
		return Begun{}, err
	}
	p := pending{}
	if p.Binding, err = b.binding(); err != nil {
		return Begun{}, err
	}
	back, err := source.back(b.RedirectTo)
	if err != nil {
		return Begun{}, err
	}
	p.RedirectTo = back.redirectTo
	if b.Link {
		if err := i.fresh(by); err != nil {
			return Begun{}, err
		}
		p.Link, p.Session = by.User, by.Session
	}
	var address string
	if p.Flow, address, err = source.Provider.Begin(ctx, back.redirectURL); err != nil {
		return Begun{}, i.refuse(ctx, pending{Flow: oauth.Flow{Provider: b.Provider}, Link: p.Link}, b.Client, err)
	}
	if err := i.keepFlow(ctx, p); err != nil {
		return Begun{}, fmt.Errorf("start sign-in: %w", err)
	}
	return Begun{AuthorizationURL: address, Flow: p.id()}, nil
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
