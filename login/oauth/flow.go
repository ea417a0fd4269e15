package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/oauth2"
)

// FlowLifetime is how long a person may take at the provider.
const FlowLifetime = 10 * time.Minute

// secretBytes is the length of state, nonce and verifier: 256 bit.
const secretBytes = 32

// Flow is a sign-in that has begun. It holds secrets: keep it sealed, bound to the browser that began
// it, for FlowLifetime, and take it out of the store before Complete, so that it serves once. The state
// itself is in the browser only; StateHash finds the flow again.
type Flow struct {
	Provider    string    `json:"provider"`
	Issuer      string    `json:"issuer"`      // as configured when the flow began
	StateHash   string    `json:"stateHash"`   // HashState of the state, 43 characters
	Nonce       string    `json:"nonce"`       // 43 characters
	Verifier    string    `json:"verifier"`    // of PKCE (RFC 7636 §4.1), 43 characters
	RedirectURL string    `json:"redirectUrl"` // where the answer comes to
	CreatedAt   time.Time `json:"createdAt"`
}

// ID names the flow in the log: the first 12 characters of StateHash.
func (f Flow) ID() string { return f.StateHash[:min(len(f.StateHash), 12)] }

// String hides the secrets.
func (f Flow) String() string { return "oauth flow " + f.ID() + " to " + f.Provider }

// LogValue hides the secrets.
func (f Flow) LogValue() slog.Value { return slog.StringValue(f.String()) }

// HashState returns the name under which the flow of a state is stored: its SHA-256 in base64url.
func HashState(state string) string {
	sum := sha256.Sum256([]byte(state))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Begin starts a sign-in: it returns the flow to keep and the URL to send the browser to. redirectURL is
// one of the configured ones; "" is the first. Errors: REDIRECT_UNKNOWN, and those of the discovery.
func (p *Provider) Begin(ctx context.Context, redirectURL string) (Flow, string, error) {
	flow, url, err := p.begin(ctx, redirectURL)
	if err != nil {
		return Flow{}, "", p.report(ctx, flow.ID(), err)
	}
	p.passed(ctx, flow.ID(), "began")
	return flow, url, nil
}

func (p *Provider) begin(ctx context.Context, redirectURL string) (Flow, string, error) {
	redirectURL = or(redirectURL, p.config.RedirectURLs[0])
	if !slices.Contains(p.config.RedirectURLs, redirectURL) {
		return Flow{}, "", p.fail(Authorize, RedirectUnknown, "%q is not on the list of redirect URLs", redirectURL)
	}
	m, err := p.metadata.get(ctx)
	if err != nil {
		return Flow{}, "", err
	}
	state := random()
	flow := Flow{
		Provider: p.config.Name, Issuer: p.issuerBase(), RedirectURL: redirectURL, CreatedAt: p.now(),
		StateHash: HashState(state), Nonce: random(), Verifier: random(),
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(flow.Verifier)}
	if p.config.Kind != GitHub {
		options = append(options, oauth2.SetAuthURLParam("nonce", flow.Nonce))
	}
	for name, value := range p.config.Parameters {
		options = append(options, oauth2.SetAuthURLParam(name, value))
	}
	client := oauth2.Config{
		ClientID: p.config.ClientID, RedirectURL: redirectURL, Scopes: p.config.Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: m.AuthorizationURL},
	}
	return flow, client.AuthCodeURL(state, options...), nil
}

// random returns 256 fresh bits in base64url, 43 characters.
func random() string {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails
	return base64.RawURLEncoding.EncodeToString(secret)
}
