// Package transport carries job messages from whoever enqueues to gocraft/work's worker pools.
//
// gocraft/work v0.5.1 speaks to Redis through a redigo pool. [Wire.Pool] is such a pool, whose
// connections are ours: they understand the few commands gocraft sends and do with each what the
// queue needs. Messages travel; everything else gocraft keeps in Redis is either answered here or
// written for its web page only. The row in SQL is the truth about a job, a message is a hint that
// it is ready, and a lost message is pushed again by the queue.
//
// # Forms
//
// [Local] keeps the lanes in memory: the embedded default. [Redis] keeps them in Redis lists under
// the keys, and with the entries, that gocraft itself would write; go-redis brings TLS, Sentinel and
// Cluster, for which the namespace stands in {braces}.
//
// # Turns
//
// In a lane the owners of messages ([Of]) take turns: one message of each, and then the next of each, in
// the order in which they came. So whoever pushes a hundred thousand messages delays another's single one by
// one. Over Redis the list holds the next message of each owner, and a sorted set beside it what each of
// them has behind it.
//
// # Fetching
//
// gocraft's worker asks for a job, and when there is none sleeps for up to 5 s. Here the question is
// answered only once there is a message, or once [Wire.CloseBell] has ended all waiting. In memory a
// push hands its message straight to a waiting worker. Over Redis one goroutine of a process asks
// for all its waiting workers in one script call, each with its own order of lanes. A push to an
// empty lane rings a bell (publish and subscribe) in every process; whoever takes a message and
// sees more behind it asks for its other idle workers too. So a bell wakes one worker and not a
// herd, a lane under load rings no bells, and no message waits beside an idle worker. Bells that got
// lost are covered by one EXISTS a second and process, and none while all workers are busy.
//
// # What is answered without a round trip
//
//   - In-progress lists, locks and their counters (LREM, DECR, HINCRBY in MULTI and EXEC, and the
//     reaper's two scripts): a fetch is a plain pop, since the row and not the list recovers a job.
//     Nothing can leak, and MaxConcurrency and the pause keys have no effect.
//   - The requeuers of the retry and scheduled sets, 2 scripts a second and pool: nothing is put in
//     those sets. ZADD is refused, so a handler that returns an error needs MaxFails 1 and SkipDead.
//   - What each worker is doing (HMSET, EXPIRE, DEL of worker:ID), up to 2 commands a second and
//     worker; the concurrency caps; the time of the last periodic enqueue.
//
// Over Redis the heartbeats, pools and known jobs are written as ever, so that gocraft's own web
// page can list them; their failures are nobody's business and are not reported to gocraft, which
// would print them. While Redis is away workers wait inside the fetch, without spinning, and go on
// within a second of its return.
//
// # Bounds
//
// A lane holds at most [Options.LaneLimit] messages, and [Options.OwnerLimit] of one owner; a pool serves at most 250 lanes, and one script
// call asks for at most 256 workers.
package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/gocraft/work"
	redigo "github.com/gomodule/redigo/redis"
	"github.com/redis/go-redis/v9"
)

const (
	defaultNamespace = "gatehouse"
	defaultLaneLimit = 1 << 20
	maxLanes         = 250  // a lane's number is one byte
	pushBatch        = 1000 // messages in one write; Lua unpacks no more than about 8,000
	idleConns        = 256  // kept by the pool; ours hold no socket
)

// Options tunes a wire. The zero value is a good default.
type Options struct {
	// Namespace begins every key; braces are added. Default "gatehouse".
	Namespace string
	// LaneLimit bounds the messages that wait in a lane; a push beyond it is ErrFull and leaves it
	// to the queue to push again. Default 1,048,576 (about 200 MB in memory).
	LaneLimit int
	// OwnerLimit bounds those of them that are of one named owner, so that nobody fills a lane. What is
	// beyond it is left out, and the push is ErrFull. Default a sixteenth of LaneLimit.
	OwnerLimit int
	// Logger hears when Redis goes away and when it is back; nil is silent.
	Logger *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	o.Namespace = strings.Trim(o.Namespace, "{}")
	if o.Namespace == "" {
		o.Namespace = defaultNamespace
	}
	if o.LaneLimit <= 0 {
		o.LaneLimit = defaultLaneLimit
	}
	if o.OwnerLimit <= 0 {
		o.OwnerLimit = max(1, o.LaneLimit/16)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// limits are how many entries a lane holds.
type limits struct{ lane, owner int }

func (o Options) limits() limits { return limits{o.LaneLimit, o.OwnerLimit} }

// Errors of a push.
var (
	// ErrFull says that the lane holds Options.LaneLimit messages, or Options.OwnerLimit of an owner.
	ErrFull = errors.New("transport: the lane is full")
	// ErrAway says that Redis has not been answering for a while; it is given at once.
	ErrAway = errors.New("transport: redis does not answer")
)

// Message is what a job handler finds in its job's Args. Values are strings, because gocraft's
// JSON would round long numbers.
type Message map[string]string

// Wire is what the queue pushes messages into and its worker pools fetch them from. Its methods may
// be called at any time from any goroutine.
type Wire struct {
	store     store
	namespace string
	jobs      string // prefix of a lane's key
	now       func() time.Time
	pool      *redigo.Pool
}

// store is one of the two forms. A lane is named by its key.
type store interface {
	// push appends entries and returns how many wait. ErrFull: none was appended, or none of those of an
	// owner who has too many.
	push(ctx context.Context, lane string, entries [][]byte) (int64, error)
	// fetch waits for an entry of the first lane that has one. ok is false once the bell is closed.
	fetch(lanes []string) (e entry, ok bool)
	// waiting returns how many entries wait, by the place of the lane.
	waiting(ctx context.Context, lanes []string) ([]int64, error)
	// turns tells of each of owners whether the lane holds an entry of theirs.
	turns(ctx context.Context, lane string, owners []string) ([]bool, error)
	// keep does a command of gocraft's own bookkeeping. It never fails.
	keep(command string, args []any) any
	// returned is Wire.Returned.
	returned() <-chan time.Time
	ring()
	closeBell()
	run(ctx context.Context) error
}

// entry is a message as it lies in its lane.
type entry struct {
	lane string // the key
	json []byte
}

// Local returns a wire whose lanes are in memory: one process, and gone with it.
func Local(o Options) *Wire {
	o = o.withDefaults()
	return newWire(newLocal(o.limits()), o)
}

// Redis returns a wire whose lanes are in Redis. The client stays the caller's. Build it with
// ContextTimeoutEnabled: without it a Redis that stands still holds a push for its ReadTimeout.
// Workers fetch only while [Wire.Run] runs.
func Redis(client redis.UniversalClient, o Options) *Wire {
	o = o.withDefaults()
	return newWire(newRemote(client, o), o)
}

func newWire(s store, o Options) *Wire {
	w := &Wire{store: s, namespace: "{" + o.Namespace + "}", now: o.Now}
	w.jobs = w.namespace + ":jobs:"
	w.pool = &redigo.Pool{
		Dial:    func() (redigo.Conn, error) { return &conn{store: s, namespace: w.namespace}, nil },
		MaxIdle: idleConns,
	}
	return w
}

// Pool is for work.NewWorkerPool and work.NewEnqueuer, together with [Wire.Namespace]. It has no
// limit: its connections are handles without a socket.
func (w *Wire) Pool() *redigo.Pool { return w.pool }

// Namespace begins every key, in braces.
func (w *Wire) Namespace() string { return w.namespace }

// Push appends messages to a lane, as work.Enqueuer would one by one. On an error the first of them
// may have been pushed; over Redis they may also be pushed twice.
func (w *Wire) Push(ctx context.Context, lane string, messages ...Message) error {
	now := w.now().Unix()
	for part := range slices.Chunk(messages, pushBatch) {
		entries := make([][]byte, len(part))
		for i, m := range part {
			var err error
			if entries[i], err = encode(lane, now, m); err != nil {
				return fmt.Errorf("push to lane %s: %w", lane, err)
			}
		}
		if _, err := w.store.push(ctx, w.jobs+lane, entries); err != nil {
			return fmt.Errorf("push to lane %s: %w", lane, err)
		}
	}
	return nil
}

// encode writes a message as gocraft would. The id only has to be likely unique: nothing here
// looks an entry up by it.
func encode(lane string, now int64, m Message) ([]byte, error) {
	args := make(work.Q, len(m))
	for k, v := range m {
		args[k] = v
	}
	id := fmt.Sprintf("%016x%08x", rand.Uint64(), rand.Uint32())
	return json.Marshal(work.Job{Name: lane, ID: id, EnqueuedAt: now, Args: args})
}

// Waiting returns how many messages wait in each of lanes.
func (w *Wire) Waiting(ctx context.Context, lanes ...string) (map[string]int64, error) {
	keys := make([]string, len(lanes))
	for i, l := range lanes {
		keys[i] = w.jobs + l
	}
	counts, err := w.store.waiting(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("count waiting messages: %w", err)
	}
	by := make(map[string]int64, len(lanes))
	for i, l := range lanes {
		by[l] = counts[i]
	}
	return by, nil
}

// Absent returns those of owners of whom no message waits in lane.
func (w *Wire) Absent(ctx context.Context, lane string, owners []string) ([]string, error) {
	present, err := w.store.turns(ctx, w.jobs+lane, owners)
	if err != nil {
		return nil, fmt.Errorf("look for turns in lane %s: %w", lane, err)
	}
	var absent []string
	for i, there := range present {
		if !there {
			absent = append(absent, owners[i])
		}
	}
	return absent, nil
}

// Returned brings a moment whenever Redis answers again: since then, at the latest, it has not, and pushes may
// have been lost. One that is not taken stands for those that follow. In memory it brings nothing.
func (w *Wire) Returned() <-chan time.Time { return w.store.returned() }

// Ring makes the waiting workers of this process look again now rather than at the next poll.
func (w *Wire) Ring() { w.store.ring() }

// CloseBell ends all waiting: fetches under way and all later ones answer "nothing", so that
// WorkerPool.Stop returns as soon as the running handlers have. A fetch that Redis is just serving
// is waited for, at most 250 ms. A closed bell stays closed.
func (w *Wire) CloseBell() { w.store.closeBell() }

// Run serves the waiting workers until ctx ends, then closes the bell, and returns once its last
// goroutine has. Stop the worker pools first: what they fetch after Run is nothing. Run may be
// called once.
func (w *Wire) Run(ctx context.Context) error { return w.store.run(ctx) }
