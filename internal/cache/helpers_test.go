package cache_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/internal/cache"
	"gatehouse/test/services"
)

// races is how many raced trials the tests of invalidation run: -races=100000 for the full count.
var races = flag.Int("races", 2000, "raced trials of an invalidation against a load")

func TestMain(m *testing.M) { services.Main(m) }

// patience bounds every wait of the tests.
const patience = 20 * time.Second

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

// clock is a time that moves when the test says so.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.nanos.Store(time.Now().UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

// hub carries invalidations between the servers of a test, at once, and loses them while it is cut.
type hub struct {
	mu        sync.Mutex
	listeners map[int]listener
	next      int
	cut       bool
}

type listener struct {
	topic   string
	deliver func([]byte)
	gap     func()
}

func newHub() *hub { return &hub{listeners: make(map[int]listener)} }

func (h *hub) Publish(_ context.Context, topic string, data []byte) error {
	for _, l := range h.hearers(topic) {
		l.deliver(data)
	}
	return nil
}

func (h *hub) hearers(topic string) []listener {
	h.mu.Lock()
	defer h.mu.Unlock()
	var hearers []listener
	for _, l := range h.listeners {
		if l.topic == topic && !h.cut {
			hearers = append(hearers, l)
		}
	}
	return hearers
}

func (h *hub) Subscribe(_ context.Context, topic string, deliver func([]byte), gap func()) (func(), error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := h.next
	h.next++
	h.listeners[id] = listener{topic, deliver, gap}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.listeners, id)
	}, nil
}

func (h *hub) sever() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut = true
}

// mend ends the cut and tells everyone of the gap.
func (h *hub) mend() {
	h.mu.Lock()
	h.cut = false
	all := maps.Clone(h.listeners)
	h.mu.Unlock()
	for _, l := range all {
		l.gap()
	}
}

// table is the database of a test: values by key, and a count of the reads.
type table struct {
	mu    sync.Mutex
	rows  map[string]user
	reads atomic.Int64
	fails atomic.Bool
}

// user is an entity; Version grows with every write.
type user struct {
	Name    string
	Version int
	Notes   []string
	Seen    time.Time
}

type failure struct{}

func (failure) Error() string { return "the database is down" }

func newTable() *table { return &table{rows: make(map[string]user)} }

func (d *table) write(key string, version int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rows[key] = user{Name: key, Version: version}
}

func (d *table) delete(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.rows, key)
}

func (d *table) load(_ context.Context, key string) (user, error) {
	d.reads.Add(1)
	if d.fails.Load() {
		return user{}, failure{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	row, found := d.rows[key]
	if !found {
		return user{}, fmt.Errorf("read %s: %w", key, cache.ErrAbsent)
	}
	return row, nil
}

func (d *table) loadMany(_ context.Context, keys []string) (map[string]user, error) {
	d.reads.Add(1)
	if d.fails.Load() {
		return nil, failure{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	rows := make(map[string]user)
	for _, key := range keys {
		if row, found := d.rows[key]; found {
			rows[key] = row
		}
	}
	return rows, nil
}

func identity(key string) string { return key }

// options of a layer of users.
func options(c *clock) cache.Options[string, user] {
	o := cache.Options[string, user]{Name: "user", Key: identity}
	if c != nil {
		o.Now = c.now
	}
	return o
}

func layer[K comparable, V any](t testing.TB, remote *cache.Remote, h *hub, o cache.Options[K, V]) *cache.Layer[K, V] {
	t.Helper()
	var invalidations cache.Invalidations
	if h != nil {
		invalidations = h
	}
	l, err := cache.New(remote, invalidations, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// remote is a server's access to a Redis, watched over until the test ends.
func remote(t testing.TB, redisURL string) *cache.Remote {
	t.Helper()
	r, err := cache.NewRemote(client(t, redisURL), cache.RemoteOptions{Namespace: "gh:test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func client(t testing.TB, redisURL string) redis.UniversalClient {
	t.Helper()
	o := services.RedisOptions(t, redisURL)
	cache.Tune(o)
	c := redis.NewUniversalClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// expect gets key and compares the version; below zero: absent.
func expect(t testing.TB, l *cache.Layer[string, user], d *table, key string, version int) {
	t.Helper()
	got, err := l.Get(t.Context(), key, d.load)
	if version < 0 {
		if err != cache.ErrAbsent {
			t.Fatalf("%s: got %+v, %v; want ErrAbsent", key, got, err)
		}
		return
	}
	if err != nil || got.Version != version {
		t.Fatalf("%s: got version %d, %v; want %d", key, got.Version, err, version)
	}
}

func expectReads(t testing.TB, d *table, want int64) {
	t.Helper()
	if got := d.reads.Load(); got != want {
		t.Fatalf("the database was read %d times, want %d", got, want)
	}
}

// wire passes connections on to a Redis until it is cut.
type wire struct {
	url, target string

	mu    sync.Mutex
	whole bool
	conns []net.Conn
}

func newWire(t testing.TB, redisURL string) *wire {
	t.Helper()
	parsed, err := url.Parse(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{target: parsed.Host, whole: true}
	parsed.Host = listener.Addr().String()
	w.url = parsed.String()
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			passing.Go(func() { w.pass(near) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		w.cut()
		passing.Wait()
	})
	return w
}

// pass copies both ways until either end is closed.
func (w *wire) pass(near net.Conn) {
	far, err := net.Dial("tcp", w.target)
	if err != nil || !w.keep(near, far) {
		_ = near.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
	both.Go(func() { _, _ = io.Copy(near, far); _ = near.Close() })
	both.Wait()
}

// keep notes the ends of a connection, or closes the far one if the wire is cut.
func (w *wire) keep(near, far net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.whole {
		_ = far.Close()
		return false
	}
	w.conns = append(w.conns, near, far)
	return true
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whole = false
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

func (w *wire) join() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whole = true
}
