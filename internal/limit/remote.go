package limit

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// retryRedis is how long a Redis that failed is left alone.
const retryRedis = time.Second

// errResting is a Redis that failed less than retryRedis ago.
var errResting = errors.New("redis failed a moment ago")

//go:embed allow.lua
var allowSource string

var allowScript = redis.NewScript(allowSource)

// remote is the state that all servers share.
type remote struct {
	client    redis.Scripter
	namespace string
	now       func() time.Time
	sendNow   bool         // decide at now, not at Redis's clock
	restUntil atomic.Int64 // nanoseconds since 1970; Redis is not asked before
}

// decide runs the script for all cells at once.
func (r *remote) decide(ctx context.Context, cells []cell) ([]outcome, error) {
	if r.now().UnixNano() < r.restUntil.Load() {
		return nil, errResting
	}
	keys, arguments := r.arguments(cells)
	answer, err := allowScript.Run(ctx, r.client, keys, arguments...).Int64Slice()
	if err != nil {
		if ctx.Err() == nil {
			r.restUntil.Store(r.now().Add(retryRedis).UnixNano())
		}
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
func (r *remote) arguments(cells []cell) (keys []string, arguments []any) {
	var now int64
	if r.sendNow {
		now = r.now().UnixMicro()
	}
	arguments = append(arguments, now)
	for _, c := range cells {
		keys = append(keys, r.key(c.rule, c.key))
		arguments = append(arguments, c.tolerance, c.cost)
	}
	return keys, arguments
}
