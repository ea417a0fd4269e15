package queue_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/store"
	"gatehouse/queue"
	"gatehouse/test/services"
)

// The statements with which tests do what a lost answer, a dead process or a paused machine leaves.
var (
	takeSilently = store.SQL(`UPDATE jobs SET state = 'RUNNING', claim = claim + 1, attempt = attempt + 1, sequence = sequence + 1,
		process_id = (SELECT min(id) FROM processes), started_at = {now} WHERE id = ?`)
	endSilently = store.SQL(`UPDATE jobs SET state = 'CANCELLED', sequence = sequence + 1, finished_at = {now} WHERE id = ?`)
	logSilently = store.SQL(`INSERT INTO job_events (job_id, sequence, at, type, state, attempt, claim, done, total, stage, message)
		SELECT id, sequence, {now}, 'STATE', state, attempt, claim, 0, 0, '', '' FROM jobs WHERE id = ?`)
	buryProcesses = store.SQL(`UPDATE processes SET lease_until = 1`)
	addProcess    = store.SQL(`INSERT INTO processes (id, host, pid, started_at, lease_until) VALUES ('prc_other', 'elsewhere', 1, {now}, {now} + 3600000000)`)
	stealJob      = store.SQL(`UPDATE jobs SET claim = claim + 1, process_id = 'prc_other' WHERE id = ?`)
)

func (y *yard) do(id any, statements ...*store.Query) {
	y.t.Helper()
	err := y.db.Update(y.t.Context(), func(tx *store.Tx) error {
		for _, s := range statements {
			args := []any{id}
			if id == nil {
				args = nil
			}
			if _, err := tx.Exec(y.t.Context(), s, args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		y.t.Fatal(err)
	}
}

func TestAJobTakenWithoutAnAnswerIsHandedBack(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("echo")
		p := y.start(queue.Options{Workers: 1, Beat: 20 * time.Millisecond, Lease: 10 * time.Second}, k.Define())
		j := p.enqueue(t, k, "", queue.JobOptions{RunAt: time.Now().Add(time.Hour)})
		for len(y.processes()) == 0 {
			<-time.After(time.Millisecond)
		}
		y.do(j.ID, takeSilently)
		done := p.finished(t, j.ID)
		wantState(t, done, queue.Succeeded)
		if done.Attempt != 1 {
			t.Errorf("attempt %d: what was never begun was counted", done.Attempt)
		}
	})
}

func (y *yard) processes() []string {
	y.t.Helper()
	ids, err := store.All(y.t.Context(), y.db, store.SQL("SELECT id FROM processes"), store.Value[string])
	if err != nil {
		y.t.Fatal(err)
	}
	return ids
}

func TestAJobThatWasTakenAwayEndsHereAndWritesNothing(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		began, ended := make(chan struct{}), make(chan error, 1)
		k := queue.Kind[args, answer]{Name: "long", Handle: func(ctx context.Context, _ *queue.Run, _ args) (answer, error) {
			close(began)
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return answer{"too late"}, nil
		}}
		p := y.start(queue.Options{Workers: 1, Beat: 20 * time.Millisecond, Lease: 10 * time.Second}, k.Define())
		j := p.enqueue(t, k, "", queue.JobOptions{})
		<-began
		y.do(nil, addProcess)
		y.do(j.ID, stealJob)
		if err := <-ended; err != queue.ErrLeaseLost {
			t.Errorf("the context ended with %v", err)
		}
		for p.Figures().Lost == 0 {
			<-time.After(time.Millisecond)
		}
		if got, err := p.Get(t.Context(), ada, j.ID); err != nil || got.State != queue.Running || got.Process != "prc_other" {
			t.Errorf("the job is %+v, %v", got, err)
		}
	})
}

func TestTheJobsOfADeadProcessRunAgainAndAWorkerKillerFails(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		var runs atomic.Int32
		k := queue.Kind[args, answer]{Name: "killer", MaxAttempts: 2, Handle: func(ctx context.Context, _ *queue.Run, _ args) (answer, error) {
			if runs.Add(1) == 1 {
				y.do(nil, buryProcesses) // as if this process had died, for good
			}
			<-ctx.Done()
			return answer{}, ctx.Err()
		}}
		p := y.start(queue.Options{Workers: 2, Sweep: 10 * time.Millisecond, Beat: time.Hour, Lease: 10 * time.Second, Shutdown: time.Millisecond}, k.Define())
		j := p.finished(t, p.enqueue(t, k, "", queue.JobOptions{}).ID)
		wantState(t, j, queue.Failed)
		if runs.Load() != 2 || j.Error.Code != "WORKER_LOST" {
			t.Errorf("%d runs, error %+v", runs.Load(), j.Error)
		}
	})
}

func TestAProcessWhoseLeaseHasRunOutProvesThatItLivesBeforeItTakesAJob(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := queue.Kind[args, answer]{Name: "alive", MaxAttempts: 1, Handle: func(context.Context, *queue.Run, args) (answer, error) {
			if n := len(y.processes()); n != 1 {
				t.Errorf("%d processes live while one has a job", n)
			}
			return answer{}, nil
		}}
		p := y.start(queue.Options{Workers: 1, Sweep: 10 * time.Millisecond, Beat: time.Hour, Lease: time.Second}, k.Define())
		for len(y.processes()) == 0 {
			<-time.After(time.Millisecond)
		}
		for len(y.processes()) > 0 { // as after the database was away
			<-time.After(time.Millisecond)
		}
		wantState(t, p.finished(t, p.enqueue(t, k, "", queue.JobOptions{}).ID), queue.Succeeded)
	})
}

func TestAnEventThatNobodyToldOfReachesItsWatcher(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("echo")
		p := y.start(queue.Options{}, k.Define())
		j := p.enqueue(t, k, "", queue.JobOptions{RunAt: time.Now().Add(time.Hour)})
		events, err := p.Watch(t.Context(), ada, j.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-events
		y.do(j.ID, endSilently, logSilently) // a process died between its commit and its message
		if e := <-events; e == nil || e.State != queue.Cancelled {
			t.Errorf("the watcher was told %+v", e)
		}
		if _, open := <-events; open {
			t.Error("the watch goes on after the end")
		}
	})
}

func TestADoubledIdempotencyKeyKeepsOnlyTheFirstFile(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("echo")
		p := y.start(queue.Options{}, k.Define())
		for i, kept := range []bool{true, false} {
			upload, err := y.files.Receive(t.Context(), "a.csv", strings.NewReader("a,b\n1,2\n"), 100)
			if err != nil {
				t.Fatal(err)
			}
			r, err := k.Request(ada.User, args{}, queue.JobOptions{IdempotencyKey: "once"})
			if err != nil {
				t.Fatal(err)
			}
			r.Files = append(r.Files, upload)
			if _, err := p.Enqueue(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if upload.Kept() != kept {
				t.Errorf("file %d is kept: %v", i, upload.Kept())
			}
		}
	})
}

// TestNothingIsLostOrDoneTwiceWhileProcessesComeAndGo lets workers stop and start in the middle of
// a few hundred jobs.
func TestNothingIsLostOrDoneTwiceWhileProcessesComeAndGo(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		var done [200]atomic.Int32
		k := queue.Kind[args, answer]{Name: "count", MaxAttempts: 25, Handle: func(_ context.Context, run *queue.Run, _ args) (answer, error) {
			run.Log("at it")
			return answer{string(run.Job.ID)}, nil
		}}
		front := y.start(queue.Options{Workers: 1}, k.Define())
		ids := make([]queue.ID, len(done))
		for i := range ids {
			ids[i] = front.enqueue(t, k, "", queue.JobOptions{Priority: queue.Priority(1 + i%4)}).ID
		}
		if y.local == nil {
			for range 3 {
				y.start(queue.Options{Workers: 4, Shutdown: time.Millisecond}, k.Define()).stop()
			}
		}
		for i, id := range ids {
			j := front.finished(t, id)
			wantState(t, j, queue.Succeeded)
			for _, e := range front.watch(t, id, new(int64)) {
				if e.Type == queue.StateChanged && e.State == queue.Succeeded {
					done[i].Add(1)
				}
			}
			if n := done[i].Load(); n != 1 {
				t.Errorf("job %s succeeded %d times", id, n)
			}
		}
	})
}

// BenchmarkPickUp is the time from a durable enqueue to the first line of the handler, on idle workers.
func BenchmarkPickUp(b *testing.B) {
	b.Run("embedded", func(b *testing.B) { benchmarkPickUp(b, newYard(b, "sqlite:"+filepath.Join(b.TempDir(), "q.db"), "")) })
	b.Run("PostgreSQL and Redis", func(b *testing.B) { benchmarkPickUp(b, newYard(b, services.Postgres(b), services.Redis(b))) })
}

func benchmarkPickUp(b *testing.B, y *yard) {
	started := make(chan time.Time, 1)
	k := queue.Kind[args, answer]{Name: "now", Handle: func(context.Context, *queue.Run, args) (answer, error) {
		started <- time.Now()
		return answer{}, nil
	}}
	p := y.start(queue.Options{Workers: 4}, k.Define())
	var waits []time.Duration
	for b.Loop() {
		r, err := k.Request(ada.User, args{}, queue.JobOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Enqueue(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		committed := time.Now()
		waits = append(waits, (<-started).Sub(committed))
		<-time.After(2 * time.Millisecond) // idle again
	}
	report(b, waits)
}

// report prints the median and the 99th percentile of waits.
func report(b *testing.B, waits []time.Duration) {
	slices.Sort(waits)
	b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds())/1000, "p99-ms")
}
