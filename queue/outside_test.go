package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/internal/bus"
	"gatehouse/internal/fault"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
	"gatehouse/queue/transport"
	"gatehouse/test/services"
)

// silence makes the worker outside of a job one that has said nothing for too long.
var silence = store.SQL(`UPDATE jobs SET outside_until = 1 WHERE id = ? AND state = 'RUNNING' AND process_id IS NULL`)

// abroad is a kind whose jobs all go on outside, and what a worker there was given: one token an attempt.
type abroad struct {
	queue.Kind[args, answer]
	tokens chan string
}

func newAbroad(mayBeSilent, longest time.Duration) *abroad {
	a := &abroad{tokens: make(chan string, 100)}
	a.Kind = queue.Kind[args, answer]{
		Name: "abroad", MaxAttempts: 3, Backoff: func(int) time.Duration { return time.Millisecond },
		Outside: &queue.Outside[args, answer]{
			Silence: func(args) time.Duration { return mayBeSilent }, Longest: longest,
			Result: func(j *queue.Job, given json.RawMessage, _ time.Duration) answer {
				return answer{fmt.Sprintf("%s in attempt %d", given, j.Attempt)}
			},
		},
		Handle: func(_ context.Context, run *queue.Run, _ args) (answer, error) {
			a.tokens <- run.Token()
			return answer{}, queue.ErrOutside
		},
	}
	return a
}

// next returns the token of the next attempt.
func (a *abroad) next(t testing.TB) string {
	t.Helper()
	select {
	case token := <-a.tokens:
		return token
	case <-time.After(20 * time.Second):
		t.Fatal("no further attempt has begun")
		return ""
	}
}

// send starts a job and returns it once no process holds it, with its token.
func (a *abroad) send(t testing.TB, p *process) (queue.ID, string) {
	t.Helper()
	id := p.enqueue(t, a.Kind, "", queue.JobOptions{}).ID
	token := a.next(t)
	p.awaitOutside(t, id)
	return id, token
}

func (p *process) awaitOutside(t testing.TB, id queue.ID) {
	t.Helper()
	for {
		j, err := p.Get(t.Context(), ada, id)
		if err != nil {
			t.Fatal(err)
		}
		if j.State == queue.Running && j.Process == "" {
			return
		}
		<-time.After(time.Millisecond)
	}
}

var (
	brisk = queue.Options{Workers: 1, Sweep: 10 * time.Millisecond}
	done  = json.RawMessage(`"done"`)
)

func over(t testing.TB, what string, err error) {
	t.Helper()
	if !fault.Is(err, fault.AttemptOver) {
		t.Errorf("%s: %v, want ATTEMPT_OVER", what, err)
	}
}

func TestAJobGoesOnOutsideAndHoldsNoWorker(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		a, k := newAbroad(time.Hour, time.Hour), echo("echo")
		p := y.start(queue.Options{Workers: 1}, a.Define(), k.Define())
		id, token := a.send(t, p)
		wantState(t, p.finished(t, p.enqueue(t, k, "beside", queue.JobOptions{}).ID), queue.Succeeded) // by the only worker
		word := queue.Word{Progress: queue.Progress{Done: 3, Total: 4, Stage: "far away"}, Line: "three quarters"}
		if j, err := p.Tell(t.Context(), ada, id, token, word); err != nil || j.Progress != word.Progress || j.State != queue.Running {
			t.Fatalf("told: %+v, %v", j, err)
		}
		j, err := p.Complete(t.Context(), ada, id, token, done)
		if err != nil || j.State != queue.Succeeded || string(j.Result) != `{"Echo":"\"done\" in attempt 1"}` || j.Progress.Done != 4 {
			t.Fatalf("completed: %+v, %v", j, err)
		}
		attempts, err := p.Attempts(t.Context(), []queue.ID{id})
		if err != nil || len(attempts[id]) != 1 || attempts[id][0].FinishedAt.IsZero() || !strings.Contains(fmt.Sprint(attempts[id][0].Log), "three quarters") {
			t.Errorf("attempts %+v, %v", attempts, err)
		}
		seen := brief(p.watch(t, id, new(int64)))
		if want := "1:STATE:QUEUED 2:STATE:RUNNING 3:LOG:RUNNING 4:PROGRESS:RUNNING 5:LOG:RUNNING 6:STATE:SUCCEEDED"; !strings.Contains(seen, want) {
			t.Errorf("seen %s, want %s", seen, want)
		}
		over(t, "a second end", errorOf(p.Complete(t.Context(), ada, id, token, done)))
	})
}

func errorOf(_ *queue.Job, err error) error { return err }

func TestTheWorkerOfAnEarlierAttemptCanNeitherReportNorEndALaterOne(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		a := newAbroad(20*time.Millisecond, time.Hour)
		p := y.start(brisk, a.Define())
		id := p.enqueue(t, a.Kind, "", queue.JobOptions{}).ID
		early := a.next(t)
		a.next(t) // the first has said nothing
		over(t, "a late report", errorOf(p.Tell(t.Context(), ada, id, early, queue.Word{})))
		over(t, "a late end", errorOf(p.Complete(t.Context(), ada, id, early, done)))
		over(t, "a late failure", errorOf(p.GiveUp(t.Context(), ada, id, early, "broken", true)))
		last := a.next(t)
		j := p.finished(t, id)
		wantState(t, j, queue.Failed)
		if j.Attempt != 3 || j.Error.Code != "OUTSIDE_LOST" {
			t.Errorf("failed in attempt %d with %+v", j.Attempt, j.Error)
		}
		over(t, "an end after the end", errorOf(p.Complete(t.Context(), ada, id, last, done)))
		attempts, err := p.Attempts(t.Context(), []queue.ID{id})
		if err != nil || len(attempts[id]) != 3 {
			t.Fatalf("attempts %+v, %v", attempts, err)
		}
		for _, attempt := range attempts[id] {
			if attempt.FinishedAt.IsZero() || attempt.Error == nil || attempt.Error.Code != "OUTSIDE_LOST" {
				t.Errorf("attempt %+v, %+v", attempt, attempt.Error)
			}
		}
	})
}

func TestAWorkerOutsideIsWaitedForAsLongAsItSpeaksAndNoLongerThanAnAttemptMayTake(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		const maySay, longest = time.Second, 2500 * time.Millisecond
		a := newAbroad(maySay, longest)
		p := y.start(brisk, a.Define())
		id, token := a.send(t, p)
		j, err := p.Get(t.Context(), ada, id)
		if err != nil {
			t.Fatal(err)
		}
		speak := time.NewTicker(20 * time.Millisecond)
		defer speak.Stop()
		spoke := time.Duration(0)
		for err == nil {
			<-speak.C
			if _, err = p.Tell(t.Context(), ada, id, token, queue.Word{}); err == nil {
				spoke = time.Since(j.StartedAt)
			}
		}
		over(t, "a word after the longest time", err)
		if spoke < 2*maySay {
			t.Errorf("the worker was given up after %v though it spoke", spoke)
		}
		if next := a.next(t); next == token {
			t.Error("the next attempt has the same token")
		}
	})
}

func TestACancelledJobEndsOutsideToo(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		a := newAbroad(time.Hour, time.Hour)
		handed, held := a.Handle, make(chan struct{})
		a.Handle = func(ctx context.Context, run *queue.Run, in args) (answer, error) {
			_, _ = handed(ctx, run, in)
			if in.Text == "hold" {
				<-held // the address has answered 202 after the job was cancelled
			}
			return answer{}, queue.ErrOutside
		}
		p := y.start(queue.Options{Workers: 2, Sweep: time.Second}, a.Define())
		id, token := a.send(t, p)
		if _, err := p.Cancel(t.Context(), ada, id); err != nil {
			t.Fatal(err)
		}
		over(t, "a word after the cancel", errorOf(p.Tell(t.Context(), ada, id, token, queue.Word{})))
		wantState(t, p.finished(t, id), queue.Cancelled)
		over(t, "an end after the cancel", errorOf(p.Complete(t.Context(), ada, id, token, done)))

		held2 := p.enqueue(t, a.Kind, "hold", queue.JobOptions{}).ID
		a.next(t)
		if _, err := p.Cancel(t.Context(), ada, held2); err != nil {
			t.Fatal(err)
		}
		close(held)
		wantState(t, p.finished(t, held2), queue.Cancelled)
	})
}

func TestAWorkerMayEndTheJobBeforeItsAddressHasAnswered(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		a := newAbroad(time.Hour, time.Hour)
		answered := make(chan struct{})
		a.Handle = func(_ context.Context, run *queue.Run, _ args) (answer, error) {
			a.tokens <- run.Token()
			<-answered
			return answer{}, queue.ErrOutside
		}
		k := echo("echo")
		p := y.start(queue.Options{Workers: 1}, a.Define(), k.Define())
		id := p.enqueue(t, a.Kind, "", queue.JobOptions{}).ID
		token := a.next(t)
		if _, err := p.Complete(t.Context(), ada, id, token, done); err != nil {
			t.Fatal(err)
		}
		close(answered)
		wantState(t, p.finished(t, p.enqueue(t, k, "", queue.JobOptions{}).ID), queue.Succeeded)
		wantState(t, p.finished(t, id), queue.Succeeded)
	})
}

func TestOnlyTheOwnerWithTheTokenOfTheJobMaySpeakForItsWorker(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		a := newAbroad(time.Hour, time.Hour)
		p := y.start(queue.Options{Workers: 1}, a.Define())
		id, token := a.send(t, p)
		_, other := a.send(t, p)
		worker := viewer.Viewer{User: ada.User, Machine: "key_1", Scopes: []viewer.Scope{viewer.WorkJobs}}
		reader := viewer.Viewer{User: ada.User, Machine: "key_2", Scopes: []viewer.Scope{viewer.ReadAccount}}
		number, _, _ := strings.Cut(strings.TrimPrefix(token, "ghw_"), "_")
		for _, c := range []struct {
			name  string
			by    viewer.Viewer
			token string
			want  fault.Code
		}{
			{"nobody", viewer.Viewer{}, token, fault.Unauthenticated},
			{"a stranger", eve, token, fault.NotFound},
			{"an administrator", root, token, fault.NotFound},
			{"a key without the scope", reader, token, fault.Forbidden},
			{"the token of another job", worker, other, fault.TokenInvalid},
			{"no token", worker, "", fault.TokenInvalid},
			{"a token without its hash", worker, "ghw_" + number + "_", fault.TokenInvalid},
			{"a token of the next attempt", worker, strings.Replace(token, "ghw_"+number, "ghw_2", 1), fault.TokenInvalid},
			{"a token in other clothes", worker, strings.TrimPrefix(token, "ghw_"), fault.TokenInvalid},
		} {
			for verb, err := range map[string]error{
				"tell":     errorOf(p.Tell(t.Context(), c.by, id, c.token, queue.Word{})),
				"complete": errorOf(p.Complete(t.Context(), c.by, id, c.token, done)),
				"give up":  errorOf(p.GiveUp(t.Context(), c.by, id, c.token, "no", true)),
			} {
				if !fault.Is(err, c.want) {
					t.Errorf("%s by %s: %v, want %s", verb, c.name, err, c.want)
				}
			}
		}
		if _, err := p.Complete(t.Context(), worker, id, token, done); err != nil {
			t.Errorf("the worker's key is refused: %v", err)
		}
	})
}

func TestTheLogOfAWorkerOutsideIsBounded(t *testing.T) {
	y := newYard(t, services.Postgres(t), services.Redis(t))
	a := newAbroad(time.Hour, time.Hour)
	p := y.start(queue.Options{Workers: 1}, a.Define())
	id, token := a.send(t, p)
	for i := range 230 {
		if _, err := p.Tell(t.Context(), ada, id, token, queue.Word{Line: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	attempts, err := p.Attempts(t.Context(), []queue.ID{id})
	if err != nil || len(attempts[id][0].Log) != 200 {
		t.Errorf("%d lines, %v", len(attempts[id][0].Log), err)
	}
}

// TestAJobOutsideNeedsNoProcessOfOurs lets every worker of the deployment go: the job is no orphan, and
// another server takes the words.
func TestAJobOutsideNeedsNoProcessOfOurs(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		a := newAbroad(time.Hour, time.Hour)
		key := secret.NewKey()
		worker := y.start(queue.Options{Workers: 1, TokenKey: key}, a.Define())
		id, token := a.send(t, worker)
		worker.stop()
		y.do(nil, store.SQL(`DELETE FROM processes`))
		if y.local != nil { // a new process has a new wire
			y.local, y.localBus = transport.Local(transport.Options{}), bus.Local()
		}
		server := y.start(queue.Options{TokenKey: key, Sweep: time.Millisecond}, a.Define())
		swept := server.enqueue(t, a.Kind, "", queue.JobOptions{RunAt: time.Now().Add(50 * time.Millisecond)})
		for j := swept; j.State == queue.Scheduled; j, _ = server.Get(t.Context(), ada, swept.ID) {
			<-time.After(time.Millisecond)
		}
		j, err := server.Complete(t.Context(), ada, id, token, done)
		if err != nil || j.State != queue.Succeeded || j.Attempt != 1 {
			t.Errorf("completed: %+v, %v", j, err)
		}
	})
}

func TestAStepOfAWorkflowMayGoOnOutside(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		a := newAbroad(time.Hour, time.Hour)
		a.Arguments = said("abroad").Arguments
		p := y.start(queue.Options{Workers: 2, Sweep: 100 * time.Millisecond}, a.Define(), said("say").Define(), queue.WorkflowKind.Define())
		abroad := step("abroad", "x")
		abroad.Kind = "abroad"
		w := queue.Workflow{Steps: []queue.Step{abroad, step("next", "x", "abroad")}}
		for _, c := range []struct {
			end  func(whole, id queue.ID, token string) error
			want string
		}{
			{func(_, id queue.ID, token string) error {
				return errorOf(p.Complete(t.Context(), ada, id, token, done))
			}, "abroad:SUCCEEDED next:SUCCEEDED"},
			{func(whole, _ queue.ID, _ string) error { return errorOf(p.Cancel(t.Context(), ada, whole)) }, "abroad:CANCELLED next:SKIPPED"},
		} {
			whole := p.workflow(t, w)
			token := a.next(t)
			id := p.steps(t, whole.ID)[0].JobID
			p.awaitOutside(t, id)
			if err := c.end(whole.ID, id, token); err != nil {
				t.Fatal(err)
			}
			p.finished(t, whole.ID)
			p.wantSteps(t, whole.ID, c.want)
		}
	})
}

func TestAFaultMayAdviseToWaitLongerThanTheKindWould(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("told to wait")
		k.Backoff = func(int) time.Duration { return time.Millisecond }
		k.Handle = func(context.Context, *queue.Run, args) (answer, error) {
			return answer{}, &fault.Fault{Code: fault.Unavailable, Message: "Later.", RetryAfter: time.Hour}
		}
		p := y.start(queue.Options{Workers: 1}, k.Define())
		id := p.enqueue(t, k, "", queue.JobOptions{}).ID
		for {
			j, err := p.Get(t.Context(), ada, id)
			if err != nil {
				t.Fatal(err)
			}
			if j.State == queue.Retrying {
				if wait := j.RunAt.Sub(j.StartedAt); wait < time.Hour {
					t.Errorf("the next attempt comes after %v, the fault says an hour", wait)
				}
				return
			}
			<-time.After(time.Millisecond)
		}
	})
}

// TestEveryLifeOfAJobOutsideIsThatOfTheModel plays workers, owners and accidents in any order. A worker may show any
// token that was given out for the job, however old.
func TestEveryLifeOfAJobOutsideIsThatOfTheModel(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		a := newAbroad(time.Hour, time.Hour)
		p := y.start(queue.Options{Workers: 2, Sweep: 5 * time.Millisecond}, a.Define())
		rapid.Check(t, func(r *rapid.T) { newLife(t, r, y, p, a).play() })
	})
}

// life is a job and what must be true of it.
type life struct {
	t      *testing.T
	r      *rapid.T
	y      *yard
	p      *process
	a      *abroad
	id     queue.ID
	tokens []string    // all that were given out; the last one is good while state is RUNNING
	state  queue.State // RUNNING: with a worker outside
	left   int         // attempts
}

func newLife(t *testing.T, r *rapid.T, y *yard, p *process, a *abroad) *life {
	l := &life{t: t, r: r, y: y, p: p, a: a, left: a.MaxAttempts}
	l.id = p.enqueue(t, a.Kind, fmt.Sprint(rand.Int64()), queue.JobOptions{}).ID
	l.begin()
	return l
}

// begin is the start of an attempt.
func (l *life) begin() {
	l.tokens, l.state = append(l.tokens, l.a.next(l.t)), queue.Running
	l.left--
}

// lost is the end of an attempt that failed and may be followed by another.
func (l *life) lost() {
	if l.left > 0 {
		l.begin()
		return
	}
	l.state = queue.Failed
}

func (l *life) play() {
	ctx := l.t.Context()
	for range rapid.IntRange(1, 12).Draw(l.r, "steps") {
		held := rapid.IntRange(0, len(l.tokens)-1).Draw(l.r, "token")
		good := l.state == queue.Running && held == len(l.tokens)-1
		switch step := rapid.SampledFrom([]string{"tell", "complete", "give up", "give up for good", "cancel", "retry", "silence"}).Draw(l.r, "step"); step {
		case "tell":
			l.wants(step, good, errorOf(l.p.Tell(ctx, ada, l.id, l.tokens[held], queue.Word{Line: "here"})))
		case "complete":
			if l.wants(step, good, errorOf(l.p.Complete(ctx, ada, l.id, l.tokens[held], done))) {
				l.state = queue.Succeeded
			}
		case "give up":
			if l.wants(step, good, errorOf(l.p.GiveUp(ctx, ada, l.id, l.tokens[held], "broken", true))) {
				l.lost()
			}
		case "give up for good":
			if l.wants(step, good, errorOf(l.p.GiveUp(ctx, ada, l.id, l.tokens[held], "broken", false))) {
				l.state = queue.Failed
			}
		case "cancel":
			if _, err := l.p.Cancel(ctx, ada, l.id); (err == nil) != (l.state == queue.Running) {
				l.r.Fatalf("cancel of a job that is %s: %v", l.state, err)
			} else if err == nil {
				l.state = queue.Cancelled
				l.p.finished(l.t, l.id)
			}
		case "retry":
			ended := l.state == queue.Failed || l.state == queue.Cancelled
			if _, err := l.p.Retry(ctx, ada, l.id); (err == nil) != ended {
				l.r.Fatalf("retry of a job that is %s: %v", l.state, err)
			} else if err == nil {
				l.left = l.a.MaxAttempts
				l.begin()
			}
		case "silence":
			if l.state == queue.Running {
				l.p.awaitOutside(l.t, l.id)
				l.y.do(l.id, silence)
				l.lost()
			}
		}
		l.check()
	}
	if l.state == queue.Running { // and all is well with what is left
		l.wants("complete", true, errorOf(l.p.Complete(ctx, ada, l.id, l.tokens[len(l.tokens)-1], done)))
	}
}

// wants checks that what a worker said was taken exactly when it was its to say, and returns whether it was.
func (l *life) wants(step string, good bool, err error) bool {
	if good && err != nil || !good && !fault.Is(err, fault.AttemptOver) {
		l.r.Fatalf("%s, while the job is %s and the token is good: %t: %v", step, l.state, good, err)
	}
	return good
}

func (l *life) check() {
	if l.state.Final() {
		l.p.finished(l.t, l.id)
	}
	j, err := l.p.Get(l.t.Context(), ada, l.id)
	if err != nil || j.State != l.state || j.Attempt != l.a.MaxAttempts-l.left {
		l.r.Fatalf("the job is %+v, %v, want %s in attempt %d", j, err, l.state, l.a.MaxAttempts-l.left)
	}
	if succeeded := j.Result != nil; succeeded != (l.state == queue.Succeeded) {
		l.r.Fatalf("a job that is %s has the result %s", l.state, j.Result)
	}
	if l.state == queue.Failed && j.Error == nil {
		l.r.Fatal(errors.New("a failed job has no error"))
	}
}
