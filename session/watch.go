package session

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/viewer"
)

// Watch calls ended once, when the session ends on whatever server: at once when it is revoked or
// suspended, at the latest half a minute after it expired. ended must not block; closing a channel is its usual
// work. stop gives up the watch; ended may be called once more while stop runs, not afterwards.
// Run must be running.
func (s *Sessions) Watch(id viewer.SessionID, ended func(Reason)) (stop func()) {
	return s.watch(&watcher{session: id, ended: ended})
}

// WatchViewer is Watch for whatever credential admitted by, a machine's included. ended is also called
// when the roles change that by was admitted with: what was opened with the old ones must not go on.
func (s *Sessions) WatchViewer(by viewer.Viewer, ended func(Reason)) (stop func()) {
	id := by.Session
	if by.Machine != "" {
		id = viewer.SessionID(by.Machine)
	}
	return s.watch(&watcher{session: id, roles: by.Roles, ended: ended})
}

func (s *Sessions) watch(w *watcher) (stop func()) {
	s.watchers.add(w)
	return func() { s.watchers.remove(w) }
}

type watcher struct {
	session viewer.SessionID
	roles   []viewer.Role // with which it was admitted; nil: they do not matter
	ended   func(Reason)
	stopped atomic.Bool
}

// watchers is who waits for the end of which session.
type watchers struct {
	mu        sync.Mutex
	bySession map[viewer.SessionID][]*watcher
	due       map[viewer.SessionID]bool // to be looked up in the database
	check     chan struct{}             // holds one value when some became due
}

func newWatchers() watchers {
	return watchers{
		bySession: make(map[viewer.SessionID][]*watcher),
		due:       make(map[viewer.SessionID]bool),
		check:     make(chan struct{}, 1),
	}
}

// add puts one in force. Its session is due: it may have ended since the caller looked.
func (w *watchers) add(one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bySession[one.session] = append(w.bySession[one.session], one)
	w.due[one.session] = true
	w.wake()
}

func (w *watchers) remove(one *watcher) {
	one.stopped.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := slices.DeleteFunc(w.bySession[one.session], func(o *watcher) bool { return o == one })
	if len(rest) == 0 {
		w.forget(one.session)
		return
	}
	w.bySession[one.session] = rest
}

// end calls each watcher of id.
func (w *watchers) end(id viewer.SessionID, reason Reason) {
	w.mu.Lock()
	waiting := w.bySession[id]
	w.forget(id)
	w.mu.Unlock()
	for _, one := range waiting {
		if !one.stopped.Load() {
			one.ended(reason)
		}
	}
}

func (w *watchers) forget(id viewer.SessionID) {
	delete(w.bySession, id)
	delete(w.due, id)
}

// recheck makes all due: messages may have been missed, or sessions may have expired.
func (w *watchers) recheck() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.bySession {
		w.due[id] = true
	}
	w.wake()
}

// recheckOne makes one due.
func (w *watchers) recheckOne(id viewer.SessionID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.bySession[id]) > 0 {
		w.due[id] = true
		w.wake()
	}
}

// endOthers calls each watcher of id that was admitted with other roles than these.
func (w *watchers) endOthers(id viewer.SessionID, roles []viewer.Role) {
	w.mu.Lock()
	var others []*watcher
	rest := slices.DeleteFunc(w.bySession[id], func(one *watcher) bool {
		other := one.roles != nil && !slices.Equal(one.roles, roles)
		if other {
			others = append(others, one)
		}
		return other
	})
	if w.bySession[id] = rest; len(rest) == 0 {
		w.forget(id)
	}
	w.mu.Unlock()
	for _, one := range others {
		if !one.stopped.Load() {
			one.ended(RolesChanged)
		}
	}
}

func (w *watchers) wake() {
	select {
	case w.check <- struct{}{}:
	default:
	}
}

// takeDue returns what is due and takes it as looked up.
func (w *watchers) takeDue() []viewer.SessionID {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := slices.Collect(maps.Keys(w.due))
	clear(w.due)
	return ids
}

// giveBack makes ids due again, for the next turn.
func (w *watchers) giveBack(ids []viewer.SessionID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if len(w.bySession[id]) > 0 {
			w.due[id] = true
		}
	}
}

// checkWatched looks up the sessions and machines that are due, and tells of those that have ended and
// of those whose roles have changed.
func (s *Sessions) checkWatched(ctx context.Context) error {
	ids := s.watchers.takeDue()
	if len(ids) == 0 {
		return nil
	}
	found, err := s.standings(ctx, ids)
	if err != nil {
		s.watchers.giveBack(ids)
		return err
	}
	for _, id := range ids {
		standing, exists := found[id]
		if reason := standing.end(s.now(), exists); reason != "" {
			s.watchers.end(id, reason)
			continue
		}
		s.watchers.endOthers(id, rolesOf(standing.roles))
	}
	return nil
}

// standing is what decides whether a stream of a session or machine may go on.
type standing struct {
	id          viewer.SessionID
	revokedAt   time.Time
	reason      Reason
	suspendedAt time.Time // zero: it is not
	expiresAt   time.Time // zero: never
	principal
}

// end is why nothing of what it tells of may stay open, "" while it may.
func (s standing) end(now time.Time, exists bool) Reason {
	switch {
	case !exists:
		return Expired
	case !s.revokedAt.IsZero():
		return orDefault(s.reason, Revoked)
	case !s.active():
		return AccountDisabled
	case !s.suspendedAt.IsZero():
		return Suspended
	case !s.expiresAt.IsZero() && !now.Before(s.expiresAt):
		return Expired
	}
	return ""
}
