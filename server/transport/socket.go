package transport

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

const (
	handshakeTimeout = 5 * time.Second // for writing our half of it
	closeGrace       = time.Second     // for the close frame to go out, and the client's to come in
	authorizeTimeout = 10 * time.Second
)

// socket is one WebSocket. Two goroutines at rest for one subscription: run reads, and one produces.
// Writers take turns, each with a deadline, and nothing queues but they themselves, at most
// Options.MaxOperations and a timer.
type socket struct {
	h         *Handler
	conn      net.Conn
	frames    *frameReader
	dialect   dialect
	handshake *http.Request
	base      context.Context // values of the request, ended with the socket
	cancel    context.CancelFunc
	heard     atomic.Int64   // when the client last sent a frame, nanoseconds of Unix time
	work      sync.WaitGroup // operations
	writing   sync.Mutex     // one frame at a time

	mu         sync.Mutex // guards what follows
	admitted   bool       // connection_init was accepted
	caller     Caller
	viewer     context.Context // base with the caller attached
	stopWatch  func()
	operations map[string]*running
	alarm      alarm
	ended      bool
}

// serveSocket checks the handshake and leaves the request: the socket lives on in its own goroutine,
// without the request's buffers.
func (h *Handler) serveSocket(w http.ResponseWriter, r *http.Request) {
	e := &exchange{h: h, w: w, r: r, ctx: r.Context(), started: h.options.Now(), transport: "socket", accept: acceptance{media: mediaJSON}}
	if !h.originAllowed(r) {
		err := requestError(codeForbidden, "Sockets are not open to pages of this origin.")
		e.fail(&failure{status: http.StatusForbidden, errs: gqlerror.List{err}})
		return
	}
	s := &socket{h: h, operations: make(map[string]*running), stopWatch: func() {}}
	if !e.join(s) {
		return
	}
	if err := s.upgrade(w, r); err != nil {
		h.live.leave(s)
		return
	}
	go s.run()
}

// upgrades tells a WebSocket handshake from other requests.
func upgrades(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

func (s *socket) upgrade(w http.ResponseWriter, r *http.Request) error {
	upgrader := ws.HTTPUpgrader{Timeout: handshakeTimeout, Protocol: func(offered string) bool {
		_, ok := dialectOf(offered)
		return ok
	}}
	base, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	conn, buffered, handshake, err := upgrader.Upgrade(r, w)
	if err != nil {
		cancel()
		if conn != nil {
			_ = conn.Close()
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.base, s.cancel = conn, base, cancel
	s.dialect, _ = dialectOf(handshake.Protocol)
	s.handshake = keepHandshake(r).WithContext(base)
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	s.frames = newFrameReader(conn, append([]byte(nil), early...), s.h.options.MaxMessageBytes, s.control)
	s.heard.Store(time.Now().UnixNano())
	s.alarm.start(s.tick, s.h.options.Now(), s.h.options.InitTimeout, s.h.options.PingEvery)
	return nil
}

// handshakeHeaders are the headers of the handshake that an Authenticator sees.
func handshakeHeaders() []string {
	return []string{"Cookie", "Authorization", "Origin", "User-Agent", "Gatehouse-Device", "Accept-Language", "Forwarded", "X-Forwarded-For", "X-Real-Ip", "Sec-Fetch-Site"}
}

// keepHandshake copies what of the request may be needed as long as the socket lives.
func keepHandshake(r *http.Request) *http.Request {
	kept := &http.Request{Method: r.Method, URL: r.URL, Host: strings.Clone(r.Host), RemoteAddr: r.RemoteAddr, TLS: r.TLS, Header: make(http.Header)}
	for _, name := range handshakeHeaders() {
		for _, value := range r.Header[name] {
			kept.Header[name] = append(kept.Header[name], strings.Clone(value)) // not the block it was cut from
		}
	}
	return kept
}

// run reads messages until the socket ends, then waits for its operations.
func (s *socket) run() {
	s.h.countSocket(1)
	defer s.h.countSocket(-1)
	defer s.h.live.leave(s)
	s.readMessages()
	s.end(ending(closeNormal, ""))
	_ = s.conn.Close()
	s.mu.Lock()
	stop := s.stopWatch
	s.mu.Unlock()
	stop()
	s.work.Wait()
}

func (s *socket) readMessages() {
	if s.dialect.name == "" {
		s.end(ending(closeNoSubprotocol, "Subprotocol not acceptable"))
	}
	for {
		err := s.frames.await()
		if err == nil {
			err = s.readMessage()
		}
		var broken *closing
		if errors.As(err, &broken) { // the frames are out of step: nothing after this can be read
			s.end(broken)
			return
		}
		if err != nil {
			return
		}
		s.heard.Store(time.Now().UnixNano())
	}
}

// readMessage reads and handles the message that has begun to come.
func (s *socket) readMessage() error {
	buffer := borrow()
	defer giveBack(buffer)
	var err error
	*buffer, err = s.frames.next(*buffer)
	if err == nil && !s.hasEnded() {
		if c := s.take(*buffer); c != nil {
			s.end(c)
		}
	}
	return err
}

// take handles one message; a panic of the authenticator ends the socket, not the process.
func (s *socket) take(text []byte) (c *closing) {
	defer func() {
		if cause := recover(); cause != nil {
			s.h.recovered(s.base, cause)
			c = ending(closeInternal, "internal error")
		}
	}()
	return s.handle(text)
}

// control answers pings and remembers that the client lives.
func (s *socket) control(header ws.Header, payload []byte) {
	s.heard.Store(time.Now().UnixNano())
	switch header.OpCode {
	case ws.OpPing:
		_ = s.write(ws.OpPong, append(make([]byte, frameRoom, frameRoom+len(payload)), payload...))
	case ws.OpClose:
		code, reason := ws.StatusCode(closeNormal), ""
		if len(payload) >= 2 {
			code = ws.StatusCode(payload[0])<<8 | ws.StatusCode(payload[1])
			reason = string(payload[2:])
			if ws.CheckCloseFrameData(code, reason) != nil {
				code = closeProtocolError
			}
		}
		s.end(ending(code, ""))
	}
}

var errEnded = errors.New("socket has ended")

// write sends one frame whose payload follows frameRoom free bytes. A client that does not take it within
// Options.WriteTimeout is cut off.
func (s *socket) write(code ws.OpCode, buffer []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return errEnded
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.h.options.WriteTimeout))
	s.mu.Unlock()
	_, err := s.conn.Write(frame(code, buffer))
	if err != nil {
		s.cut()
	}
	return err
}

func (s *socket) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// end sends the close frame, cancels the operations and gives the client closeGrace to answer; run
// reads on until then, lest unread bytes reset the connection before the frame is read. Only the first
// call counts.
func (s *socket) end(c *closing) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	s.alarm.stop()
	s.mu.Unlock()
	s.cancel()
	_ = s.conn.SetDeadline(time.Now().Add(closeGrace)) // frees a writer that is stuck, too
	s.writing.Lock()
	defer s.writing.Unlock()
	buffer := append(make([]byte, frameRoom, frameRoom+ws.MaxControlFramePayloadSize), byte(c.code>>8), byte(c.code))
	_, _ = s.conn.Write(frame(ws.OpClose, append(buffer, c.reason...)))
}

// cut ends the socket without a word.
func (s *socket) cut() {
	s.mu.Lock()
	s.ended = true
	s.alarm.stop()
	conn, cancel := s.conn, s.cancel
	s.mu.Unlock()
	if conn != nil { // nil while the handshake is being written, which has a time-out of its own
		cancel()
		_ = conn.Close()
	}
}

// goodbye ends the socket after a while with 1012, at which clients come back.
func (s *socket) goodbye(after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.h.options.Now()
	s.alarm.set(&s.alarm.goodbye, now.Add(after), now)
}

// tick is called by the alarm.
func (s *socket) tick() {
	now := s.h.options.Now()
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	due := s.alarm.due(now)
	s.alarm.arm(now)
	s.mu.Unlock()
	switch {
	case due.goodbye:
		s.end(ending(closeServiceRestart, "service restart"))
	case due.init:
		s.end(ending(closeInitTimeout, "Connection initialisation timeout"))
	case due.expiry:
		s.end(ending(closeUnauthorized, "token expired"))
	case due.ping:
		s.keepAlive()
	}
}

// keepAlive pings the client, or gives it up when it has not even answered the last ping.
func (s *socket) keepAlive() {
	silence := time.Since(time.Unix(0, s.heard.Load()))
	if silence > 2*s.h.options.PingEvery {
		s.cut()
		return
	}
	_ = s.write(ws.OpPing, make([]byte, frameRoom))
	if s.dialect.legacy {
		s.send(message{Type: typeLegacyKeepAlive})
	}
}
