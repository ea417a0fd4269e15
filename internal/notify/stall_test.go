package notify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// greeting is how a scripted server answers the connection and EHLO.
var greeting = []string{"220 mail.example.com", "250 mail.example.com"}

// dialogue is how it answers a whole sending: MAIL, RCPT, DATA, the content, QUIT.
var dialogue = []string{"250 sender", "250 recipient", "354 go on", "250 taken", "221 bye"}

// script is a server that says given lines and then falls silent, so that a test can stop it at any
// phase. At "drop" it closes the connection instead; at "flood" it never stops talking.
type script struct {
	addr    *net.TCPAddr
	waiting chan struct{} // gets one when the server has fallen silent
}

func startScript(t testing.TB, lines []string) *script {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{addr: listener.Addr().(*net.TCPAddr), waiting: make(chan struct{}, 1)}
	ended := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		all.Go(func() {
			<-ended
			conn.Close()
		})
		s.play(conn, lines)
		<-ended
	})
	t.Cleanup(func() {
		close(ended)
		listener.Close()
		all.Wait()
	})
	return s
}

func (s *script) play(conn net.Conn, lines []string) {
	in := bufio.NewReader(conn)
	for i, line := range lines {
		if i > 0 && !heard(in, strings.HasPrefix(lines[i-1], "354")) {
			return
		}
		switch line {
		case "drop":
			conn.Close()
			return
		case "flood":
			for {
				if _, err := fmt.Fprint(conn, strings.Repeat("250-and another thing ", 1000)); err != nil {
					return
				}
			}
		}
		fmt.Fprintf(conn, "%s\r\n", line)
	}
	s.waiting <- struct{}{}
}

// heard reads one command, or a mail's content up to its final dot.
func heard(in *bufio.Reader, content bool) bool {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		if !content || line == ".\r\n" {
			return true
		}
	}
}

// phases are the lines up to each phase of a sending, by the phase that is cut off.
func phases() map[string][]string {
	all := append(append([]string{}, greeting...), dialogue...)
	cut := make(map[string][]string)
	for i, name := range []string{"connect", "EHLO", "MAIL", "RCPT", "DATA", "content"} {
		cut[name] = all[:i:i]
	}
	return cut
}

func TestAServerThatStallsHoldsNoLongerThanTheTimeOut(t *testing.T) {
	for phase, lines := range phases() {
		t.Run(phase, func(t *testing.T) {
			server := startScript(t, lines)
			s := newSMTP(t, server.addr, func(o *SMTPOptions) { o.Timeout = 150 * time.Millisecond })
			began := time.Now()
			err := s.Send(t.Context(), rendered(t))
			if !errors.Is(err, ErrTemporary) || !strings.Contains(err.Error(), "no end within 150ms") {
				t.Errorf("error %v", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestACancelledContextEndsASendingInAnyPhase(t *testing.T) {
	stop := errors.New("the server shuts down")
	for phase, lines := range phases() {
		t.Run(phase, func(t *testing.T) {
			server := startScript(t, lines)
			ctx, cancel := context.WithCancelCause(t.Context())
			sent := make(chan error, 1)
			s := newSMTP(t, server.addr, func(o *SMTPOptions) { o.Timeout = time.Minute })
			go func() { sent <- s.Send(ctx, rendered(t)) }()
			<-server.waiting
			cancel(stop)
			if err := <-sent; !errors.Is(err, ErrTemporary) || !errors.Is(err, stop) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestADroppedConnectionIsTemporaryInAnyPhase(t *testing.T) {
	for phase, lines := range phases() {
		t.Run(phase, func(t *testing.T) {
			server := startScript(t, append(lines, "drop"))
			err := newSMTP(t, server.addr, nil).Send(t.Context(), rendered(t))
			if !errors.Is(err, ErrTemporary) || errors.Is(err, ErrPermanent) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestAMailThatWasTakenIsDeliveredWhateverComesAfter(t *testing.T) {
	for name, last := range map[string]string{"drop": "drop", "refusal": "500 no quitting"} {
		lines := append(append([]string{}, greeting...), dialogue[:4]...)
		server := startScript(t, append(lines, last))
		if err := newSMTP(t, server.addr, nil).Send(t.Context(), rendered(t)); err != nil {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestAServerThatRefusesIsToldGoodbye(t *testing.T) {
	server := startScript(t, append(append([]string{}, greeting...), "250 sender", "550 no such mailbox", "221 bye"))
	if err := newSMTP(t, server.addr, nil).Send(t.Context(), rendered(t)); !errors.Is(err, ErrPermanent) {
		t.Errorf("error %v", err)
	}
	<-server.waiting // it has heard a fifth command and answered it
}

func TestAServerThatNeverStopsTalkingIsCutOff(t *testing.T) {
	server := startScript(t, append(append([]string{}, greeting...), "flood"))
	err := newSMTP(t, server.addr, nil).Send(t.Context(), rendered(t))
	if !errors.Is(err, ErrTemporary) || !errors.Is(err, errFlood) {
		t.Errorf("error %v", err)
	}
}

func TestAServerThatEchoesWhatItWasToldIsNotRepeated(t *testing.T) {
	for _, line := range []string{"nonsense ada@example.com " + testCode, "599 ada@example.com " + testCode, "999", "25"} {
		server := startScript(t, append(append([]string{}, greeting...), "250 sender", line))
		err := newSMTP(t, server.addr, func(o *SMTPOptions) { o.Timeout = 2 * time.Second }).Send(t.Context(), rendered(t))
		if err == nil || strings.Contains(err.Error(), "ada") || strings.Contains(err.Error(), testCode) {
			t.Errorf("%q: error %v", line, err)
		}
	}
}
