package transport

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	pollEvery    = time.Second            // the safety poll of a process, for lost bells
	askAtOnce    = 256                    // workers in one script call
	fetchTimeout = time.Second            // of one script call
	closeGrace   = 250 * time.Millisecond // a fetch under way may take when the bell is closed

	firstPause = 25 * time.Millisecond  // after the first failure
	lastPause  = 500 * time.Millisecond // never longer
)

// asker is a worker that asks for a message.
type asker struct {
	order []byte     // the lanes it wants, each by its number plus one
	got   chan entry // capacity 1; closed when there is nothing more to wait for
}

func (r *remote) fetch(lanes []string) (entry, bool) {
	a := r.ask(lanes)
	if a == nil {
		return entry{}, false
	}
	select {
	case e, ok := <-a.got:
		return e, ok
	case <-r.closing:
	}
	late := time.NewTimer(closeGrace)
	defer late.Stop()
	select {
	case e, ok := <-a.got:
		return e, ok
	case <-late.C: // Redis stands still; should it still answer, the queue pushes the message again
		return entry{}, false
	}
}

// ask lines a worker up to be looked for. It returns nil when the bell is closed.
func (r *remote) ask(lanes []string) *asker {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	a := &asker{order: make([]byte, 0, len(lanes)), got: make(chan entry, 1)}
	for _, key := range lanes {
		i, known := r.number[key]
		if !known {
			if len(r.lanes) == maxLanes {
				continue // only with several pools of many lanes in one process
			}
			i = len(r.lanes)
			r.number[key] = i
			r.lanes = append(r.lanes, key)
			r.credits = append(r.credits, 0)
		}
		a.order = append(a.order, byte(i+1))
	}
	r.asking = append(r.asking, a)
	r.rouse()
	return a
}

func (r *remote) closeBell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	close(r.closing)
	for _, a := range append(r.asking, r.idle...) {
		close(a.got)
	}
	r.asking, r.idle = nil, nil
}

// serve is the one goroutine that fetches.
func (r *remote) serve(ctx context.Context) {
	poll := time.NewTicker(r.every)
	defer poll.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
			r.ring()
		case <-r.wake:
		}
		for {
			more, err := r.round(ctx)
			if failed := r.lost.Swap(nil); err == nil && failed != nil {
				err = *failed
			}
			if err != nil {
				r.mend(ctx, err)
				break
			}
			if !more {
				break
			}
		}
	}
}

// round looks once for those who have a reason to be looked for; more is false when nobody has.
func (r *remote) round(ctx context.Context) (more bool, err error) {
	if err := r.poll(ctx); err != nil {
		return false, err
	}
	asked, lanes := r.take()
	if len(asked) == 0 {
		return false, nil
	}
	found, left, err := r.look(ctx, lanes, asked)
	r.settle(asked, found, left, err)
	return true, err
}

// poll looks for messages that nobody announced, if that was asked for and a worker is idle.
func (r *remote) poll(ctx context.Context) error {
	r.mu.Lock()
	wanted := r.rung && len(r.idle) > 0
	r.rung = false
	lanes := r.lanes
	r.mu.Unlock()
	if !wanted {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	n, err := r.client.Exists(ctx, lanes...).Result()
	if err != nil {
		r.ring() // it is still to be done
		return err
	}
	if n == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.credits {
		r.credits[i] = max(r.credits[i], 1)
	}
	return nil
}

// take returns who is to be looked for now: those who ask, and for each announced message one idle
// worker that serves its lane. An announcement for which nobody is idle is dropped: the next worker
// to ask is looked for anyway.
func (r *remote) take() (asked []*asker, lanes []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.asking), askAtOnce)
	asked = append(asked, r.asking[:n]...)
	r.asking = slices.Delete(r.asking, 0, n)
	r.idle = slices.DeleteFunc(r.idle, func(a *asker) bool {
		if len(asked) == askAtOnce || !r.spend(a) {
			return false
		}
		asked = append(asked, a)
		return true
	})
	if len(asked) < askAtOnce {
		clear(r.credits)
	}
	return asked, r.lanes
}

// spend uses up one announcement of a lane that a serves.
func (r *remote) spend(a *asker) bool {
	for _, number := range a.order {
		if r.credits[number-1] > 0 {
			r.credits[number-1]--
			return true
		}
	}
	return false
}

// fetchScript pops for several workers at once. KEYS: the lanes, then the turns of each. ARGV: a worker each,
// its bytes the numbers of the lanes it wants, in its order. It returns a lane's number and an entry for each
// worker (0 and ” for none), then how many entries each lane has left.
const fetchScript = popFunction + `
local lanes, left, reply = #KEYS / 2, {}, {}
for i = 1, lanes do -- what somebody else has put into the list has no turn
  left[i] = math.max(redis.call('llen', KEYS[i]), redis.call('zcard', KEYS[lanes + i]))
end
for w, order in ipairs(ARGV) do
  reply[2 * w - 1], reply[2 * w] = 0, ''
  for p = 1, #order do
    local i = string.byte(order, p)
    if left[i] > 0 then
      local entry = pop(KEYS[i], KEYS[lanes + i])
      if entry then
        left[i] = left[i] - 1
        reply[2 * w - 1], reply[2 * w] = i, entry
        break
      end
      left[i] = 0
    end
  end
end
for _, n in ipairs(left) do reply[#reply + 1] = n end
return reply`

var fetchHash = redis.NewScript(fetchScript).Hash()

// look asks Redis once. found has an entry for each of asked, without a lane when there is none;
// left is how many entries remain in each lane. It goes on when ctx ends, because what is popped
// must reach its worker.
func (r *remote) look(ctx context.Context, lanes []string, asked []*asker) (found []entry, left []int64, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	reply, err := r.evalOnce(ctx, "evalsha", fetchHash, lanes, asked)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		reply, err = r.evalOnce(ctx, "eval", fetchScript, lanes, asked)
	}
	if err != nil {
		return nil, nil, err
	}
	return parseFetch(reply, lanes, len(asked))
}

func (r *remote) evalOnce(ctx context.Context, name, script string, lanes []string, asked []*asker) ([]any, error) {
	args := make([]any, 0, 3+2*len(lanes)+len(asked))
	args = append(args, name, script, 2*len(lanes))
	for _, key := range lanes {
		args = append(args, key)
	}
	for _, key := range lanes {
		args = append(args, key+turnsSuffix)
	}
	for _, a := range asked {
		args = append(args, a.order)
	}
	c := once{redis.NewCmd(ctx, args...)}
	_ = r.client.Process(ctx, c)
	return c.Slice()
}

var errBadReply = errors.New("the fetch script's reply has an unknown shape")

func parseFetch(reply []any, lanes []string, asked int) (found []entry, left []int64, err error) {
	if len(reply) != 2*asked+len(lanes) {
		return nil, nil, errBadReply
	}
	found = make([]entry, asked)
	for i := range found {
		number, isInt := reply[2*i].(int64)
		json, isText := reply[2*i+1].(string)
		if !isInt || !isText || number < 0 || int(number) > len(lanes) {
			return nil, nil, errBadReply
		}
		if number > 0 {
			found[i] = entry{lanes[number-1], []byte(json)}
		}
	}
	left = make([]int64, len(lanes))
	for i := range left {
		n, isInt := reply[2*asked+i].(int64)
		if !isInt {
			return nil, nil, errBadReply
		}
		left[i] = n
	}
	return found, left, nil
}

// settle hands out what was found. Those for whom there was nothing are idle; after an error all
// ask again.
func (r *remote) settle(asked []*asker, found []entry, left []int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, a := range asked {
		switch {
		case err == nil && found[i].lane != "":
			a.got <- found[i]
		case r.closed:
			close(a.got)
		case err != nil:
			r.asking = append(r.asking, a)
		default:
			r.idle = append(r.idle, a)
		}
	}
	for i, n := range left {
		r.credits[i] = max(r.credits[i], n)
	}
}

// mend tries round again and again, until one succeeds or ctx ends. Workers wait meanwhile. It is
// told once when Redis goes and once when it is back.
func (r *remote) mend(ctx context.Context, cause error) {
	r.log.WarnContext(ctx, "queue: redis does not answer; workers wait", "error", cause)
	since := time.Now()
	defer r.away.Store(false)
	for pause := firstPause; cause != nil; pause = min(2*pause, lastPause) {
		var answered redis.Error
		r.away.Store(!errors.As(cause, &answered)) // pushes then fail at once
		t := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		if cause = r.ping(ctx); cause == nil {
			_, cause = r.round(ctx)
		}
	}
	r.log.InfoContext(ctx, "queue: redis is back")
	r.away.Store(false) // first: who is told finds the rows of all pushes that were refused
	select {
	case r.back <- since:
	default: // an earlier one was not read yet
	}
	r.ring()
}

// ping asks before a fetch does, so that none is lost in a Redis that stands still.
func (r *remote) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	return r.client.Ping(ctx).Err()
}

// once is a command that go-redis does not send again: a fetch whose answer was lost may have
// popped.
type once struct{ *redis.Cmd }

// NoRetry is how a go-redis command says so.
func (once) NoRetry() bool { return true }
