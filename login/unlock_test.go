package login_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"gatehouse/account"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/notify"
	"gatehouse/internal/viewer"
	"gatehouse/login"
	"gatehouse/session"
)

var administrator = viewer.Viewer{User: "usr_admin", Session: "ses_admin", Roles: []viewer.Role{viewer.Admin}}

func TestAnAdministratorGivesAttemptsBackToStrangersAndKnownDevices(t *testing.T) {
	h := newHouse(t, sqlite(t), account.Options{})
	registered, err := h.register("ada@example.com")
	must(t, err)
	h.logins = h.limited(login.Limits{Identifier: strict})
	must(t, h.attempt("ada@example.com", secretWord, "laptop", "192.0.2.1"))
	for _, device := range []string{"", "laptop"} {
		for range strict.Burst {
			refuse(t, "a guess", h.attempt("ada@example.com", "guess", device, "192.0.2.1"), fault.InvalidCredentials)
		}
		refuse(t, "the owner", h.attempt("ada@example.com", secretWord, device, "192.0.2.1"), fault.RateLimited)
	}
	must(t, h.logins.Unlock(t.Context(), administrator, registered.User.ID))
	for _, device := range []string{"", "laptop"} {
		must(t, h.attempt("ada@example.com", secretWord, device, "192.0.2.1"))
	}
}

// afar is a network that limits count.
var afar = session.Origin{Agent: firefox, IP: netip.MustParseAddr("192.0.2.7")}

// spend repeats try, each of which is refused with why, until it is refused for its number.
func spend(t testing.TB, what string, why fault.Code, try func() error) {
	t.Helper()
	for range 100 {
		err := try()
		if fault.Is(err, fault.RateLimited) {
			return
		}
		if (why != "" || err != nil) && !fault.Is(err, why) {
			t.Fatalf("%s: got %v, want %q or RATE_LIMITED", what, err, why)
		}
	}
	t.Fatalf("%s is not limited", what)
}

// phone gives by, who is Ada, a phone.
func (h *mfaHouse) phone(by viewer.Viewer) {
	h.Helper()
	const number = "+491701234567"
	factor, err := h.logins.EnrollPhone(h.Context(), by, "", number, "", session.Origin{})
	must(h, err)
	_, err = h.logins.ConfirmPhone(h.Context(), by, login.Confirmation{Factor: factor, Code: h.box.Take(h, notify.PhoneConfirm, number).Code})
	must(h, err)
}

// challenged signs Ada in from a device up to the challenge.
func (h *mfaHouse) challenged(device string) login.Challenge {
	h.Helper()
	o, err := h.logins.Enter(h.Context(), h.user, login.Client{Origin: afar, Device: session.Device{ID: device}}, "pwd")
	must(h, err)
	return o.Challenge
}

func TestAnAdministratorGivesAnswersAndCodesOfChallengesBack(t *testing.T) {
	eachMFADatabase(t, account.MFA{Methods: allMethods}, func(t *testing.T, h *mfaHouse) {
		h.box.Run(t)
		h.enrolled()
		in, err := h.logins.Answer(t.Context(), viewer.Viewer{}, login.Answer{
			Challenge: h.challenged("laptop").ID, Method: account.RecoveryCode, Code: h.codes[0], Origin: afar,
		})
		must(t, err)
		owner := h.signedIn(in)
		h.phone(owner)
		whose := map[string]func() (viewer.Viewer, login.Challenge){
			"a stranger": func() (viewer.Viewer, login.Challenge) { return viewer.Viewer{}, h.challenged("") },
			"a device":   func() (viewer.Viewer, login.Challenge) { return viewer.Viewer{}, h.challenged("laptop") },
			"a session": func() (viewer.Viewer, login.Challenge) {
				c, err := h.logins.StepUp(t.Context(), owner)
				must(t, err)
				return owner, c
			},
		}
		few := func(name string) limit.Rule {
			return limit.Rule{Name: name, Limit: 1, Per: 24 * time.Hour, Burst: 2}
		}
		many := func(name string) limit.Rule { return limit.Rule{Name: name, Limit: 1_000_000, Per: time.Second} }
		for name, limits := range map[string]login.Limits{
			"in all":         {Answers: few("a"), AnswersNetwork: many("b"), Codes: few("c"), CodesNetwork: many("d")},
			"from a network": {Answers: many("a"), AnswersNetwork: few("b"), Codes: many("c"), CodesNetwork: few("d")},
		} {
			t.Run(name, func(t *testing.T) {
				h.logins = h.limited(limits)
				guess := func(begin func() (viewer.Viewer, login.Challenge)) error {
					by, c := begin()
					_, err := h.logins.Answer(t.Context(), by, login.Answer{Challenge: c.ID, Method: account.TOTP, Code: "000000", Origin: afar})
					return err
				}
				send := func(begin func() (viewer.Viewer, login.Challenge)) error {
					by, c := begin()
					_, _, err := h.logins.SendCode(t.Context(), by, c.ID, account.SMS, afar)
					return err
				}
				for who, begin := range whose {
					spend(t, "an answer of "+who, fault.InvalidCode, func() error { return guess(begin) })
					spend(t, "a code for "+who, "", func() error { return send(begin) })
				}
				must(t, h.logins.Unlock(t.Context(), administrator, h.user.ID))
				for who, begin := range whose {
					refuse(t, "afterwards an answer of "+who, guess(begin), fault.InvalidCode)
					if err := send(begin); err != nil {
						t.Errorf("afterwards a code for %s: %v", who, err)
					}
				}
			})
		}
	})
}

func TestAnAdministratorGivesMailsPasswordsAndEnrolmentsBack(t *testing.T) {
	eachMFADatabase(t, account.MFA{Methods: allMethods}, func(t *testing.T, h *mfaHouse) {
		first, err := h.register("ada@example.com")
		must(t, err)
		owner, phones := h.signedIn(first), 0
		for what, c := range map[string]struct {
			why fault.Code
			try func() error
		}{
			"a code to sign in": {"", func() error {
				return h.accounts.RequestLoginCode(t.Context(), "ada@example.com", session.Bearer, afar)
			}},
			"a reset": {"", func() error { return h.accounts.RequestPasswordReset(t.Context(), "ada@example.com", afar) }},
			"a confirmation": {"", func() error {
				return h.accounts.RequestEmailVerification(t.Context(), viewer.Viewer{}, "ada@example.com", afar)
			}},
			"a current password": {fault.InvalidCredentials, func() error {
				return h.accounts.ChangePassword(t.Context(), owner, "a guess", "Difference engine no. 2")
			}},
			"an app": {"", func() error {
				_, err := h.accounts.EnrollTOTP(t.Context(), owner, "")
				return err
			}},
			"a phone": {"", func() error {
				phones++
				_, err := h.accounts.EnrollPhone(t.Context(), owner, fmt.Sprintf("+49170%07d", phones), "", session.Origin{})
				return err
			}},
		} {
			spend(t, what, c.why, c.try)
			must(t, h.logins.Unlock(t.Context(), administrator, first.User.ID))
			if err := c.try(); (c.why != "" || err != nil) && !fault.Is(err, c.why) {
				t.Errorf("afterwards %s: %v", what, err)
			}
		}
	})
}
