package cron

import (
	"fmt"
	"strings"
	"time"

	"gatehouse/internal/fault"
)

// maxBytes is the length of the longest expression that is read.
const maxBytes = 200

// field is one of the five: what it is called, the values that it may have, and their names from least on.
type field struct {
	name        string
	least, most int
	names       []string
}

var (
	minutes  = field{"minute", 0, 59, nil}
	hours    = field{"hour", 0, 23, nil}
	days     = field{"day of month", 1, 31, nil}
	months   = field{"month", 1, 12, strings.Fields("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")}
	weekdays = field{"day of week", 0, 7, strings.Fields("SUN MON TUE WED THU FRI SAT")}
)

// macros are the names for whole expressions.
var macros = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// Parse reads an expression of at most 200 bytes; see the package for what is understood. One that
// cannot be read, or that means no moment at all, is a fault about cron.
func Parse(text string) (Expression, error) {
	if len(text) > maxBytes {
		return Expression{}, fault.New(fault.TooLong, "cron", "A cron expression has at most 200 bytes.")
	}
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "@") {
		meant, known := macros[strings.ToLower(text)]
		if !known {
			return Expression{}, refuse("The names are @yearly, @annually, @monthly, @weekly, @daily, @midnight and @hourly.")
		}
		text = meant
	}
	parts := strings.Fields(text)
	if len(parts) != 5 {
		return Expression{}, refuse("A cron expression has 5 fields: minute, hour, day of month, month, day of week.")
	}
	e := Expression{anyDay: strings.HasPrefix(parts[2], "*"), anyWeekday: strings.HasPrefix(parts[4], "*")}
	for _, one := range []struct {
		field   field
		set     *uint64
		special func(item string) bool // takes what only this field has
	}{
		{minutes, &e.minutes, nil},
		{hours, &e.hours, nil},
		{days, &e.days, e.takeLastDay},
		{months, &e.months, nil},
		{weekdays, &e.weekdays, e.takeNth},
	} {
		if err := one.field.read(parts[0], one.set, one.special); err != nil {
			return Expression{}, err
		}
		parts = parts[1:]
	}
	e.weekdays = e.weekdays&(1<<7-1) | e.weekdays>>7 // 7 is Sunday too
	if e.Next(time.Unix(0, 0), time.UTC).IsZero() {
		return Expression{}, refuse("The cron expression means no day that there is.")
	}
	return e, nil
}

// takeLastDay takes L.
func (e *Expression) takeLastDay(item string) bool {
	if item != "L" {
		return false
	}
	e.lastDay = true
	return true
}

// takeNth takes a day of the week that is counted within the month: MON#2, 1#2, FRIL, 5L.
func (e *Expression) takeNth(item string) bool {
	if day, last := strings.CutSuffix(item, "L"); last {
		weekday, known := weekdays.value(day)
		if known {
			e.nth = append(e.nth, nth{weekday % 7, 0})
		}
		return known
	}
	day, number, counted := strings.Cut(item, "#")
	weekday, known := weekdays.value(day)
	if !counted || !known || len(number) != 1 || number[0] < '1' || number[0] > '5' {
		return false
	}
	e.nth = append(e.nth, nth{weekday % 7, int(number[0] - '0')})
	return true
}

// read adds the values that text means to set; special, where there is one, is asked first.
func (f field) read(text string, set *uint64, special func(string) bool) error {
	for item := range strings.SplitSeq(strings.ToUpper(text), ",") {
		if special != nil && special(item) {
			continue
		}
		least, most, step, readable := f.parseRange(item)
		if !readable {
			return refuse(fmt.Sprintf("The %s is a list of *, values and ranges from %d to %d, a * or a range with /step.", f.name, f.least, f.most))
		}
		for value := least; value <= most; value += step {
			*set |= 1 << value
		}
	}
	return nil
}

// parseRange reads a value, a range or *, either of these two with a step.
func (f field) parseRange(item string) (least, most, step int, readable bool) {
	span, every, stepped := strings.Cut(item, "/")
	if step = 1; stepped {
		if step, readable = number(every); !readable || step == 0 {
			return 0, 0, 0, false
		}
	}
	if span == "*" {
		return f.least, f.most, step, true
	}
	from, to, isRange := strings.Cut(span, "-")
	if least, readable = f.value(from); !readable {
		return 0, 0, 0, false
	}
	if !isRange {
		return least, least, step, !stepped
	}
	if most, readable = f.value(to); !readable {
		return 0, 0, 0, false
	}
	if most == 0 && f.most == 7 { // FRI-SUN
		most = f.most
	}
	return least, most, step, least <= most
}

// value reads a number or a name, in capitals.
func (f field) value(text string) (int, bool) {
	for i, name := range f.names {
		if text == name {
			return f.least + i, true
		}
	}
	n, readable := number(text)
	return n, readable && n >= f.least && n <= f.most
}

// number reads one or two digits.
func number(text string) (int, bool) {
	if text == "" || len(text) > 2 {
		return 0, false
	}
	n := 0
	for _, r := range text {
		if r < '0' || r > '9' {
			return 0, false
		}
		n = 10*n + int(r-'0')
	}
	return n, true
}

func refuse(message string) error { return fault.New(fault.Invalid, "cron", message) }
