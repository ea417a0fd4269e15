package queue

import "slices"

// plan is what is to be done for a workflow, by the numbers of its steps.
type plan struct {
	begin  []int
	skip   []int
	cancel []int // steps that run
	end    State // what the workflow ends as; "": it goes on
	ended  int   // how many steps have, those of skip included
}

// plan decides what is to be done when the steps stand as states says. It decides the same again until that
// is done.
func (w *Workflow) plan(states []StepState, cancelled bool) plan {
	var p plan
	states = slices.Clone(states)
	failed := w.failed(states)
	for again := true; again; {
		again = false
		for i := range w.Steps {
			if states[i] == StepWaiting && w.skips(i, states, failed, cancelled) {
				states[i], again = StepSkipped, true
				p.skip = append(p.skip, i)
			}
		}
	}
	for i, s := range w.Steps {
		switch {
		case states[i].ended():
			p.ended++
		case states[i] == StepRunning && (cancelled || failed && w.OnFailure == CancelRest && s.When != AfterEnd):
			p.cancel = append(p.cancel, i)
		case states[i] == StepWaiting && w.ready(i, states):
			p.begin = append(p.begin, i)
		}
	}
	if p.ended == len(w.Steps) {
		p.end = endOf(failed, cancelled)
	}
	return p
}

func endOf(failed, cancelled bool) State {
	switch {
	case cancelled:
		return Cancelled
	case failed:
		return Failed
	}
	return Succeeded
}

// failed reports whether a step has ended badly without which the workflow cannot succeed.
func (w *Workflow) failed(states []StepState) bool {
	for i, s := range w.Steps {
		if !s.Optional && (states[i] == StepFailed || states[i] == StepCancelled) {
			return true
		}
	}
	return false
}

// skips reports whether the step, which waits, will never begin.
func (w *Workflow) skips(i int, states []StepState, failed, cancelled bool) bool {
	s := &w.Steps[i]
	if cancelled {
		return true
	}
	if s.When == AfterEnd {
		return false
	}
	return failed && w.OnFailure == CancelRest ||
		w.anyNeed(s, states, func(need StepState) bool { return need.ended() && need != StepSucceeded })
}

// ready reports whether all that the step needs has ended.
func (w *Workflow) ready(i int, states []StepState) bool {
	return !w.anyNeed(&w.Steps[i], states, func(need StepState) bool { return !need.ended() })
}

func (w *Workflow) anyNeed(s *Step, states []StepState, is func(StepState) bool) bool {
	for i := range w.Steps {
		if slices.Contains(s.Needs, w.Steps[i].Name) && is(states[i]) {
			return true
		}
	}
	return false
}
