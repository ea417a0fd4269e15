package passkey_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"

	"gatehouse/account/passkey"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// ada is who registers; her handle tells nothing about her.
var ada = passkey.User{Handle: []byte("\x8f\x01 random and opaque \xff"), Name: "ada@example.com", DisplayName: "Ada"}

// house is a relying party, one person's device with one passkey in it, and the store.
type house struct {
	t      testing.TB
	rp     *passkey.RelyingParty
	site   virtualwebauthn.RelyingParty // what the browser believes it is at
	device virtualwebauthn.Authenticator
	key    virtualwebauthn.Credential
	stored passkey.Credential
}

func newRelyingParty(t testing.TB) *passkey.RelyingParty {
	t.Helper()
	rp, err := passkey.New(passkey.Options{
		ID: "example.com", Origins: []string{"https://example.com", "https://login.example.com"}, Name: "Gatehouse",
	})
	if err != nil {
		t.Fatal(err)
	}
	return rp
}

func newHouse(t testing.TB, keyType virtualwebauthn.KeyType) *house {
	t.Helper()
	h := &house{
		t: t, rp: newRelyingParty(t), device: virtualwebauthn.NewAuthenticator(), key: virtualwebauthn.NewCredential(keyType),
		site: virtualwebauthn.RelyingParty{ID: "example.com", Name: "Gatehouse", Origin: "https://login.example.com"},
	}
	h.device.Options.UserHandle = ada.Handle
	return h
}

// registered is a house whose passkey is in the store.
func registered(t testing.TB, keyType virtualwebauthn.KeyType) *house {
	t.Helper()
	h := newHouse(t, keyType)
	h.register()
	return h
}

func (h *house) register() {
	h.t.Helper()
	response, state := h.create(passkey.Preferred)
	credential, err := h.rp.FinishRegistration(state, response, noon)
	if err != nil {
		h.t.Fatal(err)
	}
	h.stored = credential
}

// create has the device answer a registration.
func (h *house) create(v passkey.Verification, existing ...passkey.Credential) (response []byte, state passkey.State) {
	h.t.Helper()
	options, state, err := h.rp.BeginRegistration(ada, existing, v, noon)
	if err != nil {
		h.t.Fatal(err)
	}
	parsed, err := virtualwebauthn.ParseAttestationOptions(string(options))
	if err != nil {
		h.t.Fatal(err)
	}
	return []byte(virtualwebauthn.CreateAttestationResponse(h.site, h.device, h.key, *parsed)), stored(h.t, state)
}

// get has the device answer a login with the stored passkey.
func (h *house) get(v passkey.Verification) (response []byte, state passkey.State) {
	h.t.Helper()
	options, state, err := h.rp.BeginLogin([]passkey.Credential{h.stored}, v, noon)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.sign(options), stored(h.t, state)
}

// discover has the device answer a login with a passkey of its choice.
func (h *house) discover(v passkey.Verification) (response []byte, state passkey.State) {
	h.t.Helper()
	options, state, err := h.rp.BeginDiscoverableLogin(v, noon)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.sign(options), stored(h.t, state)
}

func (h *house) sign(options json.RawMessage) []byte {
	h.t.Helper()
	parsed, err := virtualwebauthn.ParseAssertionOptions(string(options))
	if err != nil {
		h.t.Fatal(err)
	}
	return []byte(virtualwebauthn.CreateAssertionResponse(h.site, h.device, h.key, *parsed))
}

// lookup is the store: it knows one passkey.
func (h *house) lookup(handle, id []byte) (passkey.Credential, error) {
	if string(id) != string(h.stored.ID) || len(handle) > 0 && string(handle) != string(h.stored.UserHandle) {
		return passkey.Credential{}, passkey.ErrUnknownCredential
	}
	return h.stored, nil
}

func (h *house) login(state passkey.State, response []byte) (passkey.Entry, error) {
	return h.rp.FinishLogin(state, response, h.lookup, noon.Add(time.Minute))
}

// stored sends a value through JSON, as the caller's store does.
func stored[T any](t testing.TB, value T) T {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var back T
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

// edited changes one member of a response's inner object, given as bytes.
func edited(t testing.TB, response []byte, member string, change func([]byte) []byte) []byte {
	t.Helper()
	var outer map[string]any
	if err := json.Unmarshal(response, &outer); err != nil {
		t.Fatal(err)
	}
	inner := outer["response"].(map[string]any)
	data, err := base64.RawURLEncoding.DecodeString(inner[member].(string))
	if err != nil {
		t.Fatal(err)
	}
	inner[member] = base64.RawURLEncoding.EncodeToString(change(data))
	out, err := json.Marshal(outer)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantError(t testing.TB, name string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || (want == nil) != (got == nil) {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}
