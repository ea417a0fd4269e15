package e2e

import (
	"slices"
	"testing"
)

const (
	enterByProvider = `mutation($in: CompleteOAuthInput!) { completeOAuth(input: $in) { ` + outcomeFields + ` userErrors { code } } }`
	enterByCode     = `mutation($in: LoginWithCodeInput!) { loginWithCode(input: $in) { ` + outcomeFields + ` userErrors { code } } }`
)

// outcomeOf is what a way in came to.
func outcomeOf(t *testing.T, a answer) entry {
	t.Helper()
	for _, p := range into[map[string]payload](t, a) {
		if p.Outcome != nil {
			return *p.Outcome
		}
	}
	t.Fatalf("no outcome: %v", a)
	return entry{}
}

// TestEveryWayInAsksForTheSecondFactor: the password and the passkey are tested with factors, beside them there
// are the provider and the mail.
func TestEveryWayInAsksForTheSecondFactor(t *testing.T) {
	t.Parallel()
	withProvider(t, func(t *testing.T, d *deployment, p *identityProvider) {
		mine := newPKCE()
		in := vars{"provider": "peer", "redirectTo": providerPage, "clientChallenge": mine.challenge}
		byProvider := func(c *client) entry {
			_, back := p.flow(c, in, signInAs("alice"))
			return outcomeOf(t, c.say(enterByProvider, vars{"in": brought(back, vars{"clientVerifier": mine.verifier})}))
		}
		alice := d.visitor(0)
		alice.email = "alice@example.test"
		alice.hold(byProvider(alice).tokens)
		_, codes := alice.withApp()

		raised := func(way string, e entry, code string) {
			t.Helper()
			mailbox := slices.Contains(e.Methods, "EMAIL") // is no second factor beside an app
			if e.Kind != "MfaChallenge" || e.AccessToken != "" || !slices.Contains(e.Methods, "RECOVERY_CODE") || mailbox {
				t.Fatalf("%s gives %+v", way, e)
			}
			c := d.visitor(1)
			answer := c.verify(e, "RECOVERY_CODE", code, nil).Outcome
			if answer == nil || answer.User.ID != alice.user {
				t.Fatalf("%s and the second factor give %+v", way, answer)
			}
			c.hold(answer.tokens)
			if level := c.assurance(); level != "aal2" {
				t.Errorf("%s and the second factor give a session of %s", way, level)
			}
		}
		raised("the provider", byProvider(d.visitor(1)), codes[0])
		mailed := func() mail {
			sent := len(d.letters("loginCode", alice.email))
			ask[any](d.visitor(0), `mutation($e: String!) { requestLoginCode(input: {email: $e})`+plain, vars{"e": alice.email})
			return d.await(sent+1, "loginCode", alice.email)
		}
		raised("a code by mail", outcomeOf(t, d.visitor(1).say(enterByCode, vars{"in": vars{"email": alice.email, "code": mailed().Code}})), codes[1])
		raised("a link by mail", outcomeOf(t, d.visitor(1).say(enterByCode, vars{"in": vars{"token": mailed().token()}})), codes[2])

		b := d.browser()
		_, back := p.flow(b, vars{"provider": "peer", "redirectTo": providerPage}, signInAs("alice"))
		e := outcomeOf(t, b.say(enterByProvider, vars{"in": brought(back, nil)}))
		if b.cookies["__Host-gh_access"] != nil || b.cookies["__Host-gh_refresh"] != nil {
			t.Errorf("the provider alone set %v", b.cookies)
		}
		done := call(t, b, "verifyMfa", outcomeFields, vars{"challengeId": e.ID, "method": "RECOVERY_CODE", "code": codes[3]})
		if done.Outcome == nil || done.Outcome.AccessToken != "" || !b.signedIn() {
			t.Errorf("in cookie mode the second factor gives %+v", done)
		}
	})
}
