package bus

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	outboxMessages = 4096                   // may wait for the flusher
	batchMessages  = 512                    // go to Redis in one write
	batchBytes     = 1 << 20                // and about so many bytes
	publishWait    = 150 * time.Millisecond // until Publish gives up
)

var (
	errAway       = errors.New("redis does not answer")
	errFull       = errors.New("too many messages wait for redis")
	errNotRunning = errors.New("the bus does not run")
)

// outgoing is one message on its way to Redis.
type outgoing struct {
	channel string
	payload string
	sent    chan error // capacity 1
}

// send puts m into the outbox.
func (l *link) send(m Message) (*outgoing, error) {
	if !l.running.Load() {
		return nil, errNotRunning
	}
	o := &outgoing{channel: l.prefix + m.Topic, payload: l.frame(kindMessage, m.Data), sent: make(chan error, 1)}
	select {
	case l.outbox <- o:
		return o, nil
	default:
		return nil, errFull
	}
}

// arrived waits until Redis has the message.
func (o *outgoing) arrived(ctx context.Context, late <-chan time.Time) error {
	select {
	case err := <-o.sent:
		return err
	case <-late:
		return errAway
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// flush writes whatever waits in one pipeline, so that load makes the batches and an idle bus adds
// no delay. After a failure it answers "away" at once, and tries again with the notice that messages
// were lost: when that gets through, Redis is back and the others know of the gap.
func (l *link) flush(ctx context.Context) {
	var (
		pause backoff
		retry <-chan time.Time // not nil: Redis is away until it fires
	)
	for {
		var batch []*outgoing
		select {
		case <-ctx.Done():
			l.refuseWaiting()
			return
		case o := <-l.outbox:
			if retry != nil {
				o.sent <- errAway
				continue
			}
			batch = l.gather(o)
		case <-retry:
			batch = []*outgoing{{channel: l.prefix, payload: l.frame(kindGap, nil), sent: make(chan error, 1)}}
		}
		if l.write(ctx, batch) == nil {
			pause.reset()
			retry = nil
			continue
		}
		retry = time.After(pause.next())
	}
}

// gather adds to first what else waits.
func (l *link) gather(first *outgoing) []*outgoing {
	batch, bytes := []*outgoing{first}, len(first.payload)
	for len(batch) < batchMessages && bytes < batchBytes {
		select {
		case o := <-l.outbox:
			batch = append(batch, o)
			bytes += len(o.payload)
		default:
			return batch
		}
	}
	return batch
}

// write publishes batch and tells each sender how it went. It returns the first error.
func (l *link) write(ctx context.Context, batch []*outgoing) error {
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	pipe := l.client.Pipeline()
	for _, o := range batch {
		publish := redis.NewIntCmd(ctx, "publish", o.channel, o.payload)
		publish.SetFirstKeyPos(1) // all on one node of a Cluster, where we listen: order is kept
		_ = pipe.Process(ctx, once{publish})
	}
	answers, err := pipe.Exec(ctx)
	for i, o := range batch {
		if i < len(answers) {
			o.sent <- answers[i].Err()
		} else {
			o.sent <- err
		}
	}
	return err
}

func (l *link) refuseWaiting() {
	for {
		select {
		case o := <-l.outbox:
			o.sent <- errNotRunning
		default:
			return
		}
	}
}

// once is a command that go-redis does not send again: a message whose answer was lost may have
// been delivered.
type once struct{ *redis.IntCmd }

// NoRetry is how a go-redis command says so.
func (once) NoRetry() bool { return true }
