package queue

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"gatehouse/internal/bus"
)

// tellAtOnce is how many events travel in one message at the most.
const tellAtOnce = 100

// tell tells the world of what the writer has committed, in the order of the commits, until the writer has
// ended. It does not write: the writer waits for it.
func (w *writer) tell() {
	for batch := range w.written {
		var all []change
		for _, p := range batch {
			if p.err == nil {
				all = append(all, p.changes.all...)
			}
		}
		w.queue.tell(context.WithoutCancel(batch[0].ctx), all)
		for _, p := range batch {
			close(p.told)
		}
	}
}

// announce tells the world of committed changes and lets workflows go on.
func (q *Queue) announce(ctx context.Context, c *changes) {
	q.tell(ctx, c.all)
	q.goOnAll(ctx, c)
}

// tell pushes the jobs that are ready, wakes the sweeper for those that will be, and tells every server.
func (q *Queue) tell(ctx context.Context, all []change) {
	var ready []*Job
	var soonest time.Time
	for _, c := range all {
		if c.event.Type != StateChanged {
			continue
		}
		switch c.job.State {
		case Queued:
			ready = append(ready, c.job)
		case Scheduled, Retrying:
			if soonest.IsZero() || c.job.RunAt.Before(soonest) {
				soonest = c.job.RunAt
			}
		}
	}
	q.push(ctx, ready...)
	if !soonest.IsZero() {
		q.lookAt(soonest)
	}
	q.publish(ctx, all)
}

// goOnAll lets the workflows go on of which a step has ended.
func (q *Queue) goOnAll(ctx context.Context, c *changes) {
	for _, change := range c.all {
		if change.event.Type == StateChanged && change.job.State.Final() && change.job.Parent != "" {
			q.goOn(ctx, change.job.Parent)
		}
	}
}

// The topics on which changes travel: of one job, of one owner's jobs, of all.
func topicOf(id ID) string                   { return "job:" + string(id) }
func topicOfOwner[T ~string](owner T) string { return "jobs:" + string(owner) }

const topicOfAll = "jobs"

// publish tells the watchers, with one message for what one topic has to say.
func (q *Queue) publish(ctx context.Context, all []change) {
	news := dispatch{of: make(map[string][]Event, len(all)+2)}
	for _, c := range all {
		news.add(topicOf(c.job.ID), c.event)
		if c.event.Type != LineWritten {
			news.add(topicOfOwner(c.job.Owner), c.event)
			news.add(topicOfAll, c.event)
		}
	}
	messages, err := news.messages()
	if err == nil && len(messages) > 0 {
		err = q.bus.PublishAll(ctx, messages...)
	}
	if err != nil { // watchers find the events in SQL
		q.options.Logger.DebugContext(ctx, "events reached only this server", "error", err)
	}
}

// dispatch is events by topic, in the order in which each topic came first.
type dispatch struct {
	of     map[string][]Event
	topics []string
}

func (d *dispatch) add(topic string, e Event) {
	if d.of[topic] == nil {
		d.topics = append(d.topics, topic)
	}
	d.of[topic] = append(d.of[topic], e)
}

func (d *dispatch) messages() (all []bus.Message, err error) {
	for _, topic := range d.topics {
		for some := range slices.Chunk(d.of[topic], tellAtOnce) {
			data, err := json.Marshal(some)
			if err != nil {
				return nil, err
			}
			all = append(all, bus.Message{Topic: topic, Data: data})
		}
	}
	return all, nil
}
