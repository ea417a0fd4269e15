package queue

import (
	"context"
	"slices"
	"sync"
	"time"

	"gatehouse/internal/store"
)

// watchEvery is how often the watchman looks. A process that dies between a commit and its message
// leaves its watchers without news for so long.
const watchEvery = 2 * time.Second

// watches are the watches of this process that have not ended.
type watches struct {
	sync.Mutex
	byJob map[ID][]*watch
}

func (ws *watches) add(w *watch) {
	ws.Lock()
	defer ws.Unlock()
	if ws.byJob == nil {
		ws.byJob = make(map[ID][]*watch)
	}
	w.at = len(ws.byJob[w.id])
	ws.byJob[w.id] = append(ws.byJob[w.id], w)
}

// remove puts the last watch of the job in the place of w.
func (ws *watches) remove(w *watch) {
	ws.Lock()
	defer ws.Unlock()
	all := ws.byJob[w.id]
	end := len(all) - 1
	all[w.at], all[end].at = all[end], w.at
	all[end] = nil
	if end == 0 {
		delete(ws.byJob, w.id)
		return
	}
	ws.byJob[w.id] = all[:end]
}

func (ws *watches) ids() []ID {
	ws.Lock()
	defer ws.Unlock()
	ids := make([]ID, 0, len(ws.byJob))
	for id := range ws.byJob {
		ids = append(ids, id)
	}
	return ids
}

// tell lets the watches of a job know that it has an event of this number.
func (ws *watches) tell(id ID, sequence int64) {
	ws.Lock()
	told := slices.Clone(ws.byJob[id])
	ws.Unlock()
	for _, w := range told {
		w.reach(sequence)
	}
}

// keepWatch compares what watchers have seen with what is stored, with one statement for 500 jobs,
// and none when nobody watches.
func (q *Queue) keepWatch(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := eachList(q.watches.ids(), func(some []ID) error { return q.catchUp(ctx, some) }); err != nil && ctx.Err() == nil {
			q.options.Logger.WarnContext(ctx, "watched jobs were not looked at", "error", err)
		}
	}
}

func (q *Queue) catchUp(ctx context.Context, ids []ID) error {
	type row struct {
		id       ID
		sequence int64
	}
	query, size := selectSequences.List(len(ids))
	rows, err := store.All(ctx, q.db, query, func(scan store.Scan) (r row, err error) {
		err = scan(&r.id, &r.sequence)
		return r, err
	}, store.Values(ids, size)...)
	for _, r := range rows {
		q.watches.tell(r.id, r.sequence)
	}
	return err
}
