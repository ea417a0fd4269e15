package oauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// Step is where a sign-in stood when it failed.
type Step string

// The steps in their order; the last three stand outside a sign-in.
const (
	Discovery Step = "discovery" // the provider's metadata
	Authorize Step = "authorize" // what the provider answered to the browser
	State     Step = "state"     // whether that answer belongs to the flow
	Exchange  Step = "exchange"  // the code for tokens
	IDToken   Step = "idtoken"   // the ID token and the keys that sign it
	UserInfo  Step = "userinfo"  // the profile
	Refresh   Step = "refresh"
	Revoke    Step = "revoke"
)

// Code is the reason of a failure, for programs. Codes are only ever added.
type Code string

// Codes of a flow that cannot go on: the person starts again.
const (
	Denied        Code = "DENIED"         // the person, or the provider's policy, said no
	StateMismatch Code = "STATE_MISMATCH" // the answer belongs to another flow or to none
	FlowExpired   Code = "FLOW_EXPIRED"   // the answer came after FlowLifetime
	CodeInvalid   Code = "CODE_INVALID"   // the code was used before, is too old or not ours (invalid_grant)
)

// Codes of an answer that contradicts itself or the flow: an attack, or a provider with a defect.
const (
	IssuerMismatch          Code = "ISSUER_MISMATCH" // also a mix-up (RFC 9207 §1)
	AudienceMismatch        Code = "AUDIENCE_MISMATCH"
	NonceMismatch           Code = "NONCE_MISMATCH"
	AlgorithmRefused        Code = "ALGORITHM_REFUSED" // none, HS256, or one that the provider did not announce
	KeyUnknown              Code = "KEY_UNKNOWN"
	SignatureInvalid        Code = "SIGNATURE_INVALID"
	TokenExpired            Code = "TOKEN_EXPIRED"
	TokenNotYet             Code = "TOKEN_NOT_YET" // iat or nbf in the future: one of the clocks is wrong
	AccessTokenHashMismatch Code = "ACCESS_TOKEN_HASH_MISMATCH"
	SubjectInvalid          Code = "SUBJECT_INVALID"
	ProfileMismatch         Code = "PROFILE_MISMATCH" // UserInfo tells of another person
	IDTokenMissing          Code = "ID_TOKEN_MISSING"
	AnswerMalformed         Code = "ANSWER_MALFORMED"
	AnswerTooLarge          Code = "ANSWER_TOO_LARGE"
	RedirectRefused         Code = "REDIRECT_REFUSED" // an endpoint sent us to another host
	EndpointInsecure        Code = "ENDPOINT_INSECURE"
)

// Codes of a provider that is there but unwilling.
const (
	ExchangeRefused Code = "EXCHANGE_REFUSED"
	RefreshInvalid  Code = "REFRESH_INVALID" // the refresh token was revoked or used before: sign in again
	AccessRefused   Code = "ACCESS_REFUSED"  // the access token is not good any more: refresh it
	ProviderError   Code = "PROVIDER_ERROR"  // anything else it says; see ProviderCode
	Unsupported     Code = "UNSUPPORTED"     // it has no such endpoint
)

// Codes that tell whom to call.
const (
	ProviderUnavailable Code = "PROVIDER_UNAVAILABLE"
	ProviderSlow        Code = "PROVIDER_SLOW"
	ConfigWrong         Code = "CONFIG_WRONG"     // client, secret or redirect URL are not what the provider knows
	RedirectUnknown     Code = "REDIRECT_UNKNOWN" // Begin was asked for a redirect URL that is not on the list
	Aborted             Code = "ABORTED"          // our caller went away
)

const (
	maxProviderCode = 100 // bytes
	maxDetail       = 300 // bytes
	maxUncut        = 4096
	shortestSecret  = 6 // bytes; to replace shorter ones would garble the text and hide nothing
)

// anyJWT finds tokens that nobody listed, such as Apple's client secret.
var anyJWT = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`)

// Error is a failure of a provider or of a sign-in through it. It holds no secret, code or token and
// may be logged whole.
type Error struct {
	Provider     string // the slug
	Step         Step
	Code         Code
	ProviderCode string // the provider's own error code, at most 100 printable bytes; often empty
	Detail       string // what was wanted and what came, at most 300 printable bytes
}

func (e *Error) Error() string {
	text := fmt.Sprintf("oauth %s: %s: %s", e.Provider, e.Step, e.Code)
	if e.ProviderCode != "" {
		text += " (" + e.ProviderCode + ")"
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// CodeOf returns the code of the first [*Error] in err's chain; "" when there is none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func (e *Error) attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("step", string(e.Step)), slog.String("code", string(e.Code)),
		slog.String("provider_code", e.ProviderCode), slog.String("detail", e.Detail),
	}
}

// scrub replaces secrets, as they are and as they stand in a URL, and cuts what is left to its bounds.
func (e *Error) scrub(secrets []string) {
	for _, secret := range secrets {
		if len(secret) < shortestSecret {
			continue
		}
		for _, spelling := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			e.Detail = strings.ReplaceAll(e.Detail, spelling, "[secret]")
			e.ProviderCode = strings.ReplaceAll(e.ProviderCode, spelling, "[secret]")
		}
	}
	e.Detail = anyJWT.ReplaceAllString(e.Detail, "[token]")
	e.Detail = e.Detail[:min(len(e.Detail), maxDetail)]
	e.ProviderCode = e.ProviderCode[:min(len(e.ProviderCode), maxProviderCode)]
}

// fail returns an error of step; report cuts and scrubs it before anybody sees it.
func (p *Provider) fail(step Step, code Code, format string, args ...any) *Error {
	return &Error{Provider: p.config.Name, Step: step, Code: code, Detail: printable(fmt.Sprintf(format, args...))}
}

// typed returns err as a copy of the *Error that it is: the original may be kept and shared.
func (p *Provider) typed(ctx context.Context, err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		own := *e
		return &own
	}
	return p.unreached(ctx, Discovery, err) // ctx ended while another caller loaded a document for all
}

// said returns the error for a provider's own error code and description, code being the meaning of
// that error code.
func (p *Provider) said(step Step, code Code, providerCode, description string) *Error {
	e := p.fail(step, code, "%s", description)
	e.ProviderCode = printable(providerCode)
	return e
}

// printable keeps the printable ASCII of a foreign text, other runes become spaces, and at most 4 KiB
// of it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text[:min(len(text), maxUncut)])
}

// unreached returns the error of a request that got no whole answer.
func (p *Provider) unreached(ctx context.Context, step Step, err error) *Error {
	code := ProviderUnavailable
	var timeout net.Error
	switch {
	case errors.Is(err, errTooLarge):
		code = AnswerTooLarge
	case errors.Is(err, errRedirect):
		code = RedirectRefused
	case errors.Is(ctx.Err(), context.Canceled):
		code = Aborted
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		code = ProviderSlow
	}
	var where *url.Error // its text repeats the URL, which is not ours to log
	if errors.As(err, &where) {
		err = where.Err
	}
	return p.fail(step, code, "%v", err)
}

// status returns the error of an answer that is none of success and names no error code.
func (p *Provider) status(step Step, status int, contentType string) *Error {
	code := ProviderError
	switch {
	case status >= 500, status == http.StatusTooManyRequests:
		code = ProviderUnavailable
	case status == http.StatusUnauthorized && (step == Exchange || step == Refresh || step == Revoke):
		code = ConfigWrong // RFC 6749 §5.2: client authentication failed
	case status == http.StatusNotFound && step == Discovery:
		code = ConfigWrong // there is no issuer at this address
	case status == http.StatusNotFound && step != Exchange && step != Refresh:
		code = Unsupported
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		code = AccessRefused
	case step == Exchange || step == Refresh:
		code = ExchangeRefused
	}
	return p.fail(step, code, "HTTP status %d, content type %q", status, contentType)
}

// meaning classifies the error codes of RFC 6749 §4.1.2.1 and §5.2, OpenID Connect Core §3.1.2.6 and
// those that GitHub, Google and Apple add.
func meaning(step Step, providerCode string) Code {
	switch providerCode {
	case "access_denied", "user_cancelled_authorize", "consent_required", "interaction_required",
		"login_required", "account_selection_required":
		return Denied
	case "invalid_grant", "bad_verification_code", "bad_refresh_token":
		if step == Refresh {
			return RefreshInvalid
		}
		return CodeInvalid
	case "invalid_client", "unauthorized_client", "unsupported_grant_type", "unsupported_response_type",
		"invalid_scope", "redirect_uri_mismatch", "incorrect_client_credentials",
		"application_suspended", "org_internal", "deleted_client", "disabled_client", "admin_policy_enforced":
		return ConfigWrong
	case "server_error", "temporarily_unavailable", "slow_down":
		return ProviderUnavailable
	}
	if step == Exchange || step == Refresh {
		return ExchangeRefused
	}
	return ProviderError
}
