package e2e

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/test/services"
)

const providerFolder = "../peers/oidc-provider"

// The addresses of these tests: behind the public URL stands nobody, since each server of a deployment
// has an address of its own; the tests carry what is sent there to the server they choose.
const (
	publicURL    = "http://localhost:8080"
	appPage      = "https://app.example.test/signed-in"  // receives an exchange code
	providerPage = "http://localhost:3000/from-provider" // receives the provider's answer
	clientSecret = "a-secret-of-the-tests"
)

// identityProvider is the real provider of npm's oidc-provider, with people who need no password.
type identityProvider struct {
	t      testing.TB
	issuer string
	said   *bufio.Reader
	seen   *sightings // of the deployment
}

// startIdentityProvider starts a provider that ends with t.
func startIdentityProvider(t testing.TB) *identityProvider {
	t.Helper()
	running := services.StartOIDCProvider(t, providerFolder, "TELL=1", "REDIRECT_URI="+strings.Join([]string{
		publicURL + "/oauth/callback/peer", publicURL + "/oauth/callback/other", providerPage,
	}, ","))
	return &identityProvider{t: t, issuer: running.Issuer, said: running.Said}
}

// grants are the fields of a token answer that are secrets, and the verifier that was shown for it.
var grants = map[string]int{"access_token": 20, "refresh_token": 20, "id_token": 20, "code_verifier": 43}

// overhear remembers what the provider grants from now on, until it ends.
func (p *identityProvider) overhear(seen *sightings) {
	p.seen = seen
	go func() {
		for {
			line, err := p.said.ReadBytes('\n')
			if err != nil {
				return
			}
			seen.harvest(grants, line)
		}
	}()
}

// file writes the settings of two providers, which are one program with two clients.
func (p *identityProvider) file() string {
	p.t.Helper()
	one := func(name, client, method string) map[string]any {
		return map[string]any{
			"name": name, "title": "The Peer", "issuer": p.issuer, "clientId": client, "clientSecretFile": p.secretFile(),
			"tokenAuthMethod": method, "redirectUrls": []string{providerPage}, "redirectTo": []string{appPage},
			"scopes": []string{"openid", "profile", "email", "offline_access"}, "parameters": map[string]string{"prompt": "consent"},
		}
	}
	content, err := json.Marshal([]any{one("peer", "confidential", "basic"), one("other", "posting", "post")})
	if err != nil {
		p.t.Fatal(err)
	}
	return p.write("providers.json", content)
}

func (p *identityProvider) secretFile() string { return p.write("secret", []byte(clientSecret+"\n")) }

func (p *identityProvider) write(name string, content []byte) string {
	p.t.Helper()
	path := filepath.Join(p.t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// visit plays the browser at the provider: it follows address, fills in the form and returns where the
// provider sends it.
func (p *identityProvider) visit(address string, form url.Values) *url.URL {
	p.t.Helper()
	jar, _ := cookiejar.New(nil)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	browser := &http.Client{Jar: jar, Transport: transport, Timeout: patience, CheckRedirect: func(next *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(next.URL.String(), p.issuer) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	page := p.finish(browser.Get(address))
	if page.StatusCode == http.StatusOK {
		page = p.finish(browser.PostForm(page.Request.URL.String(), form))
	}
	back, err := page.Location()
	if err != nil {
		p.t.Fatalf("the provider did not send us back: %s at %s", page.Status, page.Request.URL)
	}
	begun, err := url.Parse(address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.seen.add("nonce", begun.Query().Get("nonce"))
	for _, name := range []string{"state", "code"} {
		p.seen.add(name, back.Query().Get(name))
	}
	return back
}

func (p *identityProvider) finish(page *http.Response, err error) *http.Response {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, page.Body)
	_ = page.Body.Close()
	return page
}

func signInAs(login string) url.Values { return url.Values{"login": {login}} }

// pkce is a caller's own verifier.
type pkce struct{ verifier, challenge string }

func newPKCE() pkce {
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	return pkce{verifier, base64.RawURLEncoding.EncodeToString(sum[:])}
}

type begunOAuth struct {
	AuthorizationURL, FlowID string
	UserErrors               []userError
}

const startOAuthDocument = `mutation($in: StartOAuthInput!) { startOAuth(input: $in) { authorizationUrl flowId userErrors { code field message } } }`

func startOAuth(t testing.TB, s person, in vars) begunOAuth {
	t.Helper()
	return into[struct{ StartOAuth begunOAuth }](t, s.say(startOAuthDocument, vars{"in": in})).StartOAuth
}

const identityFields = `{ id provider providerName email emailVerified name linkedAt lastUsedAt profileFetchedAt }`

const completeOAuthDocument = `mutation($in: CompleteOAuthInput!) { completeOAuth(input: $in) { identity ` + identityFields + `
	outcome { ... on SessionTokens { accessToken refreshToken session { id } user { id email emailVerified name } } } userErrors { code field message } } }`

type completed struct {
	Identity *identity
	Outcome  *struct {
		tokens
		User struct {
			ID, Email, Name string
			EmailVerified   bool
		}
	}
}

type identity struct {
	ID, Provider, ProviderName, Email, Name string
	EmailVerified                           bool
}

func tryComplete(s person, in vars) answer { return s.say(completeOAuthDocument, vars{"in": in}) }

func complete(t testing.TB, s person, in vars) completed {
	t.Helper()
	return into[struct{ CompleteOAuth completed }](t, tryComplete(s, in)).CompleteOAuth
}

// keep makes c the person that was signed in.
func (c *client) keep(got completed) {
	c.t.Helper()
	if got.Outcome == nil {
		c.t.Fatalf("not signed in: %+v", got)
	}
	c.hold(tokens{AccessToken: got.Outcome.AccessToken, RefreshToken: got.Outcome.RefreshToken, Session: got.Outcome.Session})
	c.user = got.Outcome.User.ID
}

// callback carries an answer that the provider has sent to the public URL to one server, and returns
// the status and where the browser is sent from there.
func (p *process) callback(back *url.URL, cookie string) (int, *url.URL) {
	p.t.Helper()
	r, err := http.NewRequest(http.MethodGet, p.url+back.RequestURI(), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	to, err := response.Location()
	if err != nil {
		to = &url.URL{}
		text, _ := io.ReadAll(response.Body)
		to.Fragment = string(text)
	}
	return response.StatusCode, to
}

// withProvider starts a provider and a deployment that knows it.
func withProvider(t *testing.T, test func(t *testing.T, d *deployment, p *identityProvider)) {
	t.Helper()
	for _, form := range []struct {
		name  string
		start func(testing.TB, ...string) *deployment
	}{
		{"embedded", embedded},
		{"distributed", distributed},
	} {
		t.Run(form.name, func(t *testing.T) {
			t.Parallel()
			p := startIdentityProvider(t)
			d := form.start(t, "--oauth-file", p.file(), "--public-url", publicURL)
			d.publicURL = publicURL // browsers come from there
			p.overhear(d.seen)
			d.seen.add("client secret", clientSecret)
			for _, login := range []string{"alice", "bob-unverified"} {
				d.seen.add("address at the provider", login+"@example.test")
			}
			test(t, d, p)
		})
	}
}

func TestAPersonSignsInThroughAProviderWhoseAnswerComesToTheServer(t *testing.T) {
	t.Parallel()
	withProvider(t, func(t *testing.T, d *deployment, p *identityProvider) {
		here, there := d.visitor(0), d.visitor(1)
		mine := newPKCE()
		begun := startOAuth(t, here, vars{"provider": "peer", "clientChallenge": mine.challenge})
		back := p.visit(begun.AuthorizationURL, signInAs("alice"))
		second := d.servers[len(d.servers)-1]
		status, to := second.callback(back, "")
		code := d.seen.add("exchange code", to.Query().Get("exchangeCode"))
		if status != http.StatusSeeOther || code == "" || to.Query().Get("flowId") != begun.FlowID || !strings.HasPrefix(to.String(), appPage+"?") {
			t.Fatalf("the server answered %d and leads to %s", status, to)
		}
		if status, to := second.callback(back, ""); status != http.StatusBadRequest || !strings.Contains(to.Fragment, "OAUTH_STATE_MISMATCH") {
			t.Errorf("the same answer once more: %d %s", status, to)
		}
		for what, in := range map[string]vars{
			"no verifier":      {"exchangeCode": code},
			"another verifier": {"exchangeCode": code, "clientVerifier": newPKCE().verifier},
		} {
			if a := tryComplete(there, in); a.userError() != "OAUTH_BINDING_MISMATCH" {
				t.Errorf("a stolen code with %s: %v", what, a)
			}
		}
		in := vars{"exchangeCode": code, "clientVerifier": d.seen.add("verifier", mine.verifier)}
		got := complete(t, there, in)
		there.keep(got)
		if u := got.Outcome.User; u.Email != "alice@example.test" || !u.EmailVerified || got.Identity.Provider != "peer" || got.Identity.ProviderName != "The Peer" {
			t.Errorf("signed in as %+v by %+v", u, got.Identity)
		}
		if !there.signedIn() {
			t.Error("the access token is not good")
		}
		if a := tryComplete(here, in); a.userError() != "OAUTH_EXCHANGE_INVALID" {
			t.Errorf("the code once more: %v", a)
		}
	})
}

// flow brings a person to the provider and back to whoever the answer is for.
func (p *identityProvider) flow(s person, in vars, form url.Values) (begunOAuth, *url.URL) {
	p.t.Helper()
	begun := startOAuth(p.t, s, in)
	return begun, p.visit(begun.AuthorizationURL, form)
}

// brought is what a page passes on of the provider's answer.
func brought(back *url.URL, more vars) vars {
	in := vars{}
	for _, name := range []string{"state", "code", "iss", "error"} {
		if value := back.Query().Get(name); value != "" {
			in[name] = value
		}
	}
	for name, value := range more {
		in[name] = value
	}
	return in
}

func TestAPersonSignsInThroughAProviderWhoseAnswerComesToAPage(t *testing.T) {
	t.Parallel()
	withProvider(t, func(t *testing.T, d *deployment, p *identityProvider) {
		here, there := d.visitor(0), d.visitor(1)
		mine := newPKCE()
		in := vars{"provider": "other", "redirectTo": providerPage, "clientChallenge": mine.challenge}
		begun, back := p.flow(here, in, signInAs("bob-unverified"))
		if !strings.HasPrefix(back.String(), providerPage+"?") {
			t.Fatalf("the provider sends us to %s", back)
		}
		stolen := brought(back, vars{"clientVerifier": newPKCE().verifier})
		if a := tryComplete(there, stolen); a.userError() != "OAUTH_BINDING_MISMATCH" {
			t.Errorf("a stolen answer: %v", a)
		}
		good := brought(back, vars{"clientVerifier": mine.verifier, "flowId": begun.FlowID, "rememberMe": true})
		got := complete(t, there, good)
		there.keep(got)
		if u := got.Outcome.User; u.Email != "bob-unverified@example.test" || u.EmailVerified {
			t.Errorf("signed in as %+v", u)
		}
		if a := tryComplete(here, good); a.userError() != "OAUTH_STATE_MISMATCH" {
			t.Errorf("the same answer once more: %v", a)
		}
		// The provider's code once more, with a state of its own.
		_, next := p.flow(here, in, signInAs("bob-unverified"))
		replayed := brought(next, vars{"clientVerifier": mine.verifier, "code": back.Query().Get("code")})
		if a := tryComplete(here, replayed); a.userError() != "OAUTH_CODE_INVALID" {
			t.Errorf("a replayed code: %v", a)
		}
		_, next = p.flow(here, in, signInAs("bob-unverified"))
		if a := tryComplete(here, brought(next, vars{"clientVerifier": mine.verifier, "iss": "https://another.example"})); a.userError() != "OAUTH_ISSUER_MISMATCH" {
			t.Errorf("the answer of another issuer: %v", a)
		}
		_, next = p.flow(here, in, url.Values{"cancel": {"1"}})
		if a := tryComplete(here, brought(next, vars{"clientVerifier": mine.verifier})); a.userError() != "OAUTH_DENIED" {
			t.Errorf("a refusal: %v", a)
		}
		_, next = p.flow(here, in, signInAs("carol-noemail"))
		if a := tryComplete(here, brought(next, vars{"clientVerifier": mine.verifier})); a.userError() != "OAUTH_EMAIL_REQUIRED" {
			t.Errorf("a person without an address: %v", a)
		}
		for want, in := range map[string]vars{
			"REQUIRED":               {"provider": "peer"},
			"INVALID":                {"provider": "nobody", "clientChallenge": mine.challenge},
			"OAUTH_REDIRECT_REFUSED": {"provider": "peer", "clientChallenge": mine.challenge, "redirectTo": appPage + "/"},
		} {
			if a := here.say(startOAuthDocument, vars{"in": in}); a.userError() != want {
				t.Errorf("start with %v: %v, want %s", in, a, want)
			}
		}
	})
}

func TestABrowserSignsInThroughAProviderInCookieMode(t *testing.T) {
	t.Parallel()
	withProvider(t, func(t *testing.T, d *deployment, p *identityProvider) {
		b, other := d.browser(), d.browser()
		in := vars{"provider": "peer", "redirectTo": appPage}
		_, back := p.flow(b, in, signInAs("alice"))
		c := b.cookies["__Host-gh_oauth"]
		if c == nil || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge <= 0 {
			t.Fatalf("the flow is bound by %+v", c)
		}
		second := d.servers[len(d.servers)-1]
		if status, to := second.callback(back, ""); status != http.StatusBadRequest || !strings.Contains(to.Fragment, "OAUTH_BINDING_MISMATCH") {
			t.Errorf("the answer in another browser: %d %s", status, to)
		}
		_, mixed := p.flow(b, in, signInAs("alice"))
		mixed.Path = "/oauth/callback/other"
		if status, to := second.callback(mixed, b.cookie()); status != http.StatusBadRequest || !strings.Contains(to.Fragment, "OAUTH_STATE_MISMATCH") {
			t.Errorf("an answer that is mixed up: %d %s", status, to)
		}
		status, to := second.callback(back, b.cookie())
		code := d.seen.add("exchange code", to.Query().Get("exchangeCode"))
		if status != http.StatusSeeOther || code == "" {
			t.Fatalf("the server answered %d and leads to %s", status, to)
		}
		startOAuth(t, other, in) // so that it has a cookie of its own
		if a := tryComplete(other, vars{"exchangeCode": code}); a.userError() != "OAUTH_BINDING_MISMATCH" {
			t.Errorf("the code in another browser: %v", a)
		}
		got := complete(t, b, vars{"exchangeCode": code})
		if got.Outcome == nil || got.Outcome.AccessToken != "" || b.cookies["__Host-gh_access"] == nil || !b.signedIn() {
			t.Errorf("signed in by cookies: %+v", got)
		}
		_, denied := p.flow(b, in, url.Values{"cancel": {"1"}})
		if status, to := second.callback(denied, b.cookie()); status != http.StatusSeeOther || to.Query().Get("error") != "OAUTH_DENIED" || to.Host != "app.example.test" {
			t.Errorf("a refusal: %d, leads to %s", status, to)
		}
		head, err := http.NewRequest(http.MethodHead, second.url+"/oauth/callback/peer?state=x", nil)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := b.http.Do(head); err != nil || r.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("who only looks: %v, %v", r, err)
		}
	})
}

func TestAnAccountLinksAndUnlinksIdentities(t *testing.T) {
	t.Parallel()
	withProvider(t, func(t *testing.T, d *deployment, p *identityProvider) {
		ada := d.person()
		mine := newPKCE()
		in := vars{"provider": "peer", "redirectTo": providerPage, "clientChallenge": mine.challenge, "link": true}
		refused(t, "nobody's link", d.visitor(0).say(startOAuthDocument, vars{"in": in}), "UNAUTHENTICATED")
		_, back := p.flow(ada, in, signInAs("carol-noemail"))
		got := complete(t, ada.at(d.servers[len(d.servers)-1]), brought(back, vars{"clientVerifier": mine.verifier}))
		if got.Outcome != nil || got.Identity == nil {
			t.Fatalf("the link gave %+v", got)
		}
		delete(in, "link")
		_, back = p.flow(d.visitor(0), in, signInAs("carol-noemail"))
		again := d.visitor(0)
		again.keep(complete(t, again, brought(back, vars{"clientVerifier": mine.verifier})))
		if again.user != ada.user {
			t.Errorf("the identity leads to %s, want %s", again.user, ada.user)
		}
		id := got.Identity.ID
		fresh := ask[struct{ RefreshIdentityProfile struct{ Identity *identity } }](ada,
			`mutation($id: ID!) { refreshIdentityProfile(input: {identityId: $id}) { identity `+identityFields+` userErrors { code } } }`, vars{"id": id})
		if i := fresh.RefreshIdentityProfile.Identity; i == nil || i.Name != "carol-noemail of the test" {
			t.Errorf("the profile read again: %+v", i)
		}
		const node = `query($id: ID!) { node(id: $id) { id ... on Identity { provider } } }`
		if a := ada.say(node, vars{"id": id}); !strings.Contains(string(a.Data), `"peer"`) {
			t.Errorf("the identity as a node: %v", a)
		}
		eve := d.person()
		refused(t, "the identity of another", eve.say(node, vars{"id": id}), "NOT_FOUND")
		const unlink = `mutation($id: ID!) { unlinkIdentity(input: {identityId: $id}) { identityId user { identities { id } } userErrors { code } } }`
		refused(t, "to unlink the identity of another", eve.say(unlink, vars{"id": id}), "NOT_FOUND")
		if a := ada.say(unlink, vars{"id": id}); !strings.Contains(string(a.Data), `"identities":[]`) || a.userError() != "" {
			t.Errorf("unlink: %v", a)
		}
		// Who came by a provider has no other way in.
		delete(in, "redirectTo")
		in["redirectTo"] = providerPage
		_, back = p.flow(d.visitor(0), in, signInAs("alice"))
		alice := d.visitor(0)
		made := complete(t, alice, brought(back, vars{"clientVerifier": mine.verifier}))
		alice.keep(made)
		if a := alice.say(unlink, vars{"id": made.Identity.ID}); a.userError() != "LAST_WAY_IN" {
			t.Errorf("the last way in: %v", a)
		}
		type list struct {
			Me struct{ Identities []identity }
		}
		if all := ask[list](alice, `{ me { identities `+identityFields+` } }`, nil).Me.Identities; len(all) != 1 || all[0].ID != made.Identity.ID {
			t.Errorf("my identities: %+v", all)
		}
		type providers struct {
			OauthProviders []struct{ Name, Kind, DisplayName string }
		}
		if all := ask[providers](d.visitor(0), `{ oauthProviders { name kind displayName } }`, nil).OauthProviders; len(all) != 2 || all[0].Kind != "OIDC" || all[0].DisplayName != "The Peer" {
			t.Errorf("providers: %+v", all)
		}
	})
}
