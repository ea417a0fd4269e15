package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/internal/blob"
	"gatehouse/internal/bus"
	"gatehouse/internal/fault"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
	"gatehouse/queue/transport"
	"gatehouse/test/services"
)

func TestMain(m *testing.M) { services.Main(m) }

// ada owns the jobs of the tests, eve nothing.
var (
	ada  = viewer.Viewer{User: "usr_ada"}
	eve  = viewer.Viewer{User: "usr_eve"}
	root = viewer.Viewer{User: "usr_root", Roles: []viewer.Role{viewer.Admin}}
)

type args struct{ Text string }

type answer struct{ Echo string }

// yard is a deployment: a database, a Redis or none, and any number of processes.
type yard struct {
	t        testing.TB
	db       *store.DB
	files    *blob.Store
	redisURL string
	local    *transport.Wire
	localBus *bus.Bus
}

// eachYard runs test embedded and on PostgreSQL with Redis.
func eachYard(t *testing.T, test func(t *testing.T, y *yard)) {
	t.Run("embedded", func(t *testing.T) { test(t, newYard(t, "sqlite:"+filepath.Join(t.TempDir(), "q.db"), "")) })
	t.Run("PostgreSQL and Redis", func(t *testing.T) { test(t, newYard(t, services.Postgres(t), services.Redis(t))) })
}

func newYard(t testing.TB, database, redisURL string) *yard {
	t.Helper()
	db, err := store.Open(t.Context(), database, store.Options{Trace: func(ctx context.Context, _ string) {
		if n, ok := ctx.Value(counterKey{}).(*atomic.Int64); ok {
			n.Add(1)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := blob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	y := &yard{t: t, db: db, files: files, redisURL: redisURL}
	if redisURL == "" {
		y.local, y.localBus = transport.Local(transport.Options{}), bus.Local()
	}
	return y
}

type counterKey struct{}

// counted returns ctx and the number of statements that were run under it.
func counted(ctx context.Context) (context.Context, *atomic.Int64) {
	n := new(atomic.Int64)
	return context.WithValue(ctx, counterKey{}, n), n
}

// process is one running part of a yard.
type process struct {
	*queue.Queue
	stop func() // ends it as SIGTERM does
}

func (y *yard) start(o queue.Options, kinds ...queue.Definition) *process {
	y.t.Helper()
	wire, b := y.local, y.localBus
	var client redis.UniversalClient
	if y.redisURL != "" {
		ro, err := redis.ParseURL(y.redisURL)
		if err != nil {
			y.t.Fatal(err)
		}
		ro.ContextTimeoutEnabled = true
		client = redis.NewClient(ro)
		space := strings.ReplaceAll(ro.Addr+"-"+fmt.Sprint(ro.DB), ":", "-")
		wire = transport.Redis(client, transport.Options{Namespace: space})
		b = bus.Redis(client, space, bus.Options{})
	}
	if testing.Verbose() && o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(y.t.Output(), nil))
	}
	q, err := queue.New(y.db, wire, b, y.files, kinds, o)
	if err != nil {
		y.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := b.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			y.t.Errorf("bus: %v", err)
		}
	})
	ended := make(chan struct{})
	workCtx, stopWork := context.WithCancel(context.Background())
	go func() {
		defer close(ended)
		if err := q.Run(workCtx); err != nil {
			y.t.Errorf("queue: %v", err)
		}
	}()
	stop := sync.OnceFunc(func() {
		stopWork()
		<-ended
		cancel()
		running.Wait()
		if client != nil {
			client.Close()
		}
	})
	y.t.Cleanup(stop)
	return &process{Queue: q, stop: stop}
}

// echo answers with its argument.
func echo(name string) queue.Kind[args, answer] {
	return queue.Kind[args, answer]{
		Name: name,
		Handle: func(_ context.Context, _ *queue.Run, a args) (answer, error) {
			return answer{"heard " + a.Text}, nil
		},
	}
}

func (p *process) enqueue(t testing.TB, k queue.Kind[args, answer], text string, o queue.JobOptions) *queue.Job {
	t.Helper()
	r, err := k.Request(ada.User, args{text}, o)
	if err != nil {
		t.Fatal(err)
	}
	j, err := p.Enqueue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// watch returns the events of a job until its end.
func (p *process) watch(t testing.TB, id queue.ID, after *int64) []*queue.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	events, err := p.Watch(ctx, ada, id, after)
	if err != nil {
		t.Fatal(err)
	}
	var all []*queue.Event
	for e := range events {
		all = append(all, e)
	}
	if ctx.Err() != nil {
		t.Fatalf("job %s did not end; seen %s", id, brief(all))
	}
	return all
}

func (p *process) finished(t testing.TB, id queue.ID) *queue.Job {
	t.Helper()
	p.watch(t, id, nil)
	j, err := p.Get(t.Context(), ada, id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func brief(events []*queue.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%d:%s:%s ", e.Sequence, e.Type, e.State)
	}
	return b.String()
}

func wantState(t testing.TB, j *queue.Job, want queue.State) {
	t.Helper()
	if j.State != want {
		t.Fatalf("job is %s (%+v), want %s", j.State, j.Error, want)
	}
}

func TestAJobRunsAndBringsItsResult(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("echo")
		p := y.start(queue.Options{Workers: 2}, k.Define())
		j := p.finished(t, p.enqueue(t, k, "hello", queue.JobOptions{}).ID)
		wantState(t, j, queue.Succeeded)
		if string(j.Result) != `{"Echo":"heard hello"}` || j.Attempt != 1 || j.ExpiresAt.IsZero() {
			t.Errorf("job = %+v, result %s", j, j.Result)
		}
		attempts, err := p.Attempts(t.Context(), []queue.ID{j.ID})
		if err != nil || len(attempts[j.ID]) != 1 || attempts[j.ID][0].FinishedAt.IsZero() {
			t.Errorf("attempts = %+v, %v", attempts, err)
		}
	})
}

func TestAJobIsDoneInAnotherProcess(t *testing.T) {
	y := newYard(t, services.Postgres(t), services.Redis(t))
	k := echo("echo")
	server := y.start(queue.Options{}, k.Define())
	y.start(queue.Options{Workers: 2}, k.Define())
	wantState(t, server.finished(t, server.enqueue(t, k, "far", queue.JobOptions{}).ID), queue.Succeeded)
}

func TestAFailingJobIsTriedAgainAndThenFails(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		var runs atomic.Int32
		k := queue.Kind[args, answer]{
			Name: "fail", MaxAttempts: 3, Backoff: func(int) time.Duration { return time.Millisecond },
			Handle: func(context.Context, *queue.Run, args) (answer, error) {
				runs.Add(1)
				return answer{}, fault.New(fault.UnsupportedFile, "", "Not today.")
			},
		}
		p := y.start(queue.Options{Workers: 2}, k.Define())
		j := p.finished(t, p.enqueue(t, k, "", queue.JobOptions{}).ID)
		wantState(t, j, queue.Failed)
		if runs.Load() != 3 || j.Attempt != 3 || j.Error == nil || j.Error.Code != "UNSUPPORTED_FILE" || j.Error.Message != "Not today." {
			t.Errorf("%d runs, job %+v, error %+v", runs.Load(), j, j.Error)
		}
	})
}

func TestAPermanentErrorIsNotTriedAgain(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := queue.Kind[args, answer]{Name: "fail", Handle: func(context.Context, *queue.Run, args) (answer, error) {
			return answer{}, queue.Permanent(errors.New("disk /srv/x is on fire"))
		}}
		p := y.start(queue.Options{Workers: 1}, k.Define())
		j := p.finished(t, p.enqueue(t, k, "", queue.JobOptions{}).ID)
		wantState(t, j, queue.Failed)
		if j.Attempt != 1 || strings.Contains(j.Error.Message, "srv") {
			t.Errorf("attempt %d, error %+v: the cause is not the owner's to read", j.Attempt, j.Error)
		}
	})
}

func TestAPanicAGoexitAndADeadlineDoNotTakeAWorker(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := queue.Kind[args, answer]{
			Name: "bad", MaxAttempts: 1, Deadline: 50 * time.Millisecond,
			Handle: func(ctx context.Context, _ *queue.Run, a args) (answer, error) {
				switch a.Text {
				case "panic":
					panic("ouch")
				case "goexit":
					runtime.Goexit()
				case "slow":
					<-ctx.Done()
					return answer{}, ctx.Err()
				}
				return answer{"fine"}, nil
			},
		}
		p := y.start(queue.Options{Workers: 1}, k.Define())
		for text, code := range map[string]string{"panic": "PANICKED", "goexit": "PANICKED", "slow": "DEADLINE_EXCEEDED"} {
			j := p.finished(t, p.enqueue(t, k, text, queue.JobOptions{}).ID)
			wantState(t, j, queue.Failed)
			if j.Error.Code != code {
				t.Errorf("%s gives %+v, want %s", text, j.Error, code)
			}
		}
		wantState(t, p.finished(t, p.enqueue(t, k, "ok", queue.JobOptions{}).ID), queue.Succeeded)
	})
}

func TestACancelledJobEndsAndIsNotTriedAgain(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		began := make(chan struct{})
		cause := make(chan error, 1)
		k := queue.Kind[args, answer]{Name: "wait", Handle: func(ctx context.Context, _ *queue.Run, _ args) (answer, error) {
			close(began)
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return answer{}, ctx.Err()
		}}
		p := y.start(queue.Options{Workers: 1}, k.Define())
		j := p.enqueue(t, k, "", queue.JobOptions{})
		<-began
		if _, err := p.Cancel(t.Context(), eve, j.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("a stranger cancels: %v", err)
		}
		if _, err := p.Cancel(t.Context(), ada, j.ID); err != nil {
			t.Fatal(err)
		}
		wantState(t, p.finished(t, j.ID), queue.Cancelled)
		if err := <-cause; !errors.Is(err, queue.ErrCancelled) {
			t.Errorf("the context ended with %v", err)
		}
		if _, err := p.Cancel(t.Context(), ada, j.ID); !fault.Is(err, fault.WrongState) {
			t.Errorf("a second cancel: %v", err)
		}
	})
}

func TestAWaitingJobIsCancelledAtOnceAndCanBeStartedAnew(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("echo")
		p := y.start(queue.Options{Workers: 1}, k.Define())
		j := p.enqueue(t, k, "later", queue.JobOptions{RunAt: time.Now().Add(time.Hour)})
		wantState(t, j, queue.Scheduled)
		j, err := p.Cancel(t.Context(), ada, j.ID)
		if err != nil {
			t.Fatal(err)
		}
		wantState(t, j, queue.Cancelled)
		if j, err = p.Retry(t.Context(), ada, j.ID); err != nil {
			t.Fatal(err)
		}
		wantState(t, p.finished(t, j.ID), queue.Succeeded)
		if err := p.Delete(t.Context(), ada, j.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Get(t.Context(), ada, j.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("a deleted job: %v", err)
		}
	})
}

func TestAJobThatIsStartedAnewForEverDoesNotGrowForEver(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := queue.Kind[struct{}, struct{}]{Name: "hopeless", Handle: func(context.Context, *queue.Run, struct{}) (struct{}, error) {
			return struct{}{}, queue.Permanent(errors.New("no use"))
		}}
		p := y.start(queue.Options{Workers: 1}, k.Define())
		request, err := k.Request(ada.User, struct{}{}, queue.JobOptions{})
		if err != nil {
			t.Fatal(err)
		}
		j, err := p.Enqueue(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		for range 60 {
			wantState(t, p.finished(t, j.ID), queue.Failed)
			if _, err := p.Retry(t.Context(), ada, j.ID); err != nil {
				t.Fatal(err)
			}
		}
		wantState(t, p.finished(t, j.ID), queue.Failed)
		attempts, err := p.Attempts(t.Context(), []queue.ID{j.ID})
		if n := len(attempts[j.ID]); err != nil || n < 25 || n > 51 {
			t.Errorf("%d attempts are kept, %v; want the newest 50 or so", n, err)
		}
	})
}

func TestADelayedJobIsNeverEarly(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("echo")
		p := y.start(queue.Options{Workers: 1}, k.Define())
		at := time.Now().Add(150 * time.Millisecond)
		j := p.finished(t, p.enqueue(t, k, "", queue.JobOptions{RunAt: at}).ID)
		if j.StartedAt.Before(at.Truncate(time.Microsecond)) {
			t.Errorf("began %v before its time", at.Sub(j.StartedAt))
		}
	})
}

func TestOneIdempotencyKeyIsOneJob(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("echo")
		p := y.start(queue.Options{}, k.Define())
		ids := make(chan queue.ID, 20)
		var wait sync.WaitGroup
		for i := range 20 {
			wait.Go(func() { ids <- p.enqueue(t, k, fmt.Sprint(i), queue.JobOptions{IdempotencyKey: "once"}).ID })
		}
		wait.Wait()
		first := <-ids
		for range 19 {
			if id := <-ids; id != first {
				t.Errorf("a second job %s beside %s", id, first)
			}
		}
	})
}

func TestAnEnqueueThatIsRolledBackNeverWas(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("echo")
		p := y.start(queue.Options{Workers: 1}, k.Define())
		r, err := k.Request(ada.User, args{"x"}, queue.JobOptions{})
		if err != nil {
			t.Fatal(err)
		}
		changedMyMind := errors.New("no")
		var id queue.ID
		err = y.db.Update(t.Context(), func(tx *store.Tx) error {
			j, err := p.EnqueueTx(t.Context(), tx, r)
			if err != nil {
				return err
			}
			id = j.ID
			return changedMyMind
		})
		if !errors.Is(err, changedMyMind) {
			t.Fatal(err)
		}
		if _, err := p.Get(t.Context(), ada, id); !fault.Is(err, fault.NotFound) {
			t.Errorf("the job is there: %v", err)
		}
	})
}

func TestEventsComeOnceInOrderAndResume(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := queue.Kind[args, answer]{Name: "talk", Handle: func(_ context.Context, run *queue.Run, _ args) (answer, error) {
			for i := range 5 {
				run.Log("line %d", i)
				run.Report(int64(i), 5, "talking")
			}
			return answer{"done"}, nil
		}}
		p := y.start(queue.Options{Workers: 1}, k.Define())
		j := p.enqueue(t, k, "", queue.JobOptions{})
		zero := int64(0)
		all := p.watch(t, j.ID, &zero)
		if all[0].Type != queue.Snapshot {
			t.Fatalf("the first event is no snapshot: %s", brief(all))
		}
		for i, e := range all[1:] {
			if e.Sequence != int64(i+1) {
				t.Fatalf("events are missing, doubled or out of order: %s", brief(all))
			}
		}
		if last := all[len(all)-1]; last.State != queue.Succeeded || last.Job.Result == nil {
			t.Errorf("the last event is %+v", last)
		}
		middle := int64(4)
		again := p.watch(t, j.ID, &middle)
		if len(again) != len(all)-4 || again[1].Sequence != 5 {
			t.Errorf("resumed after 4: %s of %s", brief(again), brief(all))
		}
		attempts, err := p.Attempts(t.Context(), []queue.ID{j.ID})
		if err != nil || len(attempts[j.ID][0].Log) != 5 {
			t.Errorf("log = %+v, %v", attempts[j.ID], err)
		}
	})
}

func TestAStrangerSeesNothing(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("echo")
		p := y.start(queue.Options{}, k.Define())
		j := p.enqueue(t, k, "secret", queue.JobOptions{})
		if _, err := p.Get(t.Context(), eve, j.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("Get: %v", err)
		}
		if _, err := p.Watch(t.Context(), eve, j.ID, nil); !fault.Is(err, fault.NotFound) {
			t.Errorf("Watch: %v", err)
		}
		if _, err := p.Retry(t.Context(), eve, j.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("Retry: %v", err)
		}
		if err := p.Delete(t.Context(), eve, j.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("Delete: %v", err)
		}
		if found, err := p.ByIDs(t.Context(), eve, []queue.ID{j.ID}); err != nil || len(found) > 0 {
			t.Errorf("ByIDs: %v, %v", found, err)
		}
		mine, err := p.List(t.Context(), eve, queue.Filter{}, queue.Order{}, page.Window{Size: 10}, queue.Want{Total: true})
		if err != nil || mine.Total != 0 {
			t.Errorf("List: %+v, %v", mine, err)
		}
		if _, err := p.List(t.Context(), eve, queue.Filter{Owner: ada.User}, queue.Order{}, page.Window{Size: 10}, queue.Want{Total: true}); !fault.Is(err, fault.Forbidden) {
			t.Errorf("List of another: %v", err)
		}
		if _, err := p.Get(t.Context(), viewer.Viewer{}, j.ID); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("Get by nobody: %v", err)
		}
		if _, err := p.Get(t.Context(), root, j.ID); err != nil {
			t.Errorf("Get by an admin: %v", err)
		}
	})
}

func TestPagesGoThroughAllJobsBothWays(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("echo")
		p := y.start(queue.Options{}, k.Define())
		for i := range 7 {
			p.enqueue(t, k, fmt.Sprint(i), queue.JobOptions{RunAt: time.Now().Add(time.Duration(7-i) * time.Hour)})
		}
		for _, o := range []queue.Order{{}, {Field: queue.RunAt}, {Field: queue.FinishedAt, Ascending: true}} {
			field := o.Field
			if field == "" {
				field = queue.CreatedAt
			}
			whole, err := p.List(t.Context(), ada, queue.Filter{}, o, page.Window{Size: 100}, queue.Want{Total: true})
			if err != nil || len(whole.Items) != 7 || whole.Total != 7 {
				t.Fatalf("List = %+v, %v", whole, err)
			}
			var there, back []queue.ID
			for w := (page.Window{Size: 3}); ; {
				part, err := p.List(t.Context(), ada, queue.Filter{}, o, w, queue.Want{})
				if err != nil {
					t.Fatal(err)
				}
				for _, j := range part.Items {
					there = append(there, j.ID)
				}
				if !part.HasNext {
					break
				}
				c := part.Items[len(part.Items)-1].Cursor(field)
				w.After = &c
			}
			for w := (page.Window{Size: 3, Backward: true}); ; {
				part, err := p.List(t.Context(), ada, queue.Filter{}, o, w, queue.Want{})
				if err != nil {
					t.Fatal(err)
				}
				var ids []queue.ID
				for _, j := range part.Items {
					ids = append(ids, j.ID)
				}
				back = append(ids, back...)
				if !part.HasPrev {
					break
				}
				c := part.Items[0].Cursor(field)
				w.Before = &c
			}
			for i, j := range whole.Items {
				if there[i] != j.ID || back[i] != j.ID {
					t.Fatalf("order %+v: whole %v, forward %v, backward %v", o, whole.Items, there, back)
				}
			}
		}
	})
}

func TestAPausedQueueLetsNothingBeginUntilItIsResumed(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("echo")
		p := y.start(queue.Options{Workers: 1}, k.Define())
		if err := p.Pause(t.Context(), ada, queue.DefaultQueue, true); !fault.Is(err, fault.Forbidden) {
			t.Errorf("anybody may pause: %v", err)
		}
		if err := p.Pause(t.Context(), root, queue.DefaultQueue, true); err != nil {
			t.Fatal(err)
		}
		j := p.enqueue(t, k, "", queue.JobOptions{})
		for p.Figures().Dropped == 0 { // the worker came and was refused
			runtime.Gosched()
		}
		if got, err := p.Get(t.Context(), ada, j.ID); err != nil || got.State != queue.Queued {
			t.Fatalf("job is %v, %v", got, err)
		}
		if err := p.Pause(t.Context(), root, queue.DefaultQueue, false); err != nil {
			t.Fatal(err)
		}
		wantState(t, p.finished(t, j.ID), queue.Succeeded)
	})
}

func TestALimitedKindNeverRunsMoreThanItsLimit(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		var now, most atomic.Int32
		k := queue.Kind[args, answer]{Name: "narrow", Handle: func(context.Context, *queue.Run, args) (answer, error) {
			n := now.Add(1)
			for {
				m := most.Load()
				if n <= m || most.CompareAndSwap(m, n) {
					break
				}
			}
			runtime.Gosched()
			now.Add(-1)
			return answer{}, nil
		}}
		p := y.start(queue.Options{Workers: 8}, k.Define())
		two := 2
		if err := p.Limit(t.Context(), root, "narrow", &two); err != nil {
			t.Fatal(err)
		}
		var ids []queue.ID
		for range 30 {
			ids = append(ids, p.enqueue(t, k, "", queue.JobOptions{}).ID)
		}
		for _, id := range ids {
			wantState(t, p.finished(t, id), queue.Succeeded)
		}
		if most.Load() > 2 {
			t.Errorf("%d ran at once, the limit is 2", most.Load())
		}
	})
}

func TestALargeResultAndFilesAreKeptWithTheJobAndGoWithIt(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := queue.Kind[args, answer]{Name: "files", Handle: func(ctx context.Context, run *queue.Run, _ args) (answer, error) {
			f, err := run.Create(ctx, "out.txt", "text/plain")
			if err != nil {
				return answer{}, err
			}
			if _, err := io.WriteString(f, "made by the job"); err != nil {
				return answer{}, err
			}
			return answer{strings.Repeat("x", 100_000)}, nil
		}}
		p := y.start(queue.Options{Workers: 1}, k.Define())
		j := p.finished(t, p.enqueue(t, k, "", queue.JobOptions{}).ID)
		wantState(t, j, queue.Succeeded)
		if result, err := p.Result(t.Context(), j); err != nil || len(result) < 100_000 {
			t.Errorf("result of %d bytes, %v", len(result), err)
		}
		made, err := p.Artifacts(t.Context(), []queue.ID{j.ID})
		if err != nil || len(made[j.ID]) != 1 {
			t.Fatalf("artifacts %+v, %v", made, err)
		}
		f := made[j.ID][0]
		content, _, err := y.files.Open(t.Context(), f.Key)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(content)
		content.Close()
		if string(text) != "made by the job" {
			t.Errorf("artifact holds %q", text)
		}
		f.SHA256 = make([]byte, len(f.SHA256)) // of a row that was written for something else
		if _, err := p.Open(t.Context(), f); !errors.Is(err, blob.ErrCorrupt) {
			t.Errorf("a file that is not the row's: %v, want %v", err, blob.ErrCorrupt)
		}
		if err := p.Delete(t.Context(), ada, j.ID); err != nil {
			t.Fatal(err)
		}
		if _, _, err := y.files.Open(t.Context(), f.Key); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("the artifact outlived its job: %v", err)
		}
	})
}

func TestAFailedAttemptLeavesNoFile(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := queue.Kind[args, answer]{Name: "files", Handle: func(ctx context.Context, run *queue.Run, _ args) (answer, error) {
			if _, err := run.Create(ctx, "half.txt", "text/plain"); err != nil {
				return answer{}, err
			}
			return answer{}, queue.Permanent(errors.New("no"))
		}}
		p := y.start(queue.Options{Workers: 1}, k.Define())
		p.finished(t, p.enqueue(t, k, "", queue.JobOptions{}).ID)
		p.stop()
		left, err := y.files.Sweep(t.Context(), time.Now().Add(time.Hour), func(blob.Key) (bool, error) { return false, nil })
		if err != nil || left != 0 {
			t.Errorf("%d files were left, %v", left, err)
		}
	})
}

func TestShutdownHandsRunningJobsBackWithTheirAttempt(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		began := make(chan struct{}, 2)
		var hold atomic.Bool
		hold.Store(true)
		k := queue.Kind[args, answer]{Name: "long", MaxAttempts: 1, Handle: func(ctx context.Context, _ *queue.Run, _ args) (answer, error) {
			began <- struct{}{}
			if hold.Load() {
				<-ctx.Done()
				return answer{}, ctx.Err()
			}
			return answer{"at last"}, nil
		}}
		first := y.start(queue.Options{Workers: 1, Shutdown: time.Millisecond}, k.Define())
		j := first.enqueue(t, k, "", queue.JobOptions{})
		<-began
		first.stop()
		hold.Store(false)
		if y.local != nil { // a new process has a new wire
			y.local, y.localBus = transport.Local(transport.Options{}), bus.Local()
		}
		second := y.start(queue.Options{Workers: 1}, k.Define())
		done := second.finished(t, j.ID)
		wantState(t, done, queue.Succeeded)
		if done.Attempt != 1 {
			t.Errorf("attempt %d: the first one was not refunded", done.Attempt)
		}
	})
}

func TestAJobIsFoundAgainWhenRedisForgetsIt(t *testing.T) {
	server := services.StartRedis(t)
	y := newYard(t, services.Postgres(t), server.URL)
	k := echo("echo")
	p := y.start(queue.Options{Stale: 100 * time.Millisecond, Sweep: 50 * time.Millisecond}, k.Define())
	j := p.enqueue(t, k, "", queue.JobOptions{})
	server.Kill()
	server.Restart(t)
	worker := y.start(queue.Options{Workers: 1, Stale: 100 * time.Millisecond, Sweep: 50 * time.Millisecond}, k.Define())
	wantState(t, worker.finished(t, j.ID), queue.Succeeded)
}

func TestExpiredJobsAreDeleted(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("brief")
		k.Retention = time.Millisecond
		p := y.start(queue.Options{Workers: 1, Sweep: 10 * time.Millisecond}, k.Define())
		j := p.enqueue(t, k, "", queue.JobOptions{})
		for {
			if _, err := p.Get(t.Context(), ada, j.ID); fault.Is(err, fault.NotFound) {
				return
			} else if err != nil {
				t.Fatal(err)
			}
			runtime.Gosched()
		}
	})
}

func TestUpdatesTellOfOnesOwnJobs(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("echo")
		p := y.start(queue.Options{Workers: 1}, k.Define())
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		mine, err := p.Updates(ctx, ada, queue.Filter{States: []queue.State{queue.Succeeded}})
		if err != nil {
			t.Fatal(err)
		}
		others, err := p.Updates(ctx, eve, queue.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		j := p.enqueue(t, k, "", queue.JobOptions{})
		if got := <-mine; got == nil || got.ID != j.ID || got.State != queue.Succeeded {
			t.Errorf("update = %+v", got)
		}
		cancel()
		for range mine {
		}
		if got, open := <-others; open {
			t.Errorf("a stranger was told of %+v", got)
		}
	})
}
