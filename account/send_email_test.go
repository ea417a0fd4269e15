package account_test

import (
	"slices"
	"strings"
	"testing"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

// mailer is who may send mails.
func mailer(id viewer.UserID) viewer.Viewer {
	return viewer.Viewer{User: id, Roles: []viewer.Role{viewer.Admin}}
}

func tea() notify.Mail {
	return notify.Mail{To: "grace@example.com", Subject: "Tea at four", Text: "Bring cake.", HTML: "<b>Bring cake.</b>"}
}

func TestAMailThatCouldBecomeAnotherOneIsRefusedByItsField(t *testing.T) {
	h := newHouse(t, sqlite(t))
	for _, row := range []struct {
		name   string
		change func(*notify.Mail)
		code   fault.Code
		field  string
	}{
		{"no address", func(m *notify.Mail) { m.To = " " }, fault.Required, "to"},
		{"a second header in the address", func(m *notify.Mail) { m.To = "grace@example.com\r\nBcc: eve@example.com" }, fault.Invalid, "to"},
		{"two addresses", func(m *notify.Mail) { m.To = "grace@example.com, eve@example.com" }, fault.Invalid, "to"},
		{"a name", func(m *notify.Mail) { m.To = "Grace <grace@example.com>" }, fault.Invalid, "to"},
		{"a second command", func(m *notify.Mail) { m.To = "grace@example.com>\r\nRCPT TO:<eve@example.com" }, fault.Invalid, "to"},
		{"an address literal", func(m *notify.Mail) { m.To = "grace@[127.0.0.1]" }, fault.Invalid, "to"},
		{"no subject", func(m *notify.Mail) { m.Subject = "\t" }, fault.Required, "subject"},
		{"a second header in the subject", func(m *notify.Mail) { m.Subject = "Tea\r\nBcc: eve@example.com" }, fault.Invalid, "subject"},
		{"a line end alone", func(m *notify.Mail) { m.Subject = "Tea\nBcc: eve@example.com" }, fault.Invalid, "subject"},
		{"a line end of Unicode", func(m *notify.Mail) { m.Subject = "Tea\u2028Bcc: eve@example.com" }, fault.Invalid, "subject"},
		{"a long subject", func(m *notify.Mail) { m.Subject = strings.Repeat("x", 256) }, fault.TooLong, "subject"},
		{"no text", func(m *notify.Mail) { m.Text = "\n" }, fault.Required, "text"},
		{"a text with a NUL", func(m *notify.Mail) { m.Text = "a\x00b" }, fault.Invalid, "text"},
		{"a long text", func(m *notify.Mail) { m.Text = strings.Repeat("x", 128<<10+1) }, fault.TooLong, "text"},
		{"long HTML", func(m *notify.Mail) { m.HTML = strings.Repeat("x", 256<<10+1) }, fault.TooLong, "html"},
		{"HTML with an escape", func(m *notify.Mail) { m.HTML = "\x1b[2J" }, fault.Invalid, "html"},
	} {
		m := tea()
		row.change(&m)
		_, err := h.accounts.RequestEmail(t.Context(), mailer("usr_1"), m, queue.JobOptions{})
		refuse(t, row.name, err, row.code, row.field)
	}
	large := tea()
	large.Text, large.HTML = strings.Repeat("<\n", 64<<10), strings.Repeat("\"<", 128<<10)
	if _, err := h.accounts.RequestEmail(t.Context(), mailer("usr_1"), large, queue.JobOptions{}); err != nil {
		t.Errorf("a mail as large as allowed: %v", err)
	}
}

func TestOnlyWhoHoldsTheScopeSendsMails(t *testing.T) {
	h := newHouse(t, sqlite(t))
	key := func(scopes ...viewer.Scope) viewer.Viewer {
		v := mailer("usr_1")
		v.Machine, v.Scopes = "key_1", scopes
		return v
	}
	for name, row := range map[string]struct {
		by   viewer.Viewer
		code fault.Code
	}{
		"nobody":                       {viewer.Viewer{}, fault.Unauthenticated},
		"a user":                       {viewer.Viewer{User: "usr_2"}, fault.Forbidden},
		"a developer":                  {viewer.Viewer{User: "usr_2", Roles: []viewer.Role{viewer.Developer}}, fault.Forbidden},
		"a key without it":             {key(viewer.RunJobs, viewer.ReadUsers), fault.Forbidden},
		"a key that cannot run jobs":   {key(viewer.SendMail), fault.Forbidden},
		"who acts as an administrator": {viewer.Viewer{User: "usr_1", Actor: "usr_3", Roles: []viewer.Role{viewer.Admin}, Scopes: viewer.Impersonating()}, fault.Forbidden},
	} {
		_, err := h.accounts.RequestEmail(t.Context(), row.by, tea(), queue.JobOptions{})
		refuse(t, name, err, row.code, "")
	}
	for name, by := range map[string]viewer.Viewer{"an administrator": mailer("usr_1"), "their key": key(viewer.RunJobs, viewer.SendMail)} {
		if _, err := h.accounts.RequestEmail(t.Context(), by, tea(), queue.JobOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMailsAreCountedForTheirSenderAndForTheirRecipient(t *testing.T) {
	h := newHouse(t, sqlite(t))
	send := func(by viewer.UserID, to string) error {
		m := tea()
		m.To = to
		_, err := h.accounts.RequestEmail(t.Context(), mailer(by), m, queue.JobOptions{})
		return err
	}
	for n := range 10 {
		must(t, send(viewer.UserID([]string{"usr_1", "usr_2"}[n%2]), "grace@example.com"))
	}
	refuse(t, "an eleventh to one address, whoever sends and however it is spelled", send("usr_3", "GRACE@example.com"), fault.RateLimited, "")
	for n := range 95 {
		must(t, send("usr_1", string(rune('a'+n%26))+string(rune('a'+n/26))+"@example.com"))
	}
	refuse(t, "a hundred and first of one sender", send("usr_1", "another@example.com"), fault.RateLimited, "")
	must(t, send("usr_2", "another@example.com"))
}

func TestAMailIsSealedAndAuditedAndMadeOnceForAKey(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		by := mailer(h.ada().ID)
		o := queue.JobOptions{IdempotencyKey: "tea"}
		first, err := h.accounts.RequestEmail(t.Context(), by, tea(), o)
		must(t, err)
		second, err := h.accounts.RequestEmail(t.Context(), by, tea(), o)
		must(t, err)
		if first.ID != second.ID || first.Kind != account.SendEmail || first.Owner != by.User {
			t.Errorf("jobs %+v and %+v", first, second)
		}
		for _, plain := range []string{"grace", "example.com", "Tea", "cake"} {
			if strings.Contains(string(first.Input), plain) {
				t.Errorf("the job holds %q in clear: %s", plain, first.Input)
			}
		}
		asked := slices.DeleteFunc(h.actions(by.User), func(a audit.Action) bool { return a != audit.MailAsked })
		if len(asked) != 1 {
			t.Errorf("%d mails are recorded, want 1", len(asked))
		}
	})
}

func TestWithoutAMailServerNoMailIsTaken(t *testing.T) {
	h := newHouse(t, sqlite(t))
	post, err := notify.New(notify.Options{})
	must(t, err)
	h.parts.Post = post
	h.open(account.Options{})
	_, err = h.accounts.RequestEmail(t.Context(), mailer("usr_1"), tea(), queue.JobOptions{})
	refuse(t, "no mail server", err, fault.WrongState, "")
}
