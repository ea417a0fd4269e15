package queue

import (
	"context"
	"maps"
	"slices"
	"time"

	"gatehouse/internal/store"
)

// A span is from one moment up to another, in microseconds of the database's clock.
type span struct{ from, to int64 }

// all are the jobs that were pushed at any time before a moment; pushed_at is 0 only while a limit refuses a job.
func all(before int64) span { return span{1, before} }

// outage is what the sweeper makes up for once the transport is back: every process of the deployment does, and
// a job that one of them has pushed again is past the outage for the others.
type outage struct {
	since   time.Duration // how long ago it began; 0: none that the sweeper does not know
	span    span          // when pushes may have been lost; zero: all is made up for
	emptied map[laneOf]bool
}

// lossBefore is how long before an outage was noticed messages may have been lost: the first push to fail has
// waited, and a replica that takes over may not have had the last of them. Older ones the sweeper finds by Stale.
const lossBefore = 2 * time.Second

// noted takes that the transport is back.
func (o *outage) noted(ago time.Duration) { o.since = max(o.since, ago+lossBefore) }

// begin makes a span of what was noted; now is later than all that was lost.
func (o *outage) begin(now int64) {
	if o.since == 0 {
		return
	}
	from := max(now-o.since.Microseconds(), 1)
	if o.over() {
		o.emptied = make(map[laneOf]bool)
	} else {
		from = min(from, o.span.from)
	}
	o.since, o.span = 0, span{from, now}
}

func (o *outage) over() bool { return o.span == span{} }

// relay pushes queued jobs that nobody came for. In a lane that still holds messages, the jobs of owners who
// have one there wait for their turn, unless their message may have been lost in an outage.
func (q *Queue) relay(ctx context.Context, v vitals) error {
	q.outage.begin(v.now)
	old := all(v.now - q.options.Stale.Microseconds())
	before := max(old.to, q.outage.span.to)
	var lanes []laneOf
	var names []string
	for i, l := range q.lanes {
		if v.pushed[i] > 0 && v.pushed[i] < before {
			lanes, names = append(lanes, l), append(names, l.name())
		}
	}
	rest := false
	if len(lanes) > 0 {
		waiting, err := q.wire.Waiting(ctx, names...)
		if err != nil {
			return err
		}
		for _, l := range lanes {
			n, err := q.relayLane(ctx, l, old, waiting[l.name()] == 0)
			if err != nil {
				return err
			}
			rest = rest || n == relayAtOnce
		}
	}
	q.more = q.more || rest
	if !rest {
		q.outage.span = span{}
	}
	return nil
}

// relayLane pushes a batch of a lane's jobs, and returns how many they were.
func (q *Queue) relayLane(ctx context.Context, l laneOf, old span, empty bool) (int, error) {
	switch o := &q.outage; {
	case o.over() && empty:
		return q.relayPushed(ctx, l, old)
	case o.over():
		return q.relayAbsent(ctx, l, old)
	case empty || o.emptied[l]: // by the outage, and some are back
		o.emptied[l] = true
		return q.relayPushed(ctx, l, all(o.span.to))
	default:
		return q.relayPushed(ctx, l, o.span)
	}
}

// relayAbsent pushes those of the oldest queued jobs of a lane whose owners have no message there: theirs were
// lost, and in a lane that never empties nobody would come for them.
func (q *Queue) relayAbsent(ctx context.Context, l laneOf, when span) (int, error) {
	ofOwner := map[string][]ID{}
	_, err := store.All(ctx, q.db, selectPushed, func(scan store.Scan) (id ID, err error) {
		var owner string
		err = scan(&id, &owner)
		ofOwner[owner] = append(ofOwner[owner], id)
		return id, err
	}, l.queue, l.priority, when.from, when.to)
	if err != nil || len(ofOwner) == 0 {
		return 0, err
	}
	absent, err := q.wire.Absent(ctx, l.name(), slices.Sorted(maps.Keys(ofOwner)))
	if err != nil {
		return 0, err
	}
	var ids []ID
	for _, owner := range absent {
		ids = append(ids, ofOwner[owner]...)
	}
	return len(ids), eachList(ids, func(some []ID) error {
		_, err := q.pushAgain(ctx, func(tx *store.Tx) ([]*Job, error) {
			query, size := relayChosen.List(len(some))
			return store.All(ctx, tx, query, scanJobs(), append([]any{when.to}, store.Values(some, size)...)...)
		})
		return err
	})
}

// relayAtOnce is how many jobs of a lane are pushed again at a time, as relayPushed says.
const relayAtOnce = 500

func (q *Queue) relayPushed(ctx context.Context, l laneOf, when span) (int, error) {
	return q.pushAgain(ctx, func(tx *store.Tx) ([]*Job, error) {
		return store.All(ctx, tx, relayPushed, scanJobs(), l.queue, l.priority, when.from, when.to)
	})
}

// pushAgain pushes the jobs that mark has marked as pushed now, and returns how many they are.
func (q *Queue) pushAgain(ctx context.Context, mark func(*store.Tx) ([]*Job, error)) (int, error) {
	var jobs []*Job
	err := q.db.Update(ctx, func(tx *store.Tx) (err error) {
		jobs, err = mark(tx)
		return err
	})
	if err != nil || len(jobs) == 0 {
		return 0, err
	}
	q.metrics.repushed.Add(int64(len(jobs)))
	return len(jobs), q.pushes.pushAll(ctx, jobs)
}
