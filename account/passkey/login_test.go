package passkey_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"
	"pgregory.net/rapid"

	"gatehouse/account/passkey"
)

func TestAPasskeySignsInAsOneOfTheAccountsOrDiscovered(t *testing.T) {
	for _, keyType := range []virtualwebauthn.KeyType{virtualwebauthn.KeyTypeEC2, virtualwebauthn.KeyTypeRSA} {
		h := registered(t, keyType)
		for name, begin := range map[string]func(passkey.Verification) ([]byte, passkey.State){"named": h.get, "discovered": h.discover} {
			for _, v := range []passkey.Verification{passkey.Preferred, passkey.Required} {
				h.key.Counter = h.stored.SignCount + 3
				response, state := begin(v)
				entry, err := h.login(state, response)
				if err != nil || !entry.UserVerified || entry.Credential.SignCount != h.key.Counter {
					t.Fatalf("%s, %s, %s: %+v, %v", keyType, name, v, entry, err)
				}
				h.stored = stored(t, entry.Credential)
			}
		}
	}
}

func TestTheOptionsOfALoginNameTheAccountsPasskeysOrNone(t *testing.T) {
	h := registered(t, virtualwebauthn.KeyTypeEC2)
	options, state, err := h.rp.BeginLogin([]passkey.Credential{h.stored}, passkey.Required, noon)
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, options, fmt.Sprintf(`{
		"challenge": %q, "timeout": 300000, "rpId": "example.com", "userVerification": "required",
		"allowCredentials": [{"type": "public-key", "id": %q, "transports": ["internal"]}]
	}`, base64url(state.Challenge), base64url(h.stored.ID)))
	options, state, err = h.rp.BeginDiscoverableLogin(passkey.Preferred, noon)
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, options, fmt.Sprintf(`{
		"challenge": %q, "timeout": 300000, "rpId": "example.com", "userVerification": "preferred"
	}`, base64url(state.Challenge)))
	_, _, err = h.rp.BeginLogin(nil, passkey.Preferred, noon)
	wantError(t, "no passkeys", err, passkey.ErrUnknownCredential)
}

func TestALoginTellsWhetherItVerifiedTheUser(t *testing.T) {
	h := registered(t, virtualwebauthn.KeyTypeEC2)
	h.device.Options.UserNotVerified = true
	response, state := h.get(passkey.Preferred)
	entry, err := h.login(state, response)
	if err != nil || entry.UserVerified || !entry.Credential.UserVerified {
		t.Errorf("preferred: %+v, %v", entry, err)
	}
	response, state = h.get(passkey.Required)
	_, err = h.login(state, response)
	wantError(t, "required", err, passkey.ErrUnverified)
	h.device.Options.UserNotPresent = true
	response, state = h.get(passkey.Preferred)
	_, err = h.login(state, response)
	wantError(t, "nobody there", err, passkey.ErrMalformed)
}

func TestALoginIsRefusedWhenItIsNotTheOneThatBegan(t *testing.T) {
	h := registered(t, virtualwebauthn.KeyTypeEC2)
	response, state := h.get(passkey.Preferred)
	_, other := h.get(passkey.Preferred)
	_, registration := h.create(passkey.Preferred)
	for name, row := range map[string]struct {
		state passkey.State
		now   time.Time
		want  error
	}{
		"in time":                     {state, noon.Add(passkey.Lifetime - 1), nil},
		"late":                        {state, noon.Add(passkey.Lifetime), passkey.ErrExpired},
		"replayed to a later one":     {other, noon, passkey.ErrChallenge},
		"the state of a registration": {registration, noon, passkey.ErrChallenge},
		"no state":                    {passkey.State{}, noon, passkey.ErrChallenge},
	} {
		_, err := h.rp.FinishLogin(row.state, response, h.lookup, row.now)
		wantError(t, name, err, row.want)
	}
	for name, site := range map[string]virtualwebauthn.RelyingParty{
		"another site":          {ID: "example.com", Origin: "https://evil.example"},
		"plain HTTP":            {ID: "example.com", Origin: "http://example.com"},
		"a site below":          {ID: "example.com", Origin: "https://pages.example.com"},
		"another relying party": {ID: "evil.example", Origin: "https://example.com"},
	} {
		h.site = site
		response, state := h.get(passkey.Preferred)
		_, err := h.login(state, response)
		wantError(t, name, err, passkey.ErrOrigin)
	}
}

func TestATamperedLoginIsRefused(t *testing.T) {
	h := registered(t, virtualwebauthn.KeyTypeEC2)
	response, state := h.get(passkey.Preferred)
	flip := func(member string, at int) []byte {
		return edited(t, response, member, func(data []byte) []byte {
			data[(at+len(data))%len(data)] ^= 1
			return data
		})
	}
	for name, row := range map[string]struct {
		response []byte
		want     error
	}{
		"untouched":     {response, nil},
		"the signature": {flip("signature", -1), passkey.ErrSignature},
		"no signature":  {edited(t, response, "signature", func([]byte) []byte { return nil }), passkey.ErrSignature},
		"the site":      {flip("authenticatorData", 0), passkey.ErrOrigin},
		"the counter":   {flip("authenticatorData", -1), passkey.ErrSignature},
		"a space in the client data": {edited(t, response, "clientDataJSON", func(data []byte) []byte {
			return bytes.Replace(data, []byte(","), []byte(", "), 1)
		}), passkey.ErrSignature},
		"the user handle": {flip("userHandle", 0), passkey.ErrUnknownCredential},
		"cut short":       {edited(t, response, "authenticatorData", func(data []byte) []byte { return data[:36] }), passkey.ErrMalformed},
		"more after it":   {edited(t, response, "authenticatorData", func(data []byte) []byte { return append(data, 0) }), passkey.ErrMalformed},
		"no object":       {[]byte("[]"), passkey.ErrMalformed},
		"empty":           {nil, passkey.ErrMalformed},
		"too long":        {append(bytes.Clone(response), bytes.Repeat([]byte(" "), passkey.MaxResponseBytes)...), passkey.ErrMalformed},
	} {
		_, err := h.login(state, row.response)
		wantError(t, name, err, row.want)
	}
}

func TestAPasskeyOfSomebodyElseIsNotKnown(t *testing.T) {
	h, eve := registered(t, virtualwebauthn.KeyTypeEC2), registered(t, virtualwebauthn.KeyTypeEC2)
	adas := h.stored

	_, state := h.get(passkey.Preferred)
	eves := eve.answer(state)
	_, err := eve.login(state, eves)
	wantError(t, "a passkey that was not asked for", err, passkey.ErrUnknownCredential)

	response, state := h.discover(passkey.Preferred)
	_, err = eve.login(state, response)
	wantError(t, "a passkey that is not in the store", err, passkey.ErrUnknownCredential)

	careless := func(_, _ []byte) (passkey.Credential, error) { return eve.stored, nil }
	_, err = h.rp.FinishLogin(state, response, careless, noon)
	wantError(t, "a store that gives another passkey", err, passkey.ErrUnknownCredential)

	h.stored.PublicKey = eve.stored.PublicKey
	_, err = h.login(state, response)
	wantError(t, "a key of somebody else", err, passkey.ErrSignature)

	h.stored = adas
	h.stored.UserHandle = []byte("another owner")
	careless = func(_, _ []byte) (passkey.Credential, error) { return h.stored, nil }
	_, err = h.rp.FinishLogin(state, response, careless, noon)
	wantError(t, "a passkey of another owner", err, passkey.ErrUnknownCredential)

	h.stored, h.device.Options.UserHandle = adas, nil
	response, state = h.discover(passkey.Preferred)
	_, err = h.login(state, response)
	wantError(t, "discovered without a handle", err, passkey.ErrMalformed)
	response, state = h.get(passkey.Preferred)
	_, err = h.login(state, response)
	wantError(t, "named without a handle", err, nil)

	broken := errors.New("store is down")
	_, err = h.rp.FinishLogin(state, response, func(_, _ []byte) (passkey.Credential, error) { return passkey.Credential{}, broken }, noon)
	wantError(t, "a store that is down", err, broken)
}

// answer has the device sign the challenge of state, whoever it was meant for.
func (h *house) answer(state passkey.State) []byte {
	return []byte(virtualwebauthn.CreateAssertionResponse(h.site, h.device, h.key,
		virtualwebauthn.AssertionOptions{Challenge: state.Challenge, RelyingPartyID: "example.com"}))
}

func TestACounterThatDoesNotGrowIsToldAsAClone(t *testing.T) {
	h := registered(t, virtualwebauthn.KeyTypeEC2)
	for _, row := range []struct {
		stored, sent uint32
		want         error
	}{
		{0, 0, nil}, {0, 1, nil}, {5, 6, nil}, {5, 900, nil}, {5, 5, passkey.ErrCloned}, {5, 4, passkey.ErrCloned}, {5, 0, passkey.ErrCloned},
	} {
		h.stored.SignCount, h.key.Counter = row.stored, row.sent
		response, state := h.get(passkey.Preferred)
		entry, err := h.login(state, response)
		wantError(t, fmt.Sprintf("%d after %d", row.sent, row.stored), err, row.want)
		wantCount := row.sent
		if row.want != nil {
			wantCount = row.stored
		}
		if !bytes.Equal(entry.Credential.ID, h.stored.ID) || entry.Credential.SignCount != wantCount {
			t.Errorf("%d after %d: entry %+v", row.sent, row.stored, entry)
		}
	}
}

func TestThatAPasskeyMayBeSynchronisedNeverChangesAndThatItIsDoes(t *testing.T) {
	for _, row := range []struct {
		atFirst, eligible, backedUp bool
		want                        error
	}{
		{false, false, false, nil},
		{true, true, false, nil},
		{true, true, true, nil},
		{false, true, false, passkey.ErrMalformed},
		{true, false, false, passkey.ErrMalformed},
		{false, false, true, passkey.ErrMalformed},
	} {
		h := newHouse(t, virtualwebauthn.KeyTypeEC2)
		h.device.Options.BackupEligible = row.atFirst
		h.register()
		h.device.Options.BackupEligible, h.device.Options.BackupState = row.eligible, row.backedUp
		response, state := h.get(passkey.Preferred)
		entry, err := h.login(state, response)
		wantError(t, fmt.Sprintf("%+v", row), err, row.want)
		if err == nil && entry.Credential.BackedUp != row.backedUp {
			t.Errorf("%+v: stored as %v", row, entry.Credential.BackedUp)
		}
	}
}

func TestCeremoniesOfOneRelyingPartyRunSideBySide(t *testing.T) {
	rp := newRelyingParty(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			h := newHouse(t, virtualwebauthn.KeyTypeEC2)
			h.rp = rp
			response, state := h.create(passkey.Preferred)
			var err error
			if h.stored, err = rp.FinishRegistration(state, response, noon); err != nil {
				t.Error(err)
			}
			options, state, err := rp.BeginDiscoverableLogin(passkey.Required, noon)
			if err != nil {
				t.Error(err)
			}
			if _, err := h.login(state, h.sign(options)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// Whatever the device and its copy count, logins are let in only as long as the counter grows or there
// is none, and the stored counter is the greatest ever seen.
func TestTheStoredCounterNeverGoesBack(t *testing.T) {
	h := registered(t, virtualwebauthn.KeyTypeEC2)
	rapid.Check(t, func(r *rapid.T) {
		h.stored.SignCount = 0
		var greatest uint32
		for range rapid.IntRange(1, 8).Draw(r, "logins") {
			h.key.Counter = rapid.Uint32Range(0, 5).Draw(r, "counter")
			response, state := h.get(passkey.Preferred)
			entry, err := h.login(state, response)
			grows := h.key.Counter > greatest || h.key.Counter == 0 && greatest == 0
			if (err == nil) != grows || !grows && !errors.Is(err, passkey.ErrCloned) {
				r.Fatalf("%d after %d: %v", h.key.Counter, greatest, err)
			}
			h.stored, greatest = entry.Credential, max(greatest, h.key.Counter)
			if h.stored.SignCount != greatest {
				r.Fatalf("stored %d, want %d", h.stored.SignCount, greatest)
			}
		}
	})
}

func BenchmarkFinishLogin(b *testing.B) {
	for _, keyType := range []virtualwebauthn.KeyType{virtualwebauthn.KeyTypeEC2, virtualwebauthn.KeyTypeRSA} {
		b.Run(string(keyType), func(b *testing.B) {
			h := registered(b, keyType)
			response, state := h.get(passkey.Preferred)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.login(state, response); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFinishRegistration(b *testing.B) {
	h := newHouse(b, virtualwebauthn.KeyTypeEC2)
	response, state := h.create(passkey.Preferred)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.rp.FinishRegistration(state, response, noon); err != nil {
			b.Fatal(err)
		}
	}
}
