package oauth_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/login/oauth"
)

func TestUserInfoFillsWhatTheIDTokenLeavesOut(t *testing.T) {
	for _, row := range []struct {
		name     string
		claims   map[string]any // changes to the ID token
		person   map[string]any // changes to UserInfo
		email    string
		verified bool
		asked    int
	}{
		{"nothing is left out", nil, map[string]any{"email": "other@example.test"}, "ada@example.test", true, 0},
		{"no address in the ID token", map[string]any{"email": nil, "email_verified": nil}, nil, "ada@example.test", true, 1},
		{"no name in the ID token", map[string]any{"name": nil}, map[string]any{"email": "other@example.test"}, "ada@example.test", true, 1},
		{"verified without an address says nothing of UserInfo's", map[string]any{"email": nil}, map[string]any{"email_verified": nil}, "ada@example.test", false, 1},
		{"UserInfo's verification says nothing of the ID token's address", map[string]any{"email_verified": false, "name": nil}, nil, "ada@example.test", false, 1},
		{"an address that the ID token does not judge is taken from UserInfo with its judgement", map[string]any{"email_verified": nil}, map[string]any{"email": "new@example.test"}, "new@example.test", true, 1},
		{"no address anywhere", map[string]any{"email": nil}, map[string]any{"email": nil}, "", false, 1},
		{"not verified", map[string]any{"email_verified": false}, nil, "ada@example.test", false, 0},
		{"verified, as a text", map[string]any{"email_verified": "true"}, nil, "ada@example.test", true, 0},
		{"verified, as a number", map[string]any{"email_verified": 1}, nil, "ada@example.test", false, 0},
		{"verified in other letters", map[string]any{"email_verified": false, "Email_Verified": true}, nil, "ada@example.test", false, 0},
		{"no address but a text", map[string]any{"email": "ada", "email_verified": true}, nil, "", false, 0},
		{"an address of two lines", map[string]any{"email": "ada@example.test\nbcc: eve@example.test"}, nil, "", false, 0},
		{"a huge address", map[string]any{"email": strings.Repeat("a", 300) + "@example.test"}, nil, "", false, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLiar(t)
			l.claims = row.claims
			change(l.person, row.person)
			provider, _ := l.provider(l.config())
			result, err := l.signIn(provider)
			if err != nil {
				t.Fatal(err)
			}
			if got := result.Profile; got.Email != row.email || got.EmailVerified != row.verified || got.Name != "Ada Lovelace" {
				t.Errorf("got %q, verified %v, name %q; want %q, %v", got.Email, got.EmailVerified, got.Name, row.email, row.verified)
			}
			if n := l.count("/userinfo"); n != row.asked {
				t.Errorf("userinfo was asked %d times, want %d", n, row.asked)
			}
		})
	}
}

func TestUserInfoOfAnotherPersonIsRefused(t *testing.T) {
	for name, sub := range map[string]any{"another": "eve", "none": nil, "empty": "", "a number": 7} {
		t.Run(name, func(t *testing.T) {
			l := newLiar(t)
			l.claims = map[string]any{"email": nil}
			change(l.person, map[string]any{"sub": sub})
			provider, _ := l.provider(l.config())
			_, err := l.signIn(provider)
			refuse(t, err, oauth.UserInfo, oauth.ProfileMismatch)
		})
	}
}

func TestUserInfoIsNotAskedWithoutScope(t *testing.T) {
	l := newLiar(t)
	l.claims = map[string]any{"email": nil, "name": nil}
	config := l.config()
	config.Scopes = []string{"openid"}
	provider, _ := l.provider(config)
	if _, err := l.signIn(provider); err != nil || l.count("/userinfo") != 0 {
		t.Errorf("%v, userinfo was asked %d times", err, l.count("/userinfo"))
	}
}

func TestProfileKeepsItsBounds(t *testing.T) {
	l := newLiar(t)
	l.claims = map[string]any{
		"name": strings.Repeat("n", 201), "given_name": "A\x00", "family_name": "  Lovelace ", "picture": "javascript:alert(1)",
		"locale": strings.Repeat("x", 36), "preferred_username": "ada", "huge": strings.Repeat("h", 20<<10),
	}
	config := l.config()
	config.Scopes = []string{"openid", "email"}
	provider, _ := l.provider(config)
	result, err := l.signIn(provider)
	if err != nil {
		t.Fatal(err)
	}
	p := result.Profile
	if p.Name != "" || p.GivenName != "" || p.FamilyName != "Lovelace" || p.Picture != "" || p.Locale != "" || p.Username != "ada" || p.Raw != nil {
		t.Errorf("got %+v", p)
	}
}

func TestProfileIsFetchedAgain(t *testing.T) {
	l := newLiar(t)
	provider, _ := l.provider(l.config())
	result, err := l.signIn(provider)
	if err != nil {
		t.Fatal(err)
	}
	l.bend(func() { l.person["email"] = "countess@example.test" })
	profile, err := provider.Profile(t.Context(), result.Identity, result.Tokens)
	if err != nil || profile.Email != "countess@example.test" || !profile.EmailVerified {
		t.Errorf("got %+v, %v", profile, err)
	}
	_, err = provider.Profile(t.Context(), oauth.Identity{Issuer: l.URL, Subject: "eve"}, result.Tokens)
	refuse(t, err, oauth.UserInfo, oauth.ProfileMismatch)
	l.bend(func() { delete(l.person, "sub") })
	_, err = provider.Profile(t.Context(), oauth.Identity{}, result.Tokens)
	refuse(t, err, oauth.UserInfo, oauth.ProfileMismatch)
	_, err = provider.Profile(t.Context(), result.Identity, oauth.Tokens{Access: "an-old-token"})
	refuse(t, err, oauth.UserInfo, oauth.AccessRefused)
	l.bend(func() { l.metadata = map[string]any{"userinfo_endpoint": nil} })
	silent, _ := l.provider(l.config())
	_, err = silent.Profile(t.Context(), result.Identity, result.Tokens)
	refuse(t, err, oauth.UserInfo, oauth.Unsupported)
}

func TestRefreshKeepsTheOldTokenUnlessThereIsANewOne(t *testing.T) {
	l := newLiar(t)
	provider, _ := l.provider(l.config())
	tokens, err := provider.Refresh(t.Context(), refreshToken)
	if err != nil || tokens.Access != accessToken || tokens.Refresh != refreshToken || !tokens.ExpiresAt.Equal(l.clock.Now().Add(time.Hour)) {
		t.Errorf("got access %q, refresh %q, %v, %v", tokens.Access, tokens.Refresh, tokens.ExpiresAt, err)
	}
	l.bend(func() { l.answer = map[string]any{"refresh_token": "the-next-token", "expires_in": nil, "scope": nil} })
	tokens, err = provider.Refresh(t.Context(), refreshToken)
	if err != nil || tokens.Refresh != "the-next-token" || !tokens.ExpiresAt.IsZero() || !slices.Equal(tokens.Scopes, []string{"openid", "profile", "email"}) {
		t.Errorf("got refresh %q, %v, %v, %v", tokens.Refresh, tokens.ExpiresAt, tokens.Scopes, err)
	}
	for _, bad := range []string{"a-used-token", ""} {
		_, err = provider.Refresh(t.Context(), bad)
		refuse(t, err, oauth.Refresh, oauth.RefreshInvalid)
	}
}

func TestRevokeTakesTheRefreshTokenWhereThereIsOne(t *testing.T) {
	l := newLiar(t)
	l.metadata = map[string]any{"revocation_endpoint": l.URL + "/revoke"}
	var form url.Values
	answer := http.StatusOK
	l.pages["/revoke"] = func(w http.ResponseWriter, r *http.Request) {
		form = r.PostForm
		if id, secret, ok := r.BasicAuth(); !ok || id != clientID || secret != url.QueryEscape(clientSecret) {
			t.Errorf("the client did not prove itself: %q %q", id, secret)
		}
		w.WriteHeader(answer)
	}
	provider, _ := l.provider(l.config())
	if err := provider.Revoke(t.Context(), oauth.Tokens{Access: accessToken, Refresh: refreshToken}); err != nil || form.Get("token") != refreshToken {
		t.Errorf("%v: %v", form, err)
	}
	if err := provider.Revoke(t.Context(), oauth.Tokens{Access: accessToken}); err != nil || form.Get("token") != accessToken {
		t.Errorf("%v: %v", form, err)
	}
	answer = http.StatusServiceUnavailable
	refuse(t, provider.Revoke(t.Context(), oauth.Tokens{Access: accessToken}), oauth.Revoke, oauth.ProviderUnavailable)
	l.bend(func() { l.metadata = nil })
	none, _ := l.provider(l.config())
	refuse(t, none.Revoke(t.Context(), oauth.Tokens{Access: accessToken}), oauth.Revoke, oauth.Unsupported)
}
