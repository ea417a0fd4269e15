package session

import (
	"context"
	"fmt"
	"time"

	"gatehouse/internal/store"
)

// How often Run does what.
const (
	republishEvery = time.Second
	flushEvery     = 10 * time.Second
	recheckEvery   = 30 * time.Second
	pruneEvery     = time.Minute
	devicesEvery   = time.Hour
)

// keptAfterExpiry is how long an expired session is remembered, so that its holder is told that it
// expired and not that it is unknown.
const keptAfterExpiry = 24 * time.Hour

// keptRevoked is how long a revoked machine, or an expired one, is kept for those who look into the audit.
const keptRevoked = 30 * 24 * time.Hour

// keptServices is how long a service account that has ended is kept: a job of its may wait for a year, and
// stay for some days then, and whoever forgets its owner must find it.
const keptServices = 400 * 24 * time.Hour

// turnPatience bounds each piece of work, so that a database that hangs does not hold up the end.
const turnPatience = 10 * time.Second

// Run does the work that no request waits for, until ctx ends: it hears of sessions that ended on
// other servers, sends what the outbox still holds, keeps the signing keys fresh, writes last uses
// and deletes what has expired. It returns once its work is finished. Each server runs it once.
func (s *Sessions) Run(ctx context.Context) error {
	stop, err := s.listen(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("run sessions: %w", err)
	}
	defer stop()
	s.watchers.recheck() // what happened before we listened
	turns := []turn{
		{"republish session notices", republishEvery, s.republish},
		{"check watched sessions", republishEvery, s.checkWatched},
		{"write last uses", flushEvery, s.flushSeen},
		{"recheck watched sessions", recheckEvery, func(context.Context) error { s.watchers.recheck(); return nil }},
		{"reload signing keys", reloadEvery, s.keys.Reload},
		{"prune sessions", pruneEvery, s.prune},
		{"forget old devices", devicesEvery, s.pruneDevices},
		{"prune signing keys", pruneEvery, s.keys.prune},
		{"prune machines", pruneEvery, s.pruneMachines},
	}
	s.loop(ctx, turns)
	s.do(context.WithoutCancel(ctx), turn{name: "write last uses", work: s.flushSeen})
	return nil
}

// turn is one piece of work and how often it is done.
type turn struct {
	name  string
	every time.Duration
	work  func(context.Context) error
}

// loop does each turn when its time has come, and what cannot wait for a turn at once.
func (s *Sessions) loop(ctx context.Context, turns []turn) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for second := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-s.watchers.check:
			s.do(ctx, turn{name: "check watched sessions", work: s.checkWatched})
		case <-s.keys.changed:
			s.do(ctx, turn{name: "reload signing keys", work: s.keys.Reload})
		case <-ticker.C:
			second++
			for _, t := range turns {
				if second%int(t.every/time.Second) == 0 {
					s.do(ctx, t)
				}
			}
		}
	}
}

// do gives a turn its time and logs what went wrong; the next one tries again.
func (s *Sessions) do(ctx context.Context, t turn) {
	bounded, cancel := context.WithTimeout(ctx, turnPatience)
	defer cancel()
	if err := t.work(bounded); err != nil && ctx.Err() == nil {
		s.o.Logger.WarnContext(ctx, "session work failed", "work", t.name, "error", err)
	}
}

// listen hears what other servers tell.
func (s *Sessions) listen(ctx context.Context) (stop func(), err error) {
	stopEnded, err := s.notices.Subscribe(ctx, endedTopic, s.hearEnded, s.watchers.recheck)
	if err != nil {
		return nil, err
	}
	stopKeys, err := s.notices.Subscribe(ctx, keysTopic, func([]byte) { s.keys.hearChange() }, s.keys.hearChange)
	if err != nil {
		stopEnded()
		return nil, err
	}
	return func() { stopEnded(); stopKeys() }, nil
}

// prune deletes sessions that expired a day ago, with their refresh tokens, 500 in a transaction.
func (s *Sessions) prune(ctx context.Context) error {
	if err := s.db.Prune(ctx, deleteExpired, store.At(s.now().Add(-keptAfterExpiry))); err != nil {
		return fmt.Errorf("delete expired sessions: %w", err)
	}
	return nil
}

// pruneMachines deletes API keys that ended a month ago, and service accounts whose jobs are gone too.
func (s *Sessions) pruneMachines(ctx context.Context) error {
	before, servicesBefore := store.At(s.now().Add(-keptRevoked)), store.At(s.now().Add(-keptServices))
	return s.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, pruneKeys, before, before); err != nil {
			return fmt.Errorf("delete revoked API keys: %w", err)
		}
		if _, err := tx.Exec(ctx, pruneServices, servicesBefore); err != nil {
			return fmt.Errorf("delete service accounts: %w", err)
		}
		return nil
	})
}
