package account_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

func (h *house) deleted() int {
	h.Helper()
	n, err := h.accounts.DeleteDue(h.Context())
	must(h, err)
	return n
}

func TestAnAccountIsDeletedAfterItsGraceWithAllThatBelongsToIt(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		c := h.mailing(account.Options{})
		ada, by, lives := h.settledAda()
		job, err := h.accounts.RequestExport(t.Context(), by)
		must(t, err)
		h.mail(notify.DataExportReady, adasEmail)
		h.settled()
		user, err := h.accounts.Delete(t.Context(), by, "")
		if err != nil || user.DeletesAt.Sub(c.now()).Round(time.Hour) != 14*24*time.Hour {
			t.Fatalf("got %v, %v; want deletion in 14 days", user.DeletesAt, err)
		}
		if lives() {
			t.Error("the session lives on")
		}
		h.mail(notify.AccountDeletionScheduled, adasEmail)
		c.advance(14*24*time.Hour - time.Minute)
		if n := h.deleted(); n != 0 {
			t.Errorf("%d were deleted within the grace", n)
		}
		if _, err := h.accounts.ByPassword(t.Context(), adasEmail, adasPassword); err != nil {
			t.Errorf("signing in within the grace: %v", err)
		}
		c.advance(2 * time.Minute)
		if n := h.deleted() + h.deleted(); n != 1 {
			t.Errorf("%d were deleted, want 1", n)
		}
		_, err = h.accounts.ByPassword(t.Context(), adasEmail, adasPassword)
		refuse(t, "signing in", err, fault.InvalidCredentials, "")
		_, err = h.box.Queue.Get(t.Context(), viewer.System(), job.ID)
		refuse(t, "its job", err, fault.NotFound, "")
		for _, table := range []string{"users", "sessions", "refresh_tokens", "proofs", "job_files"} {
			left, err := store.One(t.Context(), h.db, store.SQL(`SELECT count(*) FROM `+table), store.Value[int64])
			if err != nil || left != 0 {
				t.Errorf("%d rows are left in %s: %v", left, table, err)
			}
		}
		events, err := store.All(t.Context(), h.db, store.SQL(`SELECT action || ' ' || actor || ' ' || coalesce(subject, '') || coalesce(session_id, '')
			|| coalesce(network, '') || details FROM audit_events`), store.Value[string])
		must(t, err)
		for _, e := range events {
			if strings.Contains(e, string(ada.ID)) || strings.Contains(e, string(by.Session)) || strings.Contains(e, h.accounts.Identifier(adasEmail)) {
				t.Errorf("the audit remembers who it was: %s", e)
			}
		}
		if !slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, string(audit.AccountDeleted)) }) || len(events) < 5 {
			t.Errorf("the audit has lost what happened: %v", events)
		}
	})
}

func TestADeletionIsTakenBackByMailOrBySigningIn(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		c := h.mailing(account.Options{})
		ada, by, _ := h.settledAda()
		_, err := h.accounts.Delete(t.Context(), by, "")
		must(t, err)
		keep := token(h.mail(notify.AccountDeletionScheduled, adasEmail))
		user, err := h.accounts.KeepAccount(t.Context(), viewer.Viewer{}, keep, stranger)
		if err != nil || !user.DeletesAt.IsZero() {
			t.Fatalf("by mail: %+v, %v", user, err)
		}
		h.mail(notify.AccountDeletionCancelled, adasEmail)

		by, _ = h.login(ada)
		_, err = h.accounts.Delete(t.Context(), by, "")
		must(t, err)
		_, err = h.accounts.KeepAccount(t.Context(), viewer.Viewer{}, "", home)
		refuse(t, "nobody", err, fault.Unauthenticated, "")
		by, _ = h.login(ada)
		if user, err = h.accounts.KeepAccount(t.Context(), by, "", home); err != nil || !user.DeletesAt.IsZero() {
			t.Fatalf("by signing in: %+v, %v", user, err)
		}
		_, err = h.accounts.KeepAccount(t.Context(), by, "", home)
		refuse(t, "once more", err, fault.WrongState, "")
		c.advance(15 * 24 * time.Hour)
		if n := h.deleted(); n != 0 {
			t.Errorf("%d were deleted", n)
		}
	})
}

func TestADeletionThatWasCutOffGoesOn(t *testing.T) {
	h := newHouse(t, sqlite(t))
	c := h.mailing(account.Options{})
	_, by, _ := h.settledAda()
	_, err := h.accounts.Delete(t.Context(), by, "")
	must(t, err)
	c.advance(15 * 24 * time.Hour)
	blocker, err := queue.Kind[account.ExportArgs, any]{Name: account.ExportData}.Request(by.User, account.ExportArgs{}, queue.JobOptions{RunAt: c.now().Add(time.Hour)})
	must(t, err)
	_, err = h.box.Queue.Enqueue(t.Context(), blocker)
	must(t, err)
	cut, stop := context.WithCancel(t.Context())
	stop()
	if _, err := h.accounts.DeleteDue(cut); err == nil {
		t.Error("a call that was cut off says that all is well")
	}
	if n := h.deleted(); n != 1 {
		t.Errorf("%d were deleted, want 1", n)
	}
}

func TestAnAdministratorHandsTheRoleOverFirst(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.mailing(account.Options{})
	admin, err := h.accounts.CreateAdmin(t.Context(), "root@example.com", adasPassword, "", false)
	must(t, err)
	by, lives := h.login(admin)
	_, err = h.accounts.Delete(t.Context(), by, "")
	refuse(t, "an administrator", err, fault.WrongState, "")
	if !lives() {
		t.Error("the session has ended")
	}
}

func TestAProfileChangesWhatIsGiven(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		ada := h.ada()
		by, _ := h.login(ada)
		text := func(s string) *string { return &s }
		for _, step := range []struct {
			change       account.Profile
			name, locale string
		}{
			{account.Profile{Name: text(" Countess ")}, "Countess", "en-GB"},
			{account.Profile{Locale: text("de")}, "Countess", "de"},
			{account.Profile{}, "Countess", "de"},
			{account.Profile{Name: text("")}, "", "de"},
		} {
			_, err := h.accounts.UpdateProfile(t.Context(), by, step.change)
			must(t, err)
			got, err := h.accounts.Get(t.Context(), ada.ID)
			if err != nil || got.Name != step.name || got.Locale != step.locale || got.Email != adasEmail {
				t.Errorf("got %+v, %v; want %q and %q", got, err, step.name, step.locale)
			}
		}
		_, err := h.accounts.UpdateProfile(t.Context(), by, account.Profile{Name: text("a\x00b")})
		refuse(t, "a control character", err, fault.Invalid, "name")
		_, err = h.accounts.UpdateProfile(t.Context(), by, account.Profile{Locale: text("not a tag")})
		refuse(t, "no locale", err, fault.Invalid, "locale")
		_, err = h.accounts.UpdateProfile(t.Context(), viewer.Viewer{}, account.Profile{})
		refuse(t, "nobody", err, fault.Unauthenticated, "")
	})
}

func TestALinkLeadsToTheConfiguredPageOnly(t *testing.T) {
	for address, good := range map[string]bool{
		"https://app.example.com/links/{purpose}#{token}":      true,
		"http://localhost:3000/?do={purpose}&token={token}":    true,
		"https://app.example.com/reset?t={token}":              true,
		"https://app.example.com/links":                        false,
		"https://{token}.example.com/{purpose}":                false,
		"https://app.example.com/{token}/{token}":              false,
		"javascript:alert('{token}')":                          false,
		"//app.example.com/{token}":                            false,
		"https://ada:secret@app.example.com/{purpose}/{token}": false,
		"/links/{purpose}?token={token}":                       false,
	} {
		if err := account.CheckLinkURL(address); (err == nil) != good {
			t.Errorf("%s: %v", address, err)
		}
	}
	h := newHouse(t, sqlite(t))
	h.mailing(account.Options{LinkURL: "https://app.example.com/l/{purpose}#{token}"})
	h.ada()
	if got := h.mail(notify.VerifyEmail, adasEmail).Link; !strings.HasPrefix(got, "https://app.example.com/l/verify-email#gh_verify-email_") {
		t.Errorf("the link is %s", got)
	}
}

func TestNothingLeadsBackFromADeletionThatHasBegun(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.mailing(account.Options{})
	ada, by, _ := h.settledAda()
	_, err := h.accounts.Delete(t.Context(), by, "")
	must(t, err)
	keep := token(h.mail(notify.AccountDeletionScheduled, adasEmail))
	must(t, h.db.Update(t.Context(), func(tx *store.Tx) error { // as one that waits for a running job
		_, err := tx.Exec(t.Context(), store.SQL(`UPDATE users SET status = 'DELETING' WHERE id = ?`), ada.ID)
		return err
	}))
	_, err = h.accounts.KeepAccount(t.Context(), viewer.Viewer{}, keep, home)
	refuse(t, "the link", err, fault.WrongState, "")
	_, err = h.accounts.ByPassword(t.Context(), adasEmail, adasPassword)
	refuse(t, "signing in", err, fault.AccountDisabled, "")
	must(t, h.accounts.RequestPasswordReset(t.Context(), adasEmail, home))
	h.settled()
	if got := h.box.Arrived(); len(got) > 0 {
		t.Errorf("%v arrived", got)
	}
}

func TestTheGraceOfADeletionNeverEndsTheLastAdministrator(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		c := h.mailing(account.Options{})
		root, rootBy := h.admin("root@example.com")
		ada, by, _ := h.settledAda()
		_, err := h.accounts.Delete(t.Context(), by, "")
		must(t, err)
		admins := []viewer.Role{viewer.Admin}
		refuse(t, "the role for who is going to be deleted", h.accounts.SetRoles(t.Context(), rootBy, ada.ID, admins), fault.WrongState, "")
		must(t, h.accounts.SetRoles(t.Context(), rootBy, ada.ID, []viewer.Role{viewer.Developer}))

		must(t, h.db.Update(t.Context(), func(tx *store.Tx) error { // as it once came about
			_, err := tx.Exec(t.Context(), store.SQL(`UPDATE users SET roles = 'ADMIN' WHERE id = ?`), ada.ID)
			return err
		}))
		system := viewer.System()
		refuse(t, "taking the role from the one who stays", h.accounts.SetRoles(t.Context(), system, root.ID, nil), fault.WrongState, "")
		refuse(t, "disabling the one who stays", h.accounts.Disable(t.Context(), system, root.ID), fault.WrongState, "")
		c.advance(15 * 24 * time.Hour)
		if n := h.deleted(); n != 0 {
			t.Error("an administrator was deleted")
		}
	})
}

func TestWhoBecameAnAdministratorAMomentAgoIsNotDeletedByAnOlderRequest(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{})
		ada, by, _ := h.settledAda()
		must(t, h.accounts.SetRoles(t.Context(), viewer.System(), ada.ID, []viewer.Role{viewer.Admin}))
		_, err := h.accounts.Delete(t.Context(), by, "")
		refuse(t, "the deletion", err, fault.WrongState, "")
	})
}

func TestTheJobsOfAPersonsServiceAccountsGoWithThem(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		c := h.mailing(account.Options{})
		_, by, _ := h.settledAda()
		here, _, err := h.sessions.CreateServiceAccount(t.Context(), by, "ci", []viewer.Scope{viewer.RunJobs})
		must(t, err)
		gone, _, err := h.sessions.CreateServiceAccount(t.Context(), by, "old", []viewer.Scope{viewer.RunJobs})
		must(t, err)
		must(t, h.sessions.DeleteServiceAccount(t.Context(), by, gone.ID))
		for _, owner := range []viewer.MachineID{here.ID, gone.ID} {
			waiting, err := queue.Kind[account.ExportArgs, any]{Name: account.ExportData}.
				Request(viewer.UserID(owner), account.ExportArgs{}, queue.JobOptions{RunAt: c.now().Add(300 * 24 * time.Hour)})
			must(t, err)
			_, err = h.box.Queue.Enqueue(t.Context(), waiting)
			must(t, err)
		}
		_, err = h.accounts.Delete(t.Context(), by, "")
		must(t, err)
		c.advance(15 * 24 * time.Hour)
		if n := h.deleted(); n != 1 {
			t.Errorf("%d were deleted, want 1", n)
		}
		left, err := store.One(t.Context(), h.db, store.SQL(`SELECT count(*) FROM jobs WHERE owner_id LIKE 'svc_%'`), store.Value[int64])
		if err != nil || left != 0 {
			t.Errorf("%d jobs of service accounts are left, %v", left, err)
		}
	})
}
