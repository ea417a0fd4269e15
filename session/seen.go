package session

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// seenEvery is how exact a session's last use is kept.
const seenEvery = time.Minute

// maxSeen bounds how many sessions wait to have their last use written. Above it a use is not noted:
// that the session was used a minute later will be.
const maxSeen = 10_000

// seen collects when sessions were used, off the path of requests.
type seen struct {
	mu      sync.Mutex
	pending map[viewer.SessionID]time.Time
}

// mark notes that the session was used now, when what is known of it is a minute old.
func (s *seen) mark(id viewer.SessionID, last, now time.Time) {
	if now.Sub(last) < seenEvery {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil {
		s.pending = make(map[viewer.SessionID]time.Time)
	}
	if _, noted := s.pending[id]; noted || len(s.pending) >= maxSeen {
		return
	}
	s.pending[id] = now
}

func (s *seen) take() map[viewer.SessionID]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.pending
	s.pending = nil
	return taken
}

// flushSeen writes the last uses that were noted, in transactions of at most 200 rows. A row that
// another server has written in the same minute is left alone.
func (s *Sessions) flushSeen(ctx context.Context) error {
	pending := s.seen.take()
	ids := slices.Sorted(maps.Keys(pending)) // every server locks the rows in one order
	for part := range slices.Chunk(ids, 200) {
		err := s.db.Update(ctx, func(tx *store.Tx) error {
			for _, id := range part {
				at := pending[id]
				if _, err := tx.Exec(ctx, markOf(id), store.At(at), id, store.At(at.Add(-seenEvery))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("write last use of sessions: %w", err)
		}
	}
	return nil
}
