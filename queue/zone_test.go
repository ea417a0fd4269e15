package queue_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/queue"
)

var setZone = store.SQL(`UPDATE schedules SET time_zone = ?`)

// withoutData reads zones as Go does on a machine without time zone data.
func withoutData(name string) (*time.Location, error) {
	if name == "UTC" {
		return time.UTC, nil
	}
	return nil, errors.New("unknown time zone " + name)
}

// ofBerlin makes n schedules as a server with time zone data has made them.
func (y *yard) ofBerlin(p *process, n int) (made []*queue.Schedule) {
	y.t.Helper()
	for range n {
		made = append(made, p.schedule(y.t, yearly("record")))
	}
	y.run(setZone, "Europe/Berlin")
	return made
}

func TestAScheduleWhoseZoneAServerCannotReadIsLeftToThoseThatCan(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		y.people()
		r := newRecorder().quick()
		poor := y.start(queue.Options{Workers: 1, Sweep: 20 * time.Millisecond, Zone: withoutData}, r.Define())
		abroad := y.ofBerlin(poor, 60) // more than share a transaction
		for _, s := range abroad {
			y.soon(s, -time.Second)
		}
		home := poor.schedule(t, yearly("record"))
		y.soon(home, 0)
		poor.settled(t, home.ID, outcome(queue.Started))
		for _, s := range abroad {
			if got := poor.settled(t, s.ID, func(*queue.Schedule) bool { return true }); got.Last != nil || got.NextAt.IsZero() || got.NextAt.After(time.Now()) {
				t.Fatalf("a server without the zone's data has changed the schedule: %+v, %+v", got, got.Last)
			}
		}
		rich := y.start(queue.Options{Sweep: 20 * time.Millisecond}, r.Define())
		for _, s := range abroad {
			if got := rich.settled(t, s.ID, outcome(queue.Started)); !got.NextAt.After(time.Now()) {
				t.Errorf("the next moment is %v", got.NextAt)
			}
		}
	})
}

func TestAServerWithoutZoneDataSaysSoAndMakesSchedulesInUTC(t *testing.T) {
	y := newYard(t, "sqlite:"+t.TempDir()+"/q.db", "")
	y.people()
	p := y.start(queue.Options{Zone: withoutData}, newRecorder().quick().Define())
	made := y.ofBerlin(p, 1)[0]
	wanted := yearly("record")
	p.schedule(t, wanted)
	wanted.TimeZone = "Europe/Berlin"
	_, err := p.CreateSchedule(t.Context(), ada, wanted)
	if f, ok := fault.As(err); !ok || f.Code != fault.Invalid || strings.Join(f.Field, ".") != "timeZone" || !strings.Contains(f.Message, "no time zone data") {
		t.Errorf("a schedule of Berlin: %v", err)
	}
	name, yes, no := "renamed", true, false
	if got, err := p.UpdateSchedule(t.Context(), ada, made.ID, queue.ScheduleChange{Name: &name}); err != nil || !got.NextAt.Equal(made.NextAt) {
		t.Errorf("renamed: %+v, %v", got, err)
	} else if runs, err := p.NextRuns(got, 5); err != nil || len(runs) != 1 || !runs[0].Equal(made.NextAt) {
		t.Errorf("its next moments are %v, %v; the first is known", runs, err)
	}
	if got, err := p.UpdateSchedule(t.Context(), ada, made.ID, queue.ScheduleChange{Paused: &yes}); err != nil || !got.NextAt.IsZero() {
		t.Errorf("paused: %+v, %v", got, err)
	}
	if _, err := p.UpdateSchedule(t.Context(), ada, made.ID, queue.ScheduleChange{Paused: &no}); !fault.Is(err, fault.Invalid) {
		t.Errorf("resumed where the next moment cannot be found: %v", err)
	}
}
