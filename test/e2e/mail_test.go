package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mail is a message as the outbox of development keeps it.
type mail struct {
	Kind, To, Code, Link, Subject, Text string
}

// token is the token of the mail's link to our own page.
func (m mail) token() string {
	u, err := url.Parse(m.Link)
	if err != nil {
		return ""
	}
	return u.Query().Get("token")
}

// mails returns what the outbox holds, oldest first, and remembers its secrets.
func (d *deployment) mails() []mail {
	d.t.Helper()
	names, err := filepath.Glob(filepath.Join(d.data, "outbox", "*.json"))
	if err != nil {
		d.t.Fatal(err)
	}
	slices.Sort(names)
	var all []mail
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			continue // the oldest give way
		}
		var kept struct{ Message mail }
		if err := json.Unmarshal(content, &kept); err != nil {
			d.t.Fatalf("read %s: %v", name, err)
		}
		d.seen.hearMail(kept.Message)
		all = append(all, kept.Message)
	}
	return all
}

// await returns the newest of at least n mails of a kind to an address.
func (d *deployment) await(n int, kind, to string) mail {
	d.t.Helper()
	var found []mail
	until(d.t, patience, "no "+kind+" has come", func() bool {
		found = slices.DeleteFunc(d.mails(), func(m mail) bool { return m.Kind != kind || m.To != to })
		return len(found) >= n
	})
	return found[len(found)-1]
}

// knock tries to log in with the password, without showing a token of a session that may have ended.
func (c *client) knock() answer {
	c.t.Helper()
	stranger := *c
	stranger.access = ""
	return stranger.tryLogin(c.password)
}

// page is an answer of a link's page.
type page struct {
	status int
	header http.Header
	body   string
}

// press follows a link as a browser does: it opens the page and presses its button.
func (c *client) press(m mail, fields url.Values) (opened, pressed page) {
	c.t.Helper()
	opened = c.page(http.MethodGet, m.Link, nil)
	form := url.Values{"token": {m.token()}}
	for name, values := range fields {
		form[name] = values
	}
	return opened, c.page(http.MethodPost, m.Link, form)
}

func (c *client) page(method, link string, form url.Values) page {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, link, strings.NewReader(form.Encode()))
	if err != nil {
		c.t.Fatal(err)
	}
	for name, values := range c.headers {
		r.Header[name] = values
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	stay := *c.http
	stay.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := stay.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return page{response.StatusCode, response.Header, string(body)}
}

const plain = ` { userErrors { code field message } } }`

func TestAForgottenPasswordIsResetByMailOnTheOtherServer(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		d.await(1, "verifyEmail", c.email)
		ask[any](d.visitor(0), `mutation($e: String!) { requestPasswordReset(input: {email: $e})`+plain, vars{"e": strings.ToUpper(c.email)})
		m := d.await(1, "passwordReset", c.email)
		fresh := d.seen.password()
		const reset = `mutation($t: String!, $p: String!) { resetPassword(input: {token: $t, newPassword: $p}) { reset userErrors { code field } } }`
		other := d.visitor(1)
		if a := other.say(reset, vars{"t": m.token(), "p": "short"}); a.userError() != "TOO_SHORT" {
			t.Errorf("a short password: %v", a)
		}
		if !c.signedIn() {
			t.Error("a refusal has ended the session")
		}
		got := ask[struct{ ResetPassword struct{ Reset bool } }](other, reset, vars{"t": m.token(), "p": fresh})
		if !got.ResetPassword.Reset {
			t.Error("not reset")
		}
		if c.signedIn() || c.tryRefresh(c.refresh).userError() != "SESSION_REVOKED" {
			t.Error("the session lives on")
		}
		if a := other.say(reset, vars{"t": m.token(), "p": fresh}); a.userError() != "TOKEN_INVALID" {
			t.Errorf("the link once more: %v", a)
		}
		if a := c.knock(); a.userError() != "INVALID_CREDENTIALS" {
			t.Errorf("the old password: %v", a)
		}
		c.password = fresh
		c.login()
		if !ask[struct{ Me struct{ EmailVerified bool } }](c, `{ me { emailVerified } }`, nil).Me.EmailVerified {
			t.Error("the mail has reached the address, which is not confirmed")
		}

		// "this was not me", by the page of the link
		opened, pressed := c.press(d.await(1, "passwordChanged", c.email), nil)
		if opened.status != http.StatusOK || pressed.status != http.StatusOK || c.signedIn() {
			t.Errorf("the page said %d and then %d; signed in: %v", opened.status, pressed.status, c.signedIn())
		}
		if a := c.knock(); a.userError() != "PASSWORD_RESET_REQUIRED" {
			t.Errorf("the password after \"not me\": %v", a)
		}
		third := d.seen.password()
		way := d.await(2, "passwordReset", c.email)
		if _, pressed := c.press(way, url.Values{"password": {"password"}}); pressed.status != http.StatusBadRequest || !strings.Contains(pressed.body, `name="password"`) {
			t.Errorf("a weak password: %d, and no form to try again", pressed.status)
		}
		if _, pressed := c.press(way, url.Values{"password": {third}}); pressed.status != http.StatusOK {
			t.Errorf("a good password: %d %s", pressed.status, pressed.body)
		}
		c.password = third
		c.login()
	})
}

func TestWhereAddressesAreConfirmedFirstBothKindsOfAddressGetTheSameAnswer(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.visitor(0)
		c.email, c.password = d.seen.email(), d.seen.password()
		in := vars{"in": vars{"email": c.email, "password": c.password}}
		first, again := c.say(registerDocument, in), c.say(registerDocument, in)
		if string(first.Data) != string(again.Data) || first.code() != "" || string(first.Data) != `{"register":{"outcome":null,"userErrors":[]}}` {
			t.Errorf("a new address: %v\na known one: %v", first, again)
		}
		d.await(1, "alreadyRegistered", c.email)
		d.await(1, "verifyEmail", c.email)
		if a := c.tryLogin("not the password"); a.userError() != "INVALID_CREDENTIALS" {
			t.Errorf("a wrong password: %v", a)
		}
		if a := c.tryLogin(c.password); a.userError() != "EMAIL_NOT_VERIFIED" {
			t.Errorf("the right password: %v", a)
		}
		m := d.await(2, "verifyEmail", c.email)
		opened := c.page(http.MethodGet, m.Link, nil)
		if opened.status != http.StatusOK || !strings.Contains(opened.body, `method="post"`) {
			t.Errorf("the page says %d %s", opened.status, opened.body)
		}
		if a := c.tryLogin(c.password); a.userError() != "EMAIL_NOT_VERIFIED" {
			t.Errorf("a look at the page, as a mail scanner takes it, has confirmed the address: %v", a)
		}
		if opened, pressed := c.press(d.await(3, "verifyEmail", c.email), nil); pressed.status != http.StatusOK {
			t.Fatalf("opened: %d; pressed: %d %s", opened.status, pressed.status, pressed.body)
		}
		c.login()
	}, "--email-verification", "required")
}

const codeDocument = `mutation($in: LoginWithCodeInput!) { loginWithCode(input: $in) ` + signInFields + ` }`

func TestACodeOrALinkByMailSignsIn(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		const request = `mutation($e: String!) { requestLoginCode(input: {email: $e})` + plain
		known, unknown := d.visitor(0).say(request, vars{"e": c.email}), d.visitor(0).say(request, vars{"e": d.seen.email()})
		if string(known.body) != string(unknown.body) {
			t.Errorf("a known address: %v\nan unknown one: %v", known, unknown)
		}
		m := d.await(1, "loginCode", c.email)
		other := d.visitor(1)
		other.email, other.user = c.email, c.user
		wrong := strings.Map(func(r rune) rune { return '0' + (r-'0'+1)%10 }, m.Code)
		for what, in := range map[string]vars{
			"a wrong code":              {"email": c.email, "code": wrong},
			"a code of another address": {"email": d.seen.email(), "code": m.Code},
			"a token of nothing":        {"token": "gh_login_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		} {
			if a := other.say(codeDocument, vars{"in": in}); a.userError() != "TOKEN_INVALID" {
				t.Errorf("%s: %v", what, a)
			}
		}
		other.enter(ask[struct{ LoginWithCode signIn }](other, codeDocument, vars{"in": vars{"email": c.email, "code": m.Code[:3] + " " + m.Code[3:]}}).LoginWithCode)
		if !other.signedIn() {
			t.Error("not signed in")
		}
		if a := d.visitor(0).say(codeDocument, vars{"in": vars{"token": m.token()}}); a.userError() != "TOKEN_INVALID" {
			t.Errorf("the link after the code: %v", a)
		}
		// a client with tokens of its own has no use for our page
		ask[any](d.visitor(0), request, vars{"e": c.email})
		m = d.await(2, "loginCode", c.email)
		opened, pressed := c.press(m, nil)
		if opened.status != http.StatusOK || strings.Contains(opened.body, "<form") || pressed.status != http.StatusBadRequest || len(pressed.header["Set-Cookie"]) > 0 {
			t.Errorf("the page signs in who keeps tokens: %d %s, %d", opened.status, opened.body, pressed.status)
		}
		other.enter(ask[struct{ LoginWithCode signIn }](other, codeDocument, vars{"in": vars{"token": m.token()}}).LoginWithCode)
	})
}

func TestALinkSignsTheBrowserInWithCookiesAndOnlyFromItsOwnPage(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		b := d.browser()
		ask[any](b.client, `mutation($e: String!) { requestLoginCode(input: {email: $e})`+plain, vars{"e": c.email})
		m := d.await(1, "loginCode", c.email)
		foreign := d.visitor(0)
		foreign.headers.Set("Sec-Fetch-Site", "cross-site")
		if _, pressed := foreign.press(m, nil); pressed.status != http.StatusForbidden || len(pressed.header["Set-Cookie"]) > 0 {
			t.Errorf("a foreign page signs its visitors in: %d", pressed.status)
		}
		same := d.visitor(0)
		same.headers.Set("Sec-Fetch-Site", "same-origin")
		same.headers.Set("Origin", "null") // as browsers send with the policy no-referrer
		opened, pressed := same.press(m, nil)
		if !strings.Contains(opened.body, "a…@example.com") || strings.Contains(opened.body, c.email) {
			t.Errorf("the page does not say whose account it is, or says too much: %s", opened.body)
		}
		if pressed.status != http.StatusSeeOther || pressed.header.Get("Location") != d.publicURL+"/" {
			t.Fatalf("pressed: %d to %q", pressed.status, pressed.header.Get("Location"))
		}
		for _, cookie := range (&http.Response{Header: pressed.header}).Cookies() {
			b.cookies[cookie.Name] = cookie
			b.seen.add("cookie "+cookie.Name, cookie.Value)
		}
		if !b.signedIn() {
			t.Error("the cookies do not sign in")
		}
		if _, pressed := same.press(m, nil); pressed.status != http.StatusBadRequest {
			t.Errorf("the link once more: %d", pressed.status)
		}
	})
}

func TestALinkToSignInStaysGoodWhereItsPageCannotAskForTheSecondFactor(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	confirm := d.await(1, "verifyEmail", c.email) // else the mail would hand the account to whoever reads it
	ask[any](c, `mutation($t: String!) { verifyEmail(input: {token: $t})`+plain, vars{"t": confirm.token()})
	phone, _ := c.withApp()
	b := d.browser()
	b.email = c.email
	ask[any](b.client, `mutation($e: String!) { requestLoginCode(input: {email: $e})`+plain, vars{"e": c.email})
	m := d.await(1, "loginCode", c.email)
	for range 2 {
		opened, pressed := d.visitor(0).press(m, nil)
		if opened.status != http.StatusOK || pressed.status != http.StatusBadRequest || len(pressed.header["Set-Cookie"]) > 0 ||
			!strings.Contains(pressed.body, "a second step") || !strings.Contains(pressed.body, "still good") {
			t.Fatalf("opened: %d; pressed: %d %s", opened.status, pressed.status, pressed.body)
		}
	}
	p := call(t, b, "loginWithCode", outcomeFields, vars{"email": c.email, "code": m.Code})
	if p.Outcome == nil || p.Outcome.Kind != "MfaChallenge" {
		t.Fatalf("the code of the same mail gave %+v", p)
	}
	c.seen.add("challenge", p.Outcome.ID)
	in := vars{"challengeId": p.Outcome.ID, "method": "TOTP", "code": phone.code(), "trustDevice": true}
	if p := call(t, b, "verifyMfa", outcomeFields, in); p.Outcome == nil || !b.signedIn() {
		t.Fatalf("the second factor gave %+v", p)
	}

	// the browser is trusted now: its own page signs in
	ask[any](b.client, `mutation($e: String!) { requestLoginCode(input: {email: $e})`+plain, vars{"e": c.email})
	m = d.await(2, "loginCode", c.email)
	trusted := d.visitor(0).with("Cookie", "__Host-gh_device="+b.cookies["__Host-gh_device"].Value)
	if _, pressed := trusted.press(m, nil); pressed.status != http.StatusSeeOther || len(pressed.header["Set-Cookie"]) == 0 {
		t.Errorf("on a trusted device: %d %s", pressed.status, pressed.body)
	}
}

func TestAPageOfALinkKeepsItsSecretToItself(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	m := d.await(1, "verifyEmail", c.email)
	evil := d.visitor(0)
	opened := evil.page(http.MethodGet, m.Link, nil)
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
	} {
		if got := opened.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	policy := opened.header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("the policy %q lacks %s", policy, part)
		}
	}
	if strings.Contains(policy, "script-src") || strings.Contains(policy, "unsafe") || regexp.MustCompile(`(?i)<script|\son\w+=|https?://`).MatchString(opened.body) {
		t.Errorf("the page may run or load something: %s", opened.body)
	}
	for what, link := range map[string]string{
		"no such purpose":      d.publicURL + "/links/nothing?token=" + m.token(),
		"a token of HTML":      d.publicURL + "/links/verify-email?token=%22%3E%3Cscript%3E",
		"a token of elsewhere": d.publicURL + "/links/reset-password?token=" + m.token(),
		"no token":             d.publicURL + "/links/verify-email",
	} {
		if got := evil.page(http.MethodGet, link, nil); got.status != http.StatusBadRequest && got.status != http.StatusNotFound || strings.Contains(got.body, "<script") || strings.Contains(got.body, "<form") {
			t.Errorf("%s: %d %s", what, got.status, got.body)
		}
	}
	if !strings.HasPrefix(m.Link, d.publicURL+"/links/verify-email?token=") {
		t.Errorf("the link leads to %s", m.Link)
	}
}

func TestNoHeaderShapesALink(t *testing.T) {
	t.Parallel()
	d := embedded(t, "--link-url", "https://app.example.com/do/{purpose}#{token}")
	c := d.visitor(0)
	c.email, c.password = d.seen.email(), d.seen.password()
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "Origin", "Referer", "X-Original-Host"} {
		c.headers.Set(name, "evil.example.net")
	}
	c.enter(ask[struct{ Register signIn }](c, registerDocument, vars{"in": vars{"email": c.email, "password": c.password}}).Register)
	m := d.await(1, "verifyEmail", c.email)
	if !strings.HasPrefix(m.Link, "https://app.example.com/do/verify-email#gh_verify-email_") || strings.Contains(m.Text, "evil") {
		t.Errorf("the link is %s in %s", m.Link, m.Text)
	}
}

func TestAnAddressIsChangedAndTakenBack(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		confirm := d.await(1, "verifyEmail", c.email)
		got := ask[struct {
			VerifyEmail struct {
				Verified bool
				User     *struct{ EmailVerified bool }
			}
		}](c, `mutation($t: String!) { verifyEmail(input: {token: $t}) { verified user { emailVerified } userErrors { code } } }`, vars{"t": confirm.token()}).VerifyEmail
		if !got.Verified || got.User == nil || !got.User.EmailVerified {
			t.Fatalf("not confirmed: %+v", got)
		}
		old, fresh := c.email, d.seen.email()
		const request = `mutation($e: String!, $p: String) { requestEmailChange(input: {newEmail: $e, password: $p})` + plain
		if a := c.say(request, vars{"e": fresh, "p": "wrong"}); a.userError() != "INVALID_CREDENTIALS" {
			t.Errorf("a wrong password: %v", a)
		}
		ask[any](c, request, vars{"e": fresh})
		m := d.await(1, "emailChangeConfirm", fresh)
		ask[any](c.at(last(d.servers)), `mutation($c: String!) { confirmEmailChange(input: {code: $c}) { changed user { email } userErrors { code } } }`, vars{"c": m.Code})
		c.email = fresh
		if me := ask[struct{ Me struct{ Email string } }](c, `{ me { email } }`, nil).Me.Email; me != fresh {
			t.Errorf("the address is %q", me)
		}
		c.login()
		undo := d.await(1, "emailChanged", old)
		if _, pressed := c.press(undo, nil); pressed.status != http.StatusOK || c.signedIn() {
			t.Errorf("taken back: %d; signed in: %v", pressed.status, c.signedIn())
		}
		if a := c.knock(); a.userError() != "INVALID_CREDENTIALS" {
			t.Errorf("the new address: %v", a)
		}
		c.email = old
		if a := c.knock(); a.userError() != "PASSWORD_RESET_REQUIRED" {
			t.Errorf("the old address: %v", a)
		}
		d.await(1, "passwordReset", old)
	})
}

func TestOnesDataIsCopiedAndTheAccountDeletedOrKept(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		name := d.seen.add("name", "Countess of "+c.email[4:16])
		ask[any](c, `mutation($n: String) { updateProfile(input: {name: $n, locale: "de"}) { user { name locale } userErrors { code } } }`, vars{"n": name})
		started := ask[struct {
			RequestDataExport struct{ Job job }
		}](c, `mutation { requestDataExport { job { id kind state } userErrors { code } } }`, nil).RequestDataExport.Job
		until(t, patience, "the copy is not made", func() bool {
			return ask[struct{ Job job }](c, `query($id: ID!) { job(id: $id) { state } }`, vars{"id": started.ID}).Job.State == "SUCCEEDED"
		})
		done := ask[struct {
			Job struct {
				Artifacts []artifact
				Result    struct{ Sections []struct{ Name string } }
			}
		}](c, `query($id: ID!) { job(id: $id) { artifacts { id name url bytes sha256 } result { ... on DataExport { sections { name entries } } } } }`, vars{"id": started.ID}).Job
		if len(done.Artifacts) != 1 || len(done.Result.Sections) < 4 {
			t.Fatalf("got %+v", done)
		}
		var copied map[string]json.RawMessage
		content := c.fetch(done.Artifacts[0])
		if err := json.Unmarshal(content, &copied); err != nil {
			t.Fatalf("%v in %s", err, content)
		}
		for _, want := range []string{c.email, name, c.session, "account.registered", started.ID} {
			if !strings.Contains(string(content), want) {
				t.Errorf("the copy lacks %q", want)
			}
		}
		if regexp.MustCompile(`argon2|"sealed"|gh_|ghr_`).Match(content) {
			t.Errorf("the copy holds a secret: %s", content)
		}
		m := d.await(1, "dataExportReady", c.email)
		if !strings.Contains(m.Subject, "Daten") {
			t.Errorf("the mail is not in the account's language: %q", m.Subject)
		}
		_, pressed := c.press(m, nil)
		if status, mailed := c.get(pressed.header.Get("Location")); status != http.StatusOK || string(mailed) != string(content) {
			t.Errorf("the mailed link leads to %d, %d bytes", status, len(mailed))
		}
		// what is a person's own stands in the clear in this file, which goes with its job
		ask[any](c, `mutation($id: ID!) { deleteJob(input: {id: $id}) { deletedId userErrors { code } } }`, vars{"id": started.ID})

		const del = `mutation($p: String) { deleteAccount(input: {password: $p}) { deletesAt userErrors { code } } }`
		if a := c.say(del, vars{"p": "wrong"}); a.userError() != "INVALID_CREDENTIALS" {
			t.Errorf("a wrong password: %v", a)
		}
		ask[any](c, del, vars{"p": c.password})
		if c.signedIn() {
			t.Error("the session lives on")
		}
		keep := d.await(1, "accountDeletionScheduled", c.email)
		c.login()
		if at := ask[struct{ Me struct{ DeletesAt *string } }](c, `{ me { deletesAt } }`, nil).Me.DeletesAt; at == nil {
			t.Error("signing in has taken the deletion back in silence")
		}
		if _, pressed := c.press(keep, nil); pressed.status != http.StatusOK {
			t.Errorf("kept: %d %s", pressed.status, pressed.body)
		}
		if at := ask[struct{ Me struct{ DeletesAt *string } }](c, `{ me { deletesAt } }`, nil).Me.DeletesAt; at != nil {
			t.Error("the account is still to be deleted")
		}
	})
}
