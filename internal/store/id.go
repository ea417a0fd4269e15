package store

import (
	"encoding/base32"
	"strings"

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
