package account

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/notify"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

// SendEmail is the kind of job that sends a mail in the words of its owner.
const SendEmail = "sendEmail"

// How often mails may be sent, so that a stolen key fills neither the world's mailboxes nor one: by an
// account, and to an address whoever sends.
var (
	emailsOfSender = limit.Rule{Name: "email-sender", Limit: 600, Per: time.Hour, Burst: 100}
	emailsTo       = limit.Rule{Name: "email-recipient", Limit: 20, Per: time.Hour, Burst: 10}
)

// The bounds of a mail, in bytes.
const (
	maxSubject = 255
	maxText    = 128 << 10
	maxHTML    = 256 << 10
)

// EmailArgs are the arguments of a SendEmail job: a mail, sealed, address and subject too.
type EmailArgs struct {
	Sealed []byte `json:"sealed"`
}

// emailPlace is the additional data of sealed mails.
const emailPlace = "jobs/sendEmail"

// RequestEmail has a job send m, from the operator's address, to one recipient. Faults: UNAUTHENTICATED,
// FORBIDDEN; REQUIRED, INVALID, TOO_LONG by field; WRONG_STATE where no mail can be sent; RATE_LIMITED.
func (a *Accounts) RequestEmail(ctx context.Context, by viewer.Viewer, m notify.Mail, o queue.JobOptions) (*queue.Job, error) {
	for _, scope := range []viewer.Scope{viewer.RunJobs, viewer.SendMail} {
		if err := by.Require(scope); err != nil {
			return nil, err
		}
	}
	if !a.Reaches(notify.ByMail) {
		return nil, fault.New(fault.WrongState, "", "No mail server is configured.")
	}
	m, err := checkMail(m)
	if err != nil {
		return nil, err
	}
	recipient := a.Identifier(m.To)
	err = a.count(ctx, []limit.Request{
		{Rule: emailsOfSender, Subject: string(by.User), Cost: 1}, {Rule: emailsTo, Subject: recipient, Cost: 1},
	})
	if err != nil {
		return nil, err
	}
	args, err := SealEmail(a.ring, m)
	if err != nil {
		return nil, fmt.Errorf("send e-mail: %w", err)
	}
	request, err := queue.Kind[EmailArgs, any]{Name: SendEmail}.Request(by.User, args, o)
	if err != nil {
		return nil, fmt.Errorf("send e-mail: %w", err)
	}
	var job *queue.Job
	err = a.db.Update(ctx, func(tx *store.Tx) (err error) {
		if job, err = a.queue.EnqueueTx(ctx, tx, request); err != nil {
			return err
		}
		if !bytes.Equal(job.Input, request.Input) { // an earlier one with this idempotency key
			return nil
		}
		return a.audit.RecordTx(ctx, tx, audit.Event{
			Action: audit.MailAsked, By: by, Subject: by.User, Session: by.Session,
			Details: map[string]string{"to": recipient, "job": string(job.ID)},
		})
	})
	if err != nil {
		return nil, fmt.Errorf("send e-mail: %w", err)
	}
	return job, nil
}

// checkMail returns m as it is sent. Nothing of it can end a header or begin another: its address is one
// mailbox without a name, its subject one line.
func checkMail(m notify.Mail) (notify.Mail, error) {
	to, err := parseEmail(m.To)
	if f, ok := fault.As(err); ok {
		return m, fault.New(f.Code, "to", f.Message)
	}
	m.To, m.Subject = to, strings.TrimSpace(m.Subject)
	switch {
	case m.Subject == "":
		return m, fault.New(fault.Required, "subject", "Give the mail a subject.")
	case len(m.Subject) > maxSubject:
		return m, fault.New(fault.TooLong, "subject", "A subject has at most 255 bytes.")
	case strings.ContainsFunc(m.Subject, breaksLine):
		return m, fault.New(fault.Invalid, "subject", "A subject is one line without control characters.")
	case strings.TrimSpace(m.Text) == "":
		return m, fault.New(fault.Required, "text", "Give the mail a text: not every program shows HTML.")
	case len(m.Text) > maxText:
		return m, fault.New(fault.TooLong, "text", "A text has at most 128 KiB.")
	case strings.ContainsFunc(m.Text, unprintable):
		return m, fault.New(fault.Invalid, "text", "A text has no control characters but tabs and line ends.")
	case len(m.HTML) > maxHTML:
		return m, fault.New(fault.TooLong, "html", "HTML has at most 256 KiB.")
	case strings.ContainsFunc(m.HTML, unprintable):
		return m, fault.New(fault.Invalid, "html", "HTML has no control characters but tabs and line ends.")
	}
	return m, nil
}

// breaksLine holds for controls, and for the two line ends of Unicode that are none.
func breaksLine(c rune) bool { return unicode.IsControl(c) || c == '\u2028' || c == '\u2029' }

func unprintable(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\r' && c != '\t' }

// SealEmail returns the arguments of a job that sends m.
func SealEmail(ring *secret.Keyring, m notify.Mail) (EmailArgs, error) {
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false) // which would make six bytes of each <
	if err := encoder.Encode(m); err != nil {
		return EmailArgs{}, err
	}
	sealed, err := ring.Seal(plain.Bytes(), []byte(emailPlace))
	return EmailArgs{sealed}, err
}

// Open returns the mail of args, without an ID.
func (args EmailArgs) Open(ring *secret.Keyring) (m notify.Mail, err error) {
	plain, err := ring.Open(args.Sealed, []byte(emailPlace))
	if err != nil {
		return m, fmt.Errorf("open e-mail: %w", err)
	}
	if err := json.Unmarshal(plain, &m); err != nil {
		return m, fmt.Errorf("open e-mail: %w", err)
	}
	return m, nil
}

// DeliveryReport is what a SendEmail job brings.
type DeliveryReport struct {
	MessageID  string    `json:"messageId"`
	AcceptedAt time.Time `json:"acceptedAt"`
	Sealed     []byte    `json:"sealed"` // a Delivery
}

// Delivery is what of a report is personal: whom the mail went to and what the mail server said, which
// may repeat the address.
type Delivery struct {
	To       string `json:"to"`
	Response string `json:"response"`
}

func deliveryPlace(job string) []byte { return []byte("jobs/" + job + "/result") }

// Report returns the report of a job that has sent a mail.
func Report(ring *secret.Keyring, job queue.ID, messageID string, at time.Time, d Delivery) (DeliveryReport, error) {
	plain, err := json.Marshal(d)
	if err != nil {
		return DeliveryReport{}, fmt.Errorf("write delivery report: %w", err)
	}
	sealed, err := ring.Seal(plain, deliveryPlace(string(job)))
	return DeliveryReport{MessageID: messageID, AcceptedAt: at, Sealed: sealed}, err
}

// Delivery opens what is sealed of the report of job.
func (r DeliveryReport) Delivery(ring *secret.Keyring, job queue.ID) (d Delivery, err error) {
	plain, err := ring.Open(r.Sealed, deliveryPlace(string(job)))
	if err != nil {
		return d, fmt.Errorf("open delivery report: %w", err)
	}
	if err := json.Unmarshal(plain, &d); err != nil {
		return d, fmt.Errorf("open delivery report: %w", err)
	}
	return d, nil
}
