package login_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/account"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/login"
	"gatehouse/session"
	"gatehouse/test/services"
)

func token(r notify.Rendered) string {
	_, after, _ := strings.Cut(r.Link, "token=")
	return after
}

func eachRequired(t *testing.T, test func(t *testing.T, h *house)) {
	t.Helper()
	for name, address := range map[string]func(testing.TB) string{"SQLite": sqlite, "PostgreSQL": services.Postgres} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, address(t), account.Options{EmailVerification: account.Required})
			h.box.Run(t)
			test(t, h)
		})
	}
}

func TestWhereAddressesAreConfirmedFirstNobodyEntersBefore(t *testing.T) {
	eachRequired(t, func(t *testing.T, h *house) {
		if o, err := h.register("ada@example.com"); err != nil || o.SignedIn() {
			t.Fatalf("registration: %v, signed in: %v", err, o.SignedIn())
		}
		h.box.Take(t, notify.VerifyEmail, "ada@example.com")
		refuse(t, "the right password", h.attempt("ada@example.com", secretWord, "", "127.0.0.1"), fault.EmailNotVerified)
		refuse(t, "a wrong password", h.attempt("ada@example.com", "wrong", "", "127.0.0.1"), fault.InvalidCredentials)
		mail := h.box.Take(t, notify.VerifyEmail, "ada@example.com")
		_, err := h.accounts.VerifyEmail(t.Context(), account.Shown{Email: "ada@example.com", Code: mail.Code}, session.Origin{IP: loopback})
		must(t, err)
		must(t, h.attempt("ada@example.com", secretWord, "", "127.0.0.1"))
	})
}

func TestAKnownAddressGetsTheAnswerOfANewOneAndItsOwnerAMail(t *testing.T) {
	eachRequired(t, func(t *testing.T, h *house) {
		for _, spelling := range []string{"ada@example.com", "ADA@example.com"} {
			if got, err := h.register(spelling); err != nil || got.SignedIn() || got.User.ID != "" {
				t.Errorf("%s: got %+v, %v; want nothing", spelling, got, err)
			}
		}
		mail := h.box.Take(t, notify.AlreadyRegistered, "ada@example.com")
		// whoever reads the mail gets the account, whoever registered first
		_, err := h.accounts.ResetPassword(t.Context(), token(mail), "Difference engine no. 2", session.Origin{IP: loopback})
		must(t, err)
		must(t, h.attempt("ada@example.com", "Difference engine no. 2", "", "127.0.0.1"))
		refuse(t, "the first password", h.attempt("ada@example.com", secretWord, "", "127.0.0.1"), fault.InvalidCredentials)
	})
}

// Both write the audit and a job in one transaction, and what differs happens in the job. The ratio is told;
// test/load holds the whole server to the bar.
func TestARegistrationTakesAsLongForAKnownAddress(t *testing.T) {
	h := newHouse(t, sqlite(t), account.Options{EmailVerification: account.Required})
	_, err := h.register("ada@example.com")
	must(t, err)
	var known, fresh []time.Duration
	for i := range 15 {
		began := time.Now()
		_, err := h.register("ada@example.com")
		must(t, err)
		known = append(known, time.Since(began))
		began = time.Now()
		_, err = h.register("new" + string(rune('a'+i)) + "@example.com")
		must(t, err)
		fresh = append(fresh, time.Since(began))
	}
	statements, err := store.All(t.Context(), h.db, store.SQL(`SELECT action || outcome || count(*) FROM audit_events GROUP BY action, outcome ORDER BY 1`), store.Value[string])
	must(t, err)
	if !slices.Equal(statements, []string{"account.registeredREFUSED15", "account.registeredSUCCEEDED16"}) {
		t.Errorf("recorded: %v", statements)
	}
	slices.Sort(known)
	slices.Sort(fresh)
	t.Logf("known %v, new %v, ratio %.3f", known[7], fresh[7], float64(known[7])/float64(fresh[7]))
}

func TestACodeByMailSignsInOnceAndCountsAsAnAttempt(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.box.Run(t)
		_, err := h.register("ada@example.com")
		must(t, err)
		from := login.Client{Origin: session.Origin{IP: loopback}, Mode: session.Cookie}
		must(t, h.accounts.RequestLoginCode(t.Context(), "ada@example.com", session.Cookie, from.Origin))
		mail := h.box.Take(t, notify.LoginCode, "ada@example.com")
		entry, err := h.logins.ByMail(t.Context(), account.Shown{Email: "ada@example.com", Code: mail.Code}, from)
		if err != nil || !entry.SignedIn() || entry.Tokens.Session.Mode != session.Cookie || !slices.Equal(entry.Tokens.Session.Methods, []string{"otp"}) {
			t.Fatalf("got %+v, %v", entry, err)
		}
		if v := h.signedIn(entry); !v.Verified {
			t.Error("the mail has reached the address, which is still not confirmed")
		}
		_, err = h.logins.ByMail(t.Context(), account.Shown{Token: token(mail)}, from)
		refuse(t, "the link of the same mail", err, fault.TokenInvalid)
		for range 20 {
			_, err = h.logins.ByMail(t.Context(), account.Shown{Email: "nobody@example.com", Code: "123456"}, from)
		}
		refuse(t, "guess 20", err, fault.TokenInvalid)
		_, err = h.logins.ByMail(t.Context(), account.Shown{Email: "nobody@example.com", Code: "123456"}, from)
		refuse(t, "guess 21", err, fault.RateLimited)
	})
}

func TestADisabledAccountGetsNoMailAndEntersByNone(t *testing.T) {
	h := newHouse(t, sqlite(t), account.Options{})
	h.box.Run(t)
	owner, err := h.register("ada@example.com")
	must(t, err)
	h.box.Take(t, notify.VerifyEmail, "ada@example.com")
	from := session.Origin{IP: loopback}
	must(t, h.accounts.RequestLoginCode(t.Context(), "ada@example.com", session.Bearer, from))
	mail := h.box.Take(t, notify.LoginCode, "ada@example.com")
	must(t, h.accounts.Disable(t.Context(), viewer.System(), owner.User.ID))
	_, err = h.logins.ByMail(t.Context(), account.Shown{Token: token(mail)}, login.Client{Origin: from})
	refuse(t, "a link from before", err, fault.AccountDisabled)
	must(t, h.accounts.RequestPasswordReset(t.Context(), "ada@example.com", from))
	must(t, h.accounts.RequestLoginCode(t.Context(), "ada@example.com", session.Bearer, from))
	h.box.Idle(t)
	if got := h.box.Arrived(); len(got) > 0 {
		t.Errorf("arrived %v", got)
	}
}

func TestALinkFollowedOnOurOwnPageIsNotUsedUpWhereASecondFactorIsDue(t *testing.T) {
	eachMFADatabase(t, account.MFA{Methods: allMethods}, func(t *testing.T, h *mfaHouse) {
		h.box.Run(t)
		h.enrolled()
		h.verify() // else the mail would hand the account to whoever reads it
		page := login.Client{Origin: session.Origin{IP: loopback}, Mode: session.Cookie}
		must(t, h.accounts.RequestLoginCode(t.Context(), "ada@example.com", session.Cookie, page.Origin))
		mail := h.box.Take(t, notify.LoginCode, "ada@example.com")
		for range 2 {
			if o, err := h.logins.ByLink(t.Context(), token(mail), page); err != nil || o.SignedIn() || o.Challenged() {
				t.Fatalf("got %+v, %v; want nothing", o, err)
			}
		}
		if n, err := store.One(t.Context(), h.db, store.SQL(`SELECT count(*) FROM challenges`), store.Value[int]); err != nil || n != 0 {
			t.Errorf("%d challenges wait that nobody can answer, %v", n, err)
		}
		o, err := h.logins.ByMail(t.Context(), account.Shown{Email: "ada@example.com", Code: mail.Code}, page)
		if err != nil || !o.Challenged() {
			t.Fatalf("the code of the same mail: %+v, %v", o, err)
		}
		h.clock.Add(time.Minute.Microseconds())
		in, err := h.logins.Answer(t.Context(), viewer.Viewer{}, login.Answer{
			Challenge: o.Challenge.ID, Method: account.TOTP, Code: h.code(), Mode: session.Cookie, Trust: true, Origin: page.Origin,
		})
		must(t, err)

		// on a device that is trusted nothing more is due
		page.Trust = in.Trust
		must(t, h.accounts.RequestLoginCode(t.Context(), "ada@example.com", session.Cookie, page.Origin))
		mail = h.box.Take(t, notify.LoginCode, "ada@example.com")
		if o, err := h.logins.ByLink(t.Context(), token(mail), page); err != nil || !o.SignedIn() {
			t.Errorf("on a trusted device: %+v, %v", o, err)
		}
		_, err = h.logins.ByLink(t.Context(), token(mail), page)
		refuse(t, "the link once more", err, fault.TokenInvalid)
	})
}
