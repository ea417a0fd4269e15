package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	netmail "net/mail"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

// Mode says how a connection to a mail server is kept private.
type Mode int

const (
	StartTLS Mode = iota // begin in clear, then STARTTLS (RFC 3207), without which nothing is sent
	TLS                  // TLS from the first byte (RFC 8314 §3.3)
	NoTLS                // in clear; credentials only to this machine itself
)

// String is the mode as a setting says it.
func (m Mode) String() string { return [...]string{"starttls", "tls", "none"}[m] }

// port is where servers listen for the mode: submission, submissions (RFC 8314 §7.3) or SMTP.
func (m Mode) port() int { return [...]int{587, 465, 25}[m] }

// SMTPOptions say where mail is handed in. Host and From are needed.
type SMTPOptions struct {
	Host     string // the server's name, which its certificate must carry
	Port     int    // zero: 587 for StartTLS, 465 for TLS, 25 for NoTLS
	Mode     Mode
	Username string // empty: no sign-in
	Password string
	From     netmail.Address  // who the mail is from; its domain is that of the Message-ID, too
	HELO     string           // what we call ourselves (RFC 5321 §4.1.1.1); zero: the domain of From
	Timeout  time.Duration    // of one sending as a whole; zero: 10 s
	RootCAs  *x509.CertPool   // whom to believe a certificate; nil: whom the system believes
	Now      func() time.Time // for the Date; nil: time.Now
}

const (
	defaultTimeout = 10 * time.Second
	// maxReplies bounds what one server may answer during a sending, in bytes: a line is read whole.
	maxReplies = 1 << 20
)

// SMTP hands mail to a server, a connection for each. It is safe for concurrent use.
type SMTP struct {
	options SMTPOptions // completed
}

// NewSMTP checks o. It connects to nothing.
func NewSMTP(o SMTPOptions) (*SMTP, error) {
	switch {
	case o.Host == "" || !hostName(o.Host):
		return nil, errors.New("the mail server needs a host name or an IP address")
	case o.Mode < StartTLS || o.Mode > NoTLS:
		return nil, errors.New("the mail server's mode is none of StartTLS, TLS and NoTLS")
	case o.Port < 0 || o.Port > 65535:
		return nil, errors.New("the mail server's port is not 1 to 65535")
	case !mailAddress(o.From.Address):
		return nil, errors.New("mail needs the address that it is from")
	case o.Username == "" && o.Password != "":
		return nil, errors.New("the mail server has a password but no user name")
	case o.Mode == NoTLS && o.Username != "" && !loopback(o.Host):
		return nil, errors.New("the password would go to the mail server in clear; use starttls or tls")
	case o.HELO != "" && !hostName(o.HELO):
		return nil, errors.New("the HELO name is no host name")
	case o.Timeout < 0:
		return nil, errors.New("the mail server's time-out is negative")
	}
	if o.Port == 0 {
		o.Port = o.Mode.port()
	}
	if o.HELO == "" {
		o.HELO = domain(o.From.Address)
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &SMTP{options: o}, nil
}

// hostName reports whether text can stand as a host in a command and a certificate.
func hostName(text string) bool { return strings.Trim(text, alphanumeric+".-:") == "" }

// loopback reports whether host is this machine.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Send hands r to the server and returns once the server has taken responsibility for it. What goes
// wrong after that is no error. Whatever ends ctx ends the sending, in any phase.
//
// ErrPermanent is a message that is unfit, and a 5yz reply (RFC 5321 §4.2.1) to sender, recipient or
// content. Everything else is ErrTemporary, a refused sign-in included: it says nothing about the
// message, and the messages that wait meanwhile can go once the operator has mended it. If the
// connection breaks after the content was sent, the server may have it all the same: ErrUncertain.
func (s *SMTP) Send(ctx context.Context, r Rendered) error {
	_, err := s.Hand(ctx, r, func() error { return nil })
	return err
}

// converse connects to the server, goes through all steps with it and returns what it said in the end.
func (s *SMTP) converse(ctx context.Context, to string, content []byte, ready func() error) (string, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return "", &failure{step: "connect", err: err}
	}
	defer conn.Close()
	// Closing is what ends a read or write that hangs; it is harmless afterwards.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	client, err := s.open(conn)
	if err != nil {
		return "", err
	}
	if err := s.signIn(client); err != nil {
		return "", &failure{step: "sign in", err: err, told: true}
	}
	response, err := s.hand(client, to, content, ready)
	var reply *textproto.Error
	if err == nil || errors.As(err, &reply) {
		_ = client.Quit() // what became of the message is settled, whatever the server says now
	}
	return response, err
}

// dial connects, and for TLS goes through the handshake.
func (s *SMTP) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(s.options.Host, strconv.Itoa(s.options.Port)))
	if err != nil {
		return nil, err
	}
	conn := &boundedConn{Conn: raw, left: maxReplies}
	if s.options.Mode != TLS {
		return conn, nil
	}
	private := tls.Client(conn, s.tlsConfig())
	if err := private.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return private, nil
}

func (s *SMTP) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: s.options.Host, RootCAs: s.options.RootCAs, MinVersion: tls.VersionTLS12}
}

// open greets the server and makes the connection private.
func (s *SMTP) open(conn net.Conn) (*smtp.Client, error) {
	client, err := smtp.NewClient(conn, s.options.Host)
	if err != nil {
		return nil, &failure{step: "be greeted", err: err}
	}
	if err := client.Hello(s.options.HELO); err != nil {
		return nil, &failure{step: "greet", err: err}
	}
	if s.options.Mode != StartTLS {
		return client, nil
	}
	if offered, _ := client.Extension("STARTTLS"); !offered {
		return nil, &failure{step: "start TLS", err: errors.New("the server does not offer STARTTLS")}
	}
	if err := client.StartTLS(s.tlsConfig()); err != nil {
		return nil, &failure{step: "start TLS", err: err}
	}
	return client, nil
}

// signIn uses PLAIN (RFC 4616), or LOGIN where only that is offered.
func (s *SMTP) signIn(client *smtp.Client) error {
	if s.options.Username == "" {
		return nil
	}
	inClear := s.options.Mode == NoTLS // NewSMTP has allowed it for this machine only
	_, offer := client.Extension("AUTH")
	switch offered := strings.Fields(offer); {
	case slices.Contains(offered, "PLAIN"):
		return client.Auth(smtp.PlainAuth("", s.options.Username, s.options.Password, s.options.Host, inClear))
	case slices.Contains(offered, "LOGIN"):
		return client.Auth(smtp.LoginAuth(s.options.Username, s.options.Password, s.options.Host, inClear))
	}
	return errNoAuth
}

var (
	errNoAuth = errors.New("the server offers neither PLAIN nor LOGIN")
	errNoUTF8 = errors.New("the server takes no addresses beyond ASCII")
	errFlood  = errors.New("the server says more than 1 MiB")
)

// hand gives the server the message and returns what it answered.
func (s *SMTP) hand(client *smtp.Client, to string, content []byte, ready func() error) (string, error) {
	plain := ascii(s.options.From.Address) && ascii(to)
	client.SkipSMTPUTF8(plain)
	if offered, _ := client.Extension("SMTPUTF8"); !offered && !plain {
		return "", &failure{step: "name the recipient", err: errNoUTF8, told: true, final: true}
	}
	if err := client.Mail("<" + s.options.From.Address + ">"); err != nil {
		return "", &failure{step: "name the sender", err: err, told: true, final: refused(err)}
	}
	if err := client.Rcpt("<" + to + ">"); err != nil {
		return "", &failure{step: "name the recipient", err: err, told: true, final: refused(err)}
	}
	body, err := client.Data()
	if err != nil {
		return "", &failure{step: "begin the content", err: err, told: true, final: refused(err)}
	}
	if err := ready(); err != nil {
		return "", err
	}
	return give(body, content)
}

// give sends the content. Before its end mark the server has no mail (RFC 5321 §4.1.1.4); from then on
// only an answer tells.
func give(body io.WriteCloser, content []byte) (string, error) {
	if _, err := body.Write(content); err != nil {
		return "", &failure{step: "send the content", err: err, told: true}
	}
	if err := body.Close(); err != nil {
		return "", &failure{step: "end the content", err: err, told: true, final: refused(err), uncertain: !answered(err)}
	}
	if closed, ok := body.(*smtp.DataCloser); ok {
		return closed.ServerResponse(), nil
	}
	return "", nil
}

// boundedConn ends a connection that brings more than left bytes.
type boundedConn struct {
	net.Conn
	left int
}

func (c *boundedConn) Read(into []byte) (int, error) {
	if c.left <= 0 {
		return 0, errFlood
	}
	n, err := c.Conn.Read(into[:min(len(into), c.left)])
	c.left -= n
	return n, err
}
