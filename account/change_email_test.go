package account_test

import (
	"slices"
	"testing"
	"time"

	"gatehouse/account"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// settledAda is Ada with a confirmed address, signed in.
func (h *house) settledAda() (account.User, viewer.Viewer, func() bool) {
	h.Helper()
	h.ada()
	ada, err := h.accounts.VerifyEmail(h.Context(), account.Shown{Token: token(h.mail(notify.VerifyEmail, adasEmail))}, home)
	must(h, err)
	by, lives := h.login(ada)
	return ada, by, lives
}

// move changes the address of by's account to email, and returns the way back that the old one got.
func (h *house) move(by viewer.Viewer, old, email string) (undo string) {
	h.Helper()
	must(h, h.accounts.RequestEmailChange(h.Context(), by, email, "", home))
	_, err := h.accounts.ConfirmEmailChange(h.Context(), viewer.Viewer{}, token(h.mail(notify.EmailChangeConfirm, email)), "", home)
	must(h, err)
	return token(h.mail(notify.EmailChanged, old))
}

func TestAnAddressChangesOnceTheNewOneHasAnswered(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		ada, by, lives := h.settledAda()
		must(t, h.accounts.RequestEmailChange(t.Context(), by, "countess@example.com", "", home))
		mail := h.mail(notify.EmailChangeConfirm, "countess@example.com")
		if _, err := h.accounts.ByEmail(t.Context(), adasEmail); err != nil {
			t.Errorf("the old address before the new one has answered: %v", err)
		}
		reset := h.resetToken(adasEmail, adasEmail)
		user, err := h.accounts.ConfirmEmailChange(t.Context(), by, "", mail.Code, home)
		if err != nil || user.Email != "countess@example.com" || !user.Verified || user.ID != ada.ID {
			t.Fatalf("got %+v, %v", user, err)
		}
		if !lives() {
			t.Error("the session has ended")
		}
		_, err = h.accounts.ByEmail(t.Context(), adasEmail)
		refuse(t, "the old address", err, fault.NotFound, "")
		_, err = h.accounts.ResetPassword(t.Context(), reset, "Difference engine no. 2", home)
		refuse(t, "a link that was mailed to the old address", err, fault.TokenInvalid, "token")
		if _, err := h.accounts.ByPassword(t.Context(), "countess@example.com", adasPassword); err != nil {
			t.Errorf("the new address: %v", err)
		}
		h.mail(notify.EmailChanged, adasEmail)
	})
}

func TestTheOldAddressTakesTheAccountBack(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		ada, thief, lives := h.settledAda()
		undoAda := h.move(thief, adasEmail, "thief@example.com")
		undoThief := h.move(thief, "thief@example.com", "hideout@example.com")
		thiefsReset := h.resetToken("hideout@example.com", "hideout@example.com")
		_, err := h.accounts.Delete(t.Context(), thief, "")
		must(t, err)

		user, err := h.accounts.UndoEmailChange(t.Context(), undoAda, stranger)
		if err != nil || user.Email != adasEmail || !user.Verified || !user.DeletesAt.IsZero() {
			t.Fatalf("got %+v, %v; want Ada's account as it was", user, err)
		}
		if lives() {
			t.Error("the thief's session lives on")
		}
		_, err = h.accounts.UndoEmailChange(t.Context(), undoThief, home)
		refuse(t, "the thief's own way back", err, fault.TokenInvalid, "token")
		_, err = h.accounts.ResetPassword(t.Context(), thiefsReset, "Thieves' password 1", home)
		refuse(t, "the thief's reset", err, fault.TokenInvalid, "token")
		_, err = h.accounts.ByPassword(t.Context(), adasEmail, adasPassword)
		refuse(t, "the password that the thief knows", err, fault.PasswordResetRequired, "")
		_, err = h.accounts.ByPassword(t.Context(), adasEmail, "a wrong password")
		refuse(t, "a wrong password", err, fault.InvalidCredentials, "")
		_, err = h.accounts.ResetPassword(t.Context(), token(h.mail(notify.PasswordReset, adasEmail)), "Difference engine no. 2", home)
		must(t, err)
		if user, err := h.accounts.ByPassword(t.Context(), adasEmail, "Difference engine no. 2"); err != nil || user.ID != ada.ID {
			t.Errorf("the new password: %v", err)
		}
	})
}

func TestAnAddressThatWasLeftIsKeptForItsOwner(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		_, thief, _ := h.settledAda()
		undo := h.move(thief, adasEmail, "thief@example.com")
		_, err := h.register(account.Registration{Email: adasEmail, Password: "Thieves' password 1"})
		refuse(t, "a registration by the thief", err, fault.Taken, "email")
		other, err := h.register(account.Registration{Email: "other@example.com", Password: "Thieves' password 1"})
		must(t, err)
		by, _ := h.login(other)
		must(t, h.accounts.RequestEmailChange(t.Context(), by, adasEmail, "", home))
		h.settled()
		for _, kind := range h.box.Arrived() {
			if kind == notify.EmailChangeConfirm {
				t.Error("another account may have the address")
			}
		}
		if _, err := h.accounts.UndoEmailChange(t.Context(), undo, home); err != nil {
			t.Errorf("the way back: %v", err)
		}
	})
}

func TestAfterSevenDaysAnAddressThatWasLeftIsFree(t *testing.T) {
	h := newHouse(t, sqlite(t))
	c := h.mailing(account.Options{})
	_, by, _ := h.settledAda()
	undo := h.move(by, adasEmail, "countess@example.com")
	c.advance(7*24*time.Hour + time.Minute)
	_, err := h.accounts.UndoEmailChange(t.Context(), undo, home)
	refuse(t, "the way back", err, fault.TokenExpired, "token")
	if _, err := h.register(account.Registration{Email: adasEmail, Password: adasPassword}); err != nil {
		t.Errorf("a registration: %v", err)
	}
}

func TestAnAddressThatWasNeverConfirmedGetsNoWayBack(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.mailing(account.Options{})
	by, _ := h.login(h.ada()) // whoever reads that mailbox may have been meant by a slip of the pen
	must(t, h.accounts.RequestEmailChange(t.Context(), by, "countess@example.com", "", home))
	_, err := h.accounts.ConfirmEmailChange(t.Context(), viewer.Viewer{}, token(h.mail(notify.EmailChangeConfirm, "countess@example.com")), "", home)
	must(t, err)
	h.settled()
	for _, kind := range h.box.Arrived() {
		if kind == notify.EmailChanged {
			t.Error("it got one")
		}
	}
}

func TestATakenAddressGetsTheSameAnswerAndItsOwnerAMail(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		_, err := h.register(account.Registration{Email: "grace@example.com", Password: "Compiler no. A-0!"})
		must(t, err)
		_, by, _ := h.settledAda()
		must(t, h.accounts.RequestEmailChange(t.Context(), by, "Grace@example.com", "", home))
		h.mail(notify.AlreadyRegistered, "grace@example.com")
		h.settled()
		for _, kind := range h.box.Arrived() {
			if kind == notify.EmailChangeConfirm {
				t.Error("the address was offered to somebody else")
			}
		}
	})
}

func TestOfTwoWhoWantAnAddressOneGetsIt(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.mailing(account.Options{})
	_, by, _ := h.settledAda()
	must(t, h.accounts.RequestEmailChange(t.Context(), by, "new@example.com", "", home))
	change := token(h.mail(notify.EmailChangeConfirm, "new@example.com"))
	_, err := h.register(account.Registration{Email: "new@example.com", Password: adasPassword})
	must(t, err)
	_, err = h.accounts.ConfirmEmailChange(t.Context(), viewer.Viewer{}, change, "", home)
	refuse(t, "the slower one", err, fault.Taken, "email")
}

func TestWhatIsHardToTakeBackWantsAFreshSignInOrThePassword(t *testing.T) {
	h := newHouse(t, sqlite(t))
	c := h.mailing(account.Options{})
	_, by, _ := h.settledAda()
	refuse(t, "nobody", h.accounts.RequestEmailChange(t.Context(), viewer.Viewer{}, "a@example.com", "", home), fault.Unauthenticated, "")
	c.advance(11 * time.Minute)
	refuse(t, "an old sign-in", h.accounts.RequestEmailChange(t.Context(), by, "a@example.com", "", home), fault.StepUpRequired, "")
	refuse(t, "a wrong password", h.accounts.RequestEmailChange(t.Context(), by, "a@example.com", "wrong", home), fault.InvalidCredentials, "password")
	refuse(t, "no address", h.accounts.RequestEmailChange(t.Context(), by, "a", adasPassword, home), fault.Invalid, "newEmail")
	_, err := h.accounts.Delete(t.Context(), by, "")
	refuse(t, "a deletion", err, fault.StepUpRequired, "")
	must(t, h.accounts.RequestEmailChange(t.Context(), by, "a@example.com", adasPassword, home))
	h.mail(notify.EmailChangeConfirm, "a@example.com")
}

func TestWhoWasNotMeShutsTheAccountAndItsOwnerGetsTheWayBack(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		ada, thief, lives := h.settledAda()
		must(t, h.accounts.ChangePassword(t.Context(), thief, adasPassword, "Thieves' password 1"))
		notMe := token(h.mail(notify.PasswordChanged, adasEmail))
		_, err := h.accounts.Disown(t.Context(), notMe, stranger)
		must(t, err)
		if lives() {
			t.Error("the thief's session lives on")
		}
		_, err = h.accounts.Disown(t.Context(), notMe, stranger)
		refuse(t, "the link once more", err, fault.TokenInvalid, "token")
		_, err = h.accounts.ByPassword(t.Context(), adasEmail, "Thieves' password 1")
		refuse(t, "the thief's password", err, fault.PasswordResetRequired, "")
		user, err := h.accounts.ResetPassword(t.Context(), token(h.mail(notify.PasswordReset, adasEmail)), "Difference engine no. 2", home)
		if err != nil || user.ID != ada.ID {
			t.Errorf("the way back: %v", err)
		}
	})
}

func TestNotMeAtAnAddressThatAThiefHasLeftTakesItBack(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		ada, thief, lives := h.settledAda()
		must(t, h.accounts.ChangePassword(t.Context(), thief, adasPassword, "Thieves' password 1"))
		notMe := token(h.mail(notify.PasswordChanged, adasEmail))
		undo := h.move(thief, adasEmail, "thief@example.com")
		must(t, h.accounts.ChangePassword(t.Context(), thief, "Thieves' password 1", "Thieves' password 2"))
		thiefs := token(h.mail(notify.PasswordChanged, "thief@example.com"))
		user, err := h.accounts.Disown(t.Context(), notMe, home)
		if err != nil || lives() || user.Email != adasEmail || user.ID != ada.ID {
			t.Fatalf("got %+v, %v; the thief's session lives: %v", user, err, lives())
		}
		h.mail(notify.PasswordReset, adasEmail) // and none to the thief
		_, err = h.accounts.Disown(t.Context(), thiefs, home)
		refuse(t, "the thief says \"not me\"", err, fault.TokenInvalid, "token")
		_, err = h.accounts.UndoEmailChange(t.Context(), undo, home)
		refuse(t, "the way back once more", err, fault.TokenInvalid, "token")
		h.settled()
		for _, kind := range h.box.Arrived() {
			t.Errorf("a %s came too", kind)
		}
	})
}

func TestNotMeAtAnAddressThatWasNeverConfirmedShutsTheAccountAndDoesNotTakeItBack(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.mailing(account.Options{})
	by, lives := h.login(h.ada())
	must(t, h.accounts.ChangePassword(t.Context(), by, adasPassword, "Difference engine no. 2"))
	notMe := token(h.mail(notify.PasswordChanged, adasEmail))
	must(t, h.accounts.RequestEmailChange(t.Context(), by, "countess@example.com", "", home))
	_, err := h.accounts.ConfirmEmailChange(t.Context(), viewer.Viewer{}, token(h.mail(notify.EmailChangeConfirm, "countess@example.com")), "", home)
	must(t, err)
	user, err := h.accounts.Disown(t.Context(), notMe, home)
	if err != nil || lives() || user.Email != "countess@example.com" {
		t.Errorf("got %+v, %v; the session lives: %v", user, err, lives())
	}
}

func TestAMailedSignInTakesAnAccountFromWhoHasRegisteredSomebodyElsesAddress(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		squatter := h.ada() // knows the password, does not read the mail
		_, lives := h.login(squatter)
		must(t, h.accounts.RequestLoginCode(t.Context(), adasEmail, session.Bearer, home))
		mail := h.mail(notify.LoginCode, adasEmail)
		user, err := h.accounts.ProveLogIn(t.Context(), account.Shown{Email: adasEmail, Code: mail.Code}, home, func(_ *store.Tx, u account.User) error {
			if !u.Verified {
				t.Error("enters with an address that is not confirmed")
			}
			return nil
		})
		if err != nil || !user.Verified || lives() {
			t.Fatalf("%+v, %v; the squatter is signed in: %v", user, err, lives())
		}
		_, err = h.accounts.ByPassword(t.Context(), adasEmail, adasPassword)
		refuse(t, "the squatter's password", err, fault.InvalidCredentials, "")
	})
}

func TestAChangeOfAddressThatStillWaitsForItsMailDoesNotOutliveNotMe(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.open(account.Options{}) // nobody answers yet
		ada := h.ada()
		thief, _ := h.login(ada)
		must(t, h.accounts.RequestEmailChange(t.Context(), thief, "thief@example.com", "", stranger))
		var link string
		must(t, h.db.Update(t.Context(), func(tx *store.Tx) (err error) {
			link, err = h.accounts.DisownTx(t.Context(), tx, ada, notify.PasswordChanged)
			return err
		}))
		_, err := h.accounts.Disown(t.Context(), token(notify.Rendered{Link: link}), home)
		must(t, err)
		h.box.Run(t)
		h.settled()
		if got := h.box.Arrived(); slices.Contains(got, notify.EmailChangeConfirm) || len(got) != 2 {
			t.Errorf("%v arrived, want the greeting and the reset", got)
		}
	})
}
