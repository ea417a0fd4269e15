package limit_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/limit"
	"gatehouse/test/services"
)

// crowd asks both limiters n times at once for one unit and returns how often it got one, and how often
// without Redis.
func crowd(t *testing.T, servers []*limit.Limiter, rule limit.Rule, subject string, n int) (passed, local int64) {
	t.Helper()
	var allowed, alone atomic.Int64
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			d, err := servers[i%len(servers)].Allow(context.Background(), rule, subject, 1)
			if err != nil {
				t.Error(err)
			}
			if d.Allowed {
				allowed.Add(1)
			}
			if d.Local {
				alone.Add(1)
			}
		})
	}
	all.Wait()
	return allowed.Load(), alone.Load()
}

// pair returns two limiters over one Redis, each with connections of its own.
func pair(t *testing.T, server *services.RedisServer, o limit.Options) []*limit.Limiter {
	return []*limit.Limiter{limit.New(client(t, server.URL), o), limit.New(client(t, server.URL), o)}
}

func TestWhenRedisGoesAwayEachServerGoesOnFromWhatWasLeft(t *testing.T) {
	rule := limit.Rule{Name: "login", Limit: 1, Per: time.Hour, Burst: 20}
	for name, away := range map[string]func(*services.RedisServer){
		"killed":  (*services.RedisServer).Kill,
		"hanging": (*services.RedisServer).Pause,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := services.StartRedis(t)
			servers := pair(t, server, limit.Options{})
			spent, local := crowd(t, servers, rule, "spent", 60)
			if spent != 20 || local != 0 {
				t.Fatalf("with Redis %d pass, %d of them alone, want 20 and 0", spent, local)
			}
			if half, _ := crowd(t, servers, rule, "half", 14); half != 14 {
				t.Fatalf("with Redis %d pass, want 14", half)
			}
			for _, l := range servers { // each sees what both have used
				if granted(t, l, rule, "half", 1) != 1 {
					t.Fatal("the limit is spent too soon")
				}
			}
			away(server)
			if passed, local := crowd(t, servers, rule, "spent", 200); passed != 0 || local != 200 {
				t.Errorf("without Redis %d of a spent limit pass, %d were decided alone", passed, local)
			}
			// The one that asked last saw 4 left, the other 5.
			if passed, _ := crowd(t, servers, rule, "half", 200); passed != 4+5 {
				t.Errorf("without Redis %d pass, want 9", passed)
			}
			// Nobody has seen this one.
			if passed, _ := crowd(t, servers, rule, "new", 200); passed != 2*20 {
				t.Errorf("without Redis %d pass, want 40", passed)
			}
		})
	}
}

func TestASlowRedisIsWaitedFor(t *testing.T) {
	c := client(t, services.StartRedis(t).URL)
	l := limit.New(c, limit.Options{})
	rule := limit.Rule{Name: "login", Limit: 1, Per: time.Hour, Burst: 20}
	const slow = 500 * time.Millisecond
	if err := c.Do(t.Context(), "CLIENT", "PAUSE", slow.Milliseconds(), "ALL").Err(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	passed, local := crowd(t, []*limit.Limiter{l}, rule, "ada", 100)
	if took := time.Since(began); took < slow/2 {
		t.Fatalf("Redis was not slow: %v", took)
	}
	if passed != 20 || local != 0 {
		t.Errorf("%d pass, %d were decided alone, want 20 and 0", passed, local)
	}
}

func TestOnlyOneDecisionASecondWaitsForARedisThatHangs(t *testing.T) {
	server := services.StartRedis(t)
	clk := newClock()
	l := limit.New(client(t, server.URL), limit.Options{Now: clk.now})
	rule := limit.Rule{Name: "login", Limit: 1, Per: time.Hour, Burst: 20}
	granted(t, l, rule, "ada", 1)
	server.Pause()
	waits := func(n int) (slow int64) {
		var count atomic.Int64
		var all sync.WaitGroup
		for range n {
			all.Go(func() {
				began := time.Now()
				if d, err := l.Allow(context.Background(), rule, "ada", 1); err != nil || !d.Local {
					t.Errorf("%+v, %v", d, err)
				}
				if time.Since(began) >= limit.Patience {
					count.Add(1)
				}
			})
		}
		all.Wait()
		return count.Load()
	}
	if n := waits(1); n != 1 {
		t.Fatal("Redis did not hang")
	}
	if n := waits(50); n != 0 {
		t.Errorf("%d waited for a Redis that had just failed", n)
	}
	clk.advance(time.Second)
	if n := waits(50); n != 1 {
		t.Errorf("%d waited a second later, want 1", n)
	}
	server.Resume()
	clk.advance(time.Second)
	if d := decide(t, l, limit.Request{Rule: rule, Subject: "ada", Cost: 1}); d.Local {
		t.Errorf("Redis is not asked again: %+v", d)
	}
}

func TestWithoutRedisThisProcessDecidesAndRedisIsAskedAgainLater(t *testing.T) {
	server := services.StartRedis(t)
	clk := newClock()
	l := limit.New(client(t, server.URL), limit.Options{Now: clk.now})
	rule := limit.Rule{Name: "login", Limit: 3, Per: time.Hour}
	request := limit.Request{Rule: rule, Subject: "ada", Cost: 1}
	if d := decide(t, l, request); d.Local || !d.Allowed {
		t.Fatalf("healthy: %+v", d)
	}
	server.Kill()
	began := time.Now()
	for i, want := range []bool{true, true, false, false} {
		if d := decide(t, l, request); !d.Local || d.Allowed != want {
			t.Fatalf("dead, request %d: %+v", i, d)
		}
	}
	if took := time.Since(began); took > limit.Patience/2 {
		t.Errorf("a refused connection was waited for: %v", took)
	}
	if err := l.Reset(t.Context(), rule, "somebody"); err == nil {
		t.Error("a reset that the other servers do not learn of is reported as done")
	}
	server.Restart(t)
	if d := decide(t, l, request); !d.Local {
		t.Fatalf("asked before its rest was over: %+v", d)
	}
	clk.advance(time.Second)
	if d := decide(t, l, request); d.Local || d.Allowed {
		t.Fatalf("back, and empty: %+v, want a refusal by what this process knows", d)
	}
	if d := decide(t, l, limit.Request{Rule: rule, Subject: "grace", Cost: 1}); d.Local || !d.Allowed {
		t.Fatalf("somebody new: %+v", d)
	}
}

func TestARedisThatComesBackEmptyLearnsWhatTheServersKnow(t *testing.T) {
	server := services.StartRedis(t)
	clk := newClock()
	servers := pair(t, server, limit.Options{Now: clk.now})
	rule := limit.Rule{Name: "login", Limit: 1, Per: time.Hour, Burst: 20}
	if n := granted(t, servers[0], rule, "ada", 30); n != 20 {
		t.Fatalf("%d pass, want 20", n)
	}
	server.Kill()
	server.Restart(t)
	for _, l := range servers { // finds its connections broken
		granted(t, l, rule, "nobody", 1)
	}
	clk.advance(time.Second)
	// A refusal is enough for Redis to learn; the second server had never heard of the subject.
	for i, l := range servers {
		if d := decide(t, l, limit.Request{Rule: rule, Subject: "ada", Cost: 1}); d.Allowed || d.Local {
			t.Errorf("server %d: %+v", i, d)
		}
	}
}

func TestWhatRedisSaidIsRememberedWithinBounds(t *testing.T) {
	server := services.StartRedis(t)
	l := limit.New(client(t, server.URL), limit.Options{MaxSubjects: 640})
	rule := limit.Rule{Name: "login", Limit: 10, Per: time.Hour}
	decide(t, l, limit.Request{Rule: rule, Subject: "attacker", Cost: 10})
	for i := range 3000 {
		decide(t, l, limit.Request{Rule: rule, Subject: fmt.Sprint("other", i), Cost: 1})
	}
	server.Kill()
	if d := decide(t, l, limit.Request{Rule: rule, Subject: "attacker", Cost: 1}); d.Allowed || !d.Local {
		t.Errorf("a flood of other subjects freed the one that was locked out: %+v", d)
	}
	full := 0
	for i := range 3000 {
		if decide(t, l, limit.Request{Rule: rule, Subject: fmt.Sprint("other", i), Cost: 10}).Allowed {
			full++ // forgotten: it has all its units
		}
	}
	if full < 3000-640 {
		t.Errorf("%d of 3000 subjects are remembered, want 640 at most", 3000-full)
	}
}
