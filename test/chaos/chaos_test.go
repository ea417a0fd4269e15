package main

import (
	"math/rand/v2"
	"testing"

	"gatehouse/test/services"
)

func TestNoJobIsLostOrDoneTwiceWhateverFallsOver(t *testing.T) {
	if err := services.ReadSources(); err != nil {
		t.Fatal(err)
	}
	o := short()
	o.seed = rand.Uint64()
	r := run(t, o)
	r.print(t.Output())
	if err := r.verdict(); err != nil {
		t.Error(err)
	}
	if r.watched == 0 || r.cuts == 0 || len(r.killed) == 0 || r.workerLost == 0 || r.dropped == 0 {
		t.Error("the mishaps met nothing: the test shows nothing")
	}
}

func TestWhatAWatcherWasNotToldIsCounted(t *testing.T) {
	state, progress := func(n int64) stored { return stored{sequence: n} }, func(n int64) stored { return stored{n, true} }
	for _, c := range []struct {
		name                     string
		seen                     []int64
		events                   []stored
		missing, twice, disorder int
	}{
		{"all", []int64{1, 2, 3}, []stored{state(1), progress(2), state(3)}, 0, 0, 0},
		{"one is missing", []int64{1, 3}, []stored{state(1), state(2), state(3)}, 1, 0, 0},
		{"nothing was told", nil, []stored{state(1), state(2)}, 2, 0, 0},
		{"one came twice", []int64{1, 1, 2}, []stored{state(1), state(2)}, 0, 1, 0},
		{"two are swapped", []int64{2, 1}, []stored{state(1), state(2)}, 0, 0, 1},
		{"progress of a short job is not left out", []int64{1, 3}, []stored{state(1), progress(2), progress(3)}, 1, 0, 0},
	} {
		missing, twice, disorder := compare(c.seen, c.events)
		if missing != c.missing || twice != c.twice || disorder != c.disorder {
			t.Errorf("%s: got %d missing, %d twice, %d out of order, want %d, %d, %d", c.name, missing, twice, disorder, c.missing, c.twice, c.disorder)
		}
	}
}
