package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Kind is what a provider speaks.
type Kind string

// The kinds. All but GitHub are OpenID Connect.
const (
	OIDC      Kind = "oidc"
	Google    Kind = "google"
	Microsoft Kind = "microsoft"
	Apple     Kind = "apple"
	GitHub    Kind = "github"
)

// AuthMethod is how the client proves itself at the token endpoint (OpenID Connect Core §9).
type AuthMethod string

// The methods; "" takes what the provider's metadata offers, basic first.
const (
	Basic AuthMethod = "basic" // client_secret_basic
	Post  AuthMethod = "post"  // client_secret_post
	None  AuthMethod = "none"  // a public client: PKCE alone
)

// Config describes a provider and our client there. Name, Kind, ClientID, ClientSecret and RedirectURLs
// are always needed (Apple has a key in place of the secret), Issuer for the kind OIDC; the rest has
// presets.
type Config struct {
	Name  string `json:"name"`  // a slug, at most 32 characters: stands in URLs and in the store
	Kind  Kind   `json:"kind"`  // "": OIDC
	Title string `json:"title"` // for people; "": the kind's, or Name

	// Issuer is the provider's identity, exactly as in its metadata. GitHub Enterprise Server: the
	// address of the server. Microsoft's national clouds: the authority, without tenant and version.
	Issuer string `json:"issuer"`

	ClientID        string     `json:"clientId"`
	ClientSecret    string     `json:"clientSecret"`
	TokenAuthMethod AuthMethod `json:"tokenAuthMethod"`

	// RedirectURLs are where the provider may send the browser back to, as registered there: matched
	// exactly, the first is the default.
	RedirectURLs []string          `json:"redirectUrls"`
	Scopes       []string          `json:"scopes"`     // nil: the kind's
	Parameters   map[string]string `json:"parameters"` // further ones of the authorization request, such as prompt

	Tenant string `json:"tenant"` // Microsoft: common (""), organizations, consumers, or the tenant's ID

	TeamID     string `json:"teamId"`     // Apple
	KeyID      string `json:"keyId"`      // Apple
	PrivateKey string `json:"privateKey"` // Apple: the text of the .p8 file

	// Endpoints that replace discovered ones. With the first three there is no discovery.
	AuthorizationURL string `json:"authorizationUrl"`
	TokenURL         string `json:"tokenUrl"`
	KeysURL          string `json:"keysUrl"`
	UserInfoURL      string `json:"userInfoUrl"`
	RevocationURL    string `json:"revocationUrl"`
}

const (
	maxProviders  = 32
	maxConfigFile = 1 << 20 // bytes
	maxRedirect   = 16      // redirect URLs
	maxScopes     = 32
	maxParameters = 16
	maxSetting    = 2048 // bytes
)

// Parse reads the file form: a JSON list of at most 32 providers with unique names. Unknown members
// are refused by name. It checks no provider; [New] does.
func Parse(file []byte) ([]Config, error) {
	if len(file) > maxConfigFile {
		return nil, errors.New("read oauth providers: the file has more than 1 MiB")
	}
	decoder := json.NewDecoder(bytes.NewReader(file))
	decoder.DisallowUnknownFields()
	var configs []Config
	if err := decoder.Decode(&configs); err != nil {
		return nil, fmt.Errorf("read oauth providers: want a JSON list of objects: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read oauth providers: text follows the list")
	}
	if len(configs) > maxProviders {
		return nil, fmt.Errorf("read oauth providers: %d of them, at most %d are allowed", len(configs), maxProviders)
	}
	names := map[string]bool{}
	for _, config := range configs {
		if names[config.Name] {
			return nil, fmt.Errorf("read oauth providers: two have the name %q: give each its own", config.Name)
		}
		names[config.Name] = true
	}
	return configs, nil
}

const (
	googleIssuer       = "https://accounts.google.com"
	appleIssuer        = "https://appleid.apple.com"
	gitHubIssuer       = "https://github.com" // our name for it; it publishes no metadata
	microsoftAuthority = "https://login.microsoftonline.com"
)

// withPreset returns c with what its kind knows where c is silent; explicit settings win.
func (c Config) withPreset() Config {
	c.Kind = or(c.Kind, OIDC)
	parameters := map[string]string{}
	switch c.Kind {
	case Google:
		c.Title, c.Issuer = or(c.Title, "Google"), or(c.Issuer, googleIssuer)
		parameters["access_type"] = "offline" // else there is no refresh token
	case Microsoft:
		c.Title, c.Issuer, c.Tenant = or(c.Title, "Microsoft"), or(c.Issuer, microsoftAuthority), or(c.Tenant, "common")
		c.Scopes = orList(c.Scopes, "openid", "profile", "email", "offline_access")
	case Apple:
		c.Title, c.Issuer = or(c.Title, "Apple"), or(c.Issuer, appleIssuer)
		c.Scopes = orList(c.Scopes, "openid", "name", "email")
		c.TokenAuthMethod = Post
		parameters["response_mode"] = "form_post" // Apple refuses scopes without it
	case GitHub:
		c.Title, c.Issuer = or(c.Title, "GitHub"), or(c.Issuer, gitHubIssuer)
		c.Scopes = orList(c.Scopes, "read:user", "user:email")
		c.TokenAuthMethod = or(c.TokenAuthMethod, Post)
		c.AuthorizationURL = or(c.AuthorizationURL, c.Issuer+"/login/oauth/authorize")
		c.TokenURL = or(c.TokenURL, c.Issuer+"/login/oauth/access_token")
		c.UserInfoURL = or(c.UserInfoURL, gitHubAPI(c.Issuer)+"/user")
	case OIDC:
	}
	c.Title = or(c.Title, c.Name)
	c.Scopes = orList(c.Scopes, "openid", "profile", "email")
	maps.Copy(parameters, c.Parameters)
	c.Parameters = parameters
	c.RedirectURLs = slices.Clone(c.RedirectURLs)
	return c
}

func or[T ~string](set, preset T) T {
	if set != "" {
		return set
	}
	return preset
}

func orList(set []string, preset ...string) []string {
	if set != nil {
		return slices.Clone(set)
	}
	return preset
}

var (
	slug  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	scope = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]{1,200}$`) // RFC 6749 §3.3
	// ours are the parameters that Begin sets (RFC 6749 §4.1.1, RFC 7636 §4.3, OpenID Connect Core §3.1.2.1).
	ours = []string{"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method", "request", "request_uri"}
)

// check returns everything that is wrong with c, which has its preset, a line each.
func (c Config) check() error {
	var wrong []error
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if !slug.MatchString(c.Name) {
		say("name %q: write a small letter, then small letters, digits and hyphens, 32 at most", c.Name)
	}
	if !slices.Contains([]Kind{OIDC, Google, Microsoft, Apple, GitHub}, c.Kind) {
		say("kind %q: write oidc, google, microsoft, apple or github", c.Kind)
	}
	if c.ClientID == "" || len(c.ClientID) > maxSetting {
		say("clientId is empty or too long: write the client ID that the provider gave you")
	}
	if err := checkIssuer(c); err != nil {
		say("issuer %q: %w", c.Issuer, err)
	}
	wrong = append(wrong, c.checkClient()...)
	wrong = append(wrong, c.checkRequest()...)
	for _, endpoint := range [][2]string{
		{"authorizationUrl", c.AuthorizationURL},
		{"tokenUrl", c.TokenURL},
		{"keysUrl", c.KeysURL},
		{"userInfoUrl", c.UserInfoURL},
		{"revocationUrl", c.RevocationURL},
	} {
		if endpoint[1] == "" {
			continue
		}
		if err := secure(endpoint[1], false); err != nil {
			say("%s %q: %w", endpoint[0], endpoint[1], err)
		}
	}
	return errors.Join(wrong...)
}

// checkIssuer holds the issuer to RFC 8414 §2: https, no query, no fragment.
func checkIssuer(c Config) error {
	switch {
	case c.Issuer == "":
		return errors.New("it is empty: write the address that the provider's metadata calls its issuer")
	case strings.Contains(c.Issuer, "/.well-known/"):
		base, _, _ := strings.Cut(c.Issuer, "/.well-known/")
		return fmt.Errorf("write %q, the address without the path of the metadata", base)
	case strings.ContainsAny(c.Issuer, "?#"):
		return errors.New("write it without ? and #")
	case (c.Kind == GitHub || c.Kind == Microsoft) && strings.HasSuffix(c.Issuer, "/"):
		return errors.New("write it without the slash at the end")
	}
	return secure(c.Issuer, false)
}

// checkClient looks at what proves the client.
func (c Config) checkClient() (wrong []error) {
	if !slices.Contains([]AuthMethod{"", Basic, Post, None}, c.TokenAuthMethod) {
		wrong = append(wrong, fmt.Errorf("tokenAuthMethod %q: write basic, post or none, or leave it out", c.TokenAuthMethod))
	}
	if c.Kind == Apple {
		if c.TeamID == "" || c.KeyID == "" {
			wrong = append(wrong, errors.New("teamId or keyId is empty: write the ten characters that Apple shows for each"))
		}
		if _, err := parseAppleKey(c.PrivateKey); err != nil {
			wrong = append(wrong, fmt.Errorf("privateKey: %w", err))
		}
		if c.ClientSecret != "" {
			wrong = append(wrong, errors.New("clientSecret: leave it out; for Apple it is made from privateKey"))
		}
		return wrong
	}
	if public := c.TokenAuthMethod == None; public == (c.ClientSecret != "") || len(c.ClientSecret) > maxSetting {
		wrong = append(wrong, errors.New(`clientSecret: write the secret that the provider gave you, or tokenAuthMethod "none" and no secret for a public client`))
	}
	if c.Kind == Microsoft && !multiTenant(c.Tenant) && !tenantName.MatchString(c.Tenant) {
		wrong = append(wrong, fmt.Errorf("tenant %q: write common, organizations, consumers, the tenant's ID or its domain", c.Tenant))
	}
	return wrong
}

// checkRequest looks at what the authorization request is made of.
func (c Config) checkRequest() (wrong []error) {
	if len(c.RedirectURLs) == 0 || len(c.RedirectURLs) > maxRedirect {
		wrong = append(wrong, fmt.Errorf("redirectUrls: write 1 to %d addresses, as they are registered with the provider", maxRedirect))
	}
	for _, redirect := range c.RedirectURLs {
		if err := secure(redirect, false); err != nil {
			wrong = append(wrong, fmt.Errorf("redirectUrls: %q: %w", redirect, err))
		}
	}
	for _, s := range c.Scopes {
		if !scope.MatchString(s) {
			wrong = append(wrong, fmt.Errorf("scopes: %q: write each scope as an element of its own, without spaces", s))
		}
	}
	if len(c.Scopes) > maxScopes {
		wrong = append(wrong, fmt.Errorf("scopes: %d of them, at most %d are allowed", len(c.Scopes), maxScopes))
	}
	if c.Kind != GitHub && !slices.Contains(c.Scopes, "openid") {
		wrong = append(wrong, errors.New(`scopes: add "openid", without which there is no ID token`))
	}
	if len(c.Parameters) > maxParameters {
		wrong = append(wrong, fmt.Errorf("parameters: %d of them, at most %d are allowed", len(c.Parameters), maxParameters))
	}
	for _, name := range ours {
		if _, set := c.Parameters[name]; set {
			wrong = append(wrong, fmt.Errorf("parameters: leave %s out; it is set for each sign-in", name))
		}
	}
	if mode := c.Parameters["response_mode"]; mode != "" && mode != "form_post" && mode != "query" {
		wrong = append(wrong, fmt.Errorf("parameters: response_mode %q: write query or form_post", mode))
	}
	return wrong
}

// secure refuses an address that is not https; plain http serves on loopback, or anywhere when plain
// is true.
func secure(address string, plain bool) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || len(address) > maxSetting || u.Hostname() == "" || u.Opaque != "":
		return errors.New("write a whole address such as https://id.example.com/path")
	case u.User != nil:
		return errors.New("write it without user and password")
	case u.Fragment != "":
		return errors.New("write it without #")
	case u.Scheme == "https", u.Scheme == "http" && (plain || loopback(u.Hostname())):
		return nil
	}
	return errors.New("write https:// (http:// is for loopback only)")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
