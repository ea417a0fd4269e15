package login_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/fault"
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
		h.box.Take(t, notify.VerifyEmail, "ada@example.com")
		h.enter("ada@example.com", "") // the program that registered
		h.enter("ada@example.com", firefox)
		mail := h.box.Take(t, notify.NewDevice, "ada@example.com")
		if !strings.Contains(mail.Text, "Firefox on Windows") || !strings.Contains(mail.Text, "192.0.2.0/24") || token(mail) == "" {
			t.Errorf("the mail is %q with link %q", mail.Text, mail.Link)
		}
		h.enter("ada@example.com", firefox)
		h.enter("ada@example.com", chrome)
		if mail := h.box.Take(t, notify.NewDevice, "ada@example.com"); !strings.Contains(mail.Text, "Chrome on macOS") {
			t.Errorf("the second mail is %q", mail.Text)
		}
		entries, err := h.audit.ByUser(t.Context(), viewer.System(), first.User.ID, 20)
		must(t, err)
		var got []audit.Action
		for _, e := range slices.Backward(entries) {
			if e.Action != audit.ProofSent { // by a job, at any moment
				got = append(got, e.Action)
			}
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

func TestTheLinkOfANoticeShutsTheAccount(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.box.Run(t)
		in, err := h.register("ada@example.com")
		must(t, err)
		must(t, h.db.Update(t.Context(), func(tx *store.Tx) error {
			return h.accounts.TellTx(t.Context(), tx, in.User.ID, account.Notice{Kind: notify.SessionSuspended, Device: "curl", Network: "192.0.2.0/24"})
		}))
		mail := h.box.Take(t, notify.SessionSuspended, "ada@example.com")
		if _, err := h.accounts.Disown(t.Context(), token(mail), session.Origin{IP: loopback}); err != nil {
			t.Fatalf("the link %s: %v", mail.Link, err)
		}
		if _, err := h.sessions.Refresh(t.Context(), in.Tokens.Refresh, session.Origin{}); !fault.Is(err, fault.SessionRevoked) {
			t.Errorf("the session lives: %v", err)
		}
		must(t, h.db.Update(t.Context(), func(tx *store.Tx) error {
			return h.accounts.TellTx(t.Context(), tx, "usr_gone", account.Notice{Kind: notify.TokenReused})
		}))
	})
}
