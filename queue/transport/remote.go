package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/bus"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

const (
	bellTopic   = "queue.bell"
	keepTimeout = 500 * time.Millisecond // for gocraft's bookkeeping
)

// remote is the Redis form. fetch.go has the half that serves the waiting workers.
type remote struct {
	client redis.UniversalClient
	bell   *bus.Bus // brings the bells of other processes
	limit  int
	every  time.Duration // of the safety poll
	log    *slog.Logger

	away atomic.Bool   // Redis did not answer the last fetch
	wake chan struct{} // capacity 1: somebody asks, or a bell rang

	closing chan struct{} // closed with the bell
	mu      sync.Mutex
	closed  bool
	lanes   []string       // every lane that was ever asked for
	number  map[string]int // of a lane in lanes
	asking  []*asker       // have to be looked for
	idle    []*asker       // were looked for and found nothing; longest waiting first
	credits []int64        // by lane: messages that were announced since the idle ones looked
	rung    bool           // look for messages nobody announced
}

func newRemote(client redis.UniversalClient, o Options) *remote {
	return &remote{
		client:  client,
		bell:    bus.Redis(client, o.Namespace, bus.Options{}),
		limit:   o.LaneLimit,
		every:   pollEvery,
		log:     o.Logger,
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		number:  make(map[string]int),
	}
}

func (r *remote) run(ctx context.Context) error {
	defer r.closeBell()
	hang, err := r.bell.Subscribe(ctx, bellTopic, bus.Listener{Deliver: r.heard, Gap: r.ring})
	if err != nil {
		return fmt.Errorf("hang the bell: %w", err)
	}
	defer hang()
	var both errgroup.Group
	both.Go(func() error { return r.bell.Run(ctx) })
	both.Go(func() error { r.serve(ctx); return nil })
	return both.Wait()
}

// pushScript appends entries unless the lane is full, and rings the bell when the lane was empty:
// whoever takes from a lane looks for more, so a lane that is not empty needs no bell.
// KEYS: the lane. ARGV: the limit, the bell's channel, its payload, the entries.
var pushScript = redis.NewScript(`
local before = redis.call('llen', KEYS[1])
if before + #ARGV - 3 > tonumber(ARGV[1]) then return -1 end
redis.call('lpush', KEYS[1], unpack(ARGV, 4))
if before == 0 then redis.call('publish', ARGV[2], ARGV[3]) end
return before + #ARGV - 3`)

func (r *remote) push(ctx context.Context, lane string, entries [][]byte) (int64, error) {
	if r.away.Load() {
		return 0, ErrAway
	}
	channel, payload := r.bell.Envelope(bellTopic, announcement(lane, len(entries)))
	args := make([]any, 0, 3+len(entries))
	args = append(args, r.limit, channel, payload)
	for _, e := range entries {
		args = append(args, e)
	}
	n, err := pushScript.Run(ctx, r.client, []string{lane}, args...).Int64()
	switch {
	case err != nil:
		return 0, err
	case n < 0:
		return 0, ErrFull
	}
	r.credit(lane, int64(len(entries)))
	return n, nil
}

// announcement is what a bell says: the number of messages and their lane.
func announcement(lane string, n int) []byte { return []byte(strconv.Itoa(n) + " " + lane) }

// heard takes the bell of another process.
func (r *remote) heard(data []byte) {
	count, lane, _ := strings.Cut(string(data), " ")
	if n, err := strconv.ParseInt(count, 10, 64); err == nil && n > 0 {
		r.credit(lane, n)
	}
}

// credit notes that n messages came into a lane.
func (r *remote) credit(lane string, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, served := r.number[lane]
	if !served {
		return
	}
	r.credits[i] += n
	r.rouse()
}

// ring makes the idle workers be looked for.
func (r *remote) ring() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rung = true
	r.rouse()
}

func (r *remote) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *remote) waiting(ctx context.Context, lanes []string) ([]int64, error) {
	pipe := r.client.Pipeline()
	answers := make([]*redis.IntCmd, len(lanes))
	for i, key := range lanes {
		answers[i] = pipe.LLen(ctx, key)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	counts := make([]int64, len(lanes))
	for i, a := range answers {
		counts[i] = a.Val()
	}
	return counts, nil
}

// keep writes and reads what gocraft notes about itself. When Redis fails it answers as an empty
// one, so that gocraft prints nothing and its reaper finds nothing.
func (r *remote) keep(name string, args []any) any {
	if r.away.Load() {
		return nothingKept(name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), keepTimeout)
	defer cancel()
	got, err := r.client.Do(ctx, append([]any{name}, args...)...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nothingKept(name)
	}
	return redigoReply(name, got)
}
