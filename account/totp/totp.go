// Package totp makes and checks time-based one-time passwords (RFC 6238), the codes of an
// authenticator app. It is pure: no store, the clock passed in.
//
// # Use
//
// [New] draws a [Key]; [Key.URI] and [QR] bring it into the app; [Verify] checks what the person
// types. The caller keeps the key sealed (its [Key.Text]) and beside it the last [Step] that Verify
// returned, written in the transaction that accepts the code: that is what makes a code good once.
//
// # Bounds
//
// Keys have 160 bits, codes six digits of HMAC-SHA-1, steps 30 seconds: what every app understands. A
// code holds for its own step and one on either side, 90 seconds in all, so one guess in about 333,000
// is right: the caller bounds the attempts.
package totp

import (
	"crypto/subtle"
	"errors"
	"time"

	"github.com/pquerna/otp/hotp"
)

const (
	// Digits is the length of a code.
	Digits = 6
	// Period is how long a step lasts (RFC 6238 §5.2 recommends 30 s).
	Period = 30 * time.Second

	// skew is how many steps a clock may be off, either way (§5.2: at most one for the network; the
	// other way is for a phone that runs fast).
	skew = 1
	// maxTypedBytes bounds what Verify reads.
	maxTypedBytes = 64
)

var (
	// ErrWrong is a code of no step within reach of now.
	ErrWrong = errors.New("code is wrong")
	// ErrReused is a code that was right, but whose step is not after the last one used.
	ErrReused = errors.New("code has been used")
)

// Step counts periods since 1970 (RFC 6238 §4.2: T with T0 = 0 and X = 30 s). Step 0 stands for
// "never used": no code of 1970 is accepted.
type Step int64

// StepAt returns the step that t falls into; times before 1970 are Step 0.
func StepAt(t time.Time) Step {
	return Step(max(t.Unix(), 0) / int64(Period/time.Second))
}

// Code returns the six digits that an app with the key shows during step (RFC 4226 §5.3).
func (k Key) Code(step Step) string {
	code, err := hotp.GenerateCode(k.Text(), uint64(step))
	if err != nil {
		panic("totp: " + err.Error()) // the one error is a secret that is not base32, and Text is
	}
	return code
}

// Verify returns the 30 s step (RFC 6238 §4.1) for which code is the TOTP of key, at most one step
// off now. A step is good once: one not after last is ErrReused (§5.2). Any other code, and any text
// that is not six ASCII digits and spaces, is ErrWrong. Its time tells nothing of the right codes.
func Verify(key Key, code string, now time.Time, last Step) (Step, error) {
	digits, ok := parseCode(code)
	if !ok {
		return 0, ErrWrong
	}
	var (
		found  Step
		reused bool
	)
	current := StepAt(now)
	for step := max(current-skew, 1); step <= current+skew; step++ {
		matches := subtle.ConstantTimeCompare([]byte(key.Code(step)), digits) == 1
		reused = reused || matches && step <= last
		if matches && found == 0 {
			found = step
		}
	}
	switch {
	case reused: // even when another step has the same digits by chance: the text was used
		return 0, ErrReused
	case found == 0:
		return 0, ErrWrong
	}
	return found, nil
}

// parseCode returns the six digits of a typed code without its spaces.
func parseCode(typed string) (digits []byte, ok bool) {
	if len(typed) > maxTypedBytes {
		return nil, false
	}
	for _, c := range typed {
		switch {
		case c >= '0' && c <= '9':
			digits = append(digits, byte(c))
		case c == ' ', c == '\t', c == '\u00a0', c == '\u2009', c == '\u202f': // as apps group digits
		default:
			return nil, false
		}
	}
	return digits, len(digits) == Digits
}
