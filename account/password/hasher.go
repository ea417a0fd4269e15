// Package password hashes and checks passwords. It is pure: no store, the clock passed in.
//
// # Hashing
//
// New hashes are argon2id (RFC 9106) with 19 MiB, two passes and one lane, the first choice of the
// OWASP Password Storage Cheat Sheet, written as a PHC string. A [Hasher] also verifies the bcrypt,
// PBKDF2, scrypt and other argon2 hashes that an import brings, and says when one should be replaced.
//
// # Bounds
//
// A hash costs some 40 ms of one core and 19 MiB, so a Hasher computes as many at once as there are
// cores, lets the others wait in line and turns away early whoever would wait above two seconds
// ([BusyError]). A stored hash whose parameters ask for more than 128 MiB or about a second is
// refused ([ErrCost]): an import cannot stop the server.
//
// # Policy
//
// [Check] refuses what is guessed first: NIST SP 800-63B §3.1.1.2 without rules of composition.
package password

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/text/unicode/norm"
)

const (
	// MaxSecretBytes is the longest secret that is hashed: 128 characters of any Unicode fit.
	MaxSecretBytes = 1024

	defaultQueue   = 1024
	defaultMaxWait = 2 * time.Second
	// firstGuess stands for the time of one hash until one has been measured.
	firstGuess = 40 * time.Millisecond
)

var (
	// ErrBusy is what every BusyError is.
	ErrBusy = errors.New("too many passwords are being checked")
	// ErrTooLong is a secret above MaxSecretBytes.
	ErrTooLong = errors.New("password is too long to hash")
)

// BusyError turns a caller away before the work starts.
type BusyError struct {
	Wait time.Duration // about how long the line is now: when to come back
}

// Error tells the wait.
func (e *BusyError) Error() string { return fmt.Sprintf("%v: try again in %v", ErrBusy, e.Wait) }

// Is makes a BusyError an ErrBusy.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// Options bound a Hasher. The zero value is a good default.
type Options struct {
	Slots   int              // hashes at once, 19 MiB each; zero: GOMAXPROCS
	Queue   int              // callers who wait at most; zero: 1024
	MaxWait time.Duration    // the longest wait in line; zero: 2 s
	Now     func() time.Time // measures how long a hash takes; nil: time.Now
}

// Hasher hashes and verifies, a few at a time. It is safe for concurrent use.
type Hasher struct {
	slots   chan struct{} // holds one for each hash under way
	queue   int
	maxWait time.Duration
	now     func() time.Time

	mu      sync.Mutex
	present int           // callers computing or waiting
	average time.Duration // of one hash, the later ones weighing more
}

// New returns a Hasher; it starts nothing.
func New(o Options) *Hasher {
	if o.Slots <= 0 {
		o.Slots = runtime.GOMAXPROCS(0)
	}
	if o.Queue <= 0 {
		o.Queue = defaultQueue
	}
	if o.MaxWait <= 0 {
		o.MaxWait = defaultMaxWait
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Hasher{
		slots: make(chan struct{}, o.Slots), queue: o.Queue, maxWait: o.MaxWait, now: o.Now, average: firstGuess,
	}
}

// Hash returns secret, in Unicode form NFC, under a new salt. It does not Check it. Its errors are
// ErrTooLong, a BusyError, and that of ctx.
func (h *Hasher) Hash(ctx context.Context, secret string) (Encoded, error) {
	if len(secret) > MaxSecretBytes {
		return "", ErrTooLong
	}
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails: crypto/rand ends the program instead
	var encoded Encoded
	err := h.inTurn(ctx, func() {
		encoded = current().encode(salt, current().key(normalise(secret), salt, keyBytes))
	})
	return encoded, err
}

// Verify reports whether encoded is a hash of secret in Unicode form NFC, and, if so, whether it
// should be replaced by Hash because it was made otherwise than Hash makes it now. A secret above
// MaxSecretBytes matches nothing. Its errors are those of Parse, a BusyError, and that of ctx.
func (h *Hasher) Verify(ctx context.Context, encoded Encoded, secret string) (ok, rehash bool, err error) {
	stored, err := parse(string(encoded))
	if err != nil {
		return false, false, err
	}
	if len(secret) > MaxSecretBytes {
		return false, false, nil
	}
	err = h.inTurn(ctx, func() { ok = stored.matches(normalise(secret)) })
	return ok, ok && !stored.current, err
}

// VerifyNothing costs what Verify costs for a hash of Hash and finds nothing: for an account that does
// not exist. Its errors are a BusyError and that of ctx.
func (h *Hasher) VerifyNothing(ctx context.Context, secret string) error {
	if len(secret) > MaxSecretBytes {
		return nil
	}
	nobody := stored{matches: current().compare(make([]byte, saltBytes), make([]byte, keyBytes))}
	return h.inTurn(ctx, func() { nobody.matches(normalise(secret)) })
}

// normalise makes the same characters the same bytes, whichever keyboard they came from (SP 800-63B
// §3.1.1.2).
func normalise(secret string) []byte { return norm.NFC.Bytes([]byte(secret)) }

// inTurn runs work in a slot.
func (h *Hasher) inTurn(ctx context.Context, work func()) error {
	if err := h.join(); err != nil {
		return err
	}
	if err := h.takeSlot(ctx); err != nil {
		h.leave()
		return err
	}
	start := h.now()
	defer func() {
		<-h.slots
		h.learn(h.now().Sub(start))
		h.leave()
	}()
	work()
	return nil
}

// join enters the line unless it is too long.
func (h *Hasher) join() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	wait := h.expectedWait()
	if wait > h.maxWait || h.present >= h.queue+cap(h.slots) {
		return &BusyError{Wait: wait}
	}
	h.present++
	return nil
}

// expectedWait is how long a caller who comes now waits for a slot. h.mu is held.
func (h *Hasher) expectedWait() time.Duration {
	ahead := h.present - cap(h.slots) + 1
	if ahead <= 0 {
		return 0
	}
	return h.average * time.Duration(ahead) / time.Duration(cap(h.slots))
}

// takeSlot waits for a slot, in the order of arrival, at most maxWait.
func (h *Hasher) takeSlot(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	patience := time.NewTimer(h.maxWait)
	defer patience.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-patience.C:
		return &BusyError{Wait: h.maxWait}
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *Hasher) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.present--
}

// learn moves the average an eighth of the way to what a hash took.
func (h *Hasher) learn(took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.average += (took - h.average) / 8
}
