package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"

	"github.com/golang-jwt/jwt/v5"
)

// Algorithm is a signature algorithm by its JOSE name (RFC 7518 §3.1, RFC 8037 §3.1).
type Algorithm string

const (
	// EdDSA is Ed25519, the default: 64-byte signatures, no randomness needed to sign.
	EdDSA Algorithm = "EdDSA"
	// ES256 is ECDSA on P-256 with SHA-256.
	ES256 Algorithm = "ES256"
	// RS256 is RSASSA-PKCS1-v1_5 with SHA-256 and keys of 2048 bits or more (RFC 7518 §3.3).
	RS256 Algorithm = "RS256"
)

// generatedRSABits is the length of the RSA keys we make; minRSABits and maxRSABits bound those we
// are given: a longer one makes each check slow.
const (
	generatedRSABits = 2048
	minRSABits       = 2048
	maxRSABits       = 4096
)

// ErrKey is a key that is none of the three kinds, or too weak.
var ErrKey = errors.New("key is not Ed25519, P-256 or RSA of 2048 to 4096 bits")

// method returns the golang-jwt method; the algorithm is one of the three, since only GenerateKey and
// ParseKey make keys.
func (a Algorithm) method() jwt.SigningMethod { return jwt.GetSigningMethod(string(a)) }

// SigningKey is a private key with its algorithm and id. It prints without the key.
type SigningKey struct {
	ID        string // the thumbprint of the public key, RFC 7638
	Algorithm Algorithm
	private   crypto.Signer
}

// PublicKey is what a token of a SigningKey is verified with.
type PublicKey struct {
	ID        string
	Algorithm Algorithm
	public    crypto.PublicKey
}

// GenerateKey makes a new key.
func GenerateKey(algorithm Algorithm) (SigningKey, error) {
	var (
		private crypto.Signer
		err     error
	)
	switch algorithm {
	case EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RS256:
		private, err = rsa.GenerateKey(rand.Reader, generatedRSABits)
	default:
		err = fmt.Errorf("%q: unknown algorithm", algorithm)
	}
	if err != nil {
		return SigningKey{}, fmt.Errorf("generate signing key: %w", err)
	}
	return newSigningKey(private)
}

// ParseKey reads a key that Marshal wrote, or any PKCS #8 key (RFC 5958) of one of the three kinds.
// Its error is ErrKey.
func ParseKey(der []byte) (SigningKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return SigningKey{}, ErrKey // the cause could show bytes of the key
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return SigningKey{}, ErrKey
	}
	return newSigningKey(private)
}

// newSigningKey names the key after its public half.
func newSigningKey(private crypto.Signer) (SigningKey, error) {
	public, err := newPublicKey(private.Public())
	if err != nil {
		return SigningKey{}, err
	}
	return SigningKey{ID: public.ID, Algorithm: public.Algorithm, private: private}, nil
}

func newPublicKey(public crypto.PublicKey) (PublicKey, error) {
	algorithm, err := algorithmOf(public)
	if err != nil {
		return PublicKey{}, err
	}
	id, err := thumbprint(public)
	if err != nil {
		return PublicKey{}, err
	}
	return PublicKey{ID: id, Algorithm: algorithm, public: public}, nil
}

func algorithmOf(public crypto.PublicKey) (Algorithm, error) {
	switch key := public.(type) {
	case ed25519.PublicKey:
		return EdDSA, nil
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() {
			return ES256, nil
		}
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits >= minRSABits && bits <= maxRSABits {
			return RS256, nil
		}
	}
	return "", ErrKey
}

// Marshal returns the key as PKCS #8 (RFC 5958), to be sealed before it is stored.
func (k SigningKey) Marshal() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("marshal signing key %s: %w", k.ID, err)
	}
	return der, nil
}

// Public returns the half that may be shown.
func (k SigningKey) Public() PublicKey {
	return PublicKey{ID: k.ID, Algorithm: k.Algorithm, public: k.private.Public()}
}

// String shows algorithm and id only.
func (k SigningKey) String() string { return fmt.Sprintf("%s key %s", k.Algorithm, k.ID) }

// GoString shows algorithm and id only.
func (k SigningKey) GoString() string { return k.String() }

// LogValue shows algorithm and id only.
func (k SigningKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Marshal returns the key as a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), which is how a retired key,
// whose private half is gone, is stored.
func (k PublicKey) Marshal() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return nil, fmt.Errorf("marshal public key %s: %w", k.ID, err)
	}
	return der, nil
}

// ParsePublicKey reads a key that PublicKey.Marshal wrote. Its error is ErrKey.
func ParsePublicKey(der []byte) (PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return PublicKey{}, ErrKey
	}
	return newPublicKey(parsed)
}
