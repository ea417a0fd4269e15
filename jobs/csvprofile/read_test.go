package csvprofile

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// each reads a CSV row by row into texts.
func each(text string, o Options) (header []string, rows []string, err error) {
	err = Each(context.Background(), strings.NewReader(text), o, func(names []string) error {
		header = names
		return nil
	}, func(r Row) error {
		rows = append(rows, fmt.Sprint(r.Line, r.Reason, r.Fields))
		return nil
	})
	return header, rows, err
}

func TestRowsAreReadOneByOneWithTheirLinesAndReasons(t *testing.T) {
	header, rows, err := each("\xef\xbb\xbfname;\"a \"\"b\"\"\"\nAda;1\n\n\"Gra\nce\";\"2\"\"\"\nx\"y;3\none\ntwo;2;2\nz;\xff\n", Options{MaxFieldBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(header, []string{"name", `a "b"`}) {
		t.Errorf("header %q", header)
	}
	want := []string{"2[Ada 1]", "4[Gra\nce 2\"]", "6BARE_QUOTE[]", "7TOO_FEW_FIELDS[]", "8TOO_MANY_FIELDS[]", "9INVALID_ENCODING[]"}
	for i := range want {
		want[i] = strings.Replace(want[i], "[", " [", 1)
	}
	for i := range rows {
		rows[i] = strings.Join(strings.Fields(strings.Replace(rows[i], "[", " [", 1)), " ")
		want[i] = strings.Join(strings.Fields(want[i]), " ")
	}
	if !slices.Equal(rows, want) {
		t.Errorf("got  %q\nwant %q", rows, want)
	}
}

// TestEachReadsWhatProfileReads compares the two readers of the same files.
func TestEachReadsWhatProfileReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := "a,b\n" + rapid.StringOfN(rapid.SampledFrom([]rune("x,\"\n\r;\x00é")), 0, 200, -1).Draw(t, "text")
		o := Options{Delimiter: ',', MaxFieldBytes: 20, MaxRecordBytes: 50}
		_, rows, err := each(text, o)
		summary, wanted := Profile(context.Background(), strings.NewReader(text), o)
		if (err == nil) != (wanted == nil) || err == nil && int64(len(rows)) != summary.Rows+summary.BadRows {
			t.Fatalf("%d rows, %v; Profile has %d good, %d bad, %v", len(rows), err, summary.Rows, summary.BadRows, wanted)
		}
	})
}

func TestReadingEndsWithWhateverEndsIt(t *testing.T) {
	enough := errors.New("enough")
	const text = "a,b\n1,2\n3,4\n"
	nothing := func([]string) error { return nil }
	rows := 0
	err := Each(context.Background(), strings.NewReader(text), Options{}, nothing, func(Row) error { rows++; return enough })
	if !errors.Is(err, enough) || rows != 1 {
		t.Errorf("a row that fails: %v after %d rows", err, rows)
	}
	err = Each(context.Background(), strings.NewReader(text), Options{}, func([]string) error { return enough }, func(Row) error { rows++; return nil })
	if !errors.Is(err, enough) || rows != 1 {
		t.Errorf("a header that fails: %v after %d rows", err, rows)
	}
	stopped, stop := context.WithCancelCause(context.Background())
	stop(enough)
	if _, err := Header(stopped, strings.NewReader(text), Options{}); !errors.Is(err, enough) {
		t.Errorf("an ended context: %v", err)
	}
	for text, want := range map[string]error{"": ErrEmpty, "\n\n": ErrEmpty, "\"a": ErrHeader, "PK\x03\x04": ErrNotCSV, "a,b,c": ErrTooManyColumns} {
		if _, err := Header(context.Background(), strings.NewReader(text), Options{MaxColumns: 2}); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

func TestARejectIsNoFormula(t *testing.T) {
	for _, text := range []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "＝1+1"} {
		if got := Inert(text); got != "'"+text {
			t.Errorf("Inert(%q) = %q", text, got)
		}
		var rejects bytes.Buffer
		_, err := Profile(context.Background(), strings.NewReader("a,b\n"+text+"\n"), Options{Delimiter: ',', Rejects: &rejects})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&rejects).ReadAll()
		if err != nil || len(rows) != 2 || rows[1][2] != "'"+text {
			t.Errorf("the reject of %q is %q, %v", text, rows, err)
		}
	}
	for _, text := range []string{"", "a=1", "1-1", "'=1", "é"} {
		if got := Inert(text); got != text {
			t.Errorf("Inert(%q) = %q", text, got)
		}
	}
	if _, err := Profile(context.Background(), strings.NewReader("a,b\n=\n"), Options{Rejects: io.Discard}); err != nil {
		t.Error(err)
	}
}
