package csvprofile

import (
	"bytes"
	"cmp"
	"math"
	"strconv"
)

// kind is what one value, or a column so far, is.
type kind uint8

const (
	kindNone kind = iota // a column without a value
	kindInteger
	kindDecimal
	kindBoolean
	kindDate
	kindDateTime
	kindText
)

func (k kind) columnType() Type {
	return [...]Type{Text, Integer, Decimal, Boolean, Date, DateTime, Text}[k]
}

// reading is what one value says.
type reading struct {
	kind    kind
	literal bool   // may stand in JSON as it is, see Options.Clean
	key     uint64 // orders values of one column type, see extremes
}

// maxLiteralDigits survive a float64: every decimal of so many digits is told apart.
const maxLiteralDigits = 15

// read finds the narrowest kind of a non-empty value.
func read(value []byte) reading {
	switch first := value[0]; {
	case first >= '0' && first <= '9' || first == '-':
		if len(value) > maxKeptBytes {
			break
		}
		if found, ok := readNumber(value); ok {
			return found
		}
		if moment, ok := readMoment(value); ok {
			return reading{kind: moment.kind, key: signedKey(moment.seconds)}
		}
	case first == 't' || first == 'T':
		if len(value) == 4 && bytes.EqualFold(value, []byte("true")) {
			return reading{kind: kindBoolean, literal: string(value) == "true", key: 1}
		}
	case first == 'f' || first == 'F':
		if len(value) == 5 && bytes.EqualFold(value, []byte("false")) {
			return reading{kind: kindBoolean, literal: string(value) == "false", key: 0}
		}
	}
	return reading{kind: kindText}
}

// compareTyped orders two values of one type whose keys are equal.
func compareTyped(a, b []byte) int {
	if bytes.Equal(a, b) {
		return 0
	}
	momentA, isMoment := readMoment(a)
	if momentB, ok := readMoment(b); ok && isMoment {
		return cmp.Compare(momentA.nanos, momentB.nanos) // the seconds are in the key
	}
	if a[0] == '-' || a[0] >= '0' && a[0] <= '9' {
		return compareNumbers(a, b)
	}
	return 0 // booleans are told apart by the key
}

// readNumber reads a JSON number (RFC 8259 §6). Its key is that of the nearest float64, which never
// turns the order of two numbers around.
func readNumber(value []byte) (found reading, ok bool) {
	text := value
	negative := text[0] == '-'
	if negative {
		text = text[1:]
	}
	whole := countDigits(text)
	if whole == 0 || whole > 1 && text[0] == '0' {
		return reading{}, false
	}
	found.kind = kindInteger
	var mantissa uint64 // good up to 19 digits
	for _, digit := range text[:whole] {
		mantissa = mantissa*10 + uint64(digit-'0')
	}
	digits, exponent := whole, 0
	shortest := !(negative && whole == 1 && text[0] == '0') // of JSON's ways to write it; -0 is not
	text = text[whole:]
	if len(text) > 0 && text[0] == '.' {
		text = text[1:]
		places := countDigits(text)
		if places == 0 {
			return reading{}, false
		}
		for _, digit := range text[:places] {
			mantissa = mantissa*10 + uint64(digit-'0')
		}
		found.kind = kindDecimal
		digits, exponent = whole+places, -places
		shortest = text[places-1] != '0'
		text = text[places:]
	}
	if len(text) > 0 {
		power, ok := readExponent(text)
		if !ok {
			return reading{}, false
		}
		found.kind, shortest = kindDecimal, false
		exponent += power
	}
	found.literal = shortest && digits <= maxLiteralDigits
	found.key = floatKey(nearestFloat(value, negative, mantissa, digits, exponent))
	return found, true
}

func countDigits(text []byte) int {
	for i, b := range text {
		if b < '0' || b > '9' {
			return i
		}
	}
	return len(text)
}

// readExponent reads e, a sign perhaps, and at most nine digits.
func readExponent(text []byte) (power int, ok bool) {
	if text[0] != 'e' && text[0] != 'E' {
		return 0, false
	}
	text = text[1:]
	negative := false
	if len(text) > 0 && (text[0] == '+' || text[0] == '-') {
		negative = text[0] == '-'
		text = text[1:]
	}
	if len(text) == 0 || len(text) > 9 || countDigits(text) != len(text) {
		return 0, false
	}
	for _, digit := range text {
		power = power*10 + int(digit-'0')
	}
	if negative {
		power = -power
	}
	return power, true
}

// powersOfTen are those that a float64 holds exactly.
var powersOfTen = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
	1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// nearestFloat returns the float64 nearest to mantissa × 10^exponent. Up to 15 digits and a power of
// ten up to 22 both factors are exact, so one operation rounds correctly; all else goes to strconv.
func nearestFloat(value []byte, negative bool, mantissa uint64, digits, exponent int) float64 {
	if digits > 15 || exponent < 1-len(powersOfTen) || exponent >= len(powersOfTen) {
		nearest, _ := strconv.ParseFloat(string(value), 64) // out of range is ±Inf, in order still
		return nearest
	}
	nearest := float64(mantissa)
	switch {
	case exponent < 0:
		nearest /= powersOfTen[-exponent]
	case exponent > 0:
		nearest *= powersOfTen[exponent]
	}
	if negative {
		return -nearest
	}
	return nearest
}

// floatKey maps floats to integers of the same order, both zeros to one.
func floatKey(f float64) uint64 {
	const sign = 1 << 63
	bits := math.Float64bits(f)
	switch {
	case f == 0:
		return sign
	case bits&sign != 0:
		return ^bits
	}
	return bits | sign
}

// signedKey maps signed integers to unsigned ones of the same order.
func signedKey(n int64) uint64 {
	return uint64(n) ^ 1<<63
}

// number is ± 0.digits × 10^exponent, digits without zeros at either end; zero has none.
type number struct {
	negative bool
	digits   []byte
	exponent int
}

// compareNumbers orders two values that readNumber has accepted, to the last digit.
func compareNumbers(a, b []byte) int {
	x, y := exactly(a), exactly(b)
	switch {
	case x.sign() != y.sign():
		return cmp.Compare(x.sign(), y.sign())
	case x.exponent != y.exponent:
		return cmp.Compare(x.exponent, y.exponent) * x.sign()
	}
	return bytes.Compare(x.digits, y.digits) * x.sign()
}

func (n number) sign() int {
	switch {
	case len(n.digits) == 0:
		return 0
	case n.negative:
		return -1
	}
	return 1
}

// exactly takes a number apart without rounding.
func exactly(value []byte) number {
	var n number
	if value[0] == '-' {
		n.negative, value = true, value[1:]
	}
	if at := bytes.IndexAny(value, "eE"); at >= 0 {
		n.exponent, _ = readExponent(value[at:])
		value = value[:at]
	}
	whole, fraction, _ := bytes.Cut(value, []byte{'.'})
	n.exponent += len(whole)
	digits := append(bytes.Clone(whole), fraction...)
	significant := bytes.TrimLeft(digits, "0")
	n.exponent -= len(digits) - len(significant)
	n.digits = bytes.TrimRight(significant, "0")
	return n
}
