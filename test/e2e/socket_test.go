package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// socket is a WebSocket that speaks graphql-transport-ws.
type socket struct {
	t       testing.TB
	conn    net.Conn
	writing sync.Mutex
	inbox   chan envelope // closed with the connection
	code    ws.StatusCode // of the server's close frame; 0 without one; read it after inbox is closed
	reason  string
	done    chan struct{} // closed by cut, so that the reader never waits for a test that has ended
	once    sync.Once
}

// envelope is a message of the protocol.
type envelope struct {
	ID      string          `json:"id,omitempty"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

// dial opens a socket at the client's server and signs in on it.
func (c *client) dial() *socket {
	c.t.Helper()
	s, err := c.tryDial(nil)
	if err != nil {
		c.t.Fatalf("dial: %v", err)
	}
	s.send(envelope{Type: "connection_init", Payload: authorization(c.access)})
	if m, ok := s.next(patience); !ok || m.Type != "connection_ack" {
		c.t.Fatalf("connection_init: got %q, closed with %d %q", m.Type, s.code, s.reason)
	}
	return s
}

func authorization(token string) json.RawMessage {
	if token == "" {
		return nil
	}
	return json.RawMessage(fmt.Sprintf(`{"authorization": "Bearer %s"}`, token))
}

// tryDial opens a socket with more headers of the handshake.
func (c *client) tryDial(headers http.Header) (*socket, error) {
	dialer := ws.Dialer{Protocols: []string{"graphql-transport-ws"}, Header: ws.HandshakeHeaderHTTP(headers), Timeout: patience}
	conn, early, _, err := dialer.Dial(context.Background(), strings.Replace(c.url, "http", "ws", 1)+"/graphql")
	if err != nil {
		return nil, err
	}
	var from io.Reader = conn
	if early != nil {
		from = early
	}
	s := &socket{t: c.t, conn: conn, inbox: make(chan envelope, 16), done: make(chan struct{})}
	go s.read(bufio.NewReader(from))
	c.t.Cleanup(s.cut)
	return s, nil
}

// read takes frames until the connection ends. The server does not split messages.
func (s *socket) read(from io.Reader) {
	defer close(s.inbox)
	for {
		frame, err := readFrame(from)
		if err != nil {
			return
		}
		switch frame.Header.OpCode {
		case ws.OpPing:
			s.frame(ws.NewPongFrame(frame.Payload))
		case ws.OpClose:
			s.code, s.reason = ws.ParseCloseFrameData(frame.Payload)
			s.frame(ws.NewCloseFrame(frame.Payload))
			return
		case ws.OpText:
			var m envelope
			if json.Unmarshal(frame.Payload, &m) != nil {
				return
			}
			select {
			case s.inbox <- m:
			case <-s.done:
				return
			}
		}
	}
}

// maxFrame is more than the server sends in one frame here, in bytes.
const maxFrame = 1 << 20

func readFrame(from io.Reader) (ws.Frame, error) {
	header, err := ws.ReadHeader(from)
	if err != nil || header.Length > maxFrame {
		return ws.Frame{}, errors.Join(err, errors.New("no frame of at most 1 MiB"))
	}
	payload := make([]byte, header.Length)
	_, err = io.ReadFull(from, payload)
	return ws.Frame{Header: header, Payload: payload}, err
}

func (s *socket) frame(f ws.Frame) {
	s.writing.Lock()
	defer s.writing.Unlock()
	_ = ws.WriteFrame(s.conn, ws.MaskFrame(f)) // a broken connection shows when it is read
}

func (s *socket) send(m envelope) {
	text, err := json.Marshal(m)
	if err != nil {
		s.t.Error(err)
	}
	s.frame(ws.NewTextFrame(text))
}

func (s *socket) subscribe(id, query string, v vars) {
	payload, err := json.Marshal(map[string]any{"query": query, "variables": v})
	if err != nil {
		s.t.Error(err)
	}
	s.send(envelope{ID: id, Type: "subscribe", Payload: payload})
}

// next returns the next message; false when the connection has ended or the time is over.
func (s *socket) next(within time.Duration) (envelope, bool) {
	select {
	case m, ok := <-s.inbox:
		return m, ok
	case <-time.After(within):
		return envelope{}, false
	}
}

// awaitClose reads to the end of the connection and returns the server's close code, 0 without one.
func (s *socket) awaitClose(within time.Duration) (ws.StatusCode, string) {
	s.t.Helper()
	deadline := time.After(within)
	for {
		select {
		case _, ok := <-s.inbox:
			if !ok {
				return s.code, s.reason
			}
		case <-deadline:
			s.t.Errorf("the socket is still open after %v", within)
			return 0, ""
		}
	}
}

// cut ends the connection without a word, as a phone in a tunnel does.
func (s *socket) cut() {
	s.once.Do(func() {
		close(s.done)
		_ = s.conn.Close()
	})
}

// event is one jobEvents answer.
type event struct {
	Sequence int
	Type     string
	Message  string
	Job      job
}

const eventsDocument = `subscription($id: ID!, $after: Int) { jobEvents(id: $id, after: $after) { sequence type message
	job { id state attempt sequence progress { done total } result { ... on CsvSummary { rows badRows } } } } }`

// watch is a running jobEvents subscription, whatever carries it.
type watch interface {
	// next returns the next event; false when the stream has ended or broken.
	next(within time.Duration) (event, bool)
	// completed reports whether the server has said that it is complete.
	completed() bool
	cut()
}

// socketWatch is a jobEvents subscription over a socket of its own.
type socketWatch struct {
	*socket
	complete bool
}

func eventsOf(id string, after *int) vars {
	v := vars{"id": id}
	if after != nil {
		v["after"] = *after
	}
	return v
}

// watchSocket subscribes to a job's events over a socket of its own.
func (c *client) watchSocket(id string, after *int) watch {
	c.t.Helper()
	s := c.dial()
	s.subscribe("1", eventsDocument, eventsOf(id, after))
	return &socketWatch{socket: s}
}

func (w *socketWatch) next(within time.Duration) (event, bool) {
	m, ok := w.socket.next(within)
	if !ok {
		return event{}, false
	}
	if m.Type == "complete" {
		w.complete = true
		return event{}, false
	}
	e, err := readEvent(m.Payload)
	if err != nil || m.Type != "next" {
		w.t.Errorf("got %s %s: %v", m.Type, m.Payload, err)
		return event{}, false
	}
	return e, true
}

func (w *socketWatch) completed() bool { return w.complete }

func readEvent(payload []byte) (event, error) {
	var response struct {
		Data   struct{ JobEvents event }
		Errors []gqlError
	}
	if err := json.Unmarshal(payload, &response); err != nil {
		return event{}, err
	}
	if len(response.Errors) > 0 {
		return event{}, fmt.Errorf("%+v", response.Errors)
	}
	return response.Data.JobEvents, nil
}

// follow reads a watch to its end, which must come with a terminal event and a complete, and returns
// the events.
func follow(t testing.TB, w watch) []event {
	t.Helper()
	var all []event
	for {
		e, ok := w.next(patience)
		if !ok {
			break
		}
		all = append(all, e)
	}
	if len(all) == 0 || !all[len(all)-1].Job.final() || !w.completed() {
		t.Fatalf("the stream ended without a terminal event and a complete, after %d events: %+v", len(all), last(all))
	}
	return all
}

func last[T any](all []T) (zero T) {
	if len(all) == 0 {
		return zero
	}
	return all[len(all)-1]
}
