package account_test

import (
	"slices"
	"testing"

	"gatehouse/account"
	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
)

func TestAnAccountThatNobodyHasConfirmedIsPromotedOnlyAfterItWasEmptied(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		s := h.squatted()
		_, err := h.accounts.CreateAdmin(t.Context(), adasEmail, "", "", true)
		refuse(t, "a promotion", err, fault.EmailNotVerified, "email")
		if user, _ := h.accounts.Get(t.Context(), s.user.ID); slices.Contains(user.Roles, viewer.Admin) || user.Verified {
			t.Fatalf("the squatter's account is %+v", user)
		}
		user, err := h.accounts.ReclaimAdmin(t.Context(), adasEmail, "The operator's engine 2", "Operator")
		must(t, err)
		if !slices.Contains(user.Roles, viewer.Admin) || !user.Verified || user.Name != "Operator" || !user.DeletesAt.IsZero() || user.ID != s.user.ID {
			t.Errorf("the administrator is %+v", user)
		}
		if got := s.inside(); len(got) > 0 || s.lives() {
			t.Errorf("the squatter keeps %v; their session lives: %v", got, s.lives())
		}
		_, err = h.accounts.ByPassword(t.Context(), adasEmail, adasPassword)
		refuse(t, "the squatter's password", err, fault.InvalidCredentials, "")
		if _, err := h.accounts.ByPassword(t.Context(), adasEmail, "The operator's engine 2"); err != nil {
			t.Errorf("the operator's password: %v", err)
		}
		_, err = h.accounts.ReclaimAdmin(t.Context(), adasEmail, "Another engine no. 3", "")
		refuse(t, "a confirmed account, taken over", err, fault.WrongState, "email")
	})
}

func TestAnAccountThatIsGoingToBeDeletedIsNotPromoted(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		_, by, _ := h.settledAda()
		_, err := h.accounts.Delete(t.Context(), by, "")
		must(t, err)
		_, err = h.accounts.CreateAdmin(t.Context(), adasEmail, "", "", true)
		refuse(t, "an account that is going to be deleted", err, fault.WrongState, "")
	})
}
