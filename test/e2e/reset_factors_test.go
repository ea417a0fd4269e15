package e2e

import (
	"fmt"
	"testing"
	"time"
)

// wellGuarded is a person with every kind of second factor, and a device that is trusted.
type wellGuarded struct {
	*client
	phone *app
	codes []string
	key   *authenticator
	trust vars // of a sign-in on the device
}

func (d *deployment) wellGuarded(t *testing.T) wellGuarded {
	t.Helper()
	w := wellGuarded{client: d.person(), key: newAuthenticator(d, true)}
	w.key.register(t, w.client) // within the minutes in which the password is enough
	in := w.verify(w.challenged(nil), "PASSKEY", "", vars{"passkeyResponse": w.key.sign(t, w.challenged(nil).PasskeyOptions)})
	if in.refusal() != "PASSKEY_REFUSED" {
		t.Fatalf("the answer to another challenge: %+v", in)
	}
	e := w.challenged(nil)
	in = w.verify(e, "PASSKEY", "", vars{"passkeyResponse": w.key.sign(t, e.PasskeyOptions)})
	if in.Outcome == nil {
		t.Fatalf("the passkey: %+v", in)
	}
	w.hold(in.Outcome.tokens) // at aal2, so that a second factor can be added
	w.phone, w.codes = w.withSecondApp()
	p := w.verify(w.challenged(nil), "TOTP", w.phone.code(), vars{"trustDevice": true})
	if p.TrustedDeviceToken == nil {
		t.Fatalf("trustDevice gave %+v", p)
	}
	w.trust = vars{"device": vars{"id": "laptop", "trustToken": *p.TrustedDeviceToken}}
	return w
}

// withSecondApp adds an app beside another factor, whose recovery codes are made anew.
func (c *client) withSecondApp() (*app, []string) {
	c.t.Helper()
	begun := call(c.t, c, "enrollTotp", "secret factorId", vars{"name": "Ada's phone"})
	a := newApp(c.t, begun.Secret)
	if done := call(c.t, c, "confirmTotp", "factor { id }", vars{"factorId": begun.FactorID, "code": a.code()}); done.Factor == nil {
		c.t.Fatalf("confirmTotp gave %+v", done)
	}
	return a, call(c.t, c, "regenerateRecoveryCodes", "recoveryCodes", nil).RecoveryCodes
}

// secured gives an administrator an app and signs them in with it.
func (c *client) secured() {
	c.t.Helper()
	_, codes := c.withApp()
	in := c.verify(c.challenged(nil), "RECOVERY_CODE", codes[0], nil).Outcome
	if in == nil {
		c.t.Fatal("the administrator's recovery code does not sign in")
	}
	c.hold(in.tokens)
}

func TestAnAdministratorWhoHasShownTheirOwnFactorTakesAllOfAnothersAndTheOwnerIsTold(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		ada, eve, admin := d.wellGuarded(t), d.person(), d.admin()
		half := *admin // signed in by the password alone
		admin.secured()
		for name, who := range map[string]*client{"the owner": ada.client, "another person": eve} {
			refused(t, name, who.say(resetDocument, vars{"id": ada.user}), "FORBIDDEN")
		}
		refused(t, "an administrator at aal1 who has a factor", half.say(resetDocument, vars{"id": ada.user}), "STEP_UP_REQUIRED")
		there := ada.at(last(d.servers))
		s := there.dial()
		begun, open := time.Now(), ada.challenged(nil)
		change(admin, "resetUserFactors", ada.user, "")

		until(t, time.Second, "a session outlives the reset", func() bool { return !ada.signedIn() && !there.signedIn() })
		if code, reason := s.awaitClose(time.Second); code != 4401 {
			t.Errorf("the socket closed with %d %q", code, reason)
		}
		if a := ada.tryRefresh(ada.refresh); a.userError() != "SESSION_REVOKED" {
			t.Errorf("the refresh token: %v", a)
		}
		checkNothingIsLeft(t, d, ada, open)
		checkResetIsTold(t, d, ada, admin, begun)
		if !eve.signedIn() || !admin.signedIn() {
			t.Error("others were signed out")
		}
	})
}

const resetDocument = `mutation($id: ID!) { resetUserFactors(input: {userId: $id}) { user { id } userErrors { code } } }`

// checkNothingIsLeft tries all by which the person could show a second factor, and signs in without one.
func checkNothingIsLeft(t *testing.T, d *deployment, ada wellGuarded, open entry) {
	t.Helper()
	stranger := d.visitor(1)
	if p := stranger.verify(open, "RECOVERY_CODE", ada.codes[0], nil); p.refusal() != "CHALLENGE_EXPIRED" {
		t.Errorf("a challenge of before: %+v", p)
	}
	login := call(t, stranger, "startPasskeyLogin", "ceremonyId options", vars{})
	p := call(t, stranger, "finishPasskeyLogin", outcomeFields, vars{"ceremonyId": login.CeremonyID, "response": ada.key.sign(t, login.Options)})
	if p.refusal() != "PASSKEY_REFUSED" {
		t.Errorf("the passkey of before: %+v", p)
	}
	if e := ada.challenged(ada.trust); e.Kind != "SessionTokens" {
		t.Fatalf("the next sign-in gets %+v", e)
	} else {
		ada.hold(e.tokens)
	}
	got := ask[struct {
		Me struct {
			Factors, TrustedDevices []struct{ ID string }
			RecoveryCodesLeft       int
		}
	}](ada.client, `{ me { factors { id } trustedDevices { id } recoveryCodesLeft } }`, nil).Me
	if level := ada.assurance(); len(got.Factors)+len(got.TrustedDevices)+got.RecoveryCodesLeft != 0 || level != "aal1" {
		t.Errorf("after the reset there are %+v, and the session is %s", got, level)
	}
}

// checkResetIsTold looks for a mail for each factor, and for who did it: by role for the owner, by name in the audit.
func checkResetIsTold(t *testing.T, d *deployment, ada wellGuarded, admin *client, since time.Time) {
	t.Helper()
	until(t, patience, "not each factor's end was mailed", func() bool { return len(d.letters("factorRemoved", ada.email)) == 2 })
	told := 0
	for _, e := range ada.events() {
		if e.Type == "FACTORS_RESET" && e.Actor == "ADMINISTRATOR" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("the owner reads of %d resets", told)
	}
	got := ask[struct {
		AuditEvents struct {
			Nodes []struct{ Action, Actor, SubjectID, Outcome string }
		}
	}](admin, `query($f: AuditEventFilter) { auditEvents(filter: $f) { nodes { action actor subjectId outcome } } }`,
		vars{"f": vars{"action": "factors.reset", "userId": ada.user, "from": since.UTC().Format(time.RFC3339)}}).AuditEvents.Nodes
	if want := fmt.Sprintf("[{factors.reset %s %s SUCCEEDED}]", admin.user, ada.user); fmt.Sprint(got) != want {
		t.Errorf("the audit says %v, want %s", got, want)
	}
}

func TestWhereAFactorIsADutyWhoseFactorsWereResetEnrolsAnew(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		admin := d.admin()
		enrolled := func(c *client) {
			c.access = ""
			e := c.challenged(nil)
			begun := call(t, c, "enrollTotp", "secret factorId", vars{"challengeId": e.ID})
			done := call(t, c, "confirmTotp", "recoveryCodes "+outcomeFields, vars{
				"challengeId": e.ID, "factorId": begun.FactorID, "code": newApp(t, begun.Secret).code(),
			})
			if e.Kind != "EnrolmentRequired" || done.Outcome == nil {
				t.Fatalf("enrolment by %+v gave %+v", e, done)
			}
			c.hold(done.Outcome.tokens)
		}
		enrolled(admin)
		ada := d.visitor(1)
		ada.email, ada.password = d.seen.email(), d.seen.password()
		call(t, ada, "register", outcomeFields, vars{"email": ada.email, "password": ada.password})
		enrolled(ada)
		change(admin, "resetUserFactors", ada.user, "")
		until(t, time.Second, "a session outlives the reset", func() bool { return !ada.signedIn() })
		enrolled(ada)
		if !ada.signedIn() {
			t.Error("who has enrolled anew is not in")
		}
	}, "--mfa", "required", "--mfa-methods", "totp")
}
