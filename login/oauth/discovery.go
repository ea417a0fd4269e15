package oauth

import (
	"context"
	"net/url"
	"slices"
	"strings"
)

// metadata is what we use of OpenID Connect Discovery §3, RFC 8414 §2 and RFC 9207 §3.
type metadata struct {
	Issuer           string   `json:"issuer"`
	AuthorizationURL string   `json:"authorization_endpoint"`
	TokenURL         string   `json:"token_endpoint"`
	KeysURL          string   `json:"jwks_uri"`
	UserInfoURL      string   `json:"userinfo_endpoint"`
	RevocationURL    string   `json:"revocation_endpoint"`
	Algorithms       []string `json:"id_token_signing_alg_values_supported"`
	AuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	NamesIssuer      bool     `json:"authorization_response_iss_parameter_supported"`
}

// discover returns the provider's metadata, checked: by configuration alone where that is enough, else
// from its well-known address.
func (p *Provider) discover(ctx context.Context) (metadata, error) {
	c := p.config
	m := metadata{Issuer: c.Issuer}
	if !c.knowsEndpoints() {
		m = metadata{}
		address := strings.TrimSuffix(p.issuerBase(), "/") + "/.well-known/openid-configuration"
		if err := p.get(ctx, Discovery, address, "", &m); err != nil {
			return metadata{}, err
		}
		if !p.announces(m.Issuer) {
			return metadata{}, p.fail(Discovery, IssuerMismatch,
				"the provider calls itself %q, the configuration %q: they must be the same to the letter", m.Issuer, c.Issuer)
		}
	}
	m.AuthorizationURL = or(c.AuthorizationURL, m.AuthorizationURL)
	m.TokenURL = or(c.TokenURL, m.TokenURL)
	m.KeysURL = or(c.KeysURL, m.KeysURL)
	m.UserInfoURL = or(c.UserInfoURL, m.UserInfoURL)
	m.RevocationURL = or(c.RevocationURL, m.RevocationURL)
	if err := p.checkEndpoints(m); err != nil {
		return metadata{}, err
	}
	return m, nil
}

// knowsEndpoints reports whether there is nothing to discover. Microsoft's issuer is always discovered.
func (c Config) knowsEndpoints() bool {
	if c.Kind == GitHub {
		return true
	}
	return c.Kind != Microsoft && c.AuthorizationURL != "" && c.TokenURL != "" && c.KeysURL != ""
}

// checkEndpoints wants the needed ones there and all of them https, unless the issuer itself is plain
// http on loopback.
func (p *Provider) checkEndpoints(m metadata) error {
	issuer, err := url.Parse(p.config.Issuer)
	plain := err == nil && issuer.Scheme == "http"
	for _, endpoint := range []struct {
		name, address string
		needed        bool
	}{
		{"authorization_endpoint", m.AuthorizationURL, true},
		{"token_endpoint", m.TokenURL, true},
		{"jwks_uri", m.KeysURL, p.config.Kind != GitHub},
		{"userinfo_endpoint", m.UserInfoURL, false},
		{"revocation_endpoint", m.RevocationURL, false},
	} {
		if endpoint.address == "" && !endpoint.needed {
			continue
		}
		if endpoint.address == "" {
			return p.fail(Discovery, AnswerMalformed, "the metadata lacks %s", endpoint.name)
		}
		if err := secure(endpoint.address, plain); err != nil {
			return p.fail(Discovery, EndpointInsecure, "%s %q: want https", endpoint.name, endpoint.address)
		}
	}
	return nil
}

// authMethod is the configured way to prove the client, or the best that the provider offers. Without
// an offer it is basic (OpenID Connect Discovery §3).
func (p *Provider) authMethod(m metadata) AuthMethod {
	switch {
	case p.config.TokenAuthMethod != "":
		return p.config.TokenAuthMethod
	case len(m.AuthMethods) == 0, slices.Contains(m.AuthMethods, "client_secret_basic"):
		return Basic
	}
	return Post
}
