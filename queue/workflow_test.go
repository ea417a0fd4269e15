package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/queue"
	"gatehouse/test/services"
)

// said is a kind of step that answers with its text, or does what the text says.
func said(name string) queue.Kind[args, answer] {
	return queue.Kind[args, answer]{
		Name: name, MaxAttempts: 1,
		Arguments: func(input json.RawMessage) (a args, err error) {
			if err := json.Unmarshal(input, &a); err != nil || a.Text == "" {
				return a, fault.New(fault.Required, "text", "Give a text.")
			}
			return a, nil
		},
		Handle: func(ctx context.Context, run *queue.Run, a args) (answer, error) {
			switch a.Text {
			case "fail":
				return answer{}, fault.New(fault.UnsupportedFile, "", "Not today.")
			case "wait":
				<-ctx.Done()
				return answer{}, context.Cause(ctx)
			}
			return answer{a.Text}, nil
		},
	}
}

// step is a step that says text, after others.
func step(name, text string, needs ...string) queue.Step {
	return queue.Step{Name: name, Kind: "say", Arguments: json.RawMessage(fmt.Sprintf(`{"text":%q}`, text)), Needs: needs}
}

func always(s queue.Step) queue.Step { s.When = queue.AfterEnd; return s }

func optional(s queue.Step) queue.Step { s.Optional = true; return s }

func (p *process) workflow(t testing.TB, w queue.Workflow) *queue.Job {
	t.Helper()
	if w.OnFailure == "" {
		w.OnFailure = queue.CancelRest
	}
	j, err := p.StartWorkflow(t.Context(), ada, w, queue.JobOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (p *process) steps(t testing.TB, id queue.ID) []queue.StepView {
	t.Helper()
	all, err := p.Steps(t.Context(), []queue.ID{id})
	if err != nil {
		t.Fatal(err)
	}
	return all[id]
}

// told returns how the steps stand, in a word each.
func told(steps []queue.StepView) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "%s:%s ", s.Name, s.State)
	}
	return strings.TrimSpace(b.String())
}

func (p *process) wantSteps(t testing.TB, id queue.ID, want string) {
	t.Helper()
	if got := told(p.steps(t, id)); got != want {
		t.Errorf("the steps stand as\n%s, want\n%s", got, want)
	}
}

// awaitSteps waits until the steps stand as want says.
func (p *process) awaitSteps(t testing.TB, id queue.ID, want string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); told(p.steps(t, id)) != want; <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the steps stand as\n%s, want\n%s", told(p.steps(t, id)), want)
		}
	}
}

func TestAStepGetsWhatTheStepsBeforeItHaveBrought(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		p := y.start(queue.Options{Workers: 4}, said("say").Define(), queue.WorkflowKind.Define())
		left, right := step("left", "hello"), step("right", "world")
		join := queue.Step{Name: "join", Kind: "say", Arguments: json.RawMessage(`{"text": {"$from": "left", "pointer": "/Echo"}}`), Needs: []string{"right"}}
		last := queue.Step{Name: "last", Kind: "say", Arguments: json.RawMessage(`{"text": {"$from": "join", "pointer": "/Echo"}}`)}
		j := p.finished(t, p.workflow(t, queue.Workflow{Steps: []queue.Step{last, join, left, right}}).ID)
		wantState(t, j, queue.Succeeded)
		if string(j.Result) != `{"steps":4,"succeeded":4,"failed":0,"skipped":0}` || j.Progress.Done != 4 || j.Progress.Total != 4 {
			t.Errorf("result %s, progress %+v", j.Result, j.Progress)
		}
		p.wantSteps(t, j.ID, "last:SUCCEEDED join:SUCCEEDED left:SUCCEEDED right:SUCCEEDED")
		steps := p.steps(t, j.ID)
		done, err := p.Get(t.Context(), ada, steps[0].JobID)
		if err != nil || string(done.Result) != `{"Echo":"hello"}` || done.Parent != j.ID {
			t.Errorf("the last step is %+v, %v", done, err)
		}
		joined, _ := p.Get(t.Context(), ada, steps[1].JobID)
		for _, need := range steps[2:] {
			if before, _ := p.Get(t.Context(), ada, need.JobID); before.FinishedAt.After(joined.CreatedAt) {
				t.Errorf("join began at %v, before %s ended at %v", joined.CreatedAt, need.Name, before.FinishedAt)
			}
		}
	})
}

func TestFailureSpreadsByRule(t *testing.T) {
	rows := []struct {
		name  string
		w     queue.Workflow
		ends  queue.State
		steps string
	}{
		{"what waits for a failed step is skipped, and what runs is cancelled", queue.Workflow{Steps: []queue.Step{
			step("bad", "fail"), step("long", "wait"), step("next", "x", "bad"), step("far", "x", "next"),
		}}, queue.Failed, "bad:FAILED long:CANCELLED next:SKIPPED far:SKIPPED"},
		{"other branches are finished where the rule says so", queue.Workflow{OnFailure: queue.FinishBranches, Steps: []queue.Step{
			step("bad", "fail"), step("good", "x"), step("after-good", "x", "good"), step("next", "x", "bad"), step("both", "x", "bad", "good"),
		}}, queue.Failed, "bad:FAILED good:SUCCEEDED after-good:SUCCEEDED next:SKIPPED both:SKIPPED"},
		{"a step that follows the end of others begins also after a failure", queue.Workflow{Steps: []queue.Step{
			step("bad", "fail"), step("next", "x", "bad"), always(step("tell", "x", "bad", "next")), step("after", "x", "tell"),
		}}, queue.Failed, "bad:FAILED next:SKIPPED tell:SUCCEEDED after:SKIPPED"},
		{"an optional step may fail", queue.Workflow{Steps: []queue.Step{
			optional(step("bad", "fail")), step("good", "x"), step("next", "x", "bad"), always(step("join", "x", "bad", "good")),
		}}, queue.Succeeded, "bad:FAILED good:SUCCEEDED next:SKIPPED join:SUCCEEDED"},
		{"a step that cannot be started has failed", queue.Workflow{Steps: []queue.Step{
			step("a", "x"), {Name: "b", Kind: "say", Arguments: json.RawMessage(`{"text": {"$from": "a", "pointer": "/nothing"}}`)}, step("c", "x", "b"),
		}}, queue.Failed, "a:SUCCEEDED b:FAILED c:SKIPPED"},
	}
	eachYard(t, func(t *testing.T, y *yard) {
		p := y.start(queue.Options{Workers: 4}, said("say").Define(), queue.WorkflowKind.Define())
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				j := p.finished(t, p.workflow(t, row.w).ID)
				wantState(t, j, row.ends)
				p.wantSteps(t, j.ID, row.steps)
				if row.ends == queue.Failed && (j.Error == nil || j.Error.Code != "STEP_FAILED") {
					t.Errorf("the workflow's error is %+v", j.Error)
				}
			})
		}
	})
}

func TestACancelledWorkflowEndsWithItsSteps(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		p := y.start(queue.Options{Workers: 4}, said("say").Define(), queue.WorkflowKind.Define())
		j := p.workflow(t, queue.Workflow{Steps: []queue.Step{step("a", "x"), step("long", "wait", "a"), step("next", "x", "long"), always(step("tell", "x", "long"))}})
		p.awaitSteps(t, j.ID, "a:SUCCEEDED long:RUNNING next:WAITING tell:WAITING")
		if _, err := p.Cancel(t.Context(), eve, j.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("a stranger cancels it: %v", err)
		}
		if _, err := p.Cancel(t.Context(), ada, j.ID); err != nil {
			t.Fatal(err)
		}
		wantState(t, p.finished(t, j.ID), queue.Cancelled)
		p.wantSteps(t, j.ID, "a:SUCCEEDED long:CANCELLED next:SKIPPED tell:SKIPPED")
	})
}

func TestAWorkflowThatIsStartedAnewDoesNotRepeatWhatHasSucceeded(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		p := y.start(queue.Options{Workers: 4}, said("say").Define(), queue.WorkflowKind.Define())
		j := p.finished(t, p.workflow(t, queue.Workflow{Steps: []queue.Step{step("a", "x"), step("bad", "fail", "a"), step("next", "x", "bad")}}).ID)
		wantState(t, j, queue.Failed)
		before := p.steps(t, j.ID)
		if _, err := p.Retry(t.Context(), ada, before[1].JobID); !fault.Is(err, fault.WrongState) {
			t.Errorf("a step alone is started anew: %v", err)
		}
		if _, err := p.Retry(t.Context(), ada, j.ID); err != nil {
			t.Fatal(err)
		}
		wantState(t, p.finished(t, j.ID), queue.Failed)
		p.wantSteps(t, j.ID, "a:SUCCEEDED bad:FAILED next:SKIPPED")
		after := p.steps(t, j.ID)
		if after[0].JobID != before[0].JobID || after[1].JobID == before[1].JobID {
			t.Errorf("the jobs were %+v and are %+v", before, after)
		}
	})
}

func TestWhatACrashHasLeftOfAWorkflowTheSweeperTakesUp(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		p := y.start(queue.Options{Workers: 4, Sweep: 10 * time.Millisecond}, said("say").Define(), queue.WorkflowKind.Define())
		w := queue.Workflow{OnFailure: queue.FinishBranches, Steps: []queue.Step{step("long", "wait"), always(step("next", "x", "long"))}}
		j := p.workflow(t, w)
		p.awaitSteps(t, j.ID, "long:RUNNING next:WAITING")
		y.do(p.steps(t, j.ID)[0].JobID, endSilently) // as by a server that then died
		p.awaitSteps(t, j.ID, "long:CANCELLED next:SUCCEEDED")
		wantState(t, p.finished(t, j.ID), queue.Failed)

		left := p.workflow(t, w)
		p.awaitSteps(t, left.ID, "long:RUNNING next:WAITING")
		y.do(left.ID, endSilently)
		p.awaitSteps(t, left.ID, "long:CANCELLED next:WAITING")
	})
}

func TestAFileThatAStepHasMadeIsTheInputOfAnotherAndIsDeletedOnce(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		maker := said("make")
		maker.Handle = func(ctx context.Context, run *queue.Run, a args) (answer, error) {
			w, err := run.Create(ctx, "out.txt", "text/plain")
			if err != nil {
				return answer{}, err
			}
			_, err = io.WriteString(w, a.Text)
			return answer{}, err
		}
		reader := queue.Kind[args, answer]{
			Name: "read", File: "file", NeedsFile: true,
			Arguments: func(input json.RawMessage) (a args, err error) {
				var given struct {
					File struct{ Name, MediaType string }
				}
				err = json.Unmarshal(input, &given)
				return args{given.File.Name + " " + given.File.MediaType}, err
			},
			Handle: func(ctx context.Context, run *queue.Run, a args) (answer, error) {
				inputs, err := run.Inputs(ctx)
				if err != nil {
					return answer{}, err
				}
				content, err := run.Open(ctx, inputs[0])
				if err != nil {
					return answer{}, err
				}
				defer content.Close()
				text, err := io.ReadAll(content)
				return answer{a.Text + " " + string(text)}, err
			},
		}
		p := y.start(queue.Options{Workers: 2}, maker.Define(), reader.Define(), queue.WorkflowKind.Define())
		j := p.finished(t, p.workflow(t, queue.Workflow{Steps: []queue.Step{
			{Name: "make", Kind: "make", Arguments: json.RawMessage(`{"text":"content"}`)},
			{Name: "read", Kind: "read", Arguments: json.RawMessage(`{"file":{"$artifact":"make","name":"out.txt"}}`)},
			{Name: "only", Kind: "read", Arguments: json.RawMessage(`{"file":{"$artifact":"make"}}`)},
		}}).ID)
		wantState(t, j, queue.Succeeded)
		for _, s := range p.steps(t, j.ID)[1:] {
			got, err := p.Get(t.Context(), ada, s.JobID)
			if err != nil || string(got.Result) != `{"Echo":"out.txt text/plain content"}` {
				t.Errorf("step %s brought %s, %v", s.Name, got.Result, err)
			}
			if err := p.Delete(t.Context(), ada, s.JobID); !fault.Is(err, fault.WrongState) {
				t.Errorf("a step alone is deleted: %v", err)
			}
		}
		if err := p.Delete(t.Context(), ada, j.ID); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"jobs", "job_files", "workflow_steps", "job_events"} {
			if n, err := store.One(t.Context(), y.db, store.SQL("SELECT count(*) FROM "+table), store.Value[int]); n != 0 || err != nil {
				t.Errorf("%d rows are left in %s, %v", n, table, err)
			}
		}
	})
}

func TestAWorkflowThatCannotBeIsRefusedWithItsPlace(t *testing.T) {
	y := newYard(t, "sqlite:"+t.TempDir()+"/q.db", "")
	sealed := queue.Kind[args, answer]{Name: "sealed", Handle: echo("").Handle}
	p := y.start(queue.Options{}, said("say").Define(), sealed.Define(), queue.WorkflowKind.Define())
	refer := func(reference string) queue.Workflow {
		return queue.Workflow{Steps: []queue.Step{step("a", "x"), {Name: "b", Kind: "say", Arguments: json.RawMessage(`{"text":` + reference + `}`)}}}
	}
	for name, row := range map[string]struct {
		w     queue.Workflow
		field string
	}{
		"no steps":                     {queue.Workflow{}, "steps"},
		"too many":                     {queue.Workflow{Steps: make([]queue.Step, 101)}, "steps"},
		"a rule that is none":          {queue.Workflow{OnFailure: "HOPE", Steps: []queue.Step{step("a", "x")}}, "onFailure"},
		"a step without a name":        {queue.Workflow{Steps: []queue.Step{step("a", "x"), step("", "x")}}, "steps.1.name"},
		"a name with a space":          {queue.Workflow{Steps: []queue.Step{step("a b", "x")}}, "steps.0.name"},
		"one name twice":               {queue.Workflow{Steps: []queue.Step{step("a", "x"), step("a", "x")}}, "steps.1.name"},
		"a need that is no step":       {queue.Workflow{Steps: []queue.Step{step("a", "x", "b")}}, "steps.0.needs"},
		"a circle":                     {queue.Workflow{Steps: []queue.Step{step("a", "x"), step("b", "x", "c"), step("c", "x", "b")}}, "steps.1.needs"},
		"a kind that is none":          {queue.Workflow{Steps: []queue.Step{{Name: "a", Kind: "nothing"}}}, "steps.0.kind"},
		"a kind of its mutation alone": {queue.Workflow{Steps: []queue.Step{{Name: "a", Kind: "sealed"}}}, "steps.0.kind"},
		"a workflow in a workflow":     {queue.Workflow{Steps: []queue.Step{{Name: "a", Kind: "workflow"}}}, "steps.0.kind"},
		"bad arguments":                {queue.Workflow{Steps: []queue.Step{step("a", "")}}, "steps.0.arguments.text"},
		"arguments that are a list":    {queue.Workflow{Steps: []queue.Step{{Name: "a", Kind: "say", Arguments: json.RawMessage(`[]`)}}}, "steps.0.arguments"},
		"large arguments":              {queue.Workflow{Steps: []queue.Step{step("a", strings.Repeat("x", 64<<10))}}, "steps.0.arguments"},
		"too many attempts":            {queue.Workflow{Steps: []queue.Step{{Name: "a", Kind: "say", Arguments: json.RawMessage(`{"text":"x"}`), MaxAttempts: 26}}}, "steps.0.maxAttempts"},
		"a reference to nothing":       {refer(`{"$from":"c"}`), "steps.1.needs"},
		"a reference to itself":        {refer(`{"$from":"b"}`), "steps.1.needs"},
		"a reference with more":        {refer(`{"$from":"a","or":"b"}`), "steps.1.arguments.text"},
		"a pointer without a slash":    {refer(`{"$from":"a","pointer":"Echo"}`), "steps.1.arguments.text"},
		"a file for a kind without":    {refer(`{"$artifact":"a"}`), "steps.1.arguments.text"},
	} {
		if row.w.OnFailure == "" {
			row.w.OnFailure = queue.CancelRest
		}
		_, err := p.StartWorkflow(t.Context(), ada, row.w, queue.JobOptions{})
		f, ok := fault.As(err)
		if !ok || strings.Join(f.Field, ".") != row.field {
			t.Errorf("%s: %v at %v, want it at %s", name, err, f, row.field)
		}
	}
}

func TestEachStepOfManyWorkflowsIsDoneOnceByManyServers(t *testing.T) {
	y := newYard(t, services.Postgres(t), services.Redis(t))
	var (
		mu   sync.Mutex
		runs = map[string]int{}
	)
	k := said("say")
	k.Handle = func(_ context.Context, run *queue.Run, a args) (answer, error) {
		mu.Lock()
		defer mu.Unlock()
		runs[string(run.Job.Parent)+a.Text]++
		return answer{a.Text}, nil
	}
	server := y.start(queue.Options{}, k.Define(), queue.WorkflowKind.Define())
	y.start(queue.Options{Workers: 8}, k.Define(), queue.WorkflowKind.Define())
	y.start(queue.Options{Workers: 8}, k.Define(), queue.WorkflowKind.Define())
	steps := []queue.Step{step("first", "first")}
	names := []string{"first"}
	for i := range 8 {
		name := fmt.Sprint("middle-", i)
		steps, names = append(steps, step(name, name, "first")), append(names, name)
	}
	steps = append(steps, step("last", "last", names...))
	var ids []queue.ID
	for range 20 {
		ids = append(ids, server.workflow(t, queue.Workflow{Steps: steps}).ID)
	}
	for _, id := range ids {
		wantState(t, server.finished(t, id), queue.Succeeded)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(runs) != len(ids)*len(steps) {
		t.Errorf("%d steps were done, want %d", len(runs), len(ids)*len(steps))
	}
	for name, n := range runs {
		if n != 1 {
			t.Errorf("%s was done %d times", name, n)
		}
	}
}

func TestOfAScheduledWorkflowEachMomentStartsOne(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		y.people()
		p := y.start(queue.Options{Workers: 2}, said("say").Define(), queue.WorkflowKind.Define())
		s := queue.Schedule{
			Name: "nightly", Kind: "workflow", Arguments: json.RawMessage(`{"steps":[{"name":"a","kind":"say","arguments":{"text":"x"}},{"name":"b","kind":"say","arguments":{"text":{"$from":"a","pointer":"/Echo"}}}]}`),
			Cron: "@yearly", TimeZone: "UTC", CatchUp: queue.RunLast, CatchUpMost: 1, Overlap: queue.SkipMoment,
		}
		made, err := p.CreateSchedule(t.Context(), ada, s)
		if err != nil {
			t.Fatal(err)
		}
		y.soon(made, -time.Second)
		y.run(moveSchedule, int64(0), made.ID)
		var last queue.ID
		for last == "" {
			found, err := p.SchedulesByIDs(t.Context(), ada, []queue.ScheduleID{made.ID})
			if err != nil {
				t.Fatal(err)
			}
			last = found[made.ID].LastJob
		}
		wantState(t, p.finished(t, last), queue.Succeeded)
		p.wantSteps(t, last, "a:SUCCEEDED b:SUCCEEDED")
		s.Arguments = json.RawMessage(`{"steps":[{"name":"a","kind":"nothing"}]}`)
		_, err = p.CreateSchedule(t.Context(), ada, s)
		if f, ok := fault.As(err); !ok || !slices.Equal(f.Field, []string{"arguments", "steps", "0", "kind"}) {
			t.Errorf("a schedule of a workflow that cannot be: %v", err)
		}
	})
}

func TestACancelThatComesWhileAWorkflowBeginsEndsIt(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		p := y.start(queue.Options{Workers: 4, Sweep: 20 * time.Millisecond}, said("say").Define(), queue.WorkflowKind.Define())
		for range 20 {
			j := p.workflow(t, queue.Workflow{Steps: []queue.Step{step("a", "wait"), step("b", "wait")}})
			if _, err := p.Cancel(t.Context(), ada, j.ID); err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			wantState(t, p.finished(t, j.ID), queue.Cancelled)
			for _, s := range p.steps(t, j.ID) {
				if s.State == queue.StepRunning {
					t.Errorf("step %s still runs", s.Name)
				}
			}
		}
	})
}
