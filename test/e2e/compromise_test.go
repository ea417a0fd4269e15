package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
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

func TestTheOwnerIsToldOfANewDeviceByMailAndLiveOnEveryServer(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		owner := d.visitor(0).with("User-Agent", firefox)
		owner.register()
		s := owner.dialAs(firefox)
		s.subscribe("1", securityDocument, nil)
		first := owner.events()
		elsewhere := owner.at(last(d.servers)).with("User-Agent", chrome)
		until(t, patience, "the subscription does not begin", func() bool { // it only tells of what comes after it
			elsewhere.login()
			_, came := s.next(200 * time.Millisecond)
			return came
		})
		got := owner.events()
		if len(got) < 3 || got[0].Type != "LOGIN_SUCCEEDED" || got[0].Actor != "SELF" || *got[0].AgentName != "Chrome on macOS" || *got[0].Method != "pwd" {
			t.Errorf("the events are %+v", got)
		}
		if len(first) != 2 || first[0].Type != "LOGIN_SUCCEEDED" || first[1].Type != "ACCOUNT_REGISTERED" {
			t.Errorf("before, the events were %+v", first)
		}
		news := 0
		for _, e := range got {
			if e.Type == "DEVICE_NEW" {
				news++
			}
		}
		told := d.awaitLetter("newDevice", owner.email).Message
		if news != 1 || !strings.Contains(told.Text, "Chrome on macOS") || !strings.Contains(told.Text, "127.0.0.0/24") {
			t.Errorf("%d devices were new, the mail says %q", news, told.Text)
		}
		if n := len(d.letters("newDevice", owner.email)); n != 1 {
			t.Errorf("%d mails of new devices", n)
		}

		resumed := elsewhere.dialAs(chrome)
		resumed.subscribe("1", securityDocument, vars{"after": first[0].ID})
		for i := len(got) - 3; i >= 0; i-- { // the oldest two were seen
			m, ok := resumed.next(patience)
			if !ok || !strings.Contains(string(m.Payload), got[i].ID) {
				t.Fatalf("after %s came %s, want %s", first[0].ID, m.Payload, got[i].ID)
			}
		}
		eve := d.person()
		refused(t, "an event of somebody else", eve.say(`query($id: ID!) { node(id: $id) { id } }`, vars{"id": got[0].ID}), "NOT_FOUND")
		ask[any](elsewhere, `mutation($id: ID!) { revokeSession(input: {sessionId: $id}) { userErrors { code } } }`, vars{"id": owner.session})
		if code, _ := s.awaitClose(time.Second); code != 4401 {
			t.Errorf("the watcher's own session has ended, and its socket with %d", code)
		}
	})
}

const securityDocument = `subscription($after: ID) { securityEvents(after: $after) { id type at network } }`

type securityEvent struct {
	ID, Type, Actor            string
	AgentName, Method, Network *string
	Session                    *struct{ ID string }
}

// events returns the security events, newest first.
func (c *client) events() []securityEvent {
	c.t.Helper()
	return ask[struct {
		Me struct {
			SecurityEvents struct{ Nodes []securityEvent }
		}
	}](c, `{ me { securityEvents(first: 50) { nodes { id type actor agentName method network session { id } } } } }`, nil).Me.SecurityEvents.Nodes
}

func TestAStolenRefreshTokenIsToldByMailAndAmongTheEvents(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		stolen := c.refresh
		c.renew()
		c.renew()
		if a := c.at(last(d.servers)).tryRefresh(stolen); a.userError() != "TOKEN_REUSED" {
			t.Fatalf("a token of two generations ago: %v", a)
		}
		d.awaitLetter("tokenReused", c.email)
		c.login()
		for _, e := range c.events() {
			if e.Type == "SESSION_REUSED" && e.Actor == "SERVER" && e.Session != nil {
				return
			}
		}
		t.Errorf("the events are %+v", c.events())
	})
}

func TestInCookieModeASuspendedSessionLetsItsOwnerSignInAgain(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		b := d.browser()
		b.headers.Set("User-Agent", firefox)
		b.email, b.password = d.seen.email(), d.seen.password()
		b.say(registerDocument, vars{"in": vars{"email": b.email, "password": b.password}})
		thief := &browser{client: b.client.with("User-Agent", chrome), cookies: map[string]*http.Cookie{}, servers: d.servers}
		for name, c := range b.cookies {
			thief.cookies[name] = c
		}
		refused(t, "the thief", thief.say(`{ me { id } }`, nil), "STEP_UP_REQUIRED")
		refused(t, "the owner", b.say(`{ me { id } }`, nil), "STEP_UP_REQUIRED")
		if a := b.say(`mutation { refreshSession { outcome { __typename } userErrors { code } } }`, nil); a.userError() != "STEP_UP_REQUIRED" || b.cookies["__Host-gh_refresh"].MaxAge < 0 {
			t.Errorf("a refresh: %v", a)
		}
		if a := b.say(loginDocument, vars{"in": vars{"email": b.email, "password": b.password}}); len(a.Errors) > 0 || !b.signedIn() {
			t.Errorf("signing in again: %v", a)
		}
		if thief.signedIn() {
			t.Error("the thief is in again")
		}
	})
}

func TestADeviceThatNamesItselfAnotherIsSuspended(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		c.device = "laptop"
		c.login()
		if !c.with("Gatehouse-Device", "laptop").signedIn() || !c.signedIn() {
			t.Fatal("the device itself is refused")
		}
		refused(t, "another device", c.with("Gatehouse-Device", "phone").say(`{ me { id } }`, nil), "STEP_UP_REQUIRED")
	})
}

const challengeFields = "challenge { id methods passkeyOptions }"

// lift answers the challenge of a suspended session, shown by its access token or as in tells.
func lift(t testing.TB, who person, in vars, method, code string) payload {
	t.Helper()
	ask := in
	if len(in) == 0 {
		ask = nil
	}
	c := call(t, who, "stepUp", challengeFields, ask).Challenge
	if c == nil {
		t.Fatal("stepUp gave no challenge")
	}
	answer := vars{"challengeId": c.ID, "method": method, "code": code}
	for name, value := range in {
		answer[name] = value
	}
	return call(t, who, "verifyMfa", outcomeFields, answer)
}

func TestAStepUpOnAnyServerPutsASuspendedSessionBackInUseAndNotForTheThief(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		owner := d.visitor(0).with("User-Agent", firefox)
		owner.register()
		phone, _ := owner.withApp()
		thief := owner.with("User-Agent", chrome).at(last(d.servers))
		refused(t, "the thief", thief.say(`{ me { id } }`, nil), "STEP_UP_REQUIRED")
		until(t, time.Second, "the session goes on", func() bool { return owner.say(`{ me { id } }`, nil).code() == "STEP_UP_REQUIRED" })

		c := call(t, thief, "stepUp", challengeFields, nil).Challenge
		for _, in := range []vars{
			{"method": "PASSWORD", "code": owner.password}, {"method": "TOTP", "code": phone.key.Code(phone.last)}, {"method": "TOTP", "code": ""},
		} {
			in["challengeId"] = c.ID
			if p, a := try(t, thief, "verifyMfa", outcomeFields, in); p.Outcome != nil || p.refusal() == "" && a.code() == "" {
				t.Fatalf("the thief is in: %v", a)
			}
		}
		mine := d.person()
		if p := mine.verify(*c, "TOTP", phone.key.Code(phone.last+1), nil); p.refusal() != "CHALLENGE_EXPIRED" {
			t.Errorf("another account answers: %+v", p)
		}

		there, before := owner.at(last(d.servers)), *owner
		p := lift(t, there, nil, "TOTP", phone.code())
		if p.Outcome == nil || p.Outcome.Session.ID != before.session || p.Outcome.AccessToken == "" || p.Outcome.RefreshToken == "" {
			t.Fatalf("the right answer gave %+v", p)
		}
		owner.hold(p.Outcome.tokens)
		for _, server := range d.servers {
			until(t, time.Second, "the session is not back", func() bool { return owner.at(server).signedIn() })
			refused(t, "the copied token", thief.at(server).say(`{ me { id } }`, nil), "UNAUTHENTICATED")
		}
		if a := thief.tryRefresh(before.refresh); a.userError() != "TOKEN_INVALID" {
			t.Errorf("the copied refresh token: %v", a)
		}
		owner.renew()
		if _, a := try(t, owner, "regenerateRecoveryCodes", "recoveryCodes", nil); a.code() != "" {
			t.Errorf("the session was not raised: %v", a)
		}
		var types []string
		for _, e := range owner.events() {
			types = append(types, e.Type)
		}
		for _, want := range []string{"SESSION_SUSPENDED", "SESSION_LIFTED"} {
			if !slices.Contains(types, want) {
				t.Errorf("no %s among %v", want, types)
			}
		}
	})
}

func TestASuspendedSessionWhoseAccessTokenHasExpiredIsShownByItsRefreshToken(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		owner := d.visitor(0).with("User-Agent", firefox)
		owner.register()
		refused(t, "elsewhere", owner.with("User-Agent", chrome).say(`{ me { id } }`, nil), "STEP_UP_REQUIRED")
		owner.access = "" // it has expired, and is not shown
		if a := owner.tryRefresh(owner.refresh); a.userError() != "STEP_UP_REQUIRED" {
			t.Errorf("a refresh: %v", a)
		}
		_, a := try(t, owner, "stepUp", challengeFields, nil)
		refused(t, "a stranger", a, "UNAUTHENTICATED")
		_, a = try(t, owner, "stepUp", challengeFields, vars{"refreshToken": d.person().refresh})
		refused(t, "the refresh token of a session in use", a, "UNAUTHENTICATED")
		e := call(t, owner, "stepUp", challengeFields, vars{"refreshToken": owner.refresh}).Challenge
		if p := owner.verify(*e, "PASSWORD", owner.password, nil); p.refusal() != "CHALLENGE_EXPIRED" {
			t.Errorf("an answer that does not show the session: %+v", p)
		}
		p := owner.at(last(d.servers)).verify(*e, "PASSWORD", owner.password, vars{"refreshToken": owner.refresh})
		if p.Outcome == nil || p.Outcome.Session.ID != owner.session {
			t.Fatalf("the right answer gave %+v", p)
		}
		owner.hold(p.Outcome.tokens)
		if !owner.signedIn() {
			t.Error("the session is not back")
		}
		owner.renew()
	})
}

func TestInCookieModeAStepUpSetsFreshCookiesAlsoWhenTheAccessCookieIsGone(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		b := d.browser()
		b.headers.Set("User-Agent", firefox)
		b.email, b.password = d.seen.email(), d.seen.password()
		b.say(registerDocument, vars{"in": vars{"email": b.email, "password": b.password}})
		for _, expired := range []bool{false, true} {
			thief := &browser{client: b.client.with("User-Agent", chrome), cookies: maps.Clone(b.cookies), servers: d.servers}
			refused(t, "the thief", thief.say(`{ me { id } }`, nil), "STEP_UP_REQUIRED")
			if expired {
				delete(b.cookies, "__Host-gh_access")
			}
			bearer := d.visitor(0).with("User-Agent", firefox)
			if p := lift(t, bearer, vars{"refreshToken": thief.cookies["__Host-gh_refresh"].Value}, "PASSWORD", b.password); p.refusal() != "WRONG_STATE" {
				t.Errorf("the tokens of a browser as bearer tokens: %+v", p)
			}
			p := lift(t, b, nil, "PASSWORD", b.password)
			if p.Outcome == nil || p.Outcome.AccessToken != "" || p.Outcome.RefreshToken != "" {
				t.Fatalf("the right answer gave %+v", p)
			}
			for _, name := range []string{"__Host-gh_access", "__Host-gh_refresh"} {
				if b.cookies[name].Value == thief.cookies[name].Value {
					t.Errorf("the cookie %s is the one that was out", name)
				}
			}
			if !b.signedIn() || thief.signedIn() {
				t.Error("the owner is not back, or the thief is")
			}
			if a := b.say(`mutation { refreshSession { outcome { __typename } userErrors { code } } }`, nil); a.userError() != "" || !b.signedIn() {
				t.Errorf("a refresh: %v", a)
			}
		}
		foreign := &browser{client: b.client.with("Origin", "https://evil.example"), cookies: maps.Clone(b.cookies), servers: d.servers}
		_, a := try(t, foreign, "stepUp", challengeFields, nil)
		refused(t, "a page of another site", a, "UNAUTHENTICATED")
	})
}

func TestTheOwnerIsToldOfANewKeyAndNotMeEndsIt(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		_, key := c.apiKey("jobs:run")
		id, secret := c.service("jobs:run")
		there := last(d.servers)
		if !key.at(there).holds() {
			t.Fatal("the key is no good")
		}
		made := d.await(1, "apiKeyCreated", c.email)
		if !strings.Contains(made.Text, "of a test") || !strings.Contains(made.Link, "/links/not-me?token=") {
			t.Errorf("the mail says %q with the link %s", made.Text, made.Link)
		}
		if told := d.await(1, "serviceSecretCreated", c.email); told.token() == "" || told.token() == made.token() {
			t.Errorf("the other mail has the link %s", told.Link)
		}
		if opened := c.page(http.MethodGet, made.Link, nil); opened.status != http.StatusOK || !key.holds() || !c.signedIn() {
			t.Errorf("a look, as a mail scanner takes it, has acted: %d", opened.status)
		}
		if _, pressed := c.press(made, nil); pressed.status != http.StatusOK {
			t.Fatalf("pressed: %d %s", pressed.status, pressed.body)
		}
		until(t, time.Second, "the key or the session goes on", func() bool { return !key.at(there).holds() && !c.at(there).signedIn() })
		_, err := c.at(there).grants(id, secret, oauth2.AuthStyleInHeader)
		refusedGrant(t, "the secret of the service account", err, http.StatusUnauthorized, "invalid_client")
		if a := c.knock(); a.userError() != "PASSWORD_RESET_REQUIRED" {
			t.Errorf("the password: %v", a)
		}
		d.await(1, "passwordReset", c.email)
	})
}
