package notify

import (
	"embed"
	"errors"
	"fmt"
	html "html/template"
	"log/slog"
	"strings"
	text "text/template"
	"unicode"
	"unicode/utf8"
)

//go:embed layout.txt layout.html
var layoutFiles embed.FS

const (
	maxRendered = 1 << 20 // bytes of a rendered message
	maxSubject  = 255     // bytes of a subject
	lineRunes   = 72      // of prose in plain text, which leaves room for marks of quotation
)

// Rendered is a message as a sender takes it. Code and Link are those that Text contains; like the
// texts, they are secret, so a Rendered prints and logs as its kind.
type Rendered struct {
	ID       string `json:"id,omitempty"` // as Message.ID
	Kind     Kind   `json:"kind"`
	Language string `json:"language"`
	To       string `json:"to"`
	Subject  string `json:"subject,omitempty"` // of a mail: one line
	Text     string `json:"text"`
	HTML     string `json:"html,omitempty"` // of a mail; may be empty
	Code     string `json:"code,omitempty"`
	Link     string `json:"link,omitempty"`
}

// String is the message's kind.
func (r Rendered) String() string { return string(r.Kind) }

// LogValue is String.
func (r Rendered) LogValue() slog.Value { return slog.StringValue(r.String()) }

// check refuses what no sender may be given, whoever made it.
func (r Rendered) check() error {
	switch {
	case strings.Trim(r.ID, alphanumeric+"-_") != "" || len(r.ID) > maxID:
		return errors.New("ID is not at most 64 letters, digits, hyphens and underscores")
	case len(r.Subject) > maxSubject || strings.ContainsFunc(r.Subject, unicode.IsControl):
		return errors.New("the subject is no line of at most 255 bytes")
	case len(r.Text)+len(r.HTML) > maxRendered:
		return errors.New("the message has more than 1 MiB")
	case !utf8.ValidString(r.Subject) || !utf8.ValidString(r.Text) || !utf8.ValidString(r.HTML):
		return errors.New("the message is not UTF-8")
	}
	return nil
}

type layouts struct {
	text *text.Template
	html *html.Template
}

func readLayouts() (layouts, error) {
	plain, err := text.New("layout.txt").Funcs(text.FuncMap{"wrap": wrap}).ParseFS(layoutFiles, "layout.txt")
	if err != nil {
		return layouts{}, err
	}
	rich, err := html.ParseFS(layoutFiles, "layout.html")
	return layouts{text: plain, html: rich}, err
}

// sheet is what the layouts set: prose by line and paragraph, and what stands beside it.
type sheet struct {
	Language, Subject string
	Greeting          string
	Body              []string
	CodeLabel, Code   string // empty: none
	Button, Link      string // empty: none
	Copy              string
	Details           []detail
	Note              []string
	Footer            string
}

type detail struct{ Label, Value string }

// Render returns m in its language. Errors are those of [Message.Validate].
func (p *Post) Render(m Message) (Rendered, error) {
	if err := m.Validate(); err != nil {
		return Rendered{}, err
	}
	m = m.cleaned()
	l := p.language(m.Locale)
	said, err := p.facts(l, m)
	if err != nil {
		return Rendered{}, err
	}
	r := Rendered{ID: m.ID, Kind: m.Kind, Language: l.tag, To: m.To, Code: m.Code, Link: m.Link}
	if m.Medium() == BySMS {
		r.Text, err = p.sms(l, m, said)
		return r, err
	}
	s, err := newSheet(l, m, said)
	if err != nil {
		return Rendered{}, err
	}
	var plain, rich strings.Builder
	if err := errors.Join(p.layouts.text.Execute(&plain, s), p.layouts.html.Execute(&rich, s)); err != nil {
		return Rendered{}, fmt.Errorf("render %s: %w", m, err)
	}
	r.Subject, r.Text, r.HTML = s.Subject, plain.String(), rich.String()
	return r, nil
}

// facts returns what the prose of m may name.
func (p *Post) facts(l *language, m Message) (facts, error) {
	f := facts{
		Product: p.product, Name: m.Name, Code: m.Code, Left: m.Left,
		Factor: m.Factor, Provider: m.Provider, By: m.By, Machine: m.Machine,
	}
	var expiry, due error
	if m.Minutes > 0 {
		f.Expiry, expiry = l.duration(m.Minutes)
	}
	if !m.Due.IsZero() {
		f.Due, due = l.moment(m.Due)
	}
	return f, errors.Join(expiry, due)
}

// sms returns the text of an SMS: one line and, where the code is bound to a host, a second one in the
// form of the WICG draft "Origin-bound one-time codes delivered via SMS" §2.1, which wants it last.
func (p *Post) sms(l *language, m Message, f facts) (string, error) {
	line, err := l.line(string(m.Kind)+".sms", f)
	if err != nil || p.host == "" {
		return line, err
	}
	return line + "\n@" + p.host + " #" + m.Code, nil
}

// newSheet says m in words of l.
func newSheet(l *language, m Message, f facts) (sheet, error) {
	var problems []error
	line := func(block string) string {
		said, err := l.line(block, f)
		problems = append(problems, err)
		return said
	}
	prose := func(block string) []string {
		said, err := l.paragraphs(block, f)
		problems = append(problems, err)
		return said
	}
	kind := string(m.Kind)
	s := sheet{
		Language: l.tag, Subject: line(kind + ".subject"), Greeting: line("greeting"),
		Body: prose(kind + ".body"), Note: prose(kind + ".note"), Footer: line("footer"),
	}
	if m.Code != "" {
		s.CodeLabel, s.Code = line("code"), m.Code
	}
	if m.Link != "" {
		s.Button, s.Link, s.Copy = line(kind+".button"), m.Link, line("copy")
	}
	when := ""
	if !m.At.IsZero() {
		said, err := l.moment(m.At)
		problems, when = append(problems, err), said
	}
	for _, d := range [...]struct{ label, value string }{
		{"when", when}, {"device", m.Device}, {"network", m.Network}, {"reason", m.Reason},
	} {
		if d.value != "" {
			s.Details = append(s.Details, detail{line(d.label), d.value})
		}
	}
	return s, errors.Join(problems...)
}

// wrap breaks a line between words, so that each has at most 72 characters unless one word has more.
func wrap(line string) string {
	var wrapped strings.Builder
	length := 0
	for i, word := range strings.Fields(line) {
		size := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case length+1+size > lineRunes:
			wrapped.WriteByte('\n')
			length = 0
		default:
			wrapped.WriteByte(' ')
			length++
		}
		wrapped.WriteString(word)
		length += size
	}
	return wrapped.String()
}
