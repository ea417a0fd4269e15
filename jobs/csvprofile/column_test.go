package csvprofile

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// columnOf profiles one column.
func columnOf(t *testing.T, values ...string) Column {
	t.Helper()
	var text strings.Builder
	text.WriteString("x,\n")
	for _, value := range values {
		fmt.Fprintf(&text, "%q,\n", value)
	}
	return profileText(t, text.String(), Options{Delimiter: ','}).Summary.Columns[0]
}

func TestAColumnHasTheNarrowestTypeOfItsValues(t *testing.T) {
	for _, c := range []struct {
		values   string // separated by bars
		want     Type
		min, max string
	}{
		{"3|-12|100", Integer, "-12", "100"},
		{"9007199254740993|9007199254740992|9007199254740994", Integer, "9007199254740992", "9007199254740994"},
		{"-18446744073709551617|-18446744073709551616|0", Integer, "-18446744073709551617", "0"},
		{"007|8", Text, "007", "8"},
		{"+49123|1", Text, "+49123", "1"},
		{"1|2.5|10", Decimal, "1", "10"},
		{"0.10|0.1000000000000000000001|0.1", Decimal, "0.10", "0.1000000000000000000001"},
		{"0.1|0.09999999999999999999999", Decimal, "0.09999999999999999999999", "0.1"},
		{"1e3|999|-2E+2", Decimal, "-2E+2", "1e3"},
		{"1e400|1e401|-1e400|-1e401", Decimal, "-1e401", "1e401"},
		{"1e-400|2e-400|0", Decimal, "0", "2e-400"},
		{".5|1", Text, ".5", "1"},
		{"1.|1", Text, "1", "1."},
		{"1,5|2", Text, "1,5", "2"},
		{"1e|1", Text, "1", "1e"},
		{"NaN|1", Text, "1", "NaN"},
		{"0x1F|1", Text, "0x1F", "1"},
		{"-|1", Text, "-", "1"},
		{strings.Repeat("9", 200) + "|1", Integer, "1", strings.Repeat("9", 200)},
		{strings.Repeat("9", 201) + "|1", Text, "1", strings.Repeat("9", 200)},
		{"true|FALSE|True", Boolean, "false", "true"},
		{"true|yes", Text, "true", "yes"},
		{"true|1", Text, "1", "true"},
		{"2024-02-29|1999-12-31", Date, "1999-12-31", "2024-02-29"},
		{"2023-02-29", Text, "2023-02-29", "2023-02-29"},
		{"1900-02-29", Text, "1900-02-29", "1900-02-29"},
		{"2024-13-01", Text, "2024-13-01", "2024-13-01"},
		{"0000-01-01|9999-12-31", Date, "0000-01-01", "9999-12-31"},
		{"2024-01-01T00:00:00Z|2024-01-01T00:30:00+01:00", DateTime, "2024-01-01T00:30:00+01:00", "2024-01-01T00:00:00Z"},
		{"2024-01-01 00:00:00|2024-01-01T00:00:00.000000001Z", DateTime, "2024-01-01 00:00:00", "2024-01-01T00:00:00.000000001Z"},
		{"2024-01-01T24:00:00Z", Text, "2024-01-01T24:00:00Z", "2024-01-01T24:00:00Z"},
		{"2024-01-01T00:00Z", Text, "2024-01-01T00:00Z", "2024-01-01T00:00Z"},
		{"2024-01-01|2024-01-01T00:00:00Z", Text, "2024-01-01", "2024-01-01T00:00:00Z"},
		{"1|x|-5", Text, "-5", "x"},
		{"é|z|€", Text, "z", "€"},
	} {
		got := columnOf(t, strings.Split(c.values, "|")...)
		if got.Type != c.want || got.Min != c.min || got.Max != c.max {
			t.Errorf("%.60q: %s from %.40q to %.40q, want %s from %.40q to %.40q", c.values, got.Type, got.Min, got.Max, c.want, c.min, c.max)
		}
	}
}

func TestEmptyValuesCountAsNeitherTypeNorDistinct(t *testing.T) {
	got := columnOf(t, "", "5", "", "5", "6")
	want := Column{Name: "x", Type: Integer, Min: "5", Max: "6", Empty: 2, Distinct: 2, DistinctIsExact: true}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLongTextIsCutBetweenRunes(t *testing.T) {
	long := strings.Repeat("a", 199) + "é"
	if got := columnOf(t, long+"x", long+"y"); got.Min != long[:199] || got.Max != long[:199] || got.Distinct != 2 {
		t.Errorf("got %+v, want both bounds cut to 199 bytes", got)
	}
}

func TestDistinctIsExactUpTo1024AndCloseBeyond(t *testing.T) {
	for _, want := range []int{1, 17, 1_024, 1_025, 5_000, 40_000, 300_000} {
		var c column
		for range 2 { // repeated values change nothing
			for n := range want {
				c.observe(strconv.AppendInt(nil, int64(n), 10))
			}
		}
		got := c.result()
		off := math.Abs(float64(got.Distinct)/float64(want) - 1)
		if got.DistinctIsExact != (want <= 1_024) || got.DistinctIsExact && off != 0 || off > 3*0.0081 {
			t.Errorf("%d values: counted %d, exact %t", want, got.Distinct, got.DistinctIsExact)
		}
	}
}

func TestAHashOfZeroCountsOnce(t *testing.T) {
	var d distinct
	d.add(0)
	d.add(0)
	if n, _ := d.count(); n != 1 {
		t.Errorf("counted %d, want 1", n)
	}
}

func TestTheEstimateHoldsAtBothEnds(t *testing.T) {
	d := distinct{ranks: make([]uint8, registers)}
	if n, _ := d.count(); n != 0 {
		t.Errorf("no hash counts %d", n)
	}
	for i := range d.ranks {
		d.ranks[i] = maxRank
	}
	if n, _ := d.count(); n <= 0 {
		t.Errorf("full registers count %d", n)
	}
}

// Numbers are compared as their key says where keys differ, and exactly where they are equal.
func TestNumbersAreOrderedLikeRationals(t *testing.T) {
	text := rapid.OneOf(
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,22})?`),
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?`),
		rapid.StringMatching(`-?900719925474099[0-9](\.[05])?`),
		rapid.SampledFrom([]string{"0", "-0", "0.0", "-0.00", "1", "1.0", "10e-1", "0.1e1"}),
	)
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		exactA, _ := new(big.Rat).SetString(a)
		exactB, _ := new(big.Rat).SetString(b)
		if got, want := order(t, a, b), exactA.Cmp(exactB); got != want {
			t.Fatalf("order of %s and %s is %d, want %d", a, b, got, want)
		}
	})
}

func TestMomentsAreOrderedAsPackageTimeDoes(t *testing.T) {
	layouts := []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02T15:04:05"}
	draw := func(t *rapid.T, label string) (string, time.Time) {
		zone := time.FixedZone("", rapid.IntRange(-14*60, 14*60).Draw(t, label+" zone")*60)
		at := time.Unix(rapid.Int64Range(-50_000_000_000, 200_000_000_000).Draw(t, label+" seconds"), rapid.Int64Range(0, 3).Draw(t, label+" nanos")*5e8).In(zone)
		layout := rapid.SampledFrom(layouts).Draw(t, label+" layout")
		text := at.Format(layout)
		parsed, err := time.Parse(layout, text)
		if err != nil {
			t.Fatal(err)
		}
		return text, parsed
	}
	rapid.Check(t, func(t *rapid.T) {
		textA, a := draw(t, "a")
		textB, b := draw(t, "b")
		if got, want := order(t, textA, textB), a.Compare(b); got != want {
			t.Fatalf("order of %s and %s is %d, want %d", textA, textB, got, want)
		}
	})
}

// order compares two values of one type as extremes does.
func order(t *rapid.T, a, b string) int {
	readA, readB := read([]byte(a)), read([]byte(b))
	if join(readA.kind, readB.kind) == kindText {
		t.Fatalf("%s and %s are of kinds %d and %d", a, b, readA.kind, readB.kind)
	}
	return cmp.Or(cmp.Compare(readA.key, readB.key), compareTyped([]byte(a), []byte(b)))
}

func TestTextKeysFollowTheOrderOfBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(rapid.ByteRange(0, 3), 0, 10).Draw(t, "a")
		b := rapid.SliceOfN(rapid.ByteRange(0, 3), 0, 10).Draw(t, "b")
		if got := cmp.Compare(textKey(a), textKey(b)); got != 0 && got != bytes.Compare(a, b) {
			t.Fatalf("keys of %v and %v compare %d, bytes %d", a, b, got, bytes.Compare(a, b))
		}
	})
}

func TestALiteralIsTheShortestFormOfAFloat(t *testing.T) {
	for value, want := range map[string]bool{
		"0": true, "-1": true, "12.5": true, "999999999999999": true, "0.1": true, "true": true, "false": true,
		"-0": false, "1.50": false, "1e5": false, "9999999999999999": false, "TRUE": false, "null": false, "2024-01-01": false, "007": false,
	} {
		if got := read([]byte(value)).literal; got != want {
			t.Errorf("%s: literal %t, want %t", value, got, want)
		}
	}
}

func TestStopsFindTheFirstOfFourBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.SampledFrom([]byte("ab,-\"#\n\v\r\x0e\x00\x7f\x80\xff\xac")), 0, 40).Draw(t, "text")
		at := rapid.IntRange(0, len(text)).Draw(t, "at")
		want := len(text)
		if i := bytes.IndexAny(text[at:], ",\"\n\r"); i >= 0 {
			want = at + i
		}
		if got := newStops(',', '"', '\n', '\r').next(text, at); got != want {
			t.Fatalf("next of %q from %d is %d, want %d", text, at, got, want)
		}
	})
}
