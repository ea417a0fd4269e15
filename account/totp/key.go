package totp

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// KeyBytes is the length of a key: 160 bits, as RFC 4226 §4 (R6) recommends.
const KeyBytes = 20

// Key is the secret that an app and Gatehouse share. It prints as "[TOTP key]" and reaches no log;
// Text is the one way out.
type Key [KeyBytes]byte

// ErrKey is a text that is not the base32 of 20 bytes. It does not show the text.
var ErrKey = errors.New("a TOTP key is 32 characters of base32")

// New draws a key from the system's source of randomness.
func New() Key {
	var key Key
	rand.Read(key[:]) // never fails: crypto/rand ends the program instead
	return key
}

// Parse reads a key from base32 (RFC 4648 §6) as Text writes it or as a person copies it: in either
// case, with spaces and dashes.
func Parse(text string) (Key, error) {
	if len(text) > 4*KeyBytes {
		return Key{}, ErrKey
	}
	text = strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(text))
	if len(text) != base32.StdEncoding.EncodedLen(KeyBytes) || strings.ContainsAny(text, "\r\n") {
		return Key{}, ErrKey
	}
	raw, err := base32.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != KeyBytes {
		return Key{}, ErrKey
	}
	return Key(raw), nil
}

// Text returns the key as 32 characters of base32, to be typed into an app or sealed for the store.
func (k Key) Text() string { return base32.StdEncoding.EncodeToString(k[:]) }

// String hides the key from fmt.
func (k Key) String() string { return "[TOTP key]" }

// GoString hides the key from %#v.
func (k Key) GoString() string { return k.String() }

// LogValue hides the key from slog.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText hides the key from encoders.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// URI returns the otpauth URI that an app reads to add the key, after the Key Uri Format of Google
// Authenticator. It names issuer, the product, both before the label and as a parameter, since old
// apps know only the one and new ones trust only the other. Neither name may hold a colon there, so
// theirs become spaces; issuer must not be empty.
func (k Key) URI(issuer, account string) string {
	issuer, account = uriName(issuer), uriName(account)
	return "otpauth://totp/" + issuer + ":" + account +
		"?secret=" + k.Text() + "&issuer=" + issuer +
		"&algorithm=SHA1&digits=" + strconv.Itoa(Digits) + "&period=" + strconv.Itoa(int(Period/time.Second))
}

// uriName escapes a name for both parts of the URI: spaces as %20, because apps show a "+".
func uriName(name string) string {
	name = strings.TrimSpace(strings.ReplaceAll(name, ":", " "))
	return strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
}
