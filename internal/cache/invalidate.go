package cache

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Invalidations carries invalidations between the servers of a deployment. After Subscribe has returned,
// deliver is called with what any server publishes on topic, this one included; gap when messages may
// have been missed. Both are quick.
type Invalidations interface {
	Publish(ctx context.Context, topic string, data []byte) error
	Subscribe(ctx context.Context, topic string, deliver func([]byte), gap func()) (unsubscribe func(), err error)
}

const (
	// keysPerMessage bounds a message.
	keysPerMessage = 1000
	// subscribeTimeout bounds New.
	subscribeTimeout = 5 * time.Second
)

// message is an invalidation on its way.
type message[K comparable] struct {
	Origin uint64
	All    bool
	Keys   []K
}

// Invalidate makes keys be loaded again everywhere. Call it after the change has committed. It goes on
// when ctx is cancelled, since the change is made.
//
// When it returns, Redis and this server have nothing older than the change, or, if Redis is down, will
// not look there before that is made up for. An error means that the other servers may not have heard;
// they are told, at the latest, when the bus is whole again.
func (l *Layer[K, V]) Invalidate(ctx context.Context, keys ...K) error {
	if len(keys) == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	l.buryRemote(ctx, keys)
	for _, key := range keys {
		l.memory.Invalidate(key)
	}
	return l.announce(ctx, keys)
}

// InvalidateAll empties the layer everywhere: every server's memory and the layer's own keys in Redis.
func (l *Layer[K, V]) InvalidateAll(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if l.remote != nil {
		l.remote.buryAll(ctx, l.prefix)
	}
	l.drop()
	return l.announceAll(ctx)
}

// drop empties this server's memory. The epoch alone makes it so, and keeps out the results of loads
// under way, with which otter goes on; the rest gives the room back.
func (l *Layer[K, V]) drop() {
	l.epoch.Add(1)
	l.memory.InvalidateAll()
}

// announce tells the other servers of keys.
func (l *Layer[K, V]) announce(ctx context.Context, keys []K) error {
	if l.invalidations == nil {
		return nil
	}
	for batch := range slices.Chunk(keys, keysPerMessage) {
		data, whole := l.encodeKeys(batch)
		if !whole {
			return l.announceAll(ctx)
		}
		if err := l.invalidations.Publish(ctx, l.topic(), data); err != nil {
			return fmt.Errorf("announce invalidation of %s: %w", l.options.Name, err)
		}
	}
	return nil
}

// encodeKeys writes a message and reads it again: a key that JSON does not bring back whole, such as
// one with unexported fields or invalid UTF-8, is not announced by itself.
func (l *Layer[K, V]) encodeKeys(keys []K) (data []byte, whole bool) {
	data, err := json.Marshal(message[K]{Origin: l.origin, Keys: keys})
	if err != nil {
		return nil, false
	}
	var back message[K]
	if err := json.Unmarshal(data, &back); err != nil {
		return nil, false
	}
	return data, slices.Equal(back.Keys, keys)
}

// announceAll tells the other servers to empty their memory of this layer.
func (l *Layer[K, V]) announceAll(ctx context.Context) error {
	if l.invalidations == nil {
		return nil
	}
	data, err := json.Marshal(message[struct{}]{Origin: l.origin, All: true})
	if err != nil {
		return err
	}
	if err := l.invalidations.Publish(ctx, l.topic(), data); err != nil {
		return fmt.Errorf("announce invalidation of all %s: %w", l.options.Name, err)
	}
	return nil
}

// subscribe listens to the other servers. What cannot be read empties memory, to be safe.
func (l *Layer[K, V]) subscribe() error {
	l.unsubscribe = func() {}
	if l.invalidations == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), subscribeTimeout)
	defer cancel()
	unsubscribe, err := l.invalidations.Subscribe(ctx, l.topic(), l.hear, l.drop)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	l.unsubscribe = unsubscribe
	return nil
}

func (l *Layer[K, V]) hear(data []byte) {
	var m message[K]
	err := json.Unmarshal(data, &m)
	switch {
	case err == nil && m.Origin == l.origin: // done already
	case err != nil || m.All:
		l.drop()
	default:
		for _, key := range m.Keys {
			l.memory.Invalidate(key)
		}
	}
}

func (l *Layer[K, V]) topic() string { return "cache." + l.options.Name }

func newOrigin() uint64 { return rand.Uint64() }
