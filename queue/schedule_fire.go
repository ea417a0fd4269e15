package queue

import (
	"context"
	"errors"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// firedAtOnce is how many schedules share a transaction at the most.
const firedAtOnce = 50

// dueSchedule is a schedule that has something to start, with all that decides about it, locked.
type dueSchedule struct {
	*Schedule
	now    time.Time // of the database
	active bool      // the owner's account
	roles  []viewer.Role
	busy   bool // its last job has not ended
}

// fire starts the jobs of schedules whose moment has come, and those that were held back and need not
// wait any more. The next moment is written with the job; the schedule and the moment are the job's
// idempotency key. So one job is made for a moment however many servers look.
func (q *Queue) fire(ctx context.Context) error {
	for {
		var due []dueSchedule
		err := q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) (err error) {
			if due, err = store.All(ctx, tx, q.due, scanDue); err != nil {
				return err
			}
			for _, s := range due {
				if err := q.fireTx(ctx, tx, s, changes); err != nil {
					return err
				}
			}
			return nil
		})
		q.leave(ctx, due)
		if err != nil || len(due) < firedAtOnce {
			return err
		}
	}
}

func (q *Queue) fireTx(ctx context.Context, tx *store.Tx, s dueSchedule, changes *changes) error {
	if held := s.HeldAt; !held.IsZero() && !s.busy {
		s.HeldAt = time.Time{}
		if err := q.startTx(ctx, tx, &s, held, changes); err != nil {
			return err
		}
	}
	if !s.NextAt.IsZero() && !s.NextAt.After(s.now) {
		if err := q.passTx(ctx, tx, &s, changes); err != nil {
			return err
		}
	}
	if s.Last == nil { // nothing was due after all
		return nil
	}
	_, err := tx.Exec(ctx, recordFiring, store.At(s.NextAt), store.At(s.HeldAt), store.At(s.Last.Moment), s.Last.Outcome,
		store.OrNull(s.Last.Message), store.OrNull(s.LastJob), s.ID)
	return err
}

// passTx does what is to be done for the moments that have come, and finds the next one. Where the zone cannot
// be read they are left as they are.
func (q *Queue) passTx(ctx context.Context, tx *store.Tx, s *dueSchedule, changes *changes) error {
	when, err := q.timing(s.Schedule)
	if errors.Is(err, errUnread) {
		return nil
	}
	if err != nil { // it was written by a program that knew more
		s.Last, s.NextAt = refusedRun(s.NextAt, err), time.Time{}
		return nil
	}
	moments, newest := s.moments(when)
	s.NextAt = when.next(s.now)
	if len(moments) == 0 {
		s.Last = &ScheduleRun{Moment: newest, Outcome: Missed}
	}
	for _, moment := range moments {
		switch {
		case s.busy && s.Overlap == HoldOne && s.HeldAt.IsZero():
			s.HeldAt = moment
			s.Last = &ScheduleRun{Moment: moment, Outcome: HeldBack}
		case s.busy && s.Overlap != RunBeside:
			s.Last = &ScheduleRun{Moment: moment, Outcome: Overlapped}
		default:
			if err := q.startTx(ctx, tx, s, moment, changes); err != nil {
				return err
			}
		}
	}
	return nil
}

// moments returns those of the moments that have come which the rule for missed ones leaves, oldest
// first, and the newest of all.
func (s *dueSchedule) moments(when timing) (left []time.Time, newest time.Time) {
	most := 1
	if s.CatchUp == RunAll {
		most = s.CatchUpMost
	}
	left = append([]time.Time{s.NextAt}, when.Last(most, s.NextAt, s.now, when.zone)...)
	left = left[max(0, len(left)-most):]
	newest = left[len(left)-1]
	if s.CatchUp == SkipMissed && s.now.Sub(newest) > missedAfter {
		left = nil
	}
	return left, newest
}

// startTx enqueues the job of a moment. A job that cannot be is no error: it would stop all others.
func (q *Queue) startTx(ctx context.Context, tx *store.Tx, s *dueSchedule, moment time.Time, changes *changes) error {
	kind, owner := q.kinds[s.Kind], viewer.Viewer{User: s.Owner, Roles: s.roles}
	if !s.active || !owner.May(kind.Scope) {
		s.Last = &ScheduleRun{Moment: moment, Outcome: NotAllowed}
		return nil
	}
	options := s.options()
	options.IdempotencyKey = string(s.ID) + " " + moment.UTC().Format(time.RFC3339Nano)
	request, err := kind.request(s.Owner, s.Arguments, options, nil)
	if err == nil {
		err = q.checkStepsOf(owner, request)
	}
	if err != nil {
		q.options.Logger.WarnContext(ctx, "a schedule's arguments were refused", "schedule", s.ID, "kind", s.Kind, "error", err)
		s.Last = refusedRun(moment, err)
		return nil
	}
	var job *Job
	if err = q.admitRequest(ctx, tx, request); err == nil {
		job, _, err = q.enqueueTx(ctx, tx, request, changes)
	}
	if f, ok := fault.As(err); ok {
		s.Last = refusedRun(moment, f)
		return nil
	}
	if err != nil {
		return err
	}
	s.busy, s.LastJob = true, job.ID
	s.Last = &ScheduleRun{Moment: moment, Outcome: Started}
	return nil
}

func refusedRun(moment time.Time, err error) *ScheduleRun {
	return &ScheduleRun{Moment: moment, Outcome: Refused, Message: failure(err).Message}
}
