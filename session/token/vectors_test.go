package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"testing"
	"time"
)

// vector reads the members of one published example.
func vector(t *testing.T, name string) map[string]string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]string
	if err := json.Unmarshal(data, &members); err != nil {
		t.Fatal(err)
	}
	return members
}

func unbase64(t *testing.T, text string) []byte {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestEd25519SignsTheExampleOfRFC8037(t *testing.T) {
	example := vector(t, "rfc8037-appendix-a.json")
	key, err := newSigningKey(ed25519.NewKeyFromSeed(unbase64(t, example["d"])))
	if err != nil {
		t.Fatal(err)
	}
	if key.ID != example["thumbprint"] {
		t.Errorf("thumbprint %s, want %s", key.ID, example["thumbprint"])
	}
	web, _ := webKeyOf(key.Public().public)
	if web.X != example["x"] || web.Curve != "Ed25519" || web.KeyType != "OKP" {
		t.Errorf("public key %+v, want x %s", web, example["x"])
	}
	signature, err := key.Algorithm.method().Sign(example["signingInput"], key.private)
	if err != nil || base64url(signature) != example["signature"] {
		t.Errorf("signature %s (%v), want %s", base64url(signature), err, example["signature"])
	}
	if err := key.Algorithm.method().Verify(example["signingInput"], unbase64(t, example["signature"]), key.Public().public); err != nil {
		t.Error(err)
	}
}

// The claims of these examples lack what Verify requires, so the method alone is held against them.
func TestES256AndRS256VerifyTheExamplesOfRFC7515(t *testing.T) {
	for name, public := range map[string]func(map[string]string) crypto.PublicKey{
		"rfc7515-appendix-a.2.json": func(m map[string]string) crypto.PublicKey { return rsaKey(t, m) },
		"rfc7515-appendix-a.3.json": func(m map[string]string) crypto.PublicKey {
			point := append(append([]byte{4}, unbase64(t, m["x"])...), unbase64(t, m["y"])...)
			key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
			if err != nil {
				t.Fatal(err)
			}
			return key
		},
	} {
		t.Run(name, func(t *testing.T) {
			example := vector(t, name)
			key, err := newPublicKey(public(example))
			if err != nil {
				t.Fatal(err)
			}
			signature := unbase64(t, example["signature"])
			if err := key.Algorithm.method().Verify(example["signingInput"], signature, key.public); err != nil {
				t.Errorf("%s: %v", key.Algorithm, err)
			}
			for i := range signature {
				signature[i] ^= 1
				if key.Algorithm.method().Verify(example["signingInput"], signature, key.public) == nil {
					t.Errorf("%s: byte %d of the signature does not count", key.Algorithm, i)
				}
				signature[i] ^= 1
			}
		})
	}
}

// A shared secret and no signature at all are what RFC 8725 §3.1 and §3.2 warn of.
func TestTheSharedSecretAndTheUnsecuredTokenOfRFC7515AreRefused(t *testing.T) {
	key, err := GenerateKey(EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := NewKeySet(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	options := Options{Issuer: "joe", Audience: "anybody", Now: func() time.Time { return time.Unix(1300819000, 0) }}
	for algorithm, text := range vector(t, "rfc7515-appendix-a.1-and-a.5.json") {
		if claims, err := Verify(keys, text, options); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %+v, %v, want %v", algorithm, claims, err, ErrSignature)
		}
	}
}

func rsaKey(t *testing.T, members map[string]string) *rsa.PublicKey {
	t.Helper()
	return &rsa.PublicKey{
		N: new(big.Int).SetBytes(unbase64(t, members["n"])),
		E: int(new(big.Int).SetBytes(unbase64(t, members["e"])).Int64()),
	}
}

func TestTheThumbprintIsTheExampleOfRFC7638(t *testing.T) {
	example := vector(t, "rfc7638-section-3.1.json")
	key, err := newPublicKey(rsaKey(t, example))
	if err != nil || key.ID != example["thumbprint"] {
		t.Fatalf("thumbprint %s (%v), want %s", key.ID, err, example["thumbprint"])
	}
}
