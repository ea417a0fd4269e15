package token

import (
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// Issue signs claims with key. Issuer, audience, issue time and expiry are required, and the expiry
// comes after the issue time. ErrTooLong is a token above MaxBytes.
func Issue(key SigningKey, claims Claims) (string, error) {
	if err := claims.complete(); err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	if key.private == nil {
		return "", errors.New("issue token: no key")
	}
	unsigned := jwt.NewWithClaims(key.Algorithm.method(), claims.wire())
	unsigned.Header["typ"] = claims.Purpose.headerType()
	unsigned.Header["kid"] = key.ID
	signed, err := unsigned.SignedString(key.private)
	if err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	if len(signed) > MaxBytes {
		return "", fmt.Errorf("issue token: %d bytes: %w", len(signed), ErrTooLong)
	}
	return signed, nil
}

// complete reports what Verify would miss.
func (c Claims) complete() error {
	switch {
	case c.Issuer == "":
		return errors.New("no issuer")
	case c.Audience == "":
		return errors.New("no audience")
	case seconds(c.IssuedAt) <= 0:
		return errors.New("no issue time")
	case seconds(c.ExpiresAt) <= seconds(c.IssuedAt):
		return errors.New("expiry is not after issue time")
	}
	for _, scope := range c.Scope {
		if words := strings.Fields(scope); len(words) != 1 || words[0] != scope {
			return errors.New("a scope is empty or has a space in it")
		}
	}
	return nil
}
