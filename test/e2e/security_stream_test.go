package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// listener is a subscriber to securityEvents. hear returns the next event, false when the stream has ended or the
// time is over.
type listener interface {
	hear(within time.Duration) (securityEvent, bool)
}

type (
	socketListener struct{ *socket }
	sseListener    struct{ *sse }
)

const securityNews = `subscription($after: ID) { securityEvents(after: $after) { id type actor session { id } } }`

// listenBySocket subscribes over a WebSocket.
func (c *client) listenBySocket(after string) listener {
	c.t.Helper()
	s := c.dialAs(c.headers.Get("User-Agent"))
	s.subscribe("1", securityNews, since(after))
	return socketListener{s}
}

// listenByEvents subscribes over server-sent events.
func (c *client) listenByEvents(after string) listener {
	c.t.Helper()
	return sseListener{c.stream(securityNews, since(after))}
}

func since(after string) vars {
	if after == "" {
		return nil
	}
	return vars{"after": after}
}

func (l socketListener) hear(within time.Duration) (securityEvent, bool) {
	m, ok := l.next(within)
	if !ok || m.Type != "next" {
		return securityEvent{}, false
	}
	return readSecurityEvent(l.t, m.Payload), true
}

func (l sseListener) hear(within time.Duration) (securityEvent, bool) {
	select {
	case e, ok := <-l.events:
		if !ok || e.name != "next" {
			return securityEvent{}, false
		}
		return readSecurityEvent(l.t, []byte(e.data)), true
	case <-time.After(within):
		return securityEvent{}, false
	}
}

func readSecurityEvent(t testing.TB, payload []byte) securityEvent {
	var got struct {
		Data struct{ SecurityEvents securityEvent }
	}
	if err := json.Unmarshal(payload, &got); err != nil || got.Data.SecurityEvents.ID == "" {
		t.Errorf("no event: %s", payload)
	}
	return got.Data.SecurityEvents
}

// hearUntil reads events up to one of this type and session, and returns the types on the way; "": of any session.
func hearUntil(t *testing.T, l listener, end, session string) []string {
	t.Helper()
	var types []string
	for {
		e, ok := l.hear(patience)
		if !ok {
			t.Fatalf("the stream ended or fell silent after %v, before %s", types, end)
		}
		types = append(types, e.Type)
		if e.Type == end && (session == "" || e.Session != nil && e.Session.ID == session) {
			return types
		}
	}
}

// awake signs the person in until the listeners hear of it: a subscription tells of what comes after it.
func awake(t *testing.T, c *client, listeners ...listener) {
	t.Helper()
	waiting := slices.Clone(listeners)
	until(t, patience, "a subscription does not begin", func() bool {
		c.login()
		waiting = slices.DeleteFunc(waiting, func(l listener) bool {
			_, heard := l.hear(300 * time.Millisecond)
			return heard
		})
		return len(waiting) == 0
	})
	c.login()
	for _, l := range listeners {
		hearUntil(t, l, "LOGIN_SUCCEEDED", c.session)
	}
}

func TestTheOwnerHearsLiveOfAllThatTouchesTheirAccountAndOfNobodyElses(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		owner := d.visitor(0).with("User-Agent", firefox)
		owner.register()
		elsewhere := owner.with("User-Agent", chrome)
		eve := d.visitor(1).with("User-Agent", firefox)
		eve.register()
		strangers := []listener{eve.listenBySocket(""), eve.listenByEvents("")}
		awake(t, eve.with("User-Agent", firefox), strangers...)
		mine := []listener{owner.listenBySocket(""), owner.at(last(d.servers)).listenByEvents("")}
		awake(t, owner.with("User-Agent", firefox), mine...)
		owner.renew() // the session goes on, and so do its streams

		heard := func(want ...string) {
			t.Helper()
			for i, l := range mine {
				if got := hearUntil(t, l, last(want), ""); !slices.Equal(got, want) {
					t.Errorf("listener %d heard %v, want %v", i, got, want)
				}
			}
		}
		elsewhere.login()
		heard("DEVICE_NEW", "LOGIN_SUCCEEDED")
		thief := elsewhere.with("User-Agent", laterFirefox)
		refused(t, "the thief", thief.at(last(d.servers)).say(`{ me { id } }`, nil), "STEP_UP_REQUIRED")
		heard("SESSION_SUSPENDED")
		_, codes := owner.withApp()
		heard("FACTOR_ADDED")
		e := call(t, owner, "stepUp", "challenge { id methods passkeyOptions }", nil).Challenge
		raised := owner.verify(*e, "RECOVERY_CODE", codes[0], nil).Outcome
		if raised == nil {
			t.Fatal("the step-up failed")
		}
		owner.access = raised.AccessToken
		heard("RECOVERY_CODE_USED", "SESSION_STEPPED_UP")
		factor := ask[struct {
			Me struct{ Factors []struct{ ID string } }
		}](owner, `{ me { factors { id } } }`, nil).Me.Factors[0].ID
		call(t, owner, "removeFactor", "factorId", vars{"factorId": factor})
		heard("FACTOR_REMOVED")
		fresh := d.seen.password()
		call(t, owner, "changePassword", "user { id }", vars{"currentPassword": owner.password, "newPassword": fresh})
		heard("SESSION_REVOKED", "PASSWORD_CHANGED")

		eve.login()
		for i, l := range strangers {
			if got := hearUntil(t, l, "LOGIN_SUCCEEDED", eve.session); len(got) != 1 {
				t.Errorf("stranger %d heard %v, want their own sign-in alone", i, got)
			}
		}
	})
}

func TestAListenerWhoComesBackWithAFreshTokenMissesNothing(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.visitor(0).with("User-Agent", firefox)
		c.register()
		seen := c.events()[0].ID
		first := c.listenByEvents(seen)
		elsewhere := *c
		elsewhere.login()
		e, ok := first.hear(patience)
		if !ok || e.Type != "LOGIN_SUCCEEDED" {
			t.Fatalf("heard %+v", e)
		}
		first.(sseListener).cut()
		elsewhere.login()
		want := elsewhere.session
		c.renew() // the old access token is of no use any more to who left
		for name, again := range map[string]listener{
			"over a socket": c.at(last(d.servers)).listenBySocket(e.ID), "over events": c.listenByEvents(e.ID),
		} {
			if got := hearUntil(t, again, "LOGIN_SUCCEEDED", want); len(got) != 1 {
				t.Errorf("%s one hears %v first, want the sign-in that was missed", name, got)
			}
		}
		eve := d.person()
		for name, after := range map[string]string{"a place of somebody else": e.ID, "no place": "evt_~"} {
			s := eve.dial()
			s.subscribe("1", securityNews, vars{"after": after})
			if m, ok := s.next(300 * time.Millisecond); ok && strings.Contains(string(m.Payload), c.session) {
				t.Errorf("after %s one hears %s", name, m.Payload)
			}
		}
		nobody := d.visitor(0)
		s, err := nobody.tryDial(nil)
		if err != nil {
			t.Fatal(err)
		}
		s.send(envelope{Type: "connection_init"})
		s.next(patience)
		s.subscribe("1", securityNews, nil)
		if m, _ := s.next(patience); m.Type != "error" && !strings.Contains(string(m.Payload), "UNAUTHENTICATED") {
			t.Errorf("nobody hears %s %s", m.Type, m.Payload)
		}
	})
}

func TestInCookieModeTheOwnerListensWithTheCookiesOfThePage(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		b := d.browser()
		b.email, b.password = d.seen.email(), d.seen.password()
		b.say(registerDocument, vars{"in": vars{"email": b.email, "password": b.password}})
		s, err := b.tryDial(http.Header{"Cookie": {b.cookie()}, "Origin": {d.publicURL}})
		if err != nil {
			t.Fatal(err)
		}
		s.send(envelope{Type: "connection_init"})
		s.next(patience)
		s.subscribe("1", securityNews, nil)
		b.headers.Set("Cookie", b.cookie())
		listeners := []listener{socketListener{s}, b.listenByEvents("")}
		elsewhere := d.visitor(1)
		elsewhere.email, elsewhere.password = b.email, b.password
		awake(t, elsewhere, listeners...)
		if a := b.say(`mutation { refreshSession { outcome { __typename } userErrors { code } } }`, nil); a.userError() != "" {
			t.Fatalf("refresh: %v", a)
		}
		elsewhere.login()
		for i, l := range listeners {
			if got := hearUntil(t, l, "LOGIN_SUCCEEDED", elsewhere.session); len(got) != 1 {
				t.Errorf("after the refresh listener %d hears %v", i, got)
			}
		}
	})
}
