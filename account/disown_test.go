package account_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/account"
	"gatehouse/account/totp"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// robbed is Ada's account with somebody else in it, who may do whatever she may.
type robbed struct {
	*house
	clock *clock
	user  account.User
	lives func() bool
	thief viewer.Viewer
}

func newRobbed(t *testing.T, h *house) *robbed {
	t.Helper()
	r := &robbed{house: h}
	r.clock = h.mailing(account.Options{MFA: account.MFA{Methods: []account.Method{account.TOTP}}})
	r.user, r.thief, r.lives = h.settledAda()
	return r
}

// fresh is the thief as they have just proved both factors.
func (r *robbed) fresh() viewer.Viewer {
	by := r.thief
	by.Level, by.AuthTime = viewer.AAL2, r.clock.now()
	return by
}

// app adds an authenticator app.
func (r *robbed) app() account.Factor {
	r.Helper()
	begun, err := r.accounts.EnrollTOTP(r.Context(), r.fresh(), "")
	must(r, err)
	key, err := totp.Parse(begun.Secret)
	must(r, err)
	p, err := r.accounts.ProveTOTP(r.Context(), r.fresh(), begun.Factor, key.Code(totp.StepAt(r.clock.now())))
	must(r, err)
	var added account.Factor
	must(r, r.db.Update(r.Context(), func(tx *store.Tx) (err error) {
		added, _, err = r.accounts.ConfirmTx(r.Context(), tx, r.fresh(), p)
		return err
	}))
	return added
}

func (r *robbed) link(subject string) account.Identity {
	r.Helper()
	var linked account.Identity
	must(r, r.db.Update(r.Context(), func(tx *store.Tx) (err error) {
		f := account.Federated{Provider: "example", Title: "Example ID", Issuer: "https://id.example", Subject: subject}
		linked, err = r.accounts.LinkTx(r.Context(), tx, r.fresh(), r.user, f, "")
		return err
	}))
	return linked
}

// left counts what lets somebody into the account beside the password.
func (r *robbed) left() (n struct{ factors, codes, identities int }) {
	r.Helper()
	owner := []viewer.UserID{r.user.ID}
	factors, err := r.accounts.Factors(r.Context(), viewer.System(), owner)
	must(r, err)
	identities, err := r.accounts.Identities(r.Context(), viewer.System(), owner)
	must(r, err)
	codes, err := r.accounts.RecoveryCodesLeft(r.Context(), viewer.System(), owner)
	must(r, err)
	n.factors, n.identities, n.codes = len(factors[r.user.ID]), len(identities[r.user.ID]), codes[r.user.ID]
	return n
}

func TestEveryMailOfAChangedKeyHasALinkThatShutsTheAccountAndDropsWhatIsFresh(t *testing.T) {
	for kind, change := range map[notify.Kind]func(r *robbed){
		notify.PasswordChanged: func(r *robbed) {
			must(r, r.accounts.ChangePassword(r.Context(), r.thief, adasPassword, "Thieves' password 1"))
		},
		notify.FactorAdded:   func(r *robbed) { r.app() },
		notify.FactorRemoved: func(r *robbed) { must(r, r.accounts.RemoveFactor(r.Context(), r.fresh(), r.app().ID)) },
		notify.RecoveryCodesRegenerated: func(r *robbed) {
			r.app()
			_, err := r.accounts.RegenerateRecoveryCodes(r.Context(), r.fresh())
			must(r, err)
		},
		notify.RecoveryCodeUsed: func(r *robbed) {
			r.app()
			codes, err := r.accounts.RegenerateRecoveryCodes(r.Context(), r.fresh())
			must(r, err)
			must(r, r.db.Update(r.Context(), func(tx *store.Tx) error {
				return r.accounts.UseRecoveryCodeTx(r.Context(), tx, r.user, codes[0])
			}))
		},
		notify.IdentityLinked: func(r *robbed) { r.link("thief") },
		notify.IdentityUnlinked: func(r *robbed) {
			r.link("thief")
			must(r, r.accounts.Unlink(r.Context(), r.fresh(), r.link("other").ID, "Example ID"))
		},
		notify.APIKeyCreated: func(r *robbed) {
			must(r, r.db.Update(r.Context(), func(tx *store.Tx) error {
				return r.accounts.TellTx(r.Context(), tx, r.user.ID, account.Notice{Kind: notify.APIKeyCreated, Machine: "robot"})
			}))
		},
	} {
		t.Run(string(kind), func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, h *house) {
				r := newRobbed(t, h)
				change(r)
				mail := r.mail(kind, adasEmail)
				if !strings.Contains(mail.Link, "/links/not-me?token=") || !strings.Contains(mail.Text, mail.Link) || !strings.Contains(mail.HTML, "/links/not-me?token=") {
					t.Fatalf("the mail has the link %q: %s", mail.Link, mail.Text)
				}
				before := r.left()
				if _, err := r.accounts.Look(t.Context(), account.ToDisown, token(mail), home); err != nil || r.left() != before || !r.lives() {
					t.Fatalf("a look has done something, or was refused: %v", err)
				}
				_, err := r.accounts.Disown(t.Context(), token(mail), home)
				must(t, err)
				if n := r.left(); n.factors+n.codes+n.identities > 0 {
					t.Errorf("the thief keeps %+v", n)
				}
				if r.lives() {
					t.Error("the session lives on")
				}
				for _, word := range []string{adasPassword, "Thieves' password 1"} {
					if _, err := r.accounts.ByPassword(t.Context(), adasEmail, word); err == nil {
						t.Errorf("the password %q opens", word)
					}
				}
				_, err = r.accounts.ResetPassword(t.Context(), token(r.mail(notify.PasswordReset, adasEmail)), "Difference engine no. 2", home)
				must(t, err)
				if _, err := r.accounts.ByPassword(t.Context(), adasEmail, "Difference engine no. 2"); err != nil {
					t.Errorf("the owner's new password: %v", err)
				}
			})
		})
	}
}

func TestNotMeLeavesWhatIsOlderThanSevenDays(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		r := newRobbed(t, h)
		own, mine := r.app(), r.link("ada")
		r.clock.advance(8 * 24 * time.Hour)
		r.app()
		r.link("thief")
		_, err := r.accounts.Disown(t.Context(), token(r.mail(notify.IdentityLinked, adasEmail)), home)
		refuse(t, "the link of eight days ago", err, fault.TokenInvalid, "token")
		_, err = r.accounts.Disown(t.Context(), token(r.mail(notify.IdentityLinked, adasEmail)), home)
		must(t, err)
		if n := r.left(); n.factors != 1 || n.codes != 10 || n.identities != 1 {
			t.Errorf("left are %+v", n)
		}
		if left, err := r.accounts.FactorsByIDs(t.Context(), viewer.System(), []account.FactorID{own.ID}); err != nil || len(left) != 1 {
			t.Errorf("the owner's factor: %v, %v", left, err)
		}
		if left, err := r.accounts.IdentitiesByIDs(t.Context(), viewer.System(), []account.IdentityID{mine.ID}); err != nil || len(left) != 1 {
			t.Errorf("the owner's identity: %v, %v", left, err)
		}
		events, err := r.audit.ByUser(t.Context(), viewer.System(), r.user.ID, 20)
		must(t, err)
		for _, e := range events {
			if e.Action == audit.AccountDisowned && (e.Details["factors"] != "1" || e.Details["identities"] != "1") {
				t.Errorf("recorded is %v", e.Details)
			}
		}
	})
}

func TestOldRecoveryCodesDoNotOutliveTheLastFactor(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		r := newRobbed(t, h)
		own := r.app()
		r.clock.advance(8 * 24 * time.Hour)
		r.app()
		must(t, r.accounts.RemoveFactor(t.Context(), r.fresh(), own.ID))
		_, err := r.accounts.Disown(t.Context(), token(r.mail(notify.FactorRemoved, adasEmail)), home)
		must(t, err)
		if n := r.left(); n.factors+n.codes > 0 {
			t.Errorf("left are %+v", n)
		}
		by := r.thief // the owner, who has signed in again by the password alone
		by.AuthTime = r.clock.now()
		if _, err := r.accounts.EnrollTOTP(t.Context(), by, ""); err != nil {
			t.Errorf("the owner cannot add a factor: %v", err)
		}
	})
}

func TestRecoveryCodesWithoutAFactorAskNobodyForOne(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		r := newRobbed(t, h)
		r.app()
		must(t, r.db.Update(t.Context(), func(tx *store.Tx) error { // as "this was not me" once left them
			_, err := tx.Exec(t.Context(), store.SQL(`DELETE FROM factors`))
			return err
		}))
		if has, err := r.accounts.HasFactor(t.Context(), r.user.ID); err != nil || has || r.left().codes != 10 {
			t.Errorf("%d codes make a factor: %v, %v", r.left().codes, has, err)
		}
	})
}

func TestAPasswordThatMustBeReplacedConfirmsNothing(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		r := newRobbed(t, h)
		must(t, r.accounts.ChangePassword(t.Context(), r.thief, adasPassword, "Thieves' password 1"))
		_, err := r.accounts.Disown(t.Context(), token(r.mail(notify.PasswordChanged, adasEmail)), home)
		must(t, err)
		thief, _ := r.login(r.user) // by another way in
		thief.AuthTime = r.clock.now().Add(-time.Hour)
		err = r.accounts.RequestEmailChange(t.Context(), thief, "thief@example.com", "Thieves' password 1", stranger)
		refuse(t, "a change of address", err, fault.PasswordResetRequired, "password")
		_, err = r.accounts.Delete(t.Context(), thief, "Thieves' password 1")
		refuse(t, "a deletion", err, fault.PasswordResetRequired, "password")
		err = r.accounts.ChangePassword(t.Context(), thief, "Thieves' password 1", "Thieves' password 2")
		refuse(t, "a change of the password", err, fault.PasswordResetRequired, "currentPassword")
	})
}

func TestThePasskeyThatIsTheLastWayInStays(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		r := newRobbed(t, h)
		only := r.app()
		must(t, r.db.Update(t.Context(), func(tx *store.Tx) error { // as of who came by a provider, and has a passkey
			if _, err := tx.Exec(t.Context(), store.SQL(`UPDATE users SET password_hash = NULL`)); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), store.SQL(`UPDATE factors SET kind = 'PASSKEY'`))
			return err
		}))
		refuse(t, "the only passkey", r.accounts.RemoveFactor(t.Context(), r.fresh(), only.ID), fault.LastWayIn, "")
		other := r.link("ada")
		must(t, r.accounts.RemoveFactor(t.Context(), r.fresh(), only.ID))
		app := r.app()
		must(t, r.accounts.RemoveFactor(t.Context(), r.fresh(), app.ID)) // was no way in
		refuse(t, "the only identity", r.accounts.Unlink(t.Context(), r.fresh(), other.ID, ""), fault.LastWayIn, "")
	})
}

func TestMailsOfAnotherKindDoNotReplaceALinkAndThoseOfOneChangeShareIt(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		r := newRobbed(t, h)
		r.app()
		r.app()
		r.link("thief")
		must(t, r.accounts.ResetFactors(t.Context(), viewer.System(), r.user.ID))
		first, second := r.mail(notify.FactorRemoved, adasEmail), r.mail(notify.FactorRemoved, adasEmail)
		if first.Link != second.Link {
			t.Error("of two factors that are removed at once one mail has a dead link")
		}
		for _, mail := range []notify.Rendered{first, r.mail(notify.IdentityLinked, adasEmail)} {
			if _, err := r.accounts.Disown(t.Context(), token(mail), home); err != nil {
				t.Errorf("the link of %s: %v", mail.Kind, err)
			}
		}
	})
}
