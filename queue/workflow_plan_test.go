package queue

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// world plays a workflow to its end: what is begun ends some time, in any order and any way.
type world struct {
	*Workflow
	random    *rand.Rand
	states    []StepState
	cancelled bool
}

// act does a plan and lets one thing happen.
func (w *world) act(p plan) {
	for _, i := range p.begin {
		w.states[i] = StepRunning
	}
	for _, i := range p.cancel {
		w.states[i] = StepCancelled
	}
	if w.random.IntN(40) == 0 {
		w.cancelled = true
	}
	var running []int
	for i, s := range w.states {
		if s == StepRunning {
			running = append(running, i)
		}
	}
	if len(running) > 0 {
		ways := []StepState{StepSucceeded, StepSucceeded, StepSucceeded, StepFailed, StepCancelled}
		w.states[running[w.random.IntN(len(running))]] = ways[w.random.IntN(len(ways))]
	}
}

func anyWorkflow(random *rand.Rand) *Workflow {
	w := &Workflow{OnFailure: CancelRest}
	if random.IntN(2) == 0 {
		w.OnFailure = FinishBranches
	}
	for i := range 1 + random.IntN(12) {
		s := Step{Name: fmt.Sprint("s", i), When: AfterSuccess, Optional: random.IntN(5) == 0}
		if random.IntN(4) == 0 {
			s.When = AfterEnd
		}
		for j := range i {
			if random.IntN(3) == 0 {
				s.Needs = append(s.Needs, fmt.Sprint("s", j))
			}
		}
		w.Steps = append(w.Steps, s)
	}
	random.Shuffle(len(w.Steps), func(i, j int) { w.Steps[i], w.Steps[j] = w.Steps[j], w.Steps[i] })
	return w
}

func TestAnyWorkflowComesToItsEndAndBeginsNoStepTooSoon(t *testing.T) {
	for seed := range uint64(20_000) {
		random := rand.New(rand.NewPCG(seed, 0))
		w := &world{Workflow: anyWorkflow(random), random: random}
		if err := w.play(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// play plays the workflow and returns what is wrong with it.
func (w *world) play() error {
	w.states = make([]StepState, len(w.Steps))
	for i := range w.states {
		w.states[i] = StepWaiting
	}
	for turn := 0; ; turn++ {
		if turn > 10*len(w.Steps)+50 {
			return fmt.Errorf("%+v comes to no end: %v", w.Workflow, w.states)
		}
		before := slices.Clone(w.states)
		p := w.plan(w.states, w.cancelled)
		if !slices.Equal(before, w.states) {
			return fmt.Errorf("a plan has changed what it was given")
		}
		for _, i := range p.skip {
			w.states[i] = StepSkipped
		}
		for _, i := range p.begin {
			if err := w.mayBegin(i); err != nil {
				return err
			}
		}
		if p.end != "" {
			return w.endsAs(p.end)
		}
		w.act(p)
	}
}

func (w *world) mayBegin(i int) error {
	s := w.Steps[i]
	if w.states[i] != StepWaiting || w.cancelled {
		return fmt.Errorf("step %s begins, %s, in %+v", s.Name, w.states[i], w.Workflow)
	}
	for j, need := range w.Steps {
		if !slices.Contains(s.Needs, need.Name) {
			continue
		}
		if w.states[j] == StepWaiting || w.states[j] == StepRunning || s.When == AfterSuccess && w.states[j] != StepSucceeded {
			return fmt.Errorf("step %s begins while %s is %s, in %+v", s.Name, need.Name, w.states[j], w.Workflow)
		}
	}
	return nil
}

func (w *world) endsAs(end State) error {
	bad, good := false, true
	for i, s := range w.states {
		switch {
		case s == StepWaiting || s == StepRunning:
			return fmt.Errorf("it ends while %s is %s", w.Steps[i].Name, s)
		case (s == StepFailed || s == StepCancelled) && !w.Steps[i].Optional:
			bad = true
		case s != StepSucceeded:
			good = false
		}
	}
	if end == Succeeded && bad || end == Failed && !bad || end != Succeeded && good && !bad && !w.cancelled {
		return fmt.Errorf("it ends as %s with %v in %+v", end, w.states, w.Workflow)
	}
	return nil
}

func TestAPointerFindsWhatRFC6901Says(t *testing.T) {
	const document = `{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}`
	for pointer, want := range map[string]string{
		"/foo/0": "bar", "/foo/1": "baz", "/": "0", "/a~1b": "1", "/c%d": "2", "/e^f": "3", "/g|h": "4", "/i\\j": "5", "/k\"l": "6", "/ ": "7", "/m~0n": "8",
	} {
		got, err := pointed([]byte(document), pointer)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q finds %v, %v; want %s", pointer, got, err, want)
		}
	}
	for _, pointer := range []string{"/foo/2", "/foo/-", "/foo/01", "/foo/bar", "/nothing", "/foo/0/x"} {
		if got, err := pointed([]byte(document), pointer); err == nil {
			t.Errorf("%q finds %v", pointer, got)
		}
	}
}

func FuzzReferences(f *testing.F) {
	f.Add(`{"text": {"$from": "a", "pointer": "/x/0"}, "more": [{"$artifact": "b"}]}`)
	f.Add(`{"a": {"$from": 5}}`)
	f.Fuzz(func(t *testing.T, arguments string) {
		found, err := referencesIn([]byte(arguments))
		if err != nil {
			return
		}
		again, err := replaced([]byte(arguments), func(r reference) (any, error) { return r.step, nil })
		if err != nil {
			t.Fatalf("references are read and not replaced: %v", err)
		}
		if left, err := referencesIn(again); err != nil || len(left) > 0 {
			t.Fatalf("of %d references %d are left, %v", len(found), len(left), err)
		}
	})
}
