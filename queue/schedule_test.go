package queue_test

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
)

// The statements with which tests let time pass for a schedule, and change who its owner is.
var (
	addUser = store.SQL(`INSERT INTO users (id, email_sealed, email_index, roles, created_at, updated_at)
		VALUES (?, ?, ?, ?, 0, 0)`)
	moveSchedule = store.SQL(`UPDATE schedules SET next_at = {now} + ? WHERE id = ?`)
	setKind      = store.SQL(`UPDATE schedules SET kind = ? WHERE id = ?`)
	setStatus    = store.SQL(`UPDATE users SET status = ?, roles = ? WHERE id = ?`)
)

func (y *yard) run(statement *store.Query, args ...any) {
	y.t.Helper()
	err := y.db.Update(y.t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(y.t.Context(), statement, args...)
		return err
	})
	if err != nil {
		y.t.Fatal(err)
	}
}

// people gives the viewers of the tests accounts: what has none starts nothing.
func (y *yard) people() {
	y.t.Helper()
	y.run(addUser, ada.User, []byte{1}, []byte{1}, "")
	y.run(addUser, eve.User, []byte{2}, []byte{2}, "")
	y.run(addUser, root.User, []byte{3}, []byte{3}, "ADMIN")
}

// soon lets the next moment of s come at a distance from now, which may lie before now.
func (y *yard) soon(s *queue.Schedule, in time.Duration) {
	y.t.Helper()
	y.run(moveSchedule, in.Microseconds(), s.ID)
}

// recorder is a kind that tells of each job that it runs, and lets it end when it may.
type recorder struct {
	queue.Kind[args, answer]
	began chan *queue.Job
	end   chan struct{}
}

func newRecorder() *recorder {
	r := &recorder{began: make(chan *queue.Job, 1000), end: make(chan struct{})}
	r.Kind = queue.Kind[args, answer]{
		Name: "record",
		Arguments: func(input json.RawMessage) (a args, err error) {
			if err = json.Unmarshal(input, &a); err != nil || a.Text == "" {
				err = fault.New(fault.Required, "Text", "Give a text.")
			}
			return a, err
		},
		Handle: func(ctx context.Context, run *queue.Run, a args) (answer, error) {
			r.began <- run.Job
			select {
			case <-r.end:
			case <-ctx.Done():
			}
			return answer{a.Text}, context.Cause(ctx)
		},
	}
	return r
}

// quick lets every job end at once.
func (r *recorder) quick() *recorder {
	close(r.end)
	return r
}

func (r *recorder) next(t testing.TB) *queue.Job {
	t.Helper()
	select {
	case j := <-r.began:
		return j
	case <-time.After(20 * time.Second):
		t.Fatal("no job has begun")
		return nil
	}
}

// yearly is a schedule whose next moment is far away unless a test moves it.
func yearly(kind string) queue.Schedule {
	return queue.Schedule{
		Name: "report", Kind: kind, Arguments: json.RawMessage(`{"Text":"go"}`), Cron: "@yearly", TimeZone: "UTC",
		CatchUp: queue.RunLast, CatchUpMost: 10, Overlap: queue.SkipMoment,
	}
}

func (p *process) schedule(t testing.TB, s queue.Schedule) *queue.Schedule {
	t.Helper()
	made, err := p.CreateSchedule(t.Context(), ada, s)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// settled returns the schedule once it is as wanted.
func (p *process) settled(t testing.TB, id queue.ScheduleID, wanted func(*queue.Schedule) bool) *queue.Schedule {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for {
		found, err := p.SchedulesByIDs(t.Context(), ada, []queue.ScheduleID{id})
		if err != nil || found[id] == nil {
			t.Fatalf("the schedule is gone: %v", err)
		}
		s := found[id]
		if wanted(s) {
			return s
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("the schedule is %+v, its last run %+v", s, s.Last)
		}
	}
}

func outcome(o queue.ScheduleOutcome) func(*queue.Schedule) bool {
	return func(s *queue.Schedule) bool { return s.Last != nil && s.Last.Outcome == o }
}

// started counts the jobs of ada.
func (p *process) started(t testing.TB) int {
	t.Helper()
	found, err := p.List(t.Context(), ada, queue.Filter{}, queue.Order{}, page.Window{Size: 1}, queue.Want{Total: true})
	if err != nil {
		t.Fatal(err)
	}
	return found.Total
}

func TestAMomentStartsOneJobNeverEarlyHoweverManyServersLook(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		y.people()
		r := newRecorder().quick()
		options := queue.Options{Workers: 2, Sweep: 20 * time.Millisecond}
		p := y.start(options, r.Define())
		y.start(options, r.Define())
		y.start(options, r.Define())
		const schedules, rounds = 5, 4
		var all []*queue.Schedule
		for range schedules {
			s := yearly("record")
			s.Overlap, s.Priority, s.MaxAttempts = queue.RunBeside, queue.High, 7
			all = append(all, p.schedule(t, s))
		}
		for round := range rounds {
			moments := map[queue.ID]time.Time{}
			for i, s := range all {
				y.soon(s, time.Duration(50+10*i)*time.Millisecond)
			}
			for range schedules {
				j := r.next(t)
				moments[j.ID] = j.StartedAt
				if j.Owner != ada.User || j.Priority != queue.High || j.MaxAttempts != 7 || string(j.Input) != `{"Text":"go"}` {
					t.Errorf("the job is %+v", j)
				}
			}
			for _, s := range all {
				s = p.settled(t, s.ID, func(s *queue.Schedule) bool { return s.NextAt.Year() > time.Now().Year() })
				if s.Last.Outcome != queue.Started || moments[s.LastJob].Before(s.Last.Moment) {
					t.Errorf("round %d: %+v, whose job began at %v", round, s.Last, moments[s.LastJob])
				}
			}
		}
		if n := p.started(t); n != schedules*rounds {
			t.Errorf("%d jobs for %d moments", n, schedules*rounds)
		}
	})
}

func TestMissedMomentsAreCaughtUpOnByTheRule(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		y.people()
		r := newRecorder().quick()
		p := y.start(queue.Options{Workers: 2, Sweep: 20 * time.Millisecond}, r.Define())
		now := time.Now().UTC().Truncate(time.Minute)
		var minutes []string // of this minute and the five before; the next one is far away
		for ago := range 6 {
			minutes = append(minutes, strconv.Itoa(now.Add(time.Duration(-ago)*time.Minute).Minute()))
		}
		six := strings.Join(minutes, ",") + " * * * *"
		for _, c := range []struct {
			name string
			rule queue.CatchUp
			most int
			cron string
			ago  time.Duration
			jobs int
			last queue.ScheduleOutcome
		}{
			{"skip, two minutes ago", queue.SkipMissed, 10, "@yearly", 2 * time.Minute, 0, queue.Missed},
			{"skip, half a minute ago", queue.SkipMissed, 10, "@yearly", 30 * time.Second, 1, queue.Started},
			{"last of one", queue.RunLast, 10, "@yearly", 2 * time.Minute, 1, queue.Started},
			{"last of many", queue.RunLast, 10, six, 30 * 24 * time.Hour, 1, queue.Started},
			{"all, fewer than the most", queue.RunAll, 10, six, 10 * time.Minute, 7, queue.Started},
			{"all, at most three", queue.RunAll, 3, six, 30 * 24 * time.Hour, 3, queue.Started},
		} {
			s, before := yearly("record"), p.started(t)
			s.Name, s.CatchUp, s.CatchUpMost, s.Cron, s.Overlap = c.name, c.rule, c.most, c.cron, queue.RunBeside
			made := p.schedule(t, s)
			y.soon(made, -c.ago)
			s = *p.settled(t, made.ID, outcome(c.last))
			if n := p.started(t) - before; n != c.jobs {
				t.Errorf("%s: %d jobs, want %d", c.name, n, c.jobs)
			}
			if c.cron == six && !s.Last.Moment.Equal(now) || s.NextAt.Before(time.Now()) {
				t.Errorf("%s: the last moment is %v, the next %v", c.name, s.Last.Moment, s.NextAt)
			}
		}
	})
}

func TestAMomentWhoseLastJobGoesOnFollowsTheRule(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		y.people()
		kinds := map[queue.Overlap]*recorder{queue.RunBeside: newRecorder(), queue.SkipMoment: newRecorder(), queue.HoldOne: newRecorder()}
		var all []queue.Definition
		for rule, r := range kinds {
			r.Name = string(rule)
			all = append(all, r.Define())
		}
		p := y.start(queue.Options{Workers: 4, Sweep: 20 * time.Millisecond}, all...)
		for _, c := range []struct {
			rule          queue.Overlap
			second, third queue.ScheduleOutcome
			atOnce, inAll int
		}{
			{queue.RunBeside, queue.Started, queue.Started, 3, 3},
			{queue.SkipMoment, queue.Overlapped, queue.Overlapped, 1, 1},
			{queue.HoldOne, queue.HeldBack, queue.Overlapped, 1, 2},
		} {
			r, before := kinds[c.rule], p.started(t)
			s := yearly(r.Name)
			s.Overlap = c.rule
			made := p.schedule(t, s)
			for i, want := range []queue.ScheduleOutcome{queue.Started, c.second, c.third} {
				y.soon(made, 0)
				got := p.settled(t, made.ID, func(s *queue.Schedule) bool { return s.NextAt.After(time.Now()) })
				if got.Last.Outcome != want {
					t.Errorf("%s: moment %d was %s, want %s", c.rule, i+1, got.Last.Outcome, want)
				}
			}
			if n := p.started(t) - before; n != c.atOnce {
				t.Errorf("%s: %d jobs at once, want %d", c.rule, n, c.atOnce)
			}
			close(r.end)
			for range c.inAll {
				r.next(t)
			}
			got := p.settled(t, made.ID, func(s *queue.Schedule) bool { return s.HeldAt.IsZero() })
			if n := p.started(t) - before; n != c.inAll || c.rule == queue.HoldOne && got.Last.Outcome != queue.Started {
				t.Errorf("%s: %d jobs in all, want %d; the last %+v", c.rule, n, c.inAll, got.Last)
			}
		}
	})
}

func TestAScheduleStartsNothingWhileItsOwnerMayNot(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		y.people()
		r := newRecorder().quick()
		r.Scope = viewer.ManageJobs
		p := y.start(queue.Options{Workers: 1, Sweep: 20 * time.Millisecond}, r.Define())
		if _, err := p.CreateSchedule(t.Context(), ada, yearly("record")); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a schedule of a kind that ada may not start: %v", err)
		}
		admin := viewer.Viewer{User: ada.User, Roles: []viewer.Role{viewer.Admin}}
		made, err := p.CreateSchedule(t.Context(), admin, yearly("record"))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			status, roles string
			want          queue.ScheduleOutcome
		}{
			{"ACTIVE", "DEVELOPER ADMIN", queue.Started},
			{"ACTIVE", "DEVELOPER", queue.NotAllowed},
			{"DISABLED", "ADMIN", queue.NotAllowed},
			{"DELETING", "ADMIN", queue.NotAllowed},
			{"ACTIVE", "ADMIN", queue.Started},
		} {
			y.run(setStatus, c.status, c.roles, ada.User)
			y.soon(made, 0)
			got := p.settled(t, made.ID, func(s *queue.Schedule) bool { return s.NextAt.After(time.Now()) })
			if got.Last.Outcome != c.want {
				t.Errorf("%s with %s: %s, want %s", c.status, c.roles, got.Last.Outcome, c.want)
			}
			if c.want == queue.Started {
				p.finished(t, r.next(t).ID)
			}
		}
		if n := p.started(t); n != 2 {
			t.Errorf("%d jobs were started, want 2", n)
		}
	})
}

func TestAScheduleThatCannotStartAnythingStopsNoOther(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		y.people()
		r := newRecorder().quick()
		strict, strange := newRecorder().quick(), newRecorder().quick()
		strict.Name, strange.Name = "strict", "strange"
		var refusing atomic.Bool
		taken := strict.Arguments
		strict.Arguments = func(input json.RawMessage) (args, error) {
			if refusing.Load() {
				return args{}, fault.New(fault.Invalid, "Text", "Not any more.")
			}
			return taken(input)
		}
		p := y.start(queue.Options{Workers: 1, Sweep: 20 * time.Millisecond}, r.Define(), strict.Define())
		refused, other, unknown := p.schedule(t, yearly("strict")), p.schedule(t, yearly("record")), p.schedule(t, yearly("record"))
		y.run(setKind, "strange", unknown.ID) // as a newer server would have written it
		refusing.Store(true)
		for _, s := range []*queue.Schedule{unknown, refused, other} {
			y.soon(s, 0)
		}
		r.next(t)
		if got := p.settled(t, refused.ID, outcome(queue.Refused)); got.Last.Message != "Not any more." || got.NextAt.IsZero() {
			t.Errorf("the schedule whose arguments are refused is %+v, %+v", got, got.Last)
		}
		if got := p.settled(t, unknown.ID, func(*queue.Schedule) bool { return true }); got.Last != nil || got.NextAt.After(time.Now()) {
			t.Errorf("a kind that only a newer server knows was fired: %+v", got)
		}
		newer := y.start(queue.Options{Sweep: 20 * time.Millisecond}, strange.Define())
		newer.settled(t, unknown.ID, outcome(queue.Started))
	})
}

func TestAScheduleThatCannotBeIsRefusedByField(t *testing.T) {
	y := newYard(t, "sqlite:"+t.TempDir()+"/q.db", "")
	y.people()
	r := newRecorder().quick()
	p := y.start(queue.Options{}, r.Define(), echo("echo").Define())
	for field, spoil := range map[string]func(*queue.Schedule){
		"name":           func(s *queue.Schedule) { s.Name = " " },
		"kind":           func(s *queue.Schedule) { s.Kind = "echo" },
		"cron":           func(s *queue.Schedule) { s.Cron = "0 0 30 2 *" },
		"timeZone":       func(s *queue.Schedule) { s.TimeZone = "Local" },
		"catchUpMost":    func(s *queue.Schedule) { s.CatchUpMost = 25 },
		"maxAttempts":    func(s *queue.Schedule) { s.MaxAttempts = 26 },
		"arguments":      func(s *queue.Schedule) { s.Arguments = json.RawMessage(`"` + strings.Repeat("x", 64<<10) + `"`) },
		"arguments.Text": func(s *queue.Schedule) { s.Arguments = json.RawMessage(`{"Text":""}`) },
	} {
		s := yearly("record")
		spoil(&s)
		_, err := p.CreateSchedule(t.Context(), ada, s)
		if f, ok := fault.As(err); !ok || !f.Mendable() || strings.Join(f.Field, ".") != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, zone := range []string{"", "../../etc/passwd", "/etc/passwd", "right/Europe/Berlin", "posixrules", "localtime", "local", "Mars/Olympus", "Europe//Berlin", "Europe/./Berlin", "Europe/Berlin/"} {
		s := yearly("record")
		s.TimeZone = zone
		if _, err := p.CreateSchedule(t.Context(), ada, s); !fault.Is(err, fault.Invalid) {
			t.Errorf("the zone %q: %v", zone, err)
		}
	}
}

func TestAnOwnerHasAtMostAHundredSchedules(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		y.people()
		r := newRecorder()
		p := y.start(queue.Options{}, r.Define())
		for range 98 {
			p.schedule(t, yearly("record"))
		}
		var made, full atomic.Int32
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				_, err := p.CreateSchedule(t.Context(), ada, yearly("record"))
				switch {
				case err == nil:
					made.Add(1)
				case fault.Is(err, fault.WrongState):
					full.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if made.Load() != 2 || full.Load() != 6 {
			t.Errorf("beside 98, %d were made at once and %d refused", made.Load(), full.Load())
		}
		if _, err := p.CreateSchedule(t.Context(), eve, yearly("record")); err != nil {
			t.Errorf("another owner: %v", err)
		}
	})
}

func TestASchedulesTimesArePlannedAnewWhenTheyChange(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		y.people()
		r := newRecorder().quick()
		p := y.start(queue.Options{Workers: 1, Sweep: 20 * time.Millisecond}, r.Define())
		s := yearly("record")
		s.Cron, s.TimeZone = "0 12 1 6 *", "Asia/Tokyo"
		made := p.schedule(t, s)
		if at := made.NextAt.UTC(); at.Month() != time.June || at.Day() != 1 || at.Hour() != 3 {
			t.Errorf("noon in Tokyo is %v", at)
		}
		update := func(c queue.ScheduleChange) *queue.Schedule {
			t.Helper()
			got, err := p.UpdateSchedule(t.Context(), ada, made.ID, c)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		name, cronText, zone, yes, no := "renamed", "0 12 2 6 *", "America/New_York", true, false
		if got := update(queue.ScheduleChange{Name: &name}); got.Name != name || !got.NextAt.Equal(made.NextAt) {
			t.Errorf("a new name gives %+v", got)
		}
		got := update(queue.ScheduleChange{Cron: &cronText, TimeZone: &zone})
		if at := got.NextAt.UTC(); at.Day() != 2 || at.Hour() != 16 {
			t.Errorf("noon in New York is %v", at)
		}
		runs, err := p.NextRuns(got, 3)
		if err != nil || len(runs) != 3 || !runs[0].Equal(got.NextAt) || runs[2].Year() != runs[0].Year()+2 {
			t.Errorf("the next runs are %v, %v", runs, err)
		}
		got = update(queue.ScheduleChange{Paused: &yes})
		if runs, err := p.NextRuns(got, 20); err != nil || len(runs) != 0 || !got.NextAt.IsZero() {
			t.Errorf("while it is paused: %v, %v", runs, err)
		}
		if got = update(queue.ScheduleChange{Paused: &no}); got.NextAt.Before(time.Now()) || got.Last != nil {
			t.Errorf("resumed: %+v", got)
		}
		bad := json.RawMessage(`{}`)
		if _, err := p.UpdateSchedule(t.Context(), ada, made.ID, queue.ScheduleChange{Arguments: &bad}); !fault.Is(err, fault.Required) {
			t.Errorf("arguments that the kind does not take: %v", err)
		}
	})
}

func TestASchedulesOwnerManagesItAdminsMayStopItAndNobodyElseSeesIt(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		y.people()
		r := newRecorder()
		p := y.start(queue.Options{}, r.Define())
		made := p.schedule(t, yearly("record"))
		other, err := p.CreateSchedule(t.Context(), eve, yearly("record"))
		if err != nil {
			t.Fatal(err)
		}
		key := viewer.Viewer{User: ada.User, Machine: "key_1", Scopes: []viewer.Scope{viewer.ReadAccount}}
		yes, name := true, "mine"
		for _, by := range []viewer.Viewer{eve, key, {}} {
			found, err := p.SchedulesByIDs(t.Context(), by, []queue.ScheduleID{made.ID, other.ID})
			if err != nil || found[made.ID] != nil || len(found) > 0 && by.User != eve.User {
				t.Errorf("%+v reads %v, %v", by, found, err)
			}
			_, changed := p.UpdateSchedule(t.Context(), by, made.ID, queue.ScheduleChange{Paused: &yes})
			for _, err := range []error{changed, p.DeleteSchedule(t.Context(), by, made.ID)} {
				if !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Unauthenticated) {
					t.Errorf("%+v: %v", by, err)
				}
			}
		}
		if _, err := p.CreateSchedule(t.Context(), key, yearly("record")); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a key without the scope: %v", err)
		}
		if _, err := p.UpdateSchedule(t.Context(), root, made.ID, queue.ScheduleChange{Name: &name, Paused: &yes}); !fault.Is(err, fault.Forbidden) {
			t.Errorf("an administrator changes what it does: %v", err)
		}
		if _, err := p.UpdateSchedule(t.Context(), root, made.ID, queue.ScheduleChange{Paused: &yes}); err != nil {
			t.Errorf("an administrator pauses it: %v", err)
		}
		list := func(by viewer.Viewer, f queue.ScheduleFilter) (ids []queue.ScheduleID) {
			t.Helper()
			found, err := p.Schedules(t.Context(), by, f, page.Window{Size: 10}, true)
			if err != nil || found.Total != len(found.Items) {
				t.Fatalf("%+v: %+v, %v", f, found, err)
			}
			for _, s := range found.Items {
				ids = append(ids, s.ID)
			}
			return ids
		}
		for name, c := range map[string]struct {
			by   viewer.Viewer
			f    queue.ScheduleFilter
			want []queue.ScheduleID
		}{
			"one's own":            {ada, queue.ScheduleFilter{}, []queue.ScheduleID{made.ID}},
			"everybody's":          {root, queue.ScheduleFilter{}, []queue.ScheduleID{other.ID, made.ID}},
			"one owner's":          {root, queue.ScheduleFilter{Owner: eve.User}, []queue.ScheduleID{other.ID}},
			"paused ones":          {root, queue.ScheduleFilter{Paused: &yes}, []queue.ScheduleID{made.ID}},
			"of another kind":      {root, queue.ScheduleFilter{Kinds: []string{"echo", "cat"}}, nil},
			"of one of these two":  {eve, queue.ScheduleFilter{Kinds: []string{"echo", "record"}}, []queue.ScheduleID{other.ID}},
			"an owner without any": {root, queue.ScheduleFilter{Owner: root.User}, nil},
		} {
			if got := list(c.by, c.f); !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
		}
		if _, err := p.Schedules(t.Context(), ada, queue.ScheduleFilter{Owner: eve.User}, page.Window{Size: 1}, false); !fault.Is(err, fault.Forbidden) {
			t.Errorf("another's schedules: %v", err)
		}
		if _, err := p.Forget(t.Context(), eve.User); err != nil {
			t.Fatal(err)
		}
		if got := list(root, queue.ScheduleFilter{}); !slices.Equal(got, []queue.ScheduleID{made.ID}) {
			t.Errorf("after eve was forgotten there are %v", got)
		}
		if err := p.DeleteSchedule(t.Context(), root, made.ID); err != nil {
			t.Errorf("an administrator deletes it: %v", err)
		}
	})
}
