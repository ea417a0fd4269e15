package login_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/account"
	"gatehouse/account/totp"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/login"
	"gatehouse/session"
)

// Where the owner is, and where the copy of their tokens is used.
var (
	owners = session.Origin{Agent: firefox, IP: loopback}
	thiefs = session.Origin{Agent: chrome, IP: loopback}
)

// suspended signs Ada in with Firefox and uses her token in Chrome.
func (h *mfaHouse) suspended(mode session.Mode) (session.Tokens, viewer.Viewer) {
	h.Helper()
	o, err := h.logins.Enter(h.Context(), h.user, login.Client{Origin: owners, Mode: mode}, "pwd")
	must(h, err)
	if o.Challenged() {
		h.clock.Add(time.Minute.Microseconds())
		o, err = h.logins.Answer(h.Context(), viewer.Viewer{}, login.Answer{
			Challenge: o.Challenge.ID, Method: account.TOTP, Code: h.code(), Mode: mode, Origin: owners,
		})
		must(h, err)
	}
	return o.Tokens, h.stolen(o.Tokens)
}

// stolen uses the tokens elsewhere and returns their holder, who is nobody from then on.
func (h *mfaHouse) stolen(tokens session.Tokens) viewer.Viewer {
	h.Helper()
	v, _, err := h.sessions.Admit(h.Context(), tokens.Access, thiefs)
	refuse(h, "the token elsewhere", err, fault.StepUpRequired)
	if v.Suspended != tokens.Session.ID {
		h.Fatalf("the holder is %+v", v)
	}
	return v
}

// code is the code that Ada's app shows.
func (h *mfaHouse) code() string { return h.key.Code(totp.StepAt(h.now())) }

// admitted reports whether an access token opens something where its owner is.
func (h *mfaHouse) admitted(access string) bool {
	_, _, err := h.sessions.Admit(h.Context(), access, owners)
	return err == nil
}

func TestARightAnswerPutsASuspendedSessionBackInUseAndVoidsWhatWasOut(t *testing.T) {
	eachMFADatabase(t, account.MFA{Methods: allMethods}, func(t *testing.T, h *mfaHouse) {
		h.enrolled()
		for _, mode := range []session.Mode{session.Bearer, session.Cookie} {
			held, v := h.suspended(mode)
			c, err := h.logins.StepUp(t.Context(), v)
			must(t, err)
			if !slices.Equal(c.Methods, []account.Method{account.TOTP, account.RecoveryCode}) {
				t.Errorf("the methods are %v", c.Methods)
			}
			h.clock.Add(time.Minute.Microseconds())
			right := login.Answer{Challenge: c.ID, Method: account.TOTP, Code: h.code(), Mode: mode, Origin: owners}
			astray := right
			astray.Mode = map[session.Mode]session.Mode{session.Bearer: session.Cookie, session.Cookie: session.Bearer}[mode]
			_, err = h.logins.Answer(t.Context(), v, astray)
			refuse(t, "in another mode", err, fault.WrongState)
			for name, by := range map[string]viewer.Viewer{
				"nobody": {}, "another suspended session": {Suspended: "ses_other"}, "a session in use": {User: h.user.ID, Session: held.Session.ID},
			} {
				_, err := h.logins.Answer(t.Context(), by, right)
				refuse(t, name, err, fault.ChallengeExpired)
			}
			o, err := h.logins.Answer(t.Context(), v, right)
			must(t, err)
			if s := o.Tokens.Session; s.ID != held.Session.ID || s.Mode != mode || s.Level != viewer.AAL2 || !s.SuspendedAt.IsZero() || o.Tokens.Refresh == "" {
				t.Errorf("the answer gave %+v with %+v", o.Tokens, s)
			}
			if !h.admitted(o.Tokens.Access) || h.admitted(held.Access) {
				t.Error("the fresh token is no good, or the old one is")
			}
			_, err = h.sessions.Refresh(t.Context(), held.Refresh, owners)
			refuse(t, "the old refresh token", err, fault.TokenInvalid)
			if _, err := h.sessions.Refresh(t.Context(), o.Tokens.Refresh, owners); err != nil {
				t.Errorf("the fresh one: %v", err)
			}
			_, err = h.logins.Answer(t.Context(), v, right)
			refuse(t, "the same answer again", err, fault.ChallengeExpired)
		}
	})
}

func TestWithoutAFactorThePasswordLiftsUnlessItMustBeReplaced(t *testing.T) {
	eachMFADatabase(t, account.MFA{Methods: allMethods}, func(t *testing.T, h *mfaHouse) {
		first, err := h.register("ada@example.com")
		must(t, err)
		h.user = first.User
		held, v := h.suspended(session.Bearer)
		c, err := h.logins.StepUp(t.Context(), v)
		must(t, err)
		if !slices.Equal(c.Methods, []account.Method{account.Password}) {
			t.Fatalf("the methods are %v", c.Methods)
		}
		answer := func(word string) (login.Outcome, error) {
			return h.logins.Answer(t.Context(), v, login.Answer{Challenge: c.ID, Method: account.Password, Code: word, Origin: owners})
		}
		for range 4 {
			_, err := answer("a guess")
			refuse(t, "a wrong password", err, fault.InvalidCredentials)
		}
		o, err := answer(secretWord)
		if err != nil || o.Tokens.Session.ID != held.Session.ID || o.Tokens.Session.Level != viewer.AAL1 || !h.admitted(o.Tokens.Access) {
			t.Fatalf("the password gave %+v, %v", o, err)
		}

		// the thief has the old password too, and the owner has said so
		must(t, h.db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), store.SQL(`UPDATE users SET must_reset = TRUE`))
			return err
		}))
		v = h.stolen(o.Tokens)
		_, err = h.logins.StepUp(t.Context(), v)
		refuse(t, "nothing is left to prove it by", err, fault.WrongState)
		h.verify()
		c, err = h.logins.StepUp(t.Context(), v)
		must(t, err)
		if !slices.Equal(c.Methods, []account.Method{account.Email}) {
			t.Errorf("the methods are %v", c.Methods)
		}
		_, err = answer(secretWord)
		refuse(t, "a password that must be replaced", err, fault.Invalid)
	})
}

func TestACodeByMailLiftsTheSessionOfWhoHasNoPassword(t *testing.T) {
	eachMFADatabase(t, account.MFA{Methods: allMethods}, func(t *testing.T, h *mfaHouse) {
		h.box.Run(t)
		first, err := h.register("ada@example.com")
		must(t, err)
		h.user = first.User
		h.verify()
		must(t, h.db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), store.SQL(`UPDATE users SET password_hash = NULL`))
			return err
		}))
		_, v := h.suspended(session.Bearer)
		thief, err := h.logins.StepUp(t.Context(), v)
		must(t, err)
		owner, err := h.logins.StepUp(t.Context(), v)
		must(t, err)
		_, _, err = h.logins.SendCode(t.Context(), viewer.Viewer{}, owner.ID, account.Email, owners)
		refuse(t, "a stranger asks for the code", err, fault.ChallengeExpired)
		_, _, err = h.logins.SendCode(t.Context(), v, owner.ID, account.Email, owners)
		must(t, err)
		code := h.box.Take(t, notify.MfaCode, "ada@example.com").Code
		_, err = h.logins.Answer(t.Context(), v, login.Answer{Challenge: thief.ID, Method: account.Email, Code: code, Origin: thiefs})
		refuse(t, "the code at another challenge", err, fault.InvalidCode)
		if _, err := h.logins.Answer(t.Context(), v, login.Answer{Challenge: owner.ID, Method: account.Email, Code: code, Origin: owners}); err != nil {
			t.Errorf("the code: %v", err)
		}
	})
}

func TestNeitherAnImpersonationNorADisabledAccountIsLifted(t *testing.T) {
	eachMFADatabase(t, account.MFA{Methods: allMethods}, func(t *testing.T, h *mfaHouse) {
		h.enrolled()
		_, v := h.suspended(session.Bearer)
		c, err := h.logins.StepUp(t.Context(), v)
		must(t, err)
		must(t, h.db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), store.SQL(`UPDATE users SET status = 'DISABLED'`)) // and the sessions are left
			return err
		}))
		h.clock.Add(time.Minute.Microseconds())
		_, err = h.logins.Answer(t.Context(), v, login.Answer{Challenge: c.ID, Method: account.TOTP, Code: h.code(), Origin: owners})
		refuse(t, "an answer for a disabled account", err, fault.AccountDisabled)
		_, err = h.logins.StepUp(t.Context(), v)
		refuse(t, "a challenge of a disabled account", err, fault.AccountDisabled)
		must(t, h.accounts.Enable(t.Context(), viewer.System(), h.user.ID))

		var acting session.Tokens
		must(t, h.db.Update(t.Context(), func(tx *store.Tx) (err error) {
			acting, err = h.sessions.ImpersonateTx(t.Context(), tx, viewer.Viewer{User: "usr_admin"}, h.user.ID, false, owners)
			return err
		}))
		_, err = h.logins.StepUp(t.Context(), h.stolen(acting))
		refuse(t, "an impersonation", err, fault.WrongState)
	})
}

func TestASessionAsksForABoundedNumberOfChallenges(t *testing.T) {
	h := newMFAHouse(t, sqlite(t), account.MFA{Methods: allMethods})
	h.enrolled()
	_, v := h.suspended(session.Bearer)
	for range 20 {
		_, err := h.logins.StepUp(t.Context(), v)
		must(t, err)
	}
	_, err := h.logins.StepUp(t.Context(), v)
	refuse(t, "challenge 21", err, fault.RateLimited)
}

func TestNothingThatAThiefOfTheTokensDoesLiftsTheSession(t *testing.T) {
	h := newMFAHouse(t, sqlite(t), account.MFA{Methods: []account.Method{account.TOTP}})
	h.enrolled()
	eve, err := h.register("eve@example.com")
	must(t, err)
	evil := h.signedIn(eve)
	lifted := 0
	rapid.Check(t, func(t *rapid.T) {
		held, copied := h.suspended(session.Bearer)
		used := h.code()
		var known []string // challenges of the thief
		var owner *login.Answer
		back := false
		holders := []viewer.Viewer{copied, {}, evil, {Suspended: eve.Tokens.Session.ID}}
		t.Repeat(map[string]func(*rapid.T){
			"the thief asks": func(t *rapid.T) {
				c, err := h.logins.StepUp(h.Context(), rapid.SampledFrom(holders).Draw(t, "as"))
				if err == nil {
					known = append(known, c.ID)
				}
			},
			"the thief signs in as themself": func(*rapid.T) {
				o, err := h.logins.Enter(h.Context(), eve.User, login.Client{Origin: thiefs}, "pwd")
				must(h, err)
				evil = h.signedIn(o)
			},
			"the thief answers": func(t *rapid.T) {
				if len(known) == 0 {
					t.Skip("no challenge yet")
				}
				o, err := h.logins.Answer(h.Context(), rapid.SampledFrom(holders).Draw(t, "as"), login.Answer{
					Challenge: rapid.SampledFrom(known).Draw(t, "challenge"), Origin: thiefs,
					Method: rapid.SampledFrom([]account.Method{account.TOTP, account.Password, account.RecoveryCode, account.Email}).Draw(t, "by"),
					Code:   rapid.SampledFrom([]string{used, "", "abcdef", secretWord}).Draw(t, "code"),
				})
				if err == nil && o.User.ID != eve.User.ID {
					t.Fatalf("the thief is in: %+v", o)
				}
			},
			"the thief repeats what the owner sent": func(t *rapid.T) {
				if owner == nil {
					t.Skip("the owner has not answered")
				}
				if o, err := h.logins.Answer(h.Context(), rapid.SampledFrom(holders).Draw(t, "as"), *owner); err == nil {
					t.Fatalf("the thief is in: %+v", o)
				}
			},
			"the thief renews": func(t *rapid.T) {
				if _, err := h.sessions.Refresh(h.Context(), held.Refresh, rapid.SampledFrom([]session.Origin{owners, thiefs}).Draw(t, "at")); err == nil {
					t.Fatal("the copied refresh token gives tokens")
				}
			},
			"the owner answers": func(t *rapid.T) {
				if back {
					t.Skip("they are back")
				}
				c, err := h.logins.StepUp(h.Context(), copied) // their token is the very same
				if fault.Is(err, fault.RateLimited) {
					t.Skip("the thief has asked too often")
				}
				must(h, err)
				h.clock.Add(time.Minute.Microseconds())
				used = h.code()
				owner = &login.Answer{Challenge: c.ID, Method: account.TOTP, Code: used, Origin: owners}
				o, err := h.logins.Answer(h.Context(), copied, *owner)
				if err != nil || !h.admitted(o.Tokens.Access) {
					t.Fatalf("the owner: %v", err)
				}
				back = true
				lifted++
			},
			"time": func(t *rapid.T) {
				h.clock.Add(rapid.Int64Range(1, 4*60).Draw(t, "seconds") * 1_000_000)
			},
			"": func(t *rapid.T) {
				if h.admitted(held.Access) {
					t.Fatal("the copied access token opens something")
				}
				if now, err := h.sessions.ByIDs(h.Context(), viewer.System(), []viewer.SessionID{held.Session.ID}); err != nil || now[held.Session.ID].SuspendedAt.IsZero() != back {
					t.Fatalf("the session is %+v, %v; the owner is back: %v", now, err, back)
				}
			},
		})
	})
	if lifted == 0 {
		t.Error("the owner never got back: the test shows nothing")
	}
}
