package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"

	"gatehouse/account/totp"
)

// entry is the outcome of a sign-in, whatever it is.
type entry struct {
	Kind string `json:"__typename"`
	tokens
	ID             string
	Methods        []string
	PasskeyOptions json.RawMessage
}

const outcomeFields = `outcome { __typename
	... on SessionTokens { accessToken refreshToken accessTokenExpiresAt refreshTokenExpiresAt session { id } user { id } }
	... on MfaChallenge { id methods passkeyOptions }
	... on EnrolmentRequired { id methods } }`

// payload is what the mutations of this file answer.
type payload struct {
	Outcome                    *entry
	Challenge                  *entry
	Secret, OtpauthURI, QrCode string
	FactorID                   string
	Factor                     *struct{ ID, Kind, Name string }
	RecoveryCodes              []string
	SentTo                     string
	TrustedDeviceToken         *string
	CeremonyID                 string
	Options                    json.RawMessage
	UserErrors                 []userError
}

func (p payload) refusal() string {
	if len(p.UserErrors) == 0 {
		return ""
	}
	return p.UserErrors[0].Code
}

// person is who can send operations: a client, or a browser with its cookies.
type person interface {
	say(query string, v vars) answer
}

// call sends a mutation of one input and returns its payload; the request itself must succeed.
func call(t testing.TB, who person, mutation, fields string, in vars) payload {
	t.Helper()
	p, a := try(t, who, mutation, fields, in)
	if len(a.Errors) > 0 {
		t.Fatalf("%s: %v", mutation, a)
	}
	return p
}

func try(t testing.TB, who person, mutation, fields string, in vars) (payload, answer) {
	t.Helper()
	title := strings.ToUpper(mutation[:1]) + mutation[1:]
	document := `mutation($in: ` + title + `Input!) { ` + mutation + `(input: $in) { ` + fields + ` userErrors { code field message } } }`
	if in == nil {
		document = `mutation { ` + mutation + ` { ` + fields + ` userErrors { code field message } } }`
	}
	a := who.say(document, vars{"in": in})
	var data map[string]*payload
	if err := json.Unmarshal(a.Data, &data); err != nil || data[mutation] == nil {
		return payload{}, a
	}
	return *data[mutation], a
}

// app is an authenticator app.
type app struct {
	key  totp.Key
	last totp.Step
}

// code returns a code that was not used yet: of this step or, at most once, of the next.
func (a *app) code() string {
	a.last = max(totp.StepAt(time.Now()), a.last+1)
	return a.key.Code(a.last)
}

func newApp(t testing.TB, secret string) *app {
	t.Helper()
	key, err := totp.Parse(secret)
	if err != nil {
		t.Fatalf("read the secret of an app: %v", err)
	}
	return &app{key: key}
}

// withApp gives the client a confirmed app, and returns it with the recovery codes.
func (c *client) withApp() (*app, []string) {
	c.t.Helper()
	begun := call(c.t, c, "enrollTotp", "secret otpauthUri qrCode factorId", vars{"name": "Ada's phone"})
	if !strings.HasPrefix(begun.OtpauthURI, "otpauth://totp/Gatehouse:") || !strings.HasPrefix(begun.QrCode, "data:image/png;base64,") {
		c.t.Fatalf("enrollTotp gave %+v", begun)
	}
	a := newApp(c.t, begun.Secret)
	done := call(c.t, c, "confirmTotp", "factor { id kind name } recoveryCodes "+outcomeFields, vars{"factorId": begun.FactorID, "code": a.code()})
	if done.Factor == nil || done.Factor.Name != "Ada's phone" || len(done.RecoveryCodes) != 10 || done.Outcome != nil {
		c.t.Fatalf("confirmTotp gave %+v", done)
	}
	return a, done.RecoveryCodes
}

// challenged signs the client in up to the challenge.
func (c *client) challenged(change vars) entry {
	c.t.Helper()
	stranger := *c
	stranger.access = ""
	return challengedBy(c.t, &stranger, c, change)
}

func challengedBy(t testing.TB, who person, c *client, change vars) entry {
	t.Helper()
	in := vars{"email": c.email, "password": c.password}
	for name, value := range change {
		in[name] = value
	}
	p := call(t, who, "login", outcomeFields, in)
	if p.Outcome == nil {
		t.Fatalf("login gave %+v", p)
	}
	return *p.Outcome
}

// verify answers a challenge.
func (c *client) verify(e entry, method, code string, change vars) payload {
	c.t.Helper()
	in := vars{"challengeId": e.ID, "method": method, "code": code}
	for name, value := range change {
		in[name] = value
	}
	return call(c.t, c, "verifyMfa", outcomeFields+" trustedDeviceToken", in)
}

// posted waits for the newest message of kind to an address or number, sent after an earlier one.
func (d *deployment) posted(kind, to string, earlier int) (code string, all int) {
	d.t.Helper()
	until(d.t, patience, "no "+kind+" was sent", func() bool {
		all = 0
		for _, m := range d.mails() {
			if m.Kind == kind && m.To == to {
				all++
				code = m.Code
			}
		}
		return all > earlier
	})
	return code, all
}

func TestASecondFactorIsAskedForAtSignInAndACodeWorksOnceOverAllServers(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		phone, codes := c.withApp()
		d.posted("factorAdded", c.email, 0)

		e := c.challenged(nil)
		if e.Kind != "MfaChallenge" || !slices.Equal(e.Methods, []string{"TOTP", "RECOVERY_CODE"}) || !strings.HasPrefix(e.ID, "chl_") {
			t.Fatalf("the outcome is %+v", e)
		}
		stranger := d.visitor(1)
		if p := stranger.verify(e, "TOTP", "000000", nil); p.refusal() != "INVALID_CODE" {
			t.Errorf("a wrong code: %+v", p)
		}
		code := phone.code()
		in := stranger.verify(e, "TOTP", code, nil).Outcome
		if in == nil || in.Kind != "SessionTokens" || in.User.ID != c.user {
			t.Fatalf("a right code gave %+v", in)
		}
		stranger.hold(in.tokens)
		if level := stranger.assurance(); level != "aal2" {
			t.Errorf("the session is %s, want aal2", level)
		}
		if p := stranger.verify(e, "TOTP", code, nil); p.refusal() != "CHALLENGE_EXPIRED" {
			t.Errorf("the challenge once more: %+v", p)
		}
		if p := d.visitor(0).verify(c.challenged(nil), "TOTP", code, nil); p.refusal() != "INVALID_CODE" {
			t.Errorf("the code once more: %+v", p)
		}
		if p := d.visitor(1).verify(c.challenged(nil), "RECOVERY_CODE", strings.ToUpper(codes[3]), nil); p.Outcome == nil {
			t.Errorf("a recovery code: %+v", p)
		}
		d.posted("recoveryCodeUsed", c.email, 0)
		if p := d.visitor(0).verify(c.challenged(nil), "RECOVERY_CODE", codes[3], nil); p.refusal() != "INVALID_CODE" {
			t.Errorf("a recovery code once more: %+v", p)
		}
		checkFactorsOf(t, stranger, d.person())
	})
}

// assurance is the level of the client's session.
func (c *client) assurance() string {
	c.t.Helper()
	return ask[struct{ Node struct{ Assurance string } }](c, `query($id: ID!) { node(id: $id) { ... on Session { assurance } } }`, vars{"id": c.session}).Node.Assurance
}

func checkFactorsOf(t *testing.T, c, other *client) {
	t.Helper()
	type me struct {
		Me struct {
			Factors           []struct{ ID, Kind, Name, LastUsedAt string }
			RecoveryCodesLeft int
		}
	}
	got := ask[me](c, `{ me { factors { id kind name lastUsedAt } recoveryCodesLeft } }`, nil).Me
	if len(got.Factors) != 1 || got.Factors[0].Kind != "TOTP" || got.Factors[0].LastUsedAt == "" || got.RecoveryCodesLeft != 9 {
		t.Fatalf("me is %+v", got)
	}
	node := `query($id: ID!) { node(id: $id) { id ... on Factor { name } } }`
	ask[any](c, node, vars{"id": got.Factors[0].ID})
	refused(t, "another's factor", other.say(node, vars{"id": got.Factors[0].ID}), "NOT_FOUND")
}

func TestTheSameCodeSentToManyServersAtOnceLetsOneIn(t *testing.T) {
	t.Parallel()
	d := distributed(t)
	c := d.person()
	phone, _ := c.withApp()
	code := phone.code()
	const callers = 8
	var challenges [callers]entry
	for i := range challenges {
		challenges[i] = c.challenged(nil)
	}
	var let atomic.Int64
	var wait sync.WaitGroup
	for i, e := range challenges {
		wait.Go(func() {
			if d.visitor(i).verify(e, "TOTP", code, nil).Outcome != nil {
				let.Add(1)
			}
		})
	}
	wait.Wait()
	if let.Load() != 1 {
		t.Errorf("one code let %d in", let.Load())
	}
}

func TestSixWrongCodesEndAChallengeAlsoWhenTheyComeAtOnce(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		phone, _ := c.withApp()
		e := c.challenged(nil)
		var wrong, over atomic.Int64
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				switch d.visitor(i).verify(e, "TOTP", "123", nil).refusal() {
				case "INVALID_CODE":
					wrong.Add(1)
				case "CHALLENGE_EXPIRED":
					over.Add(1)
				}
			})
		}
		wait.Wait()
		if wrong.Load() != 5 || over.Load() != 3 {
			t.Errorf("%d codes were wrong and %d came too late, want 5 and 3", wrong.Load(), over.Load())
		}
		if p := d.visitor(1).verify(e, "TOTP", phone.code(), nil); p.refusal() != "CHALLENGE_EXPIRED" {
			t.Errorf("the right code afterwards: %+v", p)
		}
	})
}

func TestWhoGuessesAtSecondFactorsDoesNotLockTheOwnerOut(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	phone, _ := c.withApp()
	known := vars{"device": vars{"id": "laptop", "name": "Ada's laptop"}}
	if p := d.visitor(0).verify(c.challenged(known), "TOTP", phone.code(), nil); p.Outcome == nil {
		t.Fatalf("the owner's first sign-in: %+v", p)
	}
	thief := d.visitor(0)
	limited := false
	for range 4 {
		e := c.challenged(vars{"device": vars{"id": "thief"}})
		for range 5 {
			_, a := try(t, thief, "verifyMfa", outcomeFields, vars{"challengeId": e.ID, "method": "TOTP", "code": "000000"})
			limited = limited || a.code() == "RATE_LIMITED"
		}
	}
	if !limited {
		t.Error("twenty guesses were not slowed")
	}
	if p := d.visitor(0).verify(c.challenged(known), "TOTP", phone.code(), nil); p.refusal() != "INVALID_CODE" && p.Outcome == nil {
		t.Errorf("the owner on a known device: %+v", p)
	}
}

func TestAStepUpRaisesTheVerySameSessionOnEveryServer(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		phone, _ := c.withApp()
		factor := ask[struct {
			Me struct{ Factors []struct{ ID string } }
		}](c, `{ me { factors { id } } }`, nil).Me.Factors[0].ID
		elsewhere := c.at(last(d.servers))
		_, a := try(t, elsewhere, "removeFactor", "factorId", vars{"factorId": factor})
		refused(t, "without the second factor", a, "STEP_UP_REQUIRED")
		if a.Errors[0].Extensions.Hint == "" {
			t.Errorf("no hint in %v", a)
		}
		e := call(t, c, "stepUp", "challenge { id methods passkeyOptions }", nil).Challenge
		if p := d.visitor(0).verify(*e, "TOTP", phone.code(), nil); p.refusal() != "CHALLENGE_EXPIRED" {
			t.Errorf("a stranger answers the step-up: %+v", p)
		}
		if p := d.person().verify(*e, "TOTP", phone.code(), nil); p.refusal() != "CHALLENGE_EXPIRED" {
			t.Errorf("another account answers the step-up: %+v", p)
		}
		before := c.session
		raised := c.verify(*e, "TOTP", phone.key.Code(totp.StepAt(time.Now())+1), nil).Outcome
		if raised == nil || raised.Session.ID != before || raised.AccessToken == "" || raised.AccessToken == c.access || raised.RefreshToken != "" {
			t.Fatalf("the step-up gave %+v", raised)
		}
		elsewhere.access = d.seen.add("access token", raised.AccessToken)
		until(t, time.Second, "the other server does not know of the step-up", func() bool {
			_, a := try(t, elsewhere, "regenerateRecoveryCodes", "recoveryCodes", nil)
			return a.code() == ""
		})
		d.posted("recoveryCodesRegenerated", c.email, 0)
		if p := call(t, elsewhere, "removeFactor", "factorId", vars{"factorId": factor}); p.FactorID != factor {
			t.Errorf("removeFactor gave %+v", p)
		}
		d.posted("factorRemoved", c.email, 0)
		c.renew() // the refresh token goes on
		if again := c.again(); again.session == before {
			t.Error("no fresh session")
		}
	})
}

func TestWithoutAFactorThePasswordStepsUp(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		e := call(t, c, "stepUp", "challenge { id methods passkeyOptions }", nil).Challenge
		if !slices.Equal(e.Methods, []string{"PASSWORD"}) {
			t.Fatalf("the methods are %v", e.Methods)
		}
		if p := c.verify(*e, "PASSWORD", "not the password", nil); p.refusal() != "INVALID_CREDENTIALS" {
			t.Errorf("a wrong password: %+v", p)
		}
		if p := c.verify(*e, "PASSWORD", c.password, nil); p.Outcome == nil || p.Outcome.Session.ID != c.session {
			t.Errorf("the password: %+v", p)
		}
	})
}

func TestATrustedDeviceIsAskedNoMoreUntilItIsRevokedOrThePasswordChanges(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		phone, codes := c.withApp()
		p := c.verify(c.challenged(nil), "TOTP", phone.code(), vars{"trustDevice": true})
		if p.TrustedDeviceToken == nil || !strings.HasPrefix(*p.TrustedDeviceToken, "ghd_") {
			t.Fatalf("trustDevice gave %+v", p)
		}
		trusted := vars{"device": vars{"id": "laptop", "trustToken": *p.TrustedDeviceToken}}
		in := c.at(last(d.servers)).challenged(trusted)
		if in.Kind != "SessionTokens" {
			t.Fatalf("a trusted device gets %+v", in)
		}
		there := c.at(last(d.servers))
		there.hold(in.tokens)
		_, a := try(t, there, "regenerateRecoveryCodes", "recoveryCodes", nil)
		refused(t, "a step-up on a trusted device", a, "STEP_UP_REQUIRED")
		other := d.person()
		other.withApp()
		if in := other.challenged(trusted); in.Kind != "MfaChallenge" {
			t.Errorf("another account on the device gets %+v", in)
		}
		devices := ask[struct {
			Me struct{ TrustedDevices []struct{ ID string } }
		}](there, `{ me { trustedDevices { id } } }`, nil).Me.TrustedDevices
		if len(devices) != 1 {
			t.Fatalf("trusted devices: %+v", devices)
		}
		call(t, there, "revokeTrustedDevice", "trustedDeviceId", vars{"trustedDeviceId": devices[0].ID})
		if in := c.challenged(trusted); in.Kind != "MfaChallenge" {
			t.Errorf("a revoked device gets %+v", in)
		}
		p = c.verify(c.challenged(nil), "RECOVERY_CODE", codes[0], vars{"trustDevice": true})
		trusted = vars{"device": vars{"id": "laptop", "trustToken": *p.TrustedDeviceToken}}
		fresh := d.seen.password()
		call(t, there, "changePassword", "user { id }", vars{"currentPassword": c.password, "newPassword": fresh})
		c.password = fresh
		if in := c.challenged(trusted); in.Kind != "MfaChallenge" {
			t.Errorf("after a change of password the device gets %+v", in)
		}
	})
}

func TestTheSecondFactorWorksInCookieMode(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		phone, codes := c.withApp()
		b := d.browser()
		e := challengedBy(t, b, c, nil)
		if len(b.cookies) > 0 {
			t.Errorf("the first factor alone set %v", b.cookies)
		}
		if p := d.visitor(0).verify(e, "TOTP", phone.code(), nil); p.refusal() != "WRONG_STATE" {
			t.Errorf("an answer in bearer mode: %+v", p)
		}
		p := call(t, b, "verifyMfa", outcomeFields+" trustedDeviceToken", vars{
			"challengeId": e.ID, "method": "TOTP", "code": phone.key.Code(phone.last), "trustDevice": true,
		})
		if p.Outcome == nil || p.Outcome.AccessToken != "" || p.TrustedDeviceToken != nil || !b.signedIn() {
			t.Fatalf("the answer gave %+v", p)
		}
		device := b.cookies["__Host-gh_device"]
		if device == nil || !device.HttpOnly || !device.Secure || device.MaxAge < 29*24*3600 {
			t.Fatalf("the device's cookie is %+v", device)
		}
		b.say(`mutation { logout { sessionId } }`, nil)
		if in := challengedBy(t, b, c, nil); in.Kind != "SessionTokens" || !b.signedIn() {
			t.Errorf("the trusted browser gets %+v", in)
		}
		refresh := b.cookies["__Host-gh_refresh"].Value
		up := call(t, b, "stepUp", "challenge { id methods passkeyOptions }", nil).Challenge
		p = call(t, b, "verifyMfa", outcomeFields, vars{"challengeId": up.ID, "method": "RECOVERY_CODE", "code": codes[0]})
		if p.Outcome == nil || b.cookies["__Host-gh_refresh"].Value != refresh || !b.signedIn() {
			t.Errorf("a step-up gave %+v", p)
		}
		if a := b.say(`mutation { refreshSession { outcome { __typename } userErrors { code } } }`, nil); a.userError() != "" || !b.signedIn() {
			t.Errorf("a refresh after the step-up: %v", a)
		}
	})
}

func TestAPhoneIsASecondFactorByItsCodes(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		const number = "+491701234567"
		id := call(t, c, "enrollPhone", "factorId", vars{"phoneNumber": "+49 (170) 123-4567"}).FactorID
		code, sent := d.posted("phoneConfirm", number, 0)
		if p := call(t, c, "confirmPhone", "factor { id }", vars{"factorId": id, "code": "12345"}); p.refusal() != "INVALID_CODE" {
			t.Errorf("a wrong code: %+v", p)
		}
		if p := call(t, c, "confirmPhone", "factor { id kind name } recoveryCodes", vars{"factorId": id, "code": code}); p.Factor == nil || p.Factor.Name != "Phone …67" || sent != 1 {
			t.Fatalf("confirmPhone gave %+v", p)
		}
		e := c.challenged(nil)
		if p := call(t, d.visitor(1), "sendMfaCode", "sentTo", vars{"challengeId": e.ID, "method": "SMS"}); p.SentTo != "…67" {
			t.Fatalf("sendMfaCode gave %+v", p)
		}
		first, n := d.posted("mfaCode", number, 0)
		other := c.challenged(nil)
		if p := d.visitor(0).verify(other, "SMS", first, nil); p.refusal() != "INVALID_CODE" {
			t.Errorf("the code of another challenge: %+v", p)
		}
		call(t, d.visitor(0), "sendMfaCode", "sentTo", vars{"challengeId": e.ID, "method": "SMS"})
		second, _ := d.posted("mfaCode", number, n)
		if p := d.visitor(0).verify(e, "SMS", first, nil); first != second && p.refusal() != "INVALID_CODE" {
			t.Errorf("the code before the last: %+v", p)
		}
		if p := d.visitor(1).verify(e, "SMS", second, nil); p.Outcome == nil {
			t.Errorf("the code: %+v", p)
		}
	})
}

func TestWhoMustHaveASecondFactorEnrolsOneToGetIn(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.visitor(0)
		c.email, c.password = d.seen.email(), d.seen.password()
		e := call(t, c, "register", outcomeFields, vars{"email": c.email, "password": c.password}).Outcome
		if e == nil || e.Kind != "EnrolmentRequired" || !slices.Equal(e.Methods, []string{"TOTP"}) {
			t.Fatalf("register gave %+v", e)
		}
		if p := c.verify(*e, "PASSWORD", c.password, nil); p.Outcome != nil {
			t.Errorf("the challenge was answered: %+v", p)
		}
		begun := call(t, c, "enrollTotp", "secret factorId", vars{"challengeId": e.ID})
		phone := newApp(t, begun.Secret)
		if _, a := try(t, c, "confirmTotp", "factor { id }", vars{"factorId": begun.FactorID, "code": "1"}); a.code() != "UNAUTHENTICATED" {
			t.Errorf("without the challenge: %v", a)
		}
		done := call(t, c, "confirmTotp", "factor { id } recoveryCodes "+outcomeFields, vars{"challengeId": e.ID, "factorId": begun.FactorID, "code": phone.code()})
		if done.Outcome == nil || done.Outcome.Kind != "SessionTokens" || len(done.RecoveryCodes) != 10 {
			t.Fatalf("confirmTotp gave %+v", done)
		}
		c.hold(done.Outcome.tokens)
		if p := call(t, c, "removeFactor", "factorId", vars{"factorId": done.Factor.ID}); p.refusal() != "WRONG_STATE" {
			t.Errorf("the last factor: %+v", p)
		}
		if e := c.challenged(nil); e.Kind != "MfaChallenge" {
			t.Errorf("the next sign-in gets %+v", e)
		}
	}, "--mfa", "required", "--mfa-methods", "totp")
}

// authenticator is a person's device with one passkey.
type authenticator struct {
	site   virtualwebauthn.RelyingParty
	device virtualwebauthn.Authenticator
	key    virtualwebauthn.Credential
}

func newAuthenticator(d *deployment, verifies bool) *authenticator {
	origin := strings.Replace(d.publicURL, "127.0.0.1", "localhost", 1)
	a := &authenticator{
		site: virtualwebauthn.RelyingParty{ID: "localhost", Name: "Gatehouse", Origin: origin}, device: virtualwebauthn.NewAuthenticator(),
		key: virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2),
	}
	a.device.Options.UserNotVerified = !verifies
	return a
}

func (a *authenticator) register(t testing.TB, c *client) payload {
	t.Helper()
	begun := call(t, c, "startPasskeyRegistration", "ceremonyId options", vars{})
	options, err := virtualwebauthn.ParseAttestationOptions(string(begun.Options))
	if err != nil {
		t.Fatal(err)
	}
	a.device.Options.UserHandle = []byte(options.UserID)
	response := virtualwebauthn.CreateAttestationResponse(a.site, a.device, a.key, *options)
	done := call(t, c, "finishPasskeyRegistration", "factor { id kind name } recoveryCodes", vars{
		"ceremonyId": begun.CeremonyID, "response": json.RawMessage(response), "name": "Key ring",
	})
	if done.Factor == nil || done.Factor.Kind != "PASSKEY" {
		t.Fatalf("finishPasskeyRegistration gave %+v", done)
	}
	a.device.AddCredential(a.key)
	return done
}

func (a *authenticator) sign(t testing.TB, asked json.RawMessage) json.RawMessage {
	t.Helper()
	options, err := virtualwebauthn.ParseAssertionOptions(string(asked))
	if err != nil {
		t.Fatalf("%v in %s", err, asked)
	}
	a.key.Counter++
	return json.RawMessage(virtualwebauthn.CreateAssertionResponse(a.site, a.device, a.key, *options))
}

func TestAPasskeyIsASecondFactorAndOneThatKnowsItsUserIsBoth(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		key := newAuthenticator(d, true)
		if done := key.register(t, c); len(done.RecoveryCodes) != 10 {
			t.Errorf("recovery codes: %v", done.RecoveryCodes)
		}
		e := c.challenged(nil)
		if !slices.Contains(e.Methods, "PASSKEY") {
			t.Fatalf("the methods are %v", e.Methods)
		}
		response := key.sign(t, e.PasskeyOptions)
		other := c.challenged(nil)
		if p := d.visitor(0).verify(other, "PASSKEY", "", vars{"passkeyResponse": response}); p.refusal() != "PASSKEY_REFUSED" {
			t.Errorf("the answer to another challenge: %+v", p)
		}
		if p := d.visitor(1).verify(e, "PASSKEY", "", vars{"passkeyResponse": response}); p.Outcome == nil {
			t.Errorf("as second factor: %+v", p)
		}
		for name, email := range map[string]vars{"discoverable": {}, "by address": {"email": c.email}} {
			begun := call(t, d.visitor(0), "startPasskeyLogin", "ceremonyId options", email)
			finish := vars{"ceremonyId": begun.CeremonyID, "response": key.sign(t, begun.Options)}
			p := call(t, d.visitor(1), "finishPasskeyLogin", outcomeFields, finish)
			if p.Outcome == nil || p.Outcome.Kind != "SessionTokens" || p.Outcome.User.ID != c.user {
				t.Fatalf("%s: %+v", name, p)
			}
			in := d.visitor(0)
			in.hold(p.Outcome.tokens)
			if level := in.assurance(); level != "aal2" {
				t.Errorf("%s the session is %s", name, level)
			}
			if p := call(t, d.visitor(0), "finishPasskeyLogin", outcomeFields, finish); p.refusal() != "TOKEN_INVALID" {
				t.Errorf("%s, once more: %+v", name, p)
			}
		}
		evil := *key
		evil.site.Origin = "https://evil.example"
		begun := call(t, d.visitor(0), "startPasskeyLogin", "ceremonyId options", vars{})
		p := call(t, d.visitor(0), "finishPasskeyLogin", outcomeFields, vars{"ceremonyId": begun.CeremonyID, "response": evil.sign(t, begun.Options)})
		if p.refusal() != "PASSKEY_REFUSED" {
			t.Errorf("from another site: %+v", p)
		}
	})
}

func TestAPasskeyThatDoesNotKnowItsUserIsOneFactorOfTwo(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		key := newAuthenticator(d, false)
		key.register(t, c)
		begun := call(t, d.visitor(0), "startPasskeyLogin", "ceremonyId options", vars{})
		e := call(t, d.visitor(0), "finishPasskeyLogin", outcomeFields, vars{"ceremonyId": begun.CeremonyID, "response": key.sign(t, begun.Options)}).Outcome
		if e == nil || e.Kind != "MfaChallenge" || slices.Contains(e.Methods, "PASSKEY") || !slices.Contains(e.Methods, "PASSWORD") {
			t.Fatalf("the outcome is %+v", e)
		}
		if p := d.visitor(0).verify(*e, "PASSWORD", c.password, nil); p.Outcome == nil {
			t.Errorf("the password as second factor: %+v", p)
		}
	})
}

func TestAPasskeySignInDoesNotTellWhoHasAnAccount(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	newAuthenticator(d, true).register(t, c)
	without := d.person()
	shape := func(email string) (string, string) {
		options := call(t, d.visitor(0), "startPasskeyLogin", "ceremonyId options", vars{"email": email}).Options
		var o struct {
			AllowCredentials []map[string]any
			Challenge        string
		}
		if err := json.Unmarshal(options, &o); err != nil || len(o.AllowCredentials) == 0 {
			t.Fatalf("%v in %s", err, options)
		}
		text := strings.Replace(string(options), o.Challenge, "CHALLENGE", 1)
		var ids []string
		for _, credential := range o.AllowCredentials {
			id := credential["id"].(string)
			text = strings.Replace(text, id, strings.Repeat("I", len(id)), 1)
			ids = append(ids, id)
		}
		return strings.Join(ids, " "), text
	}
	_, real := shape(c.email)
	alike := 0
	for i := range 100 { // strangers seem to have all kinds of passkeys
		email := fmt.Sprintf("nobody%d@example.com", i)
		if i == 0 {
			email = without.email
		}
		ids, decoy := shape(email)
		if again, _ := shape(email); ids != again {
			t.Fatalf("%s has passkeys %s, and then %s", email, ids, again)
		}
		if decoy == real {
			alike++
		}
	}
	if alike == 0 {
		t.Errorf("no stranger's options are like %s, those of an account", real)
	}
}
