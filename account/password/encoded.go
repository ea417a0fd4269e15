package password

import (
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Encoded is a hash with everything that verifying it takes, in one of the forms of Parse.
type Encoded string

const (
	maxEncodedBytes = 512
	minSaltBytes    = 4 // shorter than anyone should use, but imports are what they are
	maxSaltBytes    = 64
	minKeyBytes     = 16
	maxKeyBytes     = 64
)

// The errors of Parse; neither shows the text.
var (
	// ErrFormat is a text in none of the forms, or not in its one right spelling.
	ErrFormat = errors.New("unknown form of password hash")
	// ErrCost is a hash that takes too much memory or time to verify, or no time at all.
	ErrCost = errors.New("password hash has parameters out of bounds")
)

// Parse accepts a hash from elsewhere if Verify can verify it within its bounds:
//
//	$argon2id$v=19$m=19456,t=2,p=1$salt$key             at most 128 MiB, m×t at most 512 MiB, p at most 16
//	$argon2i$v=19$m=19456,t=2,p=1$salt$key              the same
//	$2a$12$…, $2b$12$…, $2y$12$…                        bcrypt, cost at most 14
//	$scrypt$ln=16,r=8,p=1$salt$key                      at most 128 MiB, times p at most 512 MiB
//	$pbkdf2-sha256$i=600000,l=32$salt$key, also -sha512 at most 1,500,000 rounds
//	$pbkdf2-sha256$600000$salt$key                      the same as passlib writes it
//	pbkdf2_sha256$1000000$salt$key=                     the same as Django writes it
//
// Salt and key are base64 without padding, save Django's, whose salt is text and whose key is padded;
// passlib's "." in place of "+" is understood. Scrypt as Firebase writes it needs a key of the project
// besides and is not among them.
func Parse(text string) (Encoded, error) {
	if _, err := parse(text); err != nil {
		return "", err
	}
	return Encoded(text), nil
}

// stored is a hash that was read.
type stored struct {
	matches func(secret []byte) bool // slow; to be called in a slot
	current bool                     // made exactly as Hash makes it now
}

// parse reads the scheme and leaves the rest to its reader.
func parse(text string) (stored, error) {
	if len(text) > maxEncodedBytes {
		return stored{}, ErrFormat
	}
	fields := strings.Split(text, "$")
	if fields[0] == "pbkdf2_sha256" {
		return parseDjango(fields[1:])
	}
	if len(fields) < 4 || fields[0] != "" {
		return stored{}, ErrFormat
	}
	switch scheme := fields[1]; scheme {
	case "argon2id", "argon2i":
		return parseArgon2(scheme, fields[2:])
	case "2a", "2b", "2y":
		return parseBcrypt(text, fields[2:])
	case "scrypt":
		return parseScrypt(fields[2:])
	case "pbkdf2-sha256":
		return parsePBKDF2(newSHA256, fields[2:])
	case "pbkdf2-sha512":
		return parsePBKDF2(sha512.New, fields[2:])
	}
	return stored{}, ErrFormat
}

// derived is what the schemes that derive a key have in common.
type derived struct {
	salt, key []byte
}

// parseSaltAndKey reads the last two fields.
func parseSaltAndKey(salt, key string) (derived, error) {
	var (
		d   derived
		err error
	)
	if d.salt, err = unbase64(salt); err != nil {
		return derived{}, err
	}
	if d.key, err = unbase64(key); err != nil {
		return derived{}, err
	}
	if !d.bounded() {
		return derived{}, ErrCost
	}
	return d, nil
}

func (d derived) bounded() bool {
	return len(d.salt) >= minSaltBytes && len(d.salt) <= maxSaltBytes &&
		len(d.key) >= minKeyBytes && len(d.key) <= maxKeyBytes
}

// unbase64 reads the one right spelling of some bytes. The decoder would skip line breaks.
func unbase64(text string) ([]byte, error) {
	text = strings.ReplaceAll(text, ".", "+")
	if strings.ContainsAny(text, "\r\n") {
		return nil, ErrFormat
	}
	data, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, ErrFormat
	}
	return data, nil
}

// parseNumbers reads "m=19456,t=2,p=1" with these names in this order.
func parseNumbers(text string, names ...string) ([]int, error) {
	parts := strings.Split(text, ",")
	if len(parts) != len(names) {
		return nil, ErrFormat
	}
	numbers := make([]int, len(names))
	for i, part := range parts {
		value, named := strings.CutPrefix(part, names[i]+"=")
		if !named {
			return nil, ErrFormat
		}
		number, err := parseNumber(value)
		if err != nil {
			return nil, err
		}
		numbers[i] = number
	}
	return numbers, nil
}

// parseNumber reads a decimal of at most nine digits without sign or leading zero.
func parseNumber(text string) (int, error) {
	number, err := strconv.Atoi(text)
	if err != nil || len(text) > 9 || strconv.Itoa(number) != text || number < 0 {
		return 0, ErrFormat
	}
	return number, nil
}

// encode writes a hash of Hash.
func (a argon2Choice) encode(salt, key []byte) Encoded {
	return Encoded(fmt.Sprintf("$%s$v=%d$m=%d,t=%d,p=%d$%s$%s", a.variant, argon2Version,
		a.memory, a.passes, a.lanes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key)))
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
