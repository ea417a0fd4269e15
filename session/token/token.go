// Package token makes and checks the tokens of a session. It is pure: no store, no network, the
// clock passed in.
//
// # Access tokens
//
// [Issue] and [Verify] speak signed JSON Web Tokens (RFC 7519) in the profile of RFC 9068, with the
// rules of RFC 8725: the header names the type and the key, the algorithm is the one that belongs to
// that key and never the one that the token would like, issuer, audience and expiry are required.
// Algorithms are EdDSA (RFC 8037), ES256 and RS256 (RFC 7518); there is no shared secret and no
// "none", so neither can be confused with a key. A token has at most [MaxBytes] bytes.
//
// A [Purpose] keeps tokens of different use apart: it shapes both the header's type and the audience,
// so a challenge is no access token, whoever shows it.
//
// # Keys
//
// A [KeySet] signs with its current key and verifies with the next and the retired ones too, which is
// how keys change without a refused token; [KeySet.JWKS] is what other verifiers read (RFC 7517).
//
// # Opaque tokens
//
// [NewOpaque] draws the secrets that carry no claims: refresh tokens, links, recovery codes of a
// machine. Only their hash is stored.
package token

import (
	"errors"
	"strings"
	"time"
)

// MaxBytes is the longest token, in bytes, that Issue makes and Verify reads.
const MaxBytes = 8 << 10

// The errors of Verify. Each tells the client no more than its name; a token that has several faults
// reports the first in this order.
var (
	// ErrMalformed is a text that is no token of ours: too long, not three parts of base64url, no
	// JSON, no expiry, another type.
	ErrMalformed = errors.New("token is malformed")
	// ErrUnknownKey is a token whose key is not, or no longer, in the set.
	ErrUnknownKey = errors.New("token names an unknown key")
	// ErrSignature is a token that its key did not sign, or an algorithm that is not its key's.
	ErrSignature = errors.New("token has a wrong signature")
	// ErrWrongIssuer is a token of another issuer.
	ErrWrongIssuer = errors.New("token has another issuer")
	// ErrWrongAudience is a token for another audience or for several.
	ErrWrongAudience = errors.New("token is for another audience")
	// ErrExpired is a token at or after its expiry.
	ErrExpired = errors.New("token has expired")
	// ErrNotYet is a token that was issued, or begins to hold, in the future.
	ErrNotYet = errors.New("token does not hold yet")
	// ErrTooLong is a token that Issue would make longer than MaxBytes.
	ErrTooLong = errors.New("token is too long")
)

// Purpose is what a token is good for. The zero value is access to the API.
type Purpose string

const (
	// Access opens the API (RFC 9068).
	Access Purpose = ""
	// Challenge is a sign-in that waits for its second factor.
	Challenge Purpose = "challenge"
	// Mail proves that a message arrived: confirming an address, resetting a password.
	Mail Purpose = "mail"
	// OAuthState travels to an identity provider and back.
	OAuthState Purpose = "oauth-state"
	// TrustedDevice spares a device the second factor.
	TrustedDevice Purpose = "trusted-device"
	// Artifact opens one file of a job.
	Artifact Purpose = "artifact"
)

// Audience returns the audience that tokens of this purpose carry where access tokens carry base.
func (p Purpose) Audience(base string) string {
	if p == Access {
		return base
	}
	return base + "#" + string(p)
}

// headerType is the explicit type of RFC 8725 §3.11; access tokens have the one of RFC 9068 §2.1.
func (p Purpose) headerType() string {
	if p == Access {
		return "at+jwt"
	}
	return string(p) + "+jwt"
}

// Claims are what a token says. Times are kept to the second.
type Claims struct {
	Purpose  Purpose // shapes the header's typ and aud
	Issuer   string  // iss, required
	Audience string  // aud without the purpose, required
	Subject  string  // sub: the account, or the machine
	ClientID string  // client_id, RFC 9068 §2.2
	Session  string  // sid, OpenID Connect Front-Channel Logout §3
	Version  int64   // ver: the session's version when the token was issued
	ID       string  // jti, unique

	Class    string    // acr: "aal1" or "aal2"
	Methods  []string  // amr, RFC 8176
	AuthTime time.Time // auth_time: when the person last proved who they are

	Roles []string // roles, RFC 9068 §2.2.3.1
	Scope []string // scope, joined by spaces (RFC 8693 §4.2)
	Actor string   // act.sub: who acts in the subject's place (RFC 8693 §4.1)

	IssuedAt  time.Time // iat, required
	NotBefore time.Time // nbf
	ExpiresAt time.Time // exp, required
}

// wireClaims is the JSON of Claims, in seconds since 1970 where it is a time.
type wireClaims struct {
	Issuer    string   `json:"iss"`
	Audience  audience `json:"aud"`
	Subject   string   `json:"sub,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
	Session   string   `json:"sid,omitempty"`
	Version   int64    `json:"ver,omitempty"`
	ID        string   `json:"jti,omitempty"`
	Class     string   `json:"acr,omitempty"`
	Methods   []string `json:"amr,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	Roles     []string `json:"roles,omitempty"`
	Scope     string   `json:"scope,omitempty"`
	Actor     *actor   `json:"act,omitempty"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf,omitempty"`
	ExpiresAt int64    `json:"exp"`
}

type actor struct {
	Subject string `json:"sub"`
}

func (c Claims) wire() *wireClaims {
	w := &wireClaims{
		Issuer: c.Issuer, Audience: audience(c.Purpose.Audience(c.Audience)), Subject: c.Subject,
		ClientID: c.ClientID, Session: c.Session, Version: c.Version, ID: c.ID,
		Class: c.Class, Methods: c.Methods, AuthTime: seconds(c.AuthTime),
		Roles: c.Roles, Scope: strings.Join(c.Scope, " "),
		IssuedAt: seconds(c.IssuedAt), NotBefore: seconds(c.NotBefore), ExpiresAt: seconds(c.ExpiresAt),
	}
	if c.Actor != "" {
		w.Actor = &actor{Subject: c.Actor}
	}
	return w
}

// claims is the way back; the purpose and the base audience are those that were checked.
func (w *wireClaims) claims(purpose Purpose, base string) Claims {
	c := Claims{
		Purpose: purpose, Issuer: w.Issuer, Audience: base, Subject: w.Subject,
		ClientID: w.ClientID, Session: w.Session, Version: w.Version, ID: w.ID,
		Class: w.Class, Methods: w.Methods, AuthTime: moment(w.AuthTime),
		Roles: w.Roles, Scope: strings.Fields(w.Scope),
		IssuedAt: moment(w.IssuedAt), NotBefore: moment(w.NotBefore), ExpiresAt: moment(w.ExpiresAt),
	}
	if len(c.Scope) == 0 {
		c.Scope = nil
	}
	if w.Actor != nil {
		c.Actor = w.Actor.Subject
	}
	return c
}

// seconds is a NumericDate (RFC 7519 §2) without a fraction; the zero time is 0, which is left out.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func moment(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
