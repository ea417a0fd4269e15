// Package recovery makes and checks the recovery codes of an account: what a person keeps on paper for
// the day the phone is gone. It is pure: no store, no clock.
//
// # Use
//
// [New] draws [Count] codes, shown once, and what is stored of them. [Match] tells which of the hashes
// a typed code belongs to; the caller deletes that hash in the transaction that accepts the code, which
// is what makes a code good once.
//
// # Strength
//
// A code has 80 bits, 16 characters of Crockford's base32 in groups: "7k3m-9pqr-x2ht-0vbn". The hash is
// one SHA-256 under a salt of its own. A slow hash as for passwords would add nothing: 2^80 guesses
// are out of reach at any speed, and the salt keeps one guess from being tried against all codes of
// all accounts. Nothing is guessed online either: a right guess takes some 10^12 years at 1,000 tries a second.
package recovery

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"strings"
)

const (
	// Count is how many codes New draws.
	Count = 10
	// HashBytes is the length of what is stored of a code.
	HashBytes = saltBytes + sha256.Size

	codeBytes  = 10 // 80 bits: 16 characters without a rest
	saltBytes  = 16
	characters = 16
	group      = 4
	// maxTypedBytes bounds what Match reads.
	maxTypedBytes = 128
)

// crockford has no I, L, O and U (crockford.com/base32.html).
var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// Hash is what is stored of a code: the salt and the SHA-256 of salt and code.
type Hash [HashBytes]byte

// New draws Count codes from the system's source of randomness, as they are shown to the person, and
// the hash of each in the same order.
func New() (codes []string, hashes []Hash) {
	for range Count {
		random := make([]byte, codeBytes+saltBytes)
		rand.Read(random) // never fails: crypto/rand ends the program instead
		code := crockford.EncodeToString(random[:codeBytes])
		codes = append(codes, grouped(code))
		hashes = append(hashes, hash([saltBytes]byte(random[codeBytes:]), code))
	}
	return codes, hashes
}

// Match returns the index of the hash whose code was typed, in either case, with or without dashes and
// spaces, with O for 0 and I or L for 1. It looks at every hash, so that its time does not tell which
// one matched or how nearly. Any text that is no code matches nothing.
func Match(hashes []Hash, typed string) (index int, ok bool) {
	code, ok := parse(typed)
	if !ok {
		return 0, false
	}
	found := -1
	for i, stored := range hashes {
		again := hash([saltBytes]byte(stored[:]), code)
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(stored[:], again[:]), i, found)
	}
	return max(found, 0), found >= 0
}

// hash salts and hashes a code in the form of parse.
func hash(salt [saltBytes]byte, code string) Hash {
	digest := sha256.Sum256(append(salt[:], code...))
	return Hash(append(salt[:], digest[:]...))
}

// grouped writes a code for reading: "7k3m-9pqr-x2ht-0vbn".
func grouped(code string) string {
	var groups []string
	for ; code != ""; code = code[group:] {
		groups = append(groups, code[:group])
	}
	return strings.Join(groups, "-")
}

// parse returns the 16 characters that typed stands for.
func parse(typed string) (code string, ok bool) {
	if len(typed) > maxTypedBytes {
		return "", false
	}
	code = strings.Map(plain, typed)
	if len(code) != characters {
		return "", false
	}
	_, err := crockford.DecodeString(code)
	return code, err == nil
}

// plain returns the character that a typed one stands for, or -1 for one that stands for nothing:
// spaces, and the dashes that keyboards put in place of "-".
func plain(c rune) rune {
	switch {
	case c >= 'A' && c <= 'Z':
		return plain(c - 'A' + 'a')
	case c == 'o':
		return '0'
	case c == 'i', c == 'l':
		return '1'
	case c == ' ', c == '\t', c == '\u00a0', c == '-', c >= '\u2010' && c <= '\u2015', c == '\u2212':
		return -1
	}
	return c
}
