package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// callback carries an answer of the provider to the next server, as a browser does that is sent there: with
// its cookies, and without the headers of a page.
func (b *browser) callback(back *url.URL) (int, *url.URL) {
	b.t.Helper()
	p := b.servers[b.turn%len(b.servers)]
	b.turn++
	return p.callback(back, b.cookie())
}

// through brings a browser through the provider and back: by the server or, where in says so, by a page.
func (p *identityProvider) through(b *browser, in vars, form url.Values) answer {
	p.t.Helper()
	_, back := p.flow(b, in, form)
	if in["redirectTo"] == providerPage {
		return tryComplete(b, brought(back, nil))
	}
	status, to := b.callback(back)
	if status != http.StatusSeeOther || to.Query().Get("exchangeCode") == "" {
		p.t.Fatalf("the server answered %d and leads to %s", status, to)
	}
	return tryComplete(b, vars{"exchangeCode": to.Query().Get("exchangeCode")})
}

func TestInCookieModeEachStepOfASignInMayComeToAnotherServer(t *testing.T) {
	t.Parallel()
	withProvider(t, func(t *testing.T, d *deployment, p *identityProvider) {
		var account string
		for name, page := range map[string]string{"by the server": appPage, "by a page": providerPage} {
			for turn := range 2 { // a flow that is odd in steps ends on the other server
				b := d.browser()
				b.turn = turn
				a := p.through(b, vars{"provider": "peer", "redirectTo": page}, signInAs("alice"))
				got := into[struct{ CompleteOAuth completed }](t, a).CompleteOAuth
				if got.Outcome == nil || got.Outcome.AccessToken != "" || got.Outcome.RefreshToken != "" || !b.signedIn() || !b.signedIn() {
					t.Fatalf("%s from server %d: %v", name, turn, a)
				}
				if account == "" {
					account = got.Outcome.User.ID
				}
				if got.Outcome.User.ID != account {
					t.Errorf("%s one is %s, want %s", name, got.Outcome.User.ID, account)
				}
				for _, cookie := range b.cookies {
					if strings.Contains(string(a.body), cookie.Value) {
						t.Errorf("%s the value of %s stands in the body", name, cookie.Name)
					}
				}
			}
		}
	})
}

func TestInCookieModeABrowserLinksAndUnlinksAnIdentityAndNoOtherPageDoes(t *testing.T) {
	t.Parallel()
	withProvider(t, func(t *testing.T, d *deployment, p *identityProvider) {
		b, thief := d.browser(), d.browser()
		b.enroll(d)
		thief.enroll(d)
		confirm := d.await(1, "verifyEmail", b.email) // only who has shown that an address is theirs gets mails of links
		if a := b.say(`mutation($t: String!) { verifyEmail(input: {token: $t}) { verified userErrors { code } } }`, vars{"t": confirm.token()}); a.userError() != "" {
			t.Fatalf("verifyEmail: %v", a)
		}
		in := vars{"provider": "peer", "redirectTo": providerPage, "link": true}
		refused(t, "nobody's link", d.browser().say(startOAuthDocument, vars{"in": in}), "UNAUTHENTICATED")
		_, back := p.flow(b, in, signInAs("carol-noemail"))
		startOAuth(t, thief, in) // so that it has a cookie of its own
		if a := tryComplete(thief, brought(back, nil)); a.userError() != "OAUTH_BINDING_MISMATCH" {
			t.Errorf("the answer in another browser: %v", a)
		}
		got := complete(t, b, brought(back, nil))
		if got.Outcome != nil || got.Identity == nil {
			t.Fatalf("the link gave %+v", got)
		}
		// The same by the server, which changes nothing any more.
		in["redirectTo"] = appPage
		again := into[struct{ CompleteOAuth completed }](t, p.through(b, in, signInAs("carol-noemail"))).CompleteOAuth
		if again.Identity == nil || again.Identity.ID != got.Identity.ID {
			t.Errorf("the same identity once more: %+v", again)
		}
		if a := p.through(thief, in, signInAs("carol-noemail")); a.userError() != "OAUTH_IDENTITY_TAKEN" {
			t.Errorf("the identity of somebody else: %v", a)
		}
		v := vars{"id": got.Identity.ID}
		refused(t, "to unlink the identity of another", thief.say(unlinkDocument, v), "NOT_FOUND")
		for name, change := range map[string][]string{
			"another site": {"Origin", "https://evil.example"}, "no custom header": {"Gatehouse-Session", ""},
		} {
			foreign := *b
			foreign.client = b.with(change...)
			if a := foreign.say(unlinkDocument, v); a.code() != "UNAUTHENTICATED" && a.status != http.StatusForbidden {
				t.Errorf("%s unlinks: %v", name, a)
			}
		}
		if a := b.say(unlinkDocument, v); !strings.Contains(string(a.Data), `"identities":[]`) || a.userError() != "" || !b.signedIn() {
			t.Errorf("unlink: %v", a)
		}
		d.posted("identityLinked", b.email, 0)
		d.posted("identityUnlinked", b.email, 0)
		in = vars{"provider": "peer", "redirectTo": appPage}
		if a := p.through(d.browser(), in, signInAs("carol-noemail")); a.userError() != "OAUTH_EMAIL_REQUIRED" {
			t.Errorf("what was unlinked signs in: %v", a)
		}
	})
}

// enroll makes an account for the browser.
func (b *browser) enroll(d *deployment) {
	b.t.Helper()
	b.email, b.password = d.seen.email(), d.seen.password()
	if a := b.say(registerDocument, vars{"in": vars{"email": b.email, "password": b.password}}); a.userError() != "" || !b.signedIn() {
		b.t.Fatalf("register: %v", a)
	}
}

const unlinkDocument = `mutation($id: ID!) { unlinkIdentity(input: {identityId: $id}) { identityId user { identities { id } } userErrors { code } } }`

func TestASignInThroughAProviderThatIsRefusedAtItsStartIsRecordedOnce(t *testing.T) {
	t.Parallel()
	withProvider(t, func(t *testing.T, d *deployment, p *identityProvider) {
		admin, ada := d.admin(), d.person()
		mine := newPKCE()
		const evil = "https://evil.example.test/catch"
		for want, in := range map[string]vars{
			"OAUTH_REDIRECT_REFUSED": {"provider": "peer", "clientChallenge": mine.challenge, "redirectTo": evil},
			"INVALID":                {"provider": "no-such-provider", "clientChallenge": mine.challenge},
			"REQUIRED":               {"provider": "peer"},
		} {
			if a := d.visitor(1).say(startOAuthDocument, vars{"in": in}); a.userError() != want {
				t.Errorf("start with %v: %v, want %s", in, a, want)
			}
		}
		in := vars{"provider": "other", "clientChallenge": mine.challenge, "redirectTo": evil, "link": true}
		if a := ada.say(startOAuthDocument, vars{"in": in}); a.userError() != "OAUTH_REDIRECT_REFUSED" {
			t.Errorf("a link that leads elsewhere: %v", a)
		}
		type event struct {
			Action, Actor, SubjectID string
			Details                  map[string]string
		}
		read := func(filter vars) []event {
			return ask[struct{ AuditEvents struct{ Nodes []event } }](admin,
				`query($f: AuditEventFilter) { auditEvents(filter: $f) { nodes { action actor subjectId details } } }`, vars{"f": filter}).AuditEvents.Nodes
		}
		var got []string
		for _, e := range read(vars{"action": "login.refused", "outcome": "REFUSED"}) {
			if e.Actor != "nobody" || e.SubjectID != "" || e.Details["flow"] != "" {
				t.Errorf("recorded is %+v", e)
			}
			got = append(got, e.Details["provider"]+" "+e.Details["reason"])
		}
		slices.Sort(got)
		if want := []string{" INVALID", "peer OAUTH_REDIRECT_REFUSED", "peer REQUIRED"}; !slices.Equal(got, want) {
			t.Errorf("recorded are %q, want %q", got, want)
		}
		links := read(vars{"action": "identity.refused", "userId": ada.user})
		if len(links) != 1 || links[0].SubjectID != ada.user || links[0].Details["reason"] != "OAUTH_REDIRECT_REFUSED" || links[0].Details["provider"] != "other" {
			t.Errorf("the refused link is recorded as %+v", links)
		}
		for _, p := range d.servers {
			if strings.Contains(p.log.String(), evil) || strings.Contains(p.log.String(), "no-such-provider") {
				t.Error("the log repeats what a stranger wrote")
			}
		}
	})
}

func TestOfManyRefusedStartsOfOneNetworkOneAMinuteIsRecorded(t *testing.T) {
	t.Parallel()
	p := startIdentityProvider(t)
	d := embedded(t, "--oauth-file", p.file(), "--trusted-proxies", "127.0.0.0/8")
	p.overhear(d.seen)
	admin := d.admin()
	began := time.Now()
	limited := 0
	for i := range 45 { // the rule of an address lets 30 begin, and one each 20 s
		stranger := d.visitor(0).with("X-Forwarded-For", "203.0.113.7")
		a := stranger.say(startOAuthDocument, vars{"in": vars{"provider": "peer", "clientChallenge": newPKCE().challenge}})
		if a.code() == "RATE_LIMITED" {
			limited++
		} else if a.userError() != "" || a.code() != "" {
			t.Errorf("start %d: %v", i, a)
		}
	}
	if most := 30 + int(time.Since(began)/(20*time.Second)); 45-limited > most || limited == 0 {
		t.Errorf("%d of 45 starts were refused", limited)
	}
	got := ask[struct {
		AuditEvents struct {
			Nodes []struct {
				Network string
				Details map[string]string
			}
		}
	}](admin, `{ auditEvents(filter: {action: "login.refused"}) { nodes { network details } } }`, nil).AuditEvents.Nodes
	if most := 1 + int(time.Since(began)/time.Minute); len(got) == 0 || len(got) > most {
		t.Fatalf("%d refusals of %d are recorded, want 1 to %d", len(got), limited, most)
	}
	if got[0].Network != "203.0.113.0/24" || got[0].Details["reason"] != "RATE_LIMITED" {
		t.Errorf("recorded is %+v", got[0])
	}
}
