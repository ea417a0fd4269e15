// Package otc makes and checks one-time codes and links: what goes out by mail or SMS to prove that an
// address or a number is the person's. It is pure: no store, no clock.
//
// # Codes
//
// [New] draws six digits; [Hash] is what is stored of them and [Check] holds a typed text against it.
// A million codes are guessed at once by whoever reads the store, so the hash is keyed
// (HMAC-SHA-256) with a secret that is not in the store. It covers what the code is for and which
// challenge it answers: a code asked for to sign in resets no password, and the code of one challenge
// answers no other.
//
// The caller bounds life (10 minutes) and attempts (5 a challenge, so a guess succeeds once in 200,000
// challenges), and deletes the hash in the transaction that accepts the code.
//
// # Links
//
// [NewLink] draws the secret of a link, 256 bits, of which only the SHA-256 is stored; [HashLink] finds
// it again. The secret names its purpose, which is hashed with it.
package otc

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"strings"

	"gatehouse/internal/secret"
)

const (
	// Digits is the length of a code.
	Digits = 6

	codes = 1_000_000
	// fair is the greatest multiple of codes that 32 bits hold: the numbers below it give each code
	// as often as any other.
	fair = (1 << 32) / codes * codes
	// maxTypedBytes bounds what Check and HashLink read.
	maxTypedBytes = 256
)

// Purpose names what a code or link is good for, such as "login" or "reset-password": a constant of
// the caller, in small letters and dashes, another one for each thing.
type Purpose string

// Challenge is the id of the question that a code answers.
type Challenge string

// Digest is what is stored of a code: its HMAC-SHA-256.
type Digest [sha256.Size]byte

// New draws six digits, each of the million codes as likely as any other.
func New() string {
	for {
		var random [4]byte
		rand.Read(random[:]) // never fails: crypto/rand ends the program instead
		if code, ok := codeOf(binary.BigEndian.Uint32(random[:])); ok {
			return code
		}
	}
}

// codeOf maps 32 random bits to a code, or refuses them, once in 4,440 times, to be fair.
func codeOf(random uint32) (code string, ok bool) {
	return fmt.Sprintf("%0*d", Digits, random%codes), random < fair
}

// Hash returns what is stored of a code of New, under a key that the store does not hold.
func Hash(key secret.Key, purpose Purpose, challenge Challenge, code string) Digest {
	mac := hmac.New(sha256.New, key[:])
	for _, part := range []string{string(purpose), string(challenge), code} {
		writeCounted(mac, part)
	}
	return Digest(mac.Sum(nil))
}

// writeCounted puts the length before the text, so that no two lists of texts are hashed alike.
func writeCounted(to hash.Hash, text string) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(text)))
	to.Write(length[:]) // a hash takes every write
	to.Write([]byte(text))
}

// Check reports in constant time whether typed is the code of stored for this purpose and challenge.
// Spaces and dashes do not count; any other text than six ASCII digits is no code.
func Check(key secret.Key, stored Digest, purpose Purpose, challenge Challenge, typed string) bool {
	code, ok := parseCode(typed)
	if !ok {
		return false
	}
	again := Hash(key, purpose, challenge, code)
	return hmac.Equal(stored[:], again[:])
}

// parseCode returns the six digits of a typed code.
func parseCode(typed string) (code string, ok bool) {
	if len(typed) > maxTypedBytes {
		return "", false
	}
	code = strings.NewReplacer(" ", "", "\t", "", "\u00a0", "", "-", "").Replace(typed)
	noDigit := func(c rune) bool { return c < '0' || c > '9' }
	return code, len(code) == Digits && !strings.ContainsFunc(code, noDigit)
}
