package oauth_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"gatehouse/login/oauth"
)

// echo refuses with everything that it was sent.
func echo(w http.ResponseWriter, r *http.Request) {
	write(w, http.StatusBadRequest, map[string]any{
		"error":             "x-" + r.PostForm.Get("code") + r.PostForm.Get("refresh_token"),
		"error_description": fmt.Sprint(r.PostForm) + " " + r.PostForm.Encode(),
	})
}

// hang answers nothing until the client has gone.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// drip sends headers and the beginning of a body.
func drip(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"a":`))
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

func flood(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	chunk := bytes.Repeat([]byte(" "), 64<<10)
	for range 64 { // 4 MiB
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func bomb(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Encoding", "gzip")
	packed := gzip.NewWriter(w)
	chunk := make([]byte, 1<<20)
	for range 64 { // 64 MiB in 64 KiB
		if _, err := packed.Write(chunk); err != nil {
			return
		}
	}
	_ = packed.Close()
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func html(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = w.Write([]byte("<!doctype html><title>Welcome</title>"))
}

func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = w.Write([]byte("{"))
}

// TestABrokenEndpointHasItsOwnCode breaks each endpoint in each way.
func TestABrokenEndpointHasItsOwnCode(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("a redirect to another host was followed")
		write(w, http.StatusOK, map[string]any{})
	}))
	t.Cleanup(elsewhere.Close)
	for _, row := range []struct {
		name string
		page http.HandlerFunc
		code oauth.Code
	}{
		{"slow headers", hang, oauth.ProviderSlow},
		{"slow body", drip, oauth.ProviderSlow},
		{"huge body", flood, oauth.AnswerTooLarge},
		{"gzip bomb", bomb, oauth.AnswerTooLarge},
		{"500", status(http.StatusInternalServerError), oauth.ProviderUnavailable},
		{"429", status(http.StatusTooManyRequests), oauth.ProviderUnavailable},
		{"HTML for JSON", html, oauth.AnswerMalformed},
		{"a list for an object", func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, []int{1}) }, oauth.AnswerMalformed},
		{"cut off", cut, oauth.ProviderUnavailable},
		{"another host", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, oauth.RedirectRefused},
		{"round in circles", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, oauth.RedirectRefused},
	} {
		for _, endpoint := range []struct {
			path string
			step oauth.Step
		}{
			{"/metadata", oauth.Discovery},
			{"/token", oauth.Exchange},
			{"/keys", oauth.IDToken},
			{"/userinfo", oauth.UserInfo},
		} {
			t.Run(row.name+" at "+endpoint.path, func(t *testing.T) {
				t.Parallel()
				l := newLiar(t)
				l.claims = map[string]any{"email": nil} // so that UserInfo is asked
				l.pages[endpoint.path] = row.page
				o := oauth.Options{}
				if row.code == oauth.ProviderSlow {
					o.Timeout = time.Second // real time: the others of the four requests must fit in
				}
				provider, log := l.providerWith(l.config(), o)
				_, err := l.signIn(provider)
				refuse(t, err, endpoint.step, row.code)
				if !strings.Contains(log.String(), string(row.code)) {
					t.Errorf("the log does not tell %s:\n%s", row.code, log)
				}
			})
		}
	}
}

func TestAProviderThatIsDownStopsNothing(t *testing.T) {
	l := newLiar(t)
	address := l.Listener.Addr().String()
	l.Close()
	provider, _ := l.provider(l.config())
	_, _, err := provider.Begin(t.Context(), "")
	refuse(t, err, oauth.Discovery, oauth.ProviderUnavailable)
	if !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("the error does not tell what was wrong: %v", err)
	}
}

func TestTokenEndpointRefusals(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		body   map[string]any
		code   oauth.Code
	}{
		{"a used code", 400, map[string]any{"error": "invalid_grant"}, oauth.CodeInvalid},
		{"a wrong secret", 401, map[string]any{"error": "invalid_client"}, oauth.ConfigWrong},
		{"a wrong secret without a word", 401, nil, oauth.ConfigWrong},
		{"a wrong redirect URL", 400, map[string]any{"error": "redirect_uri_mismatch"}, oauth.ConfigWrong},
		{"something else", 400, map[string]any{"error": "invalid_request"}, oauth.ExchangeRefused},
		{"nothing in particular", 400, nil, oauth.ExchangeRefused},
		{"an error with status 200", 200, map[string]any{"error": "invalid_grant"}, oauth.CodeInvalid},
		{"trouble", 503, map[string]any{"error": "temporarily_unavailable"}, oauth.ProviderUnavailable},
		{"no access token", 200, map[string]any{"token_type": "bearer"}, oauth.AnswerMalformed},
		{"no ID token", 200, map[string]any{"access_token": "a-long-token", "token_type": "bearer"}, oauth.IDTokenMissing},
		{"another type", 200, map[string]any{"access_token": "a-long-token", "token_type": "mac"}, oauth.AnswerMalformed},
		{"a huge access token", 200, map[string]any{"access_token": strings.Repeat("a", 70000), "token_type": "bearer"}, oauth.AnswerTooLarge},
		{"a huge ID token", 200, map[string]any{"access_token": "a-long-token", "id_token": strings.Repeat("a", 70000), "token_type": "bearer"}, oauth.AnswerTooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLiar(t)
			l.pages["/token"] = func(w http.ResponseWriter, _ *http.Request) { write(w, row.status, row.body) }
			provider, _ := l.provider(l.config())
			_, err := l.signIn(provider)
			refuse(t, err, oauth.Exchange, row.code)
			if want, set := row.body["error"]; set {
				if e, ok := errorOf(err); !ok || e.ProviderCode != want {
					t.Errorf("the provider's own code is lost: %v", err)
				}
			}
		})
	}
}

func TestMetadataThatDoNotHold(t *testing.T) {
	for _, row := range []struct {
		name     string
		metadata map[string]any
		code     oauth.Code
	}{
		{"another issuer", map[string]any{"issuer": "https://evil.test"}, oauth.IssuerMismatch},
		{"no issuer", map[string]any{"issuer": nil}, oauth.IssuerMismatch},
		{"no token endpoint", map[string]any{"token_endpoint": nil}, oauth.AnswerMalformed},
		{"no keys", map[string]any{"jwks_uri": nil}, oauth.AnswerMalformed},
		{"an endpoint of another scheme", map[string]any{"token_endpoint": "file:///etc/passwd"}, oauth.EndpointInsecure},
		{"an endpoint with a password", map[string]any{"userinfo_endpoint": "https://a:b@id.example.test/"}, oauth.EndpointInsecure},
		{"an endpoint that is no URL", map[string]any{"jwks_uri": "::"}, oauth.EndpointInsecure},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLiar(t)
			l.metadata = row.metadata
			provider, _ := l.provider(l.config())
			_, _, err := provider.Begin(t.Context(), "")
			refuse(t, err, oauth.Discovery, row.code)
		})
	}
}

func TestDiscoveryIsTriedAgainAfterAGrowingPause(t *testing.T) {
	l := newLiar(t)
	l.pages["/metadata"] = status(http.StatusBadGateway)
	provider, _ := l.provider(l.config())
	tries := func() int {
		_, _, err := provider.Begin(t.Context(), "")
		refuse(t, err, oauth.Discovery, oauth.ProviderUnavailable)
		return l.count("/metadata")
	}
	for i, step := range []struct {
		pass time.Duration
		want int
	}{
		{0, 1},
		{0, 1},
		{999 * time.Millisecond, 1},
		{time.Millisecond, 2},
		{1999 * time.Millisecond, 2},
		{time.Millisecond, 3},
		{4 * time.Second, 4},
		{8 * time.Second, 5},
		{16 * time.Second, 6},
		{32 * time.Second, 7},
		{59 * time.Second, 7},
		{time.Second, 8},
		{time.Minute, 9},
	} {
		l.clock.advance(step.pass)
		if got := tries(); got != step.want {
			t.Fatalf("step %d: %d requests, want %d", i, got, step.want)
		}
	}
	l.bend(func() { delete(l.pages, "/metadata") })
	l.clock.advance(time.Minute)
	if _, err := l.signIn(provider); err != nil {
		t.Errorf("the provider is back, and yet: %v", err)
	}
}

func TestARememberedFailureIsACopyForEachCaller(t *testing.T) {
	l := newLiar(t)
	l.pages["/metadata"] = status(http.StatusBadGateway)
	provider, _ := l.provider(l.config())
	_, _, first := provider.Begin(t.Context(), "")
	_, _, second := provider.Begin(t.Context(), "")
	one, _ := errorOf(first)
	two, _ := errorOf(second)
	if one == two || *one != *two {
		t.Errorf("got %p %v and %p %v", one, one, two, two)
	}
}

func TestManySignInsDiscoverOnce(t *testing.T) {
	l := newLiar(t)
	provider, _ := l.provider(l.config())
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := l.signIn(provider); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if metadata, keys := l.count("/metadata"), l.count("/keys"); metadata != 1 || keys != 1 {
		t.Errorf("%d requests for metadata and %d for keys, want one each", metadata, keys)
	}
}

func TestOneCallerWhoGoesAwayDoesNotFailTheOthers(t *testing.T) {
	l := newLiar(t)
	arrived, leave := make(chan struct{}), make(chan struct{})
	arrive := sync.OnceFunc(func() { close(arrived) }) // the second may come late, and ask anew
	l.pages["/metadata"] = func(w http.ResponseWriter, _ *http.Request) {
		arrive()
		<-leave
		l.serveMetadata(w)
	}
	provider, _ := l.provider(l.config())
	ctx, goAway := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		_, _, err := provider.Begin(ctx, "")
		first <- err
	}()
	<-arrived
	go func() {
		_, _, err := provider.Begin(t.Context(), "")
		second <- err
	}()
	goAway()
	refuse(t, <-first, oauth.Discovery, oauth.Aborted)
	close(leave)
	if err := <-second; err != nil {
		t.Error(err)
	}
}

func TestKeptMetadataServeWhileTheProviderIsDown(t *testing.T) {
	l := newLiar(t)
	provider, _ := l.provider(l.config())
	begin(t, provider)
	l.bend(func() { l.pages["/metadata"] = status(http.StatusBadGateway) })
	l.clock.advance(23 * time.Hour)
	begin(t, provider)
	if n := l.count("/metadata"); n != 2 {
		t.Errorf("%d requests for metadata, want a second one after an hour", n)
	}
	l.clock.advance(time.Hour)
	_, _, err := provider.Begin(t.Context(), "")
	refuse(t, err, oauth.Discovery, oauth.ProviderUnavailable)
}

func TestKeysThatRotateInBetweenAreFetchedOnce(t *testing.T) {
	l := newLiar(t)
	provider, _ := l.provider(l.config())
	if _, err := l.signIn(provider); err != nil {
		t.Fatal(err)
	}
	rotate := func(id string, key int) {
		l.bend(func() { l.keys = []signingKey{{id: id, method: jwt.SigningMethodRS256, key: rsaKeys()[key]}} })
	}
	rotate("k2", 1)
	l.clock.advance(time.Minute)
	if _, err := l.signIn(provider); err != nil {
		t.Errorf("new key: %v", err)
	}
	for range 5 { // a key that the provider does not publish must not make us ask again and again
		l.bend(func() {
			l.sign = func(c jwt.MapClaims) string {
				return l.signWith(signingKey{id: "k9", method: jwt.SigningMethodRS256, key: rsaKeys()[1]}, c)
			}
		})
		_, err := l.signIn(provider)
		refuse(t, err, oauth.IDToken, oauth.KeyUnknown)
	}
	if n := l.count("/keys"); n != 2 {
		t.Errorf("%d requests for keys, want 2", n)
	}
	l.bend(func() { l.sign = nil })
	rotate("k2", 0)
	l.clock.advance(time.Minute)
	if _, err := l.signIn(provider); err != nil {
		t.Errorf("new key under an old ID: %v", err)
	}
}

func TestRefusedCallerLeavesNothingBehind(t *testing.T) {
	l := newLiar(t)
	l.pages["/token"] = hang
	provider, _ := l.provider(l.config())
	flow, address := begin(t, provider)
	ctx, goAway := context.WithCancel(t.Context())
	goAway()
	_, err := provider.Complete(ctx, flow, l.grant(address))
	refuse(t, err, oauth.Exchange, oauth.Aborted)
}
