package login_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"gatehouse/account"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/login"
	"gatehouse/login/oauth"
	"gatehouse/session"
)

// clock runs from the real moment on by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// claims are what a provider says of a person.
type claims map[string]any

func person(subject string, more claims) claims {
	c := claims{"sub": subject, "name": "Ada of " + subject}
	maps.Copy(c, more)
	return c
}

func verified(subject, email string) claims {
	return person(subject, claims{"email": email, "email_verified": true})
}

func unverified(subject, email string) claims {
	return person(subject, claims{"email": email, "email_verified": false})
}

// provider is an identity provider in httptest: OpenID Connect, and the pages of GitHub in their
// published form.
type provider struct {
	*httptest.Server
	clock *clock
	key   *ecdsa.PrivateKey

	mu        sync.Mutex
	grants    map[string]grant // by code
	people    map[string]claims
	refreshes int
	pause     chan struct{} // a refresh waits for it; nil: it does not
	down      bool
	rejects   map[string]bool // access tokens that UserInfo does not take
	revoked   []string
	once      bool // a refresh token comes with the first consent only
}

type grant struct {
	subject   string
	nonce     string
	challenge string
	redirect  string
}

func newProvider(t testing.TB, c *clock) *provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	p := &provider{clock: c, key: key, grants: map[string]grant{}, people: map[string]claims{}, rejects: map[string]bool{}}
	mux := http.NewServeMux()
	for path, handle := range map[string]http.HandlerFunc{
		"/.well-known/openid-configuration": p.serveMetadata, "/keys": p.serveKeys, "/token": p.serveToken,
		"/userinfo": p.serveUserInfo, "/revoke": p.serveRevocation,
		"/login/oauth/access_token": p.serveGitHubToken, "/api/v3/user": p.serveGitHubUser, "/api/v3/user/emails": p.serveGitHubEmails,
	} {
		mux.HandleFunc(path, handle)
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		down := p.down
		p.mu.Unlock()
		if down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) bend(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func answerJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (p *provider) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, http.StatusOK, map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"userinfo_endpoint": p.URL + "/userinfo", "revocation_endpoint": p.URL + "/revoke",
		"id_token_signing_alg_values_supported":          []string{"ES256"},
		"authorization_response_iss_parameter_supported": true,
	})
}

func (p *provider) serveKeys(w http.ResponseWriter, _ *http.Request) {
	text := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	point, _ := p.key.PublicKey.Bytes() // 0x04, x, y
	answerJSON(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "x": text(point[1:33]), "y": text(point[33:]),
	}}})
}

// redeem takes a code out, as a provider does: it serves once.
func (p *provider) redeem(r *http.Request) (grant, bool) {
	_ = r.ParseForm()
	p.mu.Lock()
	defer p.mu.Unlock()
	g, known := p.grants[r.PostForm.Get("code")]
	delete(p.grants, r.PostForm.Get("code"))
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	return g, known && base64.RawURLEncoding.EncodeToString(sum[:]) == g.challenge && r.PostForm.Get("redirect_uri") == g.redirect
}

func (p *provider) serveToken(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	if r.PostForm.Get("grant_type") == "refresh_token" {
		p.serveRefresh(w, r)
		return
	}
	g, good := p.redeem(r)
	if !good {
		answerJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	said := jwt.MapClaims{"iss": p.URL, "aud": "our-client", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "nonce": g.nonce}
	maps.Copy(said, p.people[g.subject])
	token := jwt.NewWithClaims(jwt.SigningMethodES256, said)
	token.Header["kid"] = "k1"
	signed, _ := token.SignedString(p.key)
	answer := map[string]any{
		"access_token": "access-0-of-" + g.subject, "refresh_token": "refresh-0-of-" + g.subject, "token_type": "Bearer", "expires_in": 600, "id_token": signed,
	}
	if p.once {
		delete(answer, "refresh_token")
	}
	answerJSON(w, http.StatusOK, answer)
}

// serveRefresh accepts a refresh token once.
func (p *provider) serveRefresh(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	pause, n := p.pause, p.refreshes
	var generation int
	var subject string
	_, err := fmt.Sscanf(r.PostForm.Get("refresh_token"), "refresh-%d-of-%s", &generation, &subject)
	p.refreshes++
	p.mu.Unlock()
	if pause != nil {
		<-pause
	}
	if err != nil || generation != n {
		answerJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{
		"access_token": fmt.Sprintf("access-%d-of-%s", n+1, subject), "refresh_token": fmt.Sprintf("refresh-%d-of-%s", n+1, subject),
		"token_type": "Bearer", "expires_in": 600,
	})
}

func (p *provider) serveUserInfo(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var generation int
	var subject string
	if _, err := fmt.Sscanf(r.Header.Get("Authorization"), "Bearer access-%d-of-%s", &generation, &subject); err != nil ||
		p.rejects[r.Header.Get("Authorization")[len("Bearer "):]] {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	answerJSON(w, http.StatusOK, p.people[subject])
}

func (p *provider) serveRevocation(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	p.bend(func() { p.revoked = append(p.revoked, r.PostForm.Get("token")) })
	w.WriteHeader(http.StatusOK)
}

// The three answers below are in the form of GitHub's documentation.

func (p *provider) serveGitHubToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if _, good := p.redeem(r); !good {
		_, _ = w.Write([]byte("error=bad_verification_code&error_description=The+code+passed+is+incorrect+or+expired."))
		return
	}
	_, _ = w.Write([]byte("access_token=gho_16C7e42F292c6912E7710c838347Ae178B4a&scope=read%3Auser%2Cuser%3Aemail&token_type=bearer"))
}

func (p *provider) serveGitHubUser(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, http.StatusOK, map[string]any{
		"login": "octocat", "id": 583231, "avatar_url": "https://github.com/images/octocat.gif", "name": "monalisa octocat", "email": "shown@example.com",
	})
}

func (p *provider) serveGitHubEmails(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, http.StatusOK, []map[string]any{
		{"email": "old@example.com", "verified": true, "primary": false, "visibility": nil},
		{"email": "octocat@example.com", "verified": true, "primary": true, "visibility": "public"},
	})
}

// consent plays the person at the provider, and returns the answer to the request at address.
func (p *provider) consent(t testing.TB, address string, who claims) oauth.Answer {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	q := u.Query()
	subject := "nobody"
	if who != nil {
		subject = who["sub"].(string)
	}
	code := "code-" + q.Get("state")
	p.bend(func() {
		p.people[subject] = who
		p.grants[code] = grant{subject, q.Get("nonce"), q.Get("code_challenge"), q.Get("redirect_uri")}
	})
	return oauth.Answer{Code: code, State: q.Get("state"), Iss: p.URL}
}

const (
	callbackURL = "https://gatehouse.example/oauth/callback/"
	ourPage     = "https://app.example/signed-in?tab=1"
	theirPage   = "https://app.example/from-provider"
)

// port is a house with providers: oidc, github and apple, all at one server.
type port struct {
	*house
	clock      *clock
	provider   *provider
	identities *login.Identities
	second     *login.Identities // another server on the same database
}

func newPort(t testing.TB, address string, o account.Options) *port {
	t.Helper()
	c := &clock{now: time.Now().Truncate(time.Second)}
	p := &port{house: newHouse(t, address, o), clock: c, provider: newProvider(t, c)}
	ring, err := secret.NewKeyring(secret.NewKey())
	must(t, err)
	p.identities, p.second = p.server(ring), p.server(ring)
	return p
}

func (p *port) server(ring *secret.Keyring) *login.Identities {
	p.Helper()
	parts := login.IdentityParts{Logins: p.logins, Ring: ring}
	for _, config := range []oauth.Config{
		{Name: "oidc", Title: "The Peer", ClientSecret: "a secret of our client"},
		{Name: "github", Kind: oauth.GitHub, ClientSecret: "a secret of our client"},
		{Name: "apple", Kind: oauth.Apple, TeamID: "TEAM123456", KeyID: "KEY1234567", PrivateKey: appleKey(p)},
	} {
		config.Issuer, config.ClientID = p.provider.URL, "our-client"
		config.RedirectURLs = []string{callbackURL + config.Name, theirPage}
		made, err := oauth.New(config, oauth.Options{Now: p.clock.Now})
		must(p, err)
		parts.Sources = append(parts.Sources, login.Source{
			Provider: made, Callback: callbackURL + config.Name, Pages: []string{theirPage}, RedirectTo: []string{ourPage},
		})
	}
	identities, err := login.NewIdentities(parts, login.IdentityOptions{Now: p.clock.Now})
	must(p, err)
	return identities
}

func appleKey(t testing.TB) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}

const verifier = "a-verifier-of-this-test-with-43-characters-"

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

var here = login.Client{Origin: session.Origin{IP: netip.MustParseAddr("127.0.0.1")}}

// start begins a flow at the provider oidc, bound to the test's verifier, that leads to a page.
func (p *port) start(by viewer.Viewer, change ...func(*login.Beginning)) login.Begun {
	p.Helper()
	b := login.Beginning{Provider: "oidc", RedirectTo: theirPage, Challenge: challenge(verifier), Client: here}
	for _, fn := range change {
		fn(&b)
	}
	begun, err := p.identities.Start(p.Context(), by, b)
	must(p, err)
	return begun
}

func linking(b *login.Beginning) { b.Link = true }

func (p *port) complete(by viewer.Viewer, answer oauth.Answer) (login.Entered, error) {
	p.Helper()
	return p.second.Complete(p.Context(), by, login.Return{Answer: answer, Proof: login.Proof{Verifier: verifier}, Client: here})
}

// signIn runs a whole flow for a person of the provider.
func (p *port) signIn(who claims) (login.Entered, error) {
	p.Helper()
	return p.complete(viewer.Viewer{}, p.provider.consent(p, p.start(viewer.Viewer{}).AuthorizationURL, who))
}

// link runs a whole flow that links a person of the provider to the account of by.
func (p *port) link(by viewer.Viewer, who claims) (login.Entered, error) {
	p.Helper()
	return p.complete(by, p.provider.consent(p, p.start(by, linking).AuthorizationURL, who))
}

// rows counts what a statement finds.
func (p *port) rows(statement string) int64 {
	p.Helper()
	n, err := store.One(p.Context(), p.db, store.Passing(statement), store.Value[int64])
	must(p, err)
	return n
}

// confirm makes the address of a user a confirmed one, as a mailed link would.
func (p *port) confirm(id viewer.UserID) {
	p.Helper()
	must(p, p.db.Update(p.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(p.Context(), store.Passing(`UPDATE users SET email_verified = TRUE WHERE id = ?`), id)
		return err
	}))
}

func eachPort(t *testing.T, test func(t *testing.T, p *port)) {
	t.Helper()
	eachAddress(t, func(t *testing.T, address string) { test(t, newPort(t, address, account.Options{})) })
}
