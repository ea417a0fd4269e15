package jobs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"code.dny.dev/ssrf"
)

// FetchCode says why something was not fetched. Codes are only ever added.
type FetchCode string

// The codes.
const (
	Refused     FetchCode = "REFUSED"     // not a public address, or none at all
	Unreachable FetchCode = "UNREACHABLE" // no answer
	Untrusted   FetchCode = "UNTRUSTED"   // a certificate that is not trusted
	Timeout     FetchCode = "TIMEOUT"
	Redirects   FetchCode = "REDIRECTS"   // too many, or to what is not fetched
	Status      FetchCode = "STATUS"      // the answer is an error
	TooLarge    FetchCode = "TOO_LARGE"   //
	Interrupted FetchCode = "INTERRUPTED" // the answer broke off or cannot be unpacked
	Checksum    FetchCode = "CHECKSUM"    // not what was expected
)

// FetchError is why something was not fetched, in words for the owner: without the addresses behind a name.
type FetchError struct {
	Code    FetchCode `json:"code"`
	Message string    `json:"message"`
}

// trouble is a failure that lies at the other end. Its cause, which is logged, is without the address that was
// asked for: a signed link is a secret.
type trouble struct {
	FetchError
	cause   error
	passing bool          // another try may help
	wait    time.Duration // how long the server asks to wait; 0: it does not
}

func newTrouble(code FetchCode, message string, cause error) *trouble {
	return &trouble{FetchError: FetchError{code, message}, cause: cause}
}

func passingTrouble(code FetchCode, message string, cause error) *trouble {
	t := newTrouble(code, message, cause)
	t.passing = true
	return t
}

func (t *trouble) lasting() bool { return !t.passing }

// Error implements error.
func (t *trouble) Error() string {
	if t.cause == nil {
		return string(t.Code) + ": " + t.Message
	}
	return string(t.Code) + ": " + t.Message + ": " + t.cause.Error()
}

func (t *trouble) Unwrap() error { return t.cause }

// Why the context of a visit ended.
var (
	errSilent = errors.New("the server sent less than 16 KiB in 30 s")
	errSlow   = errors.New("the time for one address is over")
	errNoTime = errors.New("the time for all addresses is over")
)

// troubleOf puts what a visit met into words. visit and outside are why its context and its caller's ended.
func troubleOf(err, visit, outside error) error {
	if t, ok := errors.AsType[*trouble](err); ok {
		return t
	}
	switch {
	case errors.Is(outside, errNoTime):
		return passingTrouble(Timeout, "There was no time left for this address.", outside)
	case outside != nil:
		return outside
	case errors.Is(visit, errSlow), errors.Is(visit, errSilent):
		return passingTrouble(Timeout, "The address takes too long.", visit)
	}
	if asked, ok := errors.AsType[*url.Error](err); ok {
		err = asked.Err
	}
	if errors.Is(err, ssrf.ErrProhibitedIP) || errors.Is(err, ssrf.ErrProhibitedNetwork) || errors.Is(err, ssrf.ErrProhibitedPort) {
		return newTrouble(Refused, "The address is not a public one.", err)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound { // nothing tells which names exist inside
		return newTrouble(Refused, "The address is not a public one.", err)
	}
	if cert, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return newTrouble(Untrusted, "The address has no certificate that is trusted.", cert)
	}
	if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
		return passingTrouble(Timeout, "The address takes too long.", err)
	}
	return passingTrouble(Unreachable, "The address does not answer.", err)
}

// maxAdvice bounds how long a job waits because a server asks for it: meanwhile it has a worker.
const maxAdvice = 2 * time.Minute

// statusTrouble is nil for an answer of success.
func statusTrouble(r *http.Response, now time.Time) error {
	if r.StatusCode >= 200 && r.StatusCode < 300 {
		return nil
	}
	t := newTrouble(Status, fmt.Sprintf("The address answered with status %d.", r.StatusCode), nil)
	t.passing = r.StatusCode == http.StatusTooManyRequests || r.StatusCode >= 500
	if t.passing {
		t.wait = retryAfter(r.Header.Get("Retry-After"), now)
	}
	return t
}

// retryAfter is the advice of a server that a job can follow while it has a worker; 0 when it is too far away.
func retryAfter(text string, now time.Time) time.Duration {
	wait := advice(text, now)
	if wait > maxAdvice {
		return 0
	}
	return wait
}

// advice reads seconds or a date (RFC 9110 §10.2.3); 0 when there is neither, and when it is past.
func advice(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(seconds) * time.Second // 68 years where they are out of range
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// maxTries is how often one attempt asks an address that tells when to come again.
const maxTries = 3

// patiently calls do again when a server has said when to come again, as long as ctx has that much time.
func patiently(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		t, ok := errors.AsType[*trouble](err)
		if !ok || t.wait == 0 || try == maxTries {
			return err
		}
		if end, ends := ctx.Deadline(); ends && time.Until(end) <= t.wait {
			return err
		}
		timer := time.NewTimer(t.wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return troubleOf(context.Cause(ctx), nil, context.Cause(ctx))
		}
	}
}
