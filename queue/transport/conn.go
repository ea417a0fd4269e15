package transport

import (
	"context"
	"errors"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// pushTimeout bounds a push that comes through gocraft, which knows no context.
const pushTimeout = 500 * time.Millisecond

var errClosed = errors.New("transport: the connection is closed")

// conn is a redigo connection that understands what gocraft/work v0.5.1 sends. Like redigo's own it
// serves one goroutine at a time. It holds no socket, so it cannot break.
type conn struct {
	store     store
	namespace string
	queued    []command // by Send, until Flush
	replies   []reply   // of what was flushed, until Receive
	closed    bool
}

type command struct {
	name string
	args []any
}

type reply struct {
	value any
	err   error
}

var _ redigo.Conn = (*conn)(nil)

// Close forgets what was sent and not flushed.
func (c *conn) Close() error {
	c.closed, c.queued, c.replies = true, nil, nil
	return nil
}

// Err is not nil once the connection is closed.
func (c *conn) Err() error {
	if c.closed {
		return errClosed
	}
	return nil
}

// Send queues a command.
func (c *conn) Send(name string, args ...any) error {
	if c.closed {
		return errClosed
	}
	c.queued = append(c.queued, command{name, args})
	return nil
}

// Flush does what was queued.
func (c *conn) Flush() error {
	if c.closed {
		return errClosed
	}
	for _, q := range c.queued {
		v, err := c.do(q.name, q.args)
		c.replies = append(c.replies, reply{v, err})
	}
	c.queued = c.queued[:0]
	return nil
}

// Receive returns the reply to the oldest flushed command.
func (c *conn) Receive() (any, error) {
	if c.closed {
		return nil, errClosed
	}
	if len(c.replies) == 0 {
		return nil, errors.New("transport: receive without a command")
	}
	first := c.replies[0]
	c.replies = c.replies[1:]
	return first.value, first.err
}

// Do does what was queued and then the command. As in redigo, the error is the first of all, and an
// empty name asks for the replies to what was queued.
func (c *conn) Do(name string, args ...any) (any, error) {
	if err := c.Flush(); err != nil {
		return nil, err
	}
	replies := c.replies
	c.replies = nil
	if name == "" {
		return values(replies), nil
	}
	v, err := c.do(name, args)
	for _, r := range replies {
		if r.err != nil {
			return v, r.err
		}
	}
	return v, err
}

// values shapes replies as redigo does: an error is a value among others.
func values(replies []reply) any {
	if len(replies) == 0 {
		return nil
	}
	all := make([]any, len(replies))
	for i, r := range replies {
		all[i] = r.value
		if r.err != nil {
			all[i] = r.err
		}
	}
	return all
}

// do answers one command.
func (c *conn) do(name string, args []any) (any, error) {
	key := text(args, 0)
	switch name {
	case "LPUSH":
		return c.push(key, args)
	case "EVALSHA", "EVAL":
		return c.script(args)
	case "MULTI":
		return "OK", nil
	case "EXEC":
		return []any{}, nil
	case "LREM", "DECR", "HINCRBY", "DISCARD":
		return int64(0), nil // in-progress lists and locks, which we do not have
	case "SADD", "SREM", "SMEMBERS", "HMSET", "HGET", "DEL", "EXPIRE", "SET", "GET":
		return c.bookkeeping(key, name, args)
	case "ZADD":
		return nil, redigo.Error("ERR transport: retry, scheduled and dead sets are not kept: " +
			"register jobs with MaxFails 1 and SkipDead, and schedule with rows")
	}
	return nil, redigo.Error("ERR transport: unknown command " + name)
}

// push does LPUSH key entry...
func (c *conn) push(key string, args []any) (any, error) {
	if len(args) < 2 {
		return nil, redigo.Error("ERR transport: LPUSH needs a key and an entry")
	}
	entries := make([][]byte, len(args)-1)
	for i := range entries {
		json, isBytes := args[i+1].([]byte)
		if !isBytes {
			return nil, redigo.Error("ERR transport: an entry of LPUSH is not bytes")
		}
		entries[i] = json
	}
	ctx, cancel := context.WithTimeout(context.Background(), pushTimeout)
	defer cancel()
	return integer(c.store.push(ctx, key, entries))
}

func integer(n int64, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return n, nil
}

// bookkeeping does what gocraft notes about itself: pools, heartbeats and known jobs are kept; what
// each worker does, the concurrency caps and the time of the last periodic enqueue are not.
func (c *conn) bookkeeping(key, name string, args []any) (any, error) {
	rest, ours := strings.CutPrefix(key, c.namespace+":")
	switch {
	case ours && (rest == "known_jobs" || strings.HasPrefix(rest, "worker_pools")):
		return c.store.keep(name, args), nil
	case ours && (strings.HasPrefix(rest, "worker:") || rest == "last_periodic_enqueue" ||
		strings.HasSuffix(rest, ":max_concurrency")):
		return nothingKept(name), nil
	}
	return nil, redigo.Error("ERR transport: unknown key " + key)
}

// nothingKept is how an empty Redis answers.
func nothingKept(name string) any {
	switch name {
	case "HMSET", "SET":
		return "OK"
	case "SMEMBERS":
		return []any{}
	case "GET", "HGET":
		return nil
	}
	return int64(0)
}
