package passkey_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"gatehouse/account/passkey"
)

// vector is a pair of ceremonies of WebAuthn Level 3 §16, in hexadecimal.
type vector struct {
	Section, Title, CredentialID string
	Registration                 struct{ Challenge, ClientDataJSON, AttestationObject string }
	Login                        struct{ Challenge, ClientDataJSON, AuthenticatorData, Signature string }
}

func vectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/webauthn-3-section-16.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file.Vectors
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (v vector) registrationResponse() []byte {
	return v.response(map[string]string{
		"clientDataJSON": v.Registration.ClientDataJSON, "attestationObject": v.Registration.AttestationObject,
	})
}

func (v vector) loginResponse() []byte {
	return v.response(map[string]string{
		"clientDataJSON": v.Login.ClientDataJSON, "authenticatorData": v.Login.AuthenticatorData, "signature": v.Login.Signature,
	})
}

// response writes members, given in hexadecimal, as a browser does.
func (v vector) response(members map[string]string) []byte {
	id := rewrite(v.CredentialID)
	for name, text := range members {
		members[name] = rewrite(text)
	}
	out, err := json.Marshal(map[string]any{
		"id": id, "rawId": id, "type": "public-key", "response": members, "clientExtensionResults": map[string]any{},
	})
	if err != nil {
		panic(err) // strings only
	}
	return out
}

// rewrite turns hexadecimal into base64url.
func rewrite(text string) string {
	data, err := hex.DecodeString(text)
	if err != nil {
		panic(err) // the file is ours
	}
	return base64url(data)
}

// The examples cover every attestation format, among them makers' certificates that we do not trust:
// none of that keeps a passkey out. Those inside a frame of another site, and ES384, which we do not
// ask for, are to be refused.
func TestTheExamplesOfWebAuthnLevel3Section16AreTaken(t *testing.T) {
	rp, err := passkey.New(passkey.Options{ID: "example.org", Origins: []string{"https://example.org"}, Name: "Example"})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors(t) {
		name, want := "§"+v.Section+" "+v.Title, error(nil)
		switch {
		case strings.HasSuffix(v.Title, "cross origin"), strings.HasSuffix(v.Title, "top origin"):
			want = passkey.ErrOrigin
		case strings.HasSuffix(v.Title, "ES384"):
			want = passkey.ErrMalformed
		}
		registration := passkey.State{
			Kind: passkey.Registration, Challenge: unhex(t, v.Registration.Challenge), UserHandle: ada.Handle, Expires: noon.Add(1),
		}
		credential, err := rp.FinishRegistration(registration, v.registrationResponse(), noon)
		wantError(t, name+", registration", err, want)
		if err != nil {
			continue
		}
		login := passkey.State{
			Kind: passkey.Login, Challenge: unhex(t, v.Login.Challenge), Allowed: [][]byte{credential.ID}, Expires: noon.Add(1),
		}
		lookup := func(_, _ []byte) (passkey.Credential, error) { return stored(t, credential), nil }
		_, err = rp.FinishLogin(login, v.loginResponse(), lookup, noon)
		wantError(t, name+", login", err, nil)
	}
}
