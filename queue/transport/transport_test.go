package transport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"gatehouse/test/services"

	"github.com/gocraft/work"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { services.Main(m) }

// patience bounds every wait of a test; it is long because the machine may be busy.
const patience = 30 * time.Second

// start runs w until the test ends.
func start(t testing.TB, w *Wire) *Wire {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return w
}

func client(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	options := services.RedisOptions(t, url)
	options.ContextTimeoutEnabled = true
	c := redis.NewUniversalClient(options)
	t.Cleanup(func() { c.Close() })
	return c
}

// process is the wire of one more process of the deployment named after the test. It polls so
// seldom that a test that passes does not owe it to a poll.
func process(t testing.TB, url string, o Options) *Wire {
	t.Helper()
	w := polling(t, url, o)
	w.store.(*remote).every = time.Hour
	return start(t, w)
}

func polling(t testing.TB, url string, o Options) *Wire {
	t.Helper()
	o.Namespace = t.Name()
	return Redis(client(t, url), o)
}

// forms runs test on a wire in memory, and on one over every form of Redis.
func forms(t *testing.T, test func(t *testing.T, w *Wire)) {
	t.Run("local", func(t *testing.T) { test(t, start(t, Local(Options{LaneLimit: limitInTests}))) })
	services.EachRedis(t, func(t *testing.T, url string) {
		test(t, process(t, url, Options{LaneLimit: limitInTests}))
	})
}

const limitInTests = 20_000

type none struct{}

// workers starts a gocraft worker pool on lanes. It is stopped, after its bell, when the test ends.
func workers(t testing.TB, w *Wire, n uint, handler func(j *work.Job), lanes ...string) *work.WorkerPool {
	t.Helper()
	pool := work.NewWorkerPool(none{}, n, w.Namespace(), w.Pool())
	for _, lane := range lanes {
		pool.JobWithOptions(lane, work.JobOptions{MaxFails: 1, SkipDead: true}, func(j *work.Job) error {
			handler(j)
			return nil
		})
	}
	pool.Start()
	t.Cleanup(func() { w.CloseBell(); pool.Stop() })
	return pool
}

func push(t testing.TB, w *Wire, lane string, jobs ...string) {
	t.Helper()
	messages := make([]Message, len(jobs))
	for i, job := range jobs {
		messages[i] = Message{"job": job}
	}
	if err := w.Push(t.Context(), lane, messages...); err != nil {
		t.Fatal(err)
	}
}

func enqueue(t testing.TB, w *Wire, lane, job string) {
	t.Helper()
	if _, err := work.NewEnqueuer(w.Namespace(), w.Pool()).Enqueue(lane, work.Q{"job": job}); err != nil {
		t.Fatal(err)
	}
}

func receive[T any](t testing.TB, from <-chan T, what string) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
		panic("unreachable")
	}
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// idle is how many workers wait, having found nothing.
func idle(w *Wire) int {
	switch s := w.store.(type) {
	case *local:
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.idle)
	case *remote:
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.idle)
	}
	return -1
}

func awaitIdle(t testing.TB, w *Wire, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d workers are idle", n), func() bool { return idle(w) == n })
}

// fetchJob asks as gocraft's worker would and returns the job's name.
func fetchJob(t testing.TB, w *Wire, lanes ...string) (job string, ok bool) {
	t.Helper()
	keys := make([]string, len(lanes))
	for i, lane := range lanes {
		keys[i] = w.jobs + lane
	}
	e, ok := w.store.fetch(keys)
	if !ok {
		return "", false
	}
	return jobOf(t, e.json), true
}

func TestAMessageReachesAnIdleWorker(t *testing.T) {
	forms(t, func(t *testing.T, w *Wire) {
		got := make(chan *work.Job, 10)
		workers(t, w, 3, func(j *work.Job) { got <- j }, "high", "low")
		awaitIdle(t, w, 3)
		for i := range 20 {
			lane := []string{"high", "low"}[i%2]
			if i%4 < 2 {
				push(t, w, lane, fmt.Sprint(i))
			} else {
				enqueue(t, w, lane, fmt.Sprint(i))
			}
			j := receive(t, got, "a message is handled")
			if j.ArgString("job") != fmt.Sprint(i) || j.Name != lane {
				t.Fatalf("got %s of lane %s, want %d of %s", j.ArgString("job"), j.Name, i, lane)
			}
		}
	})
}

func TestPushWritesWhatTheEnqueuerWrites(t *testing.T) {
	forms(t, func(t *testing.T, w *Wire) {
		push(t, w, "lane", "1", "2")
		enqueue(t, w, "lane", "3")
		var ids []string
		for want := range 3 {
			e, _ := w.store.fetch([]string{w.jobs + "lane"})
			j := decode(t, e.json)
			if j.Name != "lane" || j.ArgString("job") != strconv.Itoa(want+1) || len(j.ID) != 24 ||
				time.Since(time.Unix(j.EnqueuedAt, 0)) > patience {
				t.Errorf("entry %d is %s", want, e.json)
			}
			ids = append(ids, j.ID)
		}
		slices.Sort(ids)
		if len(slices.Compact(ids)) != 3 {
			t.Errorf("the ids %v are not unique", ids)
		}
	})
}

func TestAFetchTakesLanesInItsOwnOrderAndEachLaneInTurn(t *testing.T) {
	forms(t, func(t *testing.T, w *Wire) {
		push(t, w, "a", "a1", "a2", "a3")
		push(t, w, "b", "b1", "b2")
		for _, ask := range []struct {
			lanes []string
			want  string
		}{
			{[]string{"b", "a"}, "b1"},
			{[]string{"a", "b"}, "a1"},
			{[]string{"empty", "a"}, "a2"},
			{[]string{"b"}, "b2"},
			{[]string{"b", "a"}, "a3"},
		} {
			if got, ok := fetchJob(t, w, ask.lanes...); got != ask.want || !ok {
				t.Errorf("asked for %v: got %q, want %q", ask.lanes, got, ask.want)
			}
		}
	})
}

// Any order of pushes and of workers that ask with lanes of their own: nothing is lost, nothing
// comes twice, no worker gets a lane it did not ask for, and a lane keeps its order.
func TestMessagesAndWorkersInAnyOrderMeet(t *testing.T) {
	forms(t, func(t *testing.T, w *Wire) {
		lanes := []string{"a", "b", "c"}
		rapid.Check(t, func(r *rapid.T) {
			var waiting [3][]int // the model: what lies in each lane
			pushed := 0
			for range rapid.IntRange(1, 20).Draw(r, "steps") {
				if rapid.Bool().Draw(r, "push") {
					lane := rapid.IntRange(0, 2).Draw(r, "lane")
					var jobs []string
					for range rapid.IntRange(1, 3).Draw(r, "messages") {
						pushed++
						jobs = append(jobs, strconv.Itoa(pushed))
						waiting[lane] = append(waiting[lane], pushed)
					}
					push(t, w, lanes[lane], jobs...)
					continue
				}
				order := rapid.Permutation([]int{0, 1, 2}).Draw(r, "order")
				want := 0
				for _, lane := range order {
					if len(waiting[lane]) > 0 {
						want, waiting[lane] = waiting[lane][0], waiting[lane][1:]
						break
					}
				}
				if want == 0 {
					continue // it would wait
				}
				got, _ := fetchJob(t, w, lanes[order[0]], lanes[order[1]], lanes[order[2]])
				if got != strconv.Itoa(want) {
					r.Fatalf("asked in order %v: got %s, want %d", order, got, want)
				}
			}
			counts, err := w.Waiting(t.Context(), lanes...)
			if err != nil {
				t.Fatal(err)
			}
			for i, lane := range lanes {
				if counts[lane] != int64(len(waiting[i])) {
					r.Fatalf("%d wait in lane %s, want %d", counts[lane], lane, len(waiting[i]))
				}
				for range waiting[i] {
					fetchJob(t, w, lane)
				}
			}
		})
	})
}

func TestAWaitingWorkerGetsOnlyItsOwnLanes(t *testing.T) {
	forms(t, func(t *testing.T, w *Wire) {
		got := make(chan string, 2)
		for i, lane := range []string{"a", "b"} {
			go func() { job, _ := fetchJob(t, w, lane); got <- lane + job }()
			awaitIdle(t, w, i+1)
		}
		push(t, w, "b", "1")
		if g := receive(t, got, "a message"); g != "b1" {
			t.Fatalf("got %s, want b1", g)
		}
		push(t, w, "a", "2")
		if g := receive(t, got, "a message"); g != "a2" {
			t.Fatalf("got %s, want a2", g)
		}
	})
}

func TestEveryMessageIsDeliveredOnceToManyWorkers(t *testing.T) {
	const pushers, each = 8, 1250 // 10,000
	check := func(t *testing.T, wires ...*Wire) {
		var mu sync.Mutex
		times := make(map[string]int)
		all := make(chan struct{})
		for _, w := range wires {
			workers(t, w, 20, func(j *work.Job) {
				mu.Lock()
				defer mu.Unlock()
				times[j.ArgString("job")]++
				if len(times) == pushers*each {
					select {
					case <-all:
					default:
						close(all)
					}
				}
			}, "a", "b", "c")
		}
		var group sync.WaitGroup
		for p := range pushers {
			group.Go(func() {
				w := wires[p%len(wires)]
				for i := 0; i < each; i++ {
					job := fmt.Sprintf("%d.%d", p, i)
					lane := []string{"a", "b", "c"}[i%3]
					if p < pushers/2 {
						enqueue(t, w, lane, job)
					} else {
						push(t, w, lane, job)
					}
				}
			})
		}
		group.Wait()
		receive(t, all, "all are delivered")
		for _, w := range wires {
			awaitIdle(t, w, 20)
		}
		mu.Lock()
		defer mu.Unlock()
		for job, n := range times {
			if n != 1 {
				t.Errorf("%s came %d times", job, n)
			}
		}
	}
	t.Run("local", func(t *testing.T) { check(t, start(t, Local(Options{}))) })
	services.EachRedis(t, func(t *testing.T, url string) {
		check(t, process(t, url, Options{}), process(t, url, Options{}))
	})
}

// A burst wakes as many workers as it has messages, in every process, whether its messages come
// together or one by one.
func TestABurstOccupiesTheIdleWorkersOfAllProcesses(t *testing.T) {
	url := services.Redis(t)
	pusher, a, b := process(t, url, Options{}), process(t, url, Options{}), process(t, url, Options{})
	for round := range 30 {
		got := make(chan string, 10)
		for _, w := range []*Wire{a, b} {
			for range 5 {
				go func() { job, _ := fetchJob(t, w, "lane"); got <- job }()
			}
			awaitIdle(t, w, 5)
		}
		if round%2 == 0 {
			push(t, pusher, "lane", make([]string, 10)...)
		} else {
			for range 10 {
				enqueue(t, pusher, "lane", "")
			}
		}
		for range 10 {
			receive(t, got, "a message")
		}
	}
}

func TestALongLaneKeepsItsOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var q fifo[[]byte]
		pushed, popped := 0, 0
		for range rapid.IntRange(1, 20).Draw(r, "steps") {
			for range rapid.IntRange(0, 300).Draw(r, "push") {
				q.push(fmt.Append(nil, pushed))
				pushed++
			}
			for range rapid.IntRange(0, pushed-popped).Draw(r, "pop") {
				if got := string(q.pop()); got != fmt.Sprint(popped) {
					r.Fatalf("popped %s, want %d", got, popped)
				}
				popped++
			}
			if q.len() != pushed-popped {
				r.Fatalf("length %d, want %d", q.len(), pushed-popped)
			}
			if max(2*q.len(), 2*smallFifo) < len(q.items) {
				r.Fatalf("%d places for %d entries", len(q.items), q.len())
			}
		}
	})
}

func TestAFullLaneRefusesAndTakesAgainWhenThereIsRoom(t *testing.T) {
	forms(t, func(t *testing.T, w *Wire) {
		for range limitInTests / pushBatch {
			push(t, w, "lane", make([]string, pushBatch)...)
		}
		if err := w.Push(t.Context(), "lane", Message{}); !errors.Is(err, ErrFull) {
			t.Fatalf("push into a full lane: %v, want %v", err, ErrFull)
		}
		fetchJob(t, w, "lane")
		push(t, w, "lane", "fits")
	})
}
