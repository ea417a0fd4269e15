package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/login/oauth"
)

func providersFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "providers.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProvidersComeFromTheFileAndFromTheEnvironment(t *testing.T) {
	t.Setenv("APP", "https://staging.example.com")
	t.Setenv("PEER_SECRET", "hush-hush")
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.WriteFile(kept, []byte("opensesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := providersFile(t, `[
		{"name": "peer", "issuer": "https://id.example.com", "clientId": "we", "clientSecret": "${PEER_SECRET}", "redirectTo": ["${APP}/in"]},
		{"name": "work", "kind": "microsoft", "tenant": "organizations", "clientId": "we", "clientSecretFile": "`+kept+`", "redirectUrls": ["${APP}/from-provider"]}
	]`)
	s, err := parse(t, []string{
		"GATEHOUSE_OAUTH_FILE=" + file, "GATEHOUSE_OAUTH_GOOGLE_CLIENT_ID=g", "GATEHOUSE_OAUTH_GOOGLE_CLIENT_SECRET=alohomora",
		"GATEHOUSE_OAUTH_OIDC_CLIENT_ID=o", "GATEHOUSE_OAUTH_OIDC_CLIENT_SECRET=xyzzy", "GATEHOUSE_OAUTH_OIDC_ISSUER=https://oidc.example.com",
		"GATEHOUSE_OAUTH_APPLE_CLIENT_ID=a", "GATEHOUSE_OAUTH_APPLE_TEAM_ID=TEAM123456", "GATEHOUSE_OAUTH_APPLE_KEY_ID=KEY1234567",
		"GATEHOUSE_OAUTH_APPLE_PRIVATE_KEY=" + applePEM(t),
	}, "--public-url=https://api.example.com", "--oauth-redirect-to=https://app.example.com/in")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range s.providers {
		names = append(names, p.Name)
	}
	if want := []string{"peer", "work", "google", "apple", "oidc"}; !slices.Equal(names, want) {
		t.Fatalf("providers %v, want %v", names, want)
	}
	peer, err := s.source(s.providers[0], oauth.Options{})
	if err != nil || peer.Callback != "https://api.example.com/oauth/callback/peer" || len(peer.Pages) != 0 ||
		!slices.Equal(peer.RedirectTo, []string{"https://staging.example.com/in", "https://app.example.com/in"}) {
		t.Errorf("got %+v, %v", peer, err)
	}
	work, err := s.source(s.providers[1], oauth.Options{})
	if err != nil || !slices.Equal(work.Pages, []string{"https://staging.example.com/from-provider"}) || s.providers[1].ClientSecret != "opensesame" {
		t.Errorf("got %+v, %v", work, err)
	}
	shown := strings.Join(s.masked(), "\n")
	for _, hidden := range []string{"hush-hush", "opensesame", "alohomora", "xyzzy", "PRIVATE KEY"} {
		if strings.Contains(shown, hidden) {
			t.Errorf("config check shows %q", hidden)
		}
	}
	for _, told := range []string{"oauth peer", "https://id.example.com", "oauth google", "kind apple", "https://api.example.com/oauth/callback/work"} {
		if !strings.Contains(shown, told) {
			t.Errorf("config check does not show %q:\n%s", told, shown)
		}
	}
}

func applePEM(t *testing.T) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}

func TestWithoutAPageASignInLeadsToTheFrontPage(t *testing.T) {
	s, err := parse(t, []string{"GATEHOUSE_OAUTH_GITHUB_CLIENT_ID=g", "GATEHOUSE_OAUTH_GITHUB_CLIENT_SECRET=alohomora"})
	if err != nil {
		t.Fatal(err)
	}
	source, err := s.source(s.providers[0], oauth.Options{})
	if err != nil || !slices.Equal(source.RedirectTo, []string{"http://127.0.0.1:8080/"}) {
		t.Errorf("got %+v, %v", source, err)
	}
}

func TestAProviderThatIsWrongRefusesToStartAndSaysWhatToWrite(t *testing.T) {
	const good = `"name": "peer", "issuer": "https://id.example.com", "clientId": "we"`
	for _, c := range []struct {
		name    string
		file    string
		environ []string
		args    []string
		say     []string
	}{
		{"no list", `{}`, nil, nil, []string{"JSON list"}},
		{"a misspelt member", `[{` + good + `, "clientSecert": "x"}]`, nil, nil, []string{"clientSecert"}},
		{"no secret", `[{` + good + `}]`, nil, nil, []string{"peer", "clientSecret"}},
		{"a variable that is not set", `[{` + good + `, "clientSecret": "${NOWHERE_SET}"}]`, nil, nil, []string{"NOWHERE_SET"}},
		{"a file that is missing", `[{` + good + `, "clientSecretFile": "/nowhere"}]`, nil, nil, []string{"clientSecretFile", "/nowhere"}},
		{"a secret and its file", `[{` + good + `, "clientSecret": "x", "clientSecretFile": "/nowhere"}]`, nil, nil, []string{"set one"}},
		{"two of one name", `[{` + good + `, "clientSecret": "x"}, {` + good + `, "clientSecret": "x"}]`, nil, nil, []string{"peer", "its own"}},
		{"an insecure issuer", `[{"name": "peer", "issuer": "http://id.example.com", "clientId": "we", "clientSecret": "x"}]`, nil, nil, []string{"https://"}},
		{"a page that is no address", `[{` + good + `, "clientSecret": "x", "redirectTo": ["/in"]}]`, nil, nil, []string{"redirectTo", "/in"}},
		{"a page with a wildcard", `[]`, nil, []string{"--oauth-redirect-to=https://*.example.com/"}, []string{"oauth-redirect-to", "wildcard"}},
		{"half a provider", `[]`, []string{"GATEHOUSE_OAUTH_GOOGLE_CLIENT_ID=g"}, nil, []string{"google", "clientSecret"}},
		{"an issuer that is missing", `[]`, []string{"GATEHOUSE_OAUTH_OIDC_CLIENT_ID=g", "GATEHOUSE_OAUTH_OIDC_CLIENT_SECRET=x"}, nil, []string{"oidc", "issuer"}},
		{"a misspelt setting", `[]`, []string{"GATEHOUSE_OAUTH_GOOGEL_CLIENT_ID=g"}, nil, []string{"GATEHOUSE_OAUTH_GOOGEL_CLIENT_ID is no setting"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse(t, c.environ, append(c.args, "--oauth-file="+providersFile(t, c.file))...)
			if err == nil {
				t.Fatal("it starts")
			}
			for _, word := range c.say {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the refusal does not say %q:\n%v", word, err)
				}
			}
		})
	}
}

func TestNothingOfAProviderStandsTwiceInAnAnswer(t *testing.T) {
	for query, good := range map[string]bool{"state=a&code=b": true, "state=a&state=b": false, "state=a&code=b&code=b": false, "": true, "a=%zz": false} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/oauth/callback/peer?"+query, nil)
		if _, err := callbackParameters(nil, r); (err == nil) != good {
			t.Errorf("%q: %v", query, err)
		}
	}
}
