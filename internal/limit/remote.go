package limit

import (
	"context"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Patience is how long a decision waits for Redis. A Redis that is merely slow, as on a machine without
// a free core, is worth the wait: without it each server counts by itself.
const Patience = 2 * time.Second

// retryRedis is how long a Redis that failed is left alone.
const retryRedis = time.Second

// errResting is a Redis that failed less than retryRedis ago.
var errResting = errors.New("redis failed a moment ago")

//go:embed allow.lua
var allowSource string

var allowScript = redis.NewScript(allowSource)

// Tune sets what a limiter's client needs: as long as it waits at all it waits for [Patience], and it
// does not ask twice, since the first time may have counted; over a Cluster it does once, because that cannot be
// had without following a key that has moved. Where nobody listens it fails at once.
func Tune(o *redis.UniversalOptions) {
	o.DialTimeout, o.PoolTimeout = Patience, Patience
	o.ReadTimeout, o.WriteTimeout = Patience, Patience
	o.MaxRetries, o.DialerRetries, o.MaxRedirects = -1, 1, 1
	o.ContextTimeoutEnabled = true
}

// remote is the state that all servers share.
type remote struct {
	client    redis.Scripter
	namespace string
	now       func() time.Time
	sendNow   bool          // decide at now, not at Redis's clock
	answers   atomic.Uint64 // how often Redis has answered
	askAgain  atomic.Int64  // nanoseconds since 1970; Redis is not asked before. Zero: it answers
}

// decide runs the script for all cells at once. used is what this process knows of each.
func (r *remote) decide(ctx context.Context, cells []cell, used []int64) ([]outcome, error) {
	if !r.mayAsk() {
		return nil, errResting
	}
	answered := r.answers.Load()
	outcomes, err := r.ask(ctx, cells, used)
	switch {
	case err == nil:
		r.answers.Add(1)
		if r.askAgain.Load() != 0 {
			r.askAgain.Store(0)
		}
	case ctx.Err() == nil && r.answers.Load() == answered: // nobody else was answered meanwhile either
		r.askAgain.Store(r.restFrom(r.now()))
	}
	return outcomes, err
}

// mayAsk reports whether the caller may ask Redis: everybody while it answers, else one each second.
func (r *remote) mayAsk() bool {
	next := r.askAgain.Load()
	if next == 0 {
		return true
	}
	now := r.now()
	return now.UnixNano() >= next && r.askAgain.CompareAndSwap(next, r.restFrom(now))
}

func (r *remote) restFrom(now time.Time) int64 { return now.Add(retryRedis).UnixNano() }

func (r *remote) ask(ctx context.Context, cells []cell, used []int64) ([]outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	keys, arguments := r.arguments(cells, used)
	answer, err := allowScript.Run(ctx, r.client, keys, arguments...).Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("ask redis: %w", err)
	}
	if len(answer) != 2*len(cells) {
		return nil, fmt.Errorf("ask redis: %d numbers, want %d", len(answer), 2*len(cells))
	}
	outcomes := make([]outcome, len(cells))
	for i := range outcomes {
		outcomes[i] = outcome{wait: answer[2*i], left: answer[2*i+1]}
	}
	return outcomes, nil
}

// arguments are the script's.
func (r *remote) arguments(cells []cell, used []int64) (keys []string, arguments []any) {
	var now int64
	if r.sendNow {
		now = r.now().UnixMicro()
	}
	arguments = append(make([]any, 0, 1+3*len(cells)), now)
	for i, c := range cells {
		keys = append(keys, r.key(c.rule, c.key))
		arguments = append(arguments, c.tolerance, c.cost, used[i])
	}
	return keys, arguments
}

// key is where the state of a subject stands: with the namespace as its hash tag, so that on a Redis
// Cluster one script may touch several.
func (r *remote) key(rule string, key [32]byte) string {
	return "{" + r.namespace + "}:limit:" + rule + ":" + hex.EncodeToString(key[:])
}
