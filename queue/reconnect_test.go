package queue_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/internal/store"
	"gatehouse/queue"
)

var (
	saySilently = store.SQL(`UPDATE jobs SET sequence = sequence + 1 WHERE id = ? AND state <> 'SUCCEEDED'`)
	addSilently = store.SQL(`INSERT INTO job_events (job_id, sequence, at, type, state, attempt, claim, done, total, stage, message)
		SELECT id, sequence, {now}, 'LOG', state, attempt, claim, 0, 0, '', 'nobody was told' FROM jobs WHERE id = ? AND state <> 'SUCCEEDED'`)
	selectStored = store.SQL(`SELECT sequence, type FROM job_events WHERE job_id = ? ORDER BY sequence`)
)

// talkers are jobs that talk until they are to end.
type talkers struct{ over chan struct{} }

func (k *talkers) kind() queue.Kind[args, answer] {
	return queue.Kind[args, answer]{
		Name: "talk", MaxAttempts: 25, Backoff: func(int) time.Duration { return time.Millisecond },
		Handle: func(ctx context.Context, run *queue.Run, _ args) (answer, error) {
			for i := range 150 { // of at most 200 lines
				select {
				case <-ctx.Done():
					return answer{}, context.Cause(ctx)
				case <-k.over:
					return answer{"done"}, nil
				default:
				}
				run.Report(int64(i), 150, "talking")
				run.Log("line %d", i)
			}
			return answer{}, errors.New("once more")
		},
	}
}

// seat is a watcher who goes away and comes back.
type seat struct {
	id     queue.ID
	called bool // it has a reader, and does not wait on the channel
	random *rand.Rand
	seen   []int64
	ended  bool
}

// sit watches from the last event seen, for as long as stay says or until it has seen some events more, slowly at
// times.
func (s *seat) sit(t *testing.T, p *process, stay time.Duration, some int) {
	ctx, cancel := context.WithTimeout(t.Context(), stay)
	defer cancel()
	after := int64(0)
	if len(s.seen) > 0 {
		after = s.seen[len(s.seen)-1]
	}
	open := func(ctx context.Context) (<-chan *queue.Event, error) { return p.Watch(ctx, ada, s.id, &after) }
	if s.called {
		watch := open
		open = func(ctx context.Context) (<-chan *queue.Event, error) { return relayed(t, ctx, watch) }
	}
	events, err := open(ctx)
	if err != nil {
		if ctx.Err() == nil {
			t.Errorf("watch %s: %v", s.id, err)
		}
		return
	}
	for e := range events {
		if ctx.Err() != nil || e.Type == queue.Snapshot { // what was on its way to who has gone away is lost
			continue
		}
		s.seen = append(s.seen, e.Sequence)
		s.ended = e.State.Final()
		if some--; some == 0 {
			cancel()
		}
		if s.random.IntN(8) == 0 {
			<-time.After(time.Duration(s.random.IntN(3000)) * time.Microsecond)
		}
	}
}

// TestNoEventIsMissingOrTwiceOverAThousandReconnects lets watchers leave in the middle of everything and come
// back, while processes die, messages are lost, and the bus loses its connection.
func TestNoEventIsMissingOrTwiceOverAThousandReconnects(t *testing.T) {
	const (
		jobs       = 4
		seats      = 20
		reconnects = 1000
		troubles   = 10
	)
	eachYard(t, func(t *testing.T, y *yard) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		k := talkers{make(chan struct{})}
		o := queue.Options{Workers: jobs, Beat: 50 * time.Millisecond, Lease: time.Second, Sweep: 20 * time.Millisecond, Shutdown: time.Millisecond}
		front := y.start(o, k.kind().Define())
		worker := front
		if y.local == nil {
			front, worker = y.start(queue.Options{}, k.kind().Define()), y.start(o, k.kind().Define())
		}
		ids := make([]queue.ID, jobs)
		for i := range ids {
			ids[i] = front.enqueue(t, k.kind(), "", queue.JobOptions{MaxAttempts: 25}).ID
		}
		var (
			left    atomic.Int64
			sitting sync.WaitGroup
			all     = make([]*seat, seats)
			trouble = make(chan struct{}, troubles)
		)
		for i := range all {
			s := &seat{id: ids[i%jobs], called: i/jobs%2 == 1, random: rand.New(rand.NewPCG(seed, uint64(i)))}
			all[i] = s
			sitting.Go(func() {
				for !s.ended && t.Context().Err() == nil {
					if left.Load() >= reconnects {
						s.sit(t, front, 30*time.Second, -1)
						return
					}
					s.sit(t, front, time.Duration(1+s.random.IntN(200))*time.Millisecond, 1+s.random.IntN(8))
					n := left.Add(1)
					if n%(reconnects/troubles) == 0 && n <= reconnects {
						trouble <- struct{}{}
					}
					if n == reconnects {
						close(k.over)
					}
				}
			})
		}
		random := rand.New(rand.NewPCG(seed, seats))
		for range troubles {
			<-trouble
			worker = y.trouble(random, worker, o, ids, k.kind().Define())
		}
		sitting.Wait()
		for i, s := range all {
			s.check(t, y, i)
		}
		t.Logf("%d reconnects", left.Load())
	})
}

// trouble lets one thing go wrong, and returns the process that works from then on.
func (y *yard) trouble(random *rand.Rand, worker *process, o queue.Options, ids []queue.ID, kind queue.Definition) *process {
	for _, id := range ids { // a process that dies between a commit and its message
		y.do(id, saySilently, addSilently)
	}
	switch n := random.IntN(3); {
	case n == 0:
		y.do(nil, buryProcesses)
	case y.local != nil: // one process, and no Redis
	case n == 1:
		worker.stop()
		return y.start(o, kind)
	default:
		ro, err := redis.ParseURL(y.redisURL)
		if err != nil {
			y.t.Fatal(err)
		}
		client := redis.NewClient(ro)
		defer client.Close()
		if err := client.Do(y.t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Err(); err != nil {
			y.t.Errorf("cut the bus: %v", err)
		}
	}
	return worker
}

// check compares what was seen with what is stored. Progress that newer progress follows may be left out.
func (s *seat) check(t *testing.T, y *yard, number int) {
	t.Helper()
	type stored struct {
		sequence int64
		kind     queue.EventType
	}
	events, err := store.All(t.Context(), y.db, selectStored, func(scan store.Scan) (e stored, err error) {
		err = scan(&e.sequence, &e.kind)
		return e, err
	}, s.id)
	if err != nil {
		t.Fatal(err)
	}
	if !s.ended || len(events) < 40 {
		t.Errorf("watcher %d has not seen the end, or there were only %d events", number, len(events))
	}
	for i := 1; i < len(s.seen); i++ {
		if s.seen[i] <= s.seen[i-1] {
			t.Errorf("watcher %d was told event %d after %d", number, s.seen[i], s.seen[i-1])
		}
	}
	for i, e := range events {
		if e.sequence != int64(i+1) {
			t.Fatalf("event %d is stored as number %d", i+1, e.sequence)
		}
		drawnTogether := e.kind == queue.ProgressMade && i+1 < len(events) && events[i+1].kind == queue.ProgressMade
		if _, seen := slices.BinarySearch(s.seen, e.sequence); !seen && !drawnTogether {
			t.Errorf("watcher %d was never told event %d of %d, a %s", number, e.sequence, len(events), e.kind)
		}
	}
}
