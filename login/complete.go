package login

import (
	"context"
	"fmt"
	"net/url"

	"gatehouse/account"
	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
	"gatehouse/login/oauth"
)

// Return is what a page brings back from the provider.
type Return struct {
	Flow   string // of Begun; "": not told
	Answer oauth.Answer
	Proof  Proof
	Client
}

// Entered is what a flow came to: a sign-in, or a link to the account of whoever asked for it.
type Entered struct {
	Outcome  Outcome // the zero one after a link
	Identity account.Identity
}

// Complete ends a flow whose answer came to a page. by is who completes: of a link the very account that
// began it. Faults: OAUTH_…, ACCOUNT_DISABLED, EMAIL_NOT_VERIFIED, with a fresh mail, RATE_LIMITED.
func (i *Identities) Complete(ctx context.Context, by viewer.Viewer, r Return) (Entered, error) {
	if err := i.logins.throttle.completion(ctx, r.IP); err != nil {
		return Entered{}, err
	}
	p, err := i.takeFlow(ctx, r.Answer.State, func(p pending) error {
		switch {
		case r.Flow != "" && r.Flow != p.id():
			return fault.New(fault.OAuthStateMismatch, "flowId", "State and flow do not belong together. Start the sign-in again.")
		case p.RedirectTo != "":
			return fault.New(fault.OAuthStateMismatch, "state", "This sign-in leads through the server. Redeem its exchange code.")
		}
		return p.Binding.check(r.Proof)
	})
	if err != nil {
		return Entered{}, i.refuse(ctx, p, r.Client, err)
	}
	result, err := i.ask(ctx, p, r.Answer)
	if err != nil {
		return Entered{}, i.refuse(ctx, p, r.Client, err)
	}
	return i.enter(ctx, by, p, result, r.Client)
}

// Redemption is what a page shows after the provider's answer came to us.
type Redemption struct {
	Code  string
	Proof Proof
	Client
}

// Redeem ends a flow whose answer came to us. Faults: as Complete, and OAUTH_EXCHANGE_INVALID.
func (i *Identities) Redeem(ctx context.Context, by viewer.Viewer, r Redemption) (Entered, error) {
	if err := i.logins.throttle.completion(ctx, r.IP); err != nil {
		return Entered{}, err
	}
	a, err := i.takeArrived(ctx, r.Code, r.Proof)
	if err != nil {
		return Entered{}, i.refuse(ctx, a.pending, r.Client, err)
	}
	return i.enter(ctx, by, a.pending, a.Result, r.Client)
}

// Callback is an answer that the provider's page has sent a browser to us with.
type Callback struct {
	Provider string // as the address names it
	FormPost bool   // it came by a POST from the provider's page, along which no cookie comes
	Answer   oauth.Answer
	Browser  string // the cookie's value
	Client
}

// Answer takes a provider's answer and returns where to send the browser: to the page that was chosen
// at the start, with an exchange code or with the code of what went wrong. An error means that it is not
// known where: OAUTH_STATE_MISMATCH, OAUTH_BINDING_MISMATCH, INVALID, RATE_LIMITED.
func (i *Identities) Answer(ctx context.Context, c Callback) (string, error) {
	if err := i.logins.throttle.completion(ctx, c.IP); err != nil {
		return "", err
	}
	source, err := i.source(c.Provider)
	if err != nil {
		return "", err
	}
	p, err := i.takeFlow(ctx, c.Answer.State, func(p pending) error {
		// Each provider has a callback of its own: an answer at another's is mixed up (RFC 9700 §4.4.2.2).
		if p.Flow.Provider != c.Provider || p.RedirectTo == "" || c.FormPost != source.Provider.FormPost() {
			return fault.New(fault.OAuthStateMismatch, "", "This answer belongs to another sign-in. Start it again.")
		}
		// What is bound to a caller, or comes without cookies, is checked when the code is redeemed.
		if p.Binding.ByCookie && !c.FormPost {
			return p.Binding.check(Proof{Cookie: c.Browser})
		}
		return nil
	})
	if err != nil {
		return "", i.refuse(ctx, p, c.Client, err)
	}
	result, err := i.ask(ctx, p, c.Answer)
	if err != nil {
		err = i.refuse(ctx, p, c.Client, err)
		if f, ok := fault.As(err); ok && f.Mendable() {
			return led(p, url.Values{"error": {string(f.Code)}}), nil
		}
		return "", err
	}
	result.Profile.Raw = nil // nobody reads it
	code, err := i.keepArrived(ctx, arrived{pending: p, Result: result})
	if err != nil {
		return "", fmt.Errorf("keep sign-in: %w", err)
	}
	i.o.Log.InfoContext(ctx, "oauth: waits for the page", "flow", p.id(), "provider", p.Flow.Provider)
	return led(p, url.Values{"exchangeCode": {code}}), nil
}

// led returns the address of the page that p leads to. It was checked when the server started.
func led(p pending, with url.Values) string {
	u, err := url.Parse(p.RedirectTo)
	if err != nil {
		return "/"
	}
	q := u.Query()
	q.Set("flowId", p.id())
	for name := range with {
		q.Set(name, with.Get(name))
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// ask asks the provider who came. The flow is out of the store.
func (i *Identities) ask(ctx context.Context, p pending, answer oauth.Answer) (oauth.Result, error) {
	provider, err := i.configured(p.Flow.Provider)
	if err != nil {
		return oauth.Result{}, err
	}
	return provider.Complete(ctx, p.Flow, answer)
}
