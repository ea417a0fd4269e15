package store

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// alphabet is Crockford's base 32 in small letters: it sorts as the bytes do, and has no letters
// that look like digits.
var alphabet = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// idLength is the number of characters after the prefix: 128 bits in base 32.
const idLength = 26

// NewID returns a name for a row of kind prefix: "job_01k…". Names made later sort later (UUID
// version 7, RFC 9562 §5.7).
func NewID[T ~string](prefix string) T {
	id := uuid.Must(uuid.NewV7())
	return T(prefix + "_" + alphabet.EncodeToString(id[:]))
}

// ValidID reports whether id has the form that NewID gives for prefix.
func ValidID(prefix, id string) bool {
	rest, ok := strings.CutPrefix(id, prefix+"_")
	if !ok || len(rest) != idLength {
		return false
	}
	_, err := alphabet.DecodeString(rest)
	return err == nil
}

// EarlierID returns a text that sorts after all ids that were made more than d before id, and before
// all later ones. id is one that NewID gave for prefix.
func EarlierID(prefix, id string, d time.Duration) string {
	raw, err := alphabet.DecodeString(strings.TrimPrefix(id, prefix+"_"))
	if err != nil || len(raw) != 16 {
		return ""
	}
	made := binary.BigEndian.Uint64(raw[:8]) >> 16 // milliseconds of Unix time
	var earlier [16]byte
	binary.BigEndian.PutUint64(earlier[:8], (made-min(made, uint64(max(d, 0).Milliseconds())))<<16)
	return prefix + "_" + alphabet.EncodeToString(earlier[:])
}

// NthID returns the name of the n-th row of kind prefix that belongs to the row from, an id that NewID gave:
// the same each time, and another one for each n. It sorts among names that were made as from was.
func NthID[T ~string](prefix, from string, n int64) T {
	_, text, _ := strings.Cut(from, "_")
	raw, _ := alphabet.DecodeString(text) // a from that is none of ours has no time, and sorts first
	hash := sha256.Sum256(fmt.Appendf(nil, "%s/%d/%s", prefix, n, from))
	copy(hash[:6], raw) // milliseconds of Unix time
	return T(prefix + "_" + alphabet.EncodeToString(hash[:16]))
}
