package limit_test

import (
	"fmt"
	"testing"
	"time"

	"gatehouse/internal/limit"
	"gatehouse/test/services"
)

// granted returns how many of n requests for one unit pass.
func granted(t testing.TB, l *limit.Limiter, rule limit.Rule, subject string, n int) (passed int) {
	t.Helper()
	for range n {
		if decide(t, l, limit.Request{Rule: rule, Subject: subject, Cost: 1}).Allowed {
			passed++
		}
	}
	return passed
}

func TestASubjectThatIsResetHasAllItsUnitsAgain(t *testing.T) {
	rule := limit.Rule{Name: "reset", Limit: 1, Per: time.Hour, Burst: 2}
	eachForm(t, func(t *testing.T, l *limit.Limiter, _ *clock) {
		for _, subject := range []string{"ada", "eve"} {
			if n := granted(t, l, rule, subject, 3); n != 2 {
				t.Fatalf("%d of two units", n)
			}
		}
		if err := l.Reset(t.Context(), rule, "ada"); err != nil {
			t.Fatal(err)
		}
		if n := granted(t, l, rule, "ada", 5); n != 2 {
			t.Errorf("after the reset Ada has %d units, want 2", n)
		}
		if granted(t, l, rule, "eve", 1) != 0 {
			t.Error("Eve was reset too")
		}
	})
}

func TestAResetHoldsAgainstWhatOtherServersRemember(t *testing.T) {
	rule := limit.Rule{Name: "reset", Limit: 1, Per: time.Hour, Burst: 2}
	c := client(t, services.Redis(t))
	one, other := limit.New(c, limit.Options{}), limit.New(c, limit.Options{})
	if granted(t, one, rule, "ada", 2) != 2 || granted(t, other, rule, "ada", 1) != 0 {
		t.Fatal("the limit is not spent")
	}
	if err := one.Reset(t.Context(), rule, "ada"); err != nil {
		t.Fatal(err)
	}
	if n := granted(t, other, rule, "ada", 3); n != 2 {
		t.Errorf("at the other server Ada has %d units, want 2", n)
	}
	keys, err := c.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 1 || c.PTTL(t.Context(), keys[0]).Val() <= time.Hour {
		t.Errorf("keys %q, %v: what the other server remembers outlives the reset", keys, err)
	}
}

func TestWhatIsGivenBackWasNeverTaken(t *testing.T) {
	rule := limit.Rule{Name: "back", Limit: 1, Per: time.Minute, Burst: 3}
	eachForm(t, func(t *testing.T, l *limit.Limiter, c *clock) {
		for i := range 20 { // more often than the limit grants
			if granted(t, l, rule, "ada", 1) != 1 {
				t.Fatalf("attempt %d is refused", i)
			}
			if err := l.GiveBack(t.Context(), rule, "ada", 1); err != nil {
				t.Fatal(err)
			}
		}
		if n := granted(t, l, rule, "ada", 9); n != 3 {
			t.Errorf("%d pass after all, want 3", n)
		}
		c.advance(90 * time.Second)
		for range 5 { // no more than the rule saves up
			if err := l.GiveBack(t.Context(), rule, "ada", 3); err != nil {
				t.Fatal(err)
			}
		}
		if n := granted(t, l, rule, "ada", 9); n != 3 {
			t.Errorf("%d pass of what was given back five times, want 3", n)
		}
		for _, cost := range []int{0, -1, 4} {
			if err := l.GiveBack(t.Context(), rule, "ada", cost); err == nil {
				t.Errorf("%d units were given back", cost)
			}
		}
	})
}

func TestARuleThatWasMadeSmallerHoldsAtOnce(t *testing.T) {
	wide := limit.Rule{Name: "changed", Limit: 1, Per: time.Hour, Burst: 100}
	narrow := limit.Rule{Name: "changed", Limit: 1, Per: time.Minute, Burst: 2}
	eachForm(t, func(t *testing.T, l *limit.Limiter, _ *clock) {
		if n := granted(t, l, wide, "ada", 101); n != 100 {
			t.Fatal(fmt.Sprint(n, " of 100 units"))
		}
		d := decide(t, l, limit.Request{Rule: narrow, Subject: "ada", Cost: 1})
		if d.Allowed || d.RetryAfter != time.Minute {
			t.Errorf("got %+v, want a refusal for a minute", d)
		}
	})
}
