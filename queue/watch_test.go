package queue_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/internal/feed"
	"gatehouse/internal/store"
	"gatehouse/queue"
)

var (
	bump    = store.SQL(`UPDATE jobs SET sequence = sequence + 1 WHERE id = ? RETURNING sequence`)
	addLine = store.SQL(`INSERT INTO job_events (job_id, sequence, at, type, state, attempt, claim, done, total, stage, message)
		VALUES (?, ?, {now}, ?, ?, 0, 0, 0, 0, '', '')`)
	endJob = store.SQL(`UPDATE jobs SET state = 'CANCELLED', finished_at = {now} WHERE id = ?`)
)

// relay is a reader whom the source calls. It hands each value on, as slowly as it is taken.
type relay[T any] struct {
	t    *testing.T
	ctx  context.Context
	turn sync.Mutex // held until from is known
	from <-chan T
	to   chan T
}

// relayed asks for a stream by open, offering a reader, and returns what the reader is given.
func relayed[T any](t *testing.T, ctx context.Context, open func(context.Context) (<-chan T, error)) (<-chan T, error) {
	r := &relay[T]{t: t, ctx: ctx, to: make(chan T)}
	r.turn.Lock()
	defer r.turn.Unlock()
	offer := &feed.Offer{Reader: r}
	var err error
	if r.from, err = open(feed.With(ctx, offer)); err == nil && !offer.Accepted() {
		t.Error("the source does not take the reader")
	}
	return r.to, err
}

func (r *relay[T]) Ready(closed bool) {
	r.turn.Lock()
	defer r.turn.Unlock()
	for {
		select {
		case value, open := <-r.from:
			switch {
			case !open && !closed:
				r.t.Error("the channel is closed, and the reader was not told")
			case !open:
				close(r.to)
				return
			}
			select {
			case r.to <- value:
			case <-r.ctx.Done():
			}
		default:
			r.t.Error("the reader is called, and no value waits")
			return
		}
		if !closed {
			return
		}
	}
}

// TestAWatcherMissesNothingWhateverIsLostDoubledOrLate writes events of a job, loses, doubles and
// delays the messages about them, lets the watcher read slowly and come back, and compares. The
// watcher waits on the channel, or is called.
func TestAWatcherMissesNothingWhateverIsLostDoubledOrLate(t *testing.T) {
	y := newYard(t, "sqlite:"+filepath.Join(t.TempDir(), "q.db"), "")
	k := echo("echo")
	p := y.start(queue.Options{}, k.Define())
	rapid.Check(t, func(rt *rapid.T) {
		called := rapid.Bool().Draw(rt, "the watcher is called")
		job := p.enqueue(t, k, "", queue.JobOptions{RunAt: time.Now().Add(time.Hour)})
		var late []queue.Event
		publish := func(e queue.Event) {
			data, err := json.Marshal([]queue.Event{e})
			if err != nil {
				rt.Fatal(err)
			}
			if err := y.localBus.Publish(context.Background(), "job:"+string(job.ID), data); err != nil {
				rt.Fatal(err)
			}
		}
		write := func(kind queue.EventType, state queue.State, statements ...*store.Query) queue.Event {
			e := queue.Event{JobID: job.ID, Type: kind, State: state}
			err := y.db.Update(context.Background(), func(tx *store.Tx) (err error) {
				if e.Sequence, err = store.One(context.Background(), tx, bump, store.Value[int64], job.ID); err != nil {
					return err
				}
				for _, s := range statements {
					if _, err := tx.Exec(context.Background(), s, job.ID); err != nil {
						return err
					}
				}
				_, err = tx.Exec(context.Background(), addLine, job.ID, e.Sequence, kind, state)
				return err
			})
			if err != nil {
				rt.Fatal(err)
			}
			return e
		}

		seen := int64(0)
		var events <-chan *queue.Event
		leave := func() {}
		come := func() {
			leave()
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			watch := func(ctx context.Context) (<-chan *queue.Event, error) { return p.Watch(ctx, ada, job.ID, &seen) }
			var err error
			if called {
				events, err = relayed(t, ctx, watch)
			} else {
				events, err = watch(ctx)
			}
			if err != nil {
				rt.Fatal(err)
			}
			leave = func() {
				cancel()
				for range events { // it is closed when the watcher leaves
				}
			}
			if e := <-events; e == nil || e.Type != queue.Snapshot {
				rt.Fatalf("the first event is %+v", e)
			}
		}
		read := func() bool {
			e, open := <-events
			if !open {
				return false
			}
			if e.Sequence != seen+1 {
				rt.Fatalf("event %d came after %d", e.Sequence, seen)
			}
			seen = e.Sequence
			return true
		}
		written := job.Sequence
		come()
		defer func() { leave() }()
		rt.Repeat(map[string]func(*rapid.T){
			"told": func(*rapid.T) {
				e := write(queue.LineWritten, queue.Scheduled)
				written = e.Sequence
				publish(e)
			},
			"told twice": func(*rapid.T) {
				e := write(queue.LineWritten, queue.Scheduled)
				written = e.Sequence
				publish(e)
				publish(e)
			},
			"told late": func(*rapid.T) {
				e := write(queue.LineWritten, queue.Scheduled)
				written = e.Sequence
				late = append(late, e)
			},
			"the late ones come": func(rt *rapid.T) {
				for _, i := range rapid.Permutation(late).Draw(rt, "order") {
					publish(i)
				}
				late = nil
			},
			"never told": func(*rapid.T) { written = write(queue.LineWritten, queue.Scheduled).Sequence },
			"the watcher reads": func(rt *rapid.T) {
				if seen == written || len(late) > 0 {
					rt.Skip("there may be nothing to read yet")
				}
				e := write(queue.LineWritten, queue.Scheduled) // whatever was lost is seen by now
				written = e.Sequence
				publish(e)
				read()
			},
			"the watcher comes back": func(*rapid.T) { come() },
		})
		publish(write(queue.StateChanged, queue.Cancelled, endJob))
		for read() {
		}
		if seen != written+1 {
			rt.Fatalf("the watch ended at event %d of %d", seen, written+1)
		}
	})
}

func TestAWatchEndsWithItsJobEvenWhenAGapIsToldAtTheEnd(t *testing.T) {
	y := newYard(t, "sqlite:"+filepath.Join(t.TempDir(), "q.db"), "")
	k := echo("echo")
	p := y.start(queue.Options{}, k.Define())
	job := p.enqueue(t, k, "", queue.JobOptions{RunAt: time.Now().Add(time.Hour)})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	events, err := p.Watch(ctx, ada, job.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Cancel(ctx, ada, job.ID); err != nil {
		t.Fatal(err)
	}
	if err := y.localBus.Publish(ctx, "job:"+string(job.ID), []byte("no event")); err != nil {
		t.Fatal(err)
	}
	var last *queue.Event
	for last = range events {
	}
	if ctx.Err() != nil || last == nil || last.State != queue.Cancelled {
		t.Errorf("the last event is %+v, and the channel is closed by %v", last, context.Cause(ctx))
	}
}

func TestAReaderOfUpdatesIsCalledForEachChangeAndForTheEnd(t *testing.T) {
	y := newYard(t, "sqlite:"+filepath.Join(t.TempDir(), "q.db"), "")
	k := echo("echo")
	p := y.start(queue.Options{}, k.Define())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	jobs, err := relayed(t, ctx, func(ctx context.Context) (<-chan *queue.Job, error) {
		return p.Updates(ctx, ada, queue.Filter{States: []queue.State{queue.Cancelled}})
	})
	if err != nil {
		t.Fatal(err)
	}
	var before queue.ID
	for range 20 {
		job := p.enqueue(t, k, "", queue.JobOptions{RunAt: time.Now().Add(time.Hour)})
		if _, err := p.Cancel(ctx, ada, job.ID); err != nil {
			t.Fatal(err)
		}
		got := <-jobs
		for got != nil && got.ID == before { // of two changes the first may show what the second brought
			got = <-jobs
		}
		if got == nil || got.ID != job.ID || got.State != queue.Cancelled {
			t.Fatalf("got %+v, want the end of %s", got, job.ID)
		}
		before = job.ID
	}
	cancel()
	for range jobs {
	}
}

// BenchmarkAnEventForAThousandWatchers tells of one change of state until the last watcher has it.
func BenchmarkAnEventForAThousandWatchers(b *testing.B) {
	y := newYard(b, "sqlite:"+filepath.Join(b.TempDir(), "q.db"), "")
	k := echo("echo")
	p := y.start(queue.Options{}, k.Define())
	for b.Loop() {
		b.StopTimer()
		job := p.enqueue(b, k, "", queue.JobOptions{RunAt: time.Now().Add(time.Hour)})
		var told sync.WaitGroup
		for range 1000 {
			events, err := p.Watch(b.Context(), ada, job.ID, nil)
			if err != nil {
				b.Fatal(err)
			}
			<-events
			told.Go(func() {
				for range events {
				}
			})
		}
		b.StartTimer()
		if _, err := p.Cancel(b.Context(), ada, job.ID); err != nil {
			b.Fatal(err)
		}
		told.Wait()
	}
}
