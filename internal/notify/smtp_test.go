package notify

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// newSMTP returns a sender to addr, as change makes it.
func newSMTP(t testing.TB, addr *net.TCPAddr, change func(*SMTPOptions)) *SMTP {
	t.Helper()
	o := SMTPOptions{
		Host: addr.IP.String(), Port: addr.Port, Mode: NoTLS,
		From: netmail.Address{Name: "Gatehouse – Zugang", Address: "no-reply@example.com"},
		Now:  func() time.Time { return testMoment },
	}
	if change != nil {
		change(&o)
	}
	s, err := NewSMTP(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func rendered(t testing.TB) Rendered {
	t.Helper()
	m := full(VerifyEmail, ByMail)
	m.Locale = "de"
	r, err := newPost(t, Options{}).Render(m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// readMail is a mail as its reader's program parses it.
type readMail struct {
	header netmail.Header
	parts  map[string]string // text by media type
}

func readBack(t testing.TB, content []byte) readMail {
	t.Helper()
	message, err := netmail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		t.Fatalf("%v:\n%s", err, content)
	}
	read := readMail{header: message.Header, parts: make(map[string]string)}
	media, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	if media != "multipart/alternative" {
		t.Fatalf("the mail is %s", media)
	}
	parts := multipart.NewReader(message.Body, params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return read
		}
		if err != nil {
			t.Fatal(err)
		}
		media, params, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if err != nil || params["charset"] != "UTF-8" || part.Header.Get("Content-Transfer-Encoding") != "quoted-printable" {
			t.Fatalf("a part with %v, error %v", part.Header, err)
		}
		text, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil {
			t.Fatal(err)
		}
		read.parts[media] = strings.ReplaceAll(string(text), "\r\n", "\n")
	}
}

// only returns the one mail that the server got.
func (m *mailServer) only(t testing.TB) envelope {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mails) != 1 {
		t.Fatalf("the server got %d mails", len(m.mails))
	}
	return m.mails[0]
}

func TestAMailArrivesAsItWasRendered(t *testing.T) {
	m := &mailServer{}
	startMailServer(t, m, nil, false)
	r := rendered(t)
	if err := newSMTP(t, m.addr, nil).Send(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	got := m.only(t)
	if got.from != "no-reply@example.com" || got.to != "ada@example.com" {
		t.Errorf("from %q to %q", got.from, got.to)
	}
	read := readBack(t, got.content)
	subject, err := new(mime.WordDecoder).DecodeHeader(read.header.Get("Subject"))
	if err != nil || subject != r.Subject {
		t.Errorf("subject %q, error %v; want %q", subject, err, r.Subject)
	}
	from, err := read.header.AddressList("From")
	if err != nil || len(from) != 1 || from[0].Name != "Gatehouse – Zugang" || from[0].Address != "no-reply@example.com" {
		t.Errorf("from %v, error %v", from, err)
	}
	to, err := read.header.AddressList("To")
	if err != nil || len(to) != 1 || *to[0] != (netmail.Address{Address: "ada@example.com"}) {
		t.Errorf("to %v, error %v", to, err)
	}
	if at, err := read.header.Date(); err != nil || !at.Equal(testMoment) {
		t.Errorf("date %v, error %v", at, err)
	}
	for name, want := range map[string]string{
		"Message-Id": "<job_1@example.com>", "Auto-Submitted": "auto-generated", "Mime-Version": "1.0",
		"Content-Language": "de", "X-Auto-Response-Suppress": "All", "Bcc": "", "X-Mailer": "", "User-Agent": "",
	} {
		if got := read.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if diff := cmp.Diff(map[string]string{"text/plain": r.Text, "text/html": r.HTML}, read.parts); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	for line := range strings.SplitSeq(string(got.content), "\r\n") {
		if len(line) > 78 {
			t.Errorf("a line of %d bytes: %q", len(line), line)
		}
	}
}

func TestMailsWithoutAnIDHaveDifferentMessageIDs(t *testing.T) {
	s := newSMTP(t, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25}, nil)
	r := rendered(t)
	r.ID = ""
	seen := make(map[string]bool)
	for range 10 {
		content, err := s.compose(r, s.messageID(r.ID))
		if err != nil {
			t.Fatal(err)
		}
		id := readBack(t, content).header.Get("Message-Id")
		if seen[id] || !strings.HasSuffix(id, "@example.com>") || len(id) < 30 {
			t.Errorf("Message-ID %q", id)
		}
		seen[id] = true
	}
}

func TestMailTravelsPrivatelyWhenToldTo(t *testing.T) {
	certificate, pool := newCertificate(t)
	for _, c := range []struct {
		mode     Mode
		implicit bool
		login    bool
		want     string
	}{
		{StartTLS, false, false, "gatehouse by PLAIN"},
		{StartTLS, false, true, "gatehouse by LOGIN"},
		{TLS, true, false, "gatehouse by PLAIN"},
	} {
		m := &mailServer{login: c.login}
		startMailServer(t, m, certificate, c.implicit)
		s := newSMTP(t, m.addr, func(o *SMTPOptions) {
			o.Mode, o.RootCAs, o.Username, o.Password = c.mode, pool, "gatehouse", testPassword
		})
		if err := s.Send(t.Context(), rendered(t)); err != nil {
			t.Errorf("%v: %v", c.mode, err)
			continue
		}
		if !m.only(t).private || len(m.users) != 1 || m.users[0] != c.want {
			t.Errorf("%v: private %v, signed in %v", c.mode, m.only(t).private, m.users)
		}
	}
}

func TestNothingIsSentWithoutTheTLSThatWasChosen(t *testing.T) {
	certificate, pool := newCertificate(t)
	clear, private := &mailServer{}, &mailServer{}
	startMailServer(t, clear, nil, false)
	startMailServer(t, private, certificate, false)
	for name, c := range map[string]struct {
		server *mailServer
		mode   Mode
		roots  *x509.CertPool
		want   string
	}{
		"no STARTTLS is offered":        {clear, StartTLS, pool, "does not offer STARTTLS"},
		"nobody vouches, with STARTTLS": {private, StartTLS, nil, "certificate"},
		"TLS to a server in clear":      {clear, TLS, pool, "tls"},
	} {
		s := newSMTP(t, c.server.addr, func(o *SMTPOptions) {
			o.Mode, o.RootCAs, o.Username, o.Password, o.Timeout = c.mode, c.roots, "gatehouse", testPassword, 5*time.Second
		})
		err := s.Send(t.Context(), rendered(t))
		if !errors.Is(err, ErrTemporary) || errors.Is(err, ErrPermanent) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if len(clear.mails)+len(private.mails)+len(clear.users)+len(private.users) > 0 {
		t.Error("something was sent all the same")
	}
}

func TestAWrongPasswordIsTemporaryAndNotRepeated(t *testing.T) {
	certificate, pool := newCertificate(t)
	for _, login := range []bool{false, true} {
		m := &mailServer{login: login}
		startMailServer(t, m, certificate, false)
		s := newSMTP(t, m.addr, func(o *SMTPOptions) {
			o.Mode, o.RootCAs, o.Username, o.Password = StartTLS, pool, "gatehouse", "wr0ng-secret"
		})
		err := s.Send(t.Context(), rendered(t))
		var refusal *Refusal
		if !errors.Is(err, ErrTemporary) || !errors.As(err, &refusal) || *refusal != (Refusal{Code: 535, Status: "5.7.8"}) {
			t.Errorf("error %v", err)
		}
		if strings.Contains(err.Error(), "wr0ng") || len(m.mails) > 0 {
			t.Errorf("error %v, mails %d", err, len(m.mails))
		}
	}
}

func reply(code, class int, words string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{class, 1, 1}, Message: words}
}

func TestARefusalSaysWhetherToTryAgain(t *testing.T) {
	words := "<ada@example.com> code " + testCode + " " + testLink + " " + testPassword
	for _, c := range []struct {
		name   string
		step   string
		refuse error
		class  error
		want   Refusal
	}{
		{"no such mailbox", "Rcpt", reply(550, 5, words), ErrPermanent, Refusal{550, "5.1.1"}},
		{"mailbox full", "Rcpt", reply(452, 4, words), ErrTemporary, Refusal{452, "4.1.1"}},
		{"grey list", "Rcpt", reply(451, 4, words), ErrTemporary, Refusal{451, "4.1.1"}},
		{"bad sender", "Mail", reply(553, 5, words), ErrPermanent, Refusal{553, "5.1.1"}},
		{"busy", "Mail", reply(421, 4, words), ErrTemporary, Refusal{421, "4.1.1"}},
		{"taken for spam", "Data", reply(554, 5, words), ErrPermanent, Refusal{554, "5.1.1"}},
		{"no room", "Data", reply(452, 4, words), ErrTemporary, Refusal{452, "4.1.1"}},
		{"broken server", "Data", errors.New(words), ErrPermanent, Refusal{554, "5.0.0"}},
	} {
		m := &mailServer{refuse: map[string]error{c.step: c.refuse}}
		startMailServer(t, m, nil, false)
		err := newSMTP(t, m.addr, nil).Send(t.Context(), rendered(t))
		var refusal *Refusal
		if !errors.Is(err, c.class) || !errors.As(err, &refusal) || *refusal != c.want {
			t.Errorf("%s: error %v; want %v, %+v", c.name, err, c.class, c.want)
			continue
		}
		if errors.Is(err, ErrTemporary) && errors.Is(err, ErrPermanent) {
			t.Errorf("%s: error %v is both", c.name, err)
		}
		for _, secret := range []string{"ada", testCode, "token", testPassword} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error repeats %q: %v", c.name, secret, err)
			}
		}
	}
}

func TestAServerThatTurnsUsAwayAtTheDoorIsTemporary(t *testing.T) {
	for _, refuse := range []error{reply(421, 4, "too many of you"), reply(554, 5, "your network is not welcome")} {
		m := &mailServer{refuse: map[string]error{"Connect": refuse}}
		startMailServer(t, m, nil, false)
		err := newSMTP(t, m.addr, nil).Send(t.Context(), rendered(t))
		var answer *textproto.Error
		if !errors.Is(err, ErrTemporary) || !errors.As(err, &answer) {
			t.Errorf("error %v", err)
		}
	}
}

func TestNobodyListeningIsTemporary(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().(*net.TCPAddr)
	listener.Close()
	if err := newSMTP(t, addr, nil).Send(t.Context(), rendered(t)); !errors.Is(err, ErrTemporary) {
		t.Errorf("error %v", err)
	}
}

func TestAnAddressBeyondASCIINeedsAServerThatTakesIt(t *testing.T) {
	r := rendered(t)
	r.To = "ädä@example.com"
	m := &mailServer{}
	startMailServer(t, m, nil, false)
	if err := newSMTP(t, m.addr, nil).Send(t.Context(), r); err != nil || m.only(t).to != r.To {
		t.Errorf("with SMTPUTF8: to %q, error %v", m.only(t).to, err)
	}
	script := startScript(t, append(greeting, "250 done", "250 done"))
	err := newSMTP(t, script.addr, nil).Send(t.Context(), r)
	if !errors.Is(err, ErrPermanent) || !errors.Is(err, errNoUTF8) || strings.Contains(err.Error(), "ädä") {
		t.Errorf("without SMTPUTF8: error %v", err)
	}
}

func TestWhatNoMailCanBeIsPermanentAndConnectsToNobody(t *testing.T) {
	s := newSMTP(t, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, nil)
	for name, spoil := range map[string]func(*Rendered){
		"recipient":    func(r *Rendered) { r.To = "ada@example.com\r\nBcc: eve@example.org" },
		"no recipient": func(r *Rendered) { r.To = "" },
		"phone":        func(r *Rendered) { r.To = "+491701234567" },
		"subject":      func(r *Rendered) { r.Subject = "a\r\nBcc: eve@example.org" },
		"no subject":   func(r *Rendered) { r.Subject = "" },
		"long subject": func(r *Rendered) { r.Subject = strings.Repeat("x", maxSubject+1) },
		"size":         func(r *Rendered) { r.Text = strings.Repeat("x", maxRendered) },
		"encoding":     func(r *Rendered) { r.Text = "\xff" },
		"id":           func(r *Rendered) { r.ID = "a>b" },
	} {
		r := rendered(t)
		spoil(&r)
		if err := s.Send(t.Context(), r); !errors.Is(err, ErrPermanent) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestNoChosenTextChangesAHeader(t *testing.T) {
	p := newPost(t, Options{})
	s := newSMTP(t, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25}, nil)
	rapid.Check(t, func(rt *rapid.T) {
		m := full(rapid.SampledFrom([]Kind{NewDevice, FactorAdded, Impersonated}).Draw(rt, "kind"), ByMail)
		for _, field := range []*string{&m.Name, &m.Device, &m.Factor, &m.By, &m.Reason} {
			if text := hostile().Draw(rt, "text"); text != "" {
				*field = text[:min(len(text), maxText)]
			}
		}
		r, err := p.Render(m)
		if err != nil {
			rt.Fatal(err)
		}
		content, err := s.compose(r, s.messageID(r.ID))
		if err != nil {
			rt.Fatal(err)
		}
		read := readBack(t, content)
		if len(read.header) != 10 || read.header.Get("To") != "<ada@example.com>" {
			rt.Errorf("headers %v", read.header)
		}
		if diff := cmp.Diff(map[string]string{"text/plain": r.Text, "text/html": r.HTML}, read.parts); diff != "" {
			rt.Errorf("parts (-want +got):\n%s", diff)
		}
	})
}

func TestASubjectOfAnyTextIsOneHeader(t *testing.T) {
	s := newSMTP(t, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25}, nil)
	rapid.Check(t, func(rt *rapid.T) {
		r := rendered(t)
		r.Subject, r.Text = "x"+printable(hostile().Draw(rt, "subject")), hostile().Draw(rt, "text")
		r.Text = strings.ToValidUTF8(r.Text, "")
		content, err := s.compose(r, s.messageID(r.ID))
		if err != nil {
			rt.Fatalf("%v for %+q", err, r.Subject)
		}
		read := readBack(t, content)
		if len(read.header) != 10 {
			rt.Errorf("headers %v", read.header)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(read.header.Get("Subject"))
		if !strings.Contains(r.Subject, "=?") && (err != nil || unwrapped(subject) != unwrapped(r.Subject)) {
			rt.Errorf("subject %q, error %v; want %q", subject, err, r.Subject)
		}
	})
}

// printable returns at most 200 bytes of text without what a subject may not hold.
func printable(text string) string {
	text = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(text, ""))
	return strings.ToValidUTF8(text[:min(len(text), 200)], "")
}

func TestManySendAtOnce(t *testing.T) {
	m := &mailServer{}
	startMailServer(t, m, nil, false)
	s := newSMTP(t, m.addr, nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				if err := s.Send(t.Context(), rendered(t)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if len(m.mails) != 40 || m.conns != 40 {
		t.Errorf("%d mails over %d connections", len(m.mails), m.conns)
	}
}

func TestASenderThatCannotWorkIsRefused(t *testing.T) {
	good := SMTPOptions{Host: "mail.example.com", From: netmail.Address{Address: "no-reply@example.com"}}
	if s, err := NewSMTP(good); err != nil || s.options.Port != 587 || s.options.Timeout != defaultTimeout || s.options.HELO != "example.com" {
		t.Fatalf("%+v, error %v", s, err)
	}
	for name, spoil := range map[string]func(*SMTPOptions){
		"no host":              func(o *SMTPOptions) { o.Host = "" },
		"host with a line":     func(o *SMTPOptions) { o.Host = "a\r\nb" },
		"mode":                 func(o *SMTPOptions) { o.Mode = 3 },
		"port":                 func(o *SMTPOptions) { o.Port = 65536 },
		"no sender":            func(o *SMTPOptions) { o.From.Address = "" },
		"sender with a line":   func(o *SMTPOptions) { o.From.Address = "a@b.c\r\nBcc: x@y.z" },
		"password alone":       func(o *SMTPOptions) { o.Password = "secret" },
		"credentials in clear": func(o *SMTPOptions) { o.Mode, o.Username, o.Password = NoTLS, "u", "secret" },
		"HELO":                 func(o *SMTPOptions) { o.HELO = "a b" },
		"time-out":             func(o *SMTPOptions) { o.Timeout = -1 },
	} {
		o := good
		spoil(&o)
		if _, err := NewSMTP(o); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func BenchmarkSend(b *testing.B) {
	m := &mailServer{}
	startMailServer(b, m, nil, false)
	s, r := newSMTP(b, m.addr, nil), rendered(b)
	for b.Loop() {
		if err := s.Send(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
}
