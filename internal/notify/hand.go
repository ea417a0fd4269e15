package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
)

// ErrUncertain says that a server was given a whole mail and that nobody knows what became of it: it fell
// silent or broke off before it had answered. It comes with ErrTemporary; another try may send the mail
// twice.
var ErrUncertain = errors.New("perhaps delivered")

// OwnWords is the kind of a [Mail], as an outbox shows it; no [Message] has it.
const OwnWords Kind = "ownWords"

// Mail is a mail in the words of whoever sends it. It prints and logs as its kind.
type Mail struct {
	ID      string `json:"-"` // as Message.ID; must not be empty
	To      string `json:"to"`
	Subject string `json:"subject"` // one line
	Text    string `json:"text"`
	HTML    string `json:"html,omitempty"` // handed on as it is; may be empty
}

// String is the mail's kind; the rest is personal.
func (m Mail) String() string { return string(OwnWords) }

// LogValue is String.
func (m Mail) LogValue() slog.Value { return slog.StringValue(m.String()) }

// Receipt is what a server said when it took a mail.
type Receipt struct {
	MessageID string // as the mail carries it, in angle brackets
	At        time.Time
	Response  string // one line of at most 300 characters: 250 2.0.0 Ok: queued as 4XY; may repeat the address
}

// Mailer is a [Sender] for those who must not send a mail twice.
type Mailer interface {
	Sender
	// Hand is Send that calls ready once the server wants the content, and before it gets any of it: an
	// error of ready ends the sending, and the server has no mail. An error that is not ErrUncertain says
	// that the server has not taken the mail.
	Hand(ctx context.Context, r Rendered, ready func() error) (Receipt, error)
}

// Hand gives m to the mail server; see [Mailer]. Errors are ErrTemporary, also with ErrUncertain or the
// error of ready, or ErrPermanent.
func (p *Post) Hand(ctx context.Context, m Mail, ready func() error) (Receipt, error) {
	mailer, ok := p.senders[ByMail].(Mailer)
	if !ok {
		return Receipt{}, fmt.Errorf("hand over %s: %w: %w for %s", m, ErrPermanent, ErrNoSender, ByMail)
	}
	if m.ID == "" {
		return Receipt{}, fmt.Errorf("hand over %s: %w: it has no ID", m, ErrPermanent)
	}
	r := Rendered{ID: m.ID, Kind: OwnWords, To: m.To, Subject: m.Subject, Text: m.Text, HTML: m.HTML}
	receipt, err := mailer.Hand(ctx, r, ready)
	if err != nil {
		return Receipt{}, fmt.Errorf("hand over %s: %w", m, err)
	}
	return receipt, nil
}

// Hand implements [Mailer].
func (s *SMTP) Hand(ctx context.Context, r Rendered, ready func() error) (Receipt, error) {
	id := s.messageID(r.ID)
	content, err := s.compose(r, id)
	if err != nil {
		return Receipt{}, fmt.Errorf("compose mail: %w: %w", ErrPermanent, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Timeout, fmt.Errorf("no end within %v", s.options.Timeout))
	defer cancel()
	response, err := s.converse(ctx, r.To, content, ready)
	if err != nil {
		return Receipt{}, fmt.Errorf("send mail: %w", explain(ctx, err))
	}
	return Receipt{MessageID: "<" + id + ">", At: s.options.Now().UTC(), Response: oneLine("250 " + response)}, nil
}

// maxResponse bounds Receipt.Response, in characters.
const maxResponse = 300

// oneLine makes a server's words a line of printable characters.
func oneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }), " ")
	if runes := []rune(text); len(runes) > maxResponse {
		return string(runes[:maxResponse])
	}
	return text
}

// Hand implements [Mailer]: there is nothing that could stay uncertain.
func (o *Outbox) Hand(ctx context.Context, r Rendered, ready func() error) (Receipt, error) {
	if err := ready(); err != nil {
		return Receipt{}, fmt.Errorf("keep message: %w: %w", ErrTemporary, err)
	}
	if err := o.Send(ctx, r); err != nil {
		return Receipt{}, err
	}
	return Receipt{MessageID: "<" + r.ID + "@outbox.invalid>", At: o.now().UTC(), Response: "250 Kept in the outbox"}, nil
}
