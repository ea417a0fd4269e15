package oauth

import (
	"context"
	"crypto/subtle"
	"log/slog"
	"time"
)

const (
	maxCodeBytes = 4096 // of an authorization code
	maxState     = 256  // bytes; ours has 43
)

// Answer is what the provider gave the browser for us: the parameters of the redirect, or of the form
// post, by their names in RFC 6749 §4.1.2. Anybody can send one; nothing in it is trusted.
type Answer struct {
	Code             string
	State            string
	Iss              string // RFC 9207
	Error            string
	ErrorDescription string
	User             string // Apple, with the first consent only: a JSON object with the name, unsigned
}

// String hides the code and the state.
func (a Answer) String() string { return "oauth answer" }

// LogValue hides the code and the state.
func (a Answer) LogValue() slog.Value { return slog.StringValue(a.String()) }

// Identity names a person for good: link accounts by it and by nothing else. The same subject of
// another issuer is another person.
type Identity struct {
	Issuer  string // at most 2,048 bytes; GitHub: the server's address
	Subject string // 1 to 255 bytes without control characters; GitHub: the numeric ID
}

// Result is a completed sign-in at the provider.
type Result struct {
	Identity Identity
	Profile  Profile
	Tokens   Tokens
}

// Complete ends a sign-in with the provider's answer: it redeems the code and says who came. The
// caller has taken flow out of its store already. Errors: of the flow STATE_MISMATCH, FLOW_EXPIRED,
// DENIED, CODE_INVALID; of the answer, the provider and the configuration the other codes.
func (p *Provider) Complete(ctx context.Context, flow Flow, answer Answer) (Result, error) {
	var result Result
	var idToken string
	err := p.checkAnswer(ctx, flow, answer)
	if err == nil {
		p.passed(ctx, flow.ID(), "answer accepted")
		result.Tokens, idToken, err = p.exchange(ctx, flow, answer.Code)
	}
	if err == nil {
		p.passed(ctx, flow.ID(), "code exchanged", slog.Bool("refreshable", result.Tokens.Refresh != ""))
		result.Identity, result.Profile, err = p.identify(ctx, flow, result.Tokens, idToken)
	}
	if err != nil {
		return Result{}, p.report(ctx, flow.ID(), err, flow.Verifier, flow.Nonce, answer.Code, answer.State,
			idToken, result.Tokens.Access, result.Tokens.Refresh)
	}
	if p.config.Kind == Apple {
		result.Profile.addAppleName(answer.User)
	}
	p.passed(ctx, flow.ID(), "completed", slog.String("issuer", result.Identity.Issuer),
		slog.Bool("email", result.Profile.Email != ""), slog.Bool("email_verified", result.Profile.EmailVerified))
	return result, nil
}

// checkAnswer decides whether answer belongs to flow, before anything is sent anywhere.
func (p *Provider) checkAnswer(ctx context.Context, flow Flow, answer Answer) error {
	if flow.Provider != p.config.Name || flow.Issuer != p.issuerBase() {
		return p.fail(State, StateMismatch, "the flow began with provider %q at %q", flow.Provider, flow.Issuer)
	}
	if len(answer.State) > maxState || subtle.ConstantTimeCompare([]byte(HashState(answer.State)), []byte(flow.StateHash)) != 1 {
		return p.fail(State, StateMismatch, "the answer carries another state than the flow")
	}
	if age := p.now().Sub(flow.CreatedAt); age > FlowLifetime {
		return p.fail(State, FlowExpired, "the flow is %s old, at most %s are allowed", age.Round(time.Second), FlowLifetime)
	}
	m, err := p.metadata.get(ctx)
	if err != nil {
		return err
	}
	if err := p.checkIssuer(m, answer); err != nil {
		return err
	}
	switch {
	case answer.Error != "":
		return p.said(Authorize, meaning(Authorize, answer.Error), answer.Error, answer.ErrorDescription)
	case answer.Code == "":
		return p.fail(Authorize, AnswerMalformed, "the answer has neither code nor error")
	case len(answer.Code) > maxCodeBytes:
		return p.fail(Authorize, AnswerTooLarge, "the code has %d bytes, at most %d are allowed", len(answer.Code), maxCodeBytes)
	}
	return nil
}

// checkIssuer holds the answer's iss against the provider that the flow went to (RFC 9207 §2.4): a
// mixed-up answer would carry another server's code to this one.
func (p *Provider) checkIssuer(m metadata, answer Answer) error {
	switch {
	case answer.Iss == "" && m.NamesIssuer:
		return p.fail(State, IssuerMismatch, "the answer lacks iss, which the provider promises to send")
	case answer.Iss != "" && !p.answers(m, answer.Iss):
		return p.fail(State, IssuerMismatch, "the answer is of %q, the flow went to %q", answer.Iss, m.Issuer)
	}
	return nil
}

// identify says who came: by the ID token and, where that lacks what the scopes asked for, UserInfo.
func (p *Provider) identify(ctx context.Context, flow Flow, tokens Tokens, idToken string) (Identity, Profile, error) {
	if p.config.Kind == GitHub {
		return p.gitHubUser(ctx, tokens.Access)
	}
	token, err := p.verify(ctx, idToken, flow.Nonce, tokens.Access)
	if err != nil {
		return Identity{}, Profile{}, err
	}
	p.passed(ctx, flow.ID(), "id token verified", slog.String("algorithm", token.algorithm))
	known := token.claims
	m, err := p.metadata.get(ctx)
	if err != nil {
		return Identity{}, Profile{}, err
	}
	if m.UserInfoURL != "" && p.lacks(known) {
		more, err := p.userInfo(ctx, m, token.identity.Subject, tokens.Access)
		if err != nil {
			return Identity{}, Profile{}, err
		}
		p.passed(ctx, flow.ID(), "userinfo read")
		known = p.merge(known, more)
	}
	return token.identity, p.profile(known), nil
}
