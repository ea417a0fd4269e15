package conformance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/test/services"
)

// The names by which the browser of oauth.mjs finds the server and the app, whatever their ports: so
// that the provider, the server and the app can know each other before they listen.
const (
	publicURL = "http://localhost:8080"
	appOrigin = "http://localhost:3000"
)

const providerFolder = "../peers/oidc-provider"

func TestABrowserSignsInThroughAProviderFromAPageOfAnotherOrigin(t *testing.T) {
	ctx := bounded(t)
	need(t, "node", "npm")
	install(ctx, t, providerFolder)
	issuer := services.StartOIDCProvider(t, providerFolder,
		"REDIRECT_URI="+publicURL+"/oauth/callback/peer,"+appOrigin+"/from-provider").Issuer
	i := prepare(ctx, t)
	address := i.start(ctx, t, "--oauth-file", i.providers(t, issuer), "--public-url", publicURL, "--allowed-origins", appOrigin)
	browse(ctx, t, "oauth.mjs", "SERVER="+strings.TrimPrefix(address, "http://"))
}

// providers writes the settings of one provider.
func (i installation) providers(t *testing.T, issuer string) (file string) {
	t.Helper()
	secret := i.write(t, "client-secret", []byte("a-secret-of-the-tests\n"))
	content, err := json.Marshal([]map[string]any{{
		"name": "peer", "title": "The Peer", "issuer": issuer, "clientId": "confidential", "clientSecretFile": secret,
		"redirectUrls": []string{appOrigin + "/from-provider"}, "redirectTo": []string{appOrigin + "/signed-in"},
		"scopes": []string{"openid", "profile", "email"}, "parameters": map[string]string{"prompt": "consent"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return i.write(t, "providers.json", content)
}

func (i installation) write(t *testing.T, name string, content []byte) (file string) {
	t.Helper()
	file = filepath.Join(i.folder, name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
