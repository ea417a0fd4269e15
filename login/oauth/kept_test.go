package oauth

import (
	"context"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestKeptValueIsNeitherTooOldNorAskedForTooOften walks at random through time, failures and callers.
func TestKeptValueIsNeitherTooOldNorAskedForTooOften(t *testing.T) {
	down := errors.New("down")
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		var failing bool
		var loads, lastGood []time.Time // lastGood[i]: when value i was loaded
		k := &kept[int]{now: func() time.Time { return now }, load: func(context.Context) (int, error) {
			loads = append(loads, now)
			if failing {
				return 0, down
			}
			lastGood = append(lastGood, now)
			return len(lastGood) - 1, nil
		}}
		failuresInARow := 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.OneOf(rapid.Int64Range(0, 5), rapid.Int64Range(0, 2*24*3600)).Draw(t, "seconds")) * time.Second)
			failing = rapid.Bool().Draw(t, "failing")
			before := len(loads)
			var value int
			var err error
			if rapid.Bool().Draw(t, "renew") {
				var ok bool
				if value, ok = k.renew(t.Context()); !ok {
					err = down
				}
			} else {
				value, err = k.get(t.Context())
			}
			if err == nil && now.Sub(lastGood[value]) >= staleFor {
				t.Fatalf("served a value that is %v old", now.Sub(lastGood[value]))
			}
			if err == nil && value != len(lastGood)-1 {
				t.Fatalf("served value %d though %d is newer", value, len(lastGood)-1)
			}
			tried := len(loads) - before
			if tried > 1 {
				t.Fatalf("one call loaded %d times", tried)
			}
			if tried == 0 {
				continue
			}
			if n := len(loads); n > 1 && failuresInARow > 0 {
				pause := min(firstPause<<min(failuresInARow-1, 6), longestRest)
				if gap := loads[n-1].Sub(loads[n-2]); gap < pause {
					t.Fatalf("tried again %v after failure %d, want %v", gap, failuresInARow, pause)
				}
			}
			if failing {
				failuresInARow++
			} else {
				failuresInARow = 0
			}
		}
	})
}
