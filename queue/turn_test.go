package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

// tally counts what runs of each owner, and remembers the most.
type tally struct {
	sync.Mutex
	now, most, done map[viewer.UserID]int
	order           []viewer.UserID // of beginnings
	began           map[queue.ID]time.Time
}

func newTally() *tally {
	return &tally{now: map[viewer.UserID]int{}, most: map[viewer.UserID]int{}, done: map[viewer.UserID]int{}, began: map[queue.ID]time.Time{}}
}

func (c *tally) begin(j *queue.Job) {
	c.Lock()
	defer c.Unlock()
	c.now[j.Owner]++
	c.most[j.Owner] = max(c.most[j.Owner], c.now[j.Owner])
	c.order = append(c.order, j.Owner)
	c.began[j.ID] = time.Now()
}

func (c *tally) end(j *queue.Job) {
	c.Lock()
	defer c.Unlock()
	c.now[j.Owner]--
	c.done[j.Owner]++
}

// kind is one whose jobs take so long.
func (c *tally) kind(name string, took time.Duration) queue.Kind[args, answer] {
	return queue.Kind[args, answer]{Name: name, Handle: func(ctx context.Context, run *queue.Run, _ args) (answer, error) {
		c.begin(run.Job)
		defer c.end(run.Job)
		select {
		case <-time.After(took): // the work
		case <-ctx.Done():
		}
		return answer{}, nil
	}}
}

// start enqueues n jobs of owner.
func (p *process) begin(t testing.TB, k queue.Kind[args, answer], owner viewer.UserID, n int) []queue.ID {
	t.Helper()
	ids := make([]queue.ID, n)
	var callers sync.WaitGroup
	for c := range 8 {
		callers.Go(func() {
			for i := c; i < n; i += 8 {
				r, err := k.Request(owner, args{}, queue.JobOptions{})
				if err == nil {
					var j *queue.Job
					if j, err = p.Enqueue(t.Context(), r); err == nil {
						ids[i] = j.ID
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	return ids
}

// all waits until every job of ids has succeeded.
func (p *process) all(t testing.TB, ids []queue.ID) {
	t.Helper()
	for _, id := range ids {
		for e := range p.stream(t, id) {
			if e.Job.State.Final() && e.Job.State != queue.Succeeded {
				t.Fatalf("job %s is %s", id, e.Job.State)
			}
		}
	}
}

func (p *process) stream(t testing.TB, id queue.ID) <-chan *queue.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	events, err := p.Watch(ctx, root, id, nil)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestAFloodDelaysAnotherOwnersJobByAJobOrTwo(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		c := newTally()
		k := c.kind("work", 2*time.Millisecond)
		front := y.start(queue.Options{}, k.Define())
		flood := front.begin(t, k, ada.User, 1500)
		y.start(queue.Options{Workers: 2}, k.Define())
		if y.redisURL != "" {
			y.start(queue.Options{Workers: 2}, k.Define())
		}
		var single []queue.ID
		for range 20 {
			single = append(single, front.begin(t, k, eve.User, 1)...)
			<-time.After(10 * time.Millisecond) // one now and then
		}
		front.all(t, single)
		c.Lock()
		defer c.Unlock()
		if n := len(flood) - c.done[ada.User]; n < 100 {
			t.Fatalf("the flood was over: %d are left of it", n)
		}
		if beside := slices.Index(c.order, eve.User); beside < 0 || c.done[ada.User] > len(flood)-100 {
			t.Errorf("eve's first job was begun as number %d", beside)
		}
	})
}

func TestOwnersWithEqualBacklogsComeEquallyFar(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		const each = 200
		c := newTally()
		k := c.kind("work", time.Millisecond)
		front := y.start(queue.Options{}, k.Define())
		var ids []queue.ID
		for i := range 3 {
			ids = append(ids, front.begin(t, k, viewer.UserID(fmt.Sprintf("usr_%d", i)), each)...)
		}
		y.start(queue.Options{Workers: 3}, k.Define())
		if y.redisURL != "" {
			y.start(queue.Options{Workers: 3}, k.Define())
		}
		front.all(t, ids)
		begun := map[viewer.UserID]int{}
		for n, owner := range c.order {
			begun[owner]++
			least, most := each, 0
			for i := range 3 {
				least = min(least, begun[viewer.UserID(fmt.Sprintf("usr_%d", i))])
				most = max(most, begun[viewer.UserID(fmt.Sprintf("usr_%d", i))])
			}
			if most-least > each/10 {
				t.Fatalf("after %d beginnings one owner is at %d and another at %d", n+1, least, most)
			}
		}
	})
}

func TestAnOwnerNeverRunsMoreThanTheLimitOverAllProcesses(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		c := newTally()
		k := c.kind("work", 15*time.Millisecond)
		front := y.start(queue.Options{}, k.Define())
		o := queue.Options{Workers: 6, OwnerRunning: 3}
		y.start(o, k.Define())
		if y.redisURL != "" {
			y.start(o, k.Define())
		}
		ids := append(front.begin(t, k, ada.User, 120), front.begin(t, k, eve.User, 60)...)
		front.all(t, ids)
		for owner, most := range c.most {
			if most > 3 {
				t.Errorf("%d jobs of %s ran at once, the limit is 3", most, owner)
			}
		}
		if c.most[ada.User] < 3 {
			t.Errorf("at most %d jobs of ada ran at once: the test shows nothing", c.most[ada.User])
		}
	})
}

func TestALimitedKindServesItsOwnersInTurn(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		c := newTally()
		k := c.kind("narrow", 5*time.Millisecond)
		open, work := make(chan struct{}), k.Handle
		k.Handle = func(ctx context.Context, run *queue.Run, a args) (answer, error) {
			select {
			case <-open:
			case <-ctx.Done():
			}
			return work(ctx, run, a)
		}
		front := y.start(queue.Options{Workers: 4}, k.Define())
		one := 1
		if err := front.Limit(t.Context(), root, k.Name, &one); err != nil {
			t.Fatal(err)
		}
		refused := func(n int64) {
			for front.Figures().Dropped < n {
				<-time.After(time.Millisecond)
			}
		}
		flood := front.begin(t, k, ada.User, 60)
		refused(59) // all but the first, which goes on
		hers := front.begin(t, k, eve.User, 1)
		refused(60)
		close(open)
		front.all(t, hers)
		c.Lock()
		ahead := slices.Index(c.order, eve.User)
		c.Unlock()
		if ahead > 10 {
			t.Errorf("eve's job came after %d of ada's %d", ahead, len(flood))
		}
		front.all(t, flood)
	})
}

func TestAQueueWithWorkersOfItsOwnDoesNotWaitForTheOthers(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		release := make(chan struct{})
		var begun atomic.Int32
		slow := queue.Kind[args, answer]{Name: "slow", Handle: func(ctx context.Context, _ *queue.Run, _ args) (answer, error) {
			begun.Add(1)
			select {
			case <-release:
			case <-ctx.Done():
			}
			return answer{}, nil
		}}
		letter := echo("letter")
		letter.Queue = "letters"
		p := y.start(queue.Options{Workers: 2, Queues: map[string]int{"letters": 1}}, slow.Define(), letter.Define())
		ids := p.begin(t, slow, ada.User, 3)
		for begun.Load() < 2 {
			<-time.After(time.Millisecond)
		}
		wantState(t, p.finished(t, p.enqueue(t, letter, "", queue.JobOptions{}).ID), queue.Succeeded)
		if n := begun.Load(); n != 2 {
			t.Errorf("%d slow jobs were begun by 2 workers", n)
		}
		close(release)
		p.all(t, ids)
	})
}

func TestLowPrioritiesAreLateAndDoNotStarve(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		var order []queue.Priority
		k := queue.Kind[args, answer]{Name: "work", Handle: func(_ context.Context, run *queue.Run, _ args) (answer, error) {
			order = append(order, run.Job.Priority) // there is one worker
			return answer{}, nil
		}}
		front := y.start(queue.Options{}, k.Define())
		var ids []queue.ID
		for _, p := range append(slices.Repeat([]queue.Priority{queue.High}, 300), slices.Repeat([]queue.Priority{queue.Normal}, 60)...) {
			ids = append(ids, front.enqueue(t, k, "", queue.JobOptions{Priority: p}).ID)
		}
		worker := y.start(queue.Options{Workers: 1}, k.Define())
		front.all(t, ids)
		worker.stop()
		lower := 0
		for _, p := range order[:200] {
			if p == queue.Normal {
				lower++
			}
		}
		if lower < 1 || lower > 55 { // 18 are to be expected: one in eleven
			t.Errorf("%d of the first 200 jobs were of the lower priority", lower)
		}
	})
}

// loseMessage is how a row stands whose message was lost.
var loseMessage = store.SQL(`UPDATE jobs SET state = 'QUEUED', pushed_at = 1 WHERE id = ?`)

func TestALostMessageIsMadeUpForInALaneThatNeverEmpties(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		c := newTally()
		k := c.kind("work", 20*time.Millisecond)
		o := queue.Options{Stale: 100 * time.Millisecond, Sweep: 50 * time.Millisecond}
		front := y.start(o, k.Define())
		flood := front.begin(t, k, ada.User, 300)
		r, err := k.Request(eve.User, args{}, queue.JobOptions{RunAt: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		lost, err := front.Enqueue(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		y.run(loseMessage, lost.ID)
		o.Workers = 1
		y.start(o, k.Define())
		front.all(t, []queue.ID{lost.ID})
		c.Lock()
		defer c.Unlock()
		if done := c.done[ada.User]; done > len(flood)-50 {
			t.Errorf("the job whose message was lost came after %d of %d others", done, len(flood))
		}
	})
}

func TestAWorkflowDoesNotWaitForTheSlotThatItHoldsItself(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		p := y.start(queue.Options{Workers: 3, OwnerRunning: 1}, said("say").Define(), queue.WorkflowKind.Define())
		j := p.workflow(t, queue.Workflow{Steps: []queue.Step{step("a", "1"), step("b", "2"), step("c", "3", "a", "b")}})
		wantState(t, p.finished(t, j.ID), queue.Succeeded)
	})
}
