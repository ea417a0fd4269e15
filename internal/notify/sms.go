package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// Fields are the names of a form's fields.
type Fields struct {
	From string // zero: "From"
	To   string // zero: "To"
	Body string // zero: "Body"
}

// SMSOptions say how a vendor takes an SMS. URL and From are needed, and of Username and Token at most
// one.
type SMSOptions struct {
	URL      string // https, or http to this machine itself; without credentials
	From     string // what the vendor knows us by: a number or a name
	Username string // for basic authentication
	Password string
	Token    string // for a bearer token (RFC 6750 §2.1)
	Fields   Fields
	Timeout  time.Duration // of one sending; zero: 10 s
}

// maxVendorReply bounds what is read of a vendor's answer, in bytes.
const maxVendorReply = 64 << 10

// SMS posts messages to a vendor as an HTML form does: To, From and Body as
// application/x-www-form-urlencoded. It is safe for concurrent use.
type SMS struct {
	options SMSOptions // completed
	client  *http.Client
}

// NewSMS checks o. It connects to nothing.
func NewSMS(o SMSOptions) (*SMS, error) {
	if err := o.checkURL(); err != nil {
		return nil, err
	}
	switch {
	case o.From == "" || strings.ContainsFunc(o.From, unicode.IsControl):
		return nil, errors.New("SMS need a sender: the number or name that the vendor knows")
	case o.Token != "" && o.Username != "":
		return nil, errors.New("the SMS vendor has both a user and a token; keep one")
	case o.Username == "" && o.Password != "":
		return nil, errors.New("the SMS vendor has a password but no user")
	case strings.ContainsFunc(o.Token, func(c rune) bool { return c <= ' ' || c > '~' }):
		return nil, errors.New("the SMS vendor's token has a space or a character beyond ASCII")
	case o.Timeout < 0:
		return nil, errors.New("the SMS vendor's time-out is negative")
	}
	for name, usual := range map[*string]string{&o.Fields.From: "From", &o.Fields.To: "To", &o.Fields.Body: "Body"} {
		if *name == "" {
			*name = usual
		}
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	return &SMS{options: o, client: newVendorClient()}, nil
}

func (o SMSOptions) checkURL() error {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the SMS vendor's address is no web address; write " + smsForm)
	case u.User != nil:
		return errors.New("the SMS vendor's address holds credentials, which have fields of their own")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return errors.New("codes and credentials would go to the SMS vendor in clear; write https://")
	}
	return nil
}

// newVendorClient follows no redirect, which would carry the code elsewhere, and keeps no connection
// open between messages, so that nothing has to be closed.
func newVendorClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: maxVendorReply,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Send posts r. A status of 2xx is success. ErrTemporary is 408, 425, 429, a status of 5xx, refused
// credentials (401, which the operator mends), a network that fails and the end of ctx or of the
// time-out. Any other status is ErrPermanent.
func (s *SMS) Send(ctx context.Context, r Rendered) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("send SMS: %w: %w", ErrPermanent, err)
	}
	if !phoneNumber(r.To) {
		return fmt.Errorf("send SMS: %w: the recipient is no phone number", ErrPermanent)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Timeout, fmt.Errorf("no end within %v", s.options.Timeout))
	defer cancel()
	request, err := s.request(ctx, r)
	if err != nil {
		return fmt.Errorf("send SMS: %w: the request cannot be made", ErrPermanent)
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return fmt.Errorf("send SMS: %w: %w", ErrTemporary, s.tellable(ctx, err, r))
	}
	defer answer.Body.Close()
	// What the vendor says beyond the status may repeat number and code; it is read so that the vendor
	// can finish, and forgotten.
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxVendorReply))
	return vendorAnswer(answer.StatusCode)
}

func (s *SMS) request(ctx context.Context, r Rendered) (*http.Request, error) {
	form := url.Values{s.options.Fields.From: {s.options.From}, s.options.Fields.To: {r.To}, s.options.Fields.Body: {r.Text}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.options.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	if s.options.Username != "" {
		request.SetBasicAuth(s.options.Username, s.options.Password)
	}
	if s.options.Token != "" {
		request.Header.Set("Authorization", "Bearer "+s.options.Token)
	}
	return request, nil
}

// tellable returns the cause of err without the vendor's address, which may hold a key, and without
// what the vendor has said if that repeats something of ours.
func (s *SMS) tellable(ctx context.Context, err error, r Rendered) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	said := err.Error()
	for _, ours := range []string{r.To, r.Code, r.Text, s.options.Password, s.options.Token} {
		if ours != "" && strings.Contains(said, ours) {
			return errors.New("the vendor's answer is no HTTP")
		}
	}
	return err
}

// vendorAnswer is nil for success.
func vendorAnswer(status int) error {
	if status >= 200 && status < 300 {
		return nil
	}
	class := ErrPermanent
	switch status {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		class = ErrTemporary
	}
	if status >= 500 {
		class = ErrTemporary
	}
	return fmt.Errorf("send SMS: %w: %w", class, &Refusal{Code: status})
}
