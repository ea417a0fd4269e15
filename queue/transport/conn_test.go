package transport

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/gocraft/work"
	redigo "github.com/gomodule/redigo/redis"
	"github.com/redis/go-redis/v9"
)

func decode(t testing.TB, raw []byte) *work.Job {
	t.Helper()
	var j work.Job
	if err := json.Unmarshal(raw, &j); err != nil {
		t.Fatalf("%s is no job: %v", raw, err)
	}
	return &j
}

func jobOf(t testing.TB, raw []byte) string {
	t.Helper()
	return decode(t, raw).ArgString("job")
}

// overhearing is a connection that notes each command that was refused, and each script's name.
type overhearing struct {
	*conn
	note func(name string, args []any, err error)
}

func (o overhearing) Do(name string, args ...any) (any, error) {
	v, err := o.conn.Do(name, args...)
	o.note(name, args, err)
	return v, err
}

// Whatever a worker pool of the gocraft version in go.mod sends while it starts, works, requeues,
// beats and stops is understood.
func TestEverythingGocraftSendsIsUnderstood(t *testing.T) {
	forms(t, func(t *testing.T, w *Wire) {
		var mu sync.Mutex
		requeues := make(chan struct{}, 100)
		seen := make(map[string]bool)
		inner := w.pool.Dial
		w.pool.Dial = func() (redigo.Conn, error) {
			c, err := inner()
			return overhearing{c.(*conn), func(name string, args []any, err error) {
				mu.Lock()
				defer mu.Unlock()
				seen[name] = true
				if err != nil {
					t.Errorf("%s %v: %v", name, args, err)
				}
				if name == "EVALSHA" && len(args) > 2 && strings.HasSuffix(args[2].(string), ":scheduled") {
					requeues <- struct{}{}
				}
			}}, err
		}
		handled := make(chan struct{}, 1)
		pool := workers(t, w, 2, func(j *work.Job) { j.Checkin("half"); handled <- struct{}{} }, "lane")
		enqueue(t, w, "lane", "1")
		receive(t, handled, "the job is handled")
		receive(t, requeues, "the requeuer asks")
		w.CloseBell()
		pool.Stop()
		mu.Lock()
		defer mu.Unlock()
		for _, name := range []string{"EVALSHA", "LPUSH", "EXEC", "SADD", "SET", "GET", ""} {
			if !seen[name] {
				t.Errorf("gocraft did not send %q: the test proves less than it says", name)
			}
		}
	})
}

// The dead pool reaper first runs after 10 s; these are its commands, by hand.
func TestTheReaperFindsADeadPoolAndNothingInProgress(t *testing.T) {
	forms(t, func(t *testing.T, w *Wire) {
		c := w.Pool().Get()
		defer c.Close()
		ns := w.Namespace()
		do := func(name string, args ...any) any {
			t.Helper()
			v, err := c.Do(name, args...)
			if err != nil {
				t.Fatalf("%s %v: %v", name, args, err)
			}
			return v
		}
		do("SADD", ns+":worker_pools", "dead")
		do("HMSET", ns+":worker_pools:dead", "heartbeat_at", 1, "job_names", "lane")
		if _, isRemote := w.store.(*remote); isRemote {
			if pools, err := redigo.Strings(c.Do("SMEMBERS", ns+":worker_pools")); err != nil || len(pools) != 1 {
				t.Errorf("pools are %v, %v", pools, err)
			}
			if at, err := redigo.Int64(c.Do("HGET", ns+":worker_pools:dead", "heartbeat_at")); err != nil || at != 1 {
				t.Errorf("heartbeat is %d, %v", at, err)
			}
		}
		if _, err := redigo.Int64(c.Do("HGET", ns+":worker_pools:gone", "heartbeat_at")); !errors.Is(err, redigo.ErrNil) {
			t.Errorf("a missing heartbeat is %v, want %v", err, redigo.ErrNil)
		}
		lane := w.jobs + "lane"
		for name, v := range map[string]any{
			"requeue in progress": do("EVALSHA", "hash", 4, lane+":dead:inprogress", lane, lane+":lock", lane+":lock_info", "dead"),
			"unlock":              do("EVALSHA", "hash", 2, lane+":lock", lane+":lock_info", "dead"),
			"unlock no jobs":      do("EVALSHA", "hash", 0, "dead"),
		} {
			if v != nil {
				t.Errorf("%s: got %v, want nothing", name, v)
			}
		}
		do("DEL", ns+":worker_pools:dead")
		do("SREM", ns+":worker_pools", "dead")
		if pools, err := redigo.Strings(c.Do("SMEMBERS", ns+":worker_pools")); err != nil || len(pools) != 0 {
			t.Errorf("pools are %v, %v; want none", pools, err)
		}
	})
}

func TestWhatTheQueueDoesNotUseIsRefused(t *testing.T) {
	forms(t, func(t *testing.T, w *Wire) {
		e := work.NewEnqueuer(w.Namespace(), w.Pool())
		var refused redigo.Error
		if _, err := e.EnqueueIn("lane", 10, nil); !errors.As(err, &refused) {
			t.Errorf("EnqueueIn: %v, want a refusal", err)
		}
		if _, err := e.EnqueueUnique("lane", nil); !errors.As(err, &refused) {
			t.Errorf("EnqueueUnique: %v, want a refusal", err)
		}
		c := w.Pool().Get()
		defer c.Close()
		for _, call := range [][]any{
			{"FLUSHALL"},
			{"GET", "foreign"},
			{"LPUSH", "key"},
			{"LPUSH", "key", 1},
			{"EVALSHA"},
			{"EVALSHA", "hash", "two"},
			{"EVALSHA", "hash", 3, "key"},
			{"EVALSHA", "hash", 1, "foreign"},
		} {
			if v, err := c.Do(call[0].(string), call[1:]...); !errors.As(err, &refused) {
				t.Errorf("%v: got %v, %v; want a refusal", call, v, err)
			}
		}
	})
}

func TestAConnectionQueuesFlushesAndReceivesAsRedigoDoes(t *testing.T) {
	w := Local(Options{})
	c := w.Pool().Get()
	key := w.jobs + "lane"
	for _, json := range []string{"1", "2"} {
		if err := c.Send("LPUSH", key, []byte(json)); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := w.Waiting(t.Context(), "lane"); n["lane"] != 0 {
		t.Error("Send did not wait for Flush")
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	for want := range 2 {
		if v, err := c.Receive(); v != int64(want+1) || err != nil {
			t.Errorf("receive: %v, %v; want %d", v, err, want+1)
		}
	}
	if _, err := c.Receive(); err == nil {
		t.Error("received without a command")
	}
	c.Send("NONSENSE")
	if v, err := c.Do("LPUSH", key, []byte("3")); v != int64(3) || err == nil {
		t.Errorf("Do after a refused Send: %v, %v; want 3 and the refusal", v, err)
	}
	c.Send("LPUSH", key, []byte("4"))
	c.Send("NONSENSE")
	v, err := c.Do("")
	if all, ok := v.([]any); !ok || err != nil || len(all) != 2 || all[0] != int64(4) {
		t.Errorf("Do without a command: %v, %v", v, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do("MULTI"); err == nil {
		t.Error("a closed connection works")
	}
	if err := c.Err(); err == nil {
		t.Error("a closed connection has no error")
	}
}

func TestRepliesOfGoRedisBecomeThoseOfRedigo(t *testing.T) {
	var failed error = redis.ErrNoScript
	for _, c := range []struct {
		name, command string
		from, want    any
	}{
		{"status", "HMSET", "OK", "OK"},
		{"bulk", "HGET", "OK", []byte("OK")},
		{"empty bulk", "HGET", "", []byte{}},
		{"integer", "SADD", int64(3), int64(3)},
		{"nothing", "HGET", nil, nil},
		{"true", "SADD", true, int64(1)},
		{"false", "SADD", false, int64(0)},
		{"float", "ZSCORE", 1.5, []byte("1.5")},
		{"array", "SMEMBERS", []any{"a", int64(1), nil, []any{"b"}}, []any{[]byte("a"), int64(1), nil, []any{[]byte("b")}}},
		{"map", "HGETALL", map[any]any{"k": "v"}, []any{[]byte("k"), []byte("v")}},
		{"error in array", "EXEC", []any{failed}, []any{redigo.Error(failed.Error())}},
	} {
		if got := redigoReply(c.command, c.from); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %#v, want %#v", c.name, got, c.want)
		}
	}
}

func FuzzParseFetch(f *testing.F) {
	f.Add(int64(1), "{}", int64(0), uint8(3))
	f.Add(int64(-1), "", int64(-5), uint8(0))
	f.Fuzz(func(t *testing.T, number int64, json string, left int64, drop uint8) {
		reply := []any{number, json, left}
		if int(drop) < len(reply) {
			reply[drop] = nil
		}
		found, rest, err := parseFetch(reply, []string{"lane"}, 1)
		if err == nil && (len(found) != 1 || len(rest) != 1) {
			t.Errorf("got %v and %v", found, rest)
		}
	})
}
