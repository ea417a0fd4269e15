package password

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"hash"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/scrypt"
)

// What Hash makes: OWASP's first choice for argon2id.
const (
	saltBytes = 16
	keyBytes  = 32
)

// The bounds of what Verify computes.
const (
	maxMemoryKiB     = 128 << 10 // of one argon2id or scrypt
	maxWorkKiB       = 512 << 10 // memory times passes: about a second
	maxLanes         = 16
	minBcryptCost    = 4
	maxBcryptCost    = 14 // about a second
	maxPBKDF2Rounds  = 1_500_000
	maxScryptLogN    = 20
	maxScryptR       = 32
	argon2Version    = argon2.Version
	bcryptHashBytes  = 60
	minArgon2KiBLane = 8 // RFC 9106 §3.1
)

// argon2Choice is a variant of argon2 (RFC 9106 §1) and its parameters; memory is in KiB.
type argon2Choice struct {
	variant               string // "argon2id"; "argon2i" for imports only
	memory, passes, lanes int
}

// current is what Hash uses.
func current() argon2Choice {
	return argon2Choice{variant: "argon2id", memory: 19 << 10, passes: 2, lanes: 1}
}

func (a argon2Choice) key(secret, salt []byte, length int) []byte {
	derive := argon2.IDKey
	if a.variant == "argon2i" {
		derive = argon2.Key
	}
	return derive(secret, salt, uint32(a.passes), uint32(a.memory), uint8(a.lanes), uint32(length))
}

func (a argon2Choice) compare(salt, key []byte) func([]byte) bool {
	return func(secret []byte) bool { return equal(a.key(secret, salt, len(key)), key) }
}

func (a argon2Choice) bounded() bool {
	return a.lanes >= 1 && a.lanes <= maxLanes && a.passes >= 1 &&
		a.memory >= minArgon2KiBLane*a.lanes && a.memory <= maxMemoryKiB &&
		a.passes <= maxWorkKiB/a.memory
}

// parseArgon2 reads v=19, parameters, salt, key. Version 16, which is broken, is refused.
func parseArgon2(variant string, fields []string) (stored, error) {
	if len(fields) != 4 || fields[0] != "v=19" {
		return stored{}, ErrFormat
	}
	numbers, err := parseNumbers(fields[1], "m", "t", "p")
	if err != nil {
		return stored{}, err
	}
	parameters := argon2Choice{variant: variant, memory: numbers[0], passes: numbers[1], lanes: numbers[2]}
	if !parameters.bounded() {
		return stored{}, ErrCost
	}
	d, err := parseSaltAndKey(fields[2], fields[3])
	if err != nil {
		return stored{}, err
	}
	asNow := parameters == current() && len(d.salt) == saltBytes && len(d.key) == keyBytes
	return stored{matches: parameters.compare(d.salt, d.key), current: asNow}, nil
}

// parseBcrypt reads cost, salt and key. bcrypt looks at the first 72 bytes of a secret only.
func parseBcrypt(text string, fields []string) (stored, error) {
	if len(fields) != 2 || len(text) != bcryptHashBytes || len(fields[0]) != 2 || !isBcryptBase64(fields[1]) {
		return stored{}, ErrFormat
	}
	cost, err := parseNumber(strings.TrimPrefix(fields[0], "0"))
	if err != nil {
		return stored{}, err
	}
	if cost < minBcryptCost || cost > maxBcryptCost {
		return stored{}, ErrCost
	}
	return stored{matches: func(secret []byte) bool {
		return bcrypt.CompareHashAndPassword([]byte(text), secret) == nil
	}}, nil
}

func isBcryptBase64(text string) bool {
	for _, c := range text {
		letter := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !letter && (c < '0' || c > '9') && c != '.' && c != '/' {
			return false
		}
	}
	return true
}

// parseScrypt reads ln, r, p (RFC 7914 §2: N = 2^ln), salt, key.
func parseScrypt(fields []string) (stored, error) {
	if len(fields) != 3 {
		return stored{}, ErrFormat
	}
	numbers, err := parseNumbers(fields[0], "ln", "r", "p")
	if err != nil {
		return stored{}, err
	}
	logN, r, p := numbers[0], numbers[1], numbers[2]
	if logN < 1 || logN > maxScryptLogN || r < 1 || r > maxScryptR || p < 1 || p > maxLanes {
		return stored{}, ErrCost
	}
	if memoryKiB := (128 * r << logN) >> 10; memoryKiB > maxMemoryKiB || memoryKiB*p > maxWorkKiB {
		return stored{}, ErrCost
	}
	d, err := parseSaltAndKey(fields[1], fields[2])
	if err != nil {
		return stored{}, err
	}
	return stored{matches: func(secret []byte) bool {
		key, err := scrypt.Key(secret, d.salt, 1<<logN, r, p, len(d.key))
		return err == nil && equal(key, d.key)
	}}, nil
}

// parsePBKDF2 reads rounds, salt, key (RFC 8018 §5.2). The length "l", when told, is that of the key.
func parsePBKDF2(digest func() hash.Hash, fields []string) (stored, error) {
	if len(fields) != 3 {
		return stored{}, ErrFormat
	}
	d, err := parseSaltAndKey(fields[1], fields[2])
	if err != nil {
		return stored{}, err
	}
	rounds, err := parseRounds(fields[0], len(d.key))
	if err != nil {
		return stored{}, err
	}
	return d.pbkdf2(digest, rounds)
}

// parseDjango reads rounds, salt, key as Django writes them: the salt is text, the key padded base64.
func parseDjango(fields []string) (stored, error) {
	if len(fields) != 3 {
		return stored{}, ErrFormat
	}
	rounds, err := parseNumber(fields[0])
	if err != nil {
		return stored{}, err
	}
	key, padded := strings.CutSuffix(fields[2], "=")
	if !padded || strings.Contains(key, ".") {
		return stored{}, ErrFormat
	}
	d := derived{salt: []byte(fields[1])}
	if d.key, err = unbase64(key); err != nil {
		return stored{}, err
	}
	if len(d.key) != sha256.Size {
		return stored{}, ErrFormat
	}
	if !d.bounded() {
		return stored{}, ErrCost
	}
	return d.pbkdf2(newSHA256, rounds)
}

// pbkdf2 verifies with salt and key if the rounds are within bounds.
func (d derived) pbkdf2(digest func() hash.Hash, rounds int) (stored, error) {
	if rounds < 1 || rounds > maxPBKDF2Rounds {
		return stored{}, ErrCost
	}
	return stored{matches: func(secret []byte) bool {
		key, err := pbkdf2.Key(digest, string(secret), d.salt, rounds, len(d.key))
		return err == nil && equal(key, d.key)
	}}, nil
}

func newSHA256() hash.Hash { return sha256.New() }

// parseRounds reads "600000" (passlib), "i=600000" and "i=600000,l=32" (PHC).
func parseRounds(text string, keyLength int) (int, error) {
	if !strings.Contains(text, "=") {
		return parseNumber(text)
	}
	rounds, length, told := strings.Cut(text, ",")
	if told && length != "l="+strconv.Itoa(keyLength) {
		return 0, ErrFormat
	}
	numbers, err := parseNumbers(rounds, "i")
	if err != nil {
		return 0, err
	}
	return numbers[0], nil
}
