package e2e

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"gatehouse/test/services"
)

// A standIn is a Redis, or several, of which a part goes and another takes its place.
type standIn struct {
	redis string // --redis-url
	work  string // --work-redis-url; "": the same
	trust string // a file of certificates
	fail  func(namespace string)
}

// TestWhenAnotherRedisTakesOverNothingIsLost lets the Redis that holds the queue go in the middle of 500 jobs.
func TestWhenAnotherRedisTakesOverNothingIsLost(t *testing.T) {
	t.Parallel()
	for _, form := range []struct {
		name  string
		start func(t *testing.T) standIn
	}{
		{"cluster", func(t *testing.T) standIn {
			c := services.StartRedisCluster(t)
			return standIn{redis: c.URL, fail: func(namespace string) { c.KillMasterOf(t, "{"+namespace+"}") }}
		}},
		{"sentinels", func(t *testing.T) standIn {
			s := services.StartRedisSentinels(t)
			return standIn{redis: s.URL, fail: func(string) { s.KillMaster() }}
		}},
		{"with TLS, and a durable one for the queue", func(t *testing.T) standIn {
			url, authority := services.RedisWithTLS(t)
			work := services.StartDurableRedis(t)
			return standIn{redis: url, work: work.URL, trust: authority, fail: func(string) { work.Kill(); work.Restart(t) }}
		}},
	} {
		t.Run(form.name, func(t *testing.T) { takeOver(t, form.start(t)) })
	}
}

func takeOver(t *testing.T, redis standIn) {
	const jobs = 500
	d := newDeployment(t, []string{"--trusted-proxies", "127.0.0.0/8"})
	d.database, d.redis = services.Postgres(t), redis.redis
	if redis.work != "" {
		d.extra = append(d.extra, "--work-redis-url", redis.work)
	}
	if redis.trust != "" {
		d.secrets = append(d.secrets, "SSL_CERT_FILE="+redis.trust)
	}
	d.watchSecrets()
	d.addServer("--workers", "0")
	d.addServer("--workers", "0")
	d.addWorker()
	d.addWorker()
	d.awaitReady()

	c, mallory := d.person(), d.seen.email()
	victim := newClient(t, d.servers[1].url, d.seen)
	victim.email, victim.password = c.email, c.password
	victim.login()
	began := time.Now()
	guessed := d.guesses(mallory, 40)

	var mu sync.Mutex
	var ids []string
	var load sync.WaitGroup
	half, failed := make(chan struct{}), make(chan struct{})
	for part := range 4 {
		load.Go(func() {
			for i := part; i < jobs; i += 4 {
				a, err := c.at(d.servers[i%2]).try(t.Context(), processDocument, vars{"in": vars{"text": "a,b\n1,2\n"}})
				if err != nil || a.code() != "" {
					t.Errorf("enqueue: %v, %v", a, err)
					return
				}
				mu.Lock()
				ids = append(ids, into[processed](quiet{t}, a).ProcessCsv.Job.ID)
				if len(ids) == jobs/2 {
					close(half)
				}
				mu.Unlock()
			}
		})
	}
	load.Go(func() {
		<-half
		redis.fail(d.namespace)
		close(failed)
	})
	<-failed
	gone := time.Now()
	if !victim.signedIn() { // from now on the server knows it by heart
		t.Error("a session ended with Redis")
	}
	ask[any](c, `mutation($id: ID!) { revokeSession(input: {sessionId: $id}) { sessionId userErrors { code } } }`, vars{"id": victim.session})
	seen := until(t, 10*time.Second, "the other server does not hear of the end of a session", func() bool { return !victim.signedIn() })
	t.Logf("the end of a session was seen %v after it", seen)
	load.Wait()
	for _, id := range ids {
		c.awaitState(id, "SUCCEEDED")
	}
	t.Logf("%d jobs have ended %v after Redis went", len(ids), time.Since(gone))
	d.checkEndings(jobs)
	d.awaitReady()
	t.Logf("all answer %v after Redis went", time.Since(gone))
	guessed += d.guesses(mallory, 40)
	if most := 20 + int(time.Since(began)/(30*time.Second)) + 1; guessed > most {
		t.Errorf("%d passwords were tried, want at most %d", guessed, most)
	}
	if c.at(d.servers[1]).process(vars{"text": "a\n1\n"}).ID == "" {
		t.Error("no job can be started")
	}
}

// guesses tries n wrong passwords at both servers and returns how many were looked at.
func (d *deployment) guesses(email string, n int) (looked int) {
	for i := range n {
		if a := d.visitor(i).from(i).guess(email); a.code() != "RATE_LIMITED" {
			looked++
		}
	}
	return looked
}

// awaitReady waits until every process says that all it needs answers.
func (d *deployment) awaitReady() {
	d.t.Helper()
	for _, p := range append(append([]*process(nil), d.servers...), d.workers...) {
		until(d.t, patience, "a process is not ready", func() bool {
			status, body := d.visitor(0).get(p.url + "/readyz")
			var said struct{ Status string }
			return status == http.StatusOK && json.Unmarshal(body, &said) == nil && said.Status == "ready"
		})
	}
}
