package queue_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/internal/store"
	"gatehouse/queue"
)

var (
	bump    = store.SQL(`UPDATE jobs SET sequence = sequence + 1 WHERE id = ? RETURNING sequence`)
	addLine = store.SQL(`INSERT INTO job_events (job_id, sequence, at, type, state, attempt, claim, done, total, stage, message)
		VALUES (?, ?, {now}, ?, ?, 0, 0, 0, 0, '', '')`)
	endJob = store.SQL(`UPDATE jobs SET state = 'CANCELLED', finished_at = {now} WHERE id = ?`)
)

// TestAWatcherMissesNothingWhateverIsLostDoubledOrLate writes events of a job, loses, doubles and
// delays the messages about them, lets the watcher read slowly and come back, and compares.
func TestAWatcherMissesNothingWhateverIsLostDoubledOrLate(t *testing.T) {
	y := newYard(t, "sqlite:"+filepath.Join(t.TempDir(), "q.db"), "")
	k := echo("echo")
	p := y.start(queue.Options{}, k.Define())
	rapid.Check(t, func(rt *rapid.T) {
		job := p.enqueue(t, k, "", queue.JobOptions{RunAt: time.Now().Add(time.Hour)})
		var late []queue.Event
		publish := func(e queue.Event) {
			data, err := json.Marshal(e)
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
			leave = cancel
			var err error
			if events, err = p.Watch(ctx, ada, job.ID, &seen); err != nil {
				rt.Fatal(err)
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
