package oauth_test

import (
	"strings"
	"testing"

	"gatehouse/login/oauth"
)

func goodConfig() oauth.Config {
	return oauth.Config{
		Name: "corp", Issuer: "https://id.example.test", ClientID: clientID, ClientSecret: clientSecret, RedirectURLs: []string{redirectURL},
	}
}

func TestNewSaysWhatToWriteInstead(t *testing.T) {
	for _, row := range []struct {
		name string
		bend func(c *oauth.Config)
		says string
	}{
		{"no name", func(c *oauth.Config) { c.Name = "" }, "small letter"},
		{"a name for a path", func(c *oauth.Config) { c.Name = "../x" }, "small letter"},
		{"a kind", func(c *oauth.Config) { c.Kind = "saml" }, "write oidc, google"},
		{"no issuer", func(c *oauth.Config) { c.Issuer = "" }, "the provider's metadata calls its issuer"},
		{"the metadata's address", func(c *oauth.Config) { c.Issuer += "/.well-known/openid-configuration" }, `write "https://id.example.test"`},
		{"plain http", func(c *oauth.Config) { c.Issuer = "http://id.example.test" }, "write https://"},
		{"an address that looks like loopback", func(c *oauth.Config) { c.Issuer = "http://127.0.0.1.example.test" }, "write https://"},
		{"a query", func(c *oauth.Config) { c.Issuer += "?x=1" }, "without ? and #"},
		{"a password", func(c *oauth.Config) { c.Issuer = "https://a:b@id.example.test" }, "without user and password"},
		{"no scheme", func(c *oauth.Config) { c.Issuer = "id.example.test" }, "write a whole address"},
		{"no client", func(c *oauth.Config) { c.ClientID = "" }, "write the client ID"},
		{"no secret", func(c *oauth.Config) { c.ClientSecret = "" }, `tokenAuthMethod "none"`},
		{"a secret of a public client", func(c *oauth.Config) { c.TokenAuthMethod = oauth.None }, `tokenAuthMethod "none" and no secret`},
		{"a method", func(c *oauth.Config) { c.TokenAuthMethod = "private_key_jwt" }, "write basic, post or none"},
		{"no redirect URL", func(c *oauth.Config) { c.RedirectURLs = nil }, "write 1 to 16 addresses"},
		{"a plain redirect URL", func(c *oauth.Config) { c.RedirectURLs = []string{"http://app.example.test/"} }, "write https://"},
		{"a redirect URL with a fragment", func(c *oauth.Config) { c.RedirectURLs = []string{"https://app.example.test/#x"} }, "without #"},
		{"scopes in one", func(c *oauth.Config) { c.Scopes = []string{"openid email"} }, "without spaces"},
		{"no openid", func(c *oauth.Config) { c.Scopes = []string{"email"} }, `add "openid"`},
		{"a parameter of ours", func(c *oauth.Config) { c.Parameters = map[string]string{"state": "x"} }, "leave state out"},
		{"an answer in the fragment", func(c *oauth.Config) { c.Parameters = map[string]string{"response_mode": "fragment"} }, "write query or form_post"},
		{"a plain endpoint", func(c *oauth.Config) { c.TokenURL = "http://id.example.test/token" }, `tokenUrl "http://id.example.test/token": write https://`},
		{"Apple without a key", func(c *oauth.Config) { c.Kind, c.ClientSecret, c.TeamID, c.KeyID = oauth.Apple, "", "T", "K" }, "the .p8 file"},
		{"Apple with a secret", func(c *oauth.Config) { c.Kind = oauth.Apple }, "made from privateKey"},
		{"Apple without a team", func(c *oauth.Config) { c.Kind = oauth.Apple }, "teamId or keyId is empty"},
		{"a tenant", func(c *oauth.Config) { c.Kind, c.Tenant = oauth.Microsoft, "../x" }, "write common, organizations"},
		{"a slash after the server", func(c *oauth.Config) { c.Kind, c.Issuer = oauth.GitHub, "https://ghe.example.test/" }, "without the slash"},
	} {
		t.Run(row.name, func(t *testing.T) {
			config := goodConfig()
			row.bend(&config)
			_, err := oauth.New(config, oauth.Options{})
			if err == nil || !strings.Contains(err.Error(), row.says) {
				t.Fatalf("got %v, want %q", err, row.says)
			}
			if strings.Contains(err.Error(), clientSecret) {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func TestNewNamesEveryMistakeAtOnce(t *testing.T) {
	_, err := oauth.New(oauth.Config{}, oauth.Options{})
	for _, part := range []string{"name", "clientId", "issuer", "clientSecret", "redirectUrls"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not tell of %s", err, part)
		}
	}
}

func TestPresetsNeedAClientAndNoMore(t *testing.T) {
	for kind, title := range map[oauth.Kind]string{oauth.Google: "Google", oauth.Microsoft: "Microsoft", oauth.GitHub: "GitHub"} {
		provider, err := oauth.New(oauth.Config{
			Name: string(kind), Kind: kind, ClientID: clientID, ClientSecret: clientSecret, RedirectURLs: []string{redirectURL},
		}, oauth.Options{})
		if err != nil || provider.Title() != title || provider.Name() != string(kind) || provider.Kind() != kind || provider.FormPost() {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if provider, err := oauth.New(goodConfig(), oauth.Options{}); err != nil || provider.Title() != "corp" {
		t.Error(err)
	}
}

func TestNewDoesNotChangeItsConfig(t *testing.T) {
	config := goodConfig()
	config.Kind, config.Issuer = oauth.Google, ""
	config.Parameters = map[string]string{"prompt": "consent"}
	if _, err := oauth.New(config, oauth.Options{}); err != nil || len(config.Parameters) != 1 || config.Issuer != "" {
		t.Errorf("got %+v, %v", config.Parameters, err)
	}
}

func TestEndpointsOfTheConfigurationNeedNoDiscovery(t *testing.T) {
	l := newLiar(t)
	config := l.config()
	config.AuthorizationURL, config.TokenURL, config.KeysURL = l.URL+"/authorize", l.URL+"/token", l.URL+"/keys"
	provider, _ := l.provider(config)
	result, err := l.signIn(provider)
	if err != nil || result.Identity.Subject != "ada" || l.count("/metadata") != 0 {
		t.Errorf("got %v, %v after %d discoveries", result.Identity, err, l.count("/metadata"))
	}
}

func TestParseReadsTheFile(t *testing.T) {
	configs, err := oauth.Parse([]byte(`[
		{"name": "google", "kind": "google", "clientId": "a", "clientSecret": "b"},
		{"name": "corp", "issuer": "https://id.example.test", "clientId": "c", "tokenAuthMethod": "none", "scopes": ["openid"], "parameters": {"prompt": "login"}}
	]`))
	if err != nil || len(configs) != 2 || configs[0].Kind != oauth.Google || configs[1].Parameters["prompt"] != "login" || configs[1].TokenAuthMethod != oauth.None {
		t.Errorf("got %+v, %v", configs, err)
	}
	for name, file := range map[string]string{
		"two have the name": `[{"name":"a"},{"name":"a"}]`,
		"unknown field":     `[{"name":"a","client_id":"x"}]`,
		"want a JSON list":  `{"name":"a"}`,
		"text follows":      `[] []`,
		"at most 32":        "[" + strings.Repeat(`{"name":"a"},`, 40) + `{"name":"b"}]`,
		"1 MiB":             strings.Repeat(" ", 2<<20),
	} {
		if _, err := oauth.Parse([]byte(file)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
}
