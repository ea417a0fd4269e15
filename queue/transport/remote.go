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
	limit  limits
	every  time.Duration // of the safety poll
	log    *slog.Logger

	away atomic.Bool           // Redis did not answer the last fetch
	wake chan struct{}         // capacity 1: somebody asks, a bell rang, or a push failed
	back chan time.Time        // capacity 1: Redis answers again; since when it may not have
	lost atomic.Pointer[error] // of a push that failed since Redis was last looked after

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
		limit:   o.limits(),
		every:   pollEvery,
		log:     o.Logger,
		wake:    make(chan struct{}, 1),
		back:    make(chan time.Time, 1),
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
// whoever takes from a lane looks for more, so a lane that is not empty needs no bell. An entry of an
// owner who has none in the list goes there, the others wait among the lane's turns.
// KEYS: the lane, its turns. ARGV: the limit, that of an owner, the bell's channel, its payload, then each entry
// after its owner. It returns how many entries wait, less than 0 when it left some out.
var pushScript = redis.NewScript(`
local lane, turns, most, each = KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2])
local empty = redis.call('exists', lane) == 0
if empty then redis.call('del', turns) end
if redis.call('zcard', turns) + (#ARGV - 4) / 2 > most then return -1 end
local now, left = redis.call('time'), 0
for i = 5, #ARGV, 2 do
  local name, entry = ARGV[i], ARGV[i + 1]
  if redis.call('zadd', turns, 'nx', 0, name .. ':') == 1 then
    redis.call('lpush', lane, entry)
  elseif name ~= '' and redis.call('zlexcount', turns, '[' .. name .. ':', '(' .. name .. ';') >= each then
    left = left + 1
  else
    redis.call('zadd', turns, 0, string.format('%s:%s%06d%06d', name, now[1], now[2], i) .. entry)
  end
end
if empty then redis.call('publish', ARGV[3], ARGV[4]) end
if left > 0 then return -1 end
return redis.call('zcard', turns)`)

// popFunction takes the entry whose turn it is, and puts the next one of its owner, if there is one, at the
// other end of the list. Of an owner with entries, turns has the name with a colon, and each entry that
// is not in the list after that name and the 22 digits of its time: all of score 0, so that they stand in that order.
const popFunction = `
local function pop(lane, turns)
  local entry = redis.call('rpop', lane)
  if not entry then return nil end
  local owner = (string.match(entry, '"` + Of + `":"([%w_-]*)"') or '') .. ':'
  local after = redis.call('zrangebylex', turns, '(' .. owner, '(' .. string.sub(owner, 1, -2) .. ';', 'limit', 0, 1)[1]
  if after then
    redis.call('zrem', turns, after)
    redis.call('lpush', lane, string.sub(after, #owner + 23))
  else
    redis.call('zrem', turns, owner)
  end
  return entry
end`

func (r *remote) push(ctx context.Context, lane string, entries [][]byte) (int64, error) {
	if r.away.Load() {
		return 0, ErrAway
	}
	channel, payload := r.bell.Envelope(bellTopic, announcement(lane, len(entries)))
	args := make([]any, 0, 4+2*len(entries))
	args = append(args, r.limit.lane, r.limit.owner, channel, payload)
	for _, e := range entries {
		args = append(args, owner(e), e)
	}
	n, err := pushScript.Run(ctx, r.client, []string{lane, lane + turnsSuffix}, args...).Int64()
	switch {
	case err != nil:
		r.doubt(ctx, err)
		return 0, err
	case n < 0:
		return 0, ErrFull
	}
	r.credit(lane, int64(len(entries)))
	return n, nil
}

// doubt has Redis looked after, because a push has failed; not when its caller has given up.
func (r *remote) doubt(ctx context.Context, err error) {
	if !errors.Is(ctx.Err(), context.Canceled) {
		r.lost.Store(&err)
		r.rouse()
	}
}

func (r *remote) returned() <-chan time.Time { return r.back }

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
		answers[i] = pipe.ZCard(ctx, key+turnsSuffix)
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

func (r *remote) turns(ctx context.Context, lane string, owners []string) ([]bool, error) {
	pipe := r.client.Pipeline()
	answers := make([]*redis.FloatCmd, len(owners))
	for i, owner := range owners {
		answers[i] = pipe.ZScore(ctx, lane+turnsSuffix, owner+":")
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	there := make([]bool, len(owners))
	for i, a := range answers {
		there[i] = a.Err() == nil
	}
	return there, nil
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
