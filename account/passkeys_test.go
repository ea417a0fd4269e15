package account_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"gatehouse/account"
	"gatehouse/account/passkey"
	"gatehouse/internal/fault"
	"gatehouse/internal/secret"
)

// withPasskeys gives the house accounts with passkeys.
func (h *house) withPasskeys() {
	h.Helper()
	site, err := passkey.New(passkey.Options{ID: "example.com", Origins: []string{"https://example.com"}, Name: "Gatehouse"})
	must(h, err)
	h.open(account.Options{MFA: account.MFA{Methods: []account.Method{account.Passkey}, Passkey: site}})
}

// lengths are those of the ids in the credentials that a sign-in to an address asks for.
func (h *house) lengths(email string) (lengths []int, ids []string) {
	h.Helper()
	begun, err := h.accounts.StartPasskeyLogin(h.Context(), email)
	must(h, err)
	var o struct {
		AllowCredentials []struct{ ID string }
	}
	must(h, json.Unmarshal(begun.Options, &o))
	for _, c := range o.AllowCredentials {
		id, err := base64.RawURLEncoding.DecodeString(c.ID)
		must(h, err)
		lengths, ids = append(lengths, len(id)), append(ids, c.ID)
	}
	return lengths, ids
}

func TestAnAddressWithoutPasskeysSeemsToHaveSomeOfAnyCommonForm(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.withPasskeys()
	counts, forms := map[int]int{}, map[int]int{}
	for i := range 200 {
		email := fmt.Sprintf("nobody%d@example.com", i)
		lengths, ids := h.lengths(email)
		_, again := h.lengths(fmt.Sprintf("Nobody%d@EXAMPLE.com", i))
		if !slices.Equal(ids, again) {
			t.Fatalf("%s has other passkeys the second time: %v and %v", email, ids, again)
		}
		if len(slices.Compact(slices.Sorted(slices.Values(ids)))) != len(ids) {
			t.Errorf("%s has one passkey twice: %v", email, ids)
		}
		counts[len(lengths)]++
		for _, n := range lengths {
			forms[n]++
		}
	}
	if counts[1] == 0 || counts[2] == 0 || counts[3] == 0 || len(counts) != 3 {
		t.Errorf("so many have so many passkeys: %v, want one, two and three", counts)
	}
	for _, n := range []int{16, 20, 32, 48, 64} {
		if forms[n] == 0 {
			t.Errorf("no id has %d bytes: %v", n, forms)
		}
	}
}

func TestAPasskeyRequestWhoseKeyWasDroppedIsOver(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.withPasskeys()
	begun, err := h.accounts.StartPasskeyLogin(t.Context(), "")
	must(t, err)
	h.parts.Ring, err = secret.NewKeyring(secret.NewKey())
	must(t, err)
	h.withPasskeys()
	_, err = h.accounts.FinishPasskeyLogin(t.Context(), begun.ID, []byte(`{}`))
	wants(t, "a request sealed with a key that is no longer held", err, fault.TokenInvalid)
}
