package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/account"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/secret"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

// Email is the kind sendEmail: it hands a mail to the operator's mail server, at most once as far as SMTP
// lets one (RFC 5321 §4.2.5: between the end of the content and its answer nobody knows). Before the
// server gets any of the content the job notes that, in a way that no run that was believed dead can. A
// later attempt that finds the note and no answer does not send again: it fails as UNCERTAIN, and its owner
// decides. A mail carries the job's id as its Message-ID, whenever it is sent.
var Email = queue.Kind[account.EmailArgs, account.DeliveryReport]{
	Name:        account.SendEmail,
	Description: "Sends a mail to one recipient by the operator's mail server.",
	Queue:       "messages",
	MaxAttempts: 12,
	Deadline:    time.Minute,
	Backoff:     queue.Exponential(5*time.Second, 30*time.Minute),
	Scope:       viewer.SendMail,
	Afresh:      true, // its owner has decided
}

// sendsEmails returns Email with its handler.
func sendsEmails(ring *secret.Keyring, post *notify.Post) queue.Definition {
	kind := Email
	kind.Handle = func(ctx context.Context, run *queue.Run, args account.EmailArgs) (account.DeliveryReport, error) {
		mail, err := args.Open(ring)
		if err != nil {
			return account.DeliveryReport{}, queue.Permanent(err)
		}
		mail.ID = string(run.Job.ID)
		taken, err := sendOnce(ctx, run, post, mail)
		if err != nil {
			return account.DeliveryReport{}, emailFault(err)
		}
		return account.Report(ring, run.Job.ID, taken.MessageID, taken.At, account.Delivery{To: mail.To, Response: taken.Response})
	}
	return kind.Define()
}

// handing is the note of a sendEmail job. Without a receipt the server was about to get the content.
type handing struct {
	Begun bool            `json:"begun"`
	Taken *notify.Receipt `json:"taken,omitempty"`
}

// noteName is the name of what a sendEmail job keeps.
const noteName = "handing"

func (h handing) keep(ctx context.Context, run *queue.Run) error {
	_, err := run.Keep(ctx, noteName, h, nil)
	return err
}

// readHanding returns what earlier attempts have noted.
func readHanding(ctx context.Context, run *queue.Run) (h handing, err error) {
	kept, err := run.Kept(ctx)
	if err == nil && len(kept) > 0 {
		err = json.Unmarshal(kept[0].Note, &h)
	}
	return h, err
}

// settlePatience bounds how long a note waits for the database once the mail server has answered.
const settlePatience = 10 * time.Second

// sendOnce hands m over unless an earlier attempt has, or may have.
func sendOnce(ctx context.Context, run *queue.Run, post *notify.Post, m notify.Mail) (notify.Receipt, error) {
	note, err := readHanding(ctx, run)
	if err != nil {
		return notify.Receipt{}, err
	}
	switch {
	case note.Taken != nil:
		return *note.Taken, nil
	case note.Begun:
		return notify.Receipt{}, notify.ErrUncertain
	}
	taken, err := handOver(ctx, run, post, m)
	if errors.Is(err, notify.ErrUncertain) {
		return taken, err
	}
	settled := handing{}
	if err == nil {
		numbers := taken
		numbers.Response, _, _ = strings.Cut(taken.Response, " ") // the words may repeat the address
		settled = handing{Begun: true, Taken: &numbers}
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), settlePatience)
	defer cancel()
	if failed := settled.keep(after, run); failed != nil {
		run.Log("What the mail server said was not noted. Should this attempt be cut off, the next one will not know it.")
	}
	return taken, err
}

// handOver hands m over. The end of the job ends it too, until the server wants the content: then it goes
// on to the answer, for as long as the sender's time-out allows.
func handOver(ctx context.Context, run *queue.Run, post *notify.Post, m notify.Mail) (notify.Receipt, error) {
	sending, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	release := context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })
	defer release()
	return post.Hand(sending, m, func() error {
		if !release() {
			return context.Cause(ctx)
		}
		return handing{Begun: true}.keep(sending, run)
	})
}

// emailFault tells the owner what became of the mail: by the numbers of the server's answer, whose words
// are not ours to show. RFC 5321 §4.2.1: 4yz may be tried again, 5yz may not.
func emailFault(err error) error {
	var refusal *notify.Refusal
	numbers := ""
	if errors.As(err, &refusal) {
		numbers = ": " + strings.TrimSpace(fmt.Sprint(refusal.Code, " ", refusal.Status))
	}
	switch {
	case errors.Is(err, notify.ErrUncertain):
		return queue.Permanent(fault.New(fault.Uncertain, "", "The mail server was given the mail and did not say whether it took it. Look whether it arrived before you send it again.").With(err))
	case errors.Is(err, notify.ErrNoSender):
		return queue.Permanent(fault.New(fault.WrongState, "", "No mail server is configured.").With(err))
	case errors.Is(err, notify.ErrPermanent):
		return queue.Permanent(fault.New(fault.Invalid, "to", "The mail server refuses the mail for good"+numbers+".").With(err))
	case errors.Is(err, notify.ErrTemporary):
		return fault.New(fault.Unavailable, "", "The mail server has not taken the mail yet"+numbers+".").With(err)
	}
	return err
}
