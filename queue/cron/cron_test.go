package cron

import (
	"archive/zip"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/internal/fault"
)

func parse(t testing.TB, text string) Expression {
	t.Helper()
	e, err := Parse(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return e
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// moments are the first n moments of an expression, as the zone's clock on the wall shows them.
func moments(t testing.TB, text, zoneName, after string, n int) []string {
	t.Helper()
	z := zone(t, zoneName)
	at, err := time.ParseInLocation(shape, after, z)
	if err != nil {
		t.Fatal(err)
	}
	e := parse(t, text)
	var shown []string
	for range n {
		at = e.Next(at, z)
		shown = append(shown, at.Format(shape+" -07"))
	}
	return shown
}

const shape = "Mon 2006-01-02 15:04"

func TestTheMomentsAreThoseOfTheManual(t *testing.T) {
	for _, c := range []struct {
		name, text, after string
		want              []string
	}{
		{"five minutes after midnight, every day (crontab(5))", "5 0 * * *", "Thu 2026-01-01 00:05", []string{"Fri 2026-01-02 00:05", "Sat 2026-01-03 00:05"}},
		{"2:15 pm on the first of every month (crontab(5))", "15 14 1 * *", "Thu 2026-01-01 14:15", []string{"Sun 2026-02-01 14:15", "Sun 2026-03-01 14:15"}},
		{"10 pm on weekdays (crontab(5))", "0 22 * * 1-5", "Thu 2026-01-01 22:00", []string{"Fri 2026-01-02 22:00", "Mon 2026-01-05 22:00"}},
		{"23 minutes after each second hour (crontab(5))", "23 0-23/2 * * *", "Thu 2026-01-01 20:24", []string{"Thu 2026-01-01 22:23", "Fri 2026-01-02 00:23"}},
		{"5 after 4 every Sunday (crontab(5))", "5 4 * * sun", "Thu 2026-01-01 00:00", []string{"Sun 2026-01-04 04:05", "Sun 2026-01-11 04:05"}},
		{"the 1st, the 15th and every Friday (crontab(5))", "30 4 1,15 * 5", "Thu 2026-01-01 04:30", []string{"Fri 2026-01-02 04:30", "Fri 2026-01-09 04:30", "Thu 2026-01-15 04:30"}},
		{"a day that begins with * must fit too", "0 0 */2 * MON", "Thu 2026-01-01 00:00", []string{"Mon 2026-01-05 00:00", "Mon 2026-01-19 00:00"}},
		{"7 is Sunday", "0 0 * * 7", "Thu 2026-01-01 00:00", []string{"Sun 2026-01-04 00:00"}},
		{"a range to Sunday", "0 0 * * FRI-SUN", "Thu 2026-01-01 00:00", []string{"Fri 2026-01-02 00:00", "Sat 2026-01-03 00:00", "Sun 2026-01-04 00:00", "Fri 2026-01-09 00:00"}},
		{"lists of names, ranges and steps", "10-30/10,45 6 * JAN,jul *", "Sat 2026-01-31 06:20", []string{"Sat 2026-01-31 06:30", "Sat 2026-01-31 06:45", "Wed 2026-07-01 06:10"}},
		{"the last day of the month", "0 0 L * *", "Thu 2026-01-01 00:00", []string{"Sat 2026-01-31 00:00", "Sat 2026-02-28 00:00", "Tue 2026-03-31 00:00"}},
		{"the second Monday", "0 9 * * MON#2", "Thu 2026-01-01 00:00", []string{"Mon 2026-01-12 09:00", "Mon 2026-02-09 09:00"}},
		{"the last Friday", "0 9 * * 5L", "Thu 2026-01-01 00:00", []string{"Fri 2026-01-30 09:00", "Fri 2026-02-27 09:00"}},
		{"a leap day", "0 0 29 2 *", "Thu 2026-01-01 00:00", []string{"Tue 2028-02-29 00:00", "Sun 2032-02-29 00:00"}},
		{"no leap year in 2100", "0 0 29 2 *", "Sun 2096-03-04 00:00", []string{"Fri 2104-02-29 00:00"}},
		{"the fifth Monday of a February", "0 0 * 2 MON#5", "Sat 2044-03-05 00:00", []string{"Mon 2072-02-29 00:00", "Mon 2112-02-29 00:00"}},
		{"@yearly", "@Yearly", "Thu 2026-01-01 00:00", []string{"Fri 2027-01-01 00:00"}},
		{"@monthly", "@monthly", "Thu 2026-01-01 00:00", []string{"Sun 2026-02-01 00:00"}},
		{"@weekly", "@weekly", "Thu 2026-01-01 00:00", []string{"Sun 2026-01-04 00:00"}},
		{"@daily", "@daily", "Thu 2026-01-01 00:00", []string{"Fri 2026-01-02 00:00"}},
		{"@hourly", "@hourly", "Thu 2026-01-01 00:00", []string{"Thu 2026-01-01 01:00"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := moments(t, c.text, "UTC", c.after, len(c.want))
			for i := range got {
				if got[i] != c.want[i]+" +00" {
					t.Fatalf("%s after %s: %v, want %v", c.text, c.after, got, c.want)
				}
			}
		})
	}
}

func TestASkippedTimeRunsAfterTheGapAndADoubledOneOnce(t *testing.T) {
	for _, c := range []struct {
		name, text, zone, after string
		want                    []string
	}{
		{"spring, fixed", "30 2 * * *", "Europe/Berlin", "Sat 2026-03-28 03:00", []string{"Sun 2026-03-29 03:00 +02", "Mon 2026-03-30 02:30 +02"}},
		{"spring, many of one hour", "*/10 2 * * *", "Europe/Berlin", "Sat 2026-03-28 03:00", []string{"Sun 2026-03-29 03:00 +02", "Mon 2026-03-30 02:00 +02"}},
		{"spring, the time after the gap is meant too", "0 2,3 * * *", "Europe/Berlin", "Sat 2026-03-28 03:00", []string{"Sun 2026-03-29 03:00 +02", "Mon 2026-03-30 02:00 +02"}},
		{"spring, hourly", "30 * * * *", "Europe/Berlin", "Sun 2026-03-29 01:00", []string{"Sun 2026-03-29 01:30 +01", "Sun 2026-03-29 03:30 +02"}},
		{"autumn, fixed", "30 2 * * *", "Europe/Berlin", "Sat 2026-10-24 03:00", []string{"Sun 2026-10-25 02:30 +02", "Mon 2026-10-26 02:30 +01"}},
		{"autumn, each second hour", "0 */2 * * *", "Europe/Berlin", "Sun 2026-10-25 00:00", []string{"Sun 2026-10-25 02:00 +02", "Sun 2026-10-25 04:00 +01"}},
		{"autumn, hourly", "30 * * * *", "Europe/Berlin", "Sun 2026-10-25 01:30", []string{"Sun 2026-10-25 02:30 +02", "Sun 2026-10-25 02:30 +01", "Sun 2026-10-25 03:30 +01"}},
		{"a day that begins at one", "@daily", "America/Havana", "Sat 2026-03-07 12:00", []string{"Sun 2026-03-08 01:00 -04", "Mon 2026-03-09 00:00 -04"}},
		{"a midnight that is shown twice", "@daily", "America/Havana", "Sat 2026-10-31 12:00", []string{"Sun 2026-11-01 00:00 -04", "Mon 2026-11-02 00:00 -05"}},
		{"half an hour", "15 2 * * *", "Australia/Lord_Howe", "Sat 2026-10-03 12:00", []string{"Sun 2026-10-04 02:30 +11", "Mon 2026-10-05 02:15 +11"}},
		{"half an hour back", "45 1 * * *", "Australia/Lord_Howe", "Sat 2026-04-04 12:00", []string{"Sun 2026-04-05 01:45 +11", "Mon 2026-04-06 01:45 +1030"}},
		{"a day that never was", "0 9 30 12 *", "Pacific/Apia", "Thu 2011-12-29 12:00", []string{"Sat 2011-12-31 00:00 +14", "Sun 2012-12-30 09:00 +14"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := moments(t, c.text, c.zone, c.after, len(c.want))
			for i := range got {
				if !strings.HasPrefix(c.want[i], got[i]) {
					t.Fatalf("%s after %s in %s: %v, want %v", c.text, c.after, c.zone, got, c.want)
				}
			}
		})
	}
}

// TestTheSearchGoesOnAfterALeapYear is about a time in which a zone lives by its standing rule alone.
func TestTheSearchGoesOnAfterALeapYear(t *testing.T) {
	got := moments(t, "0 12 31 12 *", "Europe/Berlin", "Mon 2040-12-31 01:30", 2)
	if want := []string{"Mon 2040-12-31 12:00 +01", "Tue 2041-12-31 12:00 +01"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	got = moments(t, "0 12 1 1 *", "Europe/Berlin", "Mon 2040-12-31 13:30", 1)
	if want := []string{"Tue 2041-01-01 12:00 +01"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWhatIsNoExpressionIsRefusedByName(t *testing.T) {
	for _, text := range []string{
		"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * * 8",
		"5/10 * * * *", "*/0 * * * *", "10-5 * * * *", "1,,2 * * * *", ", * * * *", "+1 * * * *", "-1 * * * *", "1- * * * *", "001 * * * *",
		"* * L-1 * *", "L * * * *", "* * * * MON#6", "* * * * MON#0", "* * * * #1", "* * * * L", "* * * FOO *", "* * * MON *", "? * * * *",
		"0 0 30 2 *", "0 0 31 4,6,9,11 *", "@reboot", "@every 1h", "* * * * \x00", "٣ * * * *", strings.Repeat("1,", 100) + "1 * * * *",
	} {
		if e, err := Parse(text); !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.TooLong) {
			t.Errorf("%q is read as %+v, %v", text, e, err)
		}
	}
}

// zones are the names of all time zones that Go knows.
func zones(t testing.TB) []string {
	t.Helper()
	home, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(home)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	var names []string
	for _, f := range files.File {
		if !strings.HasSuffix(f.Name, "/") {
			names = append(names, f.Name)
		}
	}
	return names
}

// byTheMinute is the rule told once more in the plainest way: it looks at each minute of the clock in zone
// after after, which lies at least a day and a half after the change before, until until.
func byTheMinute(e Expression, zone *time.Location, after, until time.Time) []time.Time {
	var all []time.Time
	shown := map[time.Time]bool{}
	wall := func(t time.Time) time.Time {
		_, offset := t.In(zone).Zone()
		return t.UTC().Add(time.Duration(offset) * time.Second)
	}
	last := wall(after.Add(-36 * time.Hour))
	for t := after.Add(-36 * time.Hour); !t.After(until); t = t.Add(time.Minute) {
		now := wall(t)
		due := false
		switch {
		case e.hourly():
			due = fits(e, now)
		default:
			for skipped := last.Add(time.Minute); skipped.Before(now); skipped = skipped.Add(time.Minute) {
				due = due || fits(e, skipped) // the clock was put forward
				shown[skipped] = true
			}
			due = due || fits(e, now) && !shown[now]
			shown[now] = true
		}
		if due && t.After(after) {
			all = append(all, t)
		}
		if now.After(last) {
			last = now
		}
	}
	return all
}

func fits(e Expression, wall time.Time) bool {
	_, found := e.match(wall, wall.Add(time.Minute))
	return found
}

// changes are the moments between from and to at which the distance of zone from UTC changes.
func changes(zone *time.Location, from, to time.Time) []time.Time {
	var all []time.Time
	for t := from.In(zone); ; {
		_, end := t.ZoneBounds()
		if end.IsZero() || end.After(to) {
			return all
		}
		if !end.After(t) { // the last day of a leap year; see bounds
			t = t.Add(24 * time.Hour)
			continue
		}
		_, before := end.Add(-1).Zone()
		if _, after := end.Zone(); before != after {
			all = append(all, end)
		}
		t = end
	}
}

// expression draws one that means something at least each few days.
func expression(t *rapid.T) string {
	values := func(name string, least, most int) string {
		switch rapid.IntRange(0, 3).Draw(t, name+" form") {
		case 0:
			return "*"
		case 1:
			return "*/" + strconv.Itoa(rapid.IntRange(2, 9).Draw(t, name+" step"))
		}
		n := rapid.IntRange(1, 3).Draw(t, name+" count")
		var list []string
		for range n {
			list = append(list, strconv.Itoa(rapid.IntRange(least, most).Draw(t, name)))
		}
		return strings.Join(list, ",")
	}
	return values("minute", 0, 59) + " " + values("hour", 0, 23) + " * * " + rapid.SampledFrom([]string{"*", "1-5", "0,6"}).Draw(t, "weekday")
}

func TestInEveryZoneTheMomentsAroundAChangeAreThoseOfTheRule(t *testing.T) {
	names := zones(t)
	if len(names) < 400 {
		t.Fatalf("only %d zones are known", len(names))
	}
	from, to := time.Date(1975, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2045, 1, 1, 0, 0, 0, 0, time.UTC)
	var all []change
	for _, name := range names {
		z := zone(t, name)
		for _, at := range changes(z, from, to) {
			if at.Second() == 0 {
				all = append(all, change{name, z, at})
			}
		}
	}
	t.Logf("%d changes in %d zones", len(all), len(names))
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(all).Draw(t, "change")
		text := expression(t)
		e := mean(t, text)
		after, until := c.at.Add(-30*time.Hour), c.at.Add(30*time.Hour)
		want := byTheMinute(e, c.zone, after, until)
		got := e.Last(1<<20, after, until, c.zone)
		if !slices.EqualFunc(got, want, time.Time.Equal) {
			t.Fatalf("%s in %s around %v:\n got %v\nwant %v", text, c.name, c.at, got, want)
		}
		n := rapid.IntRange(1, 100).Draw(t, "most")
		if newest := e.Last(n, after, until, c.zone); !slices.EqualFunc(newest, want[max(0, len(want)-n):], time.Time.Equal) {
			t.Fatalf("the newest %d of %s are %v, want the end of %v", n, text, newest, want)
		}
	})
}

type change struct {
	name string
	zone *time.Location
	at   time.Time
}

func mean(t *rapid.T, text string) Expression {
	e, err := Parse(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return e
}

// TestADailyMomentComesOnceADayInEveryZone walks times of day through the changes of two years.
func TestADailyMomentComesOnceADayInEveryZone(t *testing.T) {
	for _, name := range zones(t) {
		z := zone(t, name)
		from := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
		for _, text := range []string{"0 0 * * *", "30 0 * * *", "30 1 * * *", "15 2 * * *", "59 2 * * *", "30 23 * * *"} {
			e := parse(t, text)
			for _, at := range changes(z, from, from.AddDate(2, 0, 0)) {
				var last time.Time
				for _, m := range e.Last(1<<20, at.Add(-72*time.Hour), at.Add(72*time.Hour), z) {
					if since := m.Sub(last); !last.IsZero() && (since < 22*time.Hour || since > 26*time.Hour) {
						t.Errorf("%s in %s comes at %v and at %v", text, name, last, m)
					}
					last = m
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"* * * * *", "*/5 0-6 L JAN-DEC MON#2,FRIL", "@daily", "5 4 29 2 7", "0 0 31 12 SUN-SAT"} {
		f.Add(text, int64(1_700_000_000))
	}
	berlin := zone(f, "Europe/Berlin")
	f.Fuzz(func(t *testing.T, text string, at int64) {
		e, err := Parse(text)
		if err != nil {
			if !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.TooLong) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		after := time.Unix(at%(1<<33), 0)
		next := e.Next(after, berlin)
		if !next.After(after) {
			t.Fatalf("%q: %v follows %v", text, next, after)
		}
		if got := e.Last(1, after, next, berlin); len(got) != 1 || !got[0].Equal(next) {
			t.Fatalf("%q: looking back from %v finds %v", text, next, got)
		}
	})
}

func BenchmarkNext(b *testing.B) {
	berlin := zone(b, "Europe/Berlin")
	for name, text := range map[string]string{"usual": "30 2 * * MON-FRI", "rarest": "0 0 * 2 MON#5"} {
		b.Run(name, func(b *testing.B) {
			e := parse(b, text)
			b.ReportAllocs()
			for at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); b.Loop(); {
				if at = e.Next(at, berlin); at.Year() > 2200 {
					at = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
				}
			}
		})
	}
}
