package secret

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
)

// Key is an AES-256 key. It prints as "[secret key]" and reaches no log; Text is the one way out.
type Key [32]byte

// idBytes is the length of a key id in a sealed value.
const idBytes = 8

type keyID [idBytes]byte

// ErrKey is a text that is not the base64 of 32 bytes.
var ErrKey = errors.New("a key is 32 bytes in base64")

// NewKey draws a key from the system's source of randomness.
func NewKey() Key {
	var key Key
	rand.Read(key[:]) // never fails: crypto/rand ends the program instead
	return key
}

// ParseKey reads a key from base64 in either alphabet, padded or not. Its error, ErrKey, does not
// show the text.
func ParseKey(text string) (Key, error) {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	text = strings.NewReplacer("+", "-", "/", "_").Replace(text)
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) != len(Key{}) {
		return Key{}, ErrKey
	}
	return Key(raw), nil
}

// Text returns the key in the form that ParseKey reads, for the one file that keeps it.
func (k Key) Text() string { return base64.RawURLEncoding.EncodeToString(k[:]) }

// String hides the key from fmt.
func (k Key) String() string { return "[secret key]" }

// GoString hides the key from %#v.
func (k Key) GoString() string { return k.String() }

// LogValue hides the key from slog.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText hides the key from encoders.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// id is a name for the key that tells nothing about it.
func (k Key) id() keyID {
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte("gatehouse key id"))
	return keyID(mac.Sum(nil)[:idBytes])
}
