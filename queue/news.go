package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"gatehouse/internal/store"
)

// maxNewsRows is how many rows news keeps, each with a result of at most maxResultInRow.
const maxNewsRows = 64

// news is what the watchers of this process share when something happens to a job: its message is
// decoded once, and its row is read once, however many watch. The zero value is ready.
type news struct {
	latest atomic.Pointer[message]

	mu   sync.Mutex
	rows map[ID]*row // those read last, at most maxNewsRows, and those being read
}

// message is what the bus brought, and what it says.
type message struct {
	first  *byte // of the bus's bytes, which all listeners share and nobody changes
	events []*Event
}

// row is a job as it was read; nobody changes it.
type row struct {
	job  *Job          // nil while it is being read
	read chan struct{} // closed when it was, or could not be
}

// decode reads a message of the bus. The events are shared.
func (n *news) decode(data []byte) []*Event {
	if len(data) == 0 {
		return nil
	}
	if m := n.latest.Load(); m != nil && m.first == &data[0] {
		return m.events
	}
	var events []*Event
	if json.Unmarshal(data, &events) != nil {
		return nil
	}
	events = slices.DeleteFunc(events, func(e *Event) bool { return e == nil })
	n.latest.Store(&message{&data[0], events})
	return events
}

// fresh returns the jobs as they stood when they had at least the number of events that wanted says,
// by id. A job that is gone is left out. The jobs are shared and read only.
func (q *Queue) fresh(ctx context.Context, wanted map[ID]int64) (map[ID]*Job, error) {
	found := make(map[ID]*Job, len(wanted))
	for {
		mine, others := q.news.claim(wanted, found)
		if len(mine) > 0 {
			jobs, err := q.readJobs(ctx, mine)
			q.news.settle(mine, jobs)
			if err != nil {
				return nil, fmt.Errorf("read jobs: %w", err)
			}
			for _, id := range mine {
				delete(wanted, id)
			}
			for _, j := range jobs {
				found[j.ID] = j
			}
		}
		if len(wanted) == 0 {
			return found, nil
		}
		select {
		case <-others:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (q *Queue) readJobs(ctx context.Context, ids []ID) (jobs []*Job, err error) {
	err = eachList(ids, func(some []ID) error {
		query, size := selectJobs.List(len(some))
		found, err := store.All(ctx, q.db, query, scanJobs(), store.Values(some, size)...)
		jobs = append(jobs, found...)
		return err
	})
	return jobs, err
}

// claim moves what is at hand from wanted to found. Of the rest, mine are the caller's to read and to
// settle; others is closed when one that somebody else reads has been read.
func (n *news) claim(wanted map[ID]int64, found map[ID]*Job) (mine []ID, others <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var read chan struct{}
	for id, sequence := range wanted {
		switch known := n.rows[id]; {
		case known != nil && known.job == nil:
			others = known.read
		case known != nil && known.job.Sequence >= sequence:
			found[id] = known.job
			delete(wanted, id)
		default:
			if read == nil {
				read = make(chan struct{})
			}
			mine = append(mine, id)
			n.put(id, &row{read: read})
		}
	}
	return mine, others
}

// settle keeps the jobs that were read of mine and lets the others go on.
func (n *news) settle(mine []ID, jobs []*Job) {
	n.mu.Lock()
	defer n.mu.Unlock()
	read := n.rows[mine[0]].read
	defer close(read)
	for _, id := range mine {
		delete(n.rows, id)
	}
	for _, j := range jobs {
		n.put(j.ID, &row{job: j})
	}
	n.trim()
}

// trim forgets rows until at most maxNewsRows are left, beside those being read.
func (n *news) trim() {
	for id, r := range n.rows {
		if len(n.rows) <= maxNewsRows {
			return
		}
		if r.job != nil {
			delete(n.rows, id)
		}
	}
}

// share returns the row that others have of j at the same event, so that many watchers hold one, or
// keeps j for those who come.
func (n *news) share(j *Job) *Job {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch known := n.rows[j.ID]; {
	case known != nil && known.job != nil && known.job.Sequence == j.Sequence:
		return known.job
	case known == nil:
		n.put(j.ID, &row{job: j})
		n.trim()
	}
	return j
}

func (n *news) put(id ID, r *row) {
	if n.rows == nil {
		n.rows = make(map[ID]*row)
	}
	n.rows[id] = r
}
