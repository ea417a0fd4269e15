package e2e

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestARefreshTokenUsedTwiceEndsItsFamilyOnEveryServer(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		other := c.at(last(d.servers))
		first := c.refresh
		c.renew()
		second := c.refresh
		c.renew()
		if c.refresh == second || second == first || !c.at(last(d.servers)).signedIn() {
			t.Fatal("a refresh did not give a fresh and working pair")
		}
		other.access = c.access
		if a := other.tryRefresh(first); a.userError() != "TOKEN_REUSED" {
			t.Errorf("a token of two generations ago: %v", a)
		}
		gone := until(t, time.Second, "the stolen family still works", func() bool { return !c.signedIn() && !other.signedIn() })
		t.Logf("out on every server after %v", gone)
		if a := c.tryRefresh(c.refresh); a.userError() != "SESSION_REVOKED" {
			t.Errorf("the owner's token after the theft: %v", a)
		}
	})
}

func TestTwentyParallelRefreshesOfOneTokenKeepEverybodySignedIn(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		const callers = 20
		parent := c.refresh // c moves on with the first answer, while others may not have asked yet
		strangers := make([]*client, callers)
		for i := range strangers {
			strangers[i] = c.at(d.servers[i%len(d.servers)])
			strangers[i].access = ""
		}
		outcomes := make(chan signIn, callers)
		for i := range callers {
			go func() {
				a, err := strangers[i].try(t.Context(), refreshDocument, vars{"token": parent})
				if err != nil {
					t.Error(err)
				}
				outcomes <- into[struct{ RefreshSession signIn }](quiet{t}, a).RefreshSession
			}()
		}
		next := map[string]bool{}
		for range callers {
			s := <-outcomes
			if s.Outcome == nil {
				t.Fatalf("one of the parallel refreshes was refused: %+v", s.UserErrors)
			}
			next[s.Outcome.RefreshToken] = true
			c.hold(*s.Outcome)
		}
		if len(next) != 1 {
			t.Errorf("%d successors, want one", len(next))
		}
		c.renew()
		if !c.signedIn() {
			t.Error("the family is dead")
		}
	})
}

func TestAnEndedSessionIsRefusedOnTheOtherServerAndItsSocketClosesWithinASecond(t *testing.T) {
	t.Parallel()
	d := distributed(t)
	for _, ending := range []struct {
		name string
		do   func(t *testing.T, actor, victim *client)
		self bool // the victim is the one who acts
		kept bool // the actor stays signed in
	}{
		{"logout", func(t *testing.T, _, victim *client) { ask[any](victim, `mutation { logout { sessionId } }`, nil) }, true, false},
		{"revokeSession", func(t *testing.T, actor, victim *client) {
			ask[any](actor, `mutation($id: ID!) { revokeSession(input: {sessionId: $id}) { sessionId userErrors { code } } }`, vars{"id": victim.session})
		}, false, true},
		{"revokeOtherSessions", func(t *testing.T, actor, _ *client) {
			ask[any](actor, `mutation { revokeOtherSessions { user { id } userErrors { code } } }`, nil)
		}, false, true},
		{"revokeAllSessions", func(t *testing.T, actor, _ *client) {
			ask[any](actor, `mutation { revokeAllSessions { user { id } userErrors { code } } }`, nil)
		}, false, false},
		{"changePassword", func(t *testing.T, actor, _ *client) {
			fresh := actor.seen.password()
			ask[any](actor, `mutation($old: String!, $new: String!) { changePassword(input: {currentPassword: $old, newPassword: $new}) { user { id } userErrors { code field } } }`,
				vars{"old": actor.password, "new": fresh})
			old := actor.password
			actor.password = fresh
			if a := actor.tryLogin(old); a.userError() != "INVALID_CREDENTIALS" {
				t.Errorf("the old password: %v", a)
			}
			actor.again()
		}, false, true},
	} {
		t.Run(ending.name, func(t *testing.T) {
			actor := d.person()
			victim := actor.again().at(d.servers[1])
			waiting := victim.process(vars{"text": "a\n1\n", "options": vars{"runAt": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}})
			s := victim.dial()
			s.subscribe("1", eventsDocument, vars{"id": waiting.ID})
			if m, ok := s.next(patience); !ok || m.Type != "next" {
				t.Fatalf("the subscription began with %+v", m)
			}
			ending.do(t, actor, victim.at(d.servers[0]))
			began := time.Now()
			until(t, time.Second, "the session still works on the other server", func() bool { return !victim.signedIn() })
			code, reason := s.awaitClose(time.Second - min(time.Since(began), 900*time.Millisecond))
			t.Logf("refused and closed with %d %q after %v", code, reason, time.Since(began))
			if code != 4401 {
				t.Errorf("the socket closed with %d %q, want 4401", code, reason)
			}
			refused(t, "a query", victim.say(`{ jobs { totalCount } }`, nil), "UNAUTHENTICATED")
			if actor.signedIn() != (ending.kept || ending.self) {
				t.Errorf("the one who acted is signed in: %t", actor.signedIn())
			}
		})
	}
}

func TestAWrongPasswordAndAnUnknownAddressGetTheSameAnswer(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	known := d.person()
	unknown := d.visitor(0)
	unknown.email = d.seen.email()
	answers := map[string]bool{}
	for _, c := range []*client{known, unknown} {
		c.access = ""
		a := c.tryLogin(d.seen.password())
		if a.userError() != "INVALID_CREDENTIALS" {
			t.Errorf("got %v", a)
		}
		a.header.Del("X-Request-Id")
		a.header.Del("Date")
		answers[fmt.Sprint(a.status, a.header, string(a.body))] = true
	}
	if len(answers) != 1 {
		t.Errorf("the answers differ: %v", answers)
	}
}

func TestGuessingIsSlowedAlsoThroughAliasesOfOneDocument(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		owner := *c
		guesser := d.visitor(0)
		var fields []string
		for i := range 5 {
			fields = append(fields, fmt.Sprintf(`a%d: login(input: {email: %q, password: "not it, number %d"}) { outcome { __typename } userErrors { code } }`, i, c.email, i))
		}
		document := "mutation { " + strings.Join(fields, "\n") + " }"
		codes := map[string]int{}
		for i := range 8 {
			a := guesser.at(d.servers[i%len(d.servers)]).say(document, nil)
			for _, e := range a.Errors {
				codes[e.Extensions.Code]++
				if e.Extensions.Code == "RATE_LIMITED" && (e.Extensions.RetryAfter == nil || *e.Extensions.RetryAfter < 1) {
					t.Errorf("RATE_LIMITED without retryAfter: %v", a)
				}
			}
			codes["INVALID_CREDENTIALS"] += strings.Count(string(a.Data), "INVALID_CREDENTIALS")
		}
		if codes["RATE_LIMITED"] < 15 || codes["INVALID_CREDENTIALS"] < 10 || codes["RATE_LIMITED"]+codes["INVALID_CREDENTIALS"] != 40 {
			t.Errorf("40 guesses were answered by %v, want some 20 let through and the rest RATE_LIMITED", codes)
		}
		if !owner.signedIn() {
			t.Error("the owner's open session has suffered from the guesses")
		}
	})
}

func TestAKnownDeviceGetsInWhileOthersGuess(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	c.device = "ada's laptop"
	c.login()
	guesser := *c
	guesser.device, guesser.access = "", ""
	until(t, patience, "guessing is not slowed", func() bool { return guesser.tryLogin("not it at all").code() == "RATE_LIMITED" })
	c.login()
}

// verify checks an access token as a stranger would: by the key set that the server publishes.
func verify(t *testing.T, c *client, tokenString string) *jwt.Token {
	t.Helper()
	_, text := c.get(c.url + "/.well-known/jwks.json")
	var set struct {
		Keys []struct{ Kid, Kty, Crv, X, Alg, Use string }
	}
	if err := json.Unmarshal(text, &set); err != nil || len(set.Keys) < 2 {
		t.Fatalf("the key set is %s: %v", text, err)
	}
	_, discovery := c.get(c.url + "/.well-known/openid-configuration")
	var configuration struct{ Issuer string }
	if err := json.Unmarshal(discovery, &configuration); err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Parse(tokenString, func(token *jwt.Token) (any, error) {
		for _, k := range set.Keys {
			if k.Kid == token.Header["kid"] {
				x, err := base64.RawURLEncoding.DecodeString(k.X)
				return ed25519.PublicKey(x), err
			}
		}
		return nil, fmt.Errorf("no key %v", token.Header["kid"])
	}, jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithIssuer(configuration.Issuer), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	if err != nil {
		t.Fatalf("the token is not verified by the published keys: %v", err)
	}
	if token.Header["typ"] != "at+jwt" {
		t.Errorf("the token's type is %v", token.Header["typ"])
	}
	return token
}

func TestKeysAreRotatedWithoutARefusedTokenAndThePublishedSetVerifiesThem(t *testing.T) {
	t.Parallel()
	d := distributed(t)
	c := d.person()
	old := verify(t, c, c.access)
	if out := d.command("keys", "rotate").must(); !strings.Contains(out, "signs from now on") {
		t.Errorf("keys rotate said %q", out)
	}
	published := regexp.MustCompile(`"kid"`)
	for _, server := range d.servers {
		there := c.at(server)
		took := until(t, 40*time.Second, "the next key does not sign", func() bool { // as the command says, half a minute
			if !there.signedIn() {
				t.Errorf("refused while %s learned of the key", server.url)
			}
			_, keys := there.get(server.url + "/.well-known/jwks.json")
			return len(published.FindAll(keys, -1)) == 3
		})
		t.Logf("%s signs with the next key after %v", server.url, took)
		there.renew()
		c.refresh = there.refresh
		if fresh := verify(t, there, there.access); fresh.Header["kid"] == old.Header["kid"] {
			t.Error("the last key still signs")
		}
		verify(t, there, c.access)
	}
}

func TestAdministratorsSeeAllJobsAndOthersTheirOwn(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		ada, bob, admin := d.person(), d.person(), d.admin()
		a, b := ada.process(vars{"text": "a\n1\n"}), bob.process(vars{"text": "a\n1\n"})
		if n := admin.list(vars{"filter": vars{"kinds": []string{"processCsv"}}}).TotalCount; n != 2 {
			t.Errorf("the administrator sees %d jobs, want 2", n)
		}
		for _, j := range []job{a, b} {
			admin.awaitState(j.ID, "SUCCEEDED")
		}
		if n := ada.list(vars{}).TotalCount; n != 1 {
			t.Errorf("Ada sees %d jobs, want 1", n)
		}
		refused(t, "jobs of Bob's for Ada", ada.say(listDocument, vars{"filter": vars{"ownerId": bob.user}}), "FORBIDDEN")
		for _, document := range []string{
			`mutation { pauseQueue(input: {queue: "default"}) { queue } }`,
			`mutation { resumeQueue(input: {queue: "default"}) { queue } }`,
			`mutation { setKindLimit(input: {kind: "processCsv", maxRunning: 0}) { kind { name } } }`,
		} {
			refused(t, document, ada.say(document, nil), "FORBIDDEN")
		}
		pauseAndResume(t, d, admin, ada)
	})
}

func pauseAndResume(t *testing.T, d *deployment, admin, ada *client) {
	t.Helper()
	ask[any](admin, `mutation { pauseQueue(input: {queue: "default"}) { queue userErrors { code } } }`, nil)
	held := ada.at(last(d.servers)).process(vars{"text": "a\n1\n"})
	pause(300 * time.Millisecond)
	if j := ada.job(held.ID); j.State != "QUEUED" {
		t.Errorf("a job of a paused queue is %s", j.State)
	}
	ask[any](admin.at(last(d.servers)), `mutation { resumeQueue(input: {queue: "default"}) { queue userErrors { code } } }`, nil)
	ada.awaitState(held.ID, "SUCCEEDED")
}

func TestAnotherOwnersObjectsAreNotFoundAnywhere(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		ada, eve := d.person(), d.person().at(last(d.servers))
		j := ada.process(vars{"text": "a,b\n1,2\n"})
		j = ada.awaitState(j.ID, "SUCCEEDED")
		waiting := ada.process(vars{"text": "a\n1\n", "options": vars{"runAt": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}})
		for _, id := range []string{j.ID, ada.user, ada.session, waiting.ID} {
			refused(t, "node "+id[:3], eve.say(`query($id: ID!) { node(id: $id) { id } }`, vars{"id": id}), "NOT_FOUND")
		}
		nodes := ask[struct{ Nodes []*struct{ ID string } }](eve, `query($ids: [ID!]!) { nodes(ids: $ids) { id } }`,
			vars{"ids": []string{j.ID, eve.user, ada.user}}).Nodes
		if len(nodes) != 3 || nodes[0] != nil || nodes[1] == nil || nodes[2] != nil {
			t.Errorf("nodes are %v, want only one's own", nodes)
		}
		for _, document := range []string{
			`query($id: ID!) { job(id: $id) { id } }`,
			`mutation($id: ID!) { cancelJob(input: {id: $id}) { job { id } userErrors { code } } }`,
			`mutation($id: ID!) { retryJob(input: {id: $id}) { job { id } userErrors { code } } }`,
			`mutation($id: ID!) { deleteJob(input: {id: $id}) { deletedId userErrors { code } } }`,
		} {
			theirs, missing := eve.say(document, vars{"id": j.ID}), eve.say(document, vars{"id": j.ID[:len(j.ID)-3] + "000"})
			refused(t, document, theirs, "NOT_FOUND")
			if theirs.Errors[0].Message != missing.Errors[0].Message {
				t.Errorf("%s: %q for another's and %q for none", document, theirs.Errors[0].Message, missing.Errors[0].Message)
			}
		}
		refused(t, "revokeSession", eve.say(`mutation($id: ID!) { revokeSession(input: {sessionId: $id}) { sessionId } }`, vars{"id": ada.session}), "NOT_FOUND")
		s := eve.dial()
		s.subscribe("1", eventsDocument, vars{"id": j.ID})
		if m, ok := s.next(patience); !ok || m.Type != "error" && !strings.Contains(string(m.Payload), "NOT_FOUND") {
			t.Errorf("a subscription to another's job got %s %s", m.Type, m.Payload)
		}
		if ada.job(waiting.ID).State != "SCHEDULED" || !ada.signedIn() {
			t.Error("Ada's things were touched")
		}
	})
}

func TestAnArtifactIsFetchedOnlyByALinkThatWeSignedAndThatLives(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	j := c.awaitState(c.process(vars{"text": "a,b\n1,2\n"}).ID, "SUCCEEDED")
	url := j.Artifacts[0].URL
	base, query, _ := strings.Cut(url, "?")
	later := strings.Replace(query, "expires=1", "expires=2", 1)
	for name, link := range map[string]struct {
		url  string
		want int
	}{
		"genuine":               {url, http.StatusOK},
		"without a signature":   {base, http.StatusForbidden},
		"with a longer life":    {base + "?" + later, http.StatusForbidden},
		"with another's path":   {strings.Replace(url, j.Artifacts[0].ID, j.Artifacts[1].ID, 1), http.StatusForbidden},
		"with a cut signature":  {url[:len(url)-2], http.StatusForbidden},
		"signed, but long over": {base + "?" + d.signLink(j.Artifacts[0].ID, time.Now().Add(-time.Second)), http.StatusGone},
		"signed, for no file":   {d.servers[0].url + "/artifacts/art_nothing?" + d.signLink("art_nothing", time.Now().Add(time.Minute)), http.StatusNotFound},
	} {
		if status, _ := c.get(link.url); status != link.want {
			t.Errorf("a link %s: status %d, want %d", name, status, link.want)
		}
	}
}
