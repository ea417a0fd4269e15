package notify

import (
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestAMailServersAddressIsRead(t *testing.T) {
	for text, want := range map[string]SMTPOptions{
		"smtp://mail.example.com":                   {Host: "mail.example.com"},
		"smtp://mail.example.com:587/?tls=starttls": {Host: "mail.example.com", Port: 587},
		"smtps://mail.example.com":                  {Host: "mail.example.com", Mode: TLS},
		"smtps://mail.example.com?tls=tls":          {Host: "mail.example.com", Mode: TLS},
		"smtp://u:p%40%2F%3A%23@mail.example.com:465?tls=tls": {
			Host: "mail.example.com", Port: 465, Mode: TLS, Username: "u", Password: "p@/:#",
		},
		"smtp://localhost:1025?tls=none&helo=host.example.com&timeout=3s": {
			Host: "localhost", Port: 1025, Mode: NoTLS, HELO: "host.example.com", Timeout: 3 * time.Second,
		},
		"smtp://[::1]:25?tls=none": {Host: "::1", Port: 25, Mode: NoTLS},
	} {
		got, err := ParseSMTP(text)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(SMTPOptions{}, "RootCAs", "Now")); err != nil || diff != "" {
			t.Errorf("%s: error %v (-want +got):\n%s", text, err, diff)
		}
	}
}

func TestABadMailServersAddressSaysWhatToWriteAndNoPassword(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "smtp://USER",
		"mail.example.com:587":           "smtp://USER",
		"http://u:secret@mail.example":   "smtps://",
		"smtp://":                        "smtp://USER",
		"smtp:mail.example.com":          "smtp://USER",
		"smtp://u:sec/ret@mail.example":  "%40",
		"smtp://u:secret@mail.example/x": "no path",
		"smtp://u:secret@mail#x":         "%23",
		"smtp://secret@mail.example":     "no password",
		"smtp://u:secret@mail.example:0": "1 to 65535",
		"smtp://u:secret@mail.example:x": "smtp://USER",
		"smtp://u:secret@mail?tls=on":    "starttls, tls or none",
		"smtps://u:secret@mail?tls=none": "write smtp://",
		"smtp://u:secret@mail?timeout=5": "timeout=10s",
		"smtp://u:secret@mail?x=y":       "helo or timeout",
		"smtp://u:secret@mail?a;b":       "smtp://USER",
		"smtp://u:%zzsecret@mail":        "smtp://USER",
	} {
		_, err := ParseSMTP(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sec") {
			t.Errorf("%q: error %v; want %q", text, err, want)
		}
	}
}

func TestTheSenderOfMailIsRead(t *testing.T) {
	for text, want := range map[string]netmail.Address{
		"no-reply@example.com":                    {Address: "no-reply@example.com"},
		"Gatehouse <no-reply@example.com>":        {Name: "Gatehouse", Address: "no-reply@example.com"},
		`"Gate, house" <no-reply@example.com>`:    {Name: "Gate, house", Address: "no-reply@example.com"},
		"=?utf-8?q?Z=C3=BCrich?= <x@example.com>": {Name: "Zürich", Address: "x@example.com"},
	} {
		if got, err := ParseFrom(text); err != nil || got != want {
			t.Errorf("%q: %+v, error %v", text, got, err)
		}
	}
	for _, text := range []string{"", "Gatehouse", "a@b.c, d@e.f", "=?utf-8?q?a=0D=0Ab?= <x@example.com>"} {
		if got, err := ParseFrom(text); err == nil || !strings.Contains(err.Error(), "write no-reply@") {
			t.Errorf("%q: %+v, error %v", text, got, err)
		}
	}
}

func TestAVendorsAddressIsRead(t *testing.T) {
	got, err := ParseSMS("https://AC1:t%40ken@api.example/2010/Messages.json?region=eu")
	want := SMSOptions{URL: "https://api.example/2010/Messages.json?region=eu", Username: "AC1", Password: "t@ken"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	for text, want := range map[string]string{
		"": "https://USER", "api.example/x": "https://USER", "ftp://u:secret@api.example": "https://USER",
		"http://u:secret@api.example": "write https://",
	} {
		if _, err := ParseSMS(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v; want %q", text, err, want)
		}
	}
}

func TestTheNamesOfAFormsFieldsAreRead(t *testing.T) {
	if got, err := ParseFields("from=Sender, to=Recipient,body=Text"); err != nil || got != (Fields{"Sender", "Recipient", "Text"}) {
		t.Errorf("%+v, error %v", got, err)
	}
	if got, err := ParseFields("body=message"); err != nil || got != (Fields{Body: "message"}) {
		t.Errorf("%+v, error %v", got, err)
	}
	for _, text := range []string{"", "from", "from=", "sender=x", "from=a,,to=b"} {
		if got, err := ParseFields(text); err == nil || !strings.Contains(err.Error(), "; write ") {
			t.Errorf("%q: %+v, error %v", text, got, err)
		}
	}
}

func FuzzParseSMTP(f *testing.F) {
	for _, seed := range []string{"smtp://u:p@mail.example.com:587?tls=starttls", "smtps://[::1]?helo=x&timeout=1s", "smtp://a%40b:c@d?tls=none"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := ParseSMTP(text)
		if err != nil {
			return
		}
		if o.Host == "" || o.Mode < StartTLS || o.Mode > NoTLS || o.Port < 0 || o.Port > 65535 || o.Timeout < 0 {
			t.Errorf("%q gives %+v", text, o)
		}
		o.From = netmail.Address{Address: "a@example.com"}
		if s, err := NewSMTP(o); err == nil && !loopback(s.options.Host) && s.options.Mode == NoTLS && s.options.Username != "" {
			t.Errorf("%q sends a password in clear", text)
		}
	})
}
