package notify

import (
	"errors"
	"fmt"
	"log/slog"
	netmail "net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Bounds of a message's fields, in bytes.
const (
	maxText    = 1 << 10
	maxLink    = 2 << 10
	maxAddress = 254 // RFC 5321 §4.5.3.1.3, less the angle brackets
	maxCode    = 32
	maxID      = 64
)

// maxMinutes bounds Message.Minutes: a year.
const maxMinutes = 366 * 24 * 60

// Message is what a person is told. It is flat and survives JSON, so that a job can keep it, sealed,
// among its arguments. Which fields a message needs is said at its [Kind]; others are ignored.
//
// Link and Code are secrets. A Message therefore prints and logs as its kind.
type Message struct {
	// ID, such as that of the job, makes the Message-ID, so that a mail which is sent again is known for
	// the same: at most 64 letters, digits, hyphens and underscores. Empty: a new one at each try.
	ID     string `json:"id,omitempty"`
	Kind   Kind   `json:"kind"`
	Locale string `json:"locale,omitempty"` // BCP 47; empty: English
	To     string `json:"to"`               // a mail address, or a phone number in E.164 form: +491701234567
	Name   string `json:"name,omitempty"`   // of the person, as they or somebody else chose it; cleaned

	Link    string `json:"link,omitempty"`    // http or https, absolute
	Code    string `json:"code,omitempty"`    // 4 to 32 letters, digits and hyphens
	Minutes int    `json:"minutes,omitempty"` // for how long link and code are good

	At       time.Time `json:"at,omitzero"`        // when it happened; shown in UTC
	Due      time.Time `json:"due,omitzero"`       // when it will happen; shown in UTC
	Device   string    `json:"device,omitempty"`   // "Firefox on Windows"; cleaned
	Network  string    `json:"network,omitempty"`  // an IP address or prefix: 203.0.113.0/24
	Factor   string    `json:"factor,omitempty"`   // its name; cleaned
	Provider string    `json:"provider,omitempty"` // its name; cleaned
	By       string    `json:"by,omitempty"`       // who did it, for Impersonated; cleaned
	Reason   string    `json:"reason,omitempty"`   // of an administrator; cleaned
	Machine  string    `json:"machine,omitempty"`  // the name of an API key or service account; cleaned
	Left     int       `json:"left,omitempty"`     // recovery codes that are left, 0 to 1,000
}

// String is the message's kind; the rest is secret or personal.
func (m Message) String() string { return string(m.Kind) }

// LogValue is String.
func (m Message) LogValue() slog.Value { return slog.StringValue(m.String()) }

// Medium is the way m takes, by the form of To.
func (m Message) Medium() Medium {
	if strings.HasPrefix(m.To, "+") && !strings.Contains(m.To, "@") {
		return BySMS
	}
	return ByMail
}

// Validate says what is wrong with m, without repeating what it holds: an unknown kind, an address of
// the wrong form or medium, a field that the kind needs and that is empty, and any field out of its
// bounds.
func (m Message) Validate() error {
	shape, known := shapes[m.Kind]
	if !known {
		return errors.New("the message is of no known kind")
	}
	problems := m.checkFields()
	if !slices.Contains(shape.media, m.Medium()) {
		problems = append(problems, fmt.Errorf("%s does not go by %s", m.Kind, m.Medium()))
	}
	if missing := missing(shape.needs &^ m.fields()); len(missing) > 0 {
		problems = append(problems, fmt.Errorf("%s needs %s", m.Kind, strings.Join(missing, ", ")))
	}
	return errors.Join(problems...)
}

// fields returns which of m's fields hold something.
func (m Message) fields() fields {
	var held fields
	for field, holds := range map[fields]bool{
		hasLink: m.Link != "", hasCode: m.Code != "", hasMinutes: m.Minutes != 0, hasAt: !m.At.IsZero(),
		hasDue: !m.Due.IsZero(), hasDevice: m.Device != "", hasNetwork: m.Network != "",
		hasFactor: m.Factor != "", hasProvider: m.Provider != "", hasBy: m.By != "", hasReason: m.Reason != "",
		hasMachine: m.Machine != "",
	} {
		if holds {
			held |= field
		}
	}
	return held
}

// missing names the fields of f.
func missing(f fields) []string {
	var names []string
	for i, name := range []string{
		"Link", "Code", "Minutes", "At", "Due", "Device", "Network", "Factor", "Provider", "By", "Reason", "Machine",
	} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// checkFields checks each field by itself.
func (m Message) checkFields() []error {
	var problems []error
	check := func(good bool, problem string) {
		if !good {
			problems = append(problems, errors.New(problem))
		}
	}
	check(len(m.ID) <= maxID && strings.Trim(m.ID, alphanumeric+"-_") == "", "ID is not at most 64 letters, digits, hyphens and underscores")
	check(m.Medium() == ByMail && mailAddress(m.To) || phoneNumber(m.To), "To is neither a mail address nor a phone number in E.164 form")
	check(m.Link == "" || goodLink(m.Link), "Link is no absolute http or https address of at most 2,048 characters of ASCII")
	check(m.Code == "" || goodCode(m.Code), "Code is not 4 to 32 letters, digits and hyphens")
	check(m.Minutes >= 0 && m.Minutes <= maxMinutes, "Minutes is not 0 to a year")
	check(m.Left >= 0 && m.Left <= 1000, "Left is not 0 to 1,000")
	check(m.Network == "" || goodNetwork(m.Network), "Network is neither an IP address nor a prefix")
	for _, text := range []string{m.Locale, m.Name, m.Device, m.Factor, m.Provider, m.By, m.Reason, m.Machine} {
		check(len(text) <= maxText, "a text has more than 1 KiB")
	}
	return problems
}

const (
	digits       = "0123456789"
	alphanumeric = digits + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// mailAddress reports whether text is the address of one mailbox, without display name, comment and
// quoted local part. Such a text can stand in a header and in an SMTP command.
func mailAddress(text string) bool {
	if len(text) > maxAddress || strings.ContainsFunc(text, func(c rune) bool { return unicode.IsControl(c) || unicode.IsSpace(c) }) {
		return false
	}
	parsed, err := netmail.ParseAddress(text)
	return err == nil && parsed.Address == text && !strings.HasPrefix(text, `"`)
}

// phoneNumber reports whether text has the international form of ITU-T E.164 §6: a plus sign and at
// most 15 digits.
func phoneNumber(text string) bool {
	number, plus := strings.CutPrefix(text, "+")
	return plus && len(number) >= 7 && len(number) <= 15 && number[0] != '0' && strings.Trim(number, digits) == ""
}

// goodLink reports whether text can stand as it is in plain text and in HTML, and is clickable in both.
func goodLink(text string) bool {
	printable := func(c rune) bool { return c > ' ' && c < 0x7F && !strings.ContainsRune(`"<>\^{|}`+"`", c) }
	if len(text) > maxLink || strings.ContainsFunc(text, func(c rune) bool { return !printable(c) }) {
		return false
	}
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}

func goodCode(text string) bool {
	return len(text) >= 4 && len(text) <= maxCode && strings.Trim(text, alphanumeric+"-") == ""
}

func goodNetwork(text string) bool {
	if _, err := netip.ParsePrefix(text); err == nil {
		return true
	}
	ip, err := netip.ParseAddr(text)
	return err == nil && ip.Zone() == ""
}
