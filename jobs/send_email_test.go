package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	netmail "net/mail"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"gatehouse/account"
	"gatehouse/internal/blob"
	"gatehouse/internal/bus"
	"gatehouse/internal/notify"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/jobs"
	"gatehouse/queue"
	"gatehouse/queue/transport"
)

// office is a mail server and a queue whose mails go there.
type office struct {
	t     testing.TB
	queue *queue.Queue
	ring  *secret.Keyring

	mu     sync.Mutex
	mails  []string
	answer func(n int, c *smtp.Conn) error // to the n-th mail, which has arrived whole
}

// counter is one connection to the mail server.
type counter struct {
	*office
	conn *smtp.Conn
}

func (counter) Reset()                               {}
func (counter) Logout() error                        { return nil }
func (counter) Mail(string, *smtp.MailOptions) error { return nil }
func (counter) Rcpt(string, *smtp.RcptOptions) error { return nil }

func (c counter) Data(r io.Reader) error {
	mail, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.mails = append(c.mails, string(mail))
	n := len(c.mails)
	c.mu.Unlock()
	return c.answer(n, c.conn)
}

func (o *office) arrived() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mails
}

func newOffice(t *testing.T, answer func(n int, c *smtp.Conn) error) *office {
	t.Helper()
	o := &office{t: t, answer: answer}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return counter{o, c}, nil }))
	server.Domain, server.ErrorLog = "mail.example.com", log.New(io.Discard, "", 0) // connections are cut off
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	o.must(err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	at := listener.Addr().(*net.TCPAddr)
	mail, err := notify.NewSMTP(notify.SMTPOptions{
		Host: at.IP.String(), Port: at.Port, Mode: notify.NoTLS, From: netmail.Address{Address: "no-reply@example.com"}, Timeout: time.Second,
	})
	o.must(err)
	post, err := notify.New(notify.Options{Mail: mail})
	o.must(err)
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "q.db"), store.Options{})
	o.must(err)
	t.Cleanup(func() { db.Close() })
	o.must(db.Migrate(t.Context()))
	files, err := blob.Open(t.TempDir())
	o.must(err)
	o.ring, err = secret.NewKeyring(secret.NewKey())
	o.must(err)
	kinds := jobs.Kinds(jobs.Parts{Ring: o.ring, Post: post}, jobs.Options{})
	o.queue, err = queue.New(db, transport.Local(transport.Options{}), bus.Local(), files, kinds, queue.Options{Workers: 2})
	o.must(err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- o.queue.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return o
}

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

const owner = viewer.UserID("usr_ada")

// send has a mail sent.
func (o *office) send(options queue.JobOptions) queue.ID {
	o.t.Helper()
	args, err := account.SealEmail(o.ring, notify.Mail{To: "grace@example.com", Subject: "Tea", Text: "At four."})
	o.must(err)
	request, err := jobs.Email.Request(owner, args, options)
	o.must(err)
	j, err := o.queue.Enqueue(o.t.Context(), request)
	o.must(err)
	return j.ID
}

// ended waits until the job has.
func (o *office) ended(id queue.ID) *queue.Job {
	o.t.Helper()
	events, err := o.queue.Watch(o.t.Context(), viewer.System(), id, nil)
	o.must(err)
	for range events {
	}
	j, err := o.queue.Get(o.t.Context(), viewer.System(), id)
	o.must(err)
	return j
}

func (o *office) failed(id queue.ID, code string, attempts int) {
	o.t.Helper()
	j := o.ended(id)
	if j.State != queue.Failed || j.Error == nil || j.Error.Code != code || j.Attempt != attempts {
		o.t.Errorf("the job is %s in attempt %d with %+v, want FAILED in attempt %d with %s", j.State, j.Attempt, j.Error, attempts, code)
	}
	if j.Error != nil && strings.Contains(j.Error.Message, "grace") {
		o.t.Errorf("the error shows the address: %s", j.Error.Message)
	}
}

func refusal(code int, status smtp.EnhancedCode) *smtp.SMTPError {
	return &smtp.SMTPError{Code: code, EnhancedCode: status, Message: "not for grace@example.com"}
}

func TestAMailThatIsTakenIsReported(t *testing.T) {
	o := newOffice(t, func(int, *smtp.Conn) error { return nil })
	j := o.ended(o.send(queue.JobOptions{}))
	if j.State != queue.Succeeded {
		t.Fatalf("the job is %s: %+v", j.State, j.Error)
	}
	report, err := o.report(j)
	o.must(err)
	id := "<" + string(j.ID) + "@example.com>"
	if report.to != "grace@example.com" || report.id != id || !strings.HasPrefix(report.response, "250 ") {
		t.Errorf("the report is %+v", report)
	}
	if got := o.arrived(); len(got) != 1 || !strings.Contains(got[0], "Message-ID: "+id) {
		t.Errorf("arrived are %q", got)
	}
	if strings.Contains(string(j.Result), "grace") {
		t.Errorf("the result holds the address in clear: %s", j.Result)
	}
}

type report struct{ id, to, response string }

func (o *office) report(j *queue.Job) (report, error) {
	var r account.DeliveryReport
	if err := json.Unmarshal(j.Result, &r); err != nil {
		return report{}, err
	}
	d, err := r.Delivery(o.ring, j.ID)
	if _, other := r.Delivery(o.ring, "job_other"); other == nil {
		err = errors.Join(err, errors.New("the report opens at another job"))
	}
	return report{r.MessageID, d.To, d.Response}, err
}

func TestAMailIsTriedAgainWhenTheServerAsksForPatienceAndNotWhenItRefuses(t *testing.T) {
	o := newOffice(t, func(n int, _ *smtp.Conn) error {
		if n == 1 {
			return refusal(451, smtp.EnhancedCode{4, 7, 1})
		}
		return nil
	})
	if j := o.ended(o.send(queue.JobOptions{})); j.State != queue.Succeeded || j.Attempt != 2 {
		t.Errorf("after 451 the job is %s in attempt %d: %+v", j.State, j.Attempt, j.Error)
	}
	if got := o.arrived(); len(got) != 2 || messageID(got[0]) == "" || messageID(got[0]) != messageID(got[1]) {
		t.Errorf("the tries carry %q", got)
	}
	o = newOffice(t, func(int, *smtp.Conn) error { return refusal(554, smtp.EnhancedCode{5, 7, 1}) })
	id := o.send(queue.JobOptions{})
	o.failed(id, "INVALID", 1)
	if j := o.ended(id); !strings.Contains(j.Error.Message, "554 5.7.1") {
		t.Errorf("the error is %+v", j.Error)
	}
	o = newOffice(t, func(int, *smtp.Conn) error { return refusal(451, smtp.EnhancedCode{4, 7, 1}) })
	o.failed(o.send(queue.JobOptions{MaxAttempts: 1}), "UNAVAILABLE", 1)
}

func messageID(mail string) string {
	message, err := netmail.ReadMessage(strings.NewReader(mail))
	if err != nil {
		return ""
	}
	return message.Header.Get("Message-Id")
}

// TestAMailThatMayHaveBeenTakenIsNotSentAgain lets the server have the whole mail and then drop the
// connection, or say nothing.
func TestAMailThatMayHaveBeenTakenIsNotSentAgain(t *testing.T) {
	settled := make(chan struct{})
	for how, answer := range map[string]func(c *smtp.Conn){
		"drops":  func(c *smtp.Conn) { c.Conn().Close() },
		"stalls": func(*smtp.Conn) { <-settled },
	} {
		o := newOffice(t, func(n int, c *smtp.Conn) error {
			if n == 1 {
				answer(c)
			}
			return nil
		})
		id := o.send(queue.JobOptions{})
		o.failed(id, "UNCERTAIN", 1)
		if got := o.arrived(); len(got) != 1 {
			t.Errorf("a server that %s got %d mails", how, len(got))
		}
		if how == "stalls" {
			close(settled)
		}
		if _, err := o.queue.Retry(t.Context(), viewer.Viewer{User: owner}, id); err != nil {
			t.Fatal(err)
		}
		if j := o.ended(id); j.State != queue.Succeeded || len(o.arrived()) != 2 {
			t.Errorf("a server that %s, after the owner has said to send it again: %s, %d mails", how, j.State, len(o.arrived()))
		}
	}
}

// TestACancelWhileTheServerHasTheMailDoesNotCutItOff cancels a job between the content and its
// answer, which comes in time.
func TestACancelWhileTheServerHasTheMailDoesNotCutItOff(t *testing.T) {
	arrived, answer := make(chan struct{}), make(chan struct{})
	o := newOffice(t, func(int, *smtp.Conn) error {
		close(arrived)
		<-answer
		return nil
	})
	id := o.send(queue.JobOptions{})
	<-arrived
	if _, err := o.queue.Cancel(t.Context(), viewer.System(), id); err != nil {
		t.Fatal(err)
	}
	close(answer)
	if j := o.ended(id); j.State != queue.Succeeded || len(o.arrived()) != 1 {
		t.Errorf("the job is %s: %+v", j.State, j.Error)
	}
}
