package login_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/account"
	"gatehouse/account/totp"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/notify"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/login"
	"gatehouse/session"
	"gatehouse/test/services"
)

// mfaHouse is a house where second factors are on offer and the clock is the test's.
type mfaHouse struct {
	*house
	clock atomic.Int64 // microseconds after the real time
	user  account.User
	key   totp.Key
	codes []string
}

func (h *mfaHouse) now() time.Time {
	return time.Now().Add(time.Duration(h.clock.Load()) * time.Microsecond)
}

func newMFAHouse(t testing.TB, address string, mfa account.MFA) *mfaHouse {
	t.Helper()
	h := &mfaHouse{}
	h.house = newHouse(t, address, account.Options{MFA: mfa, Now: h.now})
	wide := func(name string) limit.Rule { return limit.Rule{Name: name, Limit: 1_000_000, Per: time.Second} }
	h.logins = login.New(h.db, h.accounts, h.sessions, h.audit, limit.New(nil, limit.Options{}), login.Limits{
		Answers: wide("a"), AnswersNetwork: wide("b"), Codes: wide("c"), CodesNetwork: wide("d"),
	})
	return h
}

var allMethods = []account.Method{account.TOTP, account.SMS, account.Email}

func eachMFADatabase(t *testing.T, mfa account.MFA, test func(t *testing.T, h *mfaHouse)) {
	t.Helper()
	for name, address := range map[string]func(testing.TB) string{"SQLite": sqlite, "PostgreSQL": services.Postgres} {
		t.Run(name, func(t *testing.T) { test(t, newMFAHouse(t, address(t), mfa)) })
	}
}

// enrolled makes Ada, with an app.
func (h *mfaHouse) enrolled() {
	h.Helper()
	first, err := h.register("ada@example.com")
	must(h, err)
	h.enroll(h.signedIn(first), "")
}

func (h *mfaHouse) enroll(by viewer.Viewer, challenge string) login.Enrolled {
	h.Helper()
	begun, err := h.logins.EnrollTOTP(h.Context(), by, challenge, "")
	must(h, err)
	h.key, err = totp.Parse(begun.Secret)
	must(h, err)
	done, err := h.logins.ConfirmTOTP(h.Context(), by, login.Confirmation{
		Challenge: challenge, Factor: begun.Factor, Code: h.key.Code(totp.StepAt(h.now())),
	})
	must(h, err)
	h.codes = done.Codes
	h.user, err = h.accounts.ByEmail(h.Context(), "ada@example.com")
	must(h, err)
	return done
}

func (h *mfaHouse) enter(method string) login.Outcome {
	h.Helper()
	o, err := h.logins.Enter(h.Context(), h.user, login.Client{Origin: session.Origin{IP: loopback}}, method)
	must(h, err)
	return o
}

func (h *mfaHouse) answer(c login.Challenge, m account.Method, code string) (login.Outcome, error) {
	return h.logins.Answer(h.Context(), viewer.Viewer{}, login.Answer{Challenge: c.ID, Method: m, Code: code, Origin: session.Origin{IP: loopback}})
}

func (h *mfaHouse) verify() {
	h.Helper()
	must(h, h.db.Update(h.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(h.Context(), store.SQL(`UPDATE users SET email_verified = TRUE`))
		return err
	}))
	h.reread()
}

// reread reads Ada past the cache.
func (h *mfaHouse) reread() {
	h.Helper()
	must(h, h.db.Update(h.Context(), func(tx *store.Tx) (err error) {
		h.user, err = h.accounts.LockTx(h.Context(), tx, h.user.ID)
		return err
	}))
}

// machine is what a person and a thief can do with challenges, beside what should come of it.
type machine struct {
	h      *mfaHouse
	open   []*tracked
	last   totp.Step       // that was used
	spent  map[string]bool // recovery codes
	inside int
}

type tracked struct {
	login.Challenge
	tries int
	used  bool
}

func (m *machine) live(c *tracked) bool {
	return !c.used && c.tries < 5 && m.h.now().Before(c.ExpiresAt)
}

func (m *machine) pick(t *rapid.T) *tracked {
	if len(m.open) == 0 {
		t.Skip("no challenge yet")
	}
	return rapid.SampledFrom(m.open).Draw(t, "challenge")
}

// judge answers and holds what came of it against what should.
func (m *machine) judge(t *rapid.T, c *tracked, method account.Method, code string, right bool) {
	live := m.live(c)
	o, err := m.h.answer(c.Challenge, method, code)
	switch {
	case o.SignedIn() != (live && right):
		t.Fatalf("%s %q, right %v, on a challenge with %d tries, used %v: signed in %v, %v", method, code, right, c.tries, c.used, o.SignedIn(), err)
	case !live && !fault.Is(err, fault.ChallengeExpired):
		t.Fatalf("a dead challenge answers %v", err)
	case live && !right && !fault.Is(err, fault.InvalidCode):
		t.Fatalf("a wrong code is answered %v", err)
	}
	if live {
		c.tries++
		c.used = right
	}
	if o.SignedIn() {
		m.inside++
		if s := o.Tokens.Session; s.Level != viewer.AAL2 || s.User != m.h.user.ID || !slices.Contains(s.Methods, "mfa") {
			t.Fatalf("the session is %+v", s)
		}
	}
}

func TestNoSequenceOfAnswersReachesASessionWithoutARightSecondFactor(t *testing.T) {
	h := newMFAHouse(t, sqlite(t), account.MFA{Methods: []account.Method{account.TOTP}})
	h.enrolled()
	inside := 0
	rapid.Check(t, func(t *rapid.T) {
		h.clock.Add(time.Minute.Microseconds()) // past the last code of the run before
		m := &machine{h: h, last: totp.StepAt(h.now()) - 1, spent: map[string]bool{}}
		defer func() { inside += m.inside }()
		var err error
		h.codes, err = h.accounts.RegenerateRecoveryCodes(h.Context(), viewer.Viewer{User: h.user.ID, Level: viewer.AAL2, AuthTime: h.now()})
		must(h, err)
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				o := h.enter("pwd")
				if o.SignedIn() || !o.Challenged() || o.Challenge.Enroll {
					t.Fatalf("the first factor alone gave %+v", o)
				}
				m.open = append(m.open, &tracked{Challenge: o.Challenge})
			},
			"wrong code": func(t *rapid.T) {
				m.judge(t, m.pick(t), account.TOTP, rapid.SampledFrom([]string{"", "12345", "0000000", "abcdef"}).Draw(t, "code"), false)
			},
			"code of now": func(t *rapid.T) {
				c, step := m.pick(t), totp.StepAt(h.now())
				right, live := step > m.last, m.live(c)
				m.judge(t, c, account.TOTP, h.key.Code(step), right)
				if right && live {
					m.last = step
				}
			},
			"recovery code": func(t *rapid.T) {
				c, code := m.pick(t), rapid.SampledFrom(h.codes).Draw(t, "code")
				if !slices.Contains(c.Methods, account.RecoveryCode) {
					t.Skip("all were spent when it began")
				}
				right, live := !m.spent[code], m.live(c)
				m.judge(t, c, account.RecoveryCode, code, right)
				if live {
					m.spent[code] = true
				}
			},
			"password": func(t *rapid.T) { // it was the first factor
				c := m.pick(t)
				if o, err := h.answer(c.Challenge, account.Password, secretWord); o.SignedIn() || err == nil {
					t.Fatalf("the password answers a challenge: %+v", o)
				}
			},
			"stranger's challenge": func(t *rapid.T) {
				_, err := h.answer(login.Challenge{ID: "chl_" + rapid.StringMatching(`[A-Za-z0-9_-]{43}`).Draw(t, "id")}, account.TOTP, "000000")
				if !fault.Is(err, fault.ChallengeExpired) {
					t.Fatalf("an unknown challenge answers %v", err)
				}
			},
			"time": func(t *rapid.T) {
				h.clock.Add(rapid.Int64Range(1, 4*60).Draw(t, "seconds") * 1_000_000)
			},
			"": func(*rapid.T) {},
		})
	})
	if inside == 0 {
		t.Error("nobody ever got in: the test shows nothing")
	}
}

func TestAnAccountThatChangedMustBeginItsChallengeAgain(t *testing.T) {
	eachMFADatabase(t, account.MFA{Methods: allMethods}, func(t *testing.T, h *mfaHouse) {
		h.enrolled()
		c := h.enter("pwd").Challenge
		h.clock.Add((31 * time.Second).Microseconds())
		must(t, h.accounts.SetRoles(t.Context(), viewer.System(), h.user.ID, []viewer.Role{viewer.Developer}))
		if _, err := h.answer(c, account.TOTP, h.key.Code(totp.StepAt(h.now()))); !fault.Is(err, fault.ChallengeExpired) {
			t.Errorf("after a change of roles: %v", err)
		}
	})
}

func TestACodeByMailAnswersItsChallengeAloneAndNeverBothFactors(t *testing.T) {
	eachMFADatabase(t, account.MFA{Enforce: account.MFARequired, Methods: allMethods}, func(t *testing.T, h *mfaHouse) {
		h.box.Run(t)
		_, err := h.register("ada@example.com")
		must(t, err)
		h.user, err = h.accounts.ByEmail(t.Context(), "ada@example.com")
		must(t, err)
		if m := h.enter("pwd").Challenge.Methods; slices.Contains(m, account.Email) {
			t.Errorf("an address that is not confirmed is a method: %v", m)
		}
		h.verify()
		if m := h.enter("otp").Challenge.Methods; slices.Contains(m, account.Email) {
			t.Errorf("after a code by mail another is a method: %v", m)
		}
		c, other := h.enter("pwd").Challenge, h.enter("pwd").Challenge
		code := h.send(c, account.Email)
		if _, err := h.answer(other, account.Email, code); !fault.Is(err, fault.InvalidCode) {
			t.Errorf("at another challenge: %v", err)
		}
		if _, err := h.answer(c, account.SMS, code); !fault.Is(err, fault.Invalid) {
			t.Errorf("by a method that is none: %v", err)
		}
		o, err := h.answer(c, account.Email, code)
		if err != nil || !o.SignedIn() {
			t.Errorf("the code: %v", err)
		}
		h.send(other, account.Email)
		h.send(other, account.Email)
		late := h.send(other, account.Email)
		if _, _, err := h.logins.SendCode(t.Context(), viewer.Viewer{}, other.ID, account.Email, session.Origin{}); !fault.Is(err, fault.WrongState) {
			t.Errorf("a fourth code: %v", err)
		}
		h.clock.Add(login.ChallengeLife.Microseconds())
		if _, err := h.answer(other, account.Email, late); !fault.Is(err, fault.ChallengeExpired) {
			t.Errorf("after five minutes: %v", err)
		}
	})
}

func TestACodeByMailIsNoSecondFactorOfWhoHasAnother(t *testing.T) {
	eachMFADatabase(t, account.MFA{Methods: allMethods}, func(t *testing.T, h *mfaHouse) {
		h.enrolled()
		h.verify()
		entry := h.enter("pwd").Challenge
		if want := []account.Method{account.TOTP, account.RecoveryCode}; !slices.Equal(entry.Methods, want) {
			t.Errorf("a sign-in is answered by %v, want %v", entry.Methods, want)
		}
		_, _, err := h.logins.SendCode(t.Context(), viewer.Viewer{}, entry.ID, account.Email, session.Origin{})
		refuse(t, "a code by mail", err, fault.Invalid)
		o, err := h.answer(entry, account.TOTP, h.key.Code(totp.StepAt(h.now())+1))
		must(t, err)
		raise, err := h.logins.StepUp(t.Context(), h.signedIn(o))
		must(t, err)
		if slices.Contains(raise.Methods, account.Email) {
			t.Errorf("a step-up is answered by %v", raise.Methods)
		}
	})
}

func (h *mfaHouse) send(c login.Challenge, m account.Method) string {
	h.Helper()
	to, _, err := h.logins.SendCode(h.Context(), viewer.Viewer{}, c.ID, m, session.Origin{})
	must(h, err)
	if to != "a…@example.com" {
		h.Errorf("the code went to %q", to)
	}
	return h.box.Take(h, notify.MfaCode, "ada@example.com").Code
}

func TestWhoMustHaveAFactorGetsInByEnrollingOneAndByItAlone(t *testing.T) {
	eachMFADatabase(t, account.MFA{Enforce: account.MFARequired, Methods: allMethods}, func(t *testing.T, h *mfaHouse) {
		first, err := h.register("ada@example.com")
		must(t, err)
		c := first.Challenge
		if first.SignedIn() || !c.Enroll || slices.Contains(c.Methods, account.Email) {
			t.Fatalf("register gave %+v with %v", first, c.Methods)
		}
		for _, m := range []account.Method{account.TOTP, account.Password, account.Email, account.RecoveryCode} {
			if o, err := h.answer(c, m, secretWord); err == nil || o.SignedIn() {
				t.Errorf("%s answers a challenge that can only enrol", m)
			}
		}
		done := h.enroll(viewer.Viewer{}, c.ID)
		if v := h.signedIn(done.Outcome); v.Level != viewer.AAL2 || v.User != h.user.ID || len(done.Codes) != 10 {
			t.Errorf("signed in as %+v", v)
		}
		if _, err := h.logins.EnrollTOTP(t.Context(), viewer.Viewer{}, c.ID, ""); !fault.Is(err, fault.ChallengeExpired) {
			t.Errorf("the challenge once more: %v", err)
		}
		if o := h.enter("pwd"); !o.Challenged() || o.Challenge.Enroll {
			t.Errorf("the next sign-in gives %+v", o)
		}
		err = h.accounts.RemoveFactor(t.Context(), h.signedIn(done.Outcome), done.Factor.ID)
		refuse(t, "the last factor", err, fault.WrongState)
	})
}

func TestAConfirmedAddressServesWhoMustHaveAFactor(t *testing.T) {
	h := newMFAHouse(t, sqlite(t), account.MFA{Enforce: account.MFARequired, Methods: []account.Method{account.Email}})
	h.box.Run(t)
	_, err := h.register("ada@example.com")
	refuse(t, "an address that is not confirmed", err, fault.WrongState)
	admin, err := h.accounts.CreateAdmin(t.Context(), "ada@example.com", secretWord, "", false)
	must(t, err)
	h.user = admin
	h.reread()
	c := h.enter("pwd").Challenge
	if c.Enroll || !slices.Equal(c.Methods, []account.Method{account.Email}) {
		t.Fatalf("the challenge is by %v", c.Methods)
	}
	if o, err := h.answer(c, account.Email, h.send(c, account.Email)); err != nil || !o.SignedIn() {
		t.Errorf("the code: %v", err)
	}
}

func TestAnAdministratorMustHaveAFactorWhereAdministratorsMust(t *testing.T) {
	h := newMFAHouse(t, sqlite(t), account.MFA{Enforce: account.MFAAdmins, Methods: allMethods})
	user, err := h.register("eve@example.com")
	must(t, err)
	if !user.SignedIn() {
		t.Error("a user is asked for a second factor")
	}
	if err := h.accounts.AssureFactor(t.Context(), h.signedIn(user)); err != nil {
		t.Errorf("a user: %v", err)
	}
	must(t, h.accounts.SetRoles(t.Context(), viewer.System(), user.User.ID, []viewer.Role{viewer.Admin}))
	if now, _, err := h.sessions.Authenticate(t.Context(), user.Tokens.Access); err == nil && !now.Anonymous() {
		t.Error("who has become an administrator stays signed in without a second factor")
	}
	made := viewer.Viewer{User: user.User.ID, Level: viewer.AAL1, Roles: []viewer.Role{viewer.Admin}, AuthTime: h.now()}
	refuse(t, "an administrator without a factor", h.accounts.AssureFactor(t.Context(), made), fault.StepUpRequired)
	made.Level = viewer.AAL2
	must(t, h.accounts.AssureFactor(t.Context(), made))
	h.user, err = h.accounts.CreateAdmin(t.Context(), "ada@example.com", secretWord, "", false)
	must(t, err)
	h.reread()
	if o := h.enter("pwd"); o.SignedIn() || !slices.Contains(o.Challenge.Methods, account.Email) {
		t.Errorf("an administrator gets %+v", o)
	}
}

func TestAResetTakesFactorsCodesTrustAndOpenChallenges(t *testing.T) {
	eachMFADatabase(t, account.MFA{Methods: allMethods}, func(t *testing.T, h *mfaHouse) {
		h.box.Run(t)
		h.enrolled()
		h.clock.Add(time.Minute.Microseconds())
		in, err := h.logins.Answer(t.Context(), viewer.Viewer{}, login.Answer{
			Challenge: h.enter("pwd").Challenge.ID, Method: account.TOTP, Code: h.key.Code(totp.StepAt(h.now())), Trust: true,
		})
		must(t, err)
		trusted := login.Client{Trust: in.Trust}
		if o, err := h.logins.Enter(t.Context(), h.user, trusted, "pwd"); err != nil || !o.SignedIn() || o.Tokens.Session.Level != viewer.AAL1 {
			t.Fatalf("a trusted device: %+v, %v", o, err)
		}
		open := h.enter("pwd").Challenge
		reset := func(by viewer.Viewer) error {
			return h.db.Update(t.Context(), func(tx *store.Tx) error { return h.accounts.ResetFactorsTx(t.Context(), tx, by, h.user.ID) })
		}
		refuse(t, "oneself", reset(h.signedIn(in)), fault.Forbidden)
		must(t, reset(viewer.System()))
		h.box.Take(t, notify.FactorRemoved, "ada@example.com")
		if _, err := h.answer(open, account.RecoveryCode, h.codes[0]); !fault.Is(err, fault.ChallengeExpired) {
			t.Errorf("an open challenge: %v", err)
		}
		h.reread()
		if o := h.enter("pwd"); !o.SignedIn() {
			t.Errorf("after the reset a sign-in gives %+v", o)
		}
		for _, table := range []string{"factors", "recovery_codes", "trusted_devices"} {
			n, err := store.One(t.Context(), h.db, store.SQL(`SELECT count(*) FROM `+table), store.Value[int])
			if must(t, err); n != 0 {
				t.Errorf("%d rows of %s are left", n, table)
			}
		}
	})
}

func TestAStolenSessionCanNeitherAddNorRemoveAFactorAfterTenMinutes(t *testing.T) {
	h := newMFAHouse(t, sqlite(t), account.MFA{Methods: allMethods})
	first, err := h.register("ada@example.com")
	must(t, err)
	v := h.signedIn(first)
	h.clock.Add(11 * time.Minute.Microseconds())
	_, err = h.logins.EnrollTOTP(t.Context(), v, "", "")
	refuse(t, "a first factor", err, fault.StepUpRequired)
	_, err = h.logins.EnrollPhone(t.Context(), v, "", "+491701234567", "", session.Origin{})
	refuse(t, "a first phone", err, fault.StepUpRequired)
	v.AuthTime = h.now()
	done := h.enroll(v, "")
	_, err = h.logins.EnrollPhone(t.Context(), v, "", "+491701234567", "", session.Origin{})
	refuse(t, "a second factor without the first", err, fault.StepUpRequired)
	refuse(t, "the factor's end without it", h.accounts.RemoveFactor(t.Context(), v, done.Factor.ID), fault.StepUpRequired)
	v.Level = viewer.AAL2
	refuse(t, "another's factor", h.accounts.RemoveFactor(t.Context(), v, "fac_other"), fault.NotFound)
	must(t, h.accounts.RemoveFactor(t.Context(), v, done.Factor.ID))
	key := viewer.Viewer{User: h.user.ID, Level: viewer.AAL2} // a machine's: nobody has proved anything
	_, err = h.logins.EnrollTOTP(t.Context(), key, "", "")
	refuse(t, "an API key", err, fault.StepUpRequired)
}

func TestAStepUpEndsWithItsSession(t *testing.T) {
	eachMFADatabase(t, account.MFA{Methods: allMethods}, func(t *testing.T, h *mfaHouse) {
		h.enrolled()
		in, err := h.answer(h.enter("pwd").Challenge, account.RecoveryCode, h.codes[0])
		must(t, err)
		v := h.signedIn(in)
		c, err := h.logins.StepUp(t.Context(), v)
		must(t, err)
		must(t, h.logins.Logout(t.Context(), v))
		_, err = h.logins.Answer(t.Context(), v, login.Answer{Challenge: c.ID, Method: account.RecoveryCode, Code: h.codes[1]})
		refuse(t, "the step-up of a session that ended", err, fault.Unauthenticated)
		if _, err := h.answer(h.enter("pwd").Challenge, account.RecoveryCode, h.codes[1]); err != nil {
			t.Errorf("the code was spent on it: %v", err)
		}
	})
}

// crowd makes n more challenges like the first, and n passkey ceremonies.
func (h *mfaHouse) crowd(n int) {
	h.Helper()
	challenge := store.SQL(`INSERT INTO challenges (hash, user_id, user_version, purpose, methods, sealed, expires_at)
		SELECT ?, user_id, user_version, purpose, methods, sealed, expires_at FROM challenges LIMIT 1`)
	ceremony := store.SQL(`INSERT INTO passkey_ceremonies (hash, sealed, expires_at) VALUES (?, ?, ?)`)
	must(h, h.db.Update(h.Context(), func(tx *store.Tx) error {
		for i := range n {
			hash := fmt.Appendf(nil, "one of a crowd %d", i)
			if _, err := tx.Exec(h.Context(), challenge, hash); err != nil {
				return err
			}
			if _, err := tx.Exec(h.Context(), ceremony, hash, hash, store.At(h.now())); err != nil {
				return err
			}
		}
		return nil
	}))
}

func TestWhatHasExpiredIsDeleted(t *testing.T) {
	eachMFADatabase(t, account.MFA{Methods: allMethods}, func(t *testing.T, h *mfaHouse) {
		h.enrolled()
		h.enter("pwd")
		h.crowd(600)
		h.clock.Add(31 * 24 * time.Hour.Microseconds())
		must(t, h.logins.Prune(context.WithoutCancel(t.Context())))
		for _, table := range []string{"challenges", "passkey_ceremonies"} {
			n, err := store.One(t.Context(), h.db, store.SQL("SELECT count(*) FROM "+table), store.Value[int])
			if must(t, err); n != 0 {
				t.Errorf("%d %s are left", n, table)
			}
		}
		if factors, err := h.accounts.Factors(t.Context(), viewer.System(), []viewer.UserID{h.user.ID}); err != nil || len(factors[h.user.ID]) != 1 {
			t.Errorf("the confirmed factor: %v, %v", factors, err)
		}
	})
}

func TestAChallengeAndItsTokensReachNoLog(t *testing.T) {
	h := newMFAHouse(t, sqlite(t), account.MFA{Methods: allMethods})
	h.enrolled()
	o := h.enter("pwd")
	if text := fmt.Sprintf("%v %+v %#v", o.Challenge, o.Challenge, o.Challenge); text != "[challenge] [challenge] [challenge]" {
		t.Errorf("a challenge prints as %q", text)
	}
}

func TestAChallengeWhoseKeyWasDroppedIsOver(t *testing.T) {
	h := newMFAHouse(t, sqlite(t), account.MFA{Methods: allMethods})
	h.enrolled()
	c := h.enter("pwd").Challenge
	other, err := secret.NewKeyring(secret.NewKey())
	must(t, err)
	sealed, err := other.Seal([]byte("{}"), nil)
	must(t, err)
	must(t, h.db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), store.SQL(`UPDATE challenges SET sealed = ?`), sealed)
		return err
	}))
	_, err = h.answer(c, account.TOTP, h.key.Code(totp.StepAt(h.now())))
	refuse(t, "a challenge sealed with a key that is no longer held", err, fault.ChallengeExpired)
}
