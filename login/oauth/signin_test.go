package oauth_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"gatehouse/login/oauth"
)

func TestSignInTellsWhoCame(t *testing.T) {
	l := newLiar(t)
	provider, log := l.provider(l.config())
	result, err := l.signIn(provider)
	if err != nil {
		t.Fatal(err)
	}
	raw := result.Profile.Raw
	result.Profile.Raw = nil
	want := oauth.Result{
		Identity: oauth.Identity{Issuer: l.URL, Subject: "ada"},
		Profile:  oauth.Profile{Email: "ada@example.test", EmailVerified: true, Name: "Ada Lovelace"},
		Tokens: oauth.Tokens{
			Access: accessToken, Refresh: refreshToken, Type: "Bearer",
			ExpiresAt: l.clock.Now().Add(time.Hour), Scopes: []string{"openid", "email"},
		},
	}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Error(diff)
	}
	if !json.Valid(raw) || !bytes.Contains(raw, []byte("Lovelace")) || bytes.Contains(raw, []byte("nonce")) {
		t.Errorf("raw claims are %s", raw)
	}
	for _, step := range []string{"began", "answer accepted", "code exchanged", "id token verified", "completed"} {
		if !strings.Contains(log.String(), "oauth: "+step) {
			t.Errorf("no line %q in the log:\n%s", step, log)
		}
	}
	if n := l.count("/userinfo"); n != 0 {
		t.Errorf("userinfo was asked %d times though the ID token told everything", n)
	}
}

func TestBeginSendsEverythingThatBindsTheAnswer(t *testing.T) {
	l := newLiar(t)
	config := l.config()
	config.Parameters = map[string]string{"prompt": "select_account"}
	provider, _ := l.provider(config)
	flow, address := begin(t, provider)
	request, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := request.Query()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": clientID, "redirect_uri": redirectURL, "scope": "openid profile email",
		"nonce": flow.Nonce, "code_challenge_method": "S256", "prompt": "select_account",
	} {
		if q.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, q.Get(name), want)
		}
	}
	if oauth.HashState(q.Get("state")) != flow.StateHash || strings.Contains(address, flow.Verifier) {
		t.Errorf("state or verifier of %s are not those of the flow", address)
	}
	other, _ := begin(t, provider)
	if other.Nonce == flow.Nonce || other.Verifier == flow.Verifier || other.StateHash == flow.StateHash {
		t.Error("two flows share a secret")
	}
	for _, secret := range []string{q.Get("state"), flow.Nonce, flow.Verifier} {
		if len(secret) != 43 {
			t.Errorf("a secret has %d characters, want 43 for 256 bit", len(secret))
		}
	}
}

func TestFlowSurvivesTheStore(t *testing.T) {
	l := newLiar(t)
	provider, _ := l.provider(l.config())
	flow, address := begin(t, provider)
	stored, err := json.Marshal(flow)
	if err != nil {
		t.Fatal(err)
	}
	var back oauth.Flow
	if err := json.Unmarshal(stored, &back); err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Complete(t.Context(), back, l.grant(address)); err != nil {
		t.Error(err)
	}
}

func TestRedirectURLComesFromTheList(t *testing.T) {
	l := newLiar(t)
	config := l.config()
	page := "http://localhost:5173/signed-in"
	config.RedirectURLs = append(config.RedirectURLs, page)
	provider, _ := l.provider(config)
	flow, address, err := provider.Begin(t.Context(), page)
	if err != nil || flow.RedirectURL != page {
		t.Fatalf("got %v, %v", flow, err)
	}
	if _, err := provider.Complete(t.Context(), flow, l.grant(address)); err != nil {
		t.Error(err)
	}
	for _, other := range []string{"https://evil.test/", page + "/", strings.ToUpper(page), page + "?x=1"} {
		_, _, err := provider.Begin(t.Context(), other)
		refuse(t, err, oauth.Authorize, oauth.RedirectUnknown)
	}
}

func TestClientProvesItselfAsTheProviderWants(t *testing.T) {
	for _, row := range []struct {
		name    string
		offered []string
		method  oauth.AuthMethod
		secret  string
		basic   bool
	}{
		{"basic is the default", nil, "", clientSecret, true},
		{"basic when both are offered", []string{"client_secret_post", "client_secret_basic"}, "", clientSecret, true},
		{"post when only that is offered", []string{"client_secret_post"}, "", clientSecret, false},
		{"post by configuration", []string{"client_secret_basic"}, oauth.Post, clientSecret, false},
		{"a public client has no secret", nil, oauth.None, "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLiar(t)
			l.metadata = map[string]any{"token_endpoint_auth_methods_supported": nil}
			if row.offered != nil {
				l.metadata["token_endpoint_auth_methods_supported"] = row.offered
			}
			config := l.config()
			config.TokenAuthMethod, config.ClientSecret = row.method, row.secret
			provider, _ := l.provider(config)
			if _, err := l.signIn(provider); err != nil {
				t.Fatal(err)
			}
			sent := l.redeemed[0]
			basic, posted := []string(nil), []string{clientID, row.secret}
			if row.basic {
				basic, posted = []string{clientID, row.secret}, []string{"", ""}
			}
			if !slices.Equal(sent["basic"], basic) || !slices.Equal([]string{sent.Get("client_id"), sent.Get("client_secret")}, posted) {
				t.Errorf("the token endpoint was sent %v", sent)
			}
			if len(l.redeemed) != 1 {
				t.Errorf("the code was sent %d times", len(l.redeemed))
			}
		})
	}
}

func TestAnswersThatDoNotBelongToTheFlow(t *testing.T) {
	for _, row := range []struct {
		name string
		bend func(l *liar, flow *oauth.Flow, answer *oauth.Answer)
		step oauth.Step
		code oauth.Code
	}{
		{"another state", func(_ *liar, _ *oauth.Flow, a *oauth.Answer) { a.State = strings.Repeat("A", 43) }, oauth.State, oauth.StateMismatch},
		{"no state", func(_ *liar, _ *oauth.Flow, a *oauth.Answer) { a.State = "" }, oauth.State, oauth.StateMismatch},
		{"the state's hash", func(_ *liar, f *oauth.Flow, a *oauth.Answer) { a.State = f.StateHash }, oauth.State, oauth.StateMismatch},
		{"a huge state", func(_ *liar, _ *oauth.Flow, a *oauth.Answer) { a.State = strings.Repeat("A", 1<<20) }, oauth.State, oauth.StateMismatch},
		{"a flow of another provider", func(_ *liar, f *oauth.Flow, _ *oauth.Answer) { f.Provider = "other" }, oauth.State, oauth.StateMismatch},
		{"a flow from before the issuer changed", func(_ *liar, f *oauth.Flow, _ *oauth.Answer) { f.Issuer = "https://old.test" }, oauth.State, oauth.StateMismatch},
		{"an empty flow", func(_ *liar, f *oauth.Flow, a *oauth.Answer) { *f, *a = oauth.Flow{}, oauth.Answer{} }, oauth.State, oauth.StateMismatch},
		{"too late", func(l *liar, _ *oauth.Flow, _ *oauth.Answer) { l.clock.advance(oauth.FlowLifetime + time.Second) }, oauth.State, oauth.FlowExpired},
		{"a mix-up: another provider's iss", func(_ *liar, _ *oauth.Flow, a *oauth.Answer) { a.Iss = "https://evil.test" }, oauth.State, oauth.IssuerMismatch},
		{"iss with a slash more", func(_ *liar, _ *oauth.Flow, a *oauth.Answer) { a.Iss += "/" }, oauth.State, oauth.IssuerMismatch},
		{"no iss though promised", func(_ *liar, _ *oauth.Flow, a *oauth.Answer) { a.Iss = "" }, oauth.State, oauth.IssuerMismatch},
		{"neither code nor error", func(_ *liar, _ *oauth.Flow, a *oauth.Answer) { a.Code = "" }, oauth.Authorize, oauth.AnswerMalformed},
		{"a huge code", func(_ *liar, _ *oauth.Flow, a *oauth.Answer) { a.Code = strings.Repeat("c", 5000) }, oauth.Authorize, oauth.AnswerTooLarge},
		{"refused at consent", says("access_denied"), oauth.Authorize, oauth.Denied},
		{"cancelled at Apple", says("user_cancelled_authorize"), oauth.Authorize, oauth.Denied},
		{"a client that may not", says("unauthorized_client"), oauth.Authorize, oauth.ConfigWrong},
		{"a scope that is none", says("invalid_scope"), oauth.Authorize, oauth.ConfigWrong},
		{"a provider in trouble", says("temporarily_unavailable"), oauth.Authorize, oauth.ProviderUnavailable},
		{"an error nobody knows", says("teapot"), oauth.Authorize, oauth.ProviderError},
		{"a huge error", says(strings.Repeat("x\x00é\n", 9000)), oauth.Authorize, oauth.ProviderError},
		{"another code", func(_ *liar, _ *oauth.Flow, a *oauth.Answer) { a.Code = "code-of-somebody" }, oauth.Exchange, oauth.CodeInvalid},
		{"another verifier", func(_ *liar, f *oauth.Flow, _ *oauth.Answer) { f.Verifier = strings.Repeat("v", 43) }, oauth.Exchange, oauth.CodeInvalid},
		{"another redirect URL", func(_ *liar, f *oauth.Flow, _ *oauth.Answer) { f.RedirectURL += "x" }, oauth.Exchange, oauth.CodeInvalid},
		{"another nonce", func(_ *liar, f *oauth.Flow, _ *oauth.Answer) { f.Nonce = strings.Repeat("n", 43) }, oauth.IDToken, oauth.NonceMismatch},
		{"no nonce on our side", func(l *liar, f *oauth.Flow, _ *oauth.Answer) { f.Nonce = ""; l.claims = map[string]any{"nonce": ""} }, oauth.IDToken, oauth.NonceMismatch},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLiar(t)
			provider, _ := l.provider(l.config())
			flow, address := begin(t, provider)
			answer := l.grant(address)
			row.bend(l, &flow, &answer)
			result, err := provider.Complete(t.Context(), flow, answer)
			refuse(t, err, row.step, row.code)
			if result.Identity != (oauth.Identity{}) || result.Tokens.Access != "" {
				t.Errorf("a refused flow returned %v", result)
			}
			if row.step == oauth.State && l.count("/token") != 0 {
				t.Error("the code was redeemed")
			}
		})
	}
}

func says(providerCode string) func(*liar, *oauth.Flow, *oauth.Answer) {
	return func(_ *liar, _ *oauth.Flow, a *oauth.Answer) {
		a.Error, a.ErrorDescription, a.Code = providerCode, "because\r\n"+providerCode, ""
	}
}

func TestIssIsOnlyWantedWherePromised(t *testing.T) {
	l := newLiar(t)
	l.metadata = map[string]any{"authorization_response_iss_parameter_supported": nil}
	provider, _ := l.provider(l.config())
	flow, address := begin(t, provider)
	answer := l.grant(address)
	answer.Iss = ""
	if _, err := provider.Complete(t.Context(), flow, answer); err != nil {
		t.Error(err)
	}
	flow, address = begin(t, provider)
	answer = l.grant(address)
	answer.Iss = "https://evil.test"
	_, err := provider.Complete(t.Context(), flow, answer)
	refuse(t, err, oauth.State, oauth.IssuerMismatch)
}

func TestCodeWorksOnce(t *testing.T) {
	l := newLiar(t)
	provider, _ := l.provider(l.config())
	flow, address := begin(t, provider)
	answer := l.grant(address)
	if _, err := provider.Complete(t.Context(), flow, answer); err != nil {
		t.Fatal(err)
	}
	_, err := provider.Complete(t.Context(), flow, answer)
	refuse(t, err, oauth.Exchange, oauth.CodeInvalid)
}

func TestALieInTheIDTokenIsRefused(t *testing.T) {
	hour := func(l *liar, n time.Duration) int64 { return l.clock.Now().Add(n * time.Hour).Unix() }
	claim := func(name string, value any) func(*liar) {
		return func(l *liar) { l.claims = map[string]any{name: value} }
	}
	for _, row := range []struct {
		name string
		bend func(l *liar)
		code oauth.Code
	}{
		{"iss of another", claim("iss", "https://evil.test"), oauth.IssuerMismatch},
		{"iss with a slash more", func(l *liar) { l.claims = map[string]any{"iss": l.URL + "/"} }, oauth.IssuerMismatch},
		{"no iss", claim("iss", nil), oauth.IssuerMismatch},
		{"iss in other letters", func(l *liar) { l.claims = map[string]any{"iss": nil, "ISS": l.URL} }, oauth.IssuerMismatch},
		{"aud of another", claim("aud", "other-client"), oauth.AudienceMismatch},
		{"no aud", claim("aud", nil), oauth.AudienceMismatch},
		{"aud is a number", claim("aud", 7), oauth.AudienceMismatch},
		{"several aud and no azp", claim("aud", []string{clientID, "other"}), oauth.AudienceMismatch},
		{"azp of another", claim("azp", "other-client"), oauth.AudienceMismatch},
		{"azp is a list", claim("azp", []string{clientID}), oauth.AudienceMismatch},
		{"several aud, azp of another", func(l *liar) {
			l.claims = map[string]any{"aud": []string{clientID, "other"}, "azp": "other"}
		}, oauth.AudienceMismatch},
		{"exp past", func(l *liar) { l.claims = map[string]any{"exp": hour(l, -1)} }, oauth.TokenExpired},
		{"exp long past", claim("exp", 1e300), oauth.TokenExpired},
		{"no exp", claim("exp", nil), oauth.AnswerMalformed},
		{"exp is a text", claim("exp", "tomorrow"), oauth.AnswerMalformed},
		{"iat future", func(l *liar) { l.claims = map[string]any{"iat": hour(l, 1)} }, oauth.TokenNotYet},
		{"no iat", claim("iat", nil), oauth.AnswerMalformed},
		{"nbf future", func(l *liar) { l.claims = map[string]any{"nbf": hour(l, 1)} }, oauth.TokenNotYet},
		{"nonce of another flow", claim("nonce", strings.Repeat("n", 43)), oauth.NonceMismatch},
		{"no nonce", claim("nonce", nil), oauth.NonceMismatch},
		{"at_hash wrong", claim("at_hash", leftHalfOf("RS256", "another-token")), oauth.AccessTokenHashMismatch},
		{"at_hash empty", claim("at_hash", ""), oauth.AccessTokenHashMismatch},
		{"at_hash of another algorithm", claim("at_hash", leftHalfOf("RS384", accessToken)), oauth.AccessTokenHashMismatch},
		{"sub empty", claim("sub", ""), oauth.SubjectInvalid},
		{"no sub", claim("sub", nil), oauth.SubjectInvalid},
		{"sub is a number", claim("sub", 7), oauth.SubjectInvalid},
		{"sub too long", claim("sub", strings.Repeat("s", 256)), oauth.SubjectInvalid},
		{"sub with a control character", claim("sub", "ada\x00"), oauth.SubjectInvalid},
		{"alg none", func(l *liar) {
			l.sign = func(c jwt.MapClaims) string {
				token, _ := jwt.NewWithClaims(jwt.SigningMethodNone, c).SignedString(jwt.UnsafeAllowNoneSignatureType)
				return token
			}
		}, oauth.AlgorithmRefused},
		{"alg unknown", func(l *liar) { l.sign = func(jwt.MapClaims) string { return "eyJhbGciOiJYWSJ9.e30.AAAA" } }, oauth.AlgorithmRefused},
		{"HS256 by the client secret", func(l *liar) { l.sign = symmetric([]byte(clientSecret)) }, oauth.AlgorithmRefused},
		{"HS256 by the public key", func(l *liar) {
			der, _ := x509.MarshalPKIXPublicKey(rsaKeys()[0].Public())
			l.sign = symmetric(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		}, oauth.AlgorithmRefused},
		{"an algorithm that was not announced", func(l *liar) {
			l.metadata = map[string]any{"id_token_signing_alg_values_supported": []string{"ES256"}}
		}, oauth.AlgorithmRefused},
		{"nothing announced and not RS256", func(l *liar) {
			l.metadata = map[string]any{"id_token_signing_alg_values_supported": nil}
			l.keys[0].method = jwt.SigningMethodPS256
		}, oauth.AlgorithmRefused},
		{"unknown kid", func(l *liar) {
			l.sign = func(c jwt.MapClaims) string {
				return l.signWith(signingKey{id: "k9", method: jwt.SigningMethodRS256, key: rsaKeys()[0]}, c)
			}
		}, oauth.KeyUnknown},
		{"a key for encryption", func(l *liar) { l.keys[0].extra = map[string]any{"use": "enc"} }, oauth.KeyUnknown},
		{"a key of another algorithm", func(l *liar) { l.keys[0].extra = map[string]any{"alg": "PS256"} }, oauth.KeyUnknown},
		{"wrong key", func(l *liar) {
			l.sign = func(c jwt.MapClaims) string {
				return l.signWith(signingKey{id: "k1", method: jwt.SigningMethodRS256, key: rsaKeys()[1]}, c)
			}
		}, oauth.SignatureInvalid},
		{"claims changed after signing", func(l *liar) {
			l.sign = func(c jwt.MapClaims) string {
				good := strings.Split(l.signWith(l.keys[0], c), ".")
				c["sub"] = "eve"
				return good[0] + "." + strings.Split(l.signWith(l.keys[0], c), ".")[1] + "." + good[2]
			}
		}, oauth.SignatureInvalid},
		{"a critical extension", func(l *liar) {
			l.sign = func(c jwt.MapClaims) string {
				token := jwt.NewWithClaims(jwt.SigningMethodRS256, c)
				token.Header["kid"], token.Header["crit"] = "k1", []string{"b64"}
				signed, _ := token.SignedString(rsaKeys()[0])
				return signed
			}
		}, oauth.AnswerMalformed},
		{"no JWT", func(l *liar) { l.sign = func(jwt.MapClaims) string { return "hello" } }, oauth.AnswerMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLiar(t)
			l.bend(func() { row.bend(l) })
			provider, _ := l.provider(l.config())
			_, err := l.signIn(provider)
			refuse(t, err, oauth.IDToken, row.code)
		})
	}
}

func symmetric(secret []byte) func(jwt.MapClaims) string {
	return func(c jwt.MapClaims) string {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, c)
		token.Header["kid"] = "k1"
		signed, _ := token.SignedString(secret)
		return signed
	}
}

func TestIDTokensThatAreUnusualAndRight(t *testing.T) {
	for _, row := range []struct {
		name   string
		claims func(l *liar) map[string]any
	}{
		{"aud is a list of one", func(*liar) map[string]any { return map[string]any{"aud": []string{clientID}} }},
		{"several aud and our azp", func(*liar) map[string]any {
			return map[string]any{"aud": []string{"other", clientID}, "azp": clientID}
		}},
		{"the provider's clock is half a minute ahead", func(l *liar) map[string]any {
			ahead := l.clock.Now().Add(30 * time.Second).Unix()
			return map[string]any{"iat": ahead, "nbf": ahead}
		}},
		{"expired half a minute ago by our clock", func(l *liar) map[string]any {
			return map[string]any{"exp": l.clock.Now().Add(-30 * time.Second).Unix()}
		}},
		{"a sub of 255 bytes", func(*liar) map[string]any { return map[string]any{"sub": strings.Repeat("s", 255)} }},
		{"times with fractions", func(l *liar) map[string]any {
			return map[string]any{"iat": float64(l.clock.Now().Unix()) + 0.5}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLiar(t)
			l.claims = row.claims(l)
			provider, _ := l.provider(l.config())
			if _, err := l.signIn(provider); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNoSecretReachesErrorOrLog lets the provider echo all it was sent, as some do.
func TestNoSecretReachesErrorOrLog(t *testing.T) {
	for _, step := range []oauth.Step{oauth.Authorize, oauth.Exchange, oauth.IDToken, oauth.Refresh} {
		t.Run(string(step), func(t *testing.T) {
			l := newLiar(t)
			l.pages["/token"] = echo
			config := l.config()
			config.TokenAuthMethod = oauth.Post
			provider, log := l.provider(config)
			flow, address := begin(t, provider)
			answer := l.grant(address)
			var err error
			switch step {
			case oauth.Authorize:
				answer.Error, answer.ErrorDescription = "x-"+answer.Code, "state "+answer.State+" and nonce "+flow.Nonce
				_, err = provider.Complete(t.Context(), flow, answer)
			case oauth.IDToken:
				l.bend(func() {
					delete(l.pages, "/token")
					l.claims = map[string]any{"iss": accessToken + " " + refreshToken + " " + flow.Nonce}
				})
				_, err = provider.Complete(t.Context(), flow, answer)
			case oauth.Refresh:
				_, err = provider.Refresh(t.Context(), refreshToken)
			default:
				_, err = provider.Complete(t.Context(), flow, answer)
			}
			if e, ok := errorOf(err); !ok || e.Step != step || !strings.Contains(err.Error(), "[secret]") {
				t.Fatalf("the echo did not come through: %v", err)
			}
			all := fmt.Sprintf("%v %+v %s", err, err, log)
			for name, secret := range map[string]string{
				"client secret": clientSecret, "escaped client secret": url.QueryEscape(clientSecret), "code": answer.Code,
				"state": answer.State, "nonce": flow.Nonce, "verifier": flow.Verifier, "access token": accessToken, "refresh token": refreshToken,
			} {
				if strings.Contains(all, secret) {
					t.Errorf("the %s stands in error or log:\n%s", name, all)
				}
			}
		})
	}
}

func TestSecretsAreHiddenWhenPrinted(t *testing.T) {
	l := newLiar(t)
	provider, _ := l.provider(l.config())
	flow, address := begin(t, provider)
	answer := l.grant(address)
	tokens := oauth.Tokens{Access: accessToken, Refresh: refreshToken}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("all", "flow", flow, "answer", answer, "tokens", tokens)
	all := fmt.Sprintf("%v %+v %s %s", flow, answer, tokens, log.String())
	for _, secret := range []string{flow.Nonce, flow.Verifier, answer.Code, answer.State, accessToken, refreshToken} {
		if strings.Contains(all, secret) {
			t.Errorf("%q stands in %s", secret, all)
		}
	}
}
