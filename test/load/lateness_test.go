//go:build linux

package load

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/internal/blob"
	"gatehouse/internal/bus"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
	"gatehouse/queue/transport"
	"gatehouse/test/services"
)

// measureLateness takes the time from a schedule's moment to the first line of its job's handler, while
// three servers look for moments. One that is early fails the test.
func measureLateness(t *testing.T, b *bench) {
	for _, one := range []struct{ name, database, redis string }{
		{"embedded", "sqlite:" + filepath.Join(t.TempDir(), "queue.db"), ""},
		{"PostgreSQL and Redis", services.Postgres(t), services.Redis(t)},
	} {
		y := newYard(t, one.database, one.redis)
		late := y.lateness(t, of(b, 5, 2))
		y.close()
		how := fmt.Sprintf("%d moments at random over 4 s each 100, three servers; median %.1f ms, worst %.1f ms", len(late), middle(late), at(late, 1))
		b.atMost(t, "lateness of schedules p99, "+one.name, 25, at(late, 0.99), " ms", how)
		if first := at(late, 0); first < 0 {
			t.Errorf("%s: a job began %.3f ms before its moment", one.name, -first)
		}
	}
}

// yard is three servers on one database that know one kind, "tick".
type yard struct {
	db      *store.DB
	first   *queue.Queue
	began   chan beginning
	closers []func()
}

// numbered are the arguments of a tick.
type numbered struct{ N int }

// beginning says when the handler of a numbered job has begun.
type beginning struct {
	n  int
	at time.Time
}

func newYard(t testing.TB, database, redisURL string) *yard {
	t.Helper()
	y := &yard{began: make(chan beginning, 1000)}
	var err error
	if y.db, err = store.Open(t.Context(), database, store.Options{}); err != nil {
		t.Fatal(err)
	}
	y.closers = append(y.closers, func() { y.db.Close() })
	if err := y.db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := blob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	wire, messages := transport.Local(transport.Options{}), bus.Local()
	for i := range 3 {
		if redisURL != "" {
			options, err := redis.ParseURL(redisURL)
			if err != nil {
				t.Fatal(err)
			}
			options.ContextTimeoutEnabled = true
			client := redis.NewClient(options)
			y.closers = append(y.closers, func() { client.Close() })
			wire, messages = transport.Redis(client, transport.Options{Namespace: "late"}), bus.Redis(client, "late", bus.Options{})
		}
		q, err := queue.New(y.db, wire, messages, files, []queue.Definition{y.tick().Define()}, queue.Options{Workers: 4})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 || redisURL != "" {
			y.closers = append(y.closers, runBeside(t, messages.Run))
		}
		y.closers = append(y.closers, runBeside(t, q.Run))
		if i == 0 {
			y.first = q
		}
	}
	return y
}

func (y *yard) close() {
	for i := len(y.closers) - 1; i >= 0; i-- {
		y.closers[i]()
	}
}

func (y *yard) tick() queue.Kind[numbered, nothing] {
	return queue.Kind[numbered, nothing]{
		Name: "tick",
		Arguments: func(input json.RawMessage) (n numbered, err error) {
			return n, json.Unmarshal(input, &n)
		},
		Handle: func(_ context.Context, _ *queue.Run, n numbered) (nothing, error) {
			y.began <- beginning{n.N, time.Now()}
			return nothing{}, nil
		},
	}
}

var (
	addOwner = store.SQL(`INSERT INTO users (id, email_sealed, email_index, created_at, updated_at) VALUES ('usr_ada', ?, ?, 0, 0)`)
	// setMoment is how the measurement knows a moment to the microsecond without waiting for whole minutes.
	setMoment = store.SQL(`UPDATE schedules SET next_at = ? WHERE id = ?`)
)

func (y *yard) run(t testing.TB, statement *store.Query, args ...any) {
	t.Helper()
	err := y.db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), statement, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// lateness returns by how much the jobs of a hundred schedules began after their moments, in ms.
func (y *yard) lateness(t testing.TB, rounds int) []float64 {
	t.Helper()
	const schedules = 100 // as many as an owner may have
	y.run(t, addOwner, []byte{1}, []byte{1})
	ids := make([]queue.ScheduleID, schedules)
	for i := range ids {
		s, err := y.first.CreateSchedule(t.Context(), viewer.Viewer{User: "usr_ada"}, queue.Schedule{
			Name: "tick", Kind: "tick", Arguments: json.RawMessage(fmt.Sprintf(`{"N":%d}`, i)), Cron: "@yearly", TimeZone: "UTC",
			CatchUp: queue.RunLast, CatchUpMost: 1, Overlap: queue.RunBeside,
		})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = s.ID
	}
	var late []float64
	for range rounds {
		moments := make([]time.Time, schedules)
		begin := time.Now().Add(3 * time.Second) // until then every server has looked once more
		for i, id := range ids {
			moments[i] = begin.Add(rand.N(4 * time.Second)).Truncate(time.Microsecond)
			y.run(t, setMoment, moments[i].UnixMicro(), id)
		}
		for range ids {
			select {
			case b := <-y.began:
				late = append(late, float64(b.at.Sub(moments[b.n]).Microseconds())/1000)
			case <-time.After(time.Minute):
				t.Fatalf("only %d jobs have begun", len(late))
			}
		}
	}
	return late
}
