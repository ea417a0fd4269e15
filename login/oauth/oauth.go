// Package oauth signs people in through an identity provider: the authorization code grant with PKCE
// (RFC 6749 §4.1, RFC 7636) and OpenID Connect Core 1.0, under the rules of RFC 9700. It is pure: no
// store, the clock passed in, the network through one HTTP client that a [Provider] builds.
//
// # A sign-in
//
// [Provider.Begin] returns the URL to send the browser to and a [Flow], which the caller keeps sealed,
// for [FlowLifetime] at most, bound to that browser, and takes out of its store before it calls
// [Provider.Complete] with what the provider answered: a flow is good once. The [Result] names the
// person by (issuer, subject); the e-mail address is a property and never a key.
//
// # Providers
//
// A [Config] of the kind [OIDC] needs issuer, client ID and secret, the rest is discovered. [Google],
// [Microsoft] and [Apple] are presets of it with their peculiarities; [GitHub] speaks OAuth 2.0 without
// ID tokens. [New] checks the configuration and connects to nothing: discovery happens at the first
// sign-in and is tried again, with growing pauses, while the provider is down.
//
// # What is checked
//
// State in constant time, the iss parameter of RFC 9207, and of an ID token (OpenID Connect Core
// §3.1.3.7) the signature by the provider's keys, algorithm, iss, aud, azp, exp, nbf, iat, nonce,
// at_hash and sub. The subject of UserInfo must be that of the ID token. Microsoft's addresses count as
// verified only with its xms_edov claim, since a tenant may write any address.
//
// # Bounds
//
// A request lasts 10 s and an answer has 1 MiB, both at most. Redirects stay on their host. Endpoints
// are https, save on loopback. Private addresses are allowed: the issuer is the operator's word.
//
// # Errors
//
// Every error of a Provider is an [*Error] with the step, a code and what was wanted and what came. No
// secret, code or token stands in an error or in the log.
package oauth

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// DefaultTimeout is how long one request to a provider may take, its answer included.
const DefaultTimeout = 10 * time.Second

// Options are what a provider can do without. The zero value is good.
type Options struct {
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil: nothing is logged
	Timeout time.Duration    // of one request, its answer included; zero: DefaultTimeout
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	return o
}

// Provider is an identity provider as one client sees it. Its methods may be called from many
// goroutines.
type Provider struct {
	config   Config
	appleKey *ecdsa.PrivateKey // nil unless the kind is Apple
	now      func() time.Time
	log      *slog.Logger
	client   *http.Client
	metadata *kept[metadata]
	keys     *kept[[]verificationKey]
}

// New returns the provider that config describes, with the preset of its kind where config is silent.
// It sends nothing. The error names each wrong setting and says what to write instead.
func New(config Config, o Options) (*Provider, error) {
	o = o.withDefaults()
	config = config.withPreset()
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("oauth provider %q: %w", config.Name, err)
	}
	p := &Provider{
		config: config,
		now:    o.Now,
		log:    o.Log.With(slog.String("provider", config.Name)),
		client: newClient(o.Timeout),
	}
	if config.Kind == Apple {
		p.appleKey, _ = parseAppleKey(config.PrivateKey) // checked above
	}
	p.metadata = &kept[metadata]{now: o.Now, load: p.discover}
	p.keys = &kept[[]verificationKey]{now: o.Now, load: p.fetchKeys}
	return p, nil
}

// Name is the slug of the provider, unique in a deployment.
func (p *Provider) Name() string { return p.config.Name }

// Title is the provider's name for people.
func (p *Provider) Title() string { return p.config.Title }

// Kind is what the provider speaks.
func (p *Provider) Kind() Kind { return p.config.Kind }

// Issuer is the configured issuer, as a [Flow] names it: tokens of another are not for this provider.
func (p *Provider) Issuer() string { return p.issuerBase() }

// FormPost reports whether the provider answers by a POST from its own page (OAuth 2.0 Form Post
// Response Mode), as Apple does: a cookie with SameSite=Lax does not come along.
func (p *Provider) FormPost() bool { return p.config.Parameters["response_mode"] == "form_post" }

// report ends a public method that failed: the error loses every secret that the provider may have
// sent back to us, and is logged.
func (p *Provider) report(ctx context.Context, flow string, err error, secrets ...string) error {
	e := p.typed(ctx, err)
	e.scrub(append(secrets, p.config.ClientSecret))
	p.log.LogAttrs(ctx, slog.LevelWarn, "oauth: refused", append(e.attrs(), slog.String("flow", flow))...)
	return e
}

// passed logs a step that went well.
func (p *Provider) passed(ctx context.Context, flow, what string, attrs ...slog.Attr) {
	p.log.LogAttrs(ctx, slog.LevelInfo, "oauth: "+what, append(attrs, slog.String("flow", flow))...)
}
