package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/test/services"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { services.Main(m) }

// patience bounds every wait of a test; it is long because the machine may be busy.
const patience = 20 * time.Second

// inbox is a listener that keeps what it hears.
type inbox struct {
	t    testing.TB
	got  chan string
	gaps chan struct{}
	stop func()
}

func subscribe(t testing.TB, b *Bus, topic string) *inbox {
	t.Helper()
	in := &inbox{t: t, got: make(chan string, 10_000), gaps: make(chan struct{}, 1000)}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stop, err := b.Subscribe(ctx, topic, Listener{
		Deliver: func(data []byte) { in.got <- string(data) },
		Gap:     func() { in.gaps <- struct{}{} },
	})
	if err != nil {
		t.Fatalf("subscribe to %s: %v", topic, err)
	}
	in.stop = stop
	return in
}

// expect waits for the next message and fails when it is another one.
func (in *inbox) expect(want string) {
	in.t.Helper()
	select {
	case got := <-in.got:
		if got != want {
			in.t.Fatalf("heard %q, want %q", got, want)
		}
	case <-time.After(patience):
		in.t.Fatalf("%q was not heard", want)
	}
}

func (in *inbox) expectGap() {
	in.t.Helper()
	select {
	case <-in.gaps:
	case <-time.After(patience):
		in.t.Fatal("no gap was told")
	}
}

// expectSilence fails when a message waits: call it after a later message has arrived.
func (in *inbox) expectSilence() {
	in.t.Helper()
	if len(in.got) > 0 {
		in.t.Fatalf("heard %q, want silence", <-in.got)
	}
}

func publish(t testing.TB, b *Bus, topic, message string) {
	t.Helper()
	if err := b.Publish(t.Context(), topic, []byte(message)); err != nil {
		t.Fatalf("publish %q: %v", message, err)
	}
}

// server is one process of a deployment.
func server(t testing.TB, url, namespace string) *Bus {
	t.Helper()
	options := services.RedisOptions(t, url)
	options.ContextTimeoutEnabled = true
	client := redis.NewUniversalClient(options)
	b := Redis(client, namespace, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		client.Close()
	})
	eventually(t, "the bus runs", func() bool { return b.link.running.Load() })
	return b
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// pair runs test on two processes of one deployment over every form of Redis, and on one in-process bus that is both.
func pair(t *testing.T, test func(t *testing.T, a, b *Bus)) {
	t.Run("local", func(t *testing.T) {
		b := Local()
		test(t, b, b)
	})
	services.EachRedis(t, func(t *testing.T, url string) {
		test(t, server(t, url, t.Name()), server(t, url, t.Name()))
	})
}

func TestAMessageReachesEveryListenerOfItsTopicOnce(t *testing.T) {
	pair(t, func(t *testing.T, a, b *Bus) {
		near, far, other := subscribe(t, a, "job"), subscribe(t, b, "job"), subscribe(t, b, "other")
		for i := range 100 {
			publish(t, a, "job", fmt.Sprint(i))
		}
		publish(t, b, "other", "end")
		other.expect("end")
		other.expectSilence()
		for i := range 100 {
			near.expect(fmt.Sprint(i))
			far.expect(fmt.Sprint(i))
		}
		publish(t, b, "job", "last")
		near.expect("last")
		far.expect("last")
	})
}

func TestSubscribeIsInForceWhenItReturns(t *testing.T) {
	pair(t, func(t *testing.T, a, b *Bus) {
		for i := range 200 {
			in := subscribe(t, a, "job")
			publish(t, b, "job", fmt.Sprint(i))
			in.expect(fmt.Sprint(i))
			in.stop()
		}
	})
}

func TestAListenerHearsNothingAfterItLeft(t *testing.T) {
	pair(t, func(t *testing.T, a, b *Bus) {
		stays, leaves := subscribe(t, a, "job"), subscribe(t, a, "job")
		leaves.stop()
		leaves.stop()
		publish(t, b, "job", "one")
		stays.expect("one")
		leaves.expectSilence()
	})
}

func TestAListenerMayEndItselfAndOthersWhileItHears(t *testing.T) {
	b := Local()
	var heard []string
	leave := make(map[string]func())
	listen := func(name string, then func()) {
		stop, err := b.Subscribe(t.Context(), "job", Listener{Deliver: func([]byte) {
			heard = append(heard, name)
			then()
		}})
		if err != nil {
			t.Fatal(err)
		}
		leave[name] = stop
	}
	listen("ends itself and the next", func() { leave["ends itself and the next"](); leave["next"]() })
	listen("next", func() {})
	listen("stays", func() {})
	publish(t, b, "job", "one")
	publish(t, b, "job", "two")
	if want := []string{"ends itself and the next", "stays", "stays"}; !slices.Equal(heard, want) {
		t.Errorf("heard by %q, want %q", heard, want)
	}
}

func TestAnEmptyTopicAndAMessageAboveTheLimitAreRefused(t *testing.T) {
	b := Local()
	if err := b.Publish(t.Context(), "", nil); err == nil {
		t.Error("published to the empty topic")
	}
	if _, err := b.Subscribe(t.Context(), "", Listener{}); err == nil {
		t.Error("subscribed to the empty topic")
	}
	if err := b.Publish(t.Context(), "job", make([]byte, maxMessageBytes+1)); err == nil {
		t.Error("published a message above the limit")
	}
}

// Two processes, a few topics, any order of coming, going and publishing: every listener hears all
// that was published while it was in force, once and in order. What was published just before it
// came may still be on its way to it.
func TestListenersHearAllThatWasPublishedWhileTheyListened(t *testing.T) {
	pair(t, func(t *testing.T, a, b *Bus) {
		published := 0
		rapid.Check(t, func(r *rapid.T) {
			type member struct {
				*inbox
				topic string
				since int // the number of the first message it must hear
			}
			var members []member
			next := func(m member) int {
				for {
					select {
					case got := <-m.got:
						n, err := strconv.Atoi(got)
						if err != nil {
							r.Fatalf("heard %q, want a number", got)
						}
						if n >= m.since {
							return n
						}
					case <-time.After(patience):
						r.Fatalf("nothing was heard")
					}
				}
			}
			for range rapid.IntRange(1, 30).Draw(r, "steps") {
				topic := fmt.Sprintf("t%d", rapid.IntRange(0, 2).Draw(r, "topic"))
				at := rapid.SampledFrom([]*Bus{a, b}).Draw(r, "bus")
				switch rapid.IntRange(0, 2).Draw(r, "act") {
				case 0:
					members = append(members, member{subscribe(t, at, topic), topic, published + 1})
				case 1:
					if len(members) > 0 {
						i := rapid.IntRange(0, len(members)-1).Draw(r, "who")
						members[i].stop()
						members = slices.Delete(members, i, i+1)
					}
				case 2:
					published++
					publish(t, at, topic, strconv.Itoa(published))
					for _, m := range members {
						if m.topic != topic {
							continue
						}
						if got := next(m); got != published {
							r.Fatalf("heard %d, want %d", got, published)
						}
					}
				}
			}
			for _, m := range members {
				m.stop()
			}
		})
		for _, one := range []*Bus{a, b} {
			if len(one.topics) != 0 {
				t.Errorf("%d topics are left without a listener", len(one.topics))
			}
		}
	})
}

func TestATopicIsSubscribedOnceAndGivenUpAtItsLastListener(t *testing.T) {
	url := services.Redis(t)
	b := server(t, url, t.Name())
	channel, _ := b.Envelope("job", nil)
	subscribers := func() int64 {
		counts, err := b.link.client.PubSubNumSub(t.Context(), channel).Result()
		if err != nil {
			t.Fatal(err)
		}
		return counts[channel]
	}
	first, second := subscribe(t, b, "job"), subscribe(t, b, "job")
	if n := subscribers(); n != 1 {
		t.Fatalf("two listeners make %d subscriptions, want 1", n)
	}
	first.stop()
	publish(t, b, "job", "one")
	second.expect("one")
	second.stop()
	eventually(t, "redis has no subscription", func() bool { return subscribers() == 0 })
	eventually(t, "the link has forgotten the topic", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.link.subs) == 0
	})
}

func TestAScriptMayPublishAnEnvelope(t *testing.T) {
	url := services.Redis(t)
	a, b := server(t, url, t.Name()), server(t, url, t.Name())
	near, far := subscribe(t, a, "job"), subscribe(t, b, "job")
	channel, payload := a.Envelope("job", []byte("by hand"))
	if err := a.link.client.Publish(t.Context(), channel, payload).Err(); err != nil {
		t.Fatal(err)
	}
	far.expect("by hand")
	publish(t, b, "job", "after")
	near.expect("after")
}

func TestAfterRedisCameBackListenersAreToldOfTheGapAndHearAgain(t *testing.T) {
	r := services.StartRedis(t)
	a, b := server(t, r.URL, t.Name()), server(t, r.URL, t.Name())
	near, far := subscribe(t, a, "job"), subscribe(t, b, "job")
	r.Kill()
	r.Restart(t)
	near.expectGap()
	far.expectGap()
	eventually(t, "a message gets through", func() bool {
		return a.Publish(t.Context(), "job", []byte("again")) == nil
	})
	eventually(t, "it is heard", func() bool { return len(far.got) > 0 })
	for len(near.got) > 0 {
		near.expect("again")
	}
}

func TestWhileRedisIsAwayThisProcessGoesOnAndTheErrorComesSoon(t *testing.T) {
	for _, way := range []struct {
		name string
		lose func(r *services.RedisServer)
	}{
		{"killed", func(r *services.RedisServer) { r.Kill() }},
		{"stalled", func(r *services.RedisServer) { r.Pause() }},
	} {
		t.Run(way.name, func(t *testing.T) {
			r := services.StartRedis(t)
			b := server(t, r.URL, t.Name())
			in := subscribe(t, b, "job")
			way.lose(r)
			defer r.Resume()
			for i := range 20 {
				started := time.Now()
				err := b.Publish(t.Context(), "job", []byte(fmt.Sprint(i)))
				if err == nil {
					t.Fatal("a message to an absent redis made no error")
				}
				if took := time.Since(started); took > 2*time.Second {
					t.Fatalf("publish took %v", took)
				}
				in.expect(fmt.Sprint(i))
			}
		})
	}
}

func TestSubscribeSucceedsWhileRedisIsAwayAndTellsTheGapLater(t *testing.T) {
	r := services.StartRedis(t)
	b := server(t, r.URL, t.Name())
	subscribe(t, b, "first")
	r.Kill()
	eventually(t, "the loss is noticed", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return !b.link.open
	})
	in := subscribe(t, b, "job")
	_ = b.Publish(t.Context(), "job", []byte("near"))
	in.expect("near")
	r.Restart(t)
	in.expectGap()
	far := server(t, r.URL, t.Name())
	publish(t, far, "job", "far")
	in.expect("far")
}

// breakable is a connection of one process that can be cut for writing only.
type breakable struct{ cut atomic.Bool }

var errCut = errors.New("cut")

func (*breakable) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*breakable) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *breakable) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		if !h.cut.Load() {
			return next(ctx, commands)
		}
		for _, c := range commands {
			c.SetErr(errCut)
		}
		return errCut
	}
}

func TestMessagesThatDidNotGetThroughAreAGapForTheOthers(t *testing.T) {
	url := services.Redis(t)
	a, b := server(t, url, t.Name()), server(t, url, t.Name())
	far := subscribe(t, b, "job")
	hook := &breakable{}
	a.link.client.AddHook(hook)
	hook.cut.Store(true)
	if err := a.Publish(t.Context(), "job", []byte("lost")); !errors.Is(err, errCut) {
		t.Fatalf("got error %v, want %v", err, errCut)
	}
	hook.cut.Store(false)
	far.expectGap()
	far.expectSilence()
	publish(t, a, "job", "found")
	far.expect("found")
}

func TestRunEndsWhileRedisStandsStill(t *testing.T) {
	r := services.StartRedis(t)
	b := server(t, r.URL, t.Name()) // its cleanup fails when Run does not end
	subscribe(t, b, "job")
	r.Pause()
	t.Cleanup(r.Resume)
}

func TestAFrameIsToldApartFromForeignOnes(t *testing.T) {
	b := server(t, services.Redis(t), t.Name())
	in := subscribe(t, b, "job")
	for _, frame := range []string{"", "m", "m" + strings.Repeat("x", idBytes-1), "z" + strings.Repeat("x", idBytes) + "data"} {
		b.link.hear("job", frame)
	}
	in.expectSilence()
	b.link.hear("job", "m"+strings.Repeat("x", idBytes)+"data")
	in.expect("data")
}
