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

// use is that a session was used.
type use struct {
	at              time.Time
	user            viewer.UserID
	before, network string // the network so far, and that of the use
}

// seen collects when sessions and machines were used, and where sessions were, off the path of requests.
type seen struct {
	mu      sync.Mutex
	pending map[viewer.SessionID]use
}

// mark notes that the session or machine was used now, when what is known of it is a minute old.
func (s *seen) mark(id viewer.SessionID, rec *record, from Origin, now time.Time) {
	if now.Sub(rec.LastSeenAt) < seenEvery {
		return
	}
	network := Network(from.IP)
	if network == "" {
		network = rec.Network
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil {
		s.pending = make(map[viewer.SessionID]use)
	}
	if _, noted := s.pending[id]; noted || len(s.pending) >= maxSeen {
		return
	}
	s.pending[id] = use{at: now, user: rec.User, before: rec.Network, network: network}
}

func (s *seen) take() map[viewer.SessionID]use {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.pending
	s.pending = nil
	return taken
}

// flushSeen writes the last uses that were noted, in transactions of at most 200 rows, and that a
// session has moved to another network. A row that another server has written in the same minute is
// left alone.
func (s *Sessions) flushSeen(ctx context.Context) error {
	pending := s.seen.take()
	ids := slices.Sorted(maps.Keys(pending)) // every server locks the rows in one order
	for part := range slices.Chunk(ids, 200) {
		err := s.db.Update(ctx, func(tx *store.Tx) error {
			for _, id := range part {
				if err := s.seenTx(ctx, tx, id, pending[id]); err != nil {
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

func (s *Sessions) seenTx(ctx context.Context, tx *store.Tx, id viewer.SessionID, u use) error {
	written, err := markTx(ctx, tx, id, u)
	if err != nil || written == 0 || u.network == u.before {
		return err
	}
	return s.recordTx(ctx, tx, moved(id, u.user, u.before, u.network))
}

// moved is the event of a session that is used in another network.
func moved(id viewer.SessionID, user viewer.UserID, from, to string) Event {
	return Event{
		Action: ActionMoved, By: viewer.Viewer{User: user, Session: id}, User: user, Session: id,
		From: from, Network: to, Count: 1,
	}
}
