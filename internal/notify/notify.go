// Package notify sends a person a message: by mail or by SMS, in their language.
//
// # How it is used
//
// A cause, such as a password that was changed, writes a [Message] into a job in its own transaction;
// the job calls [Post.Deliver], which renders the message and hands it to a [Sender]. [SMTP] sends
// mail, [SMS] goes through a vendor's HTTP form, and in development an [Outbox] keeps both as files
// and shows them as pages. An error is either [ErrTemporary], so that the job tries again, or
// [ErrPermanent], so that it does not.
//
// # Words
//
// Everything that is said stands in words/<language>.txt, one file a language, as named blocks of
// text/template: a message's subject, body, button and note, and what all messages share. Prose is
// plain text there; layout.txt and layout.html set it. So a translator works in one file without
// markup, and HTML escaping does not depend on them. [Message.Locale] chooses the file by its first
// subtag (BCP 47): de-AT is German; what nobody has translated is English.
//
// # What a stranger may write
//
// Anybody can register somebody else's address under a name of their choice. Names, devices and
// reasons are therefore cut and cleaned before they enter a message: no address that a mail program
// would make clickable survives, and no line end.
//
// # Bounds
//
// A message's texts have at most 1 KiB each and its link 2 KiB. A rendered message has at most 1 MiB.
// One sending takes at most the sender's time-out, 10 seconds, and reads at most 1 MiB from a mail
// server and 64 KiB from a vendor. An outbox keeps 200 messages. Nothing runs between calls.
//
// Links and codes are secrets: they enter no error, and neither do addresses and numbers.
package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	// ErrTemporary says that a message was not delivered and that another try may: the network, a
	// time-out, a server that asks for patience, or one that does not let us in, which an operator
	// mends.
	ErrTemporary = errors.New("not delivered yet")
	// ErrPermanent says that another try would end the same way: the message or its address is bad,
	// or the server has refused it for good.
	ErrPermanent = errors.New("undeliverable")
	// ErrNoSender says that nothing is configured for the message's medium. It comes with
	// ErrPermanent; [Post.Carries] tells beforehand.
	ErrNoSender = errors.New("no sender is configured")
)

// Sender hands one rendered message on. Its errors are ErrTemporary or ErrPermanent.
type Sender interface {
	Send(ctx context.Context, r Rendered) error
}

// Options of a Post. The zero value renders but delivers nothing.
type Options struct {
	Product string // what people know the service as, at most 32 characters; zero: "Gatehouse"
	// Host is the domain, without port, that codes in SMS are bound to: a browser offers to fill one in
	// on its pages only. Empty: codes are not bound.
	Host string
	Mail Sender // nil: mail is ErrNoSender
	SMS  Sender // nil: SMS is ErrNoSender
}

// maxProduct keeps every subject within 78 characters (RFC 5322 §2.1.1).
const maxProduct = 32

// Post renders messages and hands them to the sender of their medium. It is safe for concurrent use.
type Post struct {
	product string
	host    string
	senders map[Medium]Sender
	words   map[string]*language
	layouts layouts
}

// New reads the words and layouts. It fails for a product name that cannot stand in a subject, and for
// a host that is no domain.
func New(o Options) (*Post, error) {
	if o.Product == "" {
		o.Product = "Gatehouse"
	}
	if utf8.RuneCountInString(o.Product) > maxProduct || strings.ContainsFunc(o.Product, unicode.IsControl) {
		return nil, fmt.Errorf("the product name has more than %d characters or a control character", maxProduct)
	}
	if o.Host != "" && strings.Trim(o.Host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != "" {
		return nil, fmt.Errorf("%q is no domain; write it without scheme, port and path", o.Host)
	}
	words, err := readWords()
	if err != nil {
		return nil, fmt.Errorf("read words: %w", err)
	}
	layouts, err := readLayouts()
	if err != nil {
		return nil, fmt.Errorf("read layouts: %w", err)
	}
	p := &Post{product: o.Product, host: o.Host, senders: make(map[Medium]Sender), words: words, layouts: layouts}
	if o.Mail != nil {
		p.senders[ByMail] = o.Mail
	}
	if o.SMS != nil {
		p.senders[BySMS] = o.SMS
	}
	return p, nil
}

// Carries reports whether a sender is configured for medium.
func (p *Post) Carries(medium Medium) bool { return p.senders[medium] != nil }

// Deliver renders m and hands it to the sender of its medium. Errors are ErrTemporary or ErrPermanent.
// A message may arrive twice if its delivery was cut off and is tried again; mail then carries the
// same Message-ID, provided that m has an ID.
func (p *Post) Deliver(ctx context.Context, m Message) error {
	rendered, err := p.Render(m)
	if err != nil {
		return fmt.Errorf("deliver %s: %w: %w", m, ErrPermanent, err)
	}
	sender := p.senders[m.Medium()]
	if sender == nil {
		return fmt.Errorf("deliver %s: %w: %w for %s", m, ErrPermanent, ErrNoSender, m.Medium())
	}
	if err := sender.Send(ctx, rendered); err != nil {
		return fmt.Errorf("deliver %s: %w", m, err)
	}
	return nil
}
