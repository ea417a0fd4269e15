package transport

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"pgregory.net/rapid"

	"gatehouse/internal/feed"
)

// spring is an executor whose subscriptions have a source that calls its reader.
type spring struct {
	Executor
	mu      sync.Mutex
	sources []*source // in the order in which they were asked for, those that have ended too
}

// source is one stream. Its pump runs only while there is something to send.
type source struct {
	ctx    context.Context
	reader feed.Reader
	out    chan int
	calls  atomic.Bool // has called its reader

	mu      sync.Mutex
	values  []int
	pumping bool
	over    bool // the end of the stream is due, or was sent
}

func (s *spring) DispatchOperation(ctx context.Context, operation *graphql.OperationContext) (graphql.ResponseHandler, context.Context) {
	if !streams(operation) {
		return s.Executor.DispatchOperation(ctx, operation)
	}
	one := &source{ctx: ctx, reader: feed.Accept(ctx), out: make(chan int, 1)}
	s.mu.Lock()
	s.sources = append(s.sources, one)
	s.mu.Unlock()
	context.AfterFunc(ctx, func() { one.push() })
	one.push(-1)
	for !one.calls.Load() { // a snapshot may come before the handler is known
		runtime.Gosched()
	}
	return func(ctx context.Context) *graphql.Response {
		select {
		case value, open := <-one.out:
			if !open {
				return nil
			}
			if value == panics {
				panic("resolver")
			}
			return &graphql.Response{Data: fmt.Appendf(nil, `{"forever":%d}`, value)}
		case <-ctx.Done():
			return nil
		}
	}, ctx
}

const panics = -13

func (s *source) push(values ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.values, s.over = append(s.values, values...), s.ctx.Err() != nil
	if !s.pumping {
		s.pumping = true
		go s.pump()
	}
}

// end sends the last values and closes the channel while the last one waits in it.
func (s *source) end(values ...int) {
	s.push(values...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if !s.pumping {
		s.pumping = true
		go s.pump()
	}
}

func (s *source) pump() {
	for {
		value, some, last := s.next()
		if some {
			select {
			case s.out <- value:
			case <-s.ctx.Done():
			}
		}
		if last {
			close(s.out)
		}
		if some || last {
			s.calls.Store(true)
			s.reader.Ready(last)
		}
		if !some || last {
			return
		}
	}
}

// next takes a value; last says that the end comes with it.
func (s *source) next() (value int, some, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if some = len(s.values) > 0; some {
		value, s.values = s.values[0], s.values[1:]
	}
	s.over = s.over || s.ctx.Err() != nil
	last = s.over && len(s.values) == 0
	s.pumping = some && !last
	return value, some, last
}

// live are the sources that nobody has ended, by the order of their coming.
func (s *spring) live() []*source {
	s.mu.Lock()
	defer s.mu.Unlock()
	var live []*source
	for _, one := range s.sources {
		if one.ctx.Err() == nil {
			live = append(live, one)
		}
	}
	return live
}

func inSpring(t *testing.T, options Options, f func(t *testing.T, h *house, s *spring, p *pipes)) {
	t.Helper()
	inBubble(t, options, func(t *testing.T, h *house, p *pipes) {
		s := &spring{Executor: h.handler.exec}
		h.handler.exec = s
		f(t, h, s, p)
	})
}

// TestASourceThatCallsIsHeardInOrderToItsEnd drives up to three streams of one socket by random steps
// beside a model: every value is sent once and in order, and the end once.
func TestASourceThatCallsIsHeardInOrderToItsEnd(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		type step struct{ what, id, many int }
		steps := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) step {
			return step{rapid.IntRange(0, 4).Draw(r, "what"), rapid.IntRange(0, 2).Draw(r, "id"), rapid.IntRange(0, 4).Draw(r, "many")}
		}), 1, 25).Draw(r, "steps")
		inSpring(t, Options{}, func(t *testing.T, h *house, s *spring, p *pipes) {
			c := h.dialSocket(t, p, "graphql-transport-ws")
			c.send(modernInit)
			c.want(modernAck)
			live, next := map[int]*source{}, 0
			values := func(id, many int) (sent []int) {
				for range many {
					next++
					sent = append(sent, next)
				}
				return sent
			}
			want := func(id int, sent []int) {
				for _, value := range sent {
					c.want(fmt.Sprintf(`{"id":"%d","type":"next","payload":{"data":{"forever":%d}}}`, id, value))
				}
			}
			for _, step := range steps {
				one := live[step.id]
				switch {
				case one == nil:
					c.send(fmt.Sprintf(`{"id":"%d","type":"subscribe","payload":{"query":"subscription{forever}"}}`, step.id))
					want(step.id, []int{-1})
					live[step.id] = s.sources[len(s.sources)-1]
				case step.what == 0:
					c.send(fmt.Sprintf(`{"id":"%d","type":"complete"}`, step.id))
					delete(live, step.id)
				case step.what == 1:
					sent := values(step.id, step.many)
					one.end(sent...)
					want(step.id, sent)
					c.want(fmt.Sprintf(`{"id":"%d","type":"complete"}`, step.id))
					delete(live, step.id)
				default:
					sent := values(step.id, step.many)
					one.push(sent...)
					want(step.id, sent)
				}
				c.quiet()
				if h.subs != len(live) || len(s.live()) != len(live) {
					t.Fatalf("got %d subscriptions and %d sources that go on, want %d", h.subs, len(s.live()), len(live))
				}
			}
		})
	})
}

func TestAnIdleSubscriptionWhoseSourceCallsHoldsOneGoroutine(t *testing.T) {
	const count = 50
	inSpring(t, Options{}, func(t *testing.T, h *house, s *spring, p *pipes) {
		for i := range count {
			c := h.dialSocket(t, p, "graphql-transport-ws")
			c.send(modernInit)
			c.want(modernAck)
			c.send(forever)
			c.wantPart(`"forever":-1`)
			synctest.Wait()
			if waiting := goroutines(t, "transport.(*socket).wait"); waiting != i+1 {
				t.Fatalf("%d goroutines wait for %d clients", waiting, i+1)
			}
		}
		if streaming := goroutines(t, "transport.(*running)"); streaming != 0 {
			t.Errorf("%d goroutines wait for sources that call", streaming)
		}
	})
}

// goroutines counts those that are in function.
func goroutines(t *testing.T, function string) (count int) {
	t.Helper()
	stacks := make([]byte, 4<<20)
	for one := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(one, function) {
			count++
		}
	}
	return count
}

func TestARevokedSessionEndsTheSourcesOfItsSockets(t *testing.T) {
	inSpring(t, Options{}, func(t *testing.T, h *house, s *spring, p *pipes) {
		c := h.dialSocket(t, p, "graphql-transport-ws")
		c.send(`{"type":"connection_init","payload":{"authorization":"Bearer ada"}}`)
		c.want(modernAck)
		c.send(forever)
		c.wantPart(`"forever":-1`)
		synctest.Wait()
		start := time.Now()
		h.revoke["ada"]("session revoked")
		c.wantClose(4401, "session revoked")
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
		synctest.Wait()
		if h.subs != 0 || len(s.live()) != 0 || h.sockets != 0 {
			t.Errorf("got %d subscriptions, %d sources and %d sockets left", h.subs, len(s.live()), h.sockets)
		}
	})
}

func TestASourceThatCallsIsHeldUpByAClientThatDoesNotRead(t *testing.T) {
	inSpring(t, Options{}, func(t *testing.T, h *house, s *spring, p *pipes) {
		conn := p.dial()
		_, _ = raw(t, conn, handshake("graphql-transport-ws"))
		for _, text := range []string{modernInit, forever} { // and reads nothing of the answers
			go func() { client := &client{t: t, conn: conn}; client.send(text) }()
			synctest.Wait()
		}
		advance(11 * time.Second)
		synctest.Wait()
		if h.sockets != 0 || h.subs != 0 || len(s.live()) != 0 {
			t.Errorf("got %d sockets, %d subscriptions and %d sources after the time-out", h.sockets, h.subs, len(s.live()))
		}
		_ = conn.Close()
	})
}

func TestAPanicInASourcesAnswerEndsThatSubscriptionOnly(t *testing.T) {
	inSpring(t, Options{}, func(t *testing.T, h *house, s *spring, p *pipes) {
		c := h.dialSocket(t, p, "graphql-transport-ws")
		c.send(modernInit)
		c.want(modernAck)
		c.send(forever)
		c.wantPart(`"forever":-1`)
		s.live()[0].push(panics)
		c.wantPart(`{"id":"1","type":"error","payload":[{"message":"internal system error"`)
		c.quiet()
		if h.subs != 0 || len(s.live()) != 0 || h.sockets != 1 {
			t.Errorf("got %d subscriptions, %d sources and %d sockets", h.subs, len(s.live()), h.sockets)
		}
	})
}

func TestDrainEndsSourcesThatCall(t *testing.T) {
	inSpring(t, Options{DrainJitter: time.Second}, func(t *testing.T, h *house, s *spring, p *pipes) {
		c := h.dialSocket(t, p, "graphql-transport-ws")
		c.send(modernInit)
		c.want(modernAck)
		c.send(forever)
		c.wantPart(`"forever":-1`)
		done := make(chan error, 1)
		go func() { done <- h.handler.Drain(t.Context()) }()
		c.wantClose(1012, "service restart")
		if err := <-done; err != nil || h.subs != 0 || len(s.live()) != 0 {
			t.Errorf("got %v, %d subscriptions and %d sources left", err, h.subs, len(s.live()))
		}
	})
}
