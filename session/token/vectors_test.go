package token

import (
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"os"
	"testing"
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

func TestTheThumbprintIsTheExampleOfRFC7638(t *testing.T) {
	example := vector(t, "rfc7638-section-3.1.json")
	public := &rsa.PublicKey{
		N: new(big.Int).SetBytes(unbase64(t, example["n"])),
		E: int(new(big.Int).SetBytes(unbase64(t, example["e"])).Int64()),
	}
	key, err := newPublicKey(public)
	if err != nil || key.ID != example["thumbprint"] {
		t.Fatalf("thumbprint %s (%v), want %s", key.ID, err, example["thumbprint"])
	}
}
