package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"regexp"
)

// Refusal is a server's answer that says no. It keeps the numbers only: the words may repeat the
// address, the code or the credentials that the server was told.
type Refusal struct {
	Code   int    // an SMTP reply code (RFC 5321 §4.2), or an HTTP status
	Status string // the enhanced code of RFC 3463, such as 5.1.1; "" without one
}

func (r *Refusal) Error() string {
	if r.Status == "" {
		return fmt.Sprintf("refused with %d", r.Code)
	}
	return fmt.Sprintf("refused with %d %s", r.Code, r.Status)
}

// failure is what went wrong at one step of a conversation.
type failure struct {
	step  string
	err   error
	told  bool // the server knew something secret by then, which err may repeat
	final bool // another try would fail, too

	uncertain bool // the server may have taken the message
}

func (f *failure) Error() string { return f.step + ": " + f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// refused reports whether err is a reply of the server that forbids another try.
func refused(err error) bool {
	var reply *textproto.Error
	return errors.As(err, &reply) && reply.Code >= 500
}

// answered reports whether err is a reply by which the server did not take the message.
func answered(err error) bool {
	var reply *textproto.Error
	return errors.As(err, &reply) && reply.Code >= 400
}

// explain makes the error of a conversation one that may be logged, and tells whether to try again.
// Where ctx has ended, that is the cause, not the closed connection which it led to.
func explain(ctx context.Context, err error) error {
	var f *failure
	if !errors.As(err, &f) {
		return fmt.Errorf("%w: %w", ErrTemporary, err)
	}
	if f.final {
		return fmt.Errorf("%w: %s: %w", ErrPermanent, f.step, tellable(f))
	}
	cause := tellable(f)
	if ctx.Err() != nil {
		cause = context.Cause(ctx)
	}
	if f.uncertain {
		return fmt.Errorf("%w: %w: %s: %w", ErrTemporary, ErrUncertain, f.step, cause)
	}
	return fmt.Errorf("%w: %s: %w", ErrTemporary, f.step, cause)
}

// enhanced finds the enhanced code at the start of a reply (RFC 2034 §4).
var enhanced = regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}\b`)

// tellable returns the failure's cause without a server's words, unless they came before the server
// knew anything. Then they help: they say whom it does not serve, or what is wrong with a certificate.
func tellable(f *failure) error {
	if !f.told {
		return f.err
	}
	var reply *textproto.Error
	if errors.As(f.err, &reply) {
		return &Refusal{Code: reply.Code, Status: enhanced.FindString(reply.Msg)}
	}
	var network net.Error
	for _, safe := range []error{errNoAuth, errNoUTF8, errFlood, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(f.err, safe) {
			return safe
		}
	}
	if errors.As(f.err, &network) {
		return network
	}
	return errors.New("the server answered out of turn")
}
