package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
)

const (
	maxKeys        = 64
	minModulusBits = 2048 // RFC 7518 §3.3
	maxModulusBits = 8192 // a larger one costs too much to verify
)

// verificationKey is a public key of the provider.
type verificationKey struct {
	id         string
	public     crypto.PublicKey
	algorithms []string // that it may sign with
	issuer     string   // Microsoft's: whose tokens it signs, perhaps as a template; "": all
}

func (k verificationKey) signs(algorithm string) bool {
	return slices.Contains(k.algorithms, algorithm)
}

// serves reports whether the key signs tokens of this issuer: one of Microsoft's tenants must not speak
// for another.
func (k verificationKey) serves(iss, tid string) bool {
	return k.issuer == "" || strings.ReplaceAll(k.issuer, tenantTemplate, tid) == iss
}

// fetchKeys reads the provider's JSON Web Key Set (RFC 7517 §5).
func (p *Provider) fetchKeys(ctx context.Context) ([]verificationKey, error) {
	m, err := p.metadata.get(ctx)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := p.get(ctx, IDToken, m.KeysURL, "", &set); err != nil {
		return nil, err
	}
	return parseKeys(set.Keys), nil
}

// parseKeys returns the keys that can verify an ID token, 64 at most. What it does not understand it
// skips (RFC 7517 §5), shared secrets and weak keys too.
func parseKeys(set []json.RawMessage) []verificationKey {
	var keys []verificationKey
	for _, member := range set[:min(len(set), maxKeys)] {
		var w webKey
		if json.Unmarshal(member, &w) != nil || w.Use != "" && w.Use != "sig" {
			continue
		}
		public, algorithms := w.public()
		if w.Algorithm != "" {
			if !slices.Contains(algorithms, w.Algorithm) {
				continue
			}
			algorithms = []string{w.Algorithm}
		}
		if public != nil {
			keys = append(keys, verificationKey{id: w.ID, public: public, algorithms: algorithms, issuer: w.Issuer})
		}
	}
	return keys
}

// webKey is a JSON Web Key (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
type webKey struct {
	KeyType   string `json:"kty"`
	ID        string `json:"kid"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	Issuer    string `json:"issuer"` // Microsoft's

	Modulus  octets `json:"n"`
	Exponent octets `json:"e"`
	Curve    string `json:"crv"`
	X        octets `json:"x"`
	Y        octets `json:"y"`
}

// public returns the key and the algorithms that go with it; nil when it is none of ours.
func (w webKey) public() (crypto.PublicKey, []string) {
	switch w.KeyType {
	case "RSA":
		modulus, exponent := new(big.Int).SetBytes(w.Modulus), new(big.Int).SetBytes(w.Exponent)
		bits := modulus.BitLen()
		if bits < minModulusBits || bits > maxModulusBits || exponent.BitLen() > 31 || exponent.Int64() < 3 {
			return nil, nil
		}
		return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case "EC":
		switch w.Curve {
		case "P-256":
			return w.point(elliptic.P256()), []string{"ES256"}
		case "P-384":
			return w.point(elliptic.P384()), []string{"ES384"}
		case "P-521":
			return w.point(elliptic.P521()), []string{"ES512"}
		}
	case "OKP":
		if w.Curve == "Ed25519" && len(w.X) == ed25519.PublicKeySize {
			return ed25519.PublicKey(w.X), []string{"EdDSA"}
		}
	}
	return nil, nil
}

// point returns the key with the coordinates X and Y; nil when they are not on curve.
func (w webKey) point(curve elliptic.Curve) crypto.PublicKey {
	size := (curve.Params().BitSize + 7) / 8
	if len(w.X) != size || len(w.Y) != size {
		return nil
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, w.X, w.Y))
	if err != nil {
		return nil
	}
	return key
}

// octets are bytes that stand in JSON as base64url without padding.
type octets []byte

// UnmarshalJSON decodes a string.
func (o *octets) UnmarshalJSON(data []byte) error {
	var encoded string
	if err := json.Unmarshal(data, &encoded); err != nil {
		return err
	}
	decoded, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "="))
	*o = decoded
	return err
}
