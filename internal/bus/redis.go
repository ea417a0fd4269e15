package bus

import (
	"context"
	"crypto/rand"
	"log/slog"
	randv2 "math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

const (
	firstBackoff = 50 * time.Millisecond // after the first failure
	lastBackoff  = 2 * time.Second       // never longer
)

// Options tunes the Redis form.
type Options struct {
	// Logger hears when Redis goes away and when it is back; nil is silent.
	Logger *slog.Logger
}

// Redis returns a bus that reaches every process with the same namespace on the same Redis. The
// namespace is put in {braces}, so that all channels of a deployment lie on one node of a cluster.
// The client stays the caller's; one built with ContextTimeoutEnabled lets [Bus.Run] end at once
// even while Redis stands still.
func Redis(client redis.UniversalClient, namespace string, o Options) *Bus {
	b := Local()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	b.link = &link{
		bus:    b,
		client: client,
		prefix: "{" + strings.Trim(namespace, "{}") + "}:bus:",
		id:     rand.Text()[:idBytes],
		log:    o.Logger,
		subs:   make(map[string]*subscription),
		dirty:  make(map[string]struct{}),
		wake:   make(chan struct{}, 1),
		outbox: make(chan *outgoing, outboxMessages),
	}
	return b
}

// link is what joins a bus to the other processes. All that is not atomic or a channel belongs to
// the lock of the bus.
type link struct {
	bus    *Bus
	client redis.UniversalClient
	prefix string // {namespace}:bus:, before a topic
	id     string // of this process, to know its own messages when they come back
	log    *slog.Logger

	running atomic.Bool
	outbox  chan *outgoing

	open  bool                     // Redis answers, or is asked for the first time
	subs  map[string]*subscription // by topic: what this connection has asked of Redis
	dirty map[string]struct{}      // topics that came or went since the connection looked
	wake  chan struct{}            // dirty is not empty
}

func (l *link) run(ctx context.Context) error {
	l.bus.mu.Lock()
	l.open = true
	l.bus.mu.Unlock()
	l.running.Store(true)
	defer l.running.Store(false)
	var both errgroup.Group
	both.Go(func() error { l.flush(ctx); return nil })
	both.Go(func() error { l.listen(ctx); return nil })
	return both.Wait()
}

// A message on the wire is one byte of kind, the sender's id, and the data.
const (
	idBytes     = 16
	headerBytes = 1 + idBytes

	kindMessage = 'm'
	kindGap     = 'g' // on the control channel: somebody's messages did not get through
)

func (l *link) frame(kind byte, data []byte) string {
	var s strings.Builder
	s.Grow(headerBytes + len(data))
	s.WriteByte(kind)
	s.WriteString(l.id)
	s.Write(data)
	return s.String()
}

// Envelope returns the Redis channel and payload by which data reaches the listeners of topic in
// every other process. It is for a script that publishes in one step with a write of its own, and
// delivers to the listeners of this process itself. The in-process form returns empty strings.
func (b *Bus) Envelope(topic string, data []byte) (channel, payload string) {
	if b.link == nil {
		return "", ""
	}
	return b.link.prefix + topic, b.link.frame(kindMessage, data)
}

// backoff is the time until the next try: doubled with each failure, from half to the whole of it.
type backoff struct{ last time.Duration }

func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, firstBackoff), lastBackoff)
	return b.last/2 + randv2.N(b.last/2+1)
}

func (b *backoff) reset() { b.last = 0 }

// wait returns false when ctx ends first.
func (b *backoff) wait(ctx context.Context) bool {
	t := time.NewTimer(b.next())
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
