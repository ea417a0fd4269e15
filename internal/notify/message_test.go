package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAFullMessageIsValid(t *testing.T) {
	eachMessage(t, func(t *testing.T, m Message, _ shape) {
		if err := m.Validate(); err != nil {
			t.Error(err)
		}
	})
}

func TestAMessageThatLacksWhatItsKindNeedsIsRefused(t *testing.T) {
	clear := map[fields]func(*Message){
		hasLink: func(m *Message) { m.Link = "" }, hasCode: func(m *Message) { m.Code = "" },
		hasMinutes: func(m *Message) { m.Minutes = 0 }, hasAt: func(m *Message) { m.At = Message{}.At },
		hasDue: func(m *Message) { m.Due = Message{}.Due }, hasDevice: func(m *Message) { m.Device = "" },
		hasNetwork: func(m *Message) { m.Network = "" }, hasFactor: func(m *Message) { m.Factor = "" },
		hasProvider: func(m *Message) { m.Provider = "" }, hasBy: func(m *Message) { m.By = "" },
		hasReason: func(m *Message) { m.Reason = "" }, hasMachine: func(m *Message) { m.Machine = "" },
	}
	eachMessage(t, func(t *testing.T, m Message, shape shape) {
		for field, empty := range clear {
			lacking := m
			empty(&lacking)
			err := lacking.Validate()
			if needed := shape.needs&field != 0; needed != (err != nil) {
				t.Errorf("without %v: error %v", missing(field), err)
			}
			if err != nil && !strings.Contains(err.Error(), missing(field)[0]) {
				t.Errorf("without %v: error %v does not name it", missing(field), err)
			}
		}
	})
}

func TestAFieldOutOfItsBoundsIsRefusedAndNotRepeated(t *testing.T) {
	for name, spoil := range map[string]func(*Message){
		"kind":             func(m *Message) { m.Kind = "secret" },
		"no kind":          func(m *Message) { m.Kind = "" },
		"no address":       func(m *Message) { m.To = "" },
		"no mailbox":       func(m *Message) { m.To = "secret" },
		"line in address":  func(m *Message) { m.To = "secret@example.com\r\nBcc: eve@example.org" },
		"two addresses":    func(m *Message) { m.To = "secret@example.com, eve@example.org" },
		"display name":     func(m *Message) { m.To = "Ada <secret@example.com>" },
		"quoted address":   func(m *Message) { m.To = `"secret <x>"@example.com` },
		"comment":          func(m *Message) { m.To = "secret(x)@example.com" },
		"long address":     func(m *Message) { m.To = strings.Repeat("secret", 50) + "@example.com" },
		"phone":            func(m *Message) { m.To = "+491701234567" },
		"relative link":    func(m *Message) { m.Link = "/secret" },
		"script":           func(m *Message) { m.Link = "javascript:secret" },
		"link with line":   func(m *Message) { m.Link = "https://example.com/secret\nx" },
		"link with quote":  func(m *Message) { m.Link = `https://example.com/secret"x` },
		"link with user":   func(m *Message) { m.Link = "https://secret@example.com/" },
		"link with letter": func(m *Message) { m.Link = "https://example.com/secreté" },
		"long link":        func(m *Message) { m.Link = "https://example.com/" + strings.Repeat("secret", 400) },
		"short code":       func(m *Message) { m.Code = "123" },
		"code with space":  func(m *Message) { m.Code = "secret 123" },
		"long code":        func(m *Message) { m.Code = strings.Repeat("secret", 6) },
		"minutes":          func(m *Message) { m.Minutes = -1 },
		"many minutes":     func(m *Message) { m.Minutes = maxMinutes + 1 },
		"network":          func(m *Message) { m.Network = "secret" },
		"zone":             func(m *Message) { m.Network = "fe80::1%secret" },
		"codes left":       func(m *Message) { m.Left = -1 },
		"long name":        func(m *Message) { m.Name = strings.Repeat("secret", 200) },
		"long reason":      func(m *Message) { m.Reason = strings.Repeat("secret", 200) },
		"id":               func(m *Message) { m.ID = "secret@x" },
		"long id":          func(m *Message) { m.ID = strings.Repeat("secret", 11) },
	} {
		m := full(VerifyEmail, ByMail)
		spoil(&m)
		err := m.Validate()
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "ada@") {
			t.Errorf("%s: the error repeats it: %v", name, err)
		}
	}
}

func TestPhoneNumbersAreInternational(t *testing.T) {
	for number, want := range map[string]bool{
		"+491701234567": true, "+12025550123": true, "+1234567": true, "+123456789012345": true,
		"+1234567890123456": false, "+123456": false, "+0491701234567": false, "491701234567": false,
		"+49 170 1234567": false, "+49170123456x": false, "+": false, "+٤٩١٧٠١٢٣٤": false,
	} {
		if m := full(MfaCode, BySMS); phoneNumber(number) != want {
			m.To = number
			t.Errorf("%q: %v, want %v", number, !want, want)
		} else if m.To = number; want != (m.Validate() == nil) {
			t.Errorf("%q: error %v", number, m.Validate())
		}
	}
}

func TestAMessagePrintsAndLogsAsItsKind(t *testing.T) {
	m := full(LoginCode, ByMail)
	r, err := newPost(t, Options{}).Render(m)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	for _, logger := range []*slog.Logger{slog.New(slog.NewTextHandler(&log, nil)), slog.New(slog.NewJSONHandler(&log, nil))} {
		logger.Info("x", "message", m, "rendered", r)
	}
	fmt.Fprintf(&log, "%v %+v %s %v %+v %s", m, m, m, r, r, r)
	if strings.Contains(log.String(), testCode) || strings.Contains(log.String(), "token=") || strings.Contains(log.String(), "ada@") {
		t.Errorf("a secret was printed: %s", log.String())
	}
}

// senderFunc is a sender for tests of what comes before one.
type senderFunc func(context.Context, Rendered) error

func (f senderFunc) Send(ctx context.Context, r Rendered) error { return f(ctx, r) }

func TestAMessageGoesToTheSenderOfItsMedium(t *testing.T) {
	var mailed, texted []Rendered
	p := newPost(t, Options{
		Mail: senderFunc(func(_ context.Context, r Rendered) error { mailed = append(mailed, r); return nil }),
		SMS:  senderFunc(func(_ context.Context, r Rendered) error { texted = append(texted, r); return nil }),
	})
	for _, medium := range []Medium{ByMail, BySMS} {
		if !p.Carries(medium) {
			t.Errorf("%s is not carried", medium)
		}
		if err := p.Deliver(t.Context(), full(MfaCode, medium)); err != nil {
			t.Error(err)
		}
	}
	if len(mailed) != 1 || len(texted) != 1 || mailed[0].To != "ada@example.com" || texted[0].To != "+491701234567" {
		t.Errorf("mailed %v, texted %v", mailed, texted)
	}
}

func TestAMessageWithoutASenderIsRefused(t *testing.T) {
	p := newPost(t, Options{})
	for _, medium := range []Medium{ByMail, BySMS} {
		err := p.Deliver(t.Context(), full(MfaCode, medium))
		if !errors.Is(err, ErrNoSender) || !errors.Is(err, ErrPermanent) || p.Carries(medium) {
			t.Errorf("%s: error %v", medium, err)
		}
	}
}

func TestABadMessageIsPermanentAndASendersErrorIsItsOwn(t *testing.T) {
	p := newPost(t, Options{Mail: senderFunc(func(context.Context, Rendered) error { return ErrTemporary })})
	if err := p.Deliver(t.Context(), Message{Kind: VerifyEmail}); !errors.Is(err, ErrPermanent) {
		t.Errorf("a bad message: %v", err)
	}
	if err := p.Deliver(t.Context(), full(VerifyEmail, ByMail)); !errors.Is(err, ErrTemporary) || errors.Is(err, ErrPermanent) {
		t.Errorf("the sender's error: %v", err)
	}
}

func TestAPostRefusesAProductOrHostThatCannotBeShown(t *testing.T) {
	for _, o := range []Options{
		{Product: strings.Repeat("x", maxProduct+1)}, {Product: "a\r\nb"}, {Host: "https://example.com"}, {Host: "example.com:443"}, {Host: "a b"},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestNoErrorRepeatsASecret(t *testing.T) {
	p := newPost(t, Options{})
	rapid.Check(t, func(t *rapid.T) {
		m := full(rapid.SampledFrom(Kinds()).Draw(t, "kind"), rapid.SampledFrom([]Medium{ByMail, BySMS}).Draw(t, "medium"))
		mark := "s3cr3t-" + rapid.StringMatching(`[a-z]{8}`).Draw(t, "mark")
		for _, field := range []*string{&m.ID, &m.To, &m.Link, &m.Code, &m.Network} {
			if rapid.Bool().Draw(t, "spoil") {
				*field += mark + rapid.String().Draw(t, "tail")
			}
		}
		if err := p.Deliver(context.Background(), m); err != nil && strings.Contains(err.Error(), mark) {
			t.Errorf("%v", err)
		}
	})
}
