// Package cron reads the times of a schedule as crontab(5) writes them, and finds the moments that they
// mean in a time zone.
//
// # What is read
//
// Five fields: minute, hour, day of month, month, day of week. A field is a list, by commas, of *, a
// value, a range a-b, or a step */n or a-b/n. Months and days of the week have their English names of
// three letters too; Sunday is 0 and 7. Beyond crontab(5): L is the last day of the month, MON#2 the
// second Monday of the month, FRIL the last Friday. Or one of the names @yearly, @annually, @monthly,
// @weekly, @daily, @midnight and @hourly. When both days are restricted, so that neither begins with *,
// either of them will do.
//
// # When clocks change
//
// An expression whose hours are all 24 is hourly: it means every minute of the clock on the wall that
// fits, also those that are shown twice; what is never shown is not made up. Any other has fixed hours,
// as cron(8) has it for jobs that run less often than hourly: a time that is shown twice counts the first
// time; times that are skipped make one moment, the one at which the clock was put forward. Unlike
// cron(8) this holds for changes of any size.
package cron

import (
	"math/bits"
	"slices"
	"time"
)

// Expression is when something is to happen, by the clock on the wall.
type Expression struct {
	minutes, hours, days, months, weekdays uint64 // bit n is set when the value n is meant

	lastDay bool  // of the month
	nth     []nth // days of the week that are counted within the month

	anyDay, anyWeekday bool // the field begins with *
}

// nth is one day of the week in a month: the first is 1, the last is 0.
type nth struct{ weekday, number int }

// horizon bounds the search for the next moment, in years: the rarest, the fifth Monday of a February,
// comes each 28 years, and after 40 around a year like 2100 that is no leap year.
const horizon = 41

// Next returns the first moment of e in zone after after; the zero time when there is none for 41 years,
// as for a 30 February.
func (e Expression) Next(after time.Time, zone *time.Location) time.Time {
	limit := after.AddDate(horizon, 0, 0)
	for p := periodAt(after.In(zone)); ; p = periodAt(p.end) {
		if moment, found := e.within(p, after, limit); found {
			return moment.In(zone)
		}
		if p.end.IsZero() || p.end.After(limit) {
			return time.Time{}
		}
	}
}

// Last returns the newest moments of e in zone after after and not after until, at most most of them,
// oldest first. It looks back from until, further and further, so that a long time costs no more than a
// short one; after and until lie less than two centuries apart.
func (e Expression) Last(most int, after, until time.Time, zone *time.Location) []time.Time {
	for span := time.Hour; ; span *= 8 {
		all := span >= until.Sub(after)
		from := after
		if !all {
			from = until.Add(-span)
		}
		var moments []time.Time
		for t := e.Next(from, zone); !t.IsZero() && !t.After(until); t = e.Next(t, zone) {
			moments = append(moments, t)
		}
		if all || len(moments) >= most {
			return moments[max(0, len(moments)-most):]
		}
	}
}

// hourly reports whether e means every hour.
func (e Expression) hourly() bool { return e.hours == 1<<24-1 }

// within returns the first moment of e in p after after and not after limit.
func (e Expression) within(p period, after, limit time.Time) (time.Time, bool) {
	from, until := nextMinute(p.wall(after)), p.wall(limit)
	if !p.end.IsZero() && p.end.Before(limit) {
		until = p.wall(p.end)
	}
	if after.Before(p.start) {
		from = sameMinute(p.wall(p.start))
		if _, skipped := e.match(sameMinute(p.shown), p.wall(p.start)); skipped && !e.hourly() {
			return p.start, true
		}
	}
	if shown := sameMinute(p.shown); !e.hourly() && shown.After(from) {
		from = shown
	}
	wall, found := e.match(from, until)
	return p.moment(wall), found
}

// match returns the first minute of the wall from from on and before until that e means.
func (e Expression) match(from, until time.Time) (time.Time, bool) {
	const whole = 24 * time.Hour
	day := from.Truncate(whole)
	for earliest := int(from.Sub(day) / time.Minute); day.Before(until); earliest = 0 {
		if year, month, _ := day.Date(); !has(e.months, int(month)) {
			day = time.Date(year, month+1, 1, 0, 0, 0, 0, time.UTC)
			continue
		}
		if e.onDay(day) {
			if minute, found := e.minuteOfDay(earliest); found {
				wall := day.Add(time.Duration(minute) * time.Minute)
				return wall, wall.Before(until)
			}
		}
		day = day.Add(whole)
	}
	return time.Time{}, false
}

// minuteOfDay returns the first minute since midnight that is meant and not before earliest.
func (e Expression) minuteOfDay(earliest int) (int, bool) {
	hour := earliest / 60
	if later := e.minutes >> (earliest % 60); has(e.hours, hour) && later != 0 {
		return earliest + bits.TrailingZeros64(later), true
	}
	later := e.hours >> (hour + 1)
	if later == 0 {
		return 0, false
	}
	return (hour+1+bits.TrailingZeros64(later))*60 + bits.TrailingZeros64(e.minutes), true
}

// onDay reports whether the day is meant: by either field when both are restricted, else by both.
func (e Expression) onDay(wall time.Time) bool {
	left := time.Date(wall.Year(), wall.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day() - wall.Day() // days of the month after this one
	day := has(e.days, wall.Day()) || e.lastDay && left == 0
	weekday := has(e.weekdays, int(wall.Weekday())) || slices.ContainsFunc(e.nth, func(n nth) bool {
		return n.weekday == int(wall.Weekday()) && (n.number == (wall.Day()+6)/7 || n.number == 0 && left < 7)
	})
	if e.anyDay || e.anyWeekday {
		return day && weekday
	}
	return day || weekday
}

func has(set uint64, value int) bool { return set&(1<<value) != 0 }

// period is a stretch of time in which a zone keeps its distance from UTC.
type period struct {
	start, end time.Time     // zero: since or for ever
	offset     time.Duration // of the clock on the wall from UTC
	shown      time.Time     // what the clock on the wall had come to before start
}

// farthest is more than the clock on any wall was ever put forward or back: from UTC-12 to UTC+14.
const farthest = 27 * time.Hour

func periodAt(t time.Time) period {
	p := bounds(t)
	if p.start.IsZero() {
		return p
	}
	for earlier := p; !earlier.start.IsZero() && earlier.start.After(p.start.Add(-farthest)); {
		earlier = bounds(earlier.start.Add(-1))
		if shown := earlier.wall(earlier.end); shown.After(p.shown) {
			p.shown = shown
		}
	}
	return p
}

// bounds is ZoneBounds, with an end that lies after t: Go 1.26 takes each year of a zone's standing rule
// for 365 days long, and so ends the last day of a leap year before it has begun. That an end comes too
// early does no harm: what follows keeps the same distance.
func bounds(t time.Time) period {
	start, end := t.ZoneBounds()
	if !end.IsZero() && !end.After(t) {
		end = t.Truncate(24 * time.Hour).Add(24 * time.Hour)
	}
	_, seconds := t.Zone()
	return period{start: start, end: end, offset: time.Duration(seconds) * time.Second}
}

// wall returns what the clock on the wall shows at a moment, written as a time in UTC.
func (p period) wall(moment time.Time) time.Time { return moment.UTC().Add(p.offset) }

// moment returns when the clock on the wall shows wall.
func (p period) moment(wall time.Time) time.Time { return wall.Add(-p.offset) }

// sameMinute returns the first whole minute that is not before wall.
func sameMinute(wall time.Time) time.Time {
	if whole := wall.Truncate(time.Minute); whole.Before(wall) {
		return whole.Add(time.Minute)
	}
	return wall
}

// nextMinute returns the first whole minute after wall.
func nextMinute(wall time.Time) time.Time { return wall.Truncate(time.Minute).Add(time.Minute) }
