package notify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const testPassword = "p/ss:w@rd"

// mailServer is a real SMTP server on loopback, and what it was given.
type mailServer struct {
	addr   *net.TCPAddr
	login  bool              // offers LOGIN only
	refuse map[string]error  // what to answer to Mail, Rcpt, Data and Auth
	halt   map[string]func() // what to do there first

	mu    sync.Mutex
	mails []envelope
	users []string
	conns int
}

type envelope struct {
	from, to string
	content  []byte
	private  bool
}

type mailSession struct {
	server *mailServer
	conn   *smtp.Conn
	now    envelope
}

func (s *mailSession) answer(step string) error {
	if halt := s.server.halt[step]; halt != nil {
		halt()
	}
	return s.server.refuse[step]
}

func (s *mailSession) Reset() { s.now = envelope{} }

func (s *mailSession) Logout() error { return nil }

func (s *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	s.now.from = from
	return s.answer("Mail")
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.now.to = to
	return s.answer("Rcpt")
}

func (s *mailSession) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.answer("Data"); err != nil {
		return err
	}
	_, private := s.conn.TLSConnectionState()
	s.now.content, s.now.private = content, private
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.mails = append(s.server.mails, s.now)
	return nil
}

func (s *mailSession) AuthMechanisms() []string {
	if s.server.login {
		return []string{"LOGIN"}
	}
	return []string{"PLAIN", "LOGIN"}
}

func (s *mailSession) Auth(mechanism string) (sasl.Server, error) {
	check := func(user, password string) error {
		if user != "gatehouse" || password != testPassword {
			return smtp.ErrAuthFailed
		}
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		s.server.users = append(s.server.users, user+" by "+mechanism)
		return nil
	}
	if mechanism == "PLAIN" {
		return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
	}
	return &loginServer{check: check}, nil
}

// loginServer is the server's side of LOGIN, which go-sasl lacks.
type loginServer struct {
	check func(user, password string) error
	said  []string
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if response != nil {
		l.said = append(l.said, string(response))
	}
	switch len(l.said) {
	case 0:
		return []byte("Username:"), false, nil
	case 1:
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.said[0], l.said[1])
}

// startMailServer serves m; with a certificate it offers STARTTLS, or is TLS from the first byte.
func startMailServer(t testing.TB, m *mailServer, certificate *tls.Certificate, implicit bool) {
	t.Helper()
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		m.mu.Lock()
		m.conns++
		m.mu.Unlock()
		session := &mailSession{server: m, conn: c}
		return session, session.answer("Connect")
	}))
	server.Domain = "mail.example.com"
	server.AllowInsecureAuth = certificate == nil
	server.EnableSMTPUTF8 = true
	server.ErrorLog = log.New(io.Discard, "", 0) // tests cut connections off
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.addr = listener.Addr().(*net.TCPAddr)
	if certificate != nil {
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*certificate}}
		if implicit {
			listener = tls.NewListener(listener, server.TLSConfig)
		}
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
}

// newCertificate makes a certificate for 127.0.0.1 that only the returned pool believes.
func newCertificate(t testing.TB) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
