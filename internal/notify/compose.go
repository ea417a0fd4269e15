package notify

import (
	"bytes"
	"crypto/rand"
	"errors"
	netmail "net/mail"
	"strings"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"
)

// messageID returns the Message-ID of a message, a random one when it has no id.
func (s *SMTP) messageID(id string) string {
	if id == "" {
		id = strings.ToLower(rand.Text())
	}
	return id + "@" + domain(s.options.From.Address)
}

// compose returns r in the form of RFC 5322: text and HTML as multipart/alternative (RFC 2046 §5.1.4)
// in quoted-printable. Auto-Submitted (RFC 3834 §5) and
// Microsoft's X-Auto-Response-Suppress keep vacation notices from answering.
func (s *SMTP) compose(r Rendered, messageID string) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if !mailAddress(r.To) {
		return nil, errors.New("the recipient is no mail address")
	}
	if r.Subject == "" {
		return nil, errors.New("the subject is empty")
	}
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(&s.options.From)
	m.ToMailAddress(&netmail.Address{Address: r.To})
	m.Subject(r.Subject)
	m.SetDateWithValue(s.options.Now().UTC())
	m.SetMessageIDWithValue(messageID)
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetGenHeader(gomail.HeaderXAutoResponseSuppress, "All")
	if r.Language != "" {
		m.SetGenHeader(gomail.HeaderContentLang, r.Language)
	}
	m.SetBodyString(gomail.TypeTextPlain, r.Text)
	if r.HTML != "" {
		m.AddAlternativeString(gomail.TypeTextHTML, r.HTML)
	}
	var composed bytes.Buffer
	if _, err := m.WriteTo(&composed); err != nil {
		return nil, err
	}
	return composed.Bytes(), nil
}

func domain(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

// ascii reports whether text needs no SMTPUTF8 (RFC 6531).
func ascii(text string) bool {
	return strings.IndexFunc(text, func(c rune) bool { return c >= utf8.RuneSelf }) < 0
}
