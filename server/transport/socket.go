package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
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

// socket is one WebSocket. At rest it is one goroutine with a small stack, which waits for the client;
// a subscription adds one only when its source cannot call (see package feed). Writers take turns, each
// with a deadline, and nothing queues but they themselves, at most Options.MaxOperations and a timer.
type socket struct {
	h         *Handler
	conn      net.Conn
	frames    frameReader
	dialect   dialect
	handshake *greeting
	base      context.Context // values of the request; it does not end
	heard     atomic.Int64    // when the client last sent a frame, nanoseconds of Unix time
	work      sync.WaitGroup  // operations
	writing   sync.Mutex      // one frame at a time

	mu         sync.Mutex // guards what follows
	admitted   bool       // connection_init was accepted
	ended      bool
	subject    string             // of the caller
	viewer     context.Context    // base with the caller attached
	asking     context.CancelFunc // ends the authenticator's work, when it is at work
	stopWatch  func()
	operations []*running // at most Options.MaxOperations
	alarm      alarm
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
	s := &socket{h: h, asking: func() {}, stopWatch: func() {}}
	if !e.join(s) {
		return
	}
	if err := s.upgrade(w, r); err != nil {
		h.live.leave(s)
		return
	}
	h.countSocket(1)
	if s.dialect == noDialect {
		s.end(ending(closeNoSubprotocol, "Subprotocol not acceptable"))
	}
	go s.wait()
}

// upgrades tells a WebSocket handshake from other requests.
func upgrades(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

func (s *socket) upgrade(w http.ResponseWriter, r *http.Request) error {
	upgrader := ws.HTTPUpgrader{Timeout: handshakeTimeout, Protocol: func(offered string) bool {
		return dialectOf(offered) != noDialect
	}}
	conn, buffered, shaken, err := upgrader.Upgrade(r, w)
	if err != nil {
		if conn != nil {
			_ = conn.Close()
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended { // cut off meanwhile
		_ = conn.Close()
		return errEnded
	}
	s.conn, s.base = conn, context.WithoutCancel(r.Context())
	s.dialect = dialectOf(shaken.Protocol)
	s.handshake = keepHandshake(r)
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	s.frames = frameReader{conn: conn, early: slices.Clone(early), most: s.h.options.MaxMessageBytes, controls: s}
	s.heard.Store(time.Now().UnixNano())
	s.alarm.start(s.tick, s.h.options.Now(), s.h.options.InitTimeout, s.h.options.PingEvery)
	return nil
}

// greeting is what of the request that opened a socket may be needed as long as the socket lives.
type greeting struct {
	uri, host, remote string
	tls               *tls.ConnectionState
	headers           []headerLine
}

type headerLine struct{ name, value string }

// handshakeHeaders are the headers of the handshake that an Authenticator sees.
func handshakeHeaders() []string {
	return []string{"Cookie", "Authorization", "Origin", "User-Agent", "Gatehouse-Device", "Accept-Language", "Forwarded", "X-Forwarded-For", "X-Real-Ip", "Sec-Fetch-Site"}
}

// keepHandshake copies the strings, which are cut from larger blocks.
func keepHandshake(r *http.Request) *greeting {
	kept := &greeting{uri: strings.Clone(r.URL.RequestURI()), host: strings.Clone(r.Host), remote: r.RemoteAddr, tls: r.TLS}
	for _, name := range handshakeHeaders() {
		for _, value := range r.Header[name] {
			kept.headers = append(kept.headers, headerLine{name, strings.Clone(value)})
		}
	}
	return kept
}

// request is the handshake as an Authenticator sees it.
func (k *greeting) request(ctx context.Context) (*http.Request, error) {
	at, err := url.ParseRequestURI(k.uri)
	if err != nil {
		return nil, fmt.Errorf("read the handshake again: %w", err)
	}
	r := &http.Request{
		Method: http.MethodGet, URL: at, RequestURI: k.uri, Host: k.host, RemoteAddr: k.remote, TLS: k.tls,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header, len(k.headers)), Body: http.NoBody,
	}
	for _, line := range k.headers {
		r.Header[line.name] = append(r.Header[line.name], line.value)
	}
	return r.WithContext(ctx), nil
}

// wait is where an idle socket rests, with next to nothing on the stack. What comes is handled in this
// goroutine, on a stack that grows as deep as it takes and goes with it; a fresh one waits on.
func (s *socket) wait() {
	err := s.frames.wait()
	s.wake(err)
}

// wake reads what has come, unless err is that nothing ever will.
func (s *socket) wake(err error) {
	if err == nil && s.readMessages() {
		go s.wait()
		return
	}
	s.leave()
}

// leave is the last thing a socket does: it waits for its operations.
func (s *socket) leave() {
	s.end(ending(closeNormal, ""))
	_ = s.conn.Close()
	s.mu.Lock()
	stop := s.stopWatch
	s.mu.Unlock()
	stop()
	s.work.Wait()
	s.h.live.leave(s)
	s.h.countSocket(-1)
}

// readMessages handles messages until none has begun to come; false when no more can be read.
func (s *socket) readMessages() bool {
	s.frames.begin()
	defer s.frames.pause()
	for {
		first, data, err := s.frames.await()
		if data {
			err = s.readMessage(first)
		}
		var broken *closing
		if errors.As(err, &broken) { // the frames are out of step: nothing after this can be read
			s.end(broken)
			return false
		}
		if err != nil {
			return false
		}
		s.heard.Store(time.Now().UnixNano())
		if s.frames.silent() {
			return true
		}
	}
}

// readMessage reads and handles the message that begins with the frame of header first.
func (s *socket) readMessage(first ws.Header) error {
	buffer := borrow()
	defer giveBack(buffer)
	var err error
	*buffer, err = s.frames.next(*buffer, first)
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

// write sends one frame whose payload follows frameRoom free bytes.
func (s *socket) write(code ws.OpCode, buffer []byte) error {
	return s.writeFrames(frame(code, buffer))
}

// writeFrames sends whole frames. A client that does not take them within Options.WriteTimeout is cut off.
func (s *socket) writeFrames(frames []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return errEnded
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.h.options.WriteTimeout))
	s.mu.Unlock()
	_, err := s.conn.Write(frames)
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

// end sends the close frame, cancels the operations and gives the client closeGrace to answer; the
// socket reads on until then, lest unread bytes reset the connection before the frame is read. Only the first
// call counts.
func (s *socket) end(c *closing) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.stop()
	s.mu.Unlock()
	_ = s.conn.SetDeadline(time.Now().Add(closeGrace)) // frees a writer that is stuck, too
	s.writing.Lock()
	defer s.writing.Unlock()
	buffer := append(make([]byte, frameRoom, frameRoom+ws.MaxControlFramePayloadSize), byte(c.code>>8), byte(c.code))
	_, _ = s.conn.Write(frame(ws.OpClose, append(buffer, c.reason...)))
}

// cut ends the socket without a word.
func (s *socket) cut() {
	s.mu.Lock()
	s.stop()
	conn := s.conn
	s.mu.Unlock()
	if conn != nil { // nil while the handshake is being written, which has a time-out of its own
		_ = conn.Close()
	}
}

// stop ends all that the socket has begun. mu is held.
func (s *socket) stop() {
	s.ended = true
	s.alarm.stop()
	s.asking()
	for _, op := range s.operations {
		op.cancel()
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
	if s.dialect == legacyWS {
		s.send(message{Type: typeLegacyKeepAlive})
	}
}
