package queue

import (
	"encoding/json"
	"time"
	"unicode/utf8"

	"gatehouse/internal/fault"
	"gatehouse/internal/page"
	"gatehouse/internal/viewer"
	"gatehouse/queue/cron"
)

// ScheduleID names a schedule, "sch_…".
type ScheduleID string

// Schedule says that a job of one kind is to be done again and again. At each of its moments one job is
// started in the whole deployment, as if its owner had asked for it.
type Schedule struct {
	ID          ScheduleID
	Owner       viewer.UserID
	Name        string
	Kind        string
	Arguments   json.RawMessage // as [Kind.Arguments] reads them
	Cron        string          // as package cron reads it
	TimeZone    string          // of the IANA database
	CatchUp     CatchUp
	CatchUpMost int // jobs that RunAll starts for missed moments, the newest
	Overlap     Overlap
	Paused      bool
	Priority    Priority // 0: Normal
	MaxAttempts int      // 0: as the kind says
	CreatedAt   time.Time
	UpdatedAt   time.Time
	NextAt      time.Time // the next moment; zero: none
	HeldAt      time.Time // the moment whose job is held back; zero: none
	Last        *ScheduleRun
	LastJob     ID // the newest job that was started; it may be gone
}

// CatchUp says what becomes of moments that were missed: no server was there for more than a minute.
type CatchUp string

// The rules for missed moments.
const (
	SkipMissed CatchUp = "SKIP"
	RunLast    CatchUp = "LAST" // one job for the newest of them
	RunAll     CatchUp = "ALL"  // a job for each of the newest
)

// Overlap says what becomes of a moment at which the schedule's last job has not ended.
type Overlap string

// The rules for moments that overlap.
const (
	RunBeside  Overlap = "ALLOW"
	SkipMoment Overlap = "SKIP"
	HoldOne    Overlap = "QUEUE_ONE" // one job is held back until the last one has ended
)

// ScheduleRun is what became of the newest moment of a schedule.
type ScheduleRun struct {
	Moment  time.Time
	Outcome ScheduleOutcome
	Message string // of Refused: why
}

// Said returns the message, nil when there is none.
func (r *ScheduleRun) Said() *string {
	if r.Message == "" {
		return nil
	}
	return &r.Message
}

// ScheduleOutcome is what can become of a moment.
type ScheduleOutcome string

// The outcomes. All but Started and HeldBack pass the moment over.
const (
	Started    ScheduleOutcome = "STARTED"
	HeldBack   ScheduleOutcome = "HELD_BACK"
	Overlapped ScheduleOutcome = "OVERLAPPED"
	Missed     ScheduleOutcome = "MISSED"
	Refused    ScheduleOutcome = "REFUSED"     // the kind does not take the arguments
	NotAllowed ScheduleOutcome = "NOT_ALLOWED" // the owner may not start the kind at the time
)

// The bounds of schedules.
const (
	maxSchedules      = 100 // of one owner
	maxNameRunes      = 100
	maxArgumentsBytes = 64 << 10
	maxCatchUp        = 24
	maxNextRuns       = 20
	maxNextYears      = 41 // how far ahead they are looked for
	missedAfter       = time.Minute
)

// NodeID returns the id under which a client can fetch s again.
func (s *Schedule) NodeID() string { return string(s.ID) }

// LastRun returns what became of the newest moment, nil before the first.
func (s *Schedule) LastRun() *ScheduleRun { return s.Last }

// Attempts returns how often a worker begins at the most, nil when it is left to the kind.
func (s *Schedule) Attempts() *int {
	if s.MaxAttempts == 0 {
		return nil
	}
	return &s.MaxAttempts
}

// Cursor returns the place of s in a list.
func (s *Schedule) Cursor() page.Cursor {
	return page.Cursor{Key: s.CreatedAt.UnixMicro(), ID: string(s.ID)}
}

// timing is what a schedule's cron expression means in its zone.
type timing struct {
	cron.Expression
	zone *time.Location
}

func (t timing) next(after time.Time) time.Time { return t.Next(after, t.zone) }

// timing reads when s is due. Faults about cron and timeZone.
func (q *Queue) timing(s *Schedule) (timing, error) {
	expression, err := cron.Parse(s.Cron)
	if err != nil {
		return timing{}, err
	}
	zone, err := q.zones.load(s.TimeZone)
	return timing{expression, zone}, err
}

// NextRuns returns the next n moments of s, 1 to 20; fewer when they lie more than 41 years after the
// first, that one alone where its zone cannot be read, and none while it is paused. Fault: BAD_USER_INPUT.
func (q *Queue) NextRuns(s *Schedule, n int) ([]time.Time, error) {
	if n < 1 || n > maxNextRuns {
		return nil, fault.New(fault.BadUserInput, "", "Ask for 1 to 20 moments.")
	}
	moments := []time.Time{}
	if s.NextAt.IsZero() {
		return moments, nil
	}
	when, err := q.timing(s)
	if err != nil {
		return append(moments, s.NextAt.UTC()), nil
	}
	end := s.NextAt.AddDate(maxNextYears, 0, 0)
	for at := s.NextAt; !at.IsZero() && at.Before(end) && len(moments) < n; at = when.next(at) {
		moments = append(moments, at.UTC())
	}
	return moments, nil
}

// check returns a fault unless by may have s started, and the kind takes its arguments.
func (q *Queue) check(by viewer.Viewer, s *Schedule) error {
	switch {
	case s.Name == "":
		return fault.New(fault.Required, "name", "Give it a name.")
	case utf8.RuneCountInString(s.Name) > maxNameRunes:
		return fault.New(fault.TooLong, "name", "A name has at most 100 characters.")
	case len(s.Arguments) > maxArgumentsBytes:
		return fault.New(fault.TooLarge, "arguments", "The arguments are larger than 64 KiB.")
	case s.CatchUpMost < 1 || s.CatchUpMost > maxCatchUp:
		return fault.New(fault.Invalid, "catchUpMost", "At most 1 to 24 missed moments are caught up on.")
	}
	kind, known := q.kinds[s.Kind]
	if !known || !kind.Schedulable() {
		return fault.New(fault.Invalid, "kind", "There is no kind of this name that can be scheduled; see jobKinds.")
	}
	if err := by.Require(kind.Scope); err != nil {
		return err
	}
	request, err := kind.request(s.Owner, s.Arguments, s.options(), nil)
	if err != nil {
		return within("arguments", err)
	}
	if err := q.checkStepsOf(by, request); err != nil {
		return within("arguments", err)
	}
	return request.check(q.options.Now())
}

// options are those of the jobs that s starts.
func (s *Schedule) options() JobOptions {
	return JobOptions{Priority: s.Priority, MaxAttempts: s.MaxAttempts}
}

// within returns err with its field inside of another.
func within(field string, err error) error {
	f, ok := fault.As(err)
	if !ok {
		return err
	}
	inner := *f
	inner.Field = append([]string{field}, f.Field...)
	return &inner
}
