//go:build linux

package load

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"gatehouse/test/services"
)

// measureRecovery kills workers in the middle of a job, as kill -9 does, and takes the time until
// another worker has begun the job again.
func measureRecovery(t *testing.T, b *bench) {
	const deployments = 4
	kills := of(b, 5, 1)
	// Each deployment has a database, a Redis database and workers of its own.
	parts := make([][2]string, deployments)
	for i := range parts {
		parts[i] = [2]string{services.Postgres(t), services.Redis(t)}
	}
	var (
		mu    sync.Mutex
		waits []float64
	)
	t.Run("side by side", func(t *testing.T) {
		for i, part := range parts {
			t.Run(fmt.Sprint("deployment ", i), func(t *testing.T) {
				t.Parallel()
				some := recoveries(t, b, part[0], part[1], fmt.Sprintf("load%d", i), kills)
				mu.Lock()
				defer mu.Unlock()
				waits = append(waits, some...)
			})
		}
	})
	if len(waits) < deployments*kills {
		t.Fatalf("only %d of %d killed workers were replaced", len(waits), deployments*kills)
	}
	b.atMost(t, "kill -9 of a worker, to the next start of its job", 4, at(waits, 1), " s",
		fmt.Sprintf("worst of %d, median %.2f s; PostgreSQL and Redis, %d deployments at a time", len(waits), middle(waits), deployments))
}

// recoveries returns the seconds from each kill to the next attempt.
func recoveries(t testing.TB, b *bench, database, redisURL, namespace string, kills int) []float64 {
	source := newTrickle()
	defer source.Close()
	data := t.TempDir()
	flags := []string{"--database-url=" + database, "--redis-url=" + redisURL, "--namespace=" + namespace, "--allow-private-fetch"}
	house := b.gatehouse(t, anyCore, data, append(flags, "--workers=0")...)
	ada := register(t, house.addr, 1)
	worker := func() *program {
		return start(t, anyCore, b.program, append([]string{"worker", "--addr=127.0.0.1:0", "--data=" + data, "--workers=2"}, flags...)...)
	}
	inHand := worker()
	ask(t, house.addr, ada.Access, `mutation{processCsv(input:{url:"`+source.URL+`/endless.csv",options:{maxAttempts:25}}){job{id}}}`, nil)
	source.await(t)
	var waits []float64
	for range kills {
		other := worker()
		killed := time.Now()
		inHand.kill()
		waits = append(waits, source.await(t).Sub(killed).Seconds())
		inHand = other
	}
	house.kill()
	inHand.kill()
	return waits
}

// trickle is a web server with a CSV that never ends, and that tells when somebody begins to read it.
type trickle struct {
	*httptest.Server
	begun chan time.Time
}

func newTrickle() *trickle {
	source := &trickle{begun: make(chan time.Time, 100)}
	source.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		source.begun <- time.Now()
		w.Header().Set("Content-Type", "text/csv")
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := io.WriteString(w, "id,name\n1,one\n"); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
			}
		}
	}))
	return source
}

// await returns when the next reader began.
func (s *trickle) await(t testing.TB) time.Time {
	t.Helper()
	select {
	case at := <-s.begun:
		return at
	case <-time.After(time.Minute):
		t.Fatal("nobody began the job within a minute")
		return time.Time{}
	}
}
