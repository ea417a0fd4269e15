package main

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
)

func TestAForwardedAddressCountsOnlyFromTrustedProxies(t *testing.T) {
	trusting := &doorkeeper{settings: Settings{proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	for _, c := range []struct {
		name, remote, forwarded, want string
		keeper                        *doorkeeper
	}{
		{"nobody is trusted", "10.0.0.1:1", "192.0.2.1", "10.0.0.1", &doorkeeper{}},
		{"a stranger lies", "198.51.100.7:1", "192.0.2.1", "198.51.100.7", trusting},
		{"a proxy tells", "10.0.0.1:1", "192.0.2.1", "192.0.2.1", trusting},
		{"the client lies to the proxy", "10.0.0.1:1", "203.0.113.9, 192.0.2.1", "192.0.2.1", trusting},
		{"two proxies", "10.0.0.1:1", "192.0.2.1, 10.0.0.2", "192.0.2.1", trusting},
		{"rubbish", "10.0.0.1:1", "rubbish", "10.0.0.1", trusting},
		{"a proxy tells the port", "10.0.0.1:1", "192.0.2.1:4711", "192.0.2.1", trusting},
		{"a proxy tells the port of IPv6", "10.0.0.1:1", "[2001:db8::1]:4711", "2001:db8::1", trusting},
		{"IPv4 inside IPv6", "[::ffff:10.0.0.1]:1", "192.0.2.1", "192.0.2.1", trusting},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/graphql", nil)
			r.RemoteAddr = c.remote
			r.Header.Set("X-Forwarded-For", c.forwarded)
			if got := c.keeper.address(r); got.String() != c.want {
				t.Errorf("address = %s, want %s", got, c.want)
			}
		})
	}
}

func TestOnlyBearerTokensAreTaken(t *testing.T) {
	for header, want := range map[string]string{"": "", "Bearer abc": "abc", "bearer abc": "abc"} {
		if got, err := bearer(header); got != want || err != nil {
			t.Errorf("bearer(%q) = %q, %v", header, got, err)
		}
	}
	for _, header := range []string{"Basic YTpi", "Bearer", "Bearer ", "abc"} {
		if got, err := bearer(header); err == nil {
			t.Errorf("bearer(%q) = %q", header, got)
		}
	}
}

func TestAPageOfAnotherHostIsNotOurs(t *testing.T) {
	for _, c := range []struct {
		origin, host string
		want         bool
	}{
		{"http://localhost:8080", "localhost:8080", true},
		{"http://127.0.0.1:8080", "127.0.0.1:8080", true},
		{"http://localhost:3000", "localhost:8080", false},
		{"https://evil.example", "localhost:8080", false},
		{"http://api.example.com", "api.example.com", false}, // plain HTTP can be tampered with
		{"https://api.example.com", "api.example.com", true},
		{"https://api.example.com.evil.example", "api.example.com", false},
	} {
		u, err := url.Parse(c.origin)
		if err != nil {
			t.Fatal(err)
		}
		if got := sameHost(u, c.host); got != c.want {
			t.Errorf("a page of %s at %s is ours: %v, want %v", c.origin, c.host, got, c.want)
		}
	}
}

func TestACookieOpensASocketForOurOwnPagesOnly(t *testing.T) {
	h := newHouse(t)
	var answer struct {
		Register struct{ Outcome struct{ AccessToken string } }
	}
	h.ask("", `mutation{register(input:{email:"ada@example.com",password:"Analytical engine no. 1"}){outcome{...on SessionTokens{accessToken}}}}`, &answer)
	keeper := &doorkeeper{sessions: h.sessions, settings: h.settings}
	for origin, ours := range map[string]bool{
		"https://api.example.com": true, "": true,
		"http://api.example.com": false, // whoever sits on the line can write this page
		"https://evil.example":   false,
	} {
		r := httptest.NewRequest("GET", "https://api.example.com/graphql", nil)
		r.AddCookie(&http.Cookie{Name: accessCookie, Value: answer.Register.Outcome.AccessToken})
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		caller, err := keeper.Socket(r, "")
		if err != nil || (caller.Subject != "") != ours {
			t.Errorf("a page of %q gets %q, %v; ours: %v", origin, caller.Subject, err, ours)
		}
	}
}
