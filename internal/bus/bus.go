// Package bus carries a message to every server of a deployment: to the listeners of this process
// at once, and, when Redis is configured, to those of every other process by publish and subscribe.
//
// # What it promises
//
// A message reaches every listener that was in force when it was published, at most once, in the
// order in which one goroutine published. It is not kept: a process that is away misses it. Whoever
// needs every message keeps them elsewhere (jobs keep theirs as rows), numbers them, and reads what
// is missing when [Listener.Gap] says that something may be.
//
// # Forms
//
// [Local] is the in-process form. [Redis] adds one publish and subscribe connection a process,
// whatever the number of topics; a topic is subscribed at its first listener and given up at its
// last. Redis may go away and come back: the bus reconnects after 50 ms to 2 s, subscribes again and
// calls Gap. Meanwhile local delivery goes on.
//
// # Bounds
//
// A message is at most 1 MiB; 4,096 messages may wait to be published; [Bus.Publish] returns within
// 200 ms. Topics and listeners are as many as the callers hold.
package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxMessageBytes bounds a message: Redis holds one for every subscriber that reads slowly.
const maxMessageBytes = 1 << 20

// Listener is who hears the messages of a topic. Both functions are called from the goroutine that
// carries the message, so they must not block: one that waits holds up every other listener of the
// process. The usual form is a send to a channel of capacity one that is given up when it is full.
// They may unsubscribe; Publish and Subscribe may block, so they may not be called.
type Listener struct {
	// Deliver is given a message. data is shared by all listeners and is read only; nil means that
	// only gaps are of interest.
	Deliver func(data []byte)
	// Gap is told that messages of the topic may have been missed and that from now on none is;
	// nil means not interested. It may be told once too often, never once too little.
	Gap func()
}

// Bus carries messages by topic. Its methods may be called at any time from any goroutine.
type Bus struct {
	mu     sync.Mutex
	topics map[string]*topic // those with a listener
	link   *link             // to the other processes; nil in the in-process form
}

// Local returns a bus that ends at this process.
func Local() *Bus { return &Bus{topics: make(map[string]*topic)} }

// Run keeps the connection to Redis until ctx ends and returns once its last goroutine has. The
// in-process form has none and only waits. Run may be called once.
func (b *Bus) Run(ctx context.Context) error {
	if b.link == nil {
		<-ctx.Done()
		return nil
	}
	return b.link.run(ctx)
}

// Message is data for the listeners of a topic.
type Message struct {
	Topic string
	Data  []byte // not to be changed afterwards
}

// Publish sends data to the listeners of topic. Those of this process have it when Publish returns.
// An error means that other processes may not have it, within 200 ms even when Redis does not
// answer; they are told of the gap when it answers again. data must not be changed afterwards.
func (b *Bus) Publish(ctx context.Context, topic string, data []byte) error {
	return b.PublishAll(ctx, Message{topic, data})
}

// PublishAll is Publish for many messages, which travel together and arrive in their order.
func (b *Bus) PublishAll(ctx context.Context, messages ...Message) error {
	var failed error
	ways := make([]*outgoing, len(messages))
	for i, m := range messages {
		way, err := b.begin(m)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("publish to %s: %w", m.Topic, err))
		}
		ways[i] = way
	}
	if b.link == nil {
		return failed
	}
	late := time.NewTimer(publishWait)
	defer late.Stop()
	for i, way := range ways {
		if way == nil {
			continue
		}
		if err := way.arrived(ctx, late.C); err != nil {
			return errors.Join(failed, fmt.Errorf("publish to %s: %w", messages[i].Topic, err))
		}
	}
	return failed
}

// begin delivers m in this process and sends it on its way to others; nil when there are none.
func (b *Bus) begin(m Message) (*outgoing, error) {
	if m.Topic == "" {
		return nil, errNoTopic
	}
	if len(m.Data) > maxMessageBytes {
		return nil, fmt.Errorf("%d bytes are more than %d", len(m.Data), maxMessageBytes)
	}
	b.deliver(m.Topic, m.Data)
	if b.link == nil {
		return nil, nil
	}
	return b.link.send(m)
}

var errNoTopic = errors.New("bus: the topic is empty")

// Subscribe puts l in force: a message published anywhere after Subscribe returned is delivered; one
// published just before may be.
// While Redis is away, and before Run, only messages of this process are: Subscribe succeeds all the
// same and calls Gap once the rest is delivered too. The error is that of ctx, when it ends before
// Redis confirmed; l is then not in force.
//
// A message that was already on its way may still arrive once after unsubscribe returned;
// unsubscribe may be called again without harm.
func (b *Bus) Subscribe(ctx context.Context, topic string, l Listener) (unsubscribe func(), err error) {
	if topic == "" {
		return nil, errNoTopic
	}
	li := &listener{Listener: l}
	confirmed := b.add(topic, li)
	unsubscribe = func() { b.remove(topic, li) }
	select {
	case <-confirmed:
		return unsubscribe, nil
	case <-ctx.Done():
		unsubscribe()
		return nil, fmt.Errorf("subscribe to %s: %w", topic, context.Cause(ctx))
	}
}

// topic is the listeners of one name, and how far Redis has confirmed them.
type topic struct {
	listeners []*listener
	shared    bool          // a delivery still reads listeners: copy before taking one out
	confirmed chan struct{} // closed when nobody needs to wait for Redis
	missed    bool          // Redis has not always delivered to these listeners: they are owed a Gap
}

type listener struct {
	Listener
	at   int         // its place in topic.listeners
	gone atomic.Bool // unsubscribed
}

// add returns a channel that is closed when the listener is in force.
func (b *Bus) add(name string, l *listener) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topics[name]
	if t == nil {
		t = &topic{confirmed: make(chan struct{})}
		b.topics[name] = t
		if b.link == nil {
			close(t.confirmed)
		} else {
			b.link.want(name, t)
		}
	}
	l.at = len(t.listeners)
	t.listeners = append(t.listeners, l)
	return t.confirmed
}

func (b *Bus) remove(name string, l *listener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.gone.Swap(true) {
		return
	}
	t := b.topics[name]
	t.drop(l)
	if len(t.listeners) > 0 {
		return
	}
	delete(b.topics, name)
	if b.link != nil {
		b.link.unwant(name)
	}
}

// drop puts the last listener in the place of l.
func (t *topic) drop(l *listener) {
	if t.shared {
		t.listeners, t.shared = slices.Clone(t.listeners), false
	}
	end := len(t.listeners) - 1
	last := t.listeners[end]
	t.listeners[l.at], last.at = last, l.at
	t.listeners[end] = nil
	t.listeners = t.listeners[:end]
}

// hearers returns the listeners of now, to be read without the lock. The caller holds it.
func (t *topic) hearers() []*listener {
	t.shared = true
	return t.listeners
}

// deliver hands data to the listeners of this process.
func (b *Bus) deliver(name string, data []byte) {
	b.mu.Lock()
	var hearers []*listener
	if t := b.topics[name]; t != nil {
		hearers = t.hearers()
	}
	b.mu.Unlock()
	for _, l := range hearers {
		if l.Deliver != nil && !l.gone.Load() {
			l.Deliver(data)
		}
	}
}

func tellGap(hearers []*listener) {
	for _, l := range hearers {
		if l.Gap != nil && !l.gone.Load() {
			l.Gap()
		}
	}
}
