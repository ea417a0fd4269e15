package account_test

import (
	"slices"
	"testing"
	"time"

	"gatehouse/account"
	"gatehouse/account/totp"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// squat is an account that somebody has made with an address that is not theirs, and all that they have put
// into it.
type squat struct {
	*house
	clock *clock
	user  account.User
	by    viewer.Viewer
	lives func() bool
	key   string // an API key
	moves string // the link that makes another address the account's
}

// squatted gives Ada's address to a squatter, who waits inside.
func (h *house) squatted() *squat {
	h.Helper()
	s := &squat{house: h, clock: h.mailing(account.Options{MFA: account.MFA{Methods: []account.Method{account.TOTP}}})}
	s.user = h.ada()
	s.by, s.lives = h.login(s.user)
	var err error
	_, s.key, err = h.sessions.CreateAPIKey(h.Context(), s.by, session.KeyWish{Name: "ci", Scopes: []viewer.Scope{viewer.ReadAccount}})
	must(h, err)
	_, _, err = h.sessions.CreateServiceAccount(h.Context(), s.by, "ci", []viewer.Scope{viewer.ReadAccount})
	must(h, err)
	h.link(s.user, "squatter")
	s.enroll()
	must(h, h.db.Update(h.Context(), func(tx *store.Tx) error {
		_, err := h.sessions.RecognizeTx(h.Context(), tx, s.user.ID, "the squatter's", home)
		if err == nil {
			_, _, err = h.accounts.TrustTx(h.Context(), tx, s.user.ID, session.Device{}, home)
		}
		return err
	}))
	must(h, h.accounts.RequestEmailChange(h.Context(), s.by, "squatter@example.com", "", stranger))
	s.moves = token(h.mail(notify.EmailChangeConfirm, "squatter@example.com"))
	_, err = h.accounts.Delete(h.Context(), s.by, "")
	must(h, err)
	_, s.lives = h.login(s.user) // the deletion has ended the first session
	return s
}

// link gives user an identity of a provider.
func (h *house) link(user account.User, subject string) {
	h.Helper()
	must(h, h.db.Update(h.Context(), func(tx *store.Tx) error {
		f := account.Federated{Provider: "oidc", Title: "The Peer", Issuer: "https://idp.example", Subject: subject}
		_, err := h.accounts.LinkTx(h.Context(), tx, viewer.Viewer{User: user.ID}, user, f, "")
		return err
	}))
}

func (s *squat) enroll() {
	s.Helper()
	begun, err := s.accounts.EnrollTOTP(s.Context(), s.by, "")
	must(s, err)
	key, err := totp.Parse(begun.Secret)
	must(s, err)
	proven, err := s.accounts.ProveTOTP(s.Context(), s.by, begun.Factor, key.Code(totp.StepAt(s.clock.now())))
	must(s, err)
	must(s, s.db.Update(s.Context(), func(tx *store.Tx) error {
		_, _, err := s.accounts.ConfirmTx(s.Context(), tx, s.by, proven)
		return err
	}))
}

// inside returns which tables hold something of the squatter's.
func (s *squat) inside() (tables []string) {
	s.Helper()
	for table, where := range map[string]string{
		"identities": "", "factors": "", "recovery_codes": "", "trusted_devices": "", "known_devices": "",
		"api_keys": " AND revoked_at IS NULL", "service_accounts": " AND revoked_at IS NULL", "sessions": " AND revoked_at IS NULL",
	} {
		owner := "user_id"
		if table == "api_keys" || table == "service_accounts" {
			owner = "owner_id"
		}
		n, err := store.One(s.Context(), s.db, store.Passing(`SELECT count(*) FROM `+table+` WHERE `+owner+` = ?`+where), store.Value[int64], s.user.ID)
		must(s, err)
		if n > 0 {
			tables = append(tables, table)
		}
	}
	return tables
}

func TestWhoProvesTheMailboxOfAnAccountThatWasNotConfirmedHasItAlone(t *testing.T) {
	for name, prove := range map[string]func(h *house) (account.User, error){
		"by a reset": func(h *house) (account.User, error) {
			return h.accounts.ResetPassword(h.Context(), h.resetToken(adasEmail, adasEmail), "Difference engine no. 2", home)
		},
		"by a mailed sign-in": func(h *house) (account.User, error) {
			must(h, h.accounts.RequestLoginCode(h.Context(), adasEmail, session.Bearer, home))
			shown := account.Shown{Email: adasEmail, Code: h.mail(notify.LoginCode, adasEmail).Code}
			return h.accounts.ProveLogIn(h.Context(), shown, home, func(_ *store.Tx, u account.User) error {
				if !u.Verified || u.Name != "" || !u.DeletesAt.IsZero() {
					h.Errorf("enters as %+v", u)
				}
				return nil
			})
		},
		"by a provider": func(h *house) (user account.User, err error) {
			err = h.db.Update(h.Context(), func(tx *store.Tx) error {
				if user, err = h.accounts.LockByEmailTx(h.Context(), tx, adasEmail); err != nil {
					return err
				}
				if user, err = h.accounts.ReclaimTx(h.Context(), tx, user, ""); err != nil {
					return err
				}
				return h.accounts.UnchangedTx(h.Context(), tx, user) // else its first challenge is dead at once
			})
			return user, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, h *house) {
				s := h.squatted()
				if got := s.inside(); len(got) != 8 {
					t.Fatalf("the squatter has %v only", got)
				}
				user, err := prove(h)
				must(t, err)
				if !user.Verified || user.Name != "" || !user.DeletesAt.IsZero() || user.ID != s.user.ID {
					t.Errorf("the account is %+v", user)
				}
				if got := s.inside(); len(got) > 0 || s.lives() {
					t.Errorf("the squatter keeps %v; their session lives: %v", got, s.lives())
				}
				if _, _, err := h.sessions.Authenticate(t.Context(), s.key); err == nil {
					t.Error("the squatter's API key opens the account")
				}
				_, err = h.accounts.ByPassword(t.Context(), adasEmail, adasPassword)
				refuse(t, "the squatter's password", err, fault.InvalidCredentials, "")
				_, err = h.accounts.ConfirmEmailChange(t.Context(), viewer.Viewer{}, s.moves, "", stranger)
				refuse(t, "the squatter's change of address", err, fault.TokenInvalid, "token")
				s.clock.advance(15 * 24 * time.Hour)
				if n := h.deleted(); n != 0 {
					t.Error("the deletion that the squatter asked for has come")
				}
				if got := h.actions(user.ID); !slices.Contains(got, audit.AccountReclaimed) {
					t.Errorf("recorded %v", got)
				}
			})
		})
	}
}

func TestAResetWithinAWeekOfTheConfirmationLeavesNoKeyOfWhoHasOpenedTheAccount(t *testing.T) {
	for name, row := range map[string]struct {
		wait time.Duration // since the link was pressed
		left []string
	}{
		"soon":         {time.Hour, []string{"factors", "recovery_codes"}},
		"a week later": {8 * 24 * time.Hour, []string{"api_keys", "factors", "identities", "recovery_codes", "service_accounts"}},
	} {
		t.Run(name, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, h *house) {
				s := h.squatted()
				_, err := h.accounts.VerifyEmail(t.Context(), account.Shown{Token: token(h.mail(notify.VerifyEmail, adasEmail))}, home)
				must(t, err)                                                                                    // the owner of the mailbox, who has not asked for it
				must(t, h.accounts.RequestEmailVerification(t.Context(), viewer.Viewer{}, adasEmail, stranger)) // hides no trace
				h.settled()
				s.clock.advance(row.wait)
				_, err = h.accounts.ResetPassword(t.Context(), h.resetToken(adasEmail, adasEmail), "Difference engine no. 2", home)
				must(t, err)
				got := slices.DeleteFunc(s.inside(), func(table string) bool { return table == "known_devices" })
				if slices.Sort(got); !slices.Equal(got, row.left) {
					t.Errorf("left are %v, want %v", got, row.left)
				}
			})
		})
	}
}
