package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// browser is a client that keeps cookies, as a page at the public URL would have them kept. Each of its
// requests comes to the next server, as behind a proxy that spreads them.
type browser struct {
	*client
	cookies map[string]*http.Cookie
	servers []*process
	turn    int
}

func (d *deployment) browser() *browser {
	b := &browser{client: d.visitor(0), cookies: map[string]*http.Cookie{}, servers: d.servers}
	b.headers.Set("Gatehouse-Session", "cookie")
	b.headers.Set("Origin", d.publicURL)
	return b
}

// say sends an operation with the cookies and keeps those of the answer.
func (b *browser) say(query string, v vars) answer {
	b.t.Helper()
	b.headers.Set("Cookie", b.cookie())
	b.url = b.servers[b.turn%len(b.servers)].url
	b.turn++
	a := b.client.say(query, v)
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		b.cookies[c.Name] = c
		b.seen.add("cookie "+c.Name, c.Value)
	}
	return a
}

func (b *browser) cookie() string {
	var all []string
	for _, c := range b.cookies {
		if c.MaxAge >= 0 {
			all = append(all, c.Name+"="+c.Value)
		}
	}
	slices.Sort(all) // the jar is a map
	return strings.Join(all, "; ")
}

// signedIn reports whether me is somebody, with headers changed for this request.
func (b *browser) signedIn(change ...string) bool {
	b.t.Helper()
	changed := *b
	changed.client = &client{}
	*changed.client = *b.client
	changed.headers = b.headers.Clone()
	for i := 0; i < len(change); i += 2 {
		changed.headers.Set(change[i], change[i+1])
		if change[i+1] == "" {
			changed.headers.Del(change[i])
		}
	}
	return into[struct{ Me *struct{ ID string } }](b.t, changed.say(`{ me { id } }`, nil)).Me != nil
}

func TestCookieModeHidesTheTokensFromThePageAndFromOtherSites(t *testing.T) {
	t.Parallel()
	eachForm(t, checkCookieMode)
}

func checkCookieMode(t *testing.T, d *deployment) {
	b := d.browser()
	b.email, b.password = d.seen.email(), d.seen.password()
	a := b.say(registerDocument, vars{"in": vars{"email": b.email, "password": b.password}})
	got := into[struct{ Register signIn }](t, a).Register
	if got.Outcome == nil || got.Outcome.AccessToken != "" || got.Outcome.RefreshToken != "" {
		t.Fatalf("a sign-in in cookie mode gave %+v", got)
	}
	for _, name := range []string{"__Host-gh_access", "__Host-gh_refresh"} {
		c := b.cookies[name]
		if c == nil || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge <= 0 {
			t.Fatalf("cookie %s is %+v", name, c)
		}
		if strings.Contains(string(a.body), c.Value) {
			t.Errorf("the value of %s stands in the body", name)
		}
	}
	if !b.signedIn() {
		t.Fatal("the cookies do not sign in")
	}
	for name, change := range map[string][]string{
		"another site":                 {"Origin", "https://evil.example"},
		"a page that hides its origin": {"Origin", "null"},
		"the same host on another port": {
			"Origin", "http://127.0.0.1:1",
		},
		"no custom header": {"Gatehouse-Session", ""},
	} {
		if b.signedIn(change...) {
			t.Errorf("%s is signed in by the cookies", name)
		}
	}
	checkSocketsOfCookies(t, b)
	checkRefreshByCookie(t, b)
	if ended := b.say(`mutation { logout { sessionId userErrors { code } } }`, nil); len(ended.Errors) > 0 {
		t.Fatalf("logout: %v", ended)
	}
	for name, c := range b.cookies {
		if c.MaxAge >= 0 || c.Value != "" {
			t.Errorf("after logout cookie %s is %+v", name, c)
		}
	}
}

func checkSocketsOfCookies(t *testing.T, b *browser) {
	t.Helper()
	if s, err := b.tryDial(http.Header{"Cookie": {b.cookie()}, "Origin": {"https://evil.example"}}); err == nil {
		s.cut()
		t.Error("a page of another site may open a socket with the cookies")
	}
	s, err := b.tryDial(http.Header{"Cookie": {b.cookie()}, "Origin": {b.headers.Get("Origin")}})
	if err != nil {
		t.Fatalf("a socket of the own page: %v", err)
	}
	s.send(envelope{Type: "connection_init"})
	s.next(patience)
	s.subscribe("1", `{ me { id } }`, nil)
	if m, ok := s.next(patience); !ok || !strings.Contains(string(m.Payload), `"usr_`) {
		t.Errorf("me over a socket with cookies is %s", m.Payload)
	}
}

func checkRefreshByCookie(t *testing.T, b *browser) {
	t.Helper()
	before := b.cookies["__Host-gh_refresh"].Value
	a := b.say(`mutation { refreshSession { outcome { ... on SessionTokens { accessToken refreshToken } } userErrors { code } } }`, nil)
	if got := into[struct{ RefreshSession signIn }](t, a).RefreshSession; got.Outcome == nil || got.Outcome.RefreshToken != "" {
		t.Errorf("a refresh by cookie gave %+v", got)
	}
	if b.cookies["__Host-gh_refresh"].Value == before || !b.signedIn() {
		t.Error("the refresh gave no fresh cookies")
	}
}

func TestFormsOfOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	b := d.browser()
	b.headers.Del("Gatehouse-Session")
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
		a, err := b.post(t.Context(), media, strings.NewReader(`{"query": "mutation { logout { sessionId } }"}`))
		if err != nil || a.status < 400 || a.status >= 500 {
			t.Errorf("a form as %s: %v, %v", media, a, err)
		}
	}
	status, body := b.get(b.url + "/graphql?query={me{id}}")
	if status != http.StatusForbidden || !strings.Contains(string(body), "FORBIDDEN") {
		t.Errorf("a link of another site: %d %s", status, body)
	}
}
