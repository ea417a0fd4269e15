package e2e

import (
	"io"
	"log"
	"net"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
)

// sink is a mail server that keeps nothing but how many mails each address got.
type sink struct {
	url     string // for --smtp-url
	mu      sync.Mutex
	arrived map[string]int
	halt    func(to string) // called when a mail has come, before the answer; nil: nothing
}

func newSink(t testing.TB) *sink {
	t.Helper()
	s := &sink{arrived: map[string]int{}}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &delivery{sink: s}, nil }))
	server.Domain, server.ErrorLog = "mail.example.com", log.New(io.Discard, "", 0) // processes are killed
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "smtp://" + listener.Addr().String() + "?tls=none"
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return s
}

// to returns how many mails have come to an address.
func (s *sink) to(email string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arrived[email]
}

// delivery is one connection to a sink.
type delivery struct {
	sink *sink
	now  string
}

func (d *delivery) Reset()                                    { d.now = "" }
func (d *delivery) Logout() error                             { return nil }
func (d *delivery) Mail(string, *smtp.MailOptions) error      { return nil }
func (d *delivery) Rcpt(to string, _ *smtp.RcptOptions) error { d.now = to; return nil }

func (d *delivery) Data(r io.Reader) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	d.sink.mu.Lock()
	d.sink.arrived[d.now]++
	halt := d.sink.halt
	d.sink.mu.Unlock()
	if halt != nil {
		halt(d.now)
	}
	return nil
}

// stop lets the sink halt at each mail from now on.
func (s *sink) stop(halt func(to string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halt = halt
}
