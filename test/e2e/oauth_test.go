package e2e

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
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
}

// startIdentityProvider starts a provider that ends with t. Without Node the test is skipped, or fails
// where GATEHOUSE_TEST_REQUIRE is "all".
func startIdentityProvider(t testing.TB) *identityProvider {
	t.Helper()
	command := exec.Command(needIdentityProvider(t), "index.js")
	command.Dir = providerFolder
	command.Env = append(os.Environ(), "PORT=0", "REDIRECT_URI="+strings.Join([]string{
		publicURL + "/oauth/callback/peer", publicURL + "/oauth/callback/other", providerPage,
	}, ","))
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{}
	said, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout = writer
	ended := make(chan struct{})
	if err := spawn(command, ended); err != nil {
		t.Fatalf("start the provider: %v", err)
	}
	_ = writer.Close()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
		_ = said.Close()
	})
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatalf("the provider did not start: %v", err)
	}
	return &identityProvider{t: t, issuer: strings.TrimSpace(line)}
}

// needIdentityProvider returns the path of node once the provider's packages are installed.
func needIdentityProvider(t testing.TB) string {
	t.Helper()
	give := t.Skipf
	if os.Getenv("GATEHOUSE_TEST_REQUIRE") == "all" {
		give = t.Fatalf
	}
	node, err := exec.LookPath("node")
	if err != nil {
		give("node is not installed")
	}
	if _, err := os.Stat(filepath.Join(providerFolder, "node_modules", "oidc-provider")); err == nil {
		return node
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund")
	install.Dir = providerFolder
	if out, err := install.CombinedOutput(); err != nil {
		give("npm ci: %v\n%s", err, out)
	}
	return node
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

// speaker says operations: a client, or a browser with its cookies.
type speaker interface {
	say(query string, v vars) answer
}

type begunOAuth struct {
	AuthorizationURL, FlowID string
	UserErrors               []userError
}

const startOAuthDocument = `mutation($in: StartOAuthInput!) { startOAuth(input: $in) { authorizationUrl flowId userErrors { code field message } } }`

func startOAuth(t testing.TB, s speaker, in vars) begunOAuth {
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

func tryComplete(s speaker, in vars) answer { return s.say(completeOAuthDocument, vars{"in": in}) }

func complete(t testing.TB, s speaker, in vars) completed {
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
			d.seen.add("client secret", clientSecret)
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
		d.seen.add("state", back.Query().Get("state"))
		d.seen.add("code", back.Query().Get("code"))
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
