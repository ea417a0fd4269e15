// Package fault is the error vocabulary of Gatehouse: what went wrong in words that a client may see.
//
// A [Fault] carries a [Code] for programs, a sentence for people and, where one input field is to
// blame, its path. Everything else is a plain error: it is logged once at the edge and reaches the
// client as "internal". A fault never carries a secret, a token or an address.
package fault

import (
	"errors"
	"time"
)

// Code is what a client switches on. Codes are only ever added.
type Code string

// Codes of refusals that a person can mend: they become entries of userErrors.
const (
	Invalid               Code = "INVALID"
	Required              Code = "REQUIRED"
	TooShort              Code = "TOO_SHORT"
	TooLong               Code = "TOO_LONG"
	WeakPassword          Code = "WEAK_PASSWORD"
	Taken                 Code = "TAKEN"
	InvalidCredentials    Code = "INVALID_CREDENTIALS"
	AccountDisabled       Code = "ACCOUNT_DISABLED"
	TokenInvalid          Code = "TOKEN_INVALID"
	TokenExpired          Code = "TOKEN_EXPIRED"
	TokenReused           Code = "TOKEN_REUSED"
	SessionRevoked        Code = "SESSION_REVOKED"
	WrongState            Code = "WRONG_STATE"
	UnsupportedFile       Code = "UNSUPPORTED_FILE"
	EmptyFile             Code = "EMPTY_FILE"
	TooLarge              Code = "TOO_LARGE"
	InvalidCode           Code = "INVALID_CODE"
	ChallengeExpired      Code = "CHALLENGE_EXPIRED"
	PasskeyRefused        Code = "PASSKEY_REFUSED"
	EmailNotVerified      Code = "EMAIL_NOT_VERIFIED"
	PasswordResetRequired Code = "PASSWORD_RESET_REQUIRED"
	QuotaExceeded         Code = "QUOTA_EXCEEDED"
	AttemptOver           Code = "ATTEMPT_OVER"
)

// Codes of sign-in through a provider, and of the identities that it makes. A person can mend them or
// show them to whoever can.
const (
	LastWayIn Code = "LAST_WAY_IN"

	OAuthDenied              Code = "OAUTH_DENIED"
	OAuthStateMismatch       Code = "OAUTH_STATE_MISMATCH"
	OAuthExpired             Code = "OAUTH_EXPIRED"
	OAuthBindingMismatch     Code = "OAUTH_BINDING_MISMATCH"
	OAuthCodeInvalid         Code = "OAUTH_CODE_INVALID"
	OAuthExchangeInvalid     Code = "OAUTH_EXCHANGE_INVALID"
	OAuthIssuerMismatch      Code = "OAUTH_ISSUER_MISMATCH"
	OAuthTokenInvalid        Code = "OAUTH_TOKEN_INVALID"
	OAuthAnswerInvalid       Code = "OAUTH_ANSWER_INVALID"
	OAuthProviderRefused     Code = "OAUTH_PROVIDER_REFUSED"
	OAuthProviderUnavailable Code = "OAUTH_PROVIDER_UNAVAILABLE"
	OAuthConfiguration       Code = "OAUTH_CONFIGURATION"
	OAuthUnsupported         Code = "OAUTH_UNSUPPORTED"
	OAuthRedirectRefused     Code = "OAUTH_REDIRECT_REFUSED"
	OAuthEmailRequired       Code = "OAUTH_EMAIL_REQUIRED"
	OAuthEmailUnverified     Code = "OAUTH_EMAIL_UNVERIFIED"
	OAuthIdentityTaken       Code = "OAUTH_IDENTITY_TAKEN"
	OAuthLinkMismatch        Code = "OAUTH_LINK_MISMATCH"
	OAuthSignInAgain         Code = "OAUTH_SIGN_IN_AGAIN"
)

// Codes of errors of the request itself: they become GraphQL errors with extensions.code.
const (
	Unauthenticated Code = "UNAUTHENTICATED"
	Forbidden       Code = "FORBIDDEN"
	StepUpRequired  Code = "STEP_UP_REQUIRED"
	RateLimited     Code = "RATE_LIMITED"
	LimitExceeded   Code = "LIMIT_EXCEEDED"
	BadUserInput    Code = "BAD_USER_INPUT"
	NotFound        Code = "NOT_FOUND"
	Unavailable     Code = "UNAVAILABLE"
	Internal        Code = "INTERNAL"
)

// Uncertain is the code of a job that may have done what it was to do, outside of this deployment.
const Uncertain Code = "UNCERTAIN"

// Fault is an error whose words may reach the client.
type Fault struct {
	Code    Code
	Field   []string // path inside the input, outermost first; nil when the whole input is meant
	Message string   // one sentence for a person

	RetryAfter time.Duration // how long to wait before another try; 0: no advice
	Hint       string        // what a developer may do about it; shown in development only
	Cause      error         // for the log, never for the client
}

func (f *Fault) Error() string {
	if f.Cause != nil {
		return string(f.Code) + ": " + f.Message + ": " + f.Cause.Error()
	}
	return string(f.Code) + ": " + f.Message
}

func (f *Fault) Unwrap() error { return f.Cause }

// Mendable reports whether a person can mend f, so that it belongs into userErrors.
func (f *Fault) Mendable() bool {
	switch f.Code {
	case Unauthenticated, Forbidden, StepUpRequired, RateLimited, LimitExceeded, BadUserInput, NotFound, Unavailable, Internal, Uncertain:
		return false
	}
	return true
}

// With returns a copy of f with its cause, for the log.
func (f *Fault) With(cause error) *Fault {
	c := *f
	c.Cause = cause
	return &c
}

// New returns a fault of code about field, a name of the input; "" means the whole input.
func New(code Code, field, message string) *Fault {
	f := &Fault{Code: code, Message: message}
	if field != "" {
		f.Field = []string{field}
	}
	return f
}

// Conflict says that the value of field is taken.
func Conflict(field, message string) *Fault { return New(Taken, field, message) }

// Missing is the one answer for an object that does not exist and for one that belongs to somebody else.
func Missing(what string) *Fault { return New(NotFound, "", "There is no such "+what+".") }

// SignIn says that the operation needs a signed-in caller.
func SignIn() *Fault { return New(Unauthenticated, "", "Sign in to do this.") }

// StepUp says that the session is suspended until its holder proves who they are.
func StepUp() *Fault {
	f := New(StepUpRequired, "", "This session was used from another device or browser. Prove who you are, or sign in again.")
	f.Hint = "Call stepUp with the session's access token (or, once that has expired, with its refresh token as input) and answer the challenge with verifyMfa in the same way: it gives fresh tokens."
	return f
}

// Denied says that the caller is known and may not do this.
func Denied(message string) *Fault { return New(Forbidden, "", message) }

// Slow says that the caller made too many attempts and may try again after wait.
func Slow(wait time.Duration) *Fault {
	return &Fault{Code: RateLimited, Message: "Too many attempts. Try again later.", RetryAfter: wait}
}

// Busy says that the server has more of this work than it can take and that wait is worth waiting.
func Busy(wait time.Duration) *Fault {
	return &Fault{Code: Unavailable, Message: "The server is busy. Try again in a moment.", RetryAfter: wait}
}

// As returns the fault in err's chain.
func As(err error) (*Fault, bool) {
	return errors.AsType[*Fault](err)
}

// Is reports whether err is a fault of code.
func Is(err error, code Code) bool {
	f, ok := As(err)
	return ok && f.Code == code
}
