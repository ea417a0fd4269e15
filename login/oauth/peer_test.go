package oauth_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/login/oauth"
	"gatehouse/test/services"
)

const peerFolder = "../../test/peers/oidc-provider"

// peer is the real provider of npm's oidc-provider, with people who need no password.
type peer struct {
	t      testing.TB
	issuer string
}

// startPeer starts a peer that ends with t. environment is in the form NAME=value.
func startPeer(t testing.TB, environment ...string) *peer {
	t.Helper()
	running := services.StartOIDCProvider(t, peerFolder, append(environment, "REDIRECT_URI="+redirectURL)...)
	return &peer{t: t, issuer: running.Issuer}
}

func (p *peer) config(client string) oauth.Config {
	config := oauth.Config{
		Name: "peer", Issuer: p.issuer, ClientID: client, ClientSecret: "a-secret-of-the-tests", RedirectURLs: []string{redirectURL},
		Scopes: []string{"openid", "profile", "email", "offline_access"}, Parameters: map[string]string{"prompt": "consent"},
	}
	if client == "public" {
		config.TokenAuthMethod, config.ClientSecret = oauth.None, ""
	}
	return config
}

func (p *peer) provider(config oauth.Config) (*oauth.Provider, *logbook) {
	p.t.Helper()
	log := &logbook{}
	provider, err := oauth.New(config, oauth.Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		p.t.Fatal(err)
	}
	return provider, log
}

// browse plays the browser: it follows the authorization URL, fills in the form and returns the
// parameters with which it is sent back to us.
func (p *peer) browse(address string, form url.Values) oauth.Answer {
	p.t.Helper()
	jar, _ := cookiejar.New(nil)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	browser := &http.Client{Jar: jar, Transport: transport, Timeout: 10 * time.Second, CheckRedirect: func(next *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(next.URL.String(), redirectURL) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	page := p.follow(browser.Get(address))
	if page.StatusCode == http.StatusOK {
		page = p.follow(browser.PostForm(page.Request.URL.String(), form))
	}
	back, err := page.Location()
	if err != nil {
		p.t.Fatalf("the provider did not send us back: %s at %s", page.Status, page.Request.URL)
	}
	q := back.Query()
	return oauth.Answer{
		Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss"), Error: q.Get("error"), ErrorDescription: q.Get("error_description"),
	}
}

func (p *peer) follow(page *http.Response, err error) *http.Response {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, page.Body)
	_ = page.Body.Close()
	return page
}

func (p *peer) post(path string) {
	p.t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	p.follow((&http.Client{Transport: transport, Timeout: 10 * time.Second}).Post(p.issuer+path, "", nil))
}

func as(login string) url.Values { return url.Values{"login": {login}} }

func TestRealProvider(t *testing.T) {
	peer := startPeer(t)
	for _, client := range []string{"confidential", "posting", "public"} {
		for _, row := range []struct {
			login, email string
			verified     bool
		}{
			{"alice", "alice@example.test", true},
			{"bob-unverified", "bob-unverified@example.test", false},
			{"carol-noemail", "", false},
		} {
			t.Run(fmt.Sprintf("%s signs in through the client %s", row.login, client), func(t *testing.T) {
				config := peer.config(client)
				if client == "posting" {
					config.TokenAuthMethod = oauth.Post
				}
				provider, _ := peer.provider(config)
				flow, address := begin(t, provider)
				result, err := provider.Complete(t.Context(), flow, peer.browse(address, as(row.login)))
				if err != nil {
					t.Fatal(err)
				}
				if want := (oauth.Identity{Issuer: peer.issuer, Subject: row.login}); result.Identity != want {
					t.Errorf("got %v, want %v", result.Identity, want)
				}
				if p := result.Profile; p.Email != row.email || p.EmailVerified != row.verified || p.Name != row.login+" of the test" || p.Username != row.login {
					t.Errorf("got %+v", p)
				}
				if result.Tokens.Refresh == "" || time.Until(result.Tokens.ExpiresAt).Round(time.Minute) != time.Hour {
					t.Errorf("got refresh token %v, expiry %v", result.Tokens.Refresh != "", result.Tokens.ExpiresAt)
				}
			})
		}
	}
	provider, log := peer.provider(peer.config("confidential"))
	t.Run("a refusal at the consent", func(t *testing.T) {
		flow, address := begin(t, provider)
		_, err := provider.Complete(t.Context(), flow, peer.browse(address, url.Values{"cancel": {"1"}}))
		refuse(t, err, oauth.Authorize, oauth.Denied)
		if !strings.Contains(log.String(), "access_denied") {
			t.Errorf("the log does not tell why:\n%s", log)
		}
	})
	t.Run("a code that is used twice", func(t *testing.T) {
		flow, address := begin(t, provider)
		answer := peer.browse(address, as("alice"))
		if _, err := provider.Complete(t.Context(), flow, answer); err != nil {
			t.Fatal(err)
		}
		_, err := provider.Complete(t.Context(), flow, answer)
		refuse(t, err, oauth.Exchange, oauth.CodeInvalid)
	})
	t.Run("a stolen code without its verifier", func(t *testing.T) {
		_, address := begin(t, provider)
		stolen := peer.browse(address, as("alice"))
		thief, address := begin(t, provider)
		u, _ := url.Parse(address)
		stolen.State = u.Query().Get("state")
		_, err := provider.Complete(t.Context(), thief, stolen)
		refuse(t, err, oauth.Exchange, oauth.CodeInvalid)
	})
	t.Run("a wrong secret", func(t *testing.T) {
		config := peer.config("confidential")
		config.ClientSecret = "another secret"
		provider, _ := peer.provider(config)
		flow, address := begin(t, provider)
		_, err := provider.Complete(t.Context(), flow, peer.browse(address, as("alice")))
		refuse(t, err, oauth.Exchange, oauth.ConfigWrong)
	})
	t.Run("refresh, profile, revoke", func(t *testing.T) {
		flow, address := begin(t, provider)
		result, err := provider.Complete(t.Context(), flow, peer.browse(address, as("alice")))
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := provider.Refresh(t.Context(), result.Tokens.Refresh)
		if err != nil || fresh.Access == result.Tokens.Access || fresh.Refresh == "" {
			t.Fatalf("refresh: %v", err)
		}
		profile, err := provider.Profile(t.Context(), result.Identity, fresh)
		if err != nil || profile.Email != "alice@example.test" || !profile.EmailVerified {
			t.Errorf("got %+v, %v", profile, err)
		}
		if err := provider.Revoke(t.Context(), fresh); err != nil {
			t.Errorf("revoke: %v", err)
		}
		_, err = provider.Refresh(t.Context(), fresh.Refresh)
		refuse(t, err, oauth.Refresh, oauth.RefreshInvalid)
		_, err = provider.Profile(t.Context(), result.Identity, fresh)
		refuse(t, err, oauth.UserInfo, oauth.AccessRefused)
	})
	t.Run("a code that has expired", func(t *testing.T) {
		flow, address := begin(t, provider)
		answer := peer.browse(address, as("alice"))
		peer.post("/clock?seconds=120")
		_, err := provider.Complete(t.Context(), flow, answer)
		refuse(t, err, oauth.Exchange, oauth.CodeInvalid)
	})
	t.Run("a provider whose clock is two minutes ahead", func(t *testing.T) {
		flow, address := begin(t, provider)
		_, err := provider.Complete(t.Context(), flow, peer.browse(address, as("alice")))
		refuse(t, err, oauth.IDToken, oauth.TokenNotYet)
		peer.post("/clock?seconds=-120")
	})
	t.Run("keys that rotate between two sign-ins", func(t *testing.T) {
		clock := &clock{now: time.Now()}
		provider, err := oauth.New(peer.config("confidential"), oauth.Options{Now: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			flow, address := begin(t, provider)
			if _, err := provider.Complete(t.Context(), flow, peer.browse(address, as("alice"))); err != nil {
				t.Error(err)
			}
			peer.post("/rotate")
			clock.advance(30 * time.Second)
		}
	})
}

func TestRealProviderThatTellsThePersonByUserInfoOnly(t *testing.T) {
	peer := startPeer(t, "USERINFO=1")
	provider, log := peer.provider(peer.config("confidential"))
	flow, address := begin(t, provider)
	result, err := provider.Complete(t.Context(), flow, peer.browse(address, as("alice")))
	if err != nil || result.Profile.Email != "alice@example.test" || !result.Profile.EmailVerified || !strings.Contains(log.String(), "userinfo read") {
		t.Errorf("got %+v, %v", result.Profile, err)
	}
}
