// Package queue runs work in the background and never loses it.
//
// # The row is the truth
//
// A job is a row in SQL, written in the transaction of its cause ([Queue.EnqueueTx]). gocraft/work
// carries only the job's id to a worker; whoever takes the message claims the row with one
// conditional UPDATE, so a message that is lost, doubled or late does no harm: the sweeper pushes
// rows that nobody came for, and a second claim finds nothing. Every claim has a number, and all
// writes of a worker carry it as a fence: a worker that was believed dead can no longer write.
//
// # The goroutines
//
// [Queue.Run] starts and ends them, each in a file of its own: the writer (writer.go) commits what
// waits in one transaction, and is followed by who tells of it (tell.go); the lease (lease.go) proves every second that this process lives; the
// sweeper (sweeper.go) gives back the jobs of dead processes, releases jobs whose time has come to
// the millisecond, fires schedules, ends attempts outside that have gone silent, pushes what was lost
// and deletes what has expired; the watchman (watchman.go) looks after events that nobody told of; the
// workers (worker.go) do the work. A process that only enqueues runs all but lease and workers.
//
// # Watching
//
// Everything that happens to a job is an event with a number of its own ([Queue.Watch]).
//
// # Workers outside
//
// A handler may hand its work to a worker outside of the deployment ([ErrOutside]). Such a job is a
// running row that no process holds, with a moment until which a word must come (outside.go).
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"gatehouse/internal/blob"
	"gatehouse/internal/bus"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/queue/transport"
)

// Why a job's context ended; see context.Cause.
var (
	ErrCancelled  = errors.New("the owner cancelled the job")
	ErrDeadline   = errors.New("the attempt took longer than its kind allows")
	ErrShutdown   = errors.New("the process is shutting down")
	ErrLeaseLost  = errors.New("the process could not prove that it lives")
	ErrStuck      = errors.New("the handler did not return after its context had ended")
	ErrWorkerLost = errors.New("the worker disappeared")
	errPanicked   = errors.New("the handler panicked")
)

// errFenced means that the job belongs to a later claim, or to none.
var errFenced = errors.New("the job was taken away from this worker")

// Options tunes a queue; the zero value is a good default for a process without workers.
type Options struct {
	Workers      int            // jobs at once in this process, of queues that Queues does not name; 0: none
	Queues       map[string]int // jobs at once of queues that have workers of their own; 0: none here
	OwnerRunning int            // jobs of one owner that run at once in the whole deployment; 0: any number
	Quota        Quota          // of each owner
	Lease        time.Duration  // how long a process counts as alive after a beat; 0: 3 s
	Beat         time.Duration  // between two beats; 0: 1 s
	Sweep        time.Duration  // between two sweeps; 0: 1 s
	Stale        time.Duration  // how long a queued job waits before it is pushed again; 0: 5 s
	Grace        time.Duration  // how long a handler may take to return after its context ended; 0: 10 s
	Shutdown     time.Duration  // how long jobs may go on after Run's context ended; 0: 20 s
	Logger       *slog.Logger
	Now          func() time.Time                          // for checks of input; all else goes by the database's clock
	Zone         func(name string) (*time.Location, error) // of the IANA database; nil: time.LoadLocation
	TokenKey     secret.Key                                // makes the tokens of workers outside, on every server; zero: one of this queue's own
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&o.Lease, 3 * time.Second},
		{&o.Beat, time.Second},
		{&o.Sweep, time.Second},
		{&o.Stale, 5 * time.Second},
		{&o.Grace, 10 * time.Second},
		{&o.Shutdown, 20 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.TokenKey == (secret.Key{}) {
		o.TokenKey = secret.NewKey()
	}
	if o.Zone == nil {
		o.Zone = time.LoadLocation
	}
	return o
}

// Queue is one process's part of the deployment's queue.
type Queue struct {
	db      *store.DB
	wire    *transport.Wire
	bus     *bus.Bus
	files   *blob.Store
	kinds   map[string]Definition
	order   []string // of kinds, as they were given
	options Options

	writer     *writer
	pushes     *enqueuer
	running    running
	endings    chan struct{}  // holds one for each job that no worker waits for
	ending     sync.WaitGroup // of those
	limited    limited
	more       bool   // jobs that wait to be pushed again; of the sweeper alone
	outage     outage // of the transport; of the sweeper alone
	counts     counts
	flows      flows
	statsWatch statsWatch
	offered    int64 // when refused jobs were last offered, in microseconds of the database's clock; of the sweeper alone
	shapes     shapes
	process    atomic.Pointer[string]    // the id under which this process holds its lease
	proved     atomic.Pointer[time.Time] // when the process was last known to hold its lease
	wake       chan struct{}             // tells the sweeper of an earlier moment
	stopping   chan struct{}             // closed once the workers are to end
	vitals     *store.Query              // what the sweeper asks
	due        *store.Query              // schedules whose moment has come
	lanes      []laneOf                  // of the kinds, in the order of vitals
	watches    watches
	news       news
	strays     map[taking]bool // not in hand as of the last beat; of the lease alone
	next       atomic.Int64    // when the sweeper looks again, in microseconds of the database's clock
	zones      zones
	left       []string // zones whose schedules are left to other servers; the sweeper's alone
	metrics    Metrics
}

// New returns a queue for kinds. It starts nothing: see [Queue.Run].
func New(db *store.DB, wire *transport.Wire, b *bus.Bus, files *blob.Store, kinds []Definition, o Options) (*Queue, error) {
	q := &Queue{
		db: db, wire: wire, bus: b, files: files, kinds: make(map[string]Definition, len(kinds)),
		options: o.withDefaults(), wake: make(chan struct{}, 1), stopping: make(chan struct{}), running: running{jobs: make(map[ID]*taken)},
		endings: make(chan struct{}, endingAtOnce),
	}
	for _, k := range kinds {
		if _, twice := q.kinds[k.Name]; twice || k.Name == "" || k.handle == nil {
			return nil, fmt.Errorf("kind of job %q is defined twice or not at all", k.Name)
		}
		q.kinds[k.Name] = k
		q.order = append(q.order, k.Name)
	}
	for _, queue := range q.queues() {
		q.lanes = append(q.lanes, lanesOf(queue)...)
	}
	for queue := range q.options.Queues {
		if !slices.Contains(q.queues(), queue) {
			return nil, fmt.Errorf("there is no queue %q; the queues are %s", queue, strings.Join(q.queues(), ", "))
		}
	}
	q.zones.read = q.options.Zone
	q.ask()
	q.writer = newWriter(q)
	q.pushes = newEnqueuer(wire)
	return q, nil
}

// Run works until ctx ends; whatever changes a job waits until Run is called. At the end it takes no
// new job, lets those in hand go on for Options.Shutdown, hands the rest back with their attempt
// refunded, and returns once the last goroutine has.
func (q *Queue) Run(ctx context.Context) error {
	if !q.zones.present() {
		q.options.Logger.WarnContext(ctx, "this machine has no time zone data: schedules of every zone but UTC are left to other servers")
	}
	// The machinery outlives the workers: they still write while they end.
	under, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var writing sync.WaitGroup
	writing.Go(q.writer.run)
	writing.Go(q.writer.tell)
	defer writing.Wait()
	defer q.writer.close()
	crews := q.crews()
	if len(crews) > 0 {
		if err := q.beginLease(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	var machinery errgroup.Group
	machinery.Go(func() error { return q.wire.Run(under) })
	machinery.Go(func() error { return q.sweep(under) })
	machinery.Go(func() error { return q.keepWatch(under) })
	var workers sync.WaitGroup
	if len(crews) > 0 {
		machinery.Go(func() error { return q.keepLease(under) })
		workers.Go(func() { q.work(ctx, crews) })
	}
	<-ctx.Done()
	workers.Wait()
	stop()
	err := machinery.Wait()
	q.endLease()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Kinds lists the kinds of jobs in the order in which they were defined.
func (q *Queue) Kinds() []Definition {
	all := make([]Definition, 0, len(q.order))
	for _, name := range q.order {
		all = append(all, q.kinds[name])
	}
	return all
}

// Busy returns how many jobs this process is at.
func (q *Queue) Busy() int { return q.running.count() }

// queues lists the queues of the kinds.
func (q *Queue) queues() []string {
	seen := map[string]bool{}
	var names []string
	for _, name := range q.order {
		if queue := q.kinds[name].Queue; !seen[queue] {
			seen[queue] = true
			names = append(names, queue)
		}
	}
	return names
}

// schedulable lists the names of the kinds that schedules may start.
func (q *Queue) schedulable() []string {
	var names []string
	for _, name := range q.order {
		if q.kinds[name].Schedulable() {
			names = append(names, name)
		}
	}
	return names
}

// hostname names the machine in the list of processes.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
