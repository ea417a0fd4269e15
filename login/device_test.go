package login_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/login"
	"gatehouse/session"
)

const (
	firefox = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:137.0) Gecko/20100101 Firefox/137.0"
	chrome  = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0.0.0 Safari/537.36"
)

// enter signs in as a browser does.
func (h *house) enter(email, agent string) {
	h.Helper()
	_, err := h.logins.ByPassword(h.Context(), login.Attempt{Email: email, Password: secretWord, Client: login.Client{
		Origin: session.Origin{Agent: agent, IP: netip.MustParseAddr("192.0.2.7")},
	}})
	must(h, err)
}

func TestANewDeviceIsToldByMailAndTheFirstOfAllIsNot(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.box.Run(t)
		first, err := h.register("ada@example.com")
		must(t, err)
		h.enter("ada@example.com", "") // the program that registered
		h.enter("ada@example.com", firefox)
		mail := h.box.Take(t, notify.NewDevice, "ada@example.com")
		if !strings.Contains(mail.Text, "Firefox on Windows") || !strings.Contains(mail.Text, "192.0.2.0/24") || mail.Link != "" {
			t.Errorf("the mail is %q with link %q", mail.Text, mail.Link)
		}
		h.enter("ada@example.com", firefox)
		h.enter("ada@example.com", chrome)
		if mail := h.box.Take(t, notify.NewDevice, "ada@example.com"); !strings.Contains(mail.Text, "Chrome on macOS") {
			t.Errorf("the second mail is %q", mail.Text)
		}
		entries, err := h.audit.ByUser(t.Context(), viewer.System(), first.User.ID, 10)
		must(t, err)
		var got []audit.Action
		for _, e := range slices.Backward(entries) {
			got = append(got, e.Action)
		}
		want := []audit.Action{
			audit.AccountRegistered, audit.LoginSucceeded, audit.LoginSucceeded, audit.DeviceNew, audit.LoginSucceeded,
			audit.LoginSucceeded, audit.DeviceNew, audit.LoginSucceeded,
		}
		if !slices.Equal(got, want) {
			t.Errorf("recorded %v, want %v", got, want)
		}
		if left := h.box.Arrived(); len(left) > 0 {
			t.Errorf("more mails: %v", left)
		}
	})
}

func TestNobodyFillsAMailboxBySigningIn(t *testing.T) {
	h := newHouse(t, sqlite(t), account.Options{})
	_, err := h.register("ada@example.com")
	must(t, err)
	const signIns = 15
	for i := range signIns {
		h.enter("ada@example.com", fmt.Sprintf("program%c/1", 'a'+i))
	}
	posted, err := store.One(t.Context(), h.db, store.SQL(`SELECT count(*) FROM jobs WHERE kind = 'deliverMessage'`), store.Value[int])
	must(t, err)
	if posted != 9 { // the tenth device of a day, the one that registered being the first, is told the last
		t.Errorf("%d mails are on their way, want 9", posted)
	}
}

func TestANoticeCarriesTheLinkThatWasMadeInItsTransaction(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.box.Run(t)
		in, err := h.register("ada@example.com")
		must(t, err)
		asked := map[viewer.UserID]int{}
		accounts := h.withNotMe(func(_ context.Context, _ *store.Tx, user viewer.UserID) (string, error) {
			asked[user]++
			return "https://gatehouse.example/not-me#t", nil
		})
		must(t, h.db.Update(t.Context(), func(tx *store.Tx) error {
			return accounts.TellTx(t.Context(), tx, in.User.ID, account.Notice{Kind: notify.SessionSuspended, Device: "curl", Network: "192.0.2.0/24"})
		}))
		mail := h.box.Take(t, notify.SessionSuspended, "ada@example.com")
		if mail.Link != "https://gatehouse.example/not-me#t" || asked[in.User.ID] != 1 {
			t.Errorf("the link is %q, asked for %v", mail.Link, asked)
		}
		must(t, h.db.Update(t.Context(), func(tx *store.Tx) error {
			return accounts.TellTx(t.Context(), tx, "usr_gone", account.Notice{Kind: notify.TokenReused})
		}))
	})
}

// withNotMe returns the accounts of h with links in their notices.
func (h *house) withNotMe(notMe account.NotMe) *account.Accounts {
	h.Helper()
	parts := h.parts
	parts.NotMe = notMe
	accounts, err := account.New(parts, account.Options{})
	must(h, err)
	h.Cleanup(accounts.Close)
	return accounts
}
