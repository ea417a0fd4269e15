package queue

import (
	"context"
	"sync"
	"time"

	"gatehouse/internal/viewer"
)

// statsEvery is how often the queues are looked at while somebody watches them.
const statsEvery = time.Second

// statsWatch is one look at the queues for all in this process who watch them. The zero value is ready.
type statsWatch struct {
	mu      sync.Mutex
	readers map[*statsReader]bool
	stop    context.CancelFunc // ends the looking; nil while nobody watches
}

type statsReader struct {
	out  chan *Stats // capacity 1: the newest
	last *Stats      // that was offered; of the looker alone
}

// WatchStats tells how the queues stand, at once and then each second in which something has changed, for those
// who may read everybody's jobs. A slow reader gets the newest. The channel is closed when ctx ends.
func (q *Queue) WatchStats(ctx context.Context, by viewer.Viewer) (<-chan *Stats, error) {
	first, err := q.Stats(ctx, by)
	if err != nil {
		return nil, err
	}
	r := &statsReader{out: make(chan *Stats, 1), last: first}
	r.out <- first
	q.statsWatch.join(q, r)
	context.AfterFunc(ctx, func() { q.statsWatch.leave(r) })
	return r.out, nil
}

func (w *statsWatch) join(q *Queue, r *statsReader) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.readers == nil {
		w.readers = map[*statsReader]bool{}
	}
	w.readers[r] = true
	if w.stop == nil {
		ctx, stop := context.WithCancel(context.Background()) // it ends when the last reader leaves
		w.stop = stop
		go w.look(ctx, q)
	}
}

func (w *statsWatch) leave(r *statsReader) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.readers, r)
	close(r.out)
	if len(w.readers) == 0 {
		w.stop()
		w.stop = nil
	}
}

func (w *statsWatch) look(ctx context.Context, q *Queue) {
	tick := time.NewTicker(statsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s, err := q.stats(ctx)
		if err != nil {
			if ctx.Err() == nil {
				q.options.Logger.WarnContext(ctx, "the queues were not looked at", "error", err)
			}
			continue
		}
		w.tell(s)
	}
}

// tell offers s to each reader who has not seen as much; what it replaces nobody has read.
func (w *statsWatch) tell(s *Stats) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for r := range w.readers {
		if r.last.same(s) {
			continue
		}
		r.last = s
		select {
		case <-r.out:
		default:
		}
		r.out <- s // there is room: only we send
	}
}
