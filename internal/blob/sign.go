package blob

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

var (
	// ErrExpired says that a link was good once.
	ErrExpired = errors.New("the link has expired")
	// ErrForged says that a link was never signed with this key, or not for this id.
	ErrForged = errors.New("the link is not genuine")
)

// Signer signs links that let anyone who has them read one artifact until they expire. Its zero value
// refuses every link and must not sign.
type Signer struct {
	secret []byte
}

// MinSecretBytes is the least length of a Signer's secret: that of its SHA-256 (RFC 2104 §3).
const MinSecretBytes = sha256.Size

// NewSigner returns a signer with a secret of at least 32 random bytes, kept from all others.
func NewSigner(secret []byte) (Signer, error) {
	if len(secret) < MinSecretBytes {
		return Signer{}, fmt.Errorf("the signing secret has %d bytes, fewer than %d", len(secret), MinSecretBytes)
	}
	return Signer{secret: append([]byte(nil), secret...)}, nil
}

// Sign returns the query string of the link to id: expires=…&signature=…. The link is good up to
// expires, in whole seconds.
func (s Signer) Sign(id string, expires time.Time) string {
	until := strconv.FormatInt(expires.Unix(), 10)
	return "expires=" + until + "&signature=" + base64.RawURLEncoding.EncodeToString(s.sum(id, until))
}

// Verify checks the query string of a link to id, other parameters aside: nil, ErrForged, or
// ErrExpired at and after its time. It takes the same time whatever the signature.
func (s Signer) Verify(id, query string, now time.Time) error {
	values, err := url.ParseQuery(query)
	if err != nil || len(s.secret) == 0 || len(values["expires"]) != 1 || len(values["signature"]) != 1 {
		return ErrForged
	}
	until := values.Get("expires")
	signature, err := base64.RawURLEncoding.Strict().DecodeString(values.Get("signature"))
	if err != nil || !hmac.Equal(signature, s.sum(id, until)) {
		return ErrForged
	}
	seconds, err := strconv.ParseInt(until, 10, 64)
	if err != nil {
		return ErrForged
	}
	if now.Unix() >= seconds {
		return ErrExpired
	}
	return nil
}

// sum is the HMAC-SHA-256 of the time and the id. The first line keeps it apart from all else that
// the secret may sign; the time holds no line end, so no two links share a text.
func (s Signer) sum(id, until string) []byte {
	mac := hmac.New(sha256.New, s.secret)
	fmt.Fprintf(mac, "gatehouse artifact link 1\n%s\n%s", until, id)
	return mac.Sum(nil)
}
