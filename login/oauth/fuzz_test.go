package oauth

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

var fuzzNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// canned answers every request with the page of its path.
type canned map[string][]byte

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	page, known := c[r.URL.Path]
	status := http.StatusOK
	if !known {
		status = http.StatusNotFound
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(page)), Request: r,
	}, nil
}

// fixedKey is the same in every process of a fuzzing run.
func fixedKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) }

func fuzzKeys() []byte {
	x := base64.RawURLEncoding.EncodeToString(fixedKey().Public().(ed25519.PublicKey))
	return []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"` + x + `"}]}`)
}

const fuzzMetadata = `{"issuer":"https://id.test","authorization_endpoint":"https://id.test/authorize","token_endpoint":"https://id.test/token",
	"jwks_uri":"https://id.test/keys","userinfo_endpoint":"https://id.test/userinfo","id_token_signing_alg_values_supported":["EdDSA"]}`

// fuzzProvider speaks to pages in place of the network.
func fuzzProvider(t testing.TB, kind Kind, pages canned) *Provider {
	t.Helper()
	config := Config{
		Name: "test", Kind: kind, Issuer: "https://id.test", ClientID: "us", ClientSecret: "a secret of ours", RedirectURLs: []string{"https://app.test/"},
	}
	p, err := New(config, Options{Now: func() time.Time { return fuzzNow }})
	if err != nil {
		t.Fatal(err)
	}
	p.client.Transport = pages
	return p
}

func fuzzFlow() (Flow, Answer) {
	flow := Flow{
		Provider: "test", Issuer: "https://id.test", StateHash: HashState("state"), Nonce: "nonce", Verifier: "verifier",
		RedirectURL: "https://app.test/", CreatedAt: fuzzNow,
	}
	return flow, Answer{Code: "code", State: "state"}
}

func fuzzIDToken(t testing.TB, change func(jwt.MapClaims)) string {
	t.Helper()
	claims := jwt.MapClaims{
		"iss": "https://id.test", "aud": "us", "sub": "ada", "nonce": "nonce", "iat": fuzzNow.Unix(), "exp": fuzzNow.Add(time.Hour).Unix(),
		"email": "ada@example.test", "email_verified": true, "name": "Ada",
	}
	if change != nil {
		change(claims)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["kid"] = "k1"
	signed, err := token.SignedString(fixedKey())
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// holds wants a result that keeps its bounds, or a typed error.
func holds(t *testing.T, result Result, err error) {
	t.Helper()
	if err != nil {
		if CodeOf(err) == "" || result.Identity != (Identity{}) || result.Tokens.Access != "" {
			t.Fatalf("got %v and an error without code: %v", result, err)
		}
		if text := err.Error(); len(text) > 600 || strings.ContainsAny(text, "\n\r\x00") {
			t.Fatalf("the error is no line: %q", text)
		}
		return
	}
	if s := result.Identity.Subject; s == "" || len(s) > maxSubject {
		t.Fatalf("subject has %d bytes", len(s))
	}
	p := result.Profile
	for name, text := range map[string]string{
		"email": p.Email, "name": p.Name, "given": p.GivenName, "family": p.FamilyName, "username": p.Username,
		"picture": p.Picture, "locale": p.Locale, "hd": p.HostedDomain,
	} {
		if len(text) > maxPicture || !utf8.ValidString(text) || strings.ContainsAny(text, "\n\r\x00") {
			t.Fatalf("%s is %q", name, text)
		}
	}
	if len(p.Raw) > maxRaw || p.Raw != nil && !json.Valid(p.Raw) || p.EmailVerified && p.Email == "" {
		t.Fatalf("got %+v", p)
	}
}

// FuzzIDToken looks for an ID token that passes though the key did not sign it, and for panics.
func FuzzIDToken(f *testing.F) {
	good := fuzzIDToken(f, nil)
	parts := strings.Split(good, ".")
	for _, seed := range []string{
		good, "", "..", parts[0] + "." + parts[1] + ".", "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIn0." + parts[1] + "." + parts[2], "eyJhbGciOiJFZERTQSJ9." + parts[1] + "." + parts[2],
		parts[0] + ".bnVsbA." + parts[2], fuzzIDToken(f, func(c jwt.MapClaims) { c["aud"] = []any{1} }),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, idToken string) {
		answer, _ := json.Marshal(map[string]any{"access_token": "access", "token_type": "Bearer", "id_token": idToken})
		p := fuzzProvider(t, OIDC, canned{"/.well-known/openid-configuration": []byte(fuzzMetadata), "/keys": fuzzKeys(), "/token": answer})
		flow, callback := fuzzFlow()
		result, err := p.Complete(context.Background(), flow, callback)
		holds(t, result, err)
		if err == nil && strings.NewReplacer("\r", "", "\n", "").Replace(idToken) != good { // base64 skips line breaks
			t.Fatalf("accepted %q", idToken)
		}
	})
}

// FuzzAnswers gives each endpoint an answer of its own making.
func FuzzAnswers(f *testing.F) {
	token, _ := json.Marshal(map[string]any{"access_token": "access", "token_type": "Bearer", "id_token": fuzzIDToken(f, func(c jwt.MapClaims) { delete(c, "email") })})
	f.Add([]byte(fuzzMetadata), token, fuzzKeys(), []byte(`{"sub":"ada","email":"ada@example.test","email_verified":"true"}`), "", "")
	f.Add([]byte(`{"issuer":null}`), []byte(`{"error":"invalid_grant"}`), []byte(`{"keys":[null,{"kty":"RSA","n":"AQAB","e":""}]}`), []byte(`null`), "access_denied", "no\r\n")
	f.Add([]byte(fuzzMetadata), []byte(`{"access_token":1,"expires_in":1e99}`), []byte(`[]`), []byte(`{"sub":{}}`), "", "")
	f.Fuzz(func(t *testing.T, metadata, token, keys, userInfo []byte, refusal, description string) {
		p := fuzzProvider(t, OIDC, canned{"/.well-known/openid-configuration": metadata, "/keys": keys, "/token": token, "/userinfo": userInfo})
		flow, callback := fuzzFlow()
		callback.Error, callback.ErrorDescription = refusal, description
		result, err := p.Complete(context.Background(), flow, callback)
		holds(t, result, err)
	})
}

// FuzzClaims signs whatever it is given, as a provider with careless users may.
func FuzzClaims(f *testing.F) {
	f.Add(`{"sub":"ada","email":"ada@example.test","email_verified":true,"picture":"https://id.test/a.png","given_name":"A\u0000"}`)
	f.Add(`{"sub":"` + strings.Repeat("s", 256) + `"}`)
	f.Add(`{"aud":["us","them"],"azp":"us","exp":1e400,"iat":-1e30,"nbf":[],"name":{"a":[[[[]]]]}}`)
	f.Fuzz(func(t *testing.T, object string) {
		var more map[string]any
		if json.Unmarshal([]byte(object), &more) != nil {
			return
		}
		idToken := fuzzIDToken(t, func(c jwt.MapClaims) {
			for name, value := range more {
				c[name] = value
			}
		})
		answer, _ := json.Marshal(map[string]any{"access_token": "access", "id_token": idToken})
		p := fuzzProvider(t, Google, canned{"/.well-known/openid-configuration": []byte(fuzzMetadata), "/keys": fuzzKeys(), "/token": answer})
		flow, callback := fuzzFlow()
		result, err := p.Complete(context.Background(), flow, callback)
		holds(t, result, err)
	})
}

// FuzzGitHub gives GitHub's two answers.
func FuzzGitHub(f *testing.F) {
	f.Add([]byte(`{"id":1,"login":"ada","name":null}`), []byte(`[{"email":"ada@example.test","primary":true,"verified":true}]`))
	f.Add([]byte(`{"id":99999999999999999999}`), []byte(`[null]`))
	f.Fuzz(func(t *testing.T, user, emails []byte) {
		p := fuzzProvider(t, GitHub, canned{
			"/login/oauth/access_token": []byte(`{"access_token":"access","token_type":"bearer"}`), "/api/v3/user": user, "/api/v3/user/emails": emails,
		})
		flow, callback := fuzzFlow()
		result, err := p.Complete(context.Background(), flow, callback)
		holds(t, result, err)
	})
}

// FuzzParse looks for a file on which Parse or New panics.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`[{"name":"a","kind":"apple","issuer":"https://x","clientId":"c","redirectUrls":["https://y"],"privateKey":"-----BEGIN PRIVATE KEY-----"}]`))
	f.Add([]byte(`[{"name":"m","kind":"microsoft","tenant":"common","clientId":"c","clientSecret":"s","redirectUrls":["http://[::1]:8080/x"]}]`))
	f.Fuzz(func(t *testing.T, file []byte) {
		configs, err := Parse(file)
		if err != nil {
			return
		}
		for _, config := range configs {
			if provider, err := New(config, Options{}); err == nil {
				_ = provider.Title()
			}
		}
	})
}

func BenchmarkComplete(b *testing.B) {
	answer := fmt.Appendf(nil, `{"access_token":"access","token_type":"Bearer","id_token":%q}`, fuzzIDToken(b, nil))
	p := fuzzProvider(b, OIDC, canned{"/.well-known/openid-configuration": []byte(fuzzMetadata), "/keys": fuzzKeys(), "/token": answer})
	flow, callback := fuzzFlow()
	for b.Loop() {
		if _, err := p.Complete(b.Context(), flow, callback); err != nil {
			b.Fatal(err)
		}
	}
}
