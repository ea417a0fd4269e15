package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	quiet          = 3 * time.Second // without a word from Redis: ping; as long again: gone
	subscribeBatch = 512             // channels in one SUBSCRIBE
)

// subscription is what one connection has asked of Redis for one topic. Confirmations come in the
// order of the requests, so the last of several is the one that counts.
type subscription struct {
	on      bool // the newest request was SUBSCRIBE
	pending int  // SUBSCRIBEs without a confirmation
}

// want asks for a topic that has its first listener. The caller holds the lock.
func (l *link) want(name string, t *topic) {
	l.mark(name)
	if !l.open {
		t.missed = true
		close(t.confirmed)
	}
}

// unwant gives up a topic that has lost its last listener. The caller holds the lock.
func (l *link) unwant(name string) { l.mark(name) }

func (l *link) mark(name string) {
	if !l.open {
		return // the next connection starts from all topics
	}
	l.dirty[name] = struct{}{}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// listen keeps a subscribed connection until ctx ends.
func (l *link) listen(ctx context.Context) {
	var pause backoff
	away := false
	for ctx.Err() == nil {
		err := l.session(ctx, func() {
			pause.reset()
			if away {
				l.log.InfoContext(ctx, "bus: redis is back")
			}
			away = false
		})
		l.lost()
		if ctx.Err() == nil && !away {
			away = true
			l.log.WarnContext(ctx, "bus: redis does not answer; other servers are not heard", "error", err)
		}
		if !pause.wait(ctx) {
			return
		}
	}
}

// session is the life of one connection: it subscribes to what is wanted, calls up, and returns the
// error that ended it.
func (l *link) session(ctx context.Context, up func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn := l.client.Subscribe(ctx)
	closed := make(chan struct{})
	context.AfterFunc(ctx, func() { _ = conn.Close(); close(closed) })
	defer func() { cancel(); <-closed }()

	// The control channel also keeps the connection when there is no topic.
	if err := conn.Subscribe(ctx, l.prefix); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	l.begin()
	written := make(chan error, 1)
	go func() {
		err := l.follow(ctx, conn)
		cancel()
		written <- err
	}()
	err := l.read(ctx, conn, up)
	cancel()
	return errors.Join(err, <-written)
}

// begin marks every topic as wanted of a connection that has none yet.
func (l *link) begin() {
	l.bus.mu.Lock()
	defer l.bus.mu.Unlock()
	l.open = true
	clear(l.subs)
	clear(l.dirty)
	for name := range l.bus.topics {
		l.mark(name)
	}
}

// lost tells the topics that Redis no longer delivers.
func (l *link) lost() {
	l.bus.mu.Lock()
	defer l.bus.mu.Unlock()
	l.open = false
	for _, t := range l.bus.topics {
		t.missed = true
		t.release()
	}
}

// release lets those go who wait in Subscribe. The caller holds the lock.
func (t *topic) release() {
	select {
	case <-t.confirmed:
	default:
		close(t.confirmed)
	}
}

// follow subscribes to topics that come and gives up those that go, all that wait in one command.
func (l *link) follow(ctx context.Context, conn *redis.PubSub) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		}
		come, gone := l.changes()
		for part := range slices.Chunk(come, subscribeBatch) {
			if err := conn.Subscribe(ctx, part...); err != nil {
				return fmt.Errorf("subscribe: %w", err)
			}
		}
		for part := range slices.Chunk(gone, subscribeBatch) {
			if err := conn.Unsubscribe(ctx, part...); err != nil {
				return fmt.Errorf("unsubscribe: %w", err)
			}
		}
	}
}

// changes returns the channels to ask for and to give up, and takes them as asked.
func (l *link) changes() (come, gone []string) {
	l.bus.mu.Lock()
	var gaps []*listener
	for name := range l.dirty {
		t, s := l.bus.topics[name], l.subs[name]
		switch {
		case t != nil && s == nil:
			l.subs[name] = &subscription{on: true, pending: 1}
			come = append(come, l.prefix+name)
		case t != nil && !s.on:
			s.on = true
			s.pending++
			come = append(come, l.prefix+name)
		case t != nil && s.pending == 0: // went and came back before we looked
			gaps = append(gaps, t.confirm()...)
		case t == nil && s != nil && s.on:
			s.on = false
			if s.pending == 0 {
				delete(l.subs, name)
			}
			gone = append(gone, l.prefix+name)
		}
	}
	clear(l.dirty)
	l.bus.mu.Unlock()
	tellGap(gaps)
	return come, gone
}

// confirm says that Redis delivers, and returns who is owed a Gap. The caller holds the lock.
func (t *topic) confirm() []*listener {
	t.release()
	if !t.missed {
		return nil
	}
	t.missed = false
	return t.hearers()
}

// read hands out what the connection brings, until it breaks.
func (l *link) read(ctx context.Context, conn *redis.PubSub, up func()) error {
	pinged := false
	for {
		got, err := conn.ReceiveTimeout(ctx, quiet)
		var timeout net.Error
		switch {
		case err == nil:
			pinged = false
		case ctx.Err() == nil && !pinged && errors.As(err, &timeout) && timeout.Timeout():
			pinged = true
			if err := conn.Ping(ctx); err != nil {
				return fmt.Errorf("ping: %w", err)
			}
			continue
		default:
			return fmt.Errorf("receive: %w", err)
		}
		switch m := got.(type) {
		case *redis.Message:
			l.hear(strings.TrimPrefix(m.Channel, l.prefix), m.Payload)
		case *redis.Subscription:
			if m.Channel == l.prefix {
				up()
			} else if m.Kind == "subscribe" {
				l.subscribed(strings.TrimPrefix(m.Channel, l.prefix))
			}
		}
	}
}

// subscribed takes the confirmation of a SUBSCRIBE.
func (l *link) subscribed(name string) {
	l.bus.mu.Lock()
	var gaps []*listener
	if s := l.subs[name]; s != nil && s.pending > 0 {
		s.pending--
		t := l.bus.topics[name]
		switch {
		case s.pending > 0:
		case !s.on:
			delete(l.subs, name)
		case t != nil:
			gaps = t.confirm()
		}
	}
	l.bus.mu.Unlock()
	tellGap(gaps)
}

// hear delivers a message of another process; our own was delivered when it was published.
func (l *link) hear(name, frame string) {
	if len(frame) < headerBytes || frame[1:headerBytes] == l.id {
		return
	}
	switch {
	case frame[0] == kindMessage:
		l.bus.deliver(name, []byte(frame[headerBytes:]))
	case frame[0] == kindGap && name == "":
		l.gapEverywhere()
	}
}

func (l *link) gapEverywhere() {
	l.bus.mu.Lock()
	var all []*listener
	for _, t := range l.bus.topics {
		all = append(all, t.hearers()...)
	}
	l.bus.mu.Unlock()
	tellGap(all)
}
