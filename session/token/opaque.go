package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
)

// opaqueBytes is the strength of an opaque token: 256 bits.
const opaqueBytes = 32

// OpaqueHash is the SHA-256 of an opaque token, the only form that is stored. A slow hash would add
// nothing: the token has 256 bits, so there is nothing to guess.
type OpaqueHash [sha256.Size]byte

// Equal compares in constant time.
func (h OpaqueHash) Equal(other OpaqueHash) bool {
	return subtle.ConstantTimeCompare(h[:], other[:]) == 1
}

// NewOpaque draws a token: prefix, then 43 characters of base64url. The prefix tells people and
// secret scanners what they have found; it is hashed too.
func NewOpaque(prefix string) (secret string, hash OpaqueHash) {
	random := make([]byte, opaqueBytes)
	rand.Read(random) // never fails: crypto/rand ends the program instead
	secret = prefix + base64url(random)
	return secret, HashOpaque(secret)
}

// HashOpaque returns what is stored of secret. A text above MaxBytes gets the hash of nothing that
// NewOpaque makes, without being read.
func HashOpaque(secret string) OpaqueHash {
	if len(secret) > MaxBytes {
		return OpaqueHash{}
	}
	var room [1024]byte // of the stack: every request hashes its access token
	return sha256.Sum256(append(room[:0], secret...))
}
