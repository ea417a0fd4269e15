package login_test

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/login"
	"gatehouse/login/oauth"
	"gatehouse/session"
)

var nobody = viewer.Viewer{}

// TestWhoseANewIdentityIs is the table of [login.Identities] for sign-ins, row by row.
func TestWhoseANewIdentityIs(t *testing.T) {
	const email = "ada@example.com"
	for _, row := range []struct {
		name     string
		local    string // the account with the address: "", "unconfirmed", "confirmed", "disabled"
		who      claims
		required bool       // addresses are confirmed first
		refused  fault.Code // "": it goes to…
		same     bool       // …the account with the address; else to a new one
		keeps    bool       // the account's password and sessions stay
		verified bool       // the account's address is confirmed afterwards
	}{
		{name: "no address, no account", who: person("p1", nil), refused: fault.OAuthEmailRequired},
		{name: "an address that is none", who: verified("p1", "ada@x@y"), refused: fault.OAuthEmailRequired},
		{name: "an unverified address without an account", who: unverified("p1", email)},
		{name: "the same where addresses are confirmed first", who: unverified("p1", email), required: true, refused: fault.OAuthEmailUnverified},
		{name: "an unverified address of a confirmed account", local: "confirmed", who: unverified("p1", email), refused: fault.OAuthEmailUnverified, keeps: true, verified: true},
		{name: "an unverified address of an unconfirmed account", local: "unconfirmed", who: unverified("p1", email), refused: fault.OAuthEmailUnverified, keeps: true},
		{name: "an unverified address of a disabled account", local: "disabled", who: unverified("p1", email), refused: fault.OAuthEmailUnverified, verified: true},
		{name: "a verified address without an account", who: verified("p1", email), verified: true},
		{name: "the same where addresses are confirmed first", who: verified("p1", email), required: true, verified: true},
		{name: "a verified address of a confirmed account", local: "confirmed", who: verified("p1", email), same: true, keeps: true, verified: true},
		{name: "the same in capitals", local: "confirmed", who: verified("p1", "ADA@Example.com"), same: true, keeps: true, verified: true},
		{name: "a verified address of an unconfirmed account", local: "unconfirmed", who: verified("p1", email), same: true, verified: true},
		{name: "a verified address of a disabled account", local: "disabled", who: verified("p1", email), refused: fault.AccountDisabled, verified: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			policy := account.Optional
			if row.required {
				policy = account.Required
			}
			p := newPort(t, sqlite(t), account.Options{EmailVerification: policy})
			local := p.local(row.local, email)
			entered, err := p.signIn(row.who)
			if row.refused != "" {
				refuse(t, "the sign-in", err, row.refused)
				if p.rows(`SELECT count(*) FROM identities`) != 0 {
					t.Error("an identity was linked")
				}
			} else {
				must(t, err)
				if got := p.signedIn(entered.Outcome); (got.User == local.User.ID) != row.same || got.Verified != row.verified || entered.Identity.User != got.User {
					t.Errorf("signed in as %+v by %+v, the account with the address is %s", got, entered.Identity, local.User.ID)
				}
			}
			if row.local != "" {
				p.checkLocal(local, email, row.keeps, row.verified)
			}
		})
	}
}

// local makes the account that has the address already.
func (p *port) local(state, email string) login.Outcome {
	p.Helper()
	if state == "" {
		return login.Outcome{}
	}
	made, err := p.register(email)
	must(p, err)
	if state != "unconfirmed" {
		p.confirm(made.User.ID)
	}
	if state == "disabled" {
		must(p, p.accounts.Disable(p.Context(), viewer.System(), made.User.ID))
	}
	return made
}

func (p *port) checkLocal(local login.Outcome, email string, keeps, verified bool) {
	p.Helper()
	_, err := p.accounts.ByPassword(p.Context(), email, secretWord)
	if (err == nil) != keeps {
		p.Errorf("the password of the account: %v", err)
	}
	_, _, err = p.sessions.Authenticate(p.Context(), local.Tokens.Access)
	if (err == nil) != keeps {
		p.Errorf("the session of the account: %v", err)
	}
	user, err := p.accounts.ByEmail(p.Context(), email)
	must(p, err)
	if user.Verified != verified {
		p.Errorf("the address is confirmed: %v", user.Verified)
	}
}

func TestWhoWaitsInAnAccountWithAStrangersAddressIsThrownOut(t *testing.T) {
	eachPort(t, func(t *testing.T, p *port) {
		// The thief makes an account with the victim's address, by a provider that does not check it, and
		// by a password.
		thief, err := p.signIn(unverified("thief", "victim@example.com"))
		must(t, err)
		old := p.signedIn(thief.Outcome)
		if old.Verified {
			t.Fatal("an address that the provider has not verified is confirmed")
		}
		victim, err := p.signIn(verified("victim", "victim@example.com"))
		must(t, err)
		if victim.Outcome.User.ID != thief.Outcome.User.ID {
			t.Fatal("the victim has another account")
		}
		_, _, err = p.sessions.Authenticate(t.Context(), thief.Outcome.Tokens.Access)
		refuse(t, "the thief's access token", err, fault.Unauthenticated)
		_, err = p.sessions.Refresh(t.Context(), thief.Outcome.Tokens.Refresh, session.Origin{})
		refuse(t, "the thief's refresh token", err, fault.SessionRevoked)
		_, err = p.signIn(unverified("thief", "victim@example.com"))
		refuse(t, "the thief's identity", err, fault.OAuthEmailUnverified)
		owner := victim.Outcome.User.ID
		left, err := p.accounts.Identities(t.Context(), p.signedIn(victim.Outcome), []viewer.UserID{owner})
		must(t, err)
		if len(left[owner]) != 1 || left[owner][0].Subject != "victim" {
			t.Errorf("identities: %+v, want the victim's alone", left)
		}
		if got := p.actions(victim.Outcome.User.ID); !slices.Contains(got, audit.AccountReclaimed) {
			t.Errorf("recorded %v", got)
		}
	})
}

func TestAProviderLetsNobodyInWhoseAddressMustBeConfirmedFirst(t *testing.T) {
	p := newPort(t, sqlite(t), account.Options{EmailVerification: account.Required})
	p.box.Run(t)
	_, err := p.signIn(verified("ada", "ada@example.com"))
	must(t, err)
	must(t, p.db.Update(t.Context(), func(tx *store.Tx) error { // as one of before the policy
		_, err := tx.Exec(t.Context(), store.SQL(`UPDATE users SET email_verified = FALSE`))
		return err
	}))
	_, err = p.signIn(verified("ada", "ada@example.com"))
	refuse(t, "the identity of an unconfirmed account", err, fault.EmailNotVerified)
	p.box.Take(t, notify.VerifyEmail, "ada@example.com")
	if n := p.rows(`SELECT count(*) FROM sessions`); n != 1 {
		t.Errorf("%d sessions have begun, want the first alone", n)
	}
}

func (p *port) actions(user viewer.UserID) []audit.Action {
	p.Helper()
	entries, err := p.audit.ByUser(p.Context(), viewer.System(), user, 100)
	must(p, err)
	var all []audit.Action
	for _, e := range entries {
		all = append(all, e.Action)
	}
	return all
}

func TestWhoComesBackIsKnownByIssuerAndSubjectAndNotByAddress(t *testing.T) {
	eachPort(t, func(t *testing.T, p *port) {
		first, err := p.signIn(verified("ada", "ada@example.com"))
		must(t, err)
		moved, err := p.signIn(verified("ada", "ada@elsewhere.example"))
		must(t, err)
		if moved.Outcome.User.ID != first.Outcome.User.ID || moved.Identity.ID != first.Identity.ID || *moved.Identity.Email() != "ada@elsewhere.example" {
			t.Errorf("another address at the provider gives %+v", moved.Identity)
		}
		if user, _ := p.accounts.Get(t.Context(), first.Outcome.User.ID); user.Email != "ada@example.com" || user.Name != "Ada of ada" {
			t.Errorf("the account is %+v", user)
		}
		// An address that was given to somebody else is the account's still, for its owner has confirmed it.
		heir, err := p.signIn(verified("heir", "ada@elsewhere.example"))
		must(t, err)
		if heir.Outcome.User.ID == first.Outcome.User.ID {
			t.Error("the same address at the provider is the same person")
		}
		if want := []audit.Action{audit.LoginSucceeded, audit.LoginSucceeded, audit.IdentityLinked, audit.AccountRegistered}; !slices.Equal(p.actions(first.Outcome.User.ID), want) {
			t.Errorf("recorded %v, want %v", p.actions(first.Outcome.User.ID), want)
		}
	})
}

func TestAnIdentityIsLinkedByWhoAskedForIt(t *testing.T) {
	eachPort(t, func(t *testing.T, p *port) {
		p.box.Run(t)
		ada, err := p.register("ada@example.com")
		must(t, err)
		p.confirm(ada.User.ID)
		by := p.signedIn(ada)
		eve, err := p.register("eve@example.com")
		must(t, err)

		answer := p.provider.consent(t, p.start(by, linking).AuthorizationURL, person("ada", nil))
		_, err = p.complete(p.signedIn(eve), answer)
		refuse(t, "a link that somebody else completes", err, fault.OAuthLinkMismatch)
		answer = p.provider.consent(t, p.start(by, linking).AuthorizationURL, person("ada", nil))
		_, err = p.complete(nobody, answer)
		refuse(t, "a link that nobody completes", err, fault.OAuthLinkMismatch)

		linked, err := p.link(by, person("ada", nil))
		must(t, err)
		if linked.Outcome.SignedIn() || linked.Identity.User != ada.User.ID {
			t.Errorf("the link gave %+v", linked)
		}
		p.box.Take(t, notify.IdentityLinked, "ada@example.com")
		again, err := p.link(by, person("ada", nil))
		must(t, err)
		if again.Identity.ID != linked.Identity.ID {
			t.Error("the same identity was linked twice")
		}
		_, err = p.link(p.signedIn(eve), person("ada", nil))
		refuse(t, "the identity of another", err, fault.OAuthIdentityTaken)
		back, err := p.signIn(person("ada", nil))
		must(t, err)
		if back.Outcome.User.ID != ada.User.ID {
			t.Error("the linked identity leads elsewhere")
		}
		_, err = p.identities.Start(t.Context(), nobody, login.Beginning{Provider: "oidc", Challenge: challenge(verifier), Link: true, Client: here})
		refuse(t, "nobody's link", err, fault.Unauthenticated)
		p.clock.advance(16 * time.Minute)
		_, err = p.identities.Start(t.Context(), by, login.Beginning{Provider: "oidc", Challenge: challenge(verifier), Link: true, Client: here})
		refuse(t, "a link in a session of a while ago", err, fault.StepUpRequired)
		refuse(t, "an unlink in a session of a while ago", p.identities.Unlink(t.Context(), by, linked.Identity.ID), fault.StepUpRequired)
	})
}

func TestTheLastWayInStays(t *testing.T) {
	eachPort(t, func(t *testing.T, p *port) {
		p.box.Run(t)
		ada, err := p.signIn(verified("ada", "ada@example.com"))
		must(t, err)
		by := p.signedIn(ada.Outcome)
		refuse(t, "the only identity", p.identities.Unlink(t.Context(), by, ada.Identity.ID), fault.LastWayIn)
		second, err := p.link(by, person("ada-2", nil))
		must(t, err)
		eve, err := p.signIn(verified("eve", "eve@example.com"))
		must(t, err)
		refuse(t, "by somebody else", p.identities.Unlink(t.Context(), p.signedIn(eve.Outcome), second.Identity.ID), fault.NotFound)

		results := together(2, func(n int) error {
			return p.identities.Unlink(t.Context(), by, []account.IdentityID{ada.Identity.ID, second.Identity.ID}[n])
		})
		if len(results[fault.LastWayIn]) != 1 || len(results[""]) != 1 {
			t.Errorf("two unlinks at once: %v, want one to be refused", results)
		}
		if left, _ := p.accounts.Identities(t.Context(), by, []viewer.UserID{by.User}); len(left[by.User]) != 1 {
			t.Errorf("identities that are left: %v", left)
		}
		p.box.Take(t, notify.IdentityUnlinked, "ada@example.com")
		if len(p.provider.revoked) != 1 {
			t.Errorf("the provider has forgotten %d tokens, want those of the unlinked identity", len(p.provider.revoked))
		}
	})
}

// together runs fn n times at once and returns the errors by code.
func together(n int, fn func(n int) error) map[fault.Code][]error {
	results := map[fault.Code][]error{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for k := range n {
		all.Go(func() {
			err := fn(k)
			mu.Lock()
			defer mu.Unlock()
			code := fault.Code("")
			if f, ok := fault.As(err); ok {
				code = f.Code
			} else if err != nil {
				code = fault.Internal
			}
			results[code] = append(results[code], err)
		})
	}
	all.Wait()
	return results
}

func TestAFlowIsGoodOnceAndForItsCallerOnly(t *testing.T) {
	eachPort(t, func(t *testing.T, p *port) {
		answer := p.provider.consent(t, p.start(nobody).AuthorizationURL, verified("ada", "ada@example.com"))
		for what, proof := range map[string]login.Proof{
			"no proof": {}, "another verifier": {Verifier: strings.ToUpper(verifier)}, "a cookie": {Cookie: verifier},
			"the challenge itself": {Verifier: challenge(verifier)},
		} {
			_, err := p.identities.Complete(t.Context(), nobody, login.Return{Answer: answer, Proof: proof, Client: here})
			refuse(t, what, err, fault.OAuthBindingMismatch)
		}
		_, err := p.identities.Complete(t.Context(), nobody, login.Return{Flow: "another", Answer: answer, Proof: login.Proof{Verifier: verifier}, Client: here})
		refuse(t, "another flow", err, fault.OAuthStateMismatch)
		results := together(4, func(int) error { _, err := p.complete(nobody, answer); return err })
		if len(results[""]) != 1 || len(results[fault.OAuthStateMismatch]) != 3 {
			t.Errorf("four at once: %v, want one to be let in", results)
		}
		_, err = p.complete(nobody, answer)
		refuse(t, "once more", err, fault.OAuthStateMismatch)

		late := p.provider.consent(t, p.start(nobody).AuthorizationURL, verified("ada", "ada@example.com"))
		p.clock.advance(oauth.FlowLifetime + time.Second)
		_, err = p.complete(nobody, late)
		refuse(t, "after ten minutes", err, fault.OAuthExpired)
	})
}

// arrive brings a person back to our own address, and returns the exchange code.
func (p *port) arrive(who claims, change ...func(*login.Beginning)) string {
	p.Helper()
	begun := p.start(nobody, append([]func(*login.Beginning){func(b *login.Beginning) { b.RedirectTo = ourPage }}, change...)...)
	to, err := p.second.Answer(p.Context(), login.Callback{
		Provider: "oidc", Answer: p.provider.consent(p, begun.AuthorizationURL, who), Browser: browser, Client: here,
	})
	must(p, err)
	u, err := url.Parse(to)
	must(p, err)
	if code := u.Query().Get("exchangeCode"); code != "" && strings.HasPrefix(to, "https://app.example/signed-in?") &&
		u.Query().Get("tab") == "1" && u.Query().Get("flowId") == begun.Flow && len(u.Query()) == 3 {
		return code
	}
	p.Fatalf("the browser is sent to %s", to)
	return ""
}

const browser = "a-secret-of-this-browser-with-43-characters"

func byCookie(b *login.Beginning) { b.Challenge, b.Browser = "", browser }

func TestAnExchangeCodeIsGoodOnceForAMinuteAndForItsBrowserOnly(t *testing.T) {
	eachPort(t, func(t *testing.T, p *port) {
		redeem := func(code string, proof login.Proof) error {
			_, err := p.identities.Redeem(t.Context(), nobody, login.Redemption{Code: code, Proof: proof, Client: here})
			return err
		}
		for name, row := range map[string]struct {
			change func(*login.Beginning)
			good   login.Proof
			bad    []login.Proof
		}{
			"by a verifier": {func(*login.Beginning) {}, login.Proof{Verifier: verifier}, []login.Proof{{}, {Cookie: verifier}, {Verifier: browser}}},
			"by a cookie":   {byCookie, login.Proof{Cookie: browser}, []login.Proof{{}, {Verifier: browser}, {Cookie: verifier}}},
		} {
			code := p.arrive(verified("ada", "ada@example.com"), row.change)
			for _, proof := range row.bad {
				refuse(t, name+", stolen", redeem(code, proof), fault.OAuthBindingMismatch)
			}
			results := together(4, func(int) error { return redeem(code, row.good) })
			if len(results[""]) != 1 || len(results[fault.OAuthExchangeInvalid]) != 3 {
				t.Errorf("%s, four at once: %v, want one to be let in", name, results)
			}
			refuse(t, name+", once more", redeem(code, row.good), fault.OAuthExchangeInvalid)
			late := p.arrive(verified("ada", "ada@example.com"), row.change)
			p.clock.advance(login.ExchangeLifetime + time.Second)
			refuse(t, name+", after a minute", redeem(late, row.good), fault.OAuthExpired)
		}
		refuse(t, "a code of nobody", redeem("ghx_nothing", login.Proof{Verifier: verifier}), fault.OAuthExchangeInvalid)
	})
}

func TestAnAnswerAtTheWrongPlaceIsRefused(t *testing.T) {
	p := newPort(t, sqlite(t), account.Options{})
	who := verified("ada", "ada@example.com")
	led := func(b *login.Beginning) { b.RedirectTo = ourPage }
	answer := func(change ...func(*login.Beginning)) oauth.Answer {
		return p.provider.consent(t, p.start(nobody, append(change, led)...).AuthorizationURL, who)
	}
	mixed := answer()
	mixed.Iss = "https://another.example"
	for _, row := range []struct {
		name string
		call login.Callback
		want fault.Code
	}{
		{"at another provider's address", login.Callback{Provider: "github", Answer: answer()}, fault.OAuthStateMismatch},
		{"at nobody's address", login.Callback{Provider: "nobody", Answer: answer()}, fault.Invalid},
		{"as a form post where none is expected", login.Callback{Provider: "oidc", FormPost: true, Answer: answer()}, fault.OAuthStateMismatch},
		{"with a state of nobody", login.Callback{Provider: "oidc", Answer: oauth.Answer{State: "x", Code: "y"}}, fault.OAuthStateMismatch},
		{"without a state", login.Callback{Provider: "oidc"}, fault.OAuthStateMismatch},
		{"in another browser", login.Callback{Provider: "oidc", Answer: answer(byCookie), Browser: verifier}, fault.OAuthBindingMismatch},
		{"in a browser without the cookie", login.Callback{Provider: "oidc", Answer: answer(byCookie)}, fault.OAuthBindingMismatch},
		{
			"of a flow whose answer comes to a page",
			login.Callback{Provider: "oidc", Answer: p.provider.consent(t, p.start(nobody).AuthorizationURL, who)},
			fault.OAuthStateMismatch,
		},
	} {
		row.call.Client = here
		to, err := p.identities.Answer(t.Context(), row.call)
		refuse(t, row.name, err, row.want)
		if to != "" {
			t.Errorf("%s: the browser is sent to %s", row.name, to)
		}
	}
	for name, row := range map[string]struct {
		answer oauth.Answer
		want   string
	}{
		"of another issuer": {mixed, "OAUTH_ISSUER_MISMATCH"},
		"that is a refusal": {oauth.Answer{State: answer().State, Iss: p.provider.URL, Error: "access_denied"}, "OAUTH_DENIED"},
		"with a bad code":   {oauth.Answer{State: answer().State, Iss: p.provider.URL, Code: "another"}, "OAUTH_CODE_INVALID"},
	} {
		to, err := p.identities.Answer(t.Context(), login.Callback{Provider: "oidc", Answer: row.answer, Client: here})
		must(t, err)
		if u, _ := url.Parse(to); u.Query().Get("error") != row.want || u.Query().Has("exchangeCode") || u.Host != "app.example" {
			t.Errorf("an answer %s leads to %s, want %s", name, to, row.want)
		}
	}
	_, err := p.complete(nobody, answer())
	refuse(t, "a page that answers for the server", err, fault.OAuthStateMismatch)
}

func TestASignInLeadsToAddressesOnTheListOnly(t *testing.T) {
	p := newPort(t, sqlite(t), account.Options{})
	for _, address := range []string{
		"https://app.example/signed-in", "https://app.example/signed-in?tab=2", "https://app.example/signed-in?tab=1#x", "https://app.example:443/signed-in?tab=1",
		"https://app.example/signed-in?tab=1&x", "http://app.example/signed-in?tab=1", "https://APP.example/signed-in?tab=1", "https://app.example@evil.example/signed-in?tab=1",
		"//evil.example", "/signed-in", "javascript:alert(1)", callbackURL + "oidc", callbackURL + "github", " " + ourPage,
	} {
		_, err := p.identities.Start(t.Context(), nobody, login.Beginning{Provider: "oidc", RedirectTo: address, Challenge: challenge(verifier), Client: here})
		refuse(t, address, err, fault.OAuthRedirectRefused)
	}
	for name, row := range map[string]struct {
		change func(*login.Beginning)
		want   fault.Code
	}{
		"an unknown provider":   {func(b *login.Beginning) { b.Provider = "nobody" }, fault.Invalid},
		"nothing to bind it to": {func(b *login.Beginning) { b.Challenge = "" }, fault.Required},
		"a plain challenge":     {func(b *login.Beginning) { b.Challenge = "plain" }, fault.Invalid},
		"a cookie of another":   {func(b *login.Beginning) { b.Challenge, b.Browser = "", "x" }, fault.Required},
	} {
		b := login.Beginning{Provider: "oidc", Challenge: challenge(verifier), Client: here}
		row.change(&b)
		_, err := p.identities.Start(t.Context(), nobody, b)
		refuse(t, name, err, row.want)
	}
}

func TestAnAddressToComeBackToIsSafe(t *testing.T) {
	for address, good := range map[string]bool{
		"https://app.example/x": true, "http://localhost:3000/x": true, "http://127.0.0.1/": true, "com.example.app:/done": true,
		"http://app.example/": false, "https://": false, "javascript:alert(1)": false, "data:text/html,x": false, "/x": false, "": false,
		"https://*.example/": false, "https://a@app.example/": false, "https://app.example/#x": false, "https://app.example/\n": false,
	} {
		if err := login.CheckRedirectTo(address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestTokensOfAProviderAreRefreshedOnceForAllWhoAsk(t *testing.T) {
	eachPort(t, func(t *testing.T, p *port) {
		ada, err := p.signIn(verified("ada", "ada@example.com"))
		must(t, err)
		by := p.signedIn(ada.Outcome)
		get := func(n int) (string, error) {
			server := p.identities
			if n%2 == 1 {
				server = p.second
			}
			return server.AccessToken(t.Context(), by, ada.Identity.ID)
		}
		if token, err := get(0); err != nil || token != "access-0-of-ada" {
			t.Fatalf("got %q, %v", token, err)
		}
		p.clock.advance(10 * time.Minute)
		results := together(8, func(n int) error {
			token, err := get(n)
			if err == nil && token != "access-1-of-ada" {
				err = fmt.Errorf("got %q", token)
			}
			return err
		})
		if len(results[""]) != 8 || p.provider.refreshes != 1 {
			t.Errorf("eight at once: %v after %d refreshes, want one", results, p.provider.refreshes)
		}
		eve, err := p.signIn(verified("eve", "eve@example.com"))
		must(t, err)
		_, err = p.identities.AccessToken(t.Context(), p.signedIn(eve.Outcome), ada.Identity.ID)
		refuse(t, "somebody else", err, fault.NotFound)
		_, err = p.identities.AccessToken(t.Context(), viewer.Viewer{User: "usr_admin", Roles: []viewer.Role{viewer.Admin}}, ada.Identity.ID)
		refuse(t, "an administrator", err, fault.NotFound)

		p.clock.advance(10 * time.Minute)
		p.provider.bend(func() { p.provider.refreshes = 7 }) // the refresh token is not the newest any more
		_, err = get(0)
		refuse(t, "a refresh token that is used up", err, fault.OAuthSignInAgain)
		p.provider.bend(func() { p.provider.down = true })
		_, err = get(1)
		refuse(t, "a provider that is down", err, fault.OAuthProviderUnavailable)
	})
}

func TestARefreshTokenThatComesWithTheFirstConsentOnlyIsKept(t *testing.T) {
	eachPort(t, func(t *testing.T, p *port) {
		_, err := p.signIn(verified("ada", "ada@example.com"))
		must(t, err)
		p.provider.bend(func() { p.provider.once = true })
		ada, err := p.signIn(verified("ada", "ada@example.com"))
		must(t, err)
		p.clock.advance(10 * time.Minute)
		token, err := p.identities.AccessToken(t.Context(), p.signedIn(ada.Outcome), ada.Identity.ID)
		if err != nil || token != "access-1-of-ada" {
			t.Errorf("got %q, %v", token, err)
		}
	})
}

func TestTheProfileCanBeReadAgain(t *testing.T) {
	eachPort(t, func(t *testing.T, p *port) {
		ada, err := p.signIn(verified("ada", "ada@example.com"))
		must(t, err)
		by := p.signedIn(ada.Outcome)
		p.provider.bend(func() {
			p.provider.people["ada"] = verified("ada", "ada@new.example")
			p.provider.rejects["access-0-of-ada"] = true // the provider has withdrawn it before its time
		})
		p.clock.advance(time.Minute)
		fresh, err := p.identities.RefreshProfile(t.Context(), by, ada.Identity.ID)
		must(t, err)
		if *fresh.Email() != "ada@new.example" || !fresh.ProfileAt.After(ada.Identity.ProfileAt.Add(-time.Second)) || p.provider.refreshes != 1 {
			t.Errorf("got %+v after %d refreshes", fresh, p.provider.refreshes)
		}
		kept, err := p.accounts.Identity(t.Context(), by, ada.Identity.ID)
		must(t, err)
		if *kept.Email() != "ada@new.example" || kept.Subject != "ada" {
			t.Errorf("kept %+v", kept)
		}
		p.provider.bend(func() { p.provider.people["ada"] = verified("eve", "eve@example.com") })
		_, err = p.identities.RefreshProfile(t.Context(), by, ada.Identity.ID)
		refuse(t, "a profile of another", err, fault.OAuthTokenInvalid)
		_, err = p.identities.RefreshProfile(t.Context(), viewer.Viewer{User: "usr_eve"}, ada.Identity.ID)
		refuse(t, "somebody else", err, fault.NotFound)
	})
}

func TestGitHubSignsIn(t *testing.T) {
	eachPort(t, func(t *testing.T, p *port) {
		begun := p.start(nobody, func(b *login.Beginning) { b.Provider = "github" })
		answer := p.provider.consent(t, begun.AuthorizationURL, nil)
		answer.Iss += "/login/oauth"
		entered, err := p.complete(nobody, answer)
		must(t, err)
		u, i := entered.Outcome.User, entered.Identity
		if u.Email != "octocat@example.com" || !u.Verified || u.Name != "monalisa octocat" || i.Subject != "583231" || *i.Username() != "octocat" {
			t.Errorf("got %+v by %+v", u, i)
		}
		token, err := p.identities.AccessToken(t.Context(), p.signedIn(entered.Outcome), i.ID)
		if err != nil || !strings.HasPrefix(token, "gho_") {
			t.Errorf("got %q, %v", token, err)
		}
	})
}

// TestAppleSignsIn answers by a form post from Apple's own page, along which no cookie comes.
func TestAppleSignsIn(t *testing.T) {
	eachPort(t, func(t *testing.T, p *port) {
		begun := p.start(nobody, byCookie, func(b *login.Beginning) { b.Provider, b.RedirectTo = "apple", ourPage })
		answer := p.provider.consent(t, begun.AuthorizationURL, person("001234.abcdef", claims{
			"name": nil, "email": "x7k@privaterelay.appleid.example", "email_verified": "true", "is_private_email": "true",
		}))
		answer.User = `{"name":{"firstName":"Ada","lastName":"Lovelace"},"email":"forged@example.com"}`
		post := login.Callback{Provider: "apple", FormPost: true, Answer: answer, Client: here}
		asGet := post
		asGet.FormPost, asGet.Browser = false, browser
		_, err := p.identities.Answer(t.Context(), asGet)
		refuse(t, "as a GET", err, fault.OAuthStateMismatch)
		to, err := p.identities.Answer(t.Context(), post)
		must(t, err)
		u, _ := url.Parse(to)
		code := u.Query().Get("exchangeCode")
		_, err = p.identities.Redeem(t.Context(), nobody, login.Redemption{Code: code, Client: here})
		refuse(t, "without the cookie", err, fault.OAuthBindingMismatch)
		entered, err := p.identities.Redeem(t.Context(), nobody, login.Redemption{Code: code, Proof: login.Proof{Cookie: browser}, Client: here})
		must(t, err)
		if u := entered.Outcome.User; u.Name != "Ada Lovelace" || u.Email != "x7k@privaterelay.appleid.example" || !u.Verified {
			t.Errorf("signed in as %+v", u)
		}
	})
}

func TestARefusalHasItsOwnCodeAndIsRecordedWithoutSecrets(t *testing.T) {
	eachPort(t, func(t *testing.T, p *port) {
		answer := p.provider.consent(t, p.start(nobody).AuthorizationURL, verified("ada", "ada@example.com"))
		p.provider.bend(func() { p.provider.people["ada"]["aud"] = "somebody else" })
		_, err := p.complete(nobody, answer)
		refuse(t, "a token for somebody else", err, fault.OAuthTokenInvalid)
		var failed *oauth.Error
		if !errors.As(err, &failed) || failed.Code != oauth.AudienceMismatch {
			t.Errorf("the cause is %v", failed)
		}
		recorded, err := store.All(t.Context(), p.db, store.SQL(`SELECT network || details FROM audit_events WHERE action = 'login.refused'`), store.Value[string])
		must(t, err)
		want := fmt.Sprintf(`127.0.0.0/24{"flow":%q,"method":"fed","provider":"oidc","reason":"OAUTH_TOKEN_INVALID"}`, oauth.HashState(answer.State)[:12])
		if len(recorded) != 1 || recorded[0] != want {
			t.Errorf("recorded %q, want %q", recorded, want)
		}
	})
}

func TestAStartThatIsRefusedIsRecordedAndOneOfManyThatALimitRefuses(t *testing.T) {
	eachPort(t, func(t *testing.T, p *port) {
		ada, err := p.register("ada@example.com")
		must(t, err)
		stranger := login.Client{Origin: session.Origin{IP: netip.MustParseAddr("192.0.2.1")}}
		try := func(by viewer.Viewer, change func(*login.Beginning), want fault.Code) {
			t.Helper()
			b := login.Beginning{Provider: "oidc", Challenge: challenge(verifier), Client: stranger}
			change(&b)
			_, err := p.identities.Start(t.Context(), by, b)
			if want == "" {
				must(t, err)
				return
			}
			refuse(t, fmt.Sprintf("a start of %+v", b), err, want)
		}
		try(nobody, func(b *login.Beginning) { b.Provider = "the caller's word" }, fault.Invalid)
		try(nobody, func(b *login.Beginning) { b.RedirectTo = "https://evil.example/" }, fault.OAuthRedirectRefused)
		try(nobody, func(b *login.Beginning) { b.Challenge = "" }, fault.Required)
		try(nobody, func(b *login.Beginning) { b.Link = true }, fault.Unauthenticated)
		try(p.signedIn(ada), func(b *login.Beginning) { b.Link, b.RedirectTo = true, "https://evil.example/" }, fault.OAuthRedirectRefused)
		for range 25 {
			try(nobody, func(*login.Beginning) {}, "")
		}
		for range 3 {
			try(nobody, func(*login.Beginning) {}, fault.RateLimited)
		}
		recorded, err := store.All(t.Context(), p.db, store.SQL(`SELECT action || COALESCE(subject, '') || network || details
			FROM audit_events WHERE outcome = 'REFUSED' ORDER BY id`), store.Value[string])
		must(t, err)
		want := []string{
			`login.refused192.0.2.0/24{"flow":"","method":"fed","provider":"","reason":"INVALID"}`,
			`login.refused192.0.2.0/24{"flow":"","method":"fed","provider":"oidc","reason":"OAUTH_REDIRECT_REFUSED"}`,
			`login.refused192.0.2.0/24{"flow":"","method":"fed","provider":"oidc","reason":"REQUIRED"}`,
			`identity.refused` + string(ada.User.ID) + `192.0.2.0/24{"flow":"","method":"fed","provider":"oidc","reason":"OAUTH_REDIRECT_REFUSED"}`,
			`login.refused192.0.2.0/24{"method":"fed","reason":"RATE_LIMITED"}`,
		}
		if !slices.Equal(recorded, want) {
			t.Errorf("recorded %q, want %q", recorded, want)
		}
	})
}

func TestWhatWaitsAndWhatStaysShowsNothing(t *testing.T) {
	p := newPort(t, "sqlite:"+filepath.Join(t.TempDir(), "x.db"), account.Options{})
	entered, err := p.signIn(verified("the-subject", "ada@example.com"))
	must(t, err)
	p.arrive(verified("the-subject", "ada@example.com")) // waits
	p.start(nobody)                                      // waits too
	shown := ""
	for _, statement := range []string{
		`SELECT state_hash || CAST(sealed AS TEXT) FROM oauth_flows`, `SELECT code_hash || CAST(sealed AS TEXT) FROM oauth_exchanges`,
		`SELECT id || user_id || provider || issuer || CAST(subject_index AS TEXT) || CAST(profile_sealed AS TEXT) || CAST(tokens_sealed AS TEXT) FROM identities`,
		`SELECT details FROM audit_events`,
	} {
		found, err := store.All(t.Context(), p.db, store.Passing(statement), store.Value[string])
		must(t, err)
		if len(found) == 0 {
			t.Errorf("nothing found by %s", statement)
		}
		shown += strings.Join(found, "\n")
	}
	for _, word := range []string{"the-subject", "ada@", "access-0", "refresh-0", "code-", verifier, challenge(verifier), "Ada of"} {
		if strings.Contains(shown, word) {
			t.Errorf("the database shows %q", word)
		}
	}
	if !strings.Contains(shown, string(entered.Identity.ID)) {
		t.Error("the identity is not among what was searched")
	}
}

func TestFlowsOfOneAddressAreBoundedAndExpiredOnesGo(t *testing.T) {
	p := newPort(t, sqlite(t), account.Options{})
	b := login.Beginning{Provider: "oidc", Challenge: challenge(verifier), Client: login.Client{Origin: session.Origin{IP: netip.MustParseAddr("192.0.2.1")}}}
	for n := range 30 {
		if _, err := p.identities.Start(t.Context(), nobody, b); err != nil {
			t.Fatalf("flow %d: %v", n, err)
		}
	}
	_, err := p.identities.Start(t.Context(), nobody, b)
	refuse(t, "the 31st flow", err, fault.RateLimited)
	p.start(nobody) // of another address
	p.clock.advance(oauth.FlowLifetime + time.Second)
	p.start(nobody)
	if left := p.rows(`SELECT count(*) FROM oauth_flows`); left != 1 {
		t.Errorf("%d flows are kept, want the last", left)
	}
}

func TestTwoFirstSignInsOfOnePersonAtOnceMakeOneAccount(t *testing.T) {
	eachPort(t, func(t *testing.T, p *port) {
		answers := make([]oauth.Answer, 4)
		for n := range answers {
			answers[n] = p.provider.consent(t, p.start(nobody).AuthorizationURL, verified("ada", "ada@example.com"))
		}
		results := together(4, func(n int) error { _, err := p.complete(nobody, answers[n]); return err })
		if len(results[""]) != 4 || p.rows(`SELECT count(*) FROM users`) != 1 || p.rows(`SELECT count(*) FROM identities`) != 1 {
			t.Errorf("four at once: %v", results)
		}
	})
}

// TestWhateverIsTriedALoginNeedsAFreshFlowItsProofAndItsAnswer holds a flow that leads through the server
// against a model: it can be answered once, within ten minutes, and redeemed once, within one, by its proof.
func TestWhateverIsTriedALoginNeedsAFreshFlowItsProofAndItsAnswer(t *testing.T) {
	p := newPort(t, sqlite(t), account.Options{})
	proofs := []login.Proof{{Verifier: verifier}, {Verifier: browser}, {Cookie: browser}, {}}
	rapid.Check(t, func(r *rapid.T) {
		type flow struct {
			answer     oauth.Answer
			begun      time.Time
			cookie     bool
			code       string // "": not answered
			answered   time.Time
			used, dead bool
		}
		var flows []*flow
		draw := func() *flow {
			if len(flows) == 0 {
				r.Skip("no flow yet")
			}
			return flows[rapid.IntRange(0, len(flows)-1).Draw(r, "flow")]
		}
		r.Repeat(map[string]func(*rapid.T){
			"start": func(r *rapid.T) {
				f := &flow{begun: p.clock.Now(), cookie: rapid.Bool().Draw(r, "cookie")}
				changes := []func(*login.Beginning){func(b *login.Beginning) { b.RedirectTo = ourPage }}
				if f.cookie {
					changes = append(changes, byCookie)
				}
				f.answer = p.provider.consent(t, p.start(nobody, changes...).AuthorizationURL, verified("ada", "ada@example.com"))
				flows = append(flows, f)
			},
			"answer": func(r *rapid.T) {
				f, cookie := draw(), rapid.SampledFrom([]string{browser, verifier, ""}).Draw(r, "cookie")
				to, err := p.second.Answer(t.Context(), login.Callback{Provider: "oidc", Answer: f.answer, Browser: cookie, Client: here})
				taken := !f.dead && (!f.cookie || cookie == browser)
				fresh := p.clock.Now().Sub(f.begun) <= oauth.FlowLifetime
				code := ""
				if err == nil {
					u, _ := url.Parse(to)
					code = u.Query().Get("exchangeCode")
				}
				if (code != "") != (taken && fresh) {
					r.Fatalf("answered: %s, %v; untaken %v, fresh %v", to, err, taken, fresh)
				}
				if taken && (fresh || err == nil) {
					f.dead, f.code, f.answered = true, code, p.clock.Now()
				}
			},
			"redeem": func(r *rapid.T) {
				f, proof := draw(), rapid.SampledFrom(proofs).Draw(r, "proof")
				if f.code == "" {
					r.Skip("not answered")
				}
				_, err := p.identities.Redeem(t.Context(), nobody, login.Redemption{Code: f.code, Proof: proof, Client: here})
				right := proof == login.Proof{Verifier: verifier}
				if f.cookie {
					right = proof == login.Proof{Cookie: browser}
				}
				fresh := p.clock.Now().Sub(f.answered) <= login.ExchangeLifetime
				if (err == nil) != (right && fresh && !f.used) {
					r.Fatalf("redeemed: %v; right %v, fresh %v, used %v", err, right, fresh, f.used)
				}
				f.used = f.used || right
			},
			"wait": func(r *rapid.T) {
				p.clock.advance(time.Duration(rapid.IntRange(1, 400).Draw(r, "seconds")) * time.Second)
			},
		})
	})
}

func TestAFlowWhoseKeyWasDroppedIsNotKnownAnyMore(t *testing.T) {
	p := newPort(t, sqlite(t), account.Options{})
	other, err := secret.NewKeyring(secret.NewKey())
	must(t, err)
	p.second = p.server(other)
	_, err = p.signIn(verified("ada", "ada@example.com"))
	refuse(t, "a flow sealed with a key that is no longer held", err, fault.OAuthStateMismatch)
}
