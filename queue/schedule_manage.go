package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// CreateSchedule makes a schedule of by; of s count the fields that its owner chooses. Faults:
// UNAUTHENTICATED; FORBIDDEN, for a service account too; REQUIRED, TOO_LONG, TOO_LARGE and INVALID by
// field, those of the kind inside of arguments; WRONG_STATE when by has 100 schedules.
func (q *Queue) CreateSchedule(ctx context.Context, by viewer.Viewer, s Schedule) (*Schedule, error) {
	if err := by.Require(viewer.RunJobs); err != nil {
		return nil, err
	}
	if by.User == "" {
		return nil, fault.SignIn() // the server has no schedules of its own
	}
	s.ID, s.Owner, s.Name = store.NewID[ScheduleID]("sch"), by.User, strings.TrimSpace(s.Name)
	if s.Priority == 0 {
		s.Priority = Normal
	}
	if err := q.check(by, &s); err != nil {
		return nil, err
	}
	when, err := q.timing(&s)
	if err != nil {
		return nil, err
	}
	err = q.db.Update(ctx, func(tx *store.Tx) error {
		if err := scheduleRoomTx(ctx, tx, s.Owner); err != nil {
			return err
		}
		now, err := store.One(ctx, tx, selectNow, scanMoment)
		if err != nil {
			return err
		}
		s.CreatedAt, s.UpdatedAt = now, now
		s.plan(when, now)
		_, err = tx.Exec(ctx, insertSchedule, s.ID, s.Owner, s.Name, s.Kind, string(s.Arguments), s.Cron, s.TimeZone,
			s.CatchUp, s.CatchUpMost, s.Overlap, s.Paused, s.Priority, s.MaxAttempts, store.At(now), store.At(now), store.At(s.NextAt))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create schedule: %w", err)
	}
	q.lookForSchedule(&s)
	return &s, nil
}

// scheduleRoomTx refuses a schedule beyond the most that an owner has. The owner's row is locked, so that two
// at once are counted one after the other.
func scheduleRoomTx(ctx context.Context, tx *store.Tx, owner viewer.UserID) error {
	_, err := store.One(ctx, tx, lockPrincipal, store.Value[string], owner)
	if errors.Is(err, store.ErrNotFound) {
		return fault.Denied("A service account has no schedules of its own. Its owner makes them.")
	}
	if err != nil {
		return fmt.Errorf("find owner %s: %w", owner, err)
	}
	n, err := store.One(ctx, tx, countSchedules, store.Value[int], owner)
	if err != nil {
		return err
	}
	if n >= maxSchedules {
		return fault.New(fault.WrongState, "", "An account has at most 100 schedules. Delete one first.")
	}
	return nil
}

// replan sets the next moment of s after its change from before. It is not asked for its zone when it
// keeps its times or goes to rest.
func (q *Queue) replan(s, before *Schedule) error {
	if s.Cron != before.Cron || s.TimeZone != before.TimeZone || before.Paused && !s.Paused {
		when, err := q.timing(s)
		if err != nil {
			return err
		}
		s.plan(when, s.UpdatedAt)
	}
	if s.Paused {
		s.rest()
	}
	return nil
}

// plan sets the next moment after now. What was held back when s was paused is passed over.
func (s *Schedule) plan(when timing, now time.Time) {
	s.NextAt = when.next(now)
	if s.Paused {
		s.rest()
	}
}

func (s *Schedule) rest() { s.NextAt, s.HeldAt = time.Time{}, time.Time{} }

// lookForSchedule lets the sweeper look no later than at the next moment.
func (q *Queue) lookForSchedule(s *Schedule) {
	if !s.NextAt.IsZero() {
		q.lookAt(s.NextAt)
	}
}

// ScheduleChange is what is to be changed of a schedule; nil leaves a field as it is.
type ScheduleChange struct {
	Name        *string
	Arguments   *json.RawMessage
	Cron        *string
	TimeZone    *string
	CatchUp     *CatchUp
	CatchUpMost *int
	Overlap     *Overlap
	Paused      *bool
	Priority    *Priority
	MaxAttempts *int
}

// onlyPauses reports whether c changes nothing but whether the schedule is paused.
func (c ScheduleChange) onlyPauses() bool { return c == ScheduleChange{Paused: c.Paused} }

func (c ScheduleChange) apply(s *Schedule) {
	set(&s.Name, c.Name)
	set(&s.Arguments, c.Arguments)
	set(&s.Cron, c.Cron)
	set(&s.TimeZone, c.TimeZone)
	set(&s.CatchUp, c.CatchUp)
	set(&s.CatchUpMost, c.CatchUpMost)
	set(&s.Overlap, c.Overlap)
	set(&s.Paused, c.Paused)
	set(&s.Priority, c.Priority)
	set(&s.MaxAttempts, c.MaxAttempts)
	s.Name = strings.TrimSpace(s.Name)
}

func set[T any](value, to *T) {
	if to != nil {
		*value = *to
	}
}

// UpdateSchedule changes a schedule of by; others' an administrator may pause and resume. When its times
// change, or it is resumed, the next moment is the next one from now: nothing is caught up on. Faults:
// those of [Queue.CreateSchedule] but the last, NOT_FOUND.
func (q *Queue) UpdateSchedule(ctx context.Context, by viewer.Viewer, id ScheduleID, c ScheduleChange) (*Schedule, error) {
	var changed *Schedule
	err := q.db.Update(ctx, func(tx *store.Tx) error {
		s, err := q.ownedScheduleTx(ctx, tx, by, id)
		if err != nil {
			return err
		}
		if s.Owner != by.User && !c.onlyPauses() {
			return fault.Denied("Only its owner may change what a schedule does; you may pause or delete it.")
		}
		before := *s
		c.apply(s)
		if !c.onlyPauses() {
			if err := q.check(by, s); err != nil {
				return err
			}
		}
		if s.UpdatedAt, err = store.One(ctx, tx, selectNow, scanMoment); err != nil {
			return err
		}
		if err := q.replan(s, &before); err != nil {
			return err
		}
		changed = s
		_, err = tx.Exec(ctx, updateSchedule, s.Name, string(s.Arguments), s.Cron, s.TimeZone, s.CatchUp, s.CatchUpMost, s.Overlap,
			s.Paused, s.Priority, s.MaxAttempts, store.At(s.UpdatedAt), store.At(s.NextAt), store.At(s.HeldAt), s.ID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("update schedule: %w", err)
	}
	q.lookForSchedule(changed)
	return changed, nil
}

// DeleteSchedule removes a schedule of by, or anybody's for an administrator. Jobs that it has started go
// on. Faults: UNAUTHENTICATED, NOT_FOUND.
func (q *Queue) DeleteSchedule(ctx context.Context, by viewer.Viewer, id ScheduleID) error {
	err := q.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := q.ownedScheduleTx(ctx, tx, by, id); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, deleteSchedule, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete schedule: %w", err)
	}
	return nil
}

// SchedulesByIDs returns those of ids that by may see.
func (q *Queue) SchedulesByIDs(ctx context.Context, by viewer.Viewer, ids []ScheduleID) (map[ScheduleID]*Schedule, error) {
	schedules, err := store.Many(ctx, q.db, selectSchedules, scanSchedule, ids)
	if err != nil {
		return nil, fmt.Errorf("read schedules: %w", err)
	}
	found := make(map[ScheduleID]*Schedule, len(schedules))
	for _, s := range schedules {
		if by.Owns(s.Owner, viewer.ReadJobs) {
			found[s.ID] = s
		}
	}
	return found, nil
}

// ownedScheduleTx locks the schedule and returns it if by may change it.
func (q *Queue) ownedScheduleTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, id ScheduleID) (*Schedule, error) {
	if err := by.SignedIn(); err != nil {
		return nil, err
	}
	if !store.ValidID("sch", string(id)) {
		return nil, fault.Missing("schedule")
	}
	s, err := store.One(ctx, tx, lockSchedule, scanSchedule, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && !by.Owns(s.Owner, viewer.ManageJobs) {
		return nil, fault.Missing("schedule")
	}
	if err != nil {
		return nil, fmt.Errorf("read schedule %s: %w", id, err)
	}
	return s, nil
}

// ScheduleFilter chooses schedules. What is empty does not matter.
type ScheduleFilter struct {
	Owner  viewer.UserID
	Kinds  []string
	Paused *bool
}

// Schedules returns a page of the schedules that f chooses, newest first: of by's own, or of everybody's
// for those who may read their jobs. Without count its Total is 0. Faults: those of [Queue.List].
func (q *Queue) Schedules(ctx context.Context, by viewer.Viewer, f ScheduleFilter, w page.Window, count bool) (page.Page[*Schedule], error) {
	none := page.Page[*Schedule]{}
	narrowed, _, err := q.allowed(by, Filter{Owner: f.Owner, Kinds: f.Kinds}, Order{})
	if err != nil {
		return none, err
	}
	f.Owner = narrowed.Owner
	var (
		rows  []*Schedule
		total int
	)
	err = q.reading(ctx, !count, func(r store.Reader) (err error) {
		list, listArgs, counted, countArgs := schedulesOf(f, w)
		rows, err = store.All(ctx, r, list, scanSchedule, listArgs...)
		if err != nil || !count {
			return err
		}
		total, err = store.One(ctx, r, counted, store.Value[int], countArgs...)
		return err
	})
	if err != nil {
		return none, fmt.Errorf("list schedules: %w", err)
	}
	return page.Cut(w, rows, total), nil
}

// EachScheduleOf calls fn with every schedule of owner, oldest first. The caller checks who may see them.
func (q *Queue) EachScheduleOf(ctx context.Context, owner viewer.UserID, fn func(*Schedule) error) error {
	all, err := store.All(ctx, q.db, selectSchedulesOf, scanSchedule, owner)
	if err != nil {
		return fmt.Errorf("read schedules of %s: %w", owner, err)
	}
	for _, s := range all {
		if err := fn(s); err != nil {
			return err
		}
	}
	return nil
}
