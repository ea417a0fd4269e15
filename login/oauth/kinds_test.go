package oauth_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"gatehouse/login/oauth"
)

// gitHub bends the liar into a GitHub Enterprise Server with the user of GitHub's own documentation.
func gitHub(l *liar) oauth.Config {
	l.pages["/login/oauth/access_token"] = func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		known := l.flows[r.PostForm.Get("code")]
		delete(l.flows, r.PostForm.Get("code"))
		l.mu.Unlock()
		w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		switch {
		case r.PostForm.Get("client_secret") != clientSecret:
			_, _ = w.Write([]byte("error=incorrect_client_credentials&error_description=The+client_id+and%2For+client_secret+passed+are+incorrect."))
		case known == nil:
			_, _ = w.Write([]byte("error=bad_verification_code&error_description=The+code+passed+is+incorrect+or+expired."))
		default:
			_, _ = w.Write([]byte("access_token=gho_16C7e42F292c6912E7710c838347Ae178B4a&expires_in=28800&scope=read%3Auser%2Cuser%3Aemail&token_type=bearer"))
		}
	}
	l.pages["/api/v3/user"] = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer gho_16C7e42F292c6912E7710c838347Ae178B4a" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		write(w, http.StatusOK, map[string]any{
			"login": "octocat", "id": 9007199254740993, "avatar_url": "https://github.com/images/octocat.gif",
			"name": "monalisa octocat", "email": "shown@example.test",
		})
	}
	l.pages["/api/v3/user/emails"] = func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, []map[string]any{
			{"email": "old@example.test", "verified": true, "primary": false, "visibility": nil},
			{"email": "octocat@example.test", "verified": true, "primary": true, "visibility": "public"},
		})
	}
	config := l.config()
	config.Kind = oauth.GitHub
	return config
}

func signInAtGitHub(l *liar, provider *oauth.Provider) (oauth.Result, error) {
	l.t.Helper()
	flow, address := begin(l.t, provider)
	answer := l.grant(address)
	answer.Iss = l.URL + "/login/oauth"
	return provider.Complete(l.t.Context(), flow, answer)
}

func TestGitHubTellsThePrimaryAddressAndTheNumericID(t *testing.T) {
	l := newLiar(t)
	provider, _ := l.provider(gitHub(l))
	result, err := signInAtGitHub(l, provider)
	if err != nil {
		t.Fatal(err)
	}
	if want := (oauth.Identity{Issuer: l.URL, Subject: "9007199254740993"}); result.Identity != want { // above 2^53
		t.Errorf("got %v, want %v", result.Identity, want)
	}
	p := result.Profile
	if p.Email != "octocat@example.test" || !p.EmailVerified || p.Username != "octocat" || p.Name != "monalisa octocat" || p.Picture == "" {
		t.Errorf("got %+v", p)
	}
	if got := result.Tokens; fmt.Sprint(got.Scopes) != "[read:user user:email]" || got.ExpiresAt.Sub(l.clock.Now()).Hours() != 8 {
		t.Errorf("got scopes %v until %v", got.Scopes, got.ExpiresAt)
	}
	again, err := provider.Profile(t.Context(), result.Identity, result.Tokens)
	if err != nil || again.Email != p.Email {
		t.Errorf("got %+v, %v", again, err)
	}
	_, err = provider.Profile(t.Context(), oauth.Identity{Issuer: l.URL, Subject: "1"}, result.Tokens)
	refuse(t, err, oauth.UserInfo, oauth.ProfileMismatch)
}

func TestGitHubPreset(t *testing.T) {
	provider, err := oauth.New(oauth.Config{
		Name: "github", Kind: oauth.GitHub, ClientID: clientID, ClientSecret: clientSecret, RedirectURLs: []string{redirectURL},
	}, oauth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	flow, address := begin(t, provider)
	u, _ := url.Parse(address)
	if u.Host != "github.com" || u.Path != "/login/oauth/authorize" || u.Query().Get("scope") != "read:user user:email" || u.Query().Get("code_challenge") == "" || u.Query().Has("nonce") {
		t.Errorf("got %s", address)
	}
	if flow.Issuer != "https://github.com" || provider.Title() != "GitHub" {
		t.Errorf("got %s of %s", flow.Issuer, provider.Title())
	}
}

func TestGitHubRefusals(t *testing.T) {
	page := func(path string, status int, body any) func(*liar) {
		return func(l *liar) {
			l.pages[path] = func(w http.ResponseWriter, _ *http.Request) { write(w, status, body) }
		}
	}
	for _, row := range []struct {
		name string
		bend func(l *liar)
		step oauth.Step
		code oauth.Code
	}{
		{"a bad code, with status 200", func(l *liar) { clear(l.flows) }, oauth.Exchange, oauth.CodeInvalid},
		{"a redirect URL that is not registered", page("/login/oauth/access_token", 200, map[string]any{"error": "redirect_uri_mismatch"}), oauth.Exchange, oauth.ConfigWrong},
		{"no id", page("/api/v3/user", 200, map[string]any{"login": "octocat"}), oauth.UserInfo, oauth.SubjectInvalid},
		{"an id that is a text", page("/api/v3/user", 200, map[string]any{"id": "1"}), oauth.UserInfo, oauth.SubjectInvalid},
		{"an id of zero", page("/api/v3/user", 200, map[string]any{"id": 0}), oauth.UserInfo, oauth.SubjectInvalid},
		{"a fractional id", page("/api/v3/user", 200, map[string]any{"id": 1.5}), oauth.UserInfo, oauth.SubjectInvalid},
		{"a revoked token", page("/api/v3/user", 401, map[string]any{"message": "Bad credentials"}), oauth.UserInfo, oauth.AccessRefused},
		{"trouble with the addresses", page("/api/v3/user/emails", 502, nil), oauth.UserInfo, oauth.ProviderUnavailable},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLiar(t)
			provider, _ := l.provider(gitHub(l))
			flow, address := begin(t, provider)
			answer := l.grant(address)
			answer.Iss = ""
			l.bend(func() { row.bend(l) })
			_, err := provider.Complete(t.Context(), flow, answer)
			refuse(t, err, row.step, row.code)
		})
	}
	t.Run("a wrong secret, with status 200", func(t *testing.T) {
		l := newLiar(t)
		config := gitHub(l)
		config.ClientSecret = "another secret"
		provider, _ := l.provider(config)
		_, err := signInAtGitHub(l, provider)
		refuse(t, err, oauth.Exchange, oauth.ConfigWrong)
	})
	t.Run("a mix-up", func(t *testing.T) {
		l := newLiar(t)
		provider, _ := l.provider(gitHub(l))
		_, err := l.signIn(provider) // with the bare address as iss
		refuse(t, err, oauth.State, oauth.IssuerMismatch)
	})
}

func TestGitHubAddressesThatAreNotTrusted(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		emails any
		want   string
	}{
		{"the primary one is not verified", 200, []map[string]any{{"email": "a@example.test", "verified": false, "primary": true}, {"email": "b@example.test", "verified": true}}, "a@example.test"},
		{"no primary one", 200, []map[string]any{{"email": "b@example.test", "verified": true}}, ""},
		{"none", 200, []any{}, ""},
		{"the scope is missing", 404, nil, ""},
		{"the permission is missing", 403, nil, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLiar(t)
			config := gitHub(l)
			l.pages["/api/v3/user/emails"] = func(w http.ResponseWriter, _ *http.Request) { write(w, row.status, row.emails) }
			provider, _ := l.provider(config)
			result, err := signInAtGitHub(l, provider)
			if err != nil || result.Profile.Email != row.want || result.Profile.EmailVerified {
				t.Errorf("got %q, verified %v, %v", result.Profile.Email, result.Profile.EmailVerified, err)
			}
		})
	}
}

func TestGitHubForgetsAToken(t *testing.T) {
	l := newLiar(t)
	config := gitHub(l)
	called := ""
	l.pages["/api/v3/applications/"+clientID+"/token"] = func(w http.ResponseWriter, r *http.Request) {
		var body map[string]string
		_ = json.NewDecoder(r.Body).Decode(&body)
		id, secret, _ := r.BasicAuth()
		called = r.Method + " " + body["access_token"] + " " + id + " " + secret
		w.WriteHeader(http.StatusNoContent)
	}
	provider, _ := l.provider(config)
	if err := provider.Revoke(t.Context(), oauth.Tokens{Access: "gho_x"}); err != nil || called != "DELETE gho_x "+clientID+" "+clientSecret {
		t.Errorf("GitHub was sent %q: %v", called, err)
	}
}

// apple bends the liar into Apple: no UserInfo, and a client secret that is a JWT.
func apple(l *liar) (oauth.Config, *jwt.MapClaims) {
	key := ecKey(l.t, elliptic.P256())
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		l.t.Fatal(err)
	}
	l.metadata = map[string]any{
		"userinfo_endpoint": nil, "token_endpoint_auth_methods_supported": []string{"client_secret_post"},
		"id_token_signing_alg_values_supported":          []string{"RS256"},
		"authorization_response_iss_parameter_supported": nil,
	}
	l.claims = map[string]any{
		"name": nil, "email": "x7k@privaterelay.appleid.test", "email_verified": "true", "is_private_email": "true", "nonce_supported": true,
	}
	seen := &jwt.MapClaims{}
	l.pages["/token"] = func(w http.ResponseWriter, r *http.Request) {
		secret, err := jwt.ParseWithClaims(r.PostForm.Get("client_secret"), seen, func(*jwt.Token) (any, error) { return key.Public(), nil },
			jwt.WithValidMethods([]string{"ES256"}), jwt.WithTimeFunc(l.clock.Now), jwt.WithAudience(l.URL),
			jwt.WithIssuer("TEAM123456"), jwt.WithSubject(clientID), jwt.WithExpirationRequired())
		if err != nil || secret.Header["kid"] != "KEY1234567" {
			write(w, http.StatusBadRequest, map[string]any{"error": "invalid_client"})
			return
		}
		l.serveToken(w, r)
	}
	config := l.config()
	config.Kind, config.ClientSecret, config.TeamID, config.KeyID = oauth.Apple, "", "TEAM123456", "KEY1234567"
	config.PrivateKey = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return config, seen
}

func TestAppleSignsInWithASecretOfItsOwnMaking(t *testing.T) {
	l := newLiar(t)
	config, secret := apple(l)
	provider, _ := l.provider(config)
	if !provider.FormPost() {
		t.Error("Apple answers by a form post")
	}
	flow, address := begin(t, provider)
	if u, _ := url.Parse(address); u.Query().Get("response_mode") != "form_post" || u.Query().Get("scope") != "openid name email" {
		t.Errorf("got %s", address)
	}
	answer := l.grant(address)
	answer.Iss = ""
	answer.User = `{"name":{"firstName":"Ada","lastName":"Lovelace"},"email":"forged@example.test"}`
	result, err := provider.Complete(t.Context(), flow, answer)
	if err != nil {
		t.Fatal(err)
	}
	p := result.Profile
	if p.Email != "x7k@privaterelay.appleid.test" || !p.EmailVerified || !p.EmailRelay || p.Name != "Ada Lovelace" || p.GivenName != "Ada" || p.FamilyName != "Lovelace" {
		t.Errorf("got %+v", p)
	}
	issued, _ := secret.GetIssuedAt()
	expires, _ := secret.GetExpirationTime()
	if lifetime := expires.Sub(issued.Time); lifetime.Minutes() != 5 {
		t.Errorf("the secret lives %v, want 5 min", lifetime)
	}
	_, err = provider.Profile(t.Context(), result.Identity, result.Tokens)
	refuse(t, err, oauth.UserInfo, oauth.Unsupported)
	if _, err := provider.Refresh(t.Context(), refreshToken); err != nil {
		t.Error(err)
	}
}

func TestAppleWithoutANameOrWithAForgedOne(t *testing.T) {
	for _, user := range []string{"", "null", "[]", `{"name":7}`, `{"name":{"firstName":"A\u0000"}}`, `{"name":{"firstName":"Ada"}}` + strings.Repeat(" ", 5000)} {
		l := newLiar(t)
		config, _ := apple(l)
		provider, _ := l.provider(config)
		flow, address := begin(t, provider)
		answer := l.grant(address)
		answer.Iss, answer.User = "", user
		result, err := provider.Complete(t.Context(), flow, answer)
		if err != nil || result.Profile.Name != "" {
			t.Errorf("user %.40q: got name %q, %v", user, result.Profile.Name, err)
		}
	}
}

const (
	tenantOne = "11111111-2222-3333-4444-555555555555"
	tenantTwo = "99999999-2222-3333-4444-555555555555"
	consumers = "9188040d-6c67-4c5b-b112-36a304b66dad"
)

func TestMicrosoftTenants(t *testing.T) {
	for _, row := range []struct {
		name      string
		tenant    string
		announced string // in place of {x} in the metadata's issuer
		iss       string // likewise in the ID token
		tid       any
		key       string // issuer of the key; "": none
		code      oauth.Code
	}{
		{"one of all", "common", "{tenantid}", tenantOne, tenantOne, "", ""},
		{"a personal account of all", "common", "{tenantid}", consumers, consumers, "", ""},
		{"a key for all tenants", "common", "{tenantid}", tenantOne, tenantOne, "{tenantid}", ""},
		{"a key of this tenant", "common", "{tenantid}", tenantOne, tenantOne, tenantOne, ""},
		{"a key of another tenant", "common", "{tenantid}", tenantOne, tenantOne, tenantTwo, oauth.KeyUnknown},
		{"tid of another tenant", "common", "{tenantid}", tenantOne, tenantTwo, "", oauth.IssuerMismatch},
		{"no tid", "common", "{tenantid}", tenantOne, nil, "", oauth.IssuerMismatch},
		{"a tid that is no ID", "common", "{tenantid}", "evil", "evil", "", oauth.IssuerMismatch},
		{"the template itself", "common", "{tenantid}", "{tenantid}", "{tenantid}", "", oauth.IssuerMismatch},
		{"an organisation", "organizations", "{tenantid}", tenantOne, tenantOne, "", ""},
		{"a personal account among organisations", "organizations", "{tenantid}", consumers, consumers, "", oauth.IssuerMismatch},
		{"a personal account", "consumers", consumers, consumers, consumers, "", ""},
		{"an organisation among personal accounts", "consumers", consumers, tenantOne, tenantOne, "", oauth.IssuerMismatch},
		{"our tenant", tenantOne, tenantOne, tenantOne, tenantOne, "", ""},
		{"another tenant than ours", tenantOne, tenantOne, tenantTwo, tenantTwo, "", oauth.IssuerMismatch},
		{"our tenant by its domain", "contoso.example.test", tenantOne, tenantOne, tenantOne, "", ""},
		{"another tenant than our domain's", "contoso.example.test", tenantOne, tenantTwo, tenantTwo, "", oauth.IssuerMismatch},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLiar(t)
			issuer := func(tenant string) string { return l.URL + "/" + tenant + "/v2.0" }
			l.metadata = map[string]any{"issuer": issuer(row.announced), "authorization_response_iss_parameter_supported": nil}
			l.claims = map[string]any{"iss": issuer(row.iss), "tid": row.tid}
			if row.key != "" {
				l.keys[0].extra = map[string]any{"issuer": issuer(row.key)}
			}
			config := l.config()
			config.Kind, config.Tenant = oauth.Microsoft, row.tenant
			provider, _ := l.provider(config)
			flow, address := begin(t, provider)
			answer := l.grant(address)
			answer.Iss = ""
			result, err := provider.Complete(t.Context(), flow, answer)
			if row.code != "" {
				refuse(t, err, oauth.IDToken, row.code)
			} else if want := (oauth.Identity{Issuer: issuer(row.iss), Subject: "ada"}); err != nil || result.Identity != want {
				t.Errorf("got %v, %v, want %v", result.Identity, err, want)
			}
			if row.code == "" { // and by RFC 9207
				flow, address := begin(t, provider)
				answer := l.grant(address)
				answer.Iss = issuer(row.iss)
				if _, err := provider.Complete(t.Context(), flow, answer); err != nil {
					t.Errorf("with iss: %v", err)
				}
			}
		})
	}
}

func TestMicrosoftMetadataOfAnotherTenantAreRefused(t *testing.T) {
	for tenant, announced := range map[string]string{
		tenantOne: tenantTwo, "consumers": tenantOne, "organizations": consumers, "contoso.example.test": "{tenantid}",
	} {
		l := newLiar(t)
		l.metadata = map[string]any{"issuer": l.URL + "/" + announced + "/v2.0"}
		config := l.config()
		config.Kind, config.Tenant = oauth.Microsoft, tenant
		provider, _ := l.provider(config)
		_, _, err := provider.Begin(t.Context(), "")
		refuse(t, err, oauth.Discovery, oauth.IssuerMismatch)
	}
}

// TestMicrosoftAddressCountsOnlyWithXmsEdov is the attack named nOAuth: any tenant's administrator can
// write any address, and email_verified is no claim of Microsoft's.
func TestMicrosoftAddressCountsOnlyWithXmsEdov(t *testing.T) {
	for _, row := range []struct {
		edov, verified any
		want           bool
	}{
		{nil, nil, false},
		{nil, true, false},
		{false, true, false},
		{"0", true, false},
		{true, nil, true},
		{"true", nil, true},
		{"1", nil, true},
		{1, nil, true},
		{2, nil, false},
	} {
		l := newLiar(t)
		l.metadata = map[string]any{"issuer": l.URL + "/" + tenantOne + "/v2.0"}
		l.claims = map[string]any{"iss": l.URL + "/" + tenantOne + "/v2.0", "tid": tenantOne, "xms_edov": row.edov, "email_verified": row.verified}
		config := l.config()
		config.Kind, config.Tenant = oauth.Microsoft, tenantOne
		provider, _ := l.provider(config)
		flow, address := begin(t, provider)
		answer := l.grant(address)
		answer.Iss = l.URL + "/" + tenantOne + "/v2.0"
		result, err := provider.Complete(t.Context(), flow, answer)
		if err != nil || result.Profile.EmailVerified != row.want || result.Profile.Email == "" {
			t.Errorf("xms_edov %v, email_verified %v: got %v, %v, want %v", row.edov, row.verified, result.Profile.EmailVerified, err, row.want)
		}
	}
}

func TestGoogleCarriesTheHostedDomain(t *testing.T) {
	l := newLiar(t)
	l.claims = map[string]any{"hd": "example.test", "azp": clientID}
	config := l.config()
	config.Kind = oauth.Google
	provider, _ := l.provider(config)
	flow, address := begin(t, provider)
	if u, _ := url.Parse(address); u.Query().Get("access_type") != "offline" {
		t.Errorf("got %s", address)
	}
	result, err := provider.Complete(t.Context(), flow, l.grant(address))
	if err != nil || result.Profile.HostedDomain != "example.test" {
		t.Errorf("got %+v, %v", result.Profile, err)
	}
	l.bend(func() { l.claims = map[string]any{"iss": "accounts.google.com"} }) // Google's, not this one's
	_, err = l.signIn(provider)
	refuse(t, err, oauth.IDToken, oauth.IssuerMismatch)
}
