// Package secret keeps values encrypted at rest: TOTP secrets, signing keys, provider tokens.
//
// # Use
//
// A [Keyring] seals with its first key and opens with any of its keys, so that a key is rotated by
// putting a new one in front and sealing again whatever [Keyring.Stale] reports. The additional data
// names the row and column a value belongs to; a sealed value that was moved to another row does not
// open there.
//
// # Form
//
// AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits:
//
//	version (1 byte, 1) | key id (8 bytes) | nonce (12 bytes) | ciphertext | tag (16 bytes)
//
// The version and the key id are authenticated too. The key id is derived from the key, so a
// configuration lists keys and nothing else.
//
// # Bounds
//
// A plaintext has at most [MaxPlaintext] bytes and a sealed value is [Overhead] bytes longer. One key
// may seal 2^32 values before a repeated nonce grows likely (SP 800-38D §8.3).
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"slices"
)

const (
	// MaxPlaintext is the longest value, in bytes, that Seal takes.
	MaxPlaintext = 1 << 20
	// Overhead is how many bytes a sealed value is longer than its plaintext.
	Overhead = headerBytes + nonceBytes + tagBytes
	// MaxKeys is how many keys, the current one included, a Keyring holds at most.
	MaxKeys = 16

	version     = 1
	headerBytes = 1 + idBytes
	nonceBytes  = 12
	tagBytes    = 16
)

var (
	// ErrUnknownKey is a value that was sealed with a key the Keyring does not hold.
	ErrUnknownKey = errors.New("sealed with an unknown key")
	// ErrTampered is a value that does not open: changed, cut short, moved to another row, or never
	// sealed at all.
	ErrTampered = errors.New("sealed value does not open")
	// ErrTooLong is a plaintext above MaxPlaintext.
	ErrTooLong = errors.New("value is too long to seal")
)

// Keyring seals values with one key and opens them with several. It is safe for concurrent use.
type Keyring struct {
	current keyID
	ciphers map[keyID]cipher.AEAD
}

// NewKeyring returns a ring that seals with current and opens with current and older, at most
// MaxKeys in all. A key given twice is an error: it is a rotation that did not take place.
func NewKeyring(current Key, older ...Key) (*Keyring, error) {
	if len(older)+1 > MaxKeys {
		return nil, fmt.Errorf("make keyring: %d keys, at most %d", len(older)+1, MaxKeys)
	}
	ring := &Keyring{current: current.id(), ciphers: make(map[keyID]cipher.AEAD, len(older)+1)}
	for _, key := range append([]Key{current}, older...) {
		if key == (Key{}) {
			return nil, errors.New("make keyring: a key of zeros")
		}
		if _, twice := ring.ciphers[key.id()]; twice {
			return nil, errors.New("make keyring: the same key twice")
		}
		sealer, err := newCipher(key)
		if err != nil {
			return nil, fmt.Errorf("make keyring: %w", err)
		}
		ring.ciphers[key.id()] = sealer
	}
	return ring, nil
}

// Seal encrypts plaintext for the place that additional names. ErrTooLong is its only error.
func (r *Keyring) Seal(plaintext, additional []byte) ([]byte, error) {
	if len(plaintext) > MaxPlaintext {
		return nil, ErrTooLong
	}
	header := append([]byte{version}, r.current[:]...)
	sealed := make([]byte, headerBytes, len(plaintext)+Overhead)
	copy(sealed, header)
	return r.ciphers[r.current].Seal(sealed, nil, plaintext, bind(header, additional)), nil
}

// Open returns the plaintext of a value that Seal returned for the same additional data. Its errors
// are ErrUnknownKey and ErrTampered.
func (r *Keyring) Open(sealed, additional []byte) ([]byte, error) {
	if len(sealed) < Overhead || len(sealed) > MaxPlaintext+Overhead || sealed[0] != version {
		return nil, ErrTampered
	}
	opener, known := r.ciphers[keyID(sealed[1:headerBytes])]
	if !known {
		return nil, ErrUnknownKey
	}
	plaintext, err := opener.Open(nil, nil, sealed[headerBytes:], bind(sealed[:headerBytes], additional))
	if err != nil {
		return nil, ErrTampered
	}
	return plaintext, nil
}

// Stale reports whether sealed names another key than the current one: open it and seal it again.
func (r *Keyring) Stale(sealed []byte) bool {
	return len(sealed) < headerBytes || keyID(sealed[1:headerBytes]) != r.current
}

// bind joins the header, whose length is fixed, and the caller's additional data.
func bind(header, additional []byte) []byte {
	return slices.Concat(header, additional)
}

// newCipher returns AES-256-GCM that draws each nonce and writes it before the ciphertext.
func newCipher(key Key) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
