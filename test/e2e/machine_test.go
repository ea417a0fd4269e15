package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"gatehouse/test/services"
)

const (
	createKeyDocument     = `mutation($in: CreateApiKeyInput!) { createApiKey(input: $in) { key apiKey { id name scopes expiresAt lastUsedAt } userErrors { code field message } } }`
	createServiceDocument = `mutation($in: CreateServiceAccountInput!) { createServiceAccount(input: $in) { clientSecret serviceAccount { id scopes } userErrors { code field message } } }`
)

// apiKey makes a key of c with these scopes and returns its id and a client that shows it.
func (c *client) apiKey(scopes ...string) (string, *client) {
	c.t.Helper()
	got := ask[struct {
		CreateAPIKey struct {
			Key    string
			APIKey struct{ ID string }
		}
	}](c, createKeyDocument, vars{"in": vars{"name": "of a test", "scopes": scopes}}).CreateAPIKey
	machine := *c
	machine.access, machine.refresh = c.seen.add("API key", got.Key), ""
	return got.APIKey.ID, &machine
}

// service makes a service account of c and returns its id and secret.
func (c *client) service(scopes ...string) (id, secret string) {
	c.t.Helper()
	got := ask[struct {
		CreateServiceAccount struct {
			ClientSecret   string
			ServiceAccount struct{ ID string }
		}
	}](c, createServiceDocument, vars{"in": vars{"name": "of a test", "scopes": scopes}}).CreateServiceAccount
	return got.ServiceAccount.ID, c.seen.add("client secret", got.ClientSecret)
}

// holds reports whether the server admits the credential of c.
func (c *client) holds() bool {
	a, err := c.try(c.t.Context(), `{ jobs(first: 1) { nodes { id } } }`, nil)
	return err == nil && a.code() == "" && a.status == http.StatusOK
}

func TestAnAPIKeyActsForItsOwnerWithinItsScopesAndNoFurther(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		id, key := c.apiKey("jobs:run")
		if !strings.HasPrefix(key.access, "gh_test_"+strings.TrimPrefix(id, "key_")+"_") {
			t.Errorf("the key %s does not have the form of one", id)
		}
		key = key.at(last(d.servers))
		if got := ask[struct{ Me struct{ ID string } }](key, `{ me { id } }`, nil).Me.ID; got != c.user {
			t.Errorf("the key is %s, want its owner %s", got, c.user)
		}
		j := key.process(vars{"text": "a\n1\n"})
		c.awaitState(j.ID, "SUCCEEDED")
		if e := last(follow(t, key.watchSocket(j.ID, nil))); e.Job.State != "SUCCEEDED" {
			t.Errorf("over a socket the key sees %+v", e)
		}
		if e := last(follow(t, key.watchEvents(j.ID, nil))); e.Job.State != "SUCCEEDED" {
			t.Errorf("over an event stream the key sees %+v", e)
		}
		refuseToMachine(t, key, c)
		for name, document := range map[string]string{
			"sessions": `{ me { sessions { totalCount } } }`,
			"keys":     `{ node(id: "` + id + `") { id } }`,
			"users":    `{ users { totalCount } }`,
			"audit":    `{ auditEvents { totalCount } }`,
		} {
			if a := key.say(document, nil); a.code() != "FORBIDDEN" && a.code() != "NOT_FOUND" {
				t.Errorf("%s for a key of jobs:run: %v", name, a)
			}
		}
		for name, scopes := range map[string][]string{"more than its owner has": {"users:read"}, "no scope of ours": {"everything"}, "none": {}} {
			a := c.say(createKeyDocument, vars{"in": vars{"name": "too much", "scopes": scopes}})
			if code := a.userError(); code != "INVALID" && code != "REQUIRED" {
				t.Errorf("a key with %s: %v", name, a)
			}
		}
		listed := ask[struct {
			Me struct {
				APIKeys struct {
					TotalCount int
					Nodes      []struct{ ID, Name string }
				}
			}
		}](c, `{ me { apiKeys { totalCount nodes { id name scopes lastUsedAt } } } }`, nil).Me.APIKeys
		if listed.TotalCount != 1 || listed.Nodes[0].ID != id {
			t.Errorf("listed are %+v", listed)
		}
	})
}

// refuseToMachine checks that a machine changes nothing by which its owner gets in.
func refuseToMachine(t *testing.T, machine, owner *client) {
	t.Helper()
	for _, document := range []string{
		`mutation { createApiKey(input: {name: "more", scopes: ["jobs:run"]}) { key } }`,
		`mutation { revokeApiKey(input: {id: "key_1"}) { revokedId } }`,
		`mutation { createServiceAccount(input: {name: "more", scopes: ["jobs:run"]}) { clientSecret } }`,
		`mutation { rotateServiceAccountSecret(input: {id: "svc_1"}) { clientSecret } }`,
		`mutation { deleteServiceAccount(input: {id: "svc_1"}) { deletedId } }`,
		`mutation { changePassword(input: {currentPassword: "` + owner.password + `", newPassword: "Another, longer secret 7"}) { user { id } } }`,
		`mutation { revokeSession(input: {sessionId: "` + owner.session + `"}) { sessionId } }`,
		`mutation { revokeOtherSessions { user { id } } }`,
		`mutation { revokeAllSessions { user { id } } }`,
		`mutation { enrollTotp { factorId } }`,
		`mutation { startPasskeyRegistration(input: {}) { ceremonyId } }`,
		`mutation { stepUp { challenge { id } } }`,
		`mutation { updateProfile(input: {name: "Eve"}) { user { id } } }`,
		`mutation { requestDataExport { userErrors { code } } }`,
		`mutation { logout { sessionId } }`,
		`mutation { resetUserFactors(input: {userId: "` + owner.user + `"}) { user { id } } }`,
		`mutation { setUserRoles(input: {userId: "` + owner.user + `", roles: [ADMIN]}) { user { id } } }`,
		`mutation { impersonateUser(input: {userId: "` + owner.user + `", reason: "why not"}) { outcome { accessToken } } }`,
	} {
		refused(t, document, machine.say(document, nil), "FORBIDDEN")
	}
	if !owner.signedIn() {
		t.Error("the owner's session has suffered")
	}
}

func TestARevokedKeyIsRefusedOnTheOtherServerAndItsSocketClosesWithinASecond(t *testing.T) {
	t.Parallel()
	d := distributed(t)
	c := d.person()
	id, key := c.apiKey("jobs:run")
	there := key.at(d.servers[1])
	waiting := there.process(vars{"text": "a\n1\n", "options": vars{"runAt": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}})
	s := there.dial()
	s.subscribe("1", eventsDocument, vars{"id": waiting.ID})
	if m, ok := s.next(patience); !ok || m.Type != "next" {
		t.Fatalf("the subscription began with %+v", m)
	}
	ask[any](c, `mutation($id: ID!) { revokeApiKey(input: {id: $id}) { revokedId userErrors { code } } }`, vars{"id": id})
	began := time.Now()
	until(t, time.Second, "the key still opens the other server", func() bool { return !there.holds() })
	if code, reason := s.awaitClose(time.Second); code != 4401 {
		t.Errorf("the socket closed with %d %q, want 4401", code, reason)
	}
	t.Logf("refused and closed after %v", time.Since(began))
	refused(t, "the key", key.say(`{ me { id } }`, nil), "UNAUTHENTICATED")
	if !c.signedIn() {
		t.Error("the owner is out")
	}
}

// grants asks the token endpoint as golang.org/x/oauth2 does.
func (c *client) grants(id, secret string, style oauth2.AuthStyle, scopes ...string) (*oauth2.Token, error) {
	config := clientcredentials.Config{
		ClientID: id, ClientSecret: secret, TokenURL: c.url + "/oauth/token", Scopes: scopes, AuthStyle: style,
	}
	token, err := config.Token(c.t.Context())
	if err == nil {
		c.seen.add("access token", token.AccessToken)
	}
	return token, err
}

func (c *client) holding(token *oauth2.Token) *client {
	machine := *c
	machine.access, machine.refresh = token.AccessToken, ""
	return &machine
}

func TestAServiceAccountGetsTokensByARealClientAndOwnsItsJobs(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		id, secret := c.service("jobs:run", "account:read")
		for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
			token, err := c.at(last(d.servers)).grants(id, secret, style)
			if err != nil {
				t.Fatal(err)
			}
			claims := verify(t, c, token.AccessToken).Claims
			if sub, _ := claims.GetSubject(); sub != id || token.Extra("scope") != "jobs:run account:read" || time.Until(token.Expiry) > 11*time.Minute {
				t.Errorf("the token is of %s with scope %v until %v", sub, token.Extra("scope"), token.Expiry)
			}
		}
		token, err := c.grants(id, secret, oauth2.AuthStyleInHeader, "jobs:run")
		if err != nil {
			t.Fatal(err)
		}
		machine := c.holding(token).at(last(d.servers))
		j := machine.process(vars{"text": "a\n1\n"})
		machine.awaitState(j.ID, "SUCCEEDED")
		refused(t, "the owner's look at its job", c.say(`query($id: ID!) { job(id: $id) { id } }`, vars{"id": j.ID}), "NOT_FOUND")
		refuseToMachine(t, machine, c)
		if a := machine.say(`{ me { id } }`, nil); string(a.Data) != `{"me":null}` {
			t.Errorf("me of a service account is %v", a)
		}
		checkRotation(t, c, id, secret)
		ask[any](c, `mutation($id: ID!) { deleteServiceAccount(input: {id: $id}) { deletedId userErrors { code } } }`, vars{"id": id})
		until(t, time.Second, "the token outlives its service account", func() bool { return !machine.holds() })
		_, err = c.grants(id, secret, oauth2.AuthStyleInHeader)
		refusedGrant(t, "a deleted client", err, http.StatusUnauthorized, "invalid_client")
	})
}

func checkRotation(t *testing.T, c *client, id, first string) {
	t.Helper()
	rotate := func(grace int) string {
		got := ask[struct{ RotateServiceAccountSecret struct{ ClientSecret string } }](c,
			`mutation($in: RotateServiceAccountSecretInput!) { rotateServiceAccountSecret(input: $in) { clientSecret serviceAccount { formerSecretUntil } userErrors { code } } }`,
			vars{"in": vars{"id": id, "graceSeconds": grace}})
		return c.seen.add("client secret", got.RotateServiceAccountSecret.ClientSecret)
	}
	second := rotate(600)
	for name, secret := range map[string]string{"the new secret": second, "the last one in its grace": first} {
		if _, err := c.grants(id, secret, oauth2.AuthStyleInHeader); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	token, err := c.grants(id, second, oauth2.AuthStyleInHeader)
	if err != nil {
		t.Fatal(err)
	}
	third := rotate(0)
	until(t, time.Second, "a token of the secret that leaked still works", func() bool { return !c.holding(token).holds() })
	for name, secret := range map[string]string{"the first": first, "the second": second} {
		_, err := c.grants(id, secret, oauth2.AuthStyleInHeader)
		refusedGrant(t, name+" secret after a rotation without grace", err, http.StatusUnauthorized, "invalid_client")
	}
	if _, err := c.grants(id, third, oauth2.AuthStyleInParams); err != nil {
		t.Errorf("the third secret: %v", err)
	}
}

func refusedGrant(t *testing.T, what string, err error, status int, code string) {
	t.Helper()
	refusal, ok := err.(*oauth2.RetrieveError)
	if !ok || refusal.Response.StatusCode != status || refusal.ErrorCode != code {
		t.Errorf("%s: %v, want %d %s", what, err, status, code)
	}
}

func TestTheTokenEndpointAnswersAsTheStandardSays(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	id, secret := c.service("jobs:run")
	good := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	with := func(name string, values ...string) url.Values {
		form := url.Values{}
		for n, v := range good {
			form[n] = v
		}
		form[name] = values
		return form
	}
	post := func(address, media, body, authorization string) (*http.Response, map[string]any) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url+address, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", media)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		response, err := c.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var answer map[string]any
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			t.Fatalf("the answer is no JSON: %v", err)
		}
		if access, ok := answer["access_token"].(string); ok {
			c.seen.add("access token", access)
		}
		return response, answer
	}
	const form = "application/x-www-form-urlencoded"
	for name, row := range map[string]struct {
		address, media, body, authorization string
		status                              int
		code                                string
	}{
		"a good request":               {"/oauth/token", form, good.Encode(), "", 200, ""},
		"an empty scope":               {"/oauth/token", form, with("scope", "").Encode(), "", 200, ""},
		"parameters in the address":    {"/oauth/token?" + good.Encode(), form, "", "", 400, "invalid_request"},
		"JSON":                         {"/oauth/token", "application/json", `{}`, "", 400, "invalid_request"},
		"no grant type":                {"/oauth/token", form, with("grant_type").Encode(), "", 400, "invalid_request"},
		"a parameter twice":            {"/oauth/token", form, with("scope", "jobs:run", "jobs:run").Encode(), "", 400, "invalid_request"},
		"a huge body":                  {"/oauth/token", form, with("scope", strings.Repeat("x", 10_000)).Encode(), "", 400, "invalid_request"},
		"the password grant":           {"/oauth/token", form, with("grant_type", "password").Encode(), "", 400, "unsupported_grant_type"},
		"the implicit grant":           {"/oauth/token", form, with("grant_type", "implicit").Encode(), "", 400, "unsupported_grant_type"},
		"a grant that nobody knows":    {"/oauth/token", form, with("grant_type", "magic").Encode(), "", 400, "unsupported_grant_type"},
		"a scope beyond the client's":  {"/oauth/token", form, with("scope", "jobs:run users:read").Encode(), "", 400, "invalid_scope"},
		"a wrong secret":               {"/oauth/token", form, with("client_secret", "ghs_wrong").Encode(), "", 401, "invalid_client"},
		"no client":                    {"/oauth/token", form, "grant_type=client_credentials", "", 401, "invalid_client"},
		"both ways to show the secret": {"/oauth/token", form, good.Encode(), "Basic " + basic(id, secret), 400, "invalid_request"},
		"a wrong secret in the header": {"/oauth/token", form, "grant_type=client_credentials", "Basic " + basic(id, "ghs_wrong"), 401, "invalid_client"},
		"another scheme":               {"/oauth/token", form, "grant_type=client_credentials", "Bearer x", 401, "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			response, answer := post(row.address, row.media, row.body, row.authorization)
			code, _ := answer["error"].(string)
			if response.StatusCode != row.status || code != row.code {
				t.Errorf("got %d %v, want %d %s", response.StatusCode, answer["error"], row.status, row.code)
			}
			if response.Header.Get("Cache-Control") != "no-store" {
				t.Error("the answer may be stored")
			}
			if challenged := response.Header.Get("WWW-Authenticate") != ""; challenged != (row.status == 401 && row.authorization != "") {
				t.Errorf("challenged: %t", challenged)
			}
			if code == "unsupported_grant_type" && answer["error_description"] == "" {
				t.Error("no reason is given")
			}
		})
	}
	limited := 0
	for range 70 {
		if response, _ := post("/oauth/token", form, with("client_secret", "ghs_wrong").Encode(), ""); response.StatusCode == 429 && response.Header.Get("Retry-After") != "" {
			limited++
		}
	}
	if limited == 0 {
		t.Error("guessing is not slowed")
	}
	_, text := c.get(c.url + "/.well-known/openid-configuration")
	for _, want := range []string{`"token_endpoint":"` + d.publicURL + `/oauth/token"`, `"grant_types_supported":["client_credentials"]`, "client_secret_basic"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the discovery document lacks %s: %s", want, text)
		}
	}
}

func basic(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(url.QueryEscape(user), url.QueryEscape(password))
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Basic ")
}

// userDocument asks for one account as administrators see it.
const userDocument = `query($id: ID!) { user(id: $id) { id email status roles } }`

func TestAdministratorsFindChangeAndReleaseAccounts(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		admin, ada, bob := d.admin(), d.person(), d.person()
		users := func(filter vars) []string {
			got := ask[struct {
				Users struct{ Nodes []struct{ ID string } }
			}](admin, `query($f: UserFilter) { users(filter: $f) { totalCount nodes { id email status roles createdAt } pageInfo { hasNextPage } } }`, vars{"f": filter})
			var ids []string
			for _, n := range got.Users.Nodes {
				ids = append(ids, n.ID)
			}
			return ids
		}
		for name, row := range map[string]struct {
			filter vars
			want   []string
		}{
			"all, newest first": {nil, []string{bob.user, ada.user, admin.user}},
			"an address":        {vars{"email": strings.ToUpper(ada.email)}, []string{ada.user}},
			"an id":             {vars{"id": bob.user}, []string{bob.user}},
			"a role":            {vars{"role": "ADMIN"}, []string{admin.user}},
			"a state":           {vars{"status": "DISABLED"}, nil},
			"a range":           {vars{"createdAfter": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, nil},
		} {
			if got := users(row.filter); fmt.Sprint(got) != fmt.Sprint(row.want) {
				t.Errorf("users by %s are %v, want %v", name, got, row.want)
			}
		}
		refused(t, "the list of users for Ada", ada.say(`{ users { totalCount } }`, nil), "FORBIDDEN")
		refused(t, "Bob for Ada", ada.say(userDocument, vars{"id": bob.user}), "NOT_FOUND")
		refused(t, "the audit for Ada", ada.say(`{ auditEvents { totalCount } }`, nil), "FORBIDDEN")
		if a := admin.say(userDocument, vars{"id": bob.user}); !strings.Contains(string(a.Data), bob.email) {
			t.Errorf("Bob for the administrator is %v", a)
		}

		_, key := ada.apiKey("jobs:run")
		there := ada.at(last(d.servers))
		change(admin, "disableUser", ada.user, "")
		until(t, time.Second, "a disabled account is in", func() bool { return !there.signedIn() && !key.at(last(d.servers)).holds() })
		change(admin, "enableUser", ada.user, "")
		until(t, time.Second, "the key of an enabled account is dead", func() bool { return key.at(last(d.servers)).holds() })
		ada.login()
		change(admin, "revokeUserSessions", ada.user, "")
		until(t, time.Second, "a revoked session is in", func() bool { return !ada.at(last(d.servers)).signedIn() })

		stranger := *ada
		stranger.access = "" // it was revoked
		until(t, patience, "guessing is not slowed", func() bool { return stranger.tryLogin("not it at all").code() == "RATE_LIMITED" })
		change(admin, "unlockUser", ada.user, "")
		ada.login()
		change(admin, "resetUserFactors", ada.user, "")
		until(t, time.Second, "sessions outlive a reset of factors", func() bool { return !ada.signedIn() })
		ada.login()

		if a := admin.say(`mutation($id: ID!) { disableUser(input: {userId: $id}) { user { id } userErrors { code } } }`, vars{"id": admin.user}); a.userError() != "WRONG_STATE" {
			t.Errorf("an administrator who disables themself: %v", a)
		}
		checkAudit(t, admin, ada)
	})
}

// change runs an administrator's mutation on an account.
func change(admin *client, mutation, user, more string) {
	admin.t.Helper()
	ask[any](admin, fmt.Sprintf(`mutation($id: ID!) { %s(input: {userId: $id%s}) { user { id status roles } userErrors { code message } } }`, mutation, more), vars{"id": user})
}

func checkAudit(t *testing.T, admin, ada *client) {
	t.Helper()
	type page struct {
		AuditEvents struct {
			TotalCount int
			Nodes      []struct {
				Action, Actor, Outcome string
				Subject                *struct{ ID string }
			}
			PageInfo struct {
				HasNextPage bool
				EndCursor   string
			}
		}
	}
	const document = `query($f: AuditEventFilter, $after: String) { auditEvents(filter: $f, first: 5, after: $after) { totalCount nodes { id at action actor outcome subject { id } subjectId network details } pageInfo { hasNextPage endCursor } } }`
	seen := map[string]int{}
	after := ""
	for n := 0; ; n++ {
		v := vars{"f": vars{"userId": ada.user}}
		if after != "" {
			v["after"] = after
		}
		got := ask[page](admin, document, v).AuditEvents
		for _, e := range got.Nodes {
			seen[e.Action]++
		}
		if after = got.PageInfo.EndCursor; !got.PageInfo.HasNextPage || n == 20 {
			break
		}
	}
	for _, action := range []string{"account.registered", "apikey.created", "account.disabled", "account.enabled", "account.unlocked", "factors.reset", "session.revoked", "login.succeeded"} {
		if seen[action] == 0 {
			t.Errorf("the audit of Ada lacks %s: %v", action, seen)
		}
	}
	got := ask[page](admin, document, vars{"f": vars{"action": "login.", "outcome": "REFUSED"}}).AuditEvents
	if got.TotalCount == 0 || got.Nodes[0].Action != "login.refused" || got.Nodes[0].Outcome != "REFUSED" {
		t.Errorf("refused sign-ins are %+v", got)
	}
}

func TestChangedRolesActOnTheOtherServerAndEndStreamsOpenedWithTheOldOnes(t *testing.T) {
	t.Parallel()
	d := distributed(t)
	admin, ada := d.admin(), d.person()
	there := ada.at(d.servers[1])
	change(admin, "setUserRoles", ada.user, ", roles: [ADMIN, DEVELOPER]")
	until(t, time.Second, "the new role is not seen", func() bool { return there.say(`{ users { totalCount } }`, nil).code() == "" })
	_, key := ada.apiKey("users:read", "jobs:read-all")
	key = key.at(d.servers[1])
	if a := key.say(`{ users { totalCount } }`, nil); a.code() != "" {
		t.Errorf("an administrator's key: %v", a)
	}
	s, events := there.dial(), there.dial()
	s.subscribe("1", `subscription { jobUpdates { id } }`, nil)
	events.subscribe("1", `subscription { jobUpdates { id } }`, nil)
	quiet := d.person().at(d.servers[1]).dial()
	quiet.subscribe("1", `subscription { jobUpdates { id } }`, nil)
	change(admin, "setUserRoles", ada.user, ", roles: []")
	began := time.Now()
	for _, one := range []*socket{s, events} {
		if code, reason := one.awaitClose(2 * time.Second); code != 4401 || reason != "ROLES_CHANGED" {
			t.Errorf("a stream of the old role closed with %d %q", code, reason)
		}
	}
	t.Logf("closed after %v", time.Since(began))
	until(t, time.Second, "the old role is still good", func() bool {
		return there.say(`{ users { totalCount } }`, nil).code() == "FORBIDDEN" && key.say(`{ users { totalCount } }`, nil).code() == "FORBIDDEN"
	})
	if !there.signedIn() {
		t.Error("the session ended with the role")
	}
	back := there.dial()
	back.subscribe("1", `subscription { jobUpdates { id } }`, nil)
	mine := there.process(vars{"text": "a\n1\n"})
	if m, ok := back.next(patience); !ok || m.Type != "next" || !strings.Contains(string(m.Payload), mine.ID) {
		t.Errorf("the stream of who came back gave %+v", m)
	}
}

func TestAnImpersonationIsReadOnlyToldListedAndEndsWithTheRole(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		admin, ada := d.admin(), d.person()
		as := func(readOnly bool) *client {
			got := ask[struct{ ImpersonateUser struct{ Outcome tokens } }](admin,
				`mutation($in: ImpersonateUserInput!) { impersonateUser(input: $in) { outcome { accessToken refreshToken accessTokenExpiresAt session { id impersonation } user { id } } userErrors { code } } }`,
				vars{"in": vars{"userId": ada.user, "reason": "a call for help", "readOnly": readOnly}}).ImpersonateUser.Outcome
			if got.RefreshToken != "" || time.Until(got.AccessTokenExpiresAt) > 30*time.Minute {
				t.Errorf("an impersonation got a refresh token, or lasts until %v", got.AccessTokenExpiresAt)
			}
			c := *ada
			c.hold(got)
			return c.at(last(d.servers))
		}
		looking := as(true)
		if claims, _ := json.Marshal(verify(t, admin, looking.access).Claims); !strings.Contains(string(claims), `"act":{"sub":"`+admin.user+`"}`) {
			t.Errorf("the claims do not name the actor: %s", claims)
		}
		if got := ask[struct{ Me struct{ ID string } }](looking, `{ me { id email jobs { totalCount } } }`, nil).Me.ID; got != ada.user {
			t.Errorf("looking in Ada's place one is %s", got)
		}
		refused(t, "a job of who may only look", looking.say(processDocument, vars{"in": vars{"text": "a\n1\n"}}), "FORBIDDEN")
		acting := as(false)
		acting.process(vars{"text": "a\n1\n"})
		for _, c := range []*client{looking, acting} {
			for _, document := range []string{
				`mutation { changePassword(input: {currentPassword: "x", newPassword: "Another, longer secret 7"}) { user { id } } }`,
				`mutation { createApiKey(input: {name: "stays", scopes: ["jobs:run"]}) { key } }`,
				`mutation { enrollTotp { factorId } }`,
				`mutation { startPasskeyRegistration(input: {}) { ceremonyId } }`,
				`mutation { stepUp { challenge { id } } }`,
				`mutation { updateProfile(input: {name: "Eve"}) { user { id } } }`,
				`mutation { requestDataExport { userErrors { code } } }`,
				`mutation { revokeAllSessions { user { id } } }`,
				`mutation { impersonateUser(input: {userId: "` + ada.user + `", reason: "chain"}) { outcome { accessToken } } }`,
			} {
				refused(t, document, c.say(document, nil), "FORBIDDEN")
			}
		}
		mine := ask[struct {
			Me struct {
				Sessions struct {
					Nodes []struct {
						ID            string
						Impersonation bool
					}
				}
			}
		}](ada, `{ me { sessions { nodes { id impersonation } } } }`, nil).Me.Sessions.Nodes
		listed := 0
		for _, s := range mine {
			if s.Impersonation {
				listed++
			}
		}
		if listed != 2 {
			t.Errorf("Ada sees %d impersonations, want 2: %+v", listed, mine)
		}
		ask[any](ada, `mutation($id: ID!) { revokeSession(input: {sessionId: $id}) { sessionId userErrors { code } } }`, vars{"id": looking.session})
		until(t, time.Second, "Ada cannot end an impersonation", func() bool { return !looking.signedIn() })
		ask[any](acting, `mutation { logout { sessionId userErrors { code } } }`, nil)

		other := d.admin()
		again := as(false)
		change(other, "setUserRoles", admin.user, ", roles: []")
		until(t, time.Second, "an impersonation outlives its administrator's role", func() bool { return !again.signedIn() })
		if a := other.say(`mutation($id: ID!) { impersonateUser(input: {userId: $id, reason: "x"}) { outcome { accessToken } userErrors { code } } }`, vars{"id": other.user}); a.userError() != "WRONG_STATE" {
			t.Errorf("impersonating oneself: %v", a)
		}
	})
}

// otherKey is a second secret key.
const otherKey = "_v38-_r5-Pf29fTz8vHw7-7t7Ovq6ejn5uXk4-Lh4N8"

func TestTheSecretKeyIsChangedWithoutLosingAnAccountOrASession(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		restart := func(flags ...string) {
			t.Helper()
			for _, p := range append(d.servers, d.workers...) {
				if p.alive() {
					p.stop()
				}
			}
			servers, workers := len(d.servers), len(d.workers)
			d.secrets = flags
			d.servers, d.workers = nil, nil
			for i := range servers {
				var more []string
				if i == 0 { // links begin there
					more = append(more, "--addr", strings.TrimPrefix(d.publicURL, "http://"))
				}
				if d.redis != "" {
					more = append(more, "--workers", "0")
				}
				d.addServer(more...)
			}
			for range workers {
				d.addWorker()
			}
		}
		made := strings.TrimSpace(readFile(t, d.data+"/secret.key"))
		d.seen.add("secret key", key)
		d.seen.add("secret key", otherKey)
		ada := d.person()
		ada.url = d.publicURL
		_, machine := ada.apiKey("jobs:run")
		first := ada.process(vars{"text": "a\n1\n"})
		ada.awaitState(first.ID, "SUCCEEDED")

		restart("GATEHOUSE_SECRET_KEY="+key, "GATEHOUSE_SECRET_KEY_OLDER="+made)
		at := func(c *client) *client { return c.at(d.servers[0]) }
		if !at(ada).signedIn() || !at(machine).holds() {
			t.Error("a session or key did not outlive the change")
		}
		at(ada).again()
		out := d.command("keys", "rotate", "--at-rest").must()
		if !strings.Contains(out, "succeeded") || !strings.Contains(out, "Nothing is sealed with a former key any more") {
			t.Errorf("keys rotate --at-rest said %q", out)
		}
		restart("GATEHOUSE_SECRET_KEY=" + key)
		back := at(ada)
		back.renew()
		if got := ask[struct{ Me struct{ ID, Email string } }](back, `{ me { id email } }`, nil).Me; got.Email != ada.email {
			t.Errorf("after the change the account is %+v", got)
		}
		back.again()
		back.fetch(back.job(first.ID).Artifacts[0])

		wrong := d.command("serve", "--addr", freeAddr(t))
		wrong.env = append(wrong.env, "GATEHOUSE_SECRET_KEY="+otherKey)
		if d.redis == "" {
			d.servers[0].stop()
		}
		if out, code := wrong.run(); code == 0 || !strings.Contains(out, "secret-key-older") {
			t.Errorf("with another secret key it ended with %d and said %q", code, out)
		}
	})
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

var firstAdminLink = regexp.MustCompile(`link="?(http://[^ "]+)`)

func TestTheLinkOfTheFirstStartMakesOneAdministratorAndNoSecond(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		d.addServer("--first-admin-link", "--workers", "4", "--data", t.TempDir(), "--database-url", d.databaseFor(t))
		p := last(d.servers)
		link := p.log.await(firstAdminLink, p.ended, patience)
		if link == nil {
			t.Fatal("no link was logged")
		}
		address, _ := url.Parse(link[1])
		here := p.url + "/first-admin"
		c := newClient(t, p.url, d.seen)
		if status, page := c.get(here + "?" + address.RawQuery); status != http.StatusOK || !strings.Contains(string(page), "<form") {
			t.Fatalf("the link shows %d %s", status, page)
		}
		if status, page := c.get(here + "?token=wrong"); status != http.StatusNotFound || strings.Contains(string(page), "<form") {
			t.Errorf("a wrong link shows %d %s", status, page)
		}
		post := func(token, email, password string) int {
			response, err := c.http.PostForm(here, url.Values{"token": {token}, "email": {email}, "password": {password}})
			if err != nil {
				t.Error(err)
				return 0
			}
			defer response.Body.Close()
			return response.StatusCode
		}
		token := address.Query().Get("token")
		if status := post("wrong", d.seen.email(), d.seen.password()); status != http.StatusNotFound {
			t.Errorf("a wrong token: %d", status)
		}
		if status := post(token, d.seen.email(), "short"); status != http.StatusUnprocessableEntity {
			t.Errorf("a weak password: %d", status)
		}
		statuses := make(chan int)
		emails := []string{d.seen.email(), d.seen.email(), d.seen.email()}
		password := d.seen.password()
		for _, email := range emails {
			go func() { statuses <- post(token, email, password) }()
		}
		made := 0
		for range emails {
			if <-statuses == http.StatusOK {
				made++
			}
		}
		if made != 1 {
			t.Errorf("%d administrators were made at once", made)
		}
		if status, _ := c.get(here + "?token=" + token); status != http.StatusNotFound {
			t.Errorf("the used link answers %d", status)
		}
		admins := 0
		for _, email := range emails {
			c.email, c.password, c.access = email, password, ""
			if a := c.tryLogin(password); a.userError() == "" {
				c.enter(into[struct{ Login signIn }](t, a).Login)
				if c.say(`{ users { totalCount } }`, nil).code() == "" {
					admins++
				}
			}
		}
		if admins != 1 {
			t.Errorf("%d of those who tried are administrators", admins)
		}
	})
}

// databaseFor returns an empty database of the kind that d has.
func (d *deployment) databaseFor(t *testing.T) string {
	if d.redis == "" {
		return "sqlite:" + t.TempDir() + "/first.db"
	}
	return services.Postgres(t)
}

func TestInCookieModeAnImpersonationLeavesTheAdministratorsCookiesAlone(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		admin, ada := d.admin(), d.person()
		b := d.browser()
		b.email, b.password = admin.email, admin.password
		if a := b.say(loginDocument, vars{"in": vars{"email": b.email, "password": b.password}}); a.userError() != "" {
			t.Fatalf("login: %v", a)
		}
		before := b.cookie()
		got := into[struct{ ImpersonateUser struct{ Outcome tokens } }](t, b.say(
			`mutation($id: ID!) { impersonateUser(input: {userId: $id, reason: "a call for help"}) { outcome { accessToken session { id } user { id } } userErrors { code } } }`,
			vars{"id": ada.user})).ImpersonateUser.Outcome
		d.seen.add("access token", got.AccessToken)
		if got.AccessToken == "" || b.cookie() != before {
			t.Errorf("the impersonation gave %+v and left the cookies %t", got, b.cookie() == before)
		}
		id, key := ada.apiKey("jobs:run")
		b.headers.Set("Authorization", "Bearer "+key.access) // a key beside the cookies: the key counts
		a := b.say(`{ me { id } }`, nil)
		if !strings.Contains(string(a.Data), ada.user) {
			t.Errorf("with key %s and cookies one is %v", id, a)
		}
		refused(t, "a mutation of the administrator with Ada's key", b.say(`mutation($id: ID!) { disableUser(input: {userId: $id}) { user { id } } }`, vars{"id": ada.user}), "FORBIDDEN")
	})
}
