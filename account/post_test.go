package account_test

import (
	"errors"
	"strings"
	"testing"

	"gatehouse/account"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
)

func TestAMessageIsSentIfAndOnlyIfItsCauseIsCommitted(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		letter := func(link string) notify.Message {
			return notify.Message{Kind: notify.PasswordReset, To: "ada@example.com", Link: link, Minutes: 60}
		}
		withdrawn := errors.New("withdrawn")
		err := h.db.Update(t.Context(), func(tx *store.Tx) error {
			must(t, h.accounts.PostTx(t.Context(), tx, letter("https://gatehouse.example/never")))
			return withdrawn
		})
		if !errors.Is(err, withdrawn) {
			t.Fatal(err)
		}
		must(t, h.db.Update(t.Context(), func(tx *store.Tx) error {
			return h.accounts.PostTx(t.Context(), tx, letter("https://gatehouse.example/soon"))
		}))
		h.box.Run(t)
		if got := h.box.Take(t, notify.PasswordReset, "ada@example.com"); got.Link != "https://gatehouse.example/soon" {
			t.Errorf("got the message with the link %s", got.Link)
		}
		if rest := h.box.Arrived(); len(rest) > 0 {
			t.Errorf("more came: %v", rest)
		}
	})
}

func TestALetterInTheDatabaseShowsNothing(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		m := notify.Message{Kind: notify.LoginCode, To: "ada@example.com", Link: "https://gatehouse.example/in#secret", Code: "314159", Minutes: 10}
		must(t, h.db.Update(t.Context(), func(tx *store.Tx) error { return h.accounts.PostTx(t.Context(), tx, m) }))
		inputs, err := store.All(t.Context(), h.db, store.SQL(`SELECT input FROM jobs`), store.Value[string])
		must(t, err)
		if len(inputs) != 1 {
			t.Fatalf("got %d jobs, want 1", len(inputs))
		}
		for _, word := range []string{"ada", "secret", "314159"} {
			if strings.Contains(inputs[0], word) {
				t.Errorf("the job's row shows %q: %s", word, inputs[0])
			}
		}
	})
}

func TestWithoutASenderNothingIsPosted(t *testing.T) {
	h := newHouse(t, sqlite(t))
	var err error
	h.parts.Post, err = notify.New(notify.Options{})
	must(t, err)
	accounts, err := account.New(h.parts, account.Options{})
	must(t, err)
	defer accounts.Close()
	m := notify.Message{Kind: notify.PasswordReset, To: "ada@example.com", Link: "https://gatehouse.example/soon", Minutes: 60}
	must(t, h.db.Update(t.Context(), func(tx *store.Tx) error { return accounts.PostTx(t.Context(), tx, m) }))
	jobs, err := store.All(t.Context(), h.db, store.SQL(`SELECT id FROM jobs`), store.Value[string])
	must(t, err)
	if len(jobs) > 0 || accounts.Reaches(notify.ByMail) {
		t.Errorf("%d jobs wait for a sender that is not there", len(jobs))
	}
}
