package oauth_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
	"golang.org/x/oauth2"

	"gatehouse/login/oauth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	clientID     = "our-client"
	clientSecret = "a+secret/of our client"
	redirectURL  = "https://app.example.test/oauth/callback/test"
	accessToken  = "access-token-of-ada"
	refreshToken = "refresh-token-of-ada"
)

// clock stands still unless a test moves it.
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

// logbook is a log that many goroutines write.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// signingKey is a key of the provider.
type signingKey struct {
	id     string
	method jwt.SigningMethod
	key    crypto.Signer
	extra  map[string]any // further members of its JSON Web Key
}

var rsaKeys = sync.OnceValue(func() [2]*rsa.PrivateKey { // 50 ms each
	var keys [2]*rsa.PrivateKey
	for i := range keys {
		keys[i], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	return keys
})

func (k signingKey) webKey() map[string]any {
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	web := map[string]any{"kid": k.id, "use": "sig"}
	maps.Copy(web, publicMembers(k.key.Public(), number))
	maps.Copy(web, k.extra)
	return web
}

// liar is an identity provider in httptest that does all as the standards say, save for what a test
// bends: the fields below are read under mu at each request.
type liar struct {
	*httptest.Server
	t     testing.TB
	clock *clock

	mu       sync.Mutex
	keys     []signingKey // the first signs
	hits     map[string]int
	pages    map[string]http.HandlerFunc // in place of an endpoint's own answer
	metadata map[string]any              // changes to the metadata
	claims   map[string]any              // changes to the ID token; nil values are taken out
	sign     func(claims jwt.MapClaims) string
	answer   map[string]any // changes to the token answer
	person   map[string]any // UserInfo
	flows    map[string]url.Values
	redeemed []url.Values // forms that the token endpoint was sent, the client's proof included
}

func newLiar(t testing.TB) *liar {
	t.Helper()
	l := &liar{
		t: t, clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
		hits: map[string]int{}, pages: map[string]http.HandlerFunc{}, flows: map[string]url.Values{},
		keys:   []signingKey{{id: "k1", method: jwt.SigningMethodRS256, key: rsaKeys()[0]}},
		person: map[string]any{"sub": "ada", "name": "Ada Lovelace", "email": "ada@example.test", "email_verified": true},
	}
	l.Server = httptest.NewServer(l)
	t.Cleanup(l.Close)
	return l
}

// bend changes the liar under its lock.
func (l *liar) bend(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

func (l *liar) count(path string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hits[path]
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if strings.HasSuffix(path, "/.well-known/openid-configuration") {
		path = "/metadata"
	}
	_ = r.ParseForm() // so that the server sees when the client goes away
	l.mu.Lock()
	l.hits[path]++
	page := l.pages[path]
	l.mu.Unlock()
	switch {
	case page != nil:
		page(w, r)
	case path == "/metadata":
		l.serveMetadata(w)
	case path == "/token":
		l.serveToken(w, r)
	case path == "/keys":
		l.serveKeys(w)
	case path == "/userinfo":
		l.serveUserInfo(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (l *liar) serveMetadata(w http.ResponseWriter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	metadata := map[string]any{
		"issuer": l.URL, "authorization_endpoint": l.URL + "/authorize", "token_endpoint": l.URL + "/token",
		"jwks_uri": l.URL + "/keys", "userinfo_endpoint": l.URL + "/userinfo",
		"id_token_signing_alg_values_supported":          []string{"RS256", "ES256", "ES384", "EdDSA", "PS256", "HS256", "none"},
		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "client_secret_post"},
		"authorization_response_iss_parameter_supported": true,
	}
	change(metadata, l.metadata)
	write(w, http.StatusOK, metadata)
}

func (l *liar) serveKeys(w http.ResponseWriter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	set := []any{map[string]any{"kty": "oct", "kid": "shared", "k": "AAAA"}, "no key"}
	for _, key := range l.keys {
		set = append(set, key.webKey())
	}
	write(w, http.StatusOK, map[string]any{"keys": set})
}

func (l *liar) serveUserInfo(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+accessToken {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	write(w, http.StatusOK, l.person)
}

func (l *liar) serveToken(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	form := r.PostForm
	if id, secret, basic := r.BasicAuth(); basic {
		id, _ = url.QueryUnescape(id)
		secret, _ = url.QueryUnescape(secret)
		form["basic"] = []string{id, secret}
	}
	l.redeemed = append(l.redeemed, form)
	answer := map[string]any{
		"access_token": accessToken, "token_type": "bearer", "expires_in": 3600, "scope": "openid email",
	}
	switch form.Get("grant_type") {
	case "refresh_token":
		if form.Get("refresh_token") != refreshToken {
			write(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
			return
		}
	default:
		flow := l.flows[form.Get("code")]
		delete(l.flows, form.Get("code"))
		if flow == nil || oauth2.S256ChallengeFromVerifier(form.Get("code_verifier")) != flow.Get("code_challenge") ||
			form.Get("redirect_uri") != flow.Get("redirect_uri") {
			write(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": "no such code: " + form.Get("code")})
			return
		}
		answer["refresh_token"] = refreshToken
		answer["id_token"] = l.idToken(flow.Get("nonce"))
	}
	change(answer, l.answer)
	write(w, http.StatusOK, answer)
}

func (l *liar) idToken(nonce string) string {
	now := l.clock.Now()
	claims := jwt.MapClaims{
		"iss": l.URL, "aud": clientID, "sub": "ada", "nonce": nonce, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"name": "Ada Lovelace", "email": "ada@example.test", "email_verified": true,
	}
	change(claims, l.claims)
	if l.sign != nil {
		return l.sign(claims)
	}
	return l.signWith(l.keys[0], claims)
}

func (l *liar) signWith(key signingKey, claims jwt.MapClaims) string {
	token := jwt.NewWithClaims(key.method, claims)
	if key.id != "" {
		token.Header["kid"] = key.id
	}
	signed, err := token.SignedString(key.key)
	if err != nil {
		l.t.Errorf("sign: %v", err)
	}
	return signed
}

// grant plays the person's consent: it returns the answer to the request at authorizationURL.
func (l *liar) grant(authorizationURL string) oauth.Answer {
	l.t.Helper()
	address, err := url.Parse(authorizationURL)
	if err != nil {
		l.t.Fatal(err)
	}
	request := address.Query()
	code := "code-" + request.Get("state")[:16]
	l.bend(func() { l.flows[code] = request })
	return oauth.Answer{Code: code, State: request.Get("state"), Iss: l.URL}
}

func change(object, changes map[string]any) {
	for name, value := range changes {
		if value == nil {
			delete(object, name)
		} else {
			object[name] = value
		}
	}
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (l *liar) config() oauth.Config {
	return oauth.Config{
		Name: "test", Issuer: l.URL, ClientID: clientID, ClientSecret: clientSecret, RedirectURLs: []string{redirectURL},
	}
}

// provider returns the liar as our code sees it, with the log it writes.
func (l *liar) provider(config oauth.Config) (*oauth.Provider, *logbook) {
	l.t.Helper()
	return l.providerWith(config, oauth.Options{})
}

func (l *liar) providerWith(config oauth.Config, o oauth.Options) (*oauth.Provider, *logbook) {
	l.t.Helper()
	log := &logbook{}
	o.Now, o.Log = l.clock.Now, slog.New(slog.NewJSONHandler(log, nil))
	provider, err := oauth.New(config, o)
	if err != nil {
		l.t.Fatal(err)
	}
	return provider, log
}

// signIn runs a whole flow.
func (l *liar) signIn(provider *oauth.Provider) (oauth.Result, error) {
	l.t.Helper()
	flow, address, err := provider.Begin(l.t.Context(), "")
	if err != nil {
		return oauth.Result{}, err
	}
	return provider.Complete(l.t.Context(), flow, l.grant(address))
}

func begin(t testing.TB, provider *oauth.Provider) (oauth.Flow, string) {
	t.Helper()
	flow, address, err := provider.Begin(t.Context(), "")
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	return flow, address
}

// refuse wants err to be of step and code, in its text too.
func refuse(t testing.TB, err error, step oauth.Step, code oauth.Code) {
	t.Helper()
	got, ok := errorOf(err)
	if !ok || got.Code != code || got.Step != step {
		t.Errorf("got %v, want step %s, code %s", err, step, code)
		return
	}
	if !strings.Contains(err.Error(), string(code)) || len(got.Detail) > 300 || len(got.ProviderCode) > 100 {
		t.Errorf("error is not one line that tells its code: %v", err)
	}
}
