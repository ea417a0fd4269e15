package account_test

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"

	"pgregory.net/rapid"
)

// clock is a clock that a test moves.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// mailing opens the house with a clock, so many mails as one likes, and a mailbox that is emptied.
func (h *house) mailing(o account.Options) *clock {
	h.Helper()
	c := new(clock)
	o.Now = c.now
	if o.MailLimits == (account.MailLimits{}) {
		many := limit.Rule{Name: "many", Limit: 10_000, Per: time.Hour}
		o.MailLimits.Purpose, o.MailLimits.Address = many, many
	}
	h.open(o)
	h.box.Run(h)
	return c
}

var (
	home     = session.Origin{IP: netip.MustParseAddr("127.0.0.1")}
	stranger = session.Origin{IP: netip.MustParseAddr("203.0.113.7")}
)

// token returns the token of a message's link.
func token(r notify.Rendered) string {
	_, after, _ := strings.Cut(r.Link, "token=")
	return after
}

// mail waits for a message and returns it.
func (h *house) mail(kind notify.Kind, to string) notify.Rendered {
	h.Helper()
	return h.box.Take(h, kind, to)
}

// settled waits until no job is left that could send something.
func (h *house) settled() {
	h.Helper()
	h.box.Idle(h)
}

// resetToken asks for a reset and returns what the mail holds.
func (h *house) resetToken(email, to string) string {
	h.Helper()
	must(h, h.accounts.RequestPasswordReset(h.Context(), email, home))
	return token(h.mail(notify.PasswordReset, to))
}

func TestTheNewestLinkResetsOnceAndEndsEverySession(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		ada := h.ada()
		_, lives := h.login(ada)
		older := h.resetToken(adasEmail, adasEmail)
		newest := h.resetToken("ADA@example.com", adasEmail)
		_, err := h.accounts.ResetPassword(t.Context(), older, "Difference engine no. 2", home)
		refuse(t, "an older link", err, fault.TokenInvalid, "token")
		_, err = h.accounts.ResetPassword(t.Context(), newest, "password1", home)
		refuse(t, "a weak password", err, fault.WeakPassword, "newPassword")
		if !lives() {
			t.Error("a refusal has ended the session")
		}
		user, err := h.accounts.ResetPassword(t.Context(), newest, "Difference engine no. 2", home)
		if err != nil || !user.Verified || user.ID != ada.ID {
			t.Fatalf("got %+v, %v; want Ada, confirmed", user, err)
		}
		if lives() {
			t.Error("the session lives on")
		}
		_, err = h.accounts.ResetPassword(t.Context(), newest, "Another engine no. 3", home)
		refuse(t, "the link once more", err, fault.TokenInvalid, "token")
		if _, err := h.accounts.ByPassword(t.Context(), adasEmail, "Difference engine no. 2"); err != nil {
			t.Errorf("the new password: %v", err)
		}
		_, err = h.accounts.ByPassword(t.Context(), adasEmail, adasPassword)
		refuse(t, "the old password", err, fault.InvalidCredentials, "")
		h.mail(notify.PasswordChanged, adasEmail)
	})
}

func TestALinkHasItsTime(t *testing.T) {
	h := newHouse(t, sqlite(t))
	c := h.mailing(account.Options{})
	h.ada()
	reset := h.resetToken(adasEmail, adasEmail)
	c.advance(time.Hour - time.Minute)
	if _, err := h.accounts.Look(t.Context(), account.ToResetPassword, reset, home); err != nil {
		t.Errorf("after 59 minutes: %v", err)
	}
	c.advance(2 * time.Minute)
	_, err := h.accounts.ResetPassword(t.Context(), reset, "Difference engine no. 2", home)
	refuse(t, "after 61 minutes", err, fault.TokenExpired, "token")
	_, err = h.accounts.Look(t.Context(), account.ToResetPassword, reset, home)
	refuse(t, "a look after 61 minutes", err, fault.TokenExpired, "token")
}

func TestOfManyWhoFollowALinkAtOnceOneGetsIn(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		ada := h.ada()
		must(t, h.accounts.RequestLoginCode(t.Context(), adasEmail, session.Bearer, home))
		mail := h.mail(notify.LoginCode, adasEmail)
		var entered, refused atomic.Int64
		var all sync.WaitGroup
		for i := range 16 {
			shown := account.Shown{Token: token(mail)}
			if i%2 == 1 {
				shown = account.Shown{Email: adasEmail, Code: mail.Code}
			}
			all.Go(func() {
				_, err := h.accounts.ProveLogIn(t.Context(), shown, home, func(_ *store.Tx, user account.User) error {
					if user.ID != ada.ID {
						t.Errorf("somebody else enters: %s", user.ID)
					}
					return nil
				})
				switch {
				case err == nil:
					entered.Add(1)
				case fault.Is(err, fault.TokenInvalid):
					refused.Add(1)
				default:
					t.Errorf("%+v: %v", shown, err)
				}
			})
		}
		all.Wait()
		if entered.Load() != 1 || refused.Load() != 15 {
			t.Errorf("%d entered and %d were refused, want 1 and 15", entered.Load(), refused.Load())
		}
	})
}

func TestACodeIsWorthlessAfterFiveGuessesAtOnceAndItsLinkIsNot(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		h.ada()
		must(t, h.accounts.RequestLoginCode(t.Context(), adasEmail, session.Bearer, home))
		mail := h.mail(notify.LoginCode, adasEmail)
		wrong := mail.Code[:5] + string('0'+(mail.Code[5]-'0'+1)%10)
		try := func(shown account.Shown) error {
			_, err := h.accounts.ProveLogIn(t.Context(), shown, home, func(*store.Tx, account.User) error { return nil })
			return err
		}
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				refuse(t, "a guess", try(account.Shown{Email: adasEmail, Code: wrong}), fault.TokenInvalid, "code")
			})
		}
		all.Wait()
		refuse(t, "the right code after five guesses", try(account.Shown{Email: adasEmail, Code: mail.Code}), fault.TokenInvalid, "code")
		if err := try(account.Shown{Token: token(mail)}); err != nil {
			t.Errorf("the link: %v", err)
		}
	})
}

func TestACodeOfOnePurposeIsNoneOfAnother(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.mailing(account.Options{})
	h.ada()
	confirm := h.mail(notify.VerifyEmail, adasEmail)
	enter := func(*store.Tx, account.User) error { t.Error("somebody entered"); return nil }
	_, err := h.accounts.ProveLogIn(t.Context(), account.Shown{Email: adasEmail, Code: confirm.Code}, home, enter)
	refuse(t, "the code", err, fault.TokenInvalid, "code")
	_, err = h.accounts.ProveLogIn(t.Context(), account.Shown{Token: token(confirm)}, home, enter)
	refuse(t, "the link", err, fault.TokenInvalid, "token")
	renamed := strings.Replace(token(confirm), "verify-email", "login", 1)
	_, err = h.accounts.ProveLogIn(t.Context(), account.Shown{Token: renamed}, home, enter)
	refuse(t, "the link, renamed", err, fault.TokenInvalid, "token")
	if user, err := h.accounts.VerifyEmail(t.Context(), account.Shown{Email: adasEmail, Code: confirm.Code}, home); err != nil || !user.Verified {
		t.Errorf("what it is for: %+v, %v", user, err)
	}
}

func TestNobodyLearnsFromAnAnswerWhoHasAnAccount(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		h.ada()
		h.mail(notify.VerifyEmail, adasEmail)
		for _, email := range []string{adasEmail, "nobody@example.com"} {
			must(t, h.accounts.RequestPasswordReset(t.Context(), email, home))
			must(t, h.accounts.RequestLoginCode(t.Context(), email, session.Bearer, home))
			must(t, h.accounts.RequestEmailVerification(t.Context(), viewer.Viewer{}, email, home))
			_, err := h.accounts.VerifyEmail(t.Context(), account.Shown{Email: email, Code: "000000"}, home)
			refuse(t, "a wrong code for "+email, err, fault.TokenInvalid, "code")
		}
		h.settled()
		kinds := h.box.Arrived()
		slices.Sort(kinds)
		if want := []notify.Kind{notify.LoginCode, notify.PasswordReset, notify.VerifyEmail}; !slices.Equal(kinds, want) {
			t.Errorf("arrived %v, want %v", kinds, want)
		}
		refusals, err := store.One(t.Context(), h.db, store.SQL(`SELECT count(*) FROM audit_events WHERE action = 'proof.refused'`), store.Value[int64])
		if err != nil || refusals != 2 {
			t.Errorf("%d refusals are recorded, want one for each address: %v", refusals, err)
		}
	})
}

func TestMailGoesToTheAddressOfTheAccountAndNotToTheSpellingThatWasTyped(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.mailing(account.Options{})
	_, err := h.register(account.Registration{Email: "mike@example.com", Password: adasPassword})
	must(t, err)
	must(t, h.accounts.RequestPasswordReset(t.Context(), "MIKE@example.com", home))
	h.mail(notify.PasswordReset, "mike@example.com")
}

func TestTheDatabaseShowsNoProof(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		h.ada()
		h.mail(notify.VerifyEmail, adasEmail)
		must(t, h.accounts.RequestLoginCode(t.Context(), adasEmail, session.Bearer, home))
		mail := h.mail(notify.LoginCode, adasEmail)
		hex := store.SQL(`SELECT hex(link_hash) || hex(code_hash) || hex(sealed) || hex(slot) || purpose || id FROM proofs`).
			On(store.Postgres, `SELECT encode(link_hash, 'escape') || encode(code_hash, 'escape') || encode(sealed, 'escape') || purpose || id FROM proofs`)
		proofs, err := store.All(t.Context(), h.db, hex, store.Value[string])
		must(t, err)
		inputs, err := store.All(t.Context(), h.db, store.SQL(`SELECT input FROM jobs`), store.Value[string])
		must(t, err)
		_, random, _ := strings.Cut(token(mail), "login_")
		for _, row := range append(proofs, inputs...) {
			for _, secret := range []string{random, mail.Code, "ada@", "Ada@"} {
				if strings.Contains(row, secret) {
					t.Errorf("%q stands in %q", secret, row)
				}
			}
		}
		if len(proofs) != 2 || len(inputs) < 4 {
			t.Errorf("%d proofs and %d jobs were looked at, too few", len(proofs), len(inputs))
		}
	})
}

// fewer makes rapid try a property for as many times only, unless its flag says otherwise.
func fewer(t *testing.T, checks int) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if f.Value.String() != f.DefValue {
		return
	}
	must(t, f.Value.Set(strconv.Itoa(checks)))
	t.Cleanup(func() { must(t, f.Value.Set(f.DefValue)) })
}

// model is what the machine of proofs should do, seen from outside: of each purpose the newest unused link.
type model struct {
	live map[account.Purpose]string // tokens
	dead []string
	pass string
	ours bool // the address was confirmed
}

// The flows that a mailbox can lead into, in any order, by who holds any mail that was ever sent.
func TestNoSequenceOfRequestsOpensALinkTwiceOrAnOlderOne(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.mailing(account.Options{})
	fewer(t, 15) // each waits for mails
	number := 0
	rapid.Check(t, func(rt *rapid.T) {
		number++
		email := fmt.Sprintf("p%d@example.com", number)
		m := model{live: map[account.Purpose]string{}, pass: adasPassword}
		user, err := h.register(account.Registration{Email: email, Password: adasPassword})
		must(t, err)
		m.live[account.ToVerifyEmail] = token(h.mail(notify.VerifyEmail, email))
		ask := func(purpose account.Purpose, kind notify.Kind, request func() error) {
			must(t, request())
			if old := m.live[purpose]; old != "" {
				m.dead = append(m.dead, old)
			}
			m.live[purpose] = token(h.mail(kind, email))
		}
		void := func() { // a change of the password, or a take-over, makes worthless what was mailed to get in
			m.ours = true
			for _, purpose := range []account.Purpose{account.ToResetPassword, account.ToLogIn} {
				if link := m.live[purpose]; link != "" {
					m.dead = append(m.dead, link)
					delete(m.live, purpose)
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"ask for a reset": func(*rapid.T) {
				ask(account.ToResetPassword, notify.PasswordReset, func() error { return h.accounts.RequestPasswordReset(context.Background(), email, home) })
			},
			"ask for a login code": func(*rapid.T) {
				ask(account.ToLogIn, notify.LoginCode, func() error {
					return h.accounts.RequestLoginCode(context.Background(), email, session.Bearer, home)
				})
			},
			"reset": func(rt *rapid.T) {
				link := m.live[account.ToResetPassword]
				if link == "" {
					rt.Skip("no link")
				}
				fresh := fmt.Sprintf("Difference engine %d-%d", number, len(m.dead))
				if _, err := h.accounts.ResetPassword(context.Background(), link, fresh, home); err != nil {
					rt.Fatalf("the newest link: %v", err)
				}
				m.pass = fresh
				void()
				h.mail(notify.PasswordChanged, email)
			},
			"log in": func(rt *rapid.T) {
				link := m.live[account.ToLogIn]
				if link == "" {
					rt.Skip("no link")
				}
				entered := false
				_, err := h.accounts.ProveLogIn(context.Background(), account.Shown{Token: link}, home, func(*store.Tx, account.User) error {
					entered = true
					return nil
				})
				if err != nil || !entered {
					rt.Fatalf("the newest link: %v", err)
				}
				delete(m.live, account.ToLogIn)
				m.dead = append(m.dead, link)
				if !m.ours {
					void()
				}
			},
			"verify": func(rt *rapid.T) {
				link := m.live[account.ToVerifyEmail]
				if link == "" {
					rt.Skip("no link")
				}
				if _, err := h.accounts.VerifyEmail(context.Background(), account.Shown{Token: link}, home); err != nil {
					rt.Fatalf("the newest link: %v", err)
				}
				delete(m.live, account.ToVerifyEmail)
				m.dead, m.ours = append(m.dead, link), true
			},
			"": func(rt *rapid.T) {
				for _, link := range m.dead {
					_, err := h.accounts.ResetPassword(context.Background(), link, "Never this one, no. 9", home)
					if !fault.Is(err, fault.TokenInvalid) {
						rt.Fatalf("a dead link resets: %v", err)
					}
					_, err = h.accounts.ProveLogIn(context.Background(), account.Shown{Token: link}, home, func(*store.Tx, account.User) error {
						rt.Error("a dead link enters")
						return nil
					})
					if !fault.Is(err, fault.TokenInvalid) {
						rt.Fatalf("a dead link: %v", err)
					}
				}
			},
		})
		if got, err := h.accounts.Get(context.Background(), user.ID); err != nil || got.Status != account.Active {
			rt.Fatalf("the account is %v, %v", got.Status, err)
		}
	})
}

func TestWhatIsDoneByMailIsRecorded(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.mailing(account.Options{})
	ada := h.ada()
	_, err := h.accounts.VerifyEmail(t.Context(), account.Shown{Token: token(h.mail(notify.VerifyEmail, adasEmail))}, stranger)
	must(t, err)
	_, err = h.accounts.ResetPassword(t.Context(), h.resetToken(adasEmail, adasEmail), "Difference engine no. 2", stranger)
	must(t, err)
	_, err = h.accounts.Disown(t.Context(), token(h.mail(notify.PasswordChanged, adasEmail)), stranger)
	must(t, err)
	want := []audit.Action{
		audit.AccountRegistered, audit.ProofSent, audit.EmailVerified, audit.ProofSent, audit.PasswordReset,
		audit.AccountDisowned, audit.ProofSent,
	}
	if got := h.actions(ada.ID); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// stolen is a list of stolen passwords.
type stolen []string

func (s stolen) Has(_ context.Context, secret string) bool { return slices.Contains(s, secret) }

func TestAStolenPasswordIsRefusedWhereverOneIsChosen(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.parts.Breaches = stolen{"Difference engine no. 2"}
	h.mailing(account.Options{})
	by, _ := h.login(h.ada())
	_, err := h.register(account.Registration{Email: "eve@example.com", Password: "Difference engine no. 2"})
	refuse(t, "a registration", err, fault.WeakPassword, "password")
	refuse(t, "a change", h.accounts.ChangePassword(t.Context(), by, adasPassword, "Difference engine no. 2"), fault.WeakPassword, "newPassword")
	_, err = h.accounts.ResetPassword(t.Context(), h.resetToken(adasEmail, adasEmail), "Difference engine no. 2", home)
	refuse(t, "a reset", err, fault.WeakPassword, "newPassword")
}

func TestAnAccountWithoutAPasswordGetsOneByMail(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		ada := h.ada()
		must(t, h.db.Update(t.Context(), func(tx *store.Tx) error { // as one that came by another provider
			_, err := tx.Exec(t.Context(), store.SQL(`UPDATE users SET password_hash = NULL WHERE id = ?`), ada.ID)
			return err
		}))
		_, err := h.accounts.ByPassword(t.Context(), adasEmail, "")
		refuse(t, "no password", err, fault.InvalidCredentials, "")
		_, err = h.accounts.ResetPassword(t.Context(), h.resetToken(adasEmail, adasEmail), "Difference engine no. 2", home)
		must(t, err)
		if _, err := h.accounts.ByPassword(t.Context(), adasEmail, "Difference engine no. 2"); err != nil {
			t.Errorf("the new password: %v", err)
		}
	})
}

func TestRegisteringAnAddressAgainAndAgainFillsNoMailbox(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.mailing(account.Options{EmailVerification: account.Required, MailLimits: account.MailLimits{Purpose: limit.Rule{Name: "few", Limit: 6, Per: time.Hour, Burst: 3}}})
	for range 6 {
		n, err := h.accounts.Prepare(t.Context(), account.Registration{Email: adasEmail, Password: adasPassword})
		must(t, err)
		must(t, h.db.Update(t.Context(), func(tx *store.Tx) error { return h.accounts.RegisterQuietlyTx(t.Context(), tx, n, "") }))
	}
	h.settled()
	if got := h.box.Arrived(); len(got) != 3 {
		t.Errorf("%v arrived, want three mails", got)
	}
}
