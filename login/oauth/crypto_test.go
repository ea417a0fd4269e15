package oauth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"math/big"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"gatehouse/login/oauth"
)

func errorOf(err error) (*oauth.Error, bool) {
	var e *oauth.Error
	return e, errors.As(err, &e)
}

// publicMembers are the members of RFC 7518 §6 and RFC 8037 §2.
func publicMembers(public crypto.PublicKey, number func(*big.Int) string) map[string]any {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "n": number(key.N), "e": number(big.NewInt(int64(key.E)))}
	case *ecdsa.PublicKey:
		point, _ := key.Bytes()
		size := (len(point) - 1) / 2
		return map[string]any{
			"kty": "EC", "crv": key.Curve.Params().Name,
			"x": base64.RawURLEncoding.EncodeToString(point[1 : 1+size]), "y": base64.RawURLEncoding.EncodeToString(point[1+size:]),
		}
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(key)}
	}
	return nil
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func edKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestEveryAsymmetricAlgorithmSignsIn(t *testing.T) {
	for _, key := range []signingKey{
		{id: "rs", method: jwt.SigningMethodRS256, key: rsaKeys()[0]},
		{id: "ps", method: jwt.SigningMethodPS256, key: rsaKeys()[0]},
		{id: "es", method: jwt.SigningMethodES256, key: ecKey(t, elliptic.P256())},
		{id: "es3", method: jwt.SigningMethodES384, key: ecKey(t, elliptic.P384())},
		{id: "ed", method: jwt.SigningMethodEdDSA, key: edKey(t)},
		{id: "", method: jwt.SigningMethodES256, key: ecKey(t, elliptic.P256())}, // no kid: the keys are tried
	} {
		t.Run(key.method.Alg()+" "+key.id, func(t *testing.T) {
			l := newLiar(t)
			l.keys = []signingKey{key, {id: "other", method: jwt.SigningMethodRS256, key: rsaKeys()[1]}}
			l.claims = map[string]any{"at_hash": leftHalfOf(key.method.Alg(), accessToken)}
			provider, _ := l.provider(l.config())
			result, err := l.signIn(provider)
			if err != nil || result.Identity != (oauth.Identity{Issuer: l.URL, Subject: "ada"}) {
				t.Fatalf("got %v, %v", result.Identity, err)
			}
		})
	}
}

// leftHalfOf is at_hash of OpenID Connect Core §3.1.3.6, worked out another way than in the package.
func leftHalfOf(algorithm, token string) string {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "DSA": crypto.SHA512}[algorithm[2:]].New()
	hash.Write([]byte(token))
	sum := hash.Sum(nil)
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}
