package account

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/internal/fault"

	"golang.org/x/text/unicode/norm"
)

// Bounds of RFC 5321 §4.5.3.1, in octets.
const (
	maxEmail     = 254
	maxLocalPart = 64
	maxLabel     = 63
)

// Identifier names an address without showing it: the same text for each spelling of an address,
// whether or not it has an account.
func (a *Accounts) Identifier(email string) string { return hex.EncodeToString(a.emailIndex(email)) }

// emailIndex is the keyed hash by which an address is found.
func (a *Accounts) emailIndex(email string) []byte { return indexOf(a.index, email) }

func indexOf(key []byte, email string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(canonical(email)))
	return mac.Sum(nil)
}

// canonical gives the spellings of one address one form: no space around it, NFC, small ASCII letters.
// Other letters keep their case: Unicode's rules make "k" of a KELVIN SIGN, and two letters of a dotted İ.
// Providers' own rules, such as dots that do not count, are theirs.
func canonical(email string) string {
	if len(email) > 2*maxEmail {
		return "" // no address; not worth folding
	}
	email = strings.TrimSpace(email)
	if !strings.ContainsFunc(email, looksASCII) {
		email = norm.NFC.String(email)
	}
	return strings.Map(lowerASCII, email)
}

// looksASCII reports whether NFC makes an ASCII character of r, which is none: an address with it would be
// another's.
func looksASCII(r rune) bool {
	return r >= utf8.RuneSelf && norm.NFC.String(string(r))[0] < utf8.RuneSelf
}

func lowerASCII(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// parseEmail returns the address as it is kept. Faults name the field email.
func parseEmail(email string) (string, error) {
	if strings.ContainsFunc(email, looksASCII) {
		return "", badEmail()
	}
	email = norm.NFC.String(strings.TrimSpace(email))
	if email == "" {
		return "", fault.New(fault.Required, "email", "Enter an e-mail address.")
	}
	if len(email) > maxEmail {
		return "", fault.New(fault.TooLong, "email", "An e-mail address has at most 254 characters.")
	}
	parsed, err := mail.ParseAddress(email)
	if err != nil || parsed.Address != email || strings.ContainsFunc(email, unicode.IsControl) {
		return "", badEmail()
	}
	at := strings.LastIndexByte(email, '@')
	if at > maxLocalPart || !validDomain(email[at+1:]) {
		return "", badEmail()
	}
	return email, nil
}

func badEmail() error {
	return fault.New(fault.Invalid, "email", "This is not an e-mail address.")
}

// validDomain reports whether domain is a host name of several labels (RFC 5321 §2.3.5), or
// localhost. A name in other letters than ASCII is written in its A-label form, "xn--…": taking both
// would give one address two accounts.
func validDomain(domain string) bool {
	labels := strings.Split(domain, ".")
	if len(labels) < 2 && !strings.EqualFold(domain, "localhost") {
		return false
	}
	for _, label := range labels {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
			if !letter && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}

// Bounds of what a person says of themselves, in characters.
const (
	maxName   = 200
	maxLocale = 35 // RFC 5646 §4.4.1
)

// parseName returns the name as it is kept. Faults name the field name.
func parseName(name string) (string, error) {
	if len(name) > utf8.UTFMax*maxName {
		return "", longName()
	}
	name = norm.NFC.String(strings.TrimSpace(name))
	switch {
	case utf8.RuneCountInString(name) > maxName:
		return "", longName()
	case !utf8.ValidString(name), strings.ContainsFunc(name, unicode.IsControl):
		return "", fault.New(fault.Invalid, "name", "A name is written without control characters.")
	}
	return name, nil
}

func longName() error {
	return fault.New(fault.TooLong, "name", "A name has at most 200 characters.")
}

// parseLocale returns a language tag (BCP 47), "en" for none. Faults name the field locale.
func parseLocale(locale string) (string, error) {
	if locale == "" {
		return "en", nil
	}
	if len(locale) > maxLocale {
		return "", badLocale()
	}
	for _, part := range strings.Split(locale, "-") {
		if part == "" || len(part) > 8 || strings.ContainsFunc(part, notAlphanumeric) {
			return "", badLocale()
		}
	}
	return locale, nil
}

func notAlphanumeric(r rune) bool {
	return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r)
}

func badLocale() error {
	return fault.New(fault.Invalid, "locale", "A locale is a language tag such as en or de-CH.")
}
