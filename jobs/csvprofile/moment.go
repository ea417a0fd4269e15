package csvprofile

// moment is a date, or a date and time, as seconds and nanoseconds since 1970 in UTC.
type moment struct {
	kind    kind // kindDate or kindDateTime
	seconds int64
	nanos   int32
}

// readMoment reads a DATE or DATETIME, see Type. A day must exist in its month and a second is at most
// 59: leap seconds are text. A fraction has at most nine digits.
func readMoment(value []byte) (moment, bool) {
	if len(value) < 10 || value[4] != '-' || value[7] != '-' {
		return moment{}, false
	}
	year, ok1 := decimals(value[0:4])
	month, ok2 := decimals(value[5:7])
	day, ok3 := decimals(value[8:10])
	if !ok1 || !ok2 || !ok3 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return moment{}, false
	}
	at := moment{kind: kindDate, seconds: int64(daysSince1970(year, month, day)) * 86_400}
	if len(value) == 10 {
		return at, true
	}
	return at, at.addClock(value[10:])
}

// addClock reads T15:04:05, a fraction perhaps, and a zone perhaps.
func (m *moment) addClock(text []byte) bool {
	if len(text) < 9 || text[0] != 'T' && text[0] != 't' && text[0] != ' ' || text[3] != ':' || text[6] != ':' {
		return false
	}
	hour, ok1 := decimals(text[1:3])
	minute, ok2 := decimals(text[4:6])
	second, ok3 := decimals(text[7:9])
	if !ok1 || !ok2 || !ok3 || hour > 23 || minute > 59 || second > 59 {
		return false
	}
	m.kind = kindDateTime
	m.seconds += int64(hour*3_600 + minute*60 + second)
	text = text[9:]
	if len(text) > 0 && text[0] == '.' {
		places := countDigits(text[1:])
		if places == 0 || places > 9 {
			return false
		}
		fraction, _ := decimals(text[1 : 1+places])
		for range 9 - places {
			fraction *= 10
		}
		m.nanos = int32(fraction)
		text = text[1+places:]
	}
	return m.subtractZone(text)
}

// subtractZone reads nothing, Z, or an offset such as +01:00.
func (m *moment) subtractZone(text []byte) bool {
	if len(text) == 0 || len(text) == 1 && (text[0] == 'Z' || text[0] == 'z') {
		return true
	}
	if len(text) != 6 || text[0] != '+' && text[0] != '-' || text[3] != ':' {
		return false
	}
	hours, ok1 := decimals(text[1:3])
	minutes, ok2 := decimals(text[4:6])
	if !ok1 || !ok2 || hours > 23 || minutes > 59 {
		return false
	}
	offset := int64(hours*3_600 + minutes*60)
	if text[0] == '-' {
		offset = -offset
	}
	m.seconds -= offset
	return true
}

// decimals reads a text of at most nine digits and nothing else.
func decimals(text []byte) (n int, ok bool) {
	for _, b := range text {
		if b < '0' || b > '9' {
			return 0, false
		}
		n = n*10 + int(b-'0')
	}
	return n, true
}

func leap(year int) bool {
	return year%4 == 0 && (year%100 != 0 || year%400 == 0)
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if leap(year) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysSince1970 counts in years that begin in March, so that a leap day is the last of its year; in
// the Gregorian calendar, year 0 included.
func daysSince1970(year, month, day int) int {
	year += 400 // so that no quotient below is of a negative number
	month -= 3
	if month < 0 {
		month += 12
		year--
	}
	sinceMarch := (153*month+2)/5 + day - 1
	return year*365 + year/4 - year/100 + year/400 + sinceMarch - 719_468 - 146_097
}
