package password

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
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

// argon2id is a choice of parameters; memory is in KiB.
type argon2id struct {
	memory, passes, lanes int
}

// current is what Hash uses.
func current() argon2id { return argon2id{memory: 19 << 10, passes: 2, lanes: 1} }

func (a argon2id) key(secret, salt []byte, length int) []byte {
	return argon2.IDKey(secret, salt, uint32(a.passes), uint32(a.memory), uint8(a.lanes), uint32(length))
}

func (a argon2id) compare(salt, key []byte) func([]byte) bool {
	return func(secret []byte) bool { return equal(a.key(secret, salt, len(key)), key) }
}

func (a argon2id) bounded() bool {
	return a.lanes >= 1 && a.lanes <= maxLanes && a.passes >= 1 &&
		a.memory >= minArgon2KiBLane*a.lanes && a.memory <= maxMemoryKiB &&
		a.passes <= maxWorkKiB/a.memory
}

// parseArgon2id reads v=19, parameters, salt, key. Version 16, which is broken, is refused.
func parseArgon2id(fields []string) (stored, error) {
	if len(fields) != 4 || fields[0] != "v=19" {
		return stored{}, ErrFormat
	}
	numbers, err := parseNumbers(fields[1], "m", "t", "p")
	if err != nil {
		return stored{}, err
	}
	parameters := argon2id{memory: numbers[0], passes: numbers[1], lanes: numbers[2]}
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
func parsePBKDF2(scheme string, fields []string) (stored, error) {
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
	if rounds < 1 || rounds > maxPBKDF2Rounds {
		return stored{}, ErrCost
	}
	digest := func() hash.Hash { return sha256.New() }
	if scheme == "pbkdf2-sha512" {
		digest = sha512.New
	}
	return stored{matches: func(secret []byte) bool {
		key, err := pbkdf2.Key(digest, string(secret), d.salt, rounds, len(d.key))
		return err == nil && equal(key, d.key)
	}}, nil
}

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
