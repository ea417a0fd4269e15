package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/queue"
)

func TestManyJobsAreCancelledAndStartedAnewAtOnceAndOnlyOnesOwn(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		stuck := make(chan struct{}, 1)
		k := queue.Kind[args, answer]{Name: "waits", Handle: func(ctx context.Context, run *queue.Run, _ args) (answer, error) {
			if run.Job.Owner == "usr_late" {
				return answer{}, nil
			}
			stuck <- struct{}{}
			<-ctx.Done()
			return answer{}, context.Cause(ctx)
		}}
		p := y.start(queue.Options{Workers: 1}, k.Define())
		mine := p.begin(t, k, ada.User, 1)
		<-stuck
		mine = append(mine, p.begin(t, k, ada.User, 620)...)
		others := p.begin(t, k, "usr_late", 2)
		if _, err := p.CancelAll(t.Context(), ada, queue.Filter{Owner: "usr_late"}); !fault.Is(err, fault.Forbidden) {
			t.Errorf("ada may cancel another's jobs: %v", err)
		}
		if got, err := p.CancelAll(t.Context(), eve, queue.Filter{}); err != nil || got.Count != 0 {
			t.Errorf("eve cancelled %+v, %v", got, err)
		}
		got, err := p.CancelAll(t.Context(), ada, queue.Filter{})
		if err != nil || got.Count != len(mine) || got.More {
			t.Fatalf("cancelled %+v, %v; want %d", got, err, len(mine))
		}
		for _, id := range mine[:5] {
			wantState(t, p.finished(t, id), queue.Cancelled)
		}
		p.all(t, others)
		if got, err = p.CancelAll(t.Context(), ada, queue.Filter{}); err != nil || got.Count != 0 {
			t.Errorf("what has ended was cancelled again: %+v, %v", got, err)
		}
		if got, err = p.RetryAll(t.Context(), ada, queue.Filter{States: []queue.State{queue.Failed}}); err != nil || got.Count != 0 {
			t.Errorf("cancelled jobs were retried as failed ones: %+v, %v", got, err)
		}
		if got, err = p.RetryAll(t.Context(), ada, queue.Filter{}); err != nil || got.Count != len(mine) {
			t.Errorf("started %+v anew, %v; want %d", got, err, len(mine))
		}
		if got, err = p.CancelAll(t.Context(), root, queue.Filter{Owner: ada.User, Kinds: []string{"waits"}}); err != nil || got.Count != len(mine) {
			t.Errorf("an admin cancelled %+v, %v; want %d", got, err, len(mine))
		}
	})
}

func TestAnOwnerHasNoMoreOpenJobsThanTheQuota(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := echo("echo")
		free := echo("owed")
		free.Unmetered = true
		p := y.start(queue.Options{Quota: queue.Quota{Open: 5}}, k.Define(), free.Define())
		key := queue.JobOptions{IdempotencyKey: "once"}
		first := p.enqueue(t, k, "", key)
		p.begin(t, k, ada.User, 4)
		over := func() error {
			r, err := k.Request(ada.User, args{}, queue.JobOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Enqueue(t.Context(), r)
			return err
		}
		if err := over(); !fault.Is(err, fault.QuotaExceeded) {
			t.Fatalf("a sixth job: %v", err)
		}
		if again := p.enqueue(t, k, "", key); again.ID != first.ID {
			t.Errorf("the same key is another job")
		}
		p.enqueue(t, free, "", queue.JobOptions{})
		p.begin(t, k, eve.User, 1)
		if _, err := p.CancelAll(t.Context(), ada, queue.Filter{}); err != nil {
			t.Fatal(err)
		}
		if err := over(); err != nil {
			t.Errorf("a job after all were cancelled: %v", err)
		}
		if _, err := p.RetryAll(t.Context(), ada, queue.Filter{}); !fault.Is(err, fault.QuotaExceeded) {
			t.Errorf("six are started anew beside one: %v", err)
		}
		if _, err := p.Retry(t.Context(), ada, first.ID); err != nil {
			t.Errorf("one is started anew: %v", err)
		}
		if used, most, _, err := p.Used(t.Context(), ada); err != nil || used.Open != 2 || most.Open != 5 {
			t.Errorf("ada has %+v of %+v, %v", used, most, err)
		}
	})
}

func TestFilesCountAgainstTheQuotaOfTheirJobsOwner(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := queue.Kind[args, answer]{Name: "writes", Handle: func(ctx context.Context, run *queue.Run, _ args) (answer, error) {
			file, err := run.Create(ctx, "out.txt", "text/plain")
			if err == nil {
				_, err = file.Write(make([]byte, 1000))
			}
			return answer{}, err
		}}
		p := y.start(queue.Options{Workers: 1, Quota: queue.Quota{Stored: 1000}}, k.Define())
		made := p.finished(t, p.enqueue(t, k, "", queue.JobOptions{}).ID)
		wantState(t, made, queue.Succeeded)
		r, err := k.Request(ada.User, args{}, queue.JobOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for { // a count is good for a second
			if _, err = p.Enqueue(t.Context(), r); err != nil {
				break
			}
			<-time.After(50 * time.Millisecond)
		}
		if !fault.Is(err, fault.QuotaExceeded) {
			t.Fatalf("a job when all bytes are used: %v", err)
		}
		if _, err := p.CancelAll(t.Context(), ada, queue.Filter{}); err != nil {
			t.Fatal(err)
		}
		if used, _, _, err := p.Used(t.Context(), ada); err != nil || used.Stored < 1000 {
			t.Errorf("ada has %+v, %v", used, err)
		}
	})
}

func TestTheQueuesTellHowTheyStand(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k := queue.Kind[args, answer]{Name: "work", MaxAttempts: 1, Handle: func(_ context.Context, _ *queue.Run, a args) (answer, error) {
			if a.Text == "fail" {
				return answer{}, errors.New("it does not work")
			}
			return answer{}, nil
		}}
		front := y.start(queue.Options{}, k.Define())
		if _, err := front.WatchStats(t.Context(), ada); !fault.Is(err, fault.Forbidden) {
			t.Errorf("anybody sees the queues: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		stats, err := front.WatchStats(ctx, root)
		if err != nil {
			t.Fatal(err)
		}
		first := <-stats
		if len(first.Queues) != 1 || first.Queues[0].Name != queue.DefaultQueue || first.Queues[0].Workers != 0 || first.Queues[0].Since() != nil {
			t.Fatalf("at first %+v", first.Queues[0])
		}
		front.enqueue(t, k, "", queue.JobOptions{})
		front.enqueue(t, k, "fail", queue.JobOptions{})
		until := func(what string, reached func(*queue.QueueStats) bool) {
			t.Helper()
			for s := range stats {
				if reached(s.Queues[0]) {
					return
				}
			}
			t.Fatalf("never told that %s", what)
		}
		until("two jobs wait", func(s *queue.QueueStats) bool { return s.Queued == 2 && s.Since() != nil })
		y.start(queue.Options{Workers: 3, Beat: 100 * time.Millisecond}, k.Define())
		until("one ended well and one failed", func(s *queue.QueueStats) bool {
			return s.Queued == 0 && s.Workers == 3 && s.Begun == 2 && s.Succeeded == 1 && s.Failed == 1
		})
		if err := front.Pause(t.Context(), root, queue.DefaultQueue, true); err != nil {
			t.Fatal(err)
		}
		until("the queue is paused", func(s *queue.QueueStats) bool { return s.Paused })
		cancel()
		for range stats { // it is closed
		}
	})
}

func TestAPausedKindLetsNothingBeginUntilItIsResumed(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		k, other := echo("echo"), echo("other")
		p := y.start(queue.Options{Workers: 1}, k.Define(), other.Define())
		if err := p.PauseKind(t.Context(), ada, k.Name, true); !fault.Is(err, fault.Forbidden) {
			t.Errorf("anybody may pause: %v", err)
		}
		if err := p.PauseKind(t.Context(), root, "none", true); !fault.Is(err, fault.Invalid) {
			t.Errorf("a kind that there is not: %v", err)
		}
		if err := p.PauseKind(t.Context(), root, k.Name, true); err != nil {
			t.Fatal(err)
		}
		j := p.enqueue(t, k, "", queue.JobOptions{})
		wantState(t, p.finished(t, p.enqueue(t, other, "", queue.JobOptions{}).ID), queue.Succeeded)
		if got, err := p.Get(t.Context(), ada, j.ID); err != nil || got.State != queue.Queued {
			t.Fatalf("job is %v, %v", got, err)
		}
		if err := p.PauseKind(t.Context(), root, k.Name, false); err != nil {
			t.Fatal(err)
		}
		wantState(t, p.finished(t, j.ID), queue.Succeeded)
	})
}
