package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
)

// coordinateBytes is the length of a P-256 coordinate, zeros in front included (RFC 7518 §6.2.1.2).
const coordinateBytes = 32

// webKey is a public JSON Web Key (RFC 7517 §4). The required members stand in the order of the
// alphabet, which is what a thumbprint hashes (RFC 7638 §3.2).
type webKey struct {
	Curve    string `json:"crv,omitempty"`
	Exponent string `json:"e,omitempty"`
	KeyType  string `json:"kty"`
	Modulus  string `json:"n,omitempty"`
	X        string `json:"x,omitempty"`
	Y        string `json:"y,omitempty"`

	ID        string    `json:"kid,omitempty"`
	Use       string    `json:"use,omitempty"`
	Algorithm Algorithm `json:"alg,omitempty"`
}

// JWKS returns the public keys as a JSON Web Key Set (RFC 7517 §5), media type
// application/jwk-set+json: the current key first.
func (s KeySet) JWKS() []byte {
	set := struct {
		Keys []webKey `json:"keys"`
	}{Keys: []webKey{}}
	for _, key := range s.public {
		web, err := webKeyOf(key.public)
		if err != nil {
			continue // cannot be: every PublicKey was made from its webKey's thumbprint
		}
		web.ID, web.Use, web.Algorithm = key.ID, "sig", key.Algorithm
		set.Keys = append(set.Keys, web)
	}
	document, _ := json.Marshal(set) // strings only: cannot fail
	return document
}

// thumbprint is the SHA-256 of the key's required members, in base64url (RFC 7638 §3).
func thumbprint(public crypto.PublicKey) (string, error) {
	web, err := webKeyOf(public)
	if err != nil {
		return "", err
	}
	members, err := json.Marshal(web)
	if err != nil {
		return "", fmt.Errorf("marshal key: %w", err)
	}
	sum := sha256.Sum256(members)
	return base64url(sum[:]), nil
}

// webKeyOf holds the required members only: RFC 8037 §2 for Ed25519, RFC 7518 §6 for the others.
func webKeyOf(public crypto.PublicKey) (webKey, error) {
	switch key := public.(type) {
	case ed25519.PublicKey:
		return webKey{KeyType: "OKP", Curve: "Ed25519", X: base64url(key)}, nil
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 0x04, X, Y: SEC 1 §2.3.3
		if err != nil || len(point) != 1+2*coordinateBytes {
			return webKey{}, ErrKey
		}
		x, y := point[1:1+coordinateBytes], point[1+coordinateBytes:]
		return webKey{KeyType: "EC", Curve: "P-256", X: base64url(x), Y: base64url(y)}, nil
	case *rsa.PublicKey:
		exponent := big.NewInt(int64(key.E)).Bytes()
		return webKey{KeyType: "RSA", Modulus: base64url(key.N.Bytes()), Exponent: base64url(exponent)}, nil
	}
	return webKey{}, ErrKey
}

func base64url(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }
