package limit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"gatehouse/internal/limit"
	"gatehouse/test/services"
)

func TestMain(m *testing.M) { services.Main(m) }

// clock is a time that moves when the test says so.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.nanos.Store(time.Now().UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

func client(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	o := services.RedisOptions(t, url)
	limit.Tune(o)
	c := redis.NewUniversalClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// eachForm runs a test in memory and on every form of Redis, with a clock of its own.
func eachForm(t *testing.T, test func(t *testing.T, l *limit.Limiter, c *clock)) {
	t.Run("memory", func(t *testing.T) {
		c := newClock()
		test(t, limit.New(nil, limit.Options{Now: c.now}), c)
	})
	services.EachRedis(t, func(t *testing.T, url string) {
		c := newClock()
		test(t, limit.New(client(t, url), limit.Options{Now: c.now}), c)
	})
}

func decide(t testing.TB, l *limit.Limiter, requests ...limit.Request) limit.Decision {
	t.Helper()
	d, err := l.AllowAll(t.Context(), requests...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestABurstPassesAndThenOneUnitAtATime(t *testing.T) {
	rule := limit.Rule{Name: "login", Limit: 6, Per: time.Minute, Burst: 3}
	eachForm(t, func(t *testing.T, l *limit.Limiter, c *clock) {
		for _, step := range []struct {
			after time.Duration
			cost  int
			want  limit.Decision
		}{
			{0, 1, limit.Decision{Allowed: true, Remaining: 2}},
			{0, 2, limit.Decision{Allowed: true, Remaining: 0}},
			{0, 1, limit.Decision{RetryAfter: 10 * time.Second}},
			{4 * time.Second, 1, limit.Decision{RetryAfter: 6 * time.Second}},
			{5 * time.Second, 3, limit.Decision{RetryAfter: 21 * time.Second}},
			{time.Second, 1, limit.Decision{Allowed: true}},
			{0, 1, limit.Decision{RetryAfter: 10 * time.Second}},
			{15 * time.Second, 1, limit.Decision{Allowed: true}},
			{time.Hour, 3, limit.Decision{Allowed: true}},
		} {
			c.advance(step.after)
			step.want.Rule = "login"
			got := decide(t, l, limit.Request{Rule: rule, Subject: "ada", Cost: step.cost})
			if diff := cmp.Diff(step.want, got); diff != "" {
				t.Fatalf("after %v, cost %d: %s", step.after, step.cost, diff)
			}
		}
		if d := decide(t, l, limit.Request{Rule: rule, Subject: "grace", Cost: 3}); !d.Allowed {
			t.Error("another subject is refused")
		}
		other := rule
		other.Name = "mail"
		if d := decide(t, l, limit.Request{Rule: other, Subject: "ada", Cost: 3}); !d.Allowed {
			t.Error("another rule refuses the same subject")
		}
	})
}

func TestSeveralLimitsCountAllOrNone(t *testing.T) {
	wide := limit.Rule{Name: "network", Limit: 10, Per: time.Minute}
	narrow := limit.Rule{Name: "address", Limit: 2, Per: time.Minute}
	eachForm(t, func(t *testing.T, l *limit.Limiter, _ *clock) {
		both := []limit.Request{{Rule: wide, Subject: "10.0.0.0/24", Cost: 1}, {Rule: narrow, Subject: "ada", Cost: 1}}
		for range 2 {
			if d := decide(t, l, both...); !d.Allowed {
				t.Fatalf("refused: %+v", d)
			}
		}
		for range 20 {
			if d := decide(t, l, both...); d.Allowed || d.Rule != "address" || d.RetryAfter != 30*time.Second {
				t.Fatalf("got %+v, want a refusal by address for 30 s", d)
			}
		}
		if d := decide(t, l, both[0]); !d.Allowed || d.Remaining != 7 {
			t.Fatalf("refused attempts were counted: %+v", d)
		}
	})
}

// TestBothFormsAgreeOnAnySequence draws rules, subjects, costs and times, and asks both.
func TestBothFormsAgreeOnAnySequence(t *testing.T) {
	redisClient := client(t, services.Redis(t))
	var run atomic.Int64
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		inMemory := limit.New(nil, limit.Options{Now: c.now})
		shared := limit.New(redisClient, limit.Options{Now: c.now, Namespace: fmt.Sprint("run", run.Add(1))})
		rules := make([]limit.Rule, 3)
		for i := range rules {
			rules[i] = limit.Rule{
				Name: fmt.Sprint("rule", i), Limit: rapid.IntRange(1, 1000).Draw(t, "limit"),
				Per:   time.Duration(rapid.IntRange(1000, 100_000_000).Draw(t, "per")) * time.Microsecond,
				Burst: rapid.IntRange(1, 50).Draw(t, "burst"),
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			c.advance(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "pause")))
			var requests []limit.Request
			for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(rules)-1), 1, 3, rapid.ID).Draw(t, "rules") {
				requests = append(requests, limit.Request{
					Rule: rules[i], Subject: rapid.SampledFrom([]string{"ada", "grace"}).Draw(t, "subject"),
					Cost: rapid.IntRange(1, rules[i].Burst).Draw(t, "cost"),
				})
			}
			want, err := inMemory.AllowAll(context.Background(), requests...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := shared.AllowAll(context.Background(), requests...)
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Fatalf("%+v: memory says %+v, redis %+v", requests, want, got)
			}
			if r := requests[0]; want.Allowed && rapid.Bool().Draw(t, "give back") {
				for _, l := range []*limit.Limiter{inMemory, shared} {
					if err := l.GiveBack(context.Background(), r.Rule, r.Subject, r.Cost); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}

// TestNoWindowLetsMoreThanBurstAndRatePass looks at every window of a random sequence.
func TestNoWindowLetsMoreThanBurstAndRatePass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		l := limit.New(nil, limit.Options{Now: c.now})
		rule := limit.Rule{
			Name: "any", Limit: rapid.IntRange(1, 20).Draw(t, "limit"), Burst: rapid.IntRange(1, 20).Draw(t, "burst"),
			Per: time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second,
		}
		type passed struct {
			at   time.Time
			cost int
		}
		var log []passed
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			c.advance(time.Duration(rapid.Int64Range(0, int64(10*time.Second)).Draw(t, "pause")))
			cost := rapid.IntRange(1, rule.Burst).Draw(t, "cost")
			d, err := l.Allow(context.Background(), rule, "ada", cost)
			if err != nil {
				t.Fatal(err)
			}
			if d.Allowed {
				log = append(log, passed{c.now(), cost})
				continue
			}
			c.advance(d.RetryAfter)
			if again, _ := l.Allow(context.Background(), rule, "ada", cost); !again.Allowed {
				t.Fatalf("refused again after RetryAfter: %+v, then %+v", d, again)
			}
			log = append(log, passed{c.now(), cost})
		}
		for first := range log {
			units := 0
			for _, p := range log[first:] {
				units += p.cost
				window := p.at.Sub(log[first].at)
				most := float64(rule.Burst) + window.Seconds()*float64(rule.Limit)/rule.Per.Seconds() + 1e-3
				if float64(units) > most {
					t.Fatalf("%d units within %v, at most %v by %+v", units, window, most, rule)
				}
			}
		}
	})
}

func TestParallelCallersShareOneLimit(t *testing.T) {
	rule := limit.Rule{Name: "parallel", Limit: 100, Per: time.Hour}
	eachForm(t, func(t *testing.T, l *limit.Limiter, _ *clock) {
		var allowed atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 50 {
					d, err := l.Allow(context.Background(), rule, "ada", 1)
					if err != nil || d.Local {
						t.Errorf("%+v, %v", d, err)
					}
					if d.Allowed {
						allowed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if allowed.Load() != 100 {
			t.Errorf("%d passed, want 100", allowed.Load())
		}
	})
}

func TestRedisDecidesAtItsOwnClockUnlessToldOtherwise(t *testing.T) {
	l := limit.New(client(t, services.Redis(t)), limit.Options{})
	rule := limit.Rule{Name: "clock", Limit: 1, Per: time.Hour}
	if d := decide(t, l, limit.Request{Rule: rule, Subject: "ada", Cost: 1}); !d.Allowed || d.Local {
		t.Fatalf("got %+v", d)
	}
	d := decide(t, l, limit.Request{Rule: rule, Subject: "ada", Cost: 1})
	if d.Allowed || d.RetryAfter > time.Hour || d.RetryAfter < 59*time.Minute {
		t.Fatalf("got %+v", d)
	}
}

func TestASubjectNeverStandsInRedisAndItsKeyExpires(t *testing.T) {
	c := client(t, services.Redis(t))
	l := limit.New(c, limit.Options{Namespace: "gh"})
	decide(t, l, limit.Request{Rule: limit.Rule{Name: "login", Limit: 1, Per: time.Minute}, Subject: "ada@example.com", Cost: 1})
	keys, err := c.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 1 {
		t.Fatalf("keys %q, %v", keys, err)
	}
	if len(keys[0]) != len("{gh}:limit:login:")+64 {
		t.Errorf("key %q", keys[0])
	}
	if ttl := c.PTTL(t.Context(), keys[0]).Val(); ttl <= 0 || ttl > 62*time.Second {
		t.Errorf("the key expires in %v", ttl)
	}
}

func TestMemoryIsBoundedAndKeepsTheWorstSubjects(t *testing.T) {
	c := newClock()
	l := limit.New(nil, limit.Options{MaxSubjects: 640, Now: c.now})
	rule := limit.Rule{Name: "login", Limit: 10, Per: time.Hour}
	decide(t, l, limit.Request{Rule: rule, Subject: "attacker", Cost: 10})
	for i := range 20_000 {
		decide(t, l, limit.Request{Rule: rule, Subject: fmt.Sprint("other", i), Cost: 1})
	}
	if d := decide(t, l, limit.Request{Rule: rule, Subject: "attacker", Cost: 1}); d.Allowed {
		t.Error("a flood of other subjects freed the one that was locked out")
	}
}

func TestARequestOutOfBoundsIsAnError(t *testing.T) {
	l := limit.New(nil, limit.Options{})
	good := limit.Rule{Name: "good", Limit: 10, Per: time.Minute}
	for name, requests := range map[string][]limit.Request{
		"none":           {},
		"no name":        {{Rule: limit.Rule{Limit: 1, Per: time.Second}, Cost: 1}},
		"no limit":       {{Rule: limit.Rule{Name: "x", Per: time.Second}, Cost: 1}},
		"negative burst": {{Rule: limit.Rule{Name: "x", Limit: 1, Per: time.Second, Burst: -1}, Cost: 1}},
		"no period":      {{Rule: limit.Rule{Name: "x", Limit: 1}, Cost: 1}},
		"too fast":       {{Rule: limit.Rule{Name: "x", Limit: 2, Per: time.Microsecond}, Cost: 1}},
		"too long":       {{Rule: limit.Rule{Name: "x", Limit: 1, Per: 24 * time.Hour, Burst: 400}, Cost: 1}},
		"cost zero":      {{Rule: good}},
		"cost negative":  {{Rule: good, Cost: -1}},
		"cost too high":  {{Rule: good, Cost: 11}},
		"twice":          {{Rule: good, Subject: "a", Cost: 1}, {Rule: good, Subject: "a", Cost: 1}},
		"many":           make([]limit.Request, 17),
	} {
		if d, err := l.AllowAll(t.Context(), requests...); err == nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Allow(gone, good, "a", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func BenchmarkAllow(b *testing.B) {
	rule := limit.Rule{Name: "bench", Limit: 1_000_000, Per: time.Second}
	b.Run("memory", func(b *testing.B) {
		l := limit.New(nil, limit.Options{})
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, _ = l.Allow(b.Context(), rule, "ada", 1)
			}
		})
	})
	b.Run("redis", func(b *testing.B) {
		l := limit.New(client(b, services.Redis(b)), limit.Options{})
		for b.Loop() {
			if d, err := l.Allow(b.Context(), rule, "ada", 1); err != nil || d.Local {
				b.Fatal(d, err)
			}
		}
	})
}
