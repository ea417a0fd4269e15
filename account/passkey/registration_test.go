package passkey_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"
	"github.com/google/go-cmp/cmp"

	"gatehouse/account/passkey"
)

func TestAPasskeyIsRegisteredWithWhatTheAuthenticatorTells(t *testing.T) {
	for _, keyType := range []virtualwebauthn.KeyType{virtualwebauthn.KeyTypeEC2, virtualwebauthn.KeyTypeRSA} {
		h := newHouse(t, keyType)
		h.device.Options.BackupEligible, h.device.Options.BackupState = true, true
		h.device.Options.Transports = []virtualwebauthn.Transport{virtualwebauthn.TransportUSB, virtualwebauthn.TransportInternal}
		h.key.Counter = 7
		h.register()
		want := passkey.Credential{
			ID: h.key.ID, UserHandle: ada.Handle, PublicKey: h.stored.PublicKey, SignCount: 7, AAGUID: h.device.Aaguid,
			Transports: []string{"usb", "internal"}, BackupEligible: true, BackedUp: true, UserVerified: true, CreatedAt: noon,
		}
		if diff := cmp.Diff(want, stored(t, h.stored)); diff != "" || len(h.stored.PublicKey) < 64 {
			t.Errorf("%s: stored otherwise (-want +got):\n%s", keyType, diff)
		}
	}
}

// sameJSON compares two texts as JSON, whatever the order of their members.
func sameJSON(t *testing.T, got []byte, want string) {
	t.Helper()
	var gotValue, wantValue any
	if err := json.Unmarshal(got, &gotValue); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &wantValue); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantValue, gotValue); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
}

func base64url(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func TestTheOptionsOfARegistrationAskForWhatThePackageSays(t *testing.T) {
	h := registered(t, virtualwebauthn.KeyTypeEC2)
	for v, verification := range map[passkey.Verification]string{
		passkey.Preferred: "preferred", passkey.Required: "required", "": "preferred",
	} {
		options, state, err := h.rp.BeginRegistration(ada, []passkey.Credential{h.stored}, v, noon)
		if err != nil {
			t.Fatal(err)
		}
		sameJSON(t, options, fmt.Sprintf(`{
			"rp": {"id": "example.com", "name": "Gatehouse"},
			"user": {"id": %q, "name": "ada@example.com", "displayName": "Ada"},
			"challenge": %q,
			"pubKeyCredParams": [{"type": "public-key", "alg": -8}, {"type": "public-key", "alg": -7}, {"type": "public-key", "alg": -257}],
			"timeout": 300000,
			"excludeCredentials": [{"type": "public-key", "id": %q, "transports": ["internal"]}],
			"authenticatorSelection": {"residentKey": "preferred", "requireResidentKey": false, "userVerification": %q},
			"attestation": "none"
		}`, base64url(ada.Handle), base64url(state.Challenge), base64url(h.stored.ID), verification))
		if len(state.Challenge) != 32 || !state.Expires.Equal(noon.Add(5*time.Minute)) {
			t.Errorf("state %+v", state)
		}
	}
}

func TestARegistrationIsRefusedWhenItIsNotTheOneThatBegan(t *testing.T) {
	h := newHouse(t, virtualwebauthn.KeyTypeEC2)
	response, state := h.create(passkey.Preferred)
	_, other := h.create(passkey.Preferred)
	_, login := registered(t, virtualwebauthn.KeyTypeEC2).get(passkey.Preferred)
	refuse := func(name string, state passkey.State, response []byte, now time.Time, want error) {
		t.Helper()
		_, err := h.rp.FinishRegistration(state, response, now)
		wantError(t, name, err, want)
	}
	refuse("in time", state, response, noon.Add(passkey.Lifetime-1), nil)
	refuse("late", state, response, noon.Add(passkey.Lifetime), passkey.ErrExpired)
	refuse("a later challenge", other, response, noon, passkey.ErrChallenge)
	refuse("the state of a login", login, response, noon, passkey.ErrChallenge)
	refuse("no state", passkey.State{}, response, noon, passkey.ErrChallenge)

	at := func(id, origin string) []byte {
		h.site.ID, h.site.Origin = id, origin
		data := attest(t, h, state)
		h.site.ID, h.site.Origin = "example.com", "https://example.com"
		return data
	}
	refuse("the first origin", state, at("example.com", "https://example.com"), noon, nil)
	for _, origin := range []string{
		"https://evil.example", "http://example.com", "https://example.com:8443", "https://sub.example.com",
		"https://example.com.evil.example", "https://example.com/", "https://EXAMPLE.com", "https://x@example.com", "null", "",
	} {
		refuse(origin, state, at("example.com", origin), noon, passkey.ErrOrigin)
	}
	refuse("another relying party", state, at("login.example.com", "https://login.example.com"), noon, passkey.ErrOrigin)

	h.device.Options.UserNotVerified = true
	response, state = h.create(passkey.Required)
	refuse("unverified", state, response, noon, passkey.ErrUnverified)
	response, state = h.create(passkey.Preferred)
	refuse("unverified, preferred", state, response, noon, nil)
	h.device.Options.UserNotPresent = true
	response, state = h.create(passkey.Preferred)
	refuse("nobody there", state, response, noon, passkey.ErrMalformed)
}

// attest has the device answer the challenge of state at the site it believes to be at.
func attest(t testing.TB, h *house, state passkey.State) []byte {
	t.Helper()
	return []byte(virtualwebauthn.CreateAttestationResponse(h.site, h.device, h.key,
		virtualwebauthn.AttestationOptions{Challenge: state.Challenge}))
}

func TestATamperedRegistrationIsRefused(t *testing.T) {
	h := newHouse(t, virtualwebauthn.KeyTypeEC2)
	response, state := h.create(passkey.Preferred)
	replace := func(member, from, to string) []byte {
		return edited(t, response, member, func(data []byte) []byte {
			if !bytes.Contains(data, []byte(from)) {
				t.Fatalf("%s has no %q", member, from)
			}
			return bytes.Replace(data, []byte(from), []byte(to), 1)
		})
	}
	for name, row := range map[string]struct {
		response []byte
		want     error
	}{
		"untouched":      {response, nil},
		"of a login":     {replace("clientDataJSON", "webauthn.create", "webauthn.get"), passkey.ErrChallenge},
		"no challenge":   {replace("clientDataJSON", `"challenge":"`, `"challenge":"","x":"`), passkey.ErrChallenge},
		"cross origin":   {replace("clientDataJSON", `}`, `,"crossOrigin":true}`), passkey.ErrOrigin},
		"top origin":     {replace("clientDataJSON", `}`, `,"topOrigin":"https://example.com"}`), passkey.ErrMalformed},
		"no client data": {edited(t, response, "clientDataJSON", func([]byte) []byte { return nil }), passkey.ErrMalformed},
		"no JSON":        {replace("clientDataJSON", `{`, `[`), passkey.ErrMalformed},
		"another id":     {replace("attestationObject", string(h.key.ID), strings.Repeat("x", len(h.key.ID))), passkey.ErrMalformed},
		"a point elsewhere": {edited(t, response, "attestationObject", func(data []byte) []byte {
			data[len(data)-1] ^= 1
			return data
		}), passkey.ErrMalformed},
		"cut short":        {edited(t, response, "attestationObject", func(data []byte) []byte { return data[:len(data)-9] }), passkey.ErrMalformed},
		"more after it":    {edited(t, response, "attestationObject", func(data []byte) []byte { return append(data, 0) }), passkey.ErrMalformed},
		"empty":            {nil, passkey.ErrMalformed},
		"null":             {[]byte("null"), passkey.ErrMalformed},
		"two of them":      {append(bytes.Clone(response), response...), passkey.ErrMalformed},
		"longer than 64 K": {append(bytes.Clone(response), bytes.Repeat([]byte(" "), passkey.MaxResponseBytes)...), passkey.ErrMalformed},
		"as long as 64 K":  {append(bytes.Clone(response), bytes.Repeat([]byte(" "), passkey.MaxResponseBytes-len(response))...), nil},
	} {
		_, err := h.rp.FinishRegistration(state, row.response, noon)
		wantError(t, name, err, row.want)
	}
}

func TestARegistrationIsRefusedForAHandleOutOfBoundsAndAFullAccount(t *testing.T) {
	rp := newRelyingParty(t)
	for length, ok := range map[int]bool{0: false, 1: true, 64: true, 65: false} {
		user := passkey.User{Handle: bytes.Repeat([]byte{7}, length), Name: "ada"}
		if _, _, err := rp.BeginRegistration(user, nil, passkey.Preferred, noon); (err == nil) != ok {
			t.Errorf("a handle of %d bytes: %v", length, err)
		}
	}
	for count, want := range map[int]error{passkey.MaxCredentials - 1: nil, passkey.MaxCredentials: passkey.ErrFull} {
		_, _, err := rp.BeginRegistration(ada, make([]passkey.Credential, count), passkey.Preferred, noon)
		wantError(t, fmt.Sprintf("%d passkeys", count), err, want)
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	for _, row := range []struct {
		id, origin, name string
		ok               bool
	}{
		{"example.com", "https://example.com", "Gatehouse", true},
		{"example.com", "https://login.example.com:8443", "Gatehouse", true},
		{"localhost", "http://localhost:8080", "Gatehouse", true},
		{"localhost", "http://app.localhost:8080", "Gatehouse", true},
		{"localhost", "https://localhost", "Gatehouse", true},
		{"127.0.0.1", "http://127.0.0.1:8080", "Gatehouse", false},
		{"example.com", "http://example.com", "Gatehouse", false},
		{"example.com", "https://example.org", "Gatehouse", false},
		{"example.com", "https://notexample.com", "Gatehouse", false},
		{"login.example.com", "https://example.com", "Gatehouse", false},
		{"example.com", "https://example.com/", "Gatehouse", false},
		{"example.com", "https://example.com/path", "Gatehouse", false},
		{"example.com", "https://example.com?q", "Gatehouse", false},
		{"example.com", "https://ada@example.com", "Gatehouse", false},
		{"example.com", "https://Login.example.com", "Gatehouse", false},
		{"example.com", "https://example.com:443", "Gatehouse", false},
		{"localhost", "http://localhost:80", "Gatehouse", false},
		{"example.com", "ftp://example.com", "Gatehouse", false},
		{"example.com", "example.com", "Gatehouse", false},
		{"example.com", "", "Gatehouse", false},
		{"example.com", "https://example.com", " ", false},
		{"Example.com", "https://Example.com", "Gatehouse", false},
		{"https://example.com", "https://example.com", "Gatehouse", false},
		{"example.com:443", "https://example.com", "Gatehouse", false},
		{"", "https://example.com", "Gatehouse", false},
	} {
		_, err := passkey.New(passkey.Options{ID: row.id, Origins: []string{row.origin}, Name: row.name})
		if (err == nil) != row.ok {
			t.Errorf("%q, %q, %q: %v, want ok %v", row.id, row.origin, row.name, err, row.ok)
		}
	}
	for _, count := range []int{0, 17} {
		origins := strings.Fields(strings.Repeat("https://example.com ", count))
		if _, err := passkey.New(passkey.Options{ID: "example.com", Origins: origins, Name: "Gatehouse"}); err == nil {
			t.Errorf("%d origins are taken", count)
		}
	}
}
