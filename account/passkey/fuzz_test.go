package passkey_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/descope/virtualwebauthn"

	"gatehouse/account/passkey"
)

// fuzzedHouse is the same in every process of a fuzzing run, so that a mutated seed still names a
// passkey and a challenge that the worker knows.
func fuzzedHouse(f *testing.F) (h *house, registration, login passkey.State) {
	f.Helper()
	scalar, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{1}, 32))
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(scalar)
	if err != nil {
		f.Fatal(err)
	}
	h = newHouse(f, virtualwebauthn.KeyTypeEC2)
	h.key = virtualwebauthn.NewCredentialWithImportedKey(virtualwebauthn.KeyTypeEC2, der)
	h.key.ID = bytes.Repeat([]byte{2}, 32)
	h.register()
	challenge := bytes.Repeat([]byte{3}, 32)
	registration = passkey.State{
		Kind: passkey.Registration, Challenge: challenge, UserHandle: ada.Handle, Expires: noon.Add(passkey.Lifetime),
	}
	login = passkey.State{
		Kind: passkey.Login, Challenge: challenge, Allowed: [][]byte{h.key.ID}, Expires: noon.Add(passkey.Lifetime),
	}
	return h, registration, login
}

// FuzzFinish looks for a response that is accepted though the device did not answer the challenge, or
// that panics.
func FuzzFinish(f *testing.F) {
	h, registration, login := fuzzedHouse(f)
	for _, seed := range [][]byte{
		attest(f, h, registration), h.answer(login), nil, []byte("{}"),
		[]byte(`{"id":"AA","rawId":"AA","type":"public-key","response":{}}`),
	} {
		f.Add(seed)
	}
	for _, v := range vectors(f) {
		f.Add(v.registrationResponse())
		f.Add(v.loginResponse())
	}
	f.Fuzz(func(t *testing.T, response []byte) {
		if credential, err := h.rp.FinishRegistration(registration, response, noon); err == nil && !answers(response, registration) {
			t.Fatalf("registered %+v by %q", credential, response)
		}
		if entry, err := h.login(login, response); err == nil && !answers(response, login) {
			t.Fatalf("let in %+v by %q", entry, response)
		}
	})
}

// answers reports whether a response is to the challenge of state: such a one was mutated from a seed
// in what its signature does not cover.
func answers(response []byte, state passkey.State) bool {
	var outer struct {
		Response struct{ ClientDataJSON string }
	}
	if err := json.Unmarshal(response, &outer); err != nil {
		return false
	}
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(outer.Response.ClientDataJSON, "="))
	if err != nil {
		return false
	}
	var client struct{ Challenge string }
	return json.Unmarshal(data, &client) == nil && client.Challenge == base64url(state.Challenge)
}

// FuzzAuthenticator changes what the authenticator says, inside a response that is right otherwise.
func FuzzAuthenticator(f *testing.F) {
	h, registration, login := fuzzedHouse(f)
	created, got := attest(f, h, registration), h.answer(login)
	edited(f, created, "attestationObject", func(data []byte) []byte { f.Add(data, []byte{}); return data })
	edited(f, got, "authenticatorData", func(data []byte) []byte { f.Add([]byte{}, data); return data })
	for _, v := range vectors(f) {
		f.Add(unhex(f, v.Registration.AttestationObject), unhex(f, v.Login.AuthenticatorData))
	}
	f.Fuzz(func(t *testing.T, object, data []byte) {
		response := edited(t, created, "attestationObject", func([]byte) []byte { return object })
		credential, err := h.rp.FinishRegistration(registration, response, noon)
		if err == nil && (!bytes.Equal(credential.ID, h.key.ID) || len(credential.PublicKey) == 0) {
			t.Fatalf("registered %+v", credential)
		}
		same := false
		response = edited(t, got, "authenticatorData", func(signed []byte) []byte {
			same = bytes.Equal(signed, data)
			return data
		})
		if entry, err := h.login(login, response); (err == nil) != same {
			t.Fatalf("%x: %+v, %v", data, entry, err)
		}
	})
}
