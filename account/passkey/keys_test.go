package passkey_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/descope/virtualwebauthn"
	"github.com/fxamacker/cbor/v2"

	"gatehouse/account/passkey"
)

// attestKey has a device register a public key of any kind, without attestation.
func attestKey(t *testing.T, h *house, state passkey.State, coseKey map[int]any) []byte {
	t.Helper()
	key, err := cbor.Marshal(coseKey)
	if err != nil {
		t.Fatal(err)
	}
	site := sha256.Sum256([]byte(h.site.ID))
	const presentVerifiedAttested = 0x45
	object, err := cbor.Marshal(map[string]any{
		"fmt": "none", "attStmt": map[string]any{},
		"authData": slices.Concat(site[:], []byte{presentVerifiedAttested, 0, 0, 0, 0}, make([]byte, 16),
			[]byte{0, byte(len(h.key.ID))}, h.key.ID, key),
	})
	if err != nil {
		t.Fatal(err)
	}
	return edited(t, attest(t, h, state), "attestationObject", func([]byte) []byte { return object })
}

func TestOnlyKeysThatAreOfferedAndWithinBoundsAreRegistered(t *testing.T) {
	h := newHouse(t, virtualwebauthn.KeyTypeEC2)
	_, state := h.create(passkey.Preferred)
	rsa := func(bits int) map[int]any { // kty, alg, n, e
		return map[int]any{1: 3, 3: -257, -1: bytes.Repeat([]byte{0xff}, bits/8), -2: []byte{1, 0, 1}}
	}
	edwards := unhex(t, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a") // RFC 8032 §7.1
	zeros := make([]byte, 32)
	for name, row := range map[string]struct {
		key  map[int]any
		want error
	}{
		"RSA, 2048 bits":            {rsa(2048), nil},
		"RSA, 8192 bits":            {rsa(8192), nil},
		"RSA, 1024 bits":            {rsa(1024), passkey.ErrMalformed},
		"RSA, 16384 bits":           {rsa(16384), passkey.ErrMalformed},
		"RSA, with SHA-1":           {map[int]any{1: 3, 3: -65535, -1: bytes.Repeat([]byte{0xff}, 256), -2: []byte{1, 0, 1}}, passkey.ErrMalformed},
		"Ed25519":                   {map[int]any{1: 1, 3: -8, -1: 6, -2: edwards}, nil},
		"Ed25519, too short":        {map[int]any{1: 1, 3: -8, -1: 6, -2: edwards[1:]}, passkey.ErrMalformed},
		"P-256, off the curve":      {map[int]any{1: 2, 3: -7, -1: 1, -2: zeros, -3: zeros}, passkey.ErrMalformed},
		"P-256, without y":          {map[int]any{1: 2, 3: -7, -1: 1, -2: zeros}, passkey.ErrMalformed},
		"a symmetric key":           {map[int]any{1: 4, 3: 5, -1: zeros}, passkey.ErrMalformed},
		"no algorithm":              {map[int]any{1: 1, -1: 6, -2: edwards}, passkey.ErrMalformed},
		"nothing":                   {map[int]any{}, passkey.ErrMalformed},
		"a map of the wrong values": {map[int]any{1: "RSA", 3: []byte{1}}, passkey.ErrMalformed},
	} {
		_, err := h.rp.FinishRegistration(state, attestKey(t, h, state, row.key), noon)
		wantError(t, name, err, row.want)
	}
}

func TestACredentialIDOutOfBoundsIsRefused(t *testing.T) {
	for length, want := range map[int]error{0: passkey.ErrMalformed, 15: passkey.ErrMalformed, 16: nil, 1023: nil, 1024: passkey.ErrMalformed} {
		h := newHouse(t, virtualwebauthn.KeyTypeEC2)
		h.key.ID = bytes.Repeat([]byte{7}, length)
		response, state := h.create(passkey.Preferred)
		_, err := h.rp.FinishRegistration(state, response, noon)
		wantError(t, fmt.Sprintf("%d bytes", length), err, want)
	}
}

// Password managers and new browsers say more than they were asked; it must not lock anybody out.
func TestExtensionsThatNobodyAskedForAreIgnored(t *testing.T) {
	h := registered(t, virtualwebauthn.KeyTypeEC2)
	h.device.Options.ClientExtensionResults = map[string]any{
		"credProps": map[string]any{"rk": true}, "prf": map[string]any{"enabled": false}, "notYetInvented": []any{1, "x"},
	}
	response, state := h.create(passkey.Preferred)
	_, err := h.rp.FinishRegistration(state, response, noon)
	wantError(t, "registration", err, nil)
	response, state = h.get(passkey.Preferred)
	_, err = h.login(state, response)
	wantError(t, "login", err, nil)
}

func TestTransportsThatTheStandardDoesNotKnowAreDropped(t *testing.T) {
	h := newHouse(t, virtualwebauthn.KeyTypeEC2)
	response, state := h.create(passkey.Preferred)
	var outer map[string]any
	if err := json.Unmarshal(response, &outer); err != nil {
		t.Fatal(err)
	}
	outer["response"].(map[string]any)["transports"] = []string{"hybrid", "<script>", "", "usb", "usb"}
	response, err := json.Marshal(outer)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := h.rp.FinishRegistration(state, response, noon)
	if err != nil || !slices.Equal(credential.Transports, []string{"usb", "hybrid"}) {
		t.Errorf("transports %q, %v", credential.Transports, err)
	}
}
