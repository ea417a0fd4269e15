package account_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/page"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// admin is a fresh administrator, signed in.
func (h *house) admin(email string) (account.User, viewer.Viewer) {
	h.Helper()
	user, err := h.accounts.CreateAdmin(h.Context(), email, adasPassword, "Grace", false)
	must(h, err)
	v, _ := h.login(user)
	return user, v
}

func TestAccountsAreListedPageByPageAndFoundByWhatIsKnownOfThem(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		grace, admin := h.admin("grace@example.com")
		var ids []viewer.UserID
		for i := range 5 {
			user, err := h.register(account.Registration{Email: fmt.Sprintf("user%d@example.com", i), Password: adasPassword})
			must(t, err)
			ids = append(ids, user.ID)
		}
		must(t, h.accounts.Disable(t.Context(), admin, ids[1]))
		must(t, h.accounts.SetRoles(t.Context(), admin, ids[2], []viewer.Role{viewer.Developer, viewer.Admin}))
		find := func(f account.Filter) (found []viewer.UserID) {
			t.Helper()
			got, err := h.accounts.List(t.Context(), admin, f, page.Window{Size: 100})
			must(t, err)
			for _, u := range got.Items {
				found = append(found, u.ID)
			}
			if got.Total != len(found) {
				t.Errorf("%+v: %d in all, listed %d", f, got.Total, len(found))
			}
			return found
		}
		for name, row := range map[string]struct {
			filter account.Filter
			want   []viewer.UserID
		}{
			"by address":             {account.Filter{Email: " USER3@example.com"}, ids[3:4]},
			"by a part of one":       {account.Filter{Email: "user"}, nil},
			"by id":                  {account.Filter{ID: ids[4]}, ids[4:]},
			"disabled":               {account.Filter{Status: account.Disabled}, ids[1:2]},
			"developers":             {account.Filter{Role: viewer.Developer}, ids[2:3]},
			"administrators":         {account.Filter{Role: viewer.Admin}, []viewer.UserID{ids[2], grace.ID}},
			"users":                  {account.Filter{Role: viewer.User, Status: account.Disabled}, ids[1:2]},
			"in a range":             {account.Filter{After: grace.CreatedAt, Before: grace.CreatedAt.Add(time.Microsecond)}, []viewer.UserID{grace.ID}},
			"by two that do not fit": {account.Filter{ID: ids[0], Status: account.Disabled}, nil},
		} {
			if got := find(row.filter); !slices.Equal(got, row.want) {
				t.Errorf("%s: %v, want %v", name, got, row.want)
			}
		}
		var walked []viewer.UserID
		for w := (page.Window{Size: 2}); ; {
			got, err := h.accounts.List(t.Context(), admin, account.Filter{}, w)
			must(t, err)
			for _, u := range got.Items {
				walked = append(walked, u.ID)
			}
			if !got.HasNext {
				break
			}
			after := account.CursorOf(got.Items[len(got.Items)-1])
			w.After = &after
		}
		if all := find(account.Filter{}); !slices.Equal(walked, all) || len(all) != 6 {
			t.Errorf("page by page %v, at once %v", walked, all)
		}
		_, err := h.accounts.List(t.Context(), viewer.Viewer{User: ids[0]}, account.Filter{}, page.Window{Size: 1})
		refuse(t, "the list for a user", err, fault.Forbidden, "")
		_, err = h.accounts.Seen(t.Context(), viewer.Viewer{User: ids[0]}, ids[1])
		refuse(t, "another account", err, fault.NotFound, "")
	})
}

func TestTwoAdministratorsWhoTakeTheRoleFromEachOtherAtOnceLeaveOne(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		first, one := h.admin("grace@example.com")
		second, two := h.admin("joan@example.com")
		results := make(chan error, 2)
		go func() { results <- h.accounts.SetRoles(t.Context(), one, second.ID, nil) }()
		go func() { results <- h.accounts.Disable(t.Context(), two, first.ID) }()
		a, b := <-results, <-results
		if (a == nil) == (b == nil) {
			t.Fatalf("got %v and %v, want one of them refused", a, b)
		}
		got, err := h.accounts.List(t.Context(), viewer.System(), account.Filter{Role: viewer.Admin, Status: account.Active}, page.Window{Size: 10})
		must(t, err)
		if got.Total != 1 {
			t.Errorf("%d administrators are left", got.Total)
		}
		refuse(t, "the last one by the server itself", h.accounts.SetRoles(t.Context(), viewer.System(), got.Items[0].ID, nil), fault.WrongState, "")
	})
}

func TestWhereAddressesMustBeConfirmedNobodyBecomesAnAdministratorBefore(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.mailing(account.Options{EmailVerification: account.Required})
		_, admin := h.admin("grace@example.com")
		ada, roles := h.ada(), []viewer.Role{viewer.Developer, viewer.Admin}
		refuse(t, "the role before", h.accounts.SetRoles(t.Context(), admin, ada.ID, roles), fault.EmailNotVerified, "roles")
		must(t, h.accounts.SetRoles(t.Context(), admin, ada.ID, roles[:1]))
		_, err := h.accounts.VerifyEmail(t.Context(), account.Shown{Token: token(h.mail(notify.VerifyEmail, adasEmail))}, home)
		must(t, err)
		must(t, h.accounts.SetRoles(t.Context(), admin, ada.ID, roles))

		h.open(account.Options{})
		eve, err := h.register(account.Registration{Email: "eve@example.com", Password: adasPassword})
		must(t, err)
		must(t, h.accounts.SetRoles(t.Context(), admin, eve.ID, roles))
		h.open(account.Options{EmailVerification: account.Required})
		must(t, h.accounts.SetRoles(t.Context(), admin, eve.ID, roles[1:])) // keeps what she had before it was asked for
	})
}

func TestWhoIsImpersonatedIsToldAndBothAuditsKnow(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		ada := h.ada()
		grace, admin := h.admin("grace@example.com")
		h.box.Run(t)
		tokens, err := h.accounts.Impersonate(t.Context(), admin, ada.ID, "  a call for help ", true, session.Origin{})
		must(t, err)
		message := h.box.Take(t, notify.Impersonated, adasEmail)
		if !strings.Contains(message.Text, "Grace") {
			t.Errorf("the message does not say who: %s", message.Text)
		}
		_, err = h.accounts.UpdateProfile(t.Context(), admin, account.Profile{Name: new(string)})
		must(t, err)
		_, err = h.accounts.Impersonate(t.Context(), admin, ada.ID, "a second call", true, session.Origin{})
		must(t, err)
		if message := h.box.Take(t, notify.Impersonated, adasEmail); !strings.Contains(message.Text, "An administrator of") || strings.Contains(message.Text, "grace@") {
			t.Errorf("of an administrator without a name the message says: %s", message.Text)
		}
		for user, action := range map[viewer.UserID]audit.Action{ada.ID: audit.UserImpersonated, grace.ID: audit.ImpersonationBegun} {
			if !slices.Contains(h.actions(user), action) {
				t.Errorf("the audit of %s lacks %s", user, action)
			}
		}
		v, _, err := h.sessions.Authenticate(t.Context(), tokens.Access)
		must(t, err)
		refuse(t, "a password", h.accounts.ChangePassword(t.Context(), v, adasPassword, "Difference engine no. 2"), fault.Forbidden, "")
		for name, row := range map[string]struct {
			by     viewer.Viewer
			id     viewer.UserID
			reason string
			code   fault.Code
			field  string
		}{
			"by a user":        {viewer.Viewer{User: ada.ID}, grace.ID, "x", fault.Forbidden, ""},
			"in a chain":       {v, grace.ID, "x", fault.Forbidden, ""},
			"without reason":   {admin, ada.ID, " ", fault.Required, "reason"},
			"a long story":     {admin, ada.ID, strings.Repeat("x", 501), fault.TooLong, "reason"},
			"oneself":          {admin, grace.ID, "x", fault.WrongState, "userId"},
			"nobody":           {admin, "usr_none", "x", fault.NotFound, ""},
			"by nobody":        {viewer.Viewer{}, ada.ID, "x", fault.Unauthenticated, ""},
			"by a service":     {viewer.Viewer{User: "svc_1", Machine: "svc_1", Roles: []viewer.Role{viewer.Admin}}, ada.ID, "x", fault.Forbidden, ""},
			"an administrator": {admin, func() viewer.UserID { u, _ := h.admin("joan@example.com"); return u.ID }(), "x", fault.WrongState, "userId"},
		} {
			_, err := h.accounts.Impersonate(t.Context(), row.by, row.id, row.reason, true, session.Origin{})
			refuse(t, name, err, row.code, row.field)
		}
		must(t, h.accounts.SetRoles(t.Context(), viewer.System(), grace.ID, nil))
		if _, _, err := h.sessions.Authenticate(t.Context(), tokens.Access); err == nil {
			t.Error("the impersonation outlives the role")
		}
	})
}
