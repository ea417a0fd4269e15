package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// DefaultLeeway is how far two clocks may differ.
const DefaultLeeway = 30 * time.Second

// Options are what Verify holds a token against. Issuer and Audience are required.
type Options struct {
	Issuer   string
	Audience string           // as in Claims: without the purpose
	Purpose  Purpose          // zero: Access
	Now      func() time.Time // nil: time.Now
	Leeway   time.Duration    // zero: DefaultLeeway; below zero: none
}

// Verify returns the claims of token if one of keys signed it for the issuer, audience and purpose of
// o and it holds now. Its errors are those of this package, to be told apart by errors.Is, and an
// error for options without issuer or audience.
func Verify(keys KeySet, token string, o Options) (Claims, error) {
	if o.Issuer == "" || o.Audience == "" {
		return Claims{}, errors.New("verify token: options lack issuer or audience")
	}
	if !wellFormed(token) {
		return Claims{}, ErrMalformed
	}
	var claims wireClaims
	if _, err := o.parser(keys).ParseWithClaims(token, &claims, o.selectKey(keys)); err != nil {
		return Claims{}, plain(err)
	}
	return claims.claims(o.Purpose, o.Audience), nil
}

// wellFormed looks at length and alphabet. The base64 decoder below us skips line breaks, which would
// give one token many spellings.
func wellFormed(token string) bool {
	if len(token) > MaxBytes {
		return false
	}
	for i := range len(token) {
		c := token[i]
		base64url := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_'
		if !base64url && c != '.' {
			return false
		}
	}
	return true
}

// parser checks, after the signature, issuer, audience, expiry (required), nbf and iat.
func (o Options) parser(keys KeySet) *jwt.Parser {
	leeway := o.Leeway
	if leeway == 0 {
		leeway = DefaultLeeway
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(keys.algorithms()),
		jwt.WithStrictDecoding(),
		jwt.WithIssuer(o.Issuer),
		jwt.WithAudience(o.Purpose.Audience(o.Audience)),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(max(leeway, 0)),
	}
	if o.Now != nil {
		options = append(options, jwt.WithTimeFunc(o.Now))
	}
	return jwt.NewParser(options...)
}

// selectKey finds the key by its id and holds the header against it: the type is the purpose's, the
// algorithm is the key's own (RFC 8725 §3.1), and no extension is asked for that we do not know
// (RFC 7515 §4.1.11).
func (o Options) selectKey(keys KeySet) jwt.Keyfunc {
	return func(token *jwt.Token) (any, error) {
		if typ, _ := token.Header["typ"].(string); typ != o.Purpose.headerType() {
			return nil, ErrMalformed
		}
		if _, critical := token.Header["crit"]; critical {
			return nil, ErrMalformed
		}
		kid, _ := token.Header["kid"].(string)
		key, known := keys.byID[kid]
		if !known {
			return nil, ErrUnknownKey
		}
		if token.Method.Alg() != string(key.Algorithm) {
			return nil, ErrSignature
		}
		return key.public, nil
	}
}

// plain turns the parser's error, which may hold several, into the first of ours.
func plain(err error) error {
	for _, row := range []struct{ is, plain error }{
		{ErrMalformed, ErrMalformed},
		{jwt.ErrTokenMalformed, ErrMalformed},
		{ErrUnknownKey, ErrUnknownKey},
		{ErrSignature, ErrSignature},
		{jwt.ErrTokenSignatureInvalid, ErrSignature},
		{jwt.ErrTokenUnverifiable, ErrSignature},
		{jwt.ErrTokenRequiredClaimMissing, ErrMalformed},
		{jwt.ErrTokenInvalidIssuer, ErrWrongIssuer},
		{jwt.ErrTokenInvalidAudience, ErrWrongAudience},
		{jwt.ErrTokenExpired, ErrExpired},
		{jwt.ErrTokenNotValidYet, ErrNotYet},
		{jwt.ErrTokenUsedBeforeIssued, ErrNotYet},
	} {
		if errors.Is(err, row.is) {
			return row.plain
		}
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// audience is one audience. RFC 7519 §4.1.3 allows a list; ours is never longer than one, and a token
// for several is good for none of them, since each could replay it to the others.
type audience string

// UnmarshalJSON reads a string or a list of one.
func (a *audience) UnmarshalJSON(data []byte) error {
	if strings.HasPrefix(string(data), "[") {
		var list []string
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		*a = manyAudiences
		if len(list) == 1 {
			*a = audience(list[0])
		}
		return nil
	}
	return json.Unmarshal(data, (*string)(a))
}

// manyAudiences equals no audience that a configuration may hold.
const manyAudiences audience = "\x00several"

// The methods below make wireClaims the claims of the parser.

// GetExpirationTime returns exp.
func (w *wireClaims) GetExpirationTime() (*jwt.NumericDate, error) { return date(w.ExpiresAt), nil }

// GetIssuedAt returns iat.
func (w *wireClaims) GetIssuedAt() (*jwt.NumericDate, error) { return date(w.IssuedAt), nil }

// GetNotBefore returns nbf.
func (w *wireClaims) GetNotBefore() (*jwt.NumericDate, error) { return date(w.NotBefore), nil }

// GetIssuer returns iss.
func (w *wireClaims) GetIssuer() (string, error) { return w.Issuer, nil }

// GetSubject returns sub.
func (w *wireClaims) GetSubject() (string, error) { return w.Subject, nil }

// GetAudience returns aud.
func (w *wireClaims) GetAudience() (jwt.ClaimStrings, error) {
	return jwt.ClaimStrings{string(w.Audience)}, nil
}

func date(seconds int64) *jwt.NumericDate {
	if seconds == 0 {
		return nil
	}
	return &jwt.NumericDate{Time: time.Unix(seconds, 0)}
}
