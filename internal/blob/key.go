package blob

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
)

// Key names an object: 128 random bits, which cannot be guessed. Its text is 26 lower-case letters and
// digits (RFC 4648 §6 without padding), so no key leads out of the folder.
type Key [16]byte

// ErrKey says that a text is no key.
var ErrKey = errors.New("not an object key")

var keyText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func newKey() Key {
	var key Key
	rand.Read(key[:]) // crypto/rand never fails: it ends the program instead
	return key
}

// ParseKey reads what Key.String wrote; all else is ErrKey.
func ParseKey(text string) (Key, error) {
	var key Key
	if len(text) != keyText.EncodedLen(len(key)) {
		return Key{}, ErrKey
	}
	// The length fits, so Decode writes 16 bytes at most. It passes over line ends and spare bits,
	// hence the comparison.
	if _, err := keyText.Decode(key[:], []byte(text)); err != nil || key.String() != text {
		return Key{}, ErrKey
	}
	return key, nil
}

// String is the key's text.
func (k Key) String() string { return keyText.EncodeToString(k[:]) }

// MarshalText makes a key its text in JSON and logs.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is ParseKey.
func (k *Key) UnmarshalText(text []byte) (err error) {
	*k, err = ParseKey(string(text))
	return err
}
