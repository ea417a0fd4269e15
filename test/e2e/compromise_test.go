package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// User agents as browsers send them.
const (
	firefox      = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:137.0) Gecko/20100101 Firefox/137.0"
	laterFirefox = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:141.0) Gecko/20100101 Firefox/141.0"
	chrome       = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0.0.0 Safari/537.36"
)

// with returns the same person with other headers: name, value and so on; "" takes one out.
func (c *client) with(change ...string) *client {
	other := *c
	other.headers = c.headers.Clone()
	for i := 0; i < len(change); i += 2 {
		other.headers.Set(change[i], change[i+1])
	}
	return &other
}

func TestASessionUsedFromAnotherBrowserIsSuspendedEverywhereWithinASecondUntilItsOwnerSignsInAgain(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		other := last(d.servers)
		owner := d.visitor(0).with("User-Agent", firefox)
		owner.register()
		elsewhere := owner.with("User-Agent", chrome)
		elsewhere.login()
		waiting := owner.process(vars{"text": "a\n1\n", "options": vars{"runAt": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}})
		there := owner.at(other)
		s := there.dialAs(firefox)
		s.subscribe("1", eventsDocument, vars{"id": waiting.ID})
		if m, ok := s.next(patience); !ok || m.Type != "next" {
			t.Fatalf("the subscription began with %+v", m)
		}
		if !owner.with("User-Agent", laterFirefox).signedIn() {
			t.Fatal("an update of the browser ended the session")
		}

		thief := owner.with("User-Agent", chrome)
		refused(t, "the thief", thief.say(`{ me { id } }`, nil), "STEP_UP_REQUIRED")
		took := until(t, time.Second, "the session goes on", func() bool { return there.say(`{ me { id } }`, nil).code() == "STEP_UP_REQUIRED" })
		code, reason := s.awaitClose(time.Second)
		t.Logf("suspended on the other server after %v, socket closed with %d %q", took, code, reason)
		if code != 4403 || reason != "STEP_UP_REQUIRED" {
			t.Errorf("the socket closed with %d %q", code, reason)
		}
		refused(t, "jobs", there.say(`{ jobs { totalCount } }`, nil), "STEP_UP_REQUIRED")
		refused(t, "a mutation", there.say(`mutation { revokeOtherSessions { userErrors { code } } }`, nil), "STEP_UP_REQUIRED")
		if a := owner.tryRefresh(owner.refresh); a.userError() != "STEP_UP_REQUIRED" {
			t.Errorf("a refresh: %v", a)
		}
		if _, failure := there.tryInit(firefox); !strings.Contains(failure, "4403") {
			t.Errorf("a new socket: %s", failure)
		}
		d.awaitLetter("sessionSuspended", owner.email)
		sessions := ask[struct {
			Me struct {
				Sessions struct {
					Nodes []struct {
						ID, AgentName string
						SuspendedAt   *time.Time
					}
				}
			}
		}](elsewhere, `{ me { sessions { nodes { id agentName suspendedAt } } } }`, nil).Me.Sessions.Nodes
		for _, one := range sessions {
			suspended := one.SuspendedAt != nil
			if suspended != (one.ID == owner.session) || suspended != (one.AgentName == "Firefox on Windows") {
				t.Errorf("the list shows %+v", one)
			}
		}

		old := *owner
		owner.login()
		if !owner.signedIn() || !owner.at(other).signedIn() {
			t.Error("signing in again did not help")
		}
		refused(t, "the old token", old.say(`{ me { id } }`, nil), "UNAUTHENTICATED")
		if a := thief.tryRefresh(old.refresh); a.userError() != "SESSION_REVOKED" {
			t.Errorf("the stolen refresh token: %v", a)
		}
	})
}

// dialAs opens a socket as a browser does.
func (c *client) dialAs(agent string) *socket {
	c.t.Helper()
	s, failure := c.tryInit(agent)
	if failure != "" {
		c.t.Fatalf("dial as %s: %s", agent, failure)
	}
	return s
}

// tryInit is dialAs that says what went wrong.
func (c *client) tryInit(agent string) (*socket, string) {
	c.t.Helper()
	s, err := c.tryDial(http.Header{"User-Agent": {agent}})
	if err != nil {
		return nil, err.Error()
	}
	s.send(envelope{Type: "connection_init", Payload: authorization(c.access)})
	if m, ok := s.next(patience); !ok || m.Type != "connection_ack" {
		return nil, fmt.Sprintf("%s %d %s", m.Type, s.code, s.reason)
	}
	return s, ""
}
