package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"strings"
	"testing"

	"gatehouse/session/token"
)

// private opens the key again, for tests that sign what Issue would not.
func private(t testing.TB, der []byte) crypto.PrivateKey {
	t.Helper()
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// fixedKeys are the same in every process of a fuzzing run, so that a mutated seed still names a key
// that the worker knows.
func fixedKeys(t testing.TB) (edwards, nist token.SigningKey) {
	t.Helper()
	scalar, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), []byte(strings.Repeat("\x01", 32)))
	if err != nil {
		t.Fatal(err)
	}
	var keys [2]token.SigningKey
	for i, private := range []crypto.PrivateKey{ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), scalar} {
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		if keys[i], err = token.ParseKey(der); err != nil {
			t.Fatal(err)
		}
	}
	return keys[0], keys[1]
}

// FuzzVerify looks for a text that is accepted though Issue did not return it, or that panics.
func FuzzVerify(f *testing.F) {
	edwards, nist := fixedKeys(f)
	keys := keySet(f, edwards, &nist)
	ofEdwards, ofNIST := issue(f, edwards, accessClaims()), issue(f, nist, accessClaims())
	inputOfNIST := ofNIST[:strings.LastIndex(ofNIST, ".")+1] // ECDSA signs differently each time
	parts := strings.Split(ofEdwards, ".")
	for _, seed := range []string{
		ofEdwards, ofNIST, "", "..", "...",
		parts[0] + "." + parts[1] + ".",
		parts[0] + "\n." + parts[1] + "." + parts[2],
		"eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9." + parts[1] + "." + parts[2],
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		claims, err := token.Verify(keys, text, at(noon))
		if err == nil && text != ofEdwards && !strings.HasPrefix(text, inputOfNIST) {
			t.Fatalf("accepted %q as %+v", text, claims)
		}
	})
}
