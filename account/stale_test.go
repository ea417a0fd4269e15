package account_test

import (
	"sync"
	"testing"

	"gatehouse/account"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// TestWhoseSessionHasEndedMakesNoKeyOfTheirOwn asks as somebody who was admitted a moment before the owner
// said "this was not me".
func TestWhoseSessionHasEndedMakesNoKeyOfTheirOwn(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		r := newRobbed(t, h)
		service, _, err := r.sessions.CreateServiceAccount(t.Context(), r.thief, "robot", []viewer.Scope{viewer.RunJobs})
		must(t, err)
		must(t, r.accounts.ChangePassword(t.Context(), r.thief, adasPassword, "Thieves' password 1"))
		_, err = r.accounts.Disown(t.Context(), token(r.mail(notify.PasswordChanged, adasEmail)), home)
		must(t, err)
		for what, make := range map[string]func() error{
			"an API key": func() error {
				_, _, err := r.sessions.CreateAPIKey(t.Context(), r.fresh(), session.KeyWish{Name: "key", Scopes: []viewer.Scope{viewer.RunJobs}})
				return err
			},
			"a service account": func() error {
				_, _, err := r.sessions.CreateServiceAccount(t.Context(), r.fresh(), "robot", []viewer.Scope{viewer.RunJobs})
				return err
			},
			"another secret": func() error {
				_, _, err := r.sessions.RotateServiceAccount(t.Context(), r.fresh(), service.ID, 0)
				return err
			},
			"another address": func() error {
				return r.accounts.RequestEmailChange(t.Context(), r.fresh(), "thief@example.com", "", stranger)
			},
			"an identity": func() error {
				return r.db.Update(t.Context(), func(tx *store.Tx) error {
					_, err := r.accounts.LinkTx(t.Context(), tx, r.fresh(), r.user, account.Federated{Provider: "example", Title: "Example ID", Issuer: "https://id.example", Subject: "thief"}, "")
					return err
				})
			},
			"recovery codes": func() error { _, err := r.accounts.RegenerateRecoveryCodes(t.Context(), r.fresh()); return err },
			"a deletion":     func() error { _, err := r.accounts.Delete(t.Context(), r.fresh(), ""); return err },
		} {
			if err := make(); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("%s: %v, want UNAUTHENTICATED", what, err)
			}
		}
	})
}

// TestAKeyThatIsMadeWhileTheOwnerSaysNotMeDoesNotSurvive lets both happen at once, some times over.
func TestAKeyThatIsMadeWhileTheOwnerSaysNotMeDoesNotSurvive(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		r := newRobbed(t, h)
		for range 4 {
			thief, _ := h.login(r.user)
			must(t, r.db.Update(t.Context(), func(tx *store.Tx) error {
				return r.accounts.TellTx(t.Context(), tx, r.user.ID, account.Notice{Kind: notify.NewDevice, Device: "Firefox on Linux", Network: "192.0.2.0/24"})
			}))
			link := token(r.mail(notify.NewDevice, adasEmail))
			var both sync.WaitGroup
			made := make([]string, 5)
			for i := range made {
				both.Go(func() {
					_, made[i], _ = r.sessions.CreateAPIKey(t.Context(), thief, session.KeyWish{Name: "key", Scopes: []viewer.Scope{viewer.RunJobs}})
				})
			}
			both.Go(func() {
				_, err := r.accounts.Disown(t.Context(), link, home)
				must(t, err)
			})
			both.Wait()
			for _, key := range made {
				if key == "" {
					continue
				}
				if who, _, err := r.sessions.Authenticate(t.Context(), key); err == nil && !who.Anonymous() {
					t.Error("a key that was made meanwhile opens the account")
				}
			}
		}
	})
}
