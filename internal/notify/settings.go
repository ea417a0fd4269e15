package notify

import (
	"errors"
	"fmt"
	netmail "net/mail"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const smtpForm = "smtp://USER:PASSWORD@HOST:587?tls=starttls, or smtps://USER:PASSWORD@HOST:465"

// ParseSMTP reads a mail server's address:
//
//	smtp://USER:PASSWORD@HOST:PORT?tls=starttls&helo=NAME&timeout=10s
//	smtps://USER:PASSWORD@HOST:PORT
//
// Everything but the host may be left out. tls is starttls, tls (which smtps means) or none. The
// address of the sender is added by the caller: see [ParseFrom]. Errors say what to write instead, and
// do not repeat the text, for it holds a password.
func ParseSMTP(text string) (SMTPOptions, error) {
	u, err := parseURL(text, smtpForm)
	if err != nil {
		return SMTPOptions{}, err
	}
	if u.Scheme != "smtp" && u.Scheme != "smtps" {
		return SMTPOptions{}, errors.New("a mail server's address begins with smtp:// or smtps://; write " + smtpForm)
	}
	if u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return SMTPOptions{}, errors.New("a mail server's address has no path; write / in a password as %2F, # as %23")
	}
	o := SMTPOptions{Host: u.Hostname(), Username: u.User.Username()}
	o.Password, _ = u.User.Password()
	if o.Username != "" && o.Password == "" {
		return SMTPOptions{}, errors.New("the mail server has a user but no password; write " + smtpForm)
	}
	if o.Port, err = parsePort(u.Port()); err != nil {
		return SMTPOptions{}, err
	}
	if u.Scheme == "smtps" {
		o.Mode = TLS
	}
	return o, o.parseQuery(u)
}

func (o *SMTPOptions) parseQuery(u *url.URL) error {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("what follows ? in the mail server's address cannot be read; write " + smtpForm)
	}
	for name, values := range query {
		value := values[len(values)-1]
		switch name {
		case "tls":
			if o.Mode, err = parseMode(value, u.Scheme); err != nil {
				return err
			}
		case "helo":
			o.HELO = value
		case "timeout":
			if o.Timeout, err = time.ParseDuration(value); err != nil || o.Timeout <= 0 {
				return errors.New("timeout is no time; write e.g. timeout=10s")
			}
		default:
			return fmt.Errorf("the mail server's address has an unknown %q; write tls, helo or timeout", name)
		}
	}
	return nil
}

func parseMode(text, scheme string) (Mode, error) {
	for mode := StartTLS; mode <= NoTLS; mode++ {
		if text != mode.String() {
			continue
		}
		if scheme == "smtps" && mode != TLS {
			return 0, fmt.Errorf("smtps means tls=tls; for tls=%s write smtp://", mode)
		}
		return mode, nil
	}
	return 0, fmt.Errorf("tls is %q; write starttls, tls or none", text)
}

func parsePort(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 {
		return 0, errors.New("the port is not 1 to 65535")
	}
	return port, nil
}

// parseURL is url.Parse without the text in its errors.
func parseURL(text, form string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Hostname() == "" {
		return nil, errors.New("this is no address; write " + form + ", with %40 for @ and %3A for : in a password")
	}
	return u, nil
}

// ParseFrom reads whom mail is from: no-reply@example.com, or Gatehouse <no-reply@example.com>.
func ParseFrom(text string) (netmail.Address, error) {
	from, err := netmail.ParseAddress(text)
	if err != nil || !mailAddress(from.Address) || strings.ContainsFunc(from.Name, unicode.IsControl) {
		return netmail.Address{}, fmt.Errorf("%q is no mail address; write no-reply@example.com or Name <no-reply@example.com>", text)
	}
	return *from, nil
}

const smsForm = "https://USER:PASSWORD@HOST/PATH"

// ParseSMS reads the address of a vendor's form: https://USER:PASSWORD@HOST/PATH?QUERY, whose user and
// password are sent by basic authentication and may be left out. The rest of [SMSOptions] is added by
// the caller. Errors do not repeat the text.
func ParseSMS(text string) (SMSOptions, error) {
	u, err := parseURL(text, smsForm)
	if err != nil {
		return SMSOptions{}, err
	}
	o := SMSOptions{Username: u.User.Username()}
	o.Password, _ = u.User.Password()
	u.User = nil
	o.URL = u.String()
	return o, o.checkURL()
}

// ParseFields reads the names of a form's fields: from=Sender,to=Recipient,body=Text. Those left out
// keep their usual names.
func ParseFields(text string) (Fields, error) {
	var f Fields
	for pair := range strings.SplitSeq(text, ",") {
		ours, theirs, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if theirs == "" {
			return Fields{}, fmt.Errorf("%q names no field; write e.g. from=Sender,to=Recipient,body=Text", pair)
		}
		switch ours {
		case "from":
			f.From = theirs
		case "to":
			f.To = theirs
		case "body":
			f.Body = theirs
		default:
			return Fields{}, fmt.Errorf("there is no field %q; write from, to or body", ours)
		}
	}
	return f, nil
}
