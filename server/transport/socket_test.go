package transport

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"pgregory.net/rapid"
)

// client is the other end of a socket. It reads all the time unless told not to.
type client struct {
	t      testing.TB
	conn   net.Conn
	frames chan ws.Frame // closed with the connection
}

func (h *house) dialSocket(t *testing.T, p *pipes, subprotocol string, headers ...string) *client {
	t.Helper()
	conn := p.dial()
	response, reader := raw(t, conn, handshake(subprotocol, headers...))
	if response.StatusCode != 101 {
		t.Fatalf("got status %d", response.StatusCode)
	}
	return newClient(t, conn, reader)
}

func handshake(subprotocol string, headers ...string) string {
	text := "GET /graphql HTTP/1.1\r\nHost: here.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	if subprotocol != "" {
		text += "Sec-WebSocket-Protocol: " + subprotocol + "\r\n"
	}
	for _, header := range headers {
		text += header + "\r\n"
	}
	return text + "\r\n"
}

func newClient(t testing.TB, conn net.Conn, reader *bufio.Reader) *client {
	c := &client{t: t, conn: conn, frames: make(chan ws.Frame, 1000)}
	go func() {
		defer close(c.frames)
		for {
			frame, err := readFrame(reader)
			if err != nil {
				return
			}
			if frame.Header.OpCode == ws.OpPing { // as any client does
				go c.frame(ws.OpPong, true, frame.Payload) // pipes have no buffer: reading must go on
				continue
			}
			c.frames <- frame
		}
	}()
	return c
}

func (c *client) frame(code ws.OpCode, fin bool, payload []byte) {
	_, _ = c.conn.Write(ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(code, fin, payload)))) // in one piece, as others write too
}

// readFrame reads one frame of the server.
func readFrame(from io.Reader) (ws.Frame, error) {
	header, err := ws.ReadHeader(from)
	if err != nil {
		return ws.Frame{}, err
	}
	payload := make([]byte, header.Length)
	_, err = io.ReadFull(from, payload)
	return ws.Frame{Header: header, Payload: payload}, err
}

func (c *client) send(text string) { c.frame(ws.OpText, true, []byte(text)) }

// want reads the next message, which must be this JSON.
func (c *client) want(text string) {
	c.t.Helper()
	frame, ok := <-c.frames
	if !ok {
		c.t.Fatalf("connection closed, want %s", text)
	}
	var got, want any
	if json.Unmarshal(frame.Payload, &got) != nil || json.Unmarshal([]byte(text), &want) != nil || !reflect.DeepEqual(got, want) {
		c.t.Fatalf("got %d %s\nwant %s", frame.Header.OpCode, frame.Payload, text)
	}
}

// wantPart reads the next message, which must contain this text.
func (c *client) wantPart(text string) {
	c.t.Helper()
	frame, ok := <-c.frames
	if !ok || !strings.Contains(string(frame.Payload), text) {
		c.t.Fatalf("got %q (open %v), want it to contain %s", frame.Payload, ok, text)
	}
}

// wantClose reads on to the close frame, answers it as clients do, and sees the connection end.
func (c *client) wantClose(code ws.StatusCode, reason string) {
	c.t.Helper()
	for frame := range c.frames {
		if frame.Header.OpCode != ws.OpClose {
			continue
		}
		gotCode, gotReason := ws.ParseCloseFrameData(frame.Payload)
		if gotCode != code || !strings.Contains(gotReason, reason) {
			c.t.Errorf("got close %d %q, want %d %q", gotCode, gotReason, code, reason)
		}
		c.frame(ws.OpClose, true, frame.Payload[:2])
		for range c.frames {
		}
		return
	}
	c.t.Errorf("connection ended without a close frame, want %d %q", code, reason)
}

// quiet sees that nothing has been sent.
func (c *client) quiet() {
	c.t.Helper()
	synctest.Wait()
	select {
	case frame := <-c.frames:
		c.t.Errorf("got %s, want nothing", frame.Payload)
	default:
	}
}

// inBubble runs the test in a bubble of fake time, with a house served over pipes.
func inBubble(t *testing.T, options Options, f func(t *testing.T, h *house, p *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(options)
		f(t, h, h.serve(t))
	})
}

// advance moves the clock of the bubble.
func advance(d time.Duration) { <-time.After(d) }

const (
	modernInit = `{"type":"connection_init"}`
	modernAck  = `{"type":"connection_ack"}`
	forever    = `{"id":"1","type":"subscribe","payload":{"query":"subscription{forever}"}}`
)

func TestASocketAnswersQueriesMutationsAndSubscriptions(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		c := h.dialSocket(t, p, "graphql-transport-ws")
		c.send(`{"type":"connection_init","payload":{"Authorization":"Bearer ada"}}`)
		c.want(modernAck)
		c.send(`{"id":"q","type":"subscribe","payload":{"query":"{me}"}}`)
		c.want(`{"id":"q","type":"next","payload":{"data":{"me":"ada"}}}`)
		c.want(`{"id":"q","type":"complete"}`)
		c.send(`{"id":"m","type":"subscribe","payload":{"query":"mutation($x:Int){set(x:$x)}","variables":{"x":1},"operationName":null}}`)
		c.want(`{"id":"m","type":"next","payload":{"data":{"set":"ada"}}}`)
		c.want(`{"id":"m","type":"complete"}`)
		c.send(`{"id":"s\"","type":"subscribe","payload":{"query":"subscription{ticks(n:2)}"}}`)
		c.want(`{"id":"s\"","type":"next","payload":{"data":{"ticks":1}}}`)
		c.want(`{"id":"s\"","type":"next","payload":{"data":{"ticks":2}}}`)
		c.want(`{"id":"s\"","type":"complete"}`)
		c.send(`{"id":"e","type":"subscribe","payload":{"query":"{fails}"}}`)
		c.wantPart(`"type":"next","payload":{"errors":[{"message":"no"`)
		c.want(`{"id":"e","type":"complete"}`)
		c.frame(ws.OpClose, true, ws.NewCloseFrameBody(1000, "bye"))
		c.wantClose(1000, "")
		synctest.Wait()
		if h.sockets != 0 || h.subs != 0 || len(h.finished) != 4 {
			t.Errorf("got %d sockets, %d subscriptions, %d finished; want 0, 0, 4", h.sockets, h.subs, len(h.finished))
		}
	})
}

func TestAnErrorMessageIsNotFollowedByComplete(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		c := h.dialSocket(t, p, "graphql-transport-ws")
		c.send(modernInit)
		c.want(modernAck)
		for _, query := range []string{"{", "{nothing}", "query($x:Int!){add(x:$x)}"} {
			c.send(fmt.Sprintf(`{"id":"1","type":"subscribe","payload":{"query":%q}}`, query))
			c.wantPart(`{"id":"1","type":"error","payload":[{"message":`)
			c.quiet()
		}
		c.send(`{"id":"1","type":"subscribe","payload":{"query":"{panics}"}}`)
		c.wantPart(`"type":"error"`)
		c.send(`{"id":"1","type":"subscribe","payload":{"query":"{me}"}}`) // the id is free again
		c.wantPart(`"type":"next"`)
	})
}

func TestASocketIsClosedWithTheCodeOfTheMistake(t *testing.T) {
	init := func(c *client) { c.send(modernInit); c.want(modernAck) }
	for _, c := range []struct {
		name   string
		do     func(c *client)
		code   ws.StatusCode
		reason string
	}{
		{"no JSON", func(c *client) { c.send("{") }, 4400, "Invalid message"},
		{"a list", func(c *client) { c.send("[]") }, 4400, "Invalid message"},
		{"no type", func(c *client) { c.send("{}") }, 4400, "Invalid message type"},
		{"another type", func(c *client) { c.send(`{"type":"start"}`) }, 4400, "start"},
		{"a very long type", func(c *client) { c.send(`{"type":"` + strings.Repeat("é", 500) + `"}`) }, 4400, "é"},
		{"an init of a text", func(c *client) { c.send(`{"type":"connection_init","payload":"x"}`) }, 4400, "payload"},
		{"subscribe before init", func(c *client) { c.send(forever) }, 4401, "Unauthorized"},
		{"a bad token", func(c *client) { c.send(`{"type":"connection_init","payload":{"authorization":"Bearer bad"}}`) }, 4403, "not good"},
		{"an authenticator that panics", func(c *client) {
			c.send(`{"type":"connection_init","payload":{"authorization":"Bearer panics"}}`)
		}, 1011, "internal"},
		{"no init", func(*client) {}, 4408, "timeout"},
		{"a second init", func(c *client) { init(c); c.send(modernInit) }, 4429, "Too many"},
		{"a second id", func(c *client) { init(c); c.send(forever); c.send(forever) }, 4409, "Subscriber for 1 already exists"},
		{"no id", func(c *client) { init(c); c.send(`{"type":"subscribe","payload":{"query":"{me}"}}`) }, 4400, "id"},
		{"a long id", func(c *client) {
			init(c)
			c.send(`{"id":"` + strings.Repeat("x", 256) + `","type":"subscribe","payload":{"query":"{me}"}}`)
		}, 4400, "id"},
		{"an id that is a number", func(c *client) { init(c); c.send(`{"id":1,"type":"subscribe","payload":{"query":"{me}"}}`) }, 4400, "Invalid"},
		{"no payload", func(c *client) { init(c); c.send(`{"id":"1","type":"subscribe"}`) }, 4400, "payload"},
		{"no query", func(c *client) { init(c); c.send(`{"id":"1","type":"subscribe","payload":{}}`) }, 4400, "query"},
		{"a query that is a number", func(c *client) { init(c); c.send(`{"id":"1","type":"subscribe","payload":{"query":1}}`) }, 4400, "query"},
		{"a large message", func(c *client) { c.send(`{"type":"` + strings.Repeat("x", 64<<10) + `"}`) }, 1009, "large"},
		{"a large message in fragments", func(c *client) {
			c.frame(ws.OpText, false, make([]byte, 40<<10))
			c.frame(ws.OpContinuation, true, make([]byte, 40<<10))
		}, 1009, "large"},
		{"a binary message", func(c *client) { c.frame(ws.OpBinary, true, []byte(modernInit)) }, 1003, "text"},
		{"no UTF-8", func(c *client) { c.send("{\"type\":\"\xff\"}") }, 1007, "UTF-8"},
		{"no mask", func(c *client) { _ = ws.WriteFrame(c.conn, ws.NewTextFrame([]byte(modernInit))) }, 1002, "masked"},
		{"a fragment of nothing", func(c *client) { c.frame(ws.OpContinuation, true, nil) }, 1002, ""},
		{"a large ping", func(c *client) { c.frame(ws.OpPing, true, make([]byte, 126)) }, 1002, ""},
		{"a reserved operation", func(c *client) { c.frame(0x3, true, nil) }, 1002, ""},
		{"a close code that is none", func(c *client) { c.frame(ws.OpClose, true, []byte{0, 1}) }, 1002, ""},
		{"a close frame without code", func(c *client) { c.frame(ws.OpClose, true, nil) }, 1000, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
				socket := h.dialSocket(t, p, "graphql-transport-ws")
				c.do(socket)
				socket.wantClose(c.code, c.reason)
			})
		})
	}
}

func TestASubprotocolWeDoNotSpeakIsClosedWith4406(t *testing.T) {
	for _, offered := range []string{"", "mqtt"} {
		inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
			h.dialSocket(t, p, offered).wantClose(4406, "Subprotocol")
		})
	}
}

func TestOnlyKnownOriginsMayOpenSockets(t *testing.T) {
	for origin, status := range map[string]int{
		"https://app.example":   101,
		"http://here.example":   101,
		"https://HERE.example":  101,
		"https://evil.example":  403,
		"https://app.example.x": 403,
		"null":                  403,
	} {
		inBubble(t, Options{Origins: []string{"https://app.example"}}, func(t *testing.T, h *house, p *pipes) {
			conn := p.dial()
			response, reader := raw(t, conn, handshake("graphql-transport-ws", "Origin: "+origin))
			if response.StatusCode != status {
				t.Errorf("%s: got %d, want %d", origin, response.StatusCode, status)
			}
			if response.StatusCode == 101 {
				newClient(t, conn, reader)
				return
			}
			_ = conn.Close()
		})
	}
}

func TestFragmentsMakeOneMessageAndPingsMayStandBetween(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		c := h.dialSocket(t, p, "graphql-transport-ws")
		c.frame(ws.OpText, false, []byte(modernInit[:5]))
		c.frame(ws.OpPing, true, []byte("hello"))
		frame := <-c.frames
		if frame.Header.OpCode != ws.OpPong || string(frame.Payload) != "hello" {
			t.Fatalf("got %v %q, want the pong", frame.Header.OpCode, frame.Payload)
		}
		c.frame(ws.OpContinuation, false, []byte(modernInit[5:9]))
		c.frame(ws.OpContinuation, true, []byte(modernInit[9:]))
		c.want(modernAck)
		c.send(`{"type":"ping","payload":{"a":1}}`)
		c.want(`{"type":"pong"}`)
		c.send(`{"type":"pong"}`)
		c.quiet()
	})
}

func TestTheClientsCompleteEndsASubscriptionAndFreesItsID(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		c := h.dialSocket(t, p, "graphql-transport-ws")
		c.send(modernInit)
		c.want(modernAck)
		for i := range 3 {
			c.send(forever)
			h.ticks <- i
			c.want(fmt.Sprintf(`{"id":"1","type":"next","payload":{"data":{"forever":%d}}}`, i))
			c.send(`{"id":"1","type":"complete"}`)
			c.quiet()
			if h.subs != 0 {
				t.Fatalf("got %d live subscriptions", h.subs)
			}
		}
		c.send(`{"id":"nobody","type":"complete"}`)
		c.quiet()
	})
}

func TestTheSixtyFifthOperationIsRefusedAndTheOthersLiveOn(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		c := h.dialSocket(t, p, "graphql-transport-ws")
		c.send(modernInit)
		c.want(modernAck)
		for i := range 65 {
			c.send(fmt.Sprintf(`{"id":"%d","type":"subscribe","payload":{"query":"subscription{forever}"}}`, i))
		}
		c.wantPart(`{"id":"64","type":"error","payload":[{"message":"The request exceeds the limit \"operations\"`)
		synctest.Wait()
		if h.subs != 64 {
			t.Errorf("got %d subscriptions, want 64", h.subs)
		}
		h.ticks <- 7
		c.wantPart(`"forever":7`)
	})
}

func TestAFreshTokenKeepsTheSocketOpenAndAStaleOneEndsIt(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		c := h.dialSocket(t, p, "graphql-transport-ws")
		c.send(`{"type":"connection_init","payload":{"accessToken":"Bearer ada 60"}}`)
		c.want(modernAck)
		c.send(forever)
		advance(50 * time.Second)
		c.send(`{"type":"ping","payload":{"authorization":"Bearer ada 60"}}`)
		c.want(fmt.Sprintf(`{"type":"pong","payload":{"authorized":true,"expiresAt":%q}}`, time.Now().Add(time.Minute).UTC().Format(time.RFC3339Nano)))
		advance(59 * time.Second)
		h.ticks <- 1
		c.wantPart(`"forever":1`)
		advance(time.Second)
		c.wantClose(4401, "token expired")
	})
}

func TestAFreshTokenOfAnotherAccountOrABadOneEndsTheSocket(t *testing.T) {
	for token, reason := range map[string]string{"Bearer bob": "another account", "Bearer bad": "not good"} {
		inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
			c := h.dialSocket(t, p, "graphql-transport-ws")
			c.send(`{"type":"connection_init","payload":{"authorization":"Bearer ada"}}`)
			c.want(modernAck)
			c.send(fmt.Sprintf(`{"type":"ping","payload":{"authorization":%q}}`, token))
			c.wantClose(4403, reason)
		})
	}
}

func TestARevokedSessionEndsItsSocketsAtOnceEvenWhenTheClientIsStuck(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		c := h.dialSocket(t, p, "graphql-transport-ws")
		c.send(`{"type":"connection_init","payload":{"authorization":"Bearer ada"}}`)
		c.want(modernAck)
		c.send(forever)
		synctest.Wait()
		h.mu.Lock()
		revoke := h.revoke["ada"]
		h.mu.Unlock()
		start := time.Now()
		revoke("session revoked")
		c.wantClose(4401, "session revoked")
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
		synctest.Wait()
		if len(h.revoke) != 0 || h.subs != 0 {
			t.Errorf("got %d watches and %d subscriptions left", len(h.revoke), h.subs)
		}
	})
}

// door is an authenticator of sockets by a function.
type door struct {
	*house
	open func(*http.Request) (Caller, error)
}

func (d door) Socket(r *http.Request, _ string) (Caller, error) { return d.open(r) }

func TestTheAuthenticatorSeesTheHandshakeEachTime(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		seen := 0
		h.handler.options.Authenticator = door{h, func(r *http.Request) (Caller, error) {
			seen++
			cookie, err := r.Cookie("a")
			if err != nil || cookie.Value != "b" || r.UserAgent() != "test" || r.Header.Get("Sec-Websocket-Key") != "" ||
				strings.Join(r.Header.Values("X-Forwarded-For"), "|") != "192.0.2.1|192.0.2.2" ||
				r.Method != http.MethodGet || r.URL.Path != "/graphql" || r.Host != "here.example" || r.RemoteAddr == "" {
				t.Errorf("got %s %s, host %q, from %q, %v", r.Method, r.URL, r.Host, r.RemoteAddr, r.Header)
			}
			return Caller{}, nil
		}}
		c := h.dialSocket(t, p, "graphql-transport-ws", "Cookie: a=b", "User-Agent: test", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2")
		c.send(modernInit)
		c.want(modernAck)
		c.send(`{"type":"ping","payload":{"authorization":"Bearer ada"}}`)
		c.wantPart(`"authorized":true`)
		if seen != 2 {
			t.Errorf("the authenticator was asked %d times", seen)
		}
	})
}

func TestAnAuthenticatorIsStoppedWhenItsSocketEnds(t *testing.T) {
	inBubble(t, Options{InitTimeout: 3 * time.Second}, func(t *testing.T, h *house, p *pipes) {
		start := time.Now()
		h.handler.options.Authenticator = door{h, func(r *http.Request) (Caller, error) {
			<-r.Context().Done()
			return Caller{}, errRefused
		}}
		c := h.dialSocket(t, p, "graphql-transport-ws")
		c.send(modernInit)
		c.wantClose(4408, "timeout")
		synctest.Wait()
		if took := time.Since(start); took != 3*time.Second || h.sockets != 0 {
			t.Errorf("after %v %d sockets are open", took, h.sockets)
		}
	})
}

func TestASilentClientIsGivenUp(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		conn := p.dial()
		_, reader := raw(t, conn, handshake("graphql-transport-ws"))
		if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte(modernInit)))); err != nil {
			t.Fatal(err)
		}
		start, pings := time.Now(), 0
		for {
			frame, err := readFrame(reader) // reads, and answers nothing
			if err != nil {
				break
			}
			if frame.Header.OpCode == ws.OpPing {
				pings++
			}
		}
		if took := time.Since(start); pings != 2 || took > 80*time.Second {
			t.Errorf("got %d pings and the end after %v, want 2 within 80 s", pings, took)
		}
	})
}

func TestASlowClientIsCutOffAfterTheWriteTimeout(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		conn := p.dial()
		_, _ = raw(t, conn, handshake("graphql-transport-ws"))
		for _, text := range []string{modernInit, forever} { // and reads nothing of the answers
			go func() { _ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte(text)))) }()
			synctest.Wait()
		}
		advance(11 * time.Second)
		synctest.Wait()
		if h.sockets != 0 || h.subs != 0 {
			t.Errorf("got %d sockets and %d subscriptions after the time-out", h.sockets, h.subs)
		}
		_ = conn.Close()
	})
}

func TestTheLegacyProtocolIsSpoken(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		c := h.dialSocket(t, p, "graphql-ws")
		c.send(`{"type":"connection_init","payload":{"Authorization":"Bearer ada 60"}}`)
		c.want(modernAck)
		c.want(`{"type":"ka"}`)
		c.send(`{"id":"1","type":"start","payload":{"query":"subscription{ticks(n:1)}"}}`)
		c.want(`{"id":"1","type":"data","payload":{"data":{"ticks":1}}}`)
		c.want(`{"id":"1","type":"complete"}`)
		c.send(`{"id":"2","type":"start","payload":{"query":"{nothing}"}}`)
		c.wantPart(`{"id":"2","type":"error","payload":{"message":`)
		c.send(`{"id":"3","type":"start","payload":{"query":"subscription{forever}"}}`)
		advance(20 * time.Second)
		c.send(`{"type":"connection_init","payload":{"Authorization":"Bearer ada 60"}}`)
		c.want(modernAck)
		c.want(`{"type":"ka"}`)
		advance(time.Minute - time.Second)
		c.want(`{"type":"ka"}`)
		c.want(`{"type":"ka"}`)
		c.want(`{"type":"ka"}`)
		c.send(`{"id":"3","type":"stop"}`)
		c.send(`{"type":"connection_terminate"}`)
		c.wantClose(1000, "")
	})
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		c := h.dialSocket(t, p, "graphql-ws")
		c.send(`{"type":"connection_init","payload":{"Authorization":"Bearer bad"}}`)
		c.wantPart(`{"type":"connection_error","payload":{"message":"This token is not good."`)
		c.wantClose(4403, "not good")
	})
}

func TestDrainTellsSocketsToComeBackAndTakesNoMore(t *testing.T) {
	inBubble(t, Options{DrainJitter: 4 * time.Second}, func(t *testing.T, h *house, p *pipes) {
		const count = 50
		clients := make([]*client, count)
		for i := range clients {
			clients[i] = h.dialSocket(t, p, "graphql-transport-ws")
			clients[i].send(modernInit)
			clients[i].want(modernAck)
			clients[i].send(forever)
		}
		synctest.Wait()
		start := time.Now()
		done := make(chan error, 1)
		go func() { done <- h.handler.Drain(t.Context()) }()
		synctest.Wait()
		response, _ := raw(t, p.dial(), handshake("graphql-transport-ws"))
		if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" {
			t.Errorf("newcomer: got %d, want 503 with Retry-After", response.StatusCode)
		}
		for _, c := range clients {
			c.wantClose(1012, "service restart")
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < time.Second || took > 5*time.Second {
			t.Errorf("took %v, want the goodbyes spread over 4 s", took)
		}
	})
}

func TestDrainCutsWhatDoesNotEndInTime(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		conn := p.dial()
		_, _ = raw(t, conn, handshake("graphql-transport-ws")) // reads nothing, so the goodbye is stuck
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := h.handler.Drain(ctx); err == nil {
			t.Error("got no error, want the deadline's")
		}
		_ = conn.Close()
	})
}

func TestMessagesSentBeforeTheHandshakeIsAnsweredAreRead(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
		conn := p.dial()
		early := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(modernInit))))
		_, reader := raw(t, conn, handshake("graphql-transport-ws")+string(early))
		newClient(t, conn, reader).want(modernAck)
	})
}

func TestFramesOfAllLengthsAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.OneOf(rapid.IntRange(0, 130), rapid.IntRange(65530, 65540), rapid.IntRange(0, 200_000)).Draw(t, "length")
		payload := make([]byte, length)
		for i := range payload {
			payload[i] = byte(i)
		}
		read, err := readFrame(strings.NewReader(string(frame(ws.OpText, append(make([]byte, frameRoom), payload...)))))
		if err != nil || string(read.Payload) != string(payload) || !read.Header.Fin || read.Header.OpCode != ws.OpText {
			t.Fatalf("length %d: got header %+v, error %v", length, read.Header, err)
		}
	})
}

// TestTheSocketKeepsItsPromisesWhateverTheClientDoes drives a socket by random messages beside a model of
// what lives on it.
func TestTheSocketKeepsItsPromisesWhateverTheClientDoes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{"subscribe", "complete", "tick", "ping", "query"}), 1, 20).Draw(r, "steps")
		ids := rapid.SliceOfN(rapid.IntRange(0, 2), len(steps), len(steps)).Draw(r, "ids")
		inBubble(t, Options{}, func(t *testing.T, h *house, p *pipes) {
			c := h.dialSocket(t, p, "graphql-transport-ws")
			c.send(modernInit)
			c.want(modernAck)
			live := make(map[int]bool)
			for i, step := range steps {
				id := ids[i]
				switch step {
				case "subscribe":
					c.send(fmt.Sprintf(`{"id":"%d","type":"subscribe","payload":{"query":"subscription{forever}"}}`, id))
					if live[id] {
						c.wantClose(4409, "exists")
						return
					}
					live[id] = true
				case "complete":
					c.send(fmt.Sprintf(`{"id":"%d","type":"complete"}`, id))
					delete(live, id)
				case "tick":
					synctest.Wait()
					if len(live) > 0 {
						h.ticks <- i
						c.wantPart(fmt.Sprintf(`"forever":%d`, i))
					}
				case "ping":
					c.send(`{"type":"ping"}`)
					c.want(`{"type":"pong"}`)
				case "query":
					c.send(`{"id":"q","type":"subscribe","payload":{"query":"{me}"}}`)
					c.wantPart(`"type":"next"`)
					c.wantPart(`"type":"complete"`)
				}
				c.quiet()
				if h.subs != len(live) {
					t.Fatalf("got %d subscriptions, want %d", h.subs, len(live))
				}
			}
		})
	})
}

func FuzzEveryFrameIsAnsweredOrEndsTheSocket(f *testing.F) {
	masked := func(text string) []byte {
		return ws.MustCompileFrame(ws.MaskFrameWith(ws.NewTextFrame([]byte(text)), [4]byte{1, 2, 3, 4}))
	}
	f.Add(masked(modernInit))
	f.Add(append(masked(modernInit), masked(`{"id":"1","type":"subscribe","payload":{"query":"{me}"}}`)...))
	f.Fuzz(func(t *testing.T, sent []byte) {
		reader := frameReader{most: 64 << 10, controls: deaf{}, from: bufio.NewReader(strings.NewReader(string(sent)))}
		for {
			first, data, err := reader.await()
			if err != nil {
				return
			}
			if !data {
				continue
			}
			message, err := reader.next(nil, first)
			if err != nil {
				return
			}
			if len(message) > 64<<10 {
				t.Fatalf("got a message of %d bytes", len(message))
			}
		}
	})
}

type deaf struct{}

func (deaf) control(ws.Header, []byte) {}
