package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestAStreamSurvivesARefreshOfItsTokenAndEndsForAStrangersToken(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		rows := slowRows(t)
		j := c.process(vars{"url": rows.url})
		s := c.dial()
		s.subscribe("1", eventsDocument, vars{"id": j.ID})
		first := c.access
		c.renew()
		s.send(envelope{Type: "ping", Payload: authorization(c.access)})
		var pong struct {
			Authorized bool
			ExpiresAt  time.Time
		}
		for pong.ExpiresAt.IsZero() {
			m, ok := s.next(patience)
			if !ok {
				t.Fatalf("the socket closed with %d %q", s.code, s.reason)
			}
			if m.Type == "pong" {
				if err := json.Unmarshal(m.Payload, &pong); err != nil || !pong.Authorized {
					t.Fatalf("the fresh token was answered by %s: %v", m.Payload, err)
				}
			}
		}
		if c.access == first || time.Until(pong.ExpiresAt) < time.Minute {
			t.Errorf("the fresh token holds until %v", pong.ExpiresAt)
		}
		rows.open()
		w := &socketWatch{socket: s}
		if e := last(follow(t, w)); e.Job.State != "SUCCEEDED" {
			t.Errorf("the stream ended with %+v", e)
		}
		s.send(envelope{Type: "ping", Payload: authorization(d.person().access)})
		if code, reason := s.awaitClose(patience); code != 4403 {
			t.Errorf("another account's token: closed with %d %q, want 4403", code, reason)
		}
	})
}

// cuts is how often the connection is torn while the job runs.
const cuts = 40

func TestAWatcherWhoseConnectionBreaksAgainAndAgainMissesNoEventAndGetsNoneTwice(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		rows := slowRows(t)
		j := c.process(vars{"url": rows.url})
		rows.awaitOpened(t, patience)
		seen := map[int]int{}
		after, final := 0, false
		for n := 0; !final; n++ {
			if n == cuts {
				rows.open()
			}
			there := c.at(d.servers[n%len(d.servers)])
			open := []func(string, *int) watch{there.watchSocket, there.watchEvents}[rand.IntN(2)]
			after, final = readSome(t, open(j.ID, &after), seen, after, n < cuts)
		}
		for number := 1; number <= after; number++ {
			if seen[number] != 1 {
				t.Errorf("event %d of %d came %d times", number, after, seen[number])
			}
		}
		t.Logf("%d events over %d connections", after, cuts+1)
		if after < 20 {
			t.Errorf("only %d events: the test shows nothing", after)
		}
	})
}

// readSome reads a stream that resumes after an event and tears it after a few events or, while
// tearing is set, a few milliseconds. It returns the number of the last event and whether the job ended.
func readSome(t *testing.T, w watch, seen map[int]int, after int, tear bool) (int, bool) {
	t.Helper()
	defer w.cut()
	within := patience
	if tear {
		within = time.Duration(rand.IntN(200)) * time.Millisecond
	}
	deadline := time.Now().Add(within)
	for {
		e, ok := w.next(time.Until(deadline))
		if !ok {
			if !tear {
				t.Fatalf("the last stream ended after event %d", after)
			}
			return after, false
		}
		if e.Type == "SNAPSHOT" {
			continue
		}
		seen[e.Sequence]++
		after = e.Sequence
		if e.Job.final() {
			return after, true
		}
	}
}

func TestASlowReaderHoldsUpNobodyAndStillLearnsTheEnd(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		rows := slowRows(t)
		j := c.process(vars{"url": rows.url})
		slow := c.dial()
		_ = slow.conn.(*net.TCPConn).SetReadBuffer(4096)
		const streams = 20 // together more than the inbox and a small buffer hold
		for i := range streams {
			slow.subscribe(fmt.Sprint(i), eventsDocument, vars{"id": j.ID})
		}
		quick := c.watchSocket(j.ID, nil)
		pause(2 * time.Second)
		rows.open()
		follow(t, quick)
		began := time.Now()
		ended := map[string]bool{}
		for len(ended) < streams {
			m, ok := slow.next(patience)
			if !ok {
				t.Fatalf("the slow reader's socket ended with %d %q after %d streams", slow.code, slow.reason, len(ended))
			}
			if m.Type == "next" {
				if e, err := readEvent(m.Payload); err != nil || !e.Job.final() {
					continue
				}
				ended[m.ID] = true
			}
		}
		t.Logf("the slow reader caught up within %v", time.Since(began))
	})
}

func TestAServerThatStopsTellsItsStreamsToComeBackAndCutsNoRequest(t *testing.T) {
	t.Parallel()
	d := distributed(t)
	c := d.person()
	rows := slowRows(t)
	j := c.process(vars{"url": rows.url})
	rows.awaitOpened(t, patience)
	var sockets []*socket
	for range 10 {
		s := c.dial()
		s.subscribe("1", eventsDocument, vars{"id": j.ID})
		sockets = append(sockets, s)
	}
	events := c.watchEvents(j.ID, nil)
	stopLoad := queryAllTheTime(t, c)
	pause(200 * time.Millisecond)
	began := time.Now()
	if code := d.servers[0].stop(); code != 0 {
		t.Errorf("the server ended with %d, want 0", code)
	}
	took := time.Since(began)
	t.Logf("stopped within %v", took)
	if took > 12*time.Second {
		t.Errorf("the stop took %v", took)
	}
	answered, refusedAtConnect := stopLoad()
	t.Logf("%d queries answered, %d refused at connect", answered, refusedAtConnect)
	for i, s := range sockets {
		if code, reason := s.awaitClose(patience); code != 1012 {
			t.Errorf("socket %d was closed with %d %q, want 1012", i, code, reason)
		}
	}
	for {
		if _, ok := events.next(patience); !ok {
			break
		}
	}
	if !events.completed() {
		t.Error("the event stream was cut without a complete")
	}
	other := c.at(d.servers[1])
	rows.open()
	follow(t, other.watchSocket(j.ID, nil))
}

// queryAllTheTime lets four callers query c's server, each time over a fresh connection, until the
// returned function is called. Each query must be answered, or refused when it connects.
func queryAllTheTime(t *testing.T, c *client) (stop func() (answered, refused int64)) {
	ctx, cancel := context.WithCancel(context.Background())
	var callers sync.WaitGroup
	var answered, refused atomic.Int64
	for range 4 {
		callers.Go(func() {
			lone := *c
			lone.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
			for ctx.Err() == nil {
				a, err := lone.try(context.WithoutCancel(ctx), `{ me { id } jobs(first: 50) { nodes { id state } } }`, nil)
				switch {
				case err == nil && a.status == http.StatusOK && len(a.Errors) == 0:
					answered.Add(1)
				case errors.Is(err, syscall.ECONNREFUSED):
					refused.Add(1)
					pause(20 * time.Millisecond)
				case errors.Is(err, syscall.ECONNRESET) && atConnect(err):
					refused.Add(1) // it waited in the kernel's queue when the listener closed: nobody had read it
				default:
					t.Errorf("at %v a query was cut: %v, %v", time.Now().UTC().Format("05.000"), a, err)
				}
			}
		})
	}
	return func() (int64, int64) {
		cancel()
		callers.Wait()
		return answered.Load(), refused.Load()
	}
}

// atConnect reports whether a reset came before a byte of an answer was read: the kernel resets the
// connections that wait unaccepted when a listener closes, which no server can help.
func atConnect(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "read" || op.Op == "write" || op.Op == "dial")
}

func TestAWorkerThatStopsHandsItsJobBackWithTheAttemptRefunded(t *testing.T) {
	t.Parallel()
	d := distributed(t, "--shutdown-timeout", "500ms")
	c := d.person()
	rows := slowRows(t)
	j := c.process(vars{"url": rows.url, "options": vars{"maxAttempts": 1}})
	rows.awaitOpened(t, patience)
	holder := d.holder()
	began := time.Now()
	holder.signal(syscall.SIGTERM)
	again := rows.awaitOpened(t, patience)
	t.Logf("the other worker began after %v", again.Sub(began))
	if code := holder.wait(); code != 0 {
		t.Errorf("the worker ended with %d, want 0", code)
	}
	rows.open()
	done := c.awaitState(j.ID, "SUCCEEDED")
	if done.Attempt != 1 || len(done.Attempts) != 1 {
		t.Errorf("attempt %d with %d in its history, want the first one refunded: %+v", done.Attempt, len(done.Attempts), done.Attempts)
	}
}

// holder finds the worker that runs the deployment's one job: its metrics tell of a busy place.
func (d *deployment) holder() *process {
	d.t.Helper()
	var found *process
	until(d.t, patience, "no worker, or more than one, has a job in hand", func() bool {
		inHand := 0.0
		for _, p := range d.workers {
			if p.alive() {
				busy := p.metric(d.t, "gatehouse_jobs_busy") // mails are jobs too
				if inHand += busy; busy == 1 {
					found = p
				}
			}
		}
		return inHand == 1
	})
	return found
}

func TestAServerThatStopsWithWorkersInsideLetsItsJobsEnd(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	rows := newSource(t, drip{piece: bytes.Repeat([]byte("1,Ada\n"), 10), every: 20 * time.Millisecond})
	j := c.process(vars{"url": rows.url})
	rows.awaitOpened(t, patience)
	d.servers[0].signal(syscall.SIGTERM)
	pause(200 * time.Millisecond)
	rows.open()
	if code := d.servers[0].wait(); code != 0 {
		t.Errorf("the server ended with %d, want 0", code)
	}
	d.servers = append(d.servers, d.launch("serve", nil))
	if done := c.at(d.servers[1]).job(j.ID); done.State != "SUCCEEDED" || done.Attempt != 1 {
		t.Errorf("after the restart the job is %s in attempt %d, want it to have ended well before", done.State, done.Attempt)
	}
}
