package notify

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

func ownMail() Mail {
	return Mail{ID: "job_1", To: "ada@example.com", Subject: "Tea at four", Text: "Bring cake.", HTML: "<b>Bring cake.</b>"}
}

func postTo(t testing.TB, addr *net.TCPAddr) *Post {
	t.Helper()
	p, err := New(Options{Mail: newSMTP(t, addr, func(o *SMTPOptions) { o.Timeout = 500 * time.Millisecond })})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAMailOfOwnWordsArrivesAsItIsWithAReceipt(t *testing.T) {
	m := &mailServer{}
	startMailServer(t, m, nil, false)
	wanted := 0
	receipt, err := postTo(t, m.addr).Hand(t.Context(), ownMail(), func() error { wanted++; return nil })
	if err != nil || wanted != 1 {
		t.Fatalf("error %v, asked %d times", err, wanted)
	}
	if receipt.MessageID != "<job_1@example.com>" || !receipt.At.Equal(testMoment) || !strings.HasPrefix(receipt.Response, "250 ") || strings.Contains(receipt.Response, "\n") {
		t.Errorf("the receipt is %+v", receipt)
	}
	got := readBack(t, m.only(t).content)
	if got.header.Get("Message-Id") != receipt.MessageID || got.header.Get("Auto-Submitted") != "auto-generated" || got.header.Get("Subject") != "Tea at four" {
		t.Errorf("the header is %v", got.header)
	}
	if got.parts["text/plain"] != "Bring cake." || got.parts["text/html"] != "<b>Bring cake.</b>" {
		t.Errorf("the parts are %q", got.parts)
	}
}

func TestAMailWhoseSenderIsNotReadyIsNotSent(t *testing.T) {
	m := &mailServer{}
	startMailServer(t, m, nil, false)
	stolen := errors.New("somebody else has the job")
	_, err := postTo(t, m.addr).Hand(t.Context(), ownMail(), func() error { return stolen })
	if !errors.Is(err, stolen) || !errors.Is(err, ErrTemporary) || errors.Is(err, ErrUncertain) {
		t.Errorf("error %v", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mails) != 0 {
		t.Errorf("the server got %d mails", len(m.mails))
	}
}

// TestOnlyTheEndOfTheContentIsUncertain stops a server at each phase: only where it has the whole mail may
// it have taken it.
func TestOnlyTheEndOfTheContentIsUncertain(t *testing.T) {
	for phase, lines := range phases() {
		for _, how := range []string{"stalls", "drops"} {
			said := lines
			if how == "drops" {
				said = append(lines, "drop")
			}
			asked := false
			_, err := postTo(t, startScript(t, said).addr).Hand(t.Context(), ownMail(), func() error { asked = true; return nil })
			if whole := phase == "content"; errors.Is(err, ErrUncertain) != whole || !errors.Is(err, ErrTemporary) || asked != whole {
				t.Errorf("a server that %s at %s: asked %t, error %v", how, phase, asked, err)
			}
		}
	}
	for answer, want := range map[string]error{
		"250 taken": nil, "299 what": ErrUncertain, "nonsense": ErrUncertain, "452 no room": ErrTemporary, "554 spam": ErrPermanent,
	} {
		lines := append(append([]string{}, greeting...), "250 sender", "250 recipient", "354 go on", answer, "221 bye")
		_, err := postTo(t, startScript(t, lines).addr).Hand(t.Context(), ownMail(), func() error { return nil })
		if !errors.Is(err, want) || errors.Is(err, ErrUncertain) != (want == ErrUncertain) {
			t.Errorf("after %q: error %v, want %v", answer, err, want)
		}
	}
}

func TestAMailNeedsAMailerAndAnID(t *testing.T) {
	p, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Hand(t.Context(), ownMail(), nil); !errors.Is(err, ErrNoSender) || !errors.Is(err, ErrPermanent) {
		t.Errorf("without a mail server: %v", err)
	}
	m := ownMail()
	m.ID = ""
	if _, err := postTo(t, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}).Hand(t.Context(), m, nil); !errors.Is(err, ErrPermanent) {
		t.Errorf("without an id: %v", err)
	}
}

func TestAnOutboxKeepsAMailOfOwnWords(t *testing.T) {
	o, err := NewOutbox(t.TempDir(), OutboxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Options{Mail: o})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Hand(t.Context(), ownMail(), func() error { return errors.New("no") }); !errors.Is(err, ErrTemporary) {
		t.Errorf("not ready: %v", err)
	}
	if _, err := p.Hand(t.Context(), ownMail(), func() error { return nil }); err != nil {
		t.Error(err)
	}
	kept, err := o.List(t.Context(), 10)
	if err != nil || len(kept) != 1 || kept[0].Message.Kind != OwnWords || kept[0].Message.Text != "Bring cake." {
		t.Errorf("kept are %+v, %v", kept, err)
	}
}
