package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// watched is what a watcher was told of a job, over all its connections.
type watched struct {
	id    string
	seen  []int64 // the numbers of the events, in the order in which they came
	ended bool    // the last one was the job's end
}

// watchers follow jobs over sockets, and go away again and again.
type watchers struct {
	jobs    <-chan started
	options options
	cuts    atomic.Int64 // connections that were given up or lost before the end

	mu  sync.Mutex
	all []watched
}

// run watches jobs one after the other until jobs is closed; what is being watched then is watched to its end.
func (w *watchers) run(ctx context.Context) {
	var each sync.WaitGroup
	for i := range w.options.watchers {
		random := rand.New(rand.NewPCG(w.options.seed, uint64(100+i)))
		each.Go(func() {
			for job := range w.jobs {
				told := w.follow(ctx, job, random)
				w.mu.Lock()
				w.all = append(w.all, told)
				w.mu.Unlock()
			}
		})
	}
	each.Wait()
}

// follow watches a job to its end, from its first event on.
func (w *watchers) follow(ctx context.Context, job started, random *rand.Rand) watched {
	told := watched{id: job.id}
	for !told.ended && ctx.Err() == nil {
		if job.by.freshen(ctx) != nil { // ctx has ended
			break
		}
		// Most stay for a moment only.
		stay, cancel := context.WithTimeout(ctx, time.Duration(20+random.IntN(800))*time.Millisecond)
		w.visit(stay, job, random.IntN(len(job.by.d.servers)), &told)
		cancel()
		if !told.ended {
			w.cuts.Add(1)
			rest(ctx, time.Duration(random.IntN(60))*time.Millisecond)
		}
	}
	return told
}

const eventsDocument = `subscription($id: ID!, $after: Int) { jobEvents(id: $id, after: $after) { sequence type job { state } } }`

// envelope is a message of graphql-transport-ws.
type envelope struct {
	ID      string          `json:"id,omitempty"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

// visit subscribes to what follows the last event, and listens until the job has ended, the connection breaks or
// ctx ends.
func (w *watchers) visit(ctx context.Context, job started, server int, told *watched) {
	dialer := ws.Dialer{
		Protocols: []string{"graphql-transport-ws"},
		Header:    ws.HandshakeHeaderHTTP(http.Header{"X-Forwarded-For": {job.by.network}}),
	}
	conn, early, _, err := dialer.Dial(ctx, "ws://"+job.by.d.servers[server].addr+"/graphql")
	if err != nil {
		return
	}
	defer conn.Close()
	if early != nil { // the server does not speak first
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	say := func(kind string, payload any) bool {
		content, err := json.Marshal(payload)
		if err != nil {
			return false
		}
		text, err := json.Marshal(envelope{ID: map[bool]string{true: "1"}[kind == "subscribe"], Type: kind, Payload: content})
		return err == nil && wsutil.WriteClientText(conn, text) == nil
	}
	if !say("connection_init", map[string]any{"authorization": "Bearer " + job.by.bearer()}) {
		return
	}
	after := int64(0)
	if len(told.seen) > 0 {
		after = told.seen[len(told.seen)-1]
	}
	for {
		text, err := wsutil.ReadServerText(conn)
		if err != nil {
			return
		}
		var m envelope
		if json.Unmarshal(text, &m) != nil {
			return
		}
		switch m.Type {
		case "connection_ack":
			if !say("subscribe", map[string]any{"query": eventsDocument, "variables": map[string]any{"id": job.id, "after": after}}) {
				return
			}
		case "next":
			if told.hear(m.Payload); told.ended {
				return
			}
		case "ping":
			if !say("pong", nil) {
				return
			}
		default: // error and complete: somewhere else, then
			return
		}
	}
}

// hear takes an answer of the subscription. Its first is a snapshot, which is no event of its own.
func (t *watched) hear(payload []byte) {
	var told struct {
		Data struct {
			JobEvents *struct {
				Sequence int64
				Type     string
				Job      struct{ State string }
			}
		}
	}
	if json.Unmarshal(payload, &told) != nil || told.Data.JobEvents == nil {
		return
	}
	e := told.Data.JobEvents
	if e.Type == "SNAPSHOT" {
		return
	}
	t.seen = append(t.seen, e.Sequence)
	t.ended = e.Type == "STATE" && slices.Contains([]string{"SUCCEEDED", "FAILED", "CANCELLED"}, e.Job.State)
}

// stored is an event as the database has it.
type stored struct {
	sequence int64
	progress bool
}

// compare compares what was told with what is stored: how many events are missing, came twice, or came after a
// later one. Progress that newer progress follows may be left out for a reader who is far behind.
func compare(seen []int64, events []stored) (missing, twice, disorder int) {
	had := map[int64]bool{}
	last := int64(0)
	for _, n := range seen {
		switch {
		case had[n]:
			twice++
		case n < last:
			disorder++
		}
		had[n], last = true, max(last, n)
	}
	for i, e := range events {
		drawnTogether := e.progress && i+1 < len(events) && events[i+1].progress && len(events) >= 200
		if !had[e.sequence] && !drawnTogether {
			missing++
		}
	}
	return missing, twice, disorder
}
