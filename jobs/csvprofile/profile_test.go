package csvprofile

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// outcome is all that one call of Profile gave.
type outcome struct {
	Summary Summary
	Rows    [][]string // back from the JSON Lines
	Rejects [][]string // without the header
}

// profileReader runs Profile and reads its output back. It checks what holds of every outcome.
func profileReader(src io.Reader, o Options) (outcome, error) {
	var clean, rejected bytes.Buffer
	o.Clean, o.Rejects = &clean, &rejected
	summary, err := Profile(context.Background(), src, o)
	if err != nil {
		return outcome{}, err
	}
	got := outcome{Summary: summary}
	for line := range bytes.Lines(clean.Bytes()) {
		row, err := fromJSON(line, summary.Columns)
		if err != nil {
			return got, fmt.Errorf("clean line %q: %w", line, err)
		}
		got.Rows = append(got.Rows, row)
	}
	rejects, err := csv.NewReader(&rejected).ReadAll()
	if err != nil {
		return got, fmt.Errorf("rejects: %w", err)
	}
	got.Rejects = rejects[1:]
	if int64(len(got.Rows)) != summary.Rows || int64(len(got.Rejects)) != summary.BadRows {
		return got, fmt.Errorf("%d clean lines of %d rows, %d rejects of %d bad rows", len(got.Rows), summary.Rows, len(got.Rejects), summary.BadRows)
	}
	return got, nil
}

func profileText(t *testing.T, text string, o Options) outcome {
	t.Helper()
	got, err := profileReader(strings.NewReader(text), o)
	if err != nil {
		t.Fatalf("Profile(%.100q): %v", text, err)
	}
	return got
}

// fromJSON turns one line back into the fields it came from.
func fromJSON(line []byte, columns []Column) ([]string, error) {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	row := make([]string, 0, len(columns))
	for _, column := range columns {
		if key, err := decoder.Token(); err != nil || key != column.Name {
			return nil, fmt.Errorf("key %v for column %q: %w", key, column.Name, err)
		}
		value, err := decoder.Token()
		switch value := value.(type) {
		case nil:
			row = append(row, "")
		case bool:
			row = append(row, strconv.FormatBool(value))
		case json.Number:
			row = append(row, value.String())
		case string:
			row = append(row, value)
		default:
			return nil, fmt.Errorf("value %v: %w", value, err)
		}
	}
	if end, err := decoder.Token(); err != nil || end != json.Delim('}') {
		return nil, fmt.Errorf("%v instead of the end: %w", end, err)
	}
	return row, nil
}

func TestProfileReadsTheExamplesOfRFC4180(t *testing.T) {
	// Section 2, rules 1 to 7, and what follows from them.
	for _, c := range []struct {
		name, text string
		noHeader   bool
		want       [][]string
	}{
		{"rule 1: each record on its own line", "aaa,bbb,ccc\r\nzzz,yyy,xxx\r\n", true, [][]string{{"aaa", "bbb", "ccc"}, {"zzz", "yyy", "xxx"}}},
		{"rule 2: the last line end may be missing", "aaa,bbb,ccc\r\nzzz,yyy,xxx", true, [][]string{{"aaa", "bbb", "ccc"}, {"zzz", "yyy", "xxx"}}},
		{"rule 3: a header", "field_name,field_name,field_name\r\naaa,bbb,ccc\r\nzzz,yyy,xxx\r\n", false, [][]string{{"aaa", "bbb", "ccc"}, {"zzz", "yyy", "xxx"}}},
		{"rule 4: spaces belong to the field", " aaa , bbb\r\n", true, [][]string{{" aaa ", " bbb"}}},
		{"rule 5: quotes around some fields", "\"aaa\",\"bbb\",\"ccc\"\r\nzzz,yyy,xxx", true, [][]string{{"aaa", "bbb", "ccc"}, {"zzz", "yyy", "xxx"}}},
		{"rule 6: a line end inside quotes", "\"aaa\",\"b\r\nbb\",\"ccc\"\r\nzzz,yyy,xxx", true, [][]string{{"aaa", "b\r\nbb", "ccc"}, {"zzz", "yyy", "xxx"}}},
		{"rule 7: a quote is doubled", "\"aaa\",\"b\"\"bb\",\"ccc\"", true, [][]string{{"aaa", "b\"bb", "ccc"}}},
		{"empty fields, the last one included", ",\r\n\"\",\r\n", true, [][]string{{"", ""}, {"", ""}}},
		{"only quotes", "\"\"\"\",\"\"\"\"\"\"\n", true, [][]string{{"\"", "\"\""}}},
		{"a lone quoted empty field is a row", "a\n\"\"\n", false, [][]string{{""}}},
		{"LF ends a row", "a,b\n1,2\n", false, [][]string{{"1", "2"}}},
		{"CR ends a row", "a,b\r1,2\r3,4", false, [][]string{{"1", "2"}, {"3", "4"}}},
		{"blank lines are skipped", "\n\r\na,b\n\n1,2\n\r\n\r3,4\n\n", false, [][]string{{"1", "2"}, {"3", "4"}}},
		{"all escapes of JSON", "a,b\n\"\t\x01\\\",/\u2028\n", false, [][]string{{"\t\x01\\", "/\u2028"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := profileText(t, c.text, Options{Delimiter: ',', NoHeader: c.noHeader})
			if diff := cmp.Diff(c.want, got.Rows); diff != "" || got.Summary.BadRows != 0 {
				t.Errorf("%q: bad %v, rows (-want +got):\n%s", c.text, got.Summary.Bad, diff)
			}
		})
	}
}

func TestAMalformedRowCostsItsFirstLineOnly(t *testing.T) {
	long := strings.Repeat("x", 50)
	limits := Options{Delimiter: ',', MaxFieldBytes: 20, MaxRecordBytes: 40, MaxColumns: 4}
	for _, c := range []struct {
		name, text string
		rows       [][]string
		bad        []string // line:reason
	}{
		{"a quote inside an unquoted field", "a,b\n1,2\"\n3,4\n", [][]string{{"3", "4"}}, []string{"2:BARE_QUOTE"}},
		{"a quote after a space", "a,b\n1, \"2\"\n3,4\n", [][]string{{"3", "4"}}, []string{"2:BARE_QUOTE"}},
		{"text after a closing quote", "a,b\n\"1\"x,2\n3,4\n", [][]string{{"3", "4"}}, []string{"2:TEXT_AFTER_QUOTE"}},
		{"a stray quote that a later line closes", "a,b\n\"1,2\n3,4\n\"5\",6\n", [][]string{{"3", "4"}, {"5", "6"}}, []string{"2:TEXT_AFTER_QUOTE"}},
		{"a quote open at the end of the file", "a,b\n1,2\n3,\"4\n5,6\r\n7,8", [][]string{{"1", "2"}, {"5", "6"}, {"7", "8"}}, []string{"3:UNTERMINATED_QUOTE"}},
		{"a quote that is the last byte", "a,b\n1,2\n3,\"", [][]string{{"1", "2"}}, []string{"3:UNTERMINATED_QUOTE"}},
		{"a quoted field above the limit", "a,b\n\"1,2\n3,4\n5,6\n7,8\n9,10\n11,12\n13,14", [][]string{{"3", "4"}, {"5", "6"}, {"7", "8"}, {"9", "10"}, {"11", "12"}, {"13", "14"}}, []string{"2:TOO_LARGE"}},
		{"an unquoted field above the limit", "a,b\n" + long + ",2\n3,4\n", [][]string{{"3", "4"}}, []string{"2:TOO_LARGE"}},
		{"a quoted field that outgrows the buffer", "a,b\n" + strings.Repeat("\"", 2*chunkBytes+1) + "\n3,4\n", [][]string{{"3", "4"}}, []string{"2:TOO_LARGE"}},
		{"a row above the limit", "a,b\n" + strings.Repeat("123456789,", 5) + "\r\n3,4\n", [][]string{{"3", "4"}}, []string{"2:TOO_LARGE"}},
		{"a field at the limit", "a,b\n" + long[:20] + ",2\n\"" + long[:18] + "\",4\n", [][]string{{long[:20], "2"}, {long[:18], "4"}}, nil},
		{"too few and too many fields", "a,b\n1\n1,2,3\n1,2\n1,2,3,4,5,6,7,8,9\n", [][]string{{"1", "2"}}, []string{"2:TOO_FEW_FIELDS", "3:TOO_MANY_FIELDS", "5:TOO_MANY_FIELDS"}},
		{"bytes that are no UTF-8, after the sample", "a,b\n" + strings.Repeat("1,2\n", sampleBytes/4) + "3,\xE9\n5,6\n", append(slices.Repeat([][]string{{"1", "2"}}, sampleBytes/4), []string{"5", "6"}), []string{"16386:INVALID_ENCODING"}},
		{"a NUL after the sample", "a,b\n" + strings.Repeat("1,2\n", sampleBytes/4) + "3,\x00\n5,6\n", append(slices.Repeat([][]string{{"1", "2"}}, sampleBytes/4), []string{"5", "6"}), []string{"16386:NUL_BYTE"}},
		{"lines inside quotes count", "a,b\n\"1\n\r\r\n2\",3\n4\n", [][]string{{"1\n\r\r\n2", "3"}}, []string{"6:TOO_FEW_FIELDS"}},
		{"CRLF is one line, CR is one line", "a,b\r\n1,2\r3\n4", [][]string{{"1", "2"}}, []string{"3:TOO_FEW_FIELDS", "4:TOO_FEW_FIELDS"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := profileText(t, c.text, limits)
			var bad []string
			for _, row := range got.Summary.Bad {
				bad = append(bad, fmt.Sprintf("%d:%s", row.Line, row.Reason))
			}
			if diff := cmp.Diff(c.bad, bad); diff != "" || !slices.EqualFunc(c.rows, got.Rows, slices.Equal) {
				t.Errorf("%.200q: rows %.300q, want %.300q; bad (-want +got):\n%s", c.text, got.Rows, c.rows, diff)
			}
		})
	}
}

func TestRejectsHoldTheLineTheReasonAndTheText(t *testing.T) {
	text := "a,b\n\"x\ny\"\n\"un\"closed,1\r\n" + strings.Repeat("1,2\n", sampleBytes/4) + "\xE9\x00,1,2\n" + strings.Repeat("z", 70) + ",\r\n1,2\n"
	got := profileText(t, text, Options{Delimiter: ',', MaxRecordBytes: 60})
	want := [][]string{
		{"2", "TOO_FEW_FIELDS", "x\ny"},
		{"4", "TEXT_AFTER_QUOTE", "\"un\"closed,1"},
		{"16389", "NUL_BYTE", "\uFFFD\uFFFD,1,2"},
		{"16390", "TOO_LARGE", strings.Repeat("z", 60)},
	}
	want[0][2] = "\"x\ny\"" // the text keeps its quotes
	if diff := cmp.Diff(want, got.Rejects); diff != "" {
		t.Errorf("rejects (-want +got):\n%s", diff)
	}
}

func TestBadRowsAreAllCountedAndSomeListed(t *testing.T) {
	got := profileText(t, "a,b\n"+strings.Repeat("1\n", 250)+"1,2\n", Options{Delimiter: ','})
	last := got.Summary.Bad[len(got.Summary.Bad)-1]
	want := BadRow{Line: 101, Reason: TooFewFields, Message: "Fields: 1; columns: 2."}
	if got.Summary.BadRows != 250 || len(got.Summary.Bad) != DefaultMaxListed || last != want {
		t.Errorf("%d bad rows, %d listed, last %v; want 250, 100, %v", got.Summary.BadRows, len(got.Summary.Bad), last, want)
	}
}

func TestProfileRefusesWhatIsNoCSV(t *testing.T) {
	for _, c := range []struct {
		name, text string
		options    Options
		want       error
	}{
		{"nothing", "", Options{}, ErrEmpty},
		{"a byte order mark alone", "\uFEFF", Options{}, ErrEmpty},
		{"blank lines alone", "\n\r\n\r", Options{}, ErrEmpty},
		{"a NUL", "a,b\n1,\x00\n", Options{}, ErrNotCSV},
		{"UTF-16 without a mark", "a\x00,\x00b\x00\n\x00", Options{}, ErrNotCSV},
		{"UTF-32", "\xFF\xFE\x00\x00a\x00\x00\x00", Options{}, ErrNotCSV},
		{"an Excel workbook", "PK\x03\x04rest", Options{}, ErrNotCSV},
		{"a web page", "<!DOCTYPE html><title>Sign in</title>", Options{}, ErrNotCSV},
		{"a gzip file", "\x1F\x8B\x08rest", Options{}, ErrNotCSV},
		{"Shift JIS", "\x96\xBC\x91O,\x94N\x97\xEE\n\x8D\xB2\x93\xA1,\x90\x81\n", Options{}, ErrEncoding},
		{"GBK", "\xD0\xD5\xC3\xFB,\xC4\xEA\xC1\xE4\n\xD5\xC5\xC8\xFD,30\n", Options{}, ErrEncoding},
		{"a header with a stray quote", "a,b\"c\n1,2\n", Options{}, ErrHeader},
		{"too many columns", strings.Repeat(",", DefaultMaxColumns) + "\n", Options{}, ErrTooManyColumns},
		{"too many columns without a header", strings.Repeat("1,", DefaultMaxColumns) + "1\n", Options{NoHeader: true}, ErrTooManyColumns},
		{"a quote as delimiter", "a,b\n", Options{Delimiter: '"'}, ErrDelimiter},
		{"a delimiter beyond ASCII", "a,b\n", Options{Delimiter: '¦'}, ErrDelimiter},
		{"more output than allowed", "a\n" + strings.Repeat("1\n", 100), Options{Clean: io.Discard, MaxOutputBytes: 100}, ErrOutputTooLarge},
		{"more rejects than allowed", "a\n" + strings.Repeat("1,1\n", 100), Options{Delimiter: ',', Rejects: io.Discard, MaxOutputBytes: 100}, ErrOutputTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Profile(context.Background(), strings.NewReader(c.text), c.options); !errors.Is(err, c.want) {
				t.Errorf("Profile(%.40q) error %v, want %v", c.text, err, c.want)
			}
		})
	}
}

func TestNegativeLimitsAreRefused(t *testing.T) {
	for _, o := range []Options{{MaxColumns: -1}, {MaxFieldBytes: -1}, {MaxRecordBytes: -1}, {MaxListed: -1}, {MaxOutputBytes: -1}, {MaxRecordBytes: 1<<30 + 1}} {
		if _, err := Profile(context.Background(), strings.NewReader("a\n1\n"), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestAHeaderAloneHasNoRows(t *testing.T) {
	got := profileText(t, "a,b\n", Options{})
	want := []Column{{Name: "a", Type: Text, DistinctIsExact: true}, {Name: "b", Type: Text, DistinctIsExact: true}}
	if diff := cmp.Diff(want, got.Summary.Columns); diff != "" || got.Summary.Rows != 0 {
		t.Errorf("%d rows, columns (-want +got):\n%s", got.Summary.Rows, diff)
	}
}

func TestColumnNamesAreMadeUniqueAndReported(t *testing.T) {
	long := strings.Repeat("é", 150)
	got := profileText(t, "a,,a,a_2,column_2,a,"+long+"\n", Options{Delimiter: ','})
	var names []string
	for _, column := range got.Summary.Columns {
		names = append(names, column.Name)
	}
	want := []string{"a", "column_2_2", "a_3", "a_2", "column_2", "a_4", long[:200]}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	renamed := []Renamed{{2, "", "column_2_2"}, {3, "a", "a_3"}, {6, "a", "a_4"}, {7, long[:200], long[:200]}}
	if diff := cmp.Diff(renamed, got.Summary.Renamed); diff != "" {
		t.Errorf("renamed (-want +got):\n%s", diff)
	}
}

func TestWithoutHeaderTheFirstGoodRowGivesTheColumns(t *testing.T) {
	got := profileText(t, "x\"\n1,2\n3\n", Options{Delimiter: ',', NoHeader: true})
	if diff := cmp.Diff([][]string{{"1", "2"}}, got.Rows); diff != "" || got.Summary.BadRows != 2 || got.Summary.Columns[1].Name != "column_2" {
		t.Errorf("%+v, rows (-want +got):\n%s", got.Summary, diff)
	}
}

func TestTheDelimiterIsFound(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       rune
	}{
		{"comma", "a,b\n1,2\n", ','},
		{"semicolon among decimal commas", "a;b\n1,5;2,5\n3,5;4,5\n", ';'},
		{"tab among text with commas", "a\tb\n1, one\t2\n3\t4\n", '\t'},
		{"bar", "a|b|c\n1|2|3\n", '|'},
		{"delimiters inside quotes do not count", "\"a;a\",b\n\"1;1;1\",2\n", ','},
		{"one column", "name\nAda\nGrace\n", ','},
		{"one bad row among good ones", "a;b\n1;2\nx\n3;4\n", ';'},
		{"a sample that cuts a row after a comma", "a,a|b|c\n" + strings.Repeat("1,1|"+strings.Repeat("x", 50)+"|3\n", sampleBytes/50), '|'},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := profileText(t, c.text, Options{}).Summary.Delimiter; got != c.want {
				t.Errorf("delimiter %q of %.60q, want %q", got, c.text, c.want)
			}
		})
	}
}

func TestProgressAndBytesReadCountTheSource(t *testing.T) {
	text := "\xFF\xFE" + utf16LE("a,b\n"+strings.Repeat("é,2\n", 100_000))
	var reports []int64
	summary, err := Profile(context.Background(), strings.NewReader(text), Options{Progress: func(n int64) { reports = append(reports, n) }})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(reports) || len(reports) < 3 || reports[len(reports)-1] != int64(len(text)) || summary.BytesRead != int64(len(text)) {
		t.Errorf("%d reports, last %d, BytesRead %d; want %d", len(reports), reports[len(reports)-1], summary.BytesRead, len(text))
	}
}

func TestProfileEndsWithItsContext(t *testing.T) {
	cause := errors.New("cancelled by its owner")
	ctx, cancel := context.WithCancelCause(context.Background())
	_, err := Profile(ctx, newRepeated(block(100), 1<<40), Options{Progress: func(n int64) {
		if n > 1<<20 {
			cancel(cause)
		}
	}})
	if !errors.Is(err, cause) {
		t.Errorf("error %v, want %v", err, cause)
	}
}

func TestErrorsOfSourceAndWritersComeBack(t *testing.T) {
	broken := errors.New("the cable is out")
	text := "a,b\n" + strings.Repeat("1,2\n", 100_000)
	for name, run := range map[string]func() error{
		"source at once": func() error {
			_, err := Profile(context.Background(), iotest.ErrReader(broken), Options{})
			return err
		},
		"source later": func() error {
			_, err := Profile(context.Background(), io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), Options{})
			return err
		},
		"clean": func() error {
			_, err := Profile(context.Background(), strings.NewReader(text), Options{Clean: brokenWriter{broken}})
			return err
		},
		"rejects": func() error {
			_, err := Profile(context.Background(), strings.NewReader(text), Options{Rejects: brokenWriter{broken}})
			return err
		},
	} {
		if err := run(); !errors.Is(err, broken) {
			t.Errorf("%s: error %v, want %v", name, err, broken)
		}
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestASourceThatNeverGivesAnythingIsAnError(t *testing.T) {
	src := io.MultiReader(strings.NewReader("a,b\n"+strings.Repeat("1,2\n", sampleBytes)), idleReader{})
	if _, err := Profile(context.Background(), src, Options{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error %v, want %v", err, io.ErrNoProgress)
	}
}

type idleReader struct{}

func (idleReader) Read([]byte) (int, error) { return 0, nil }

// anyRows draws rows of text, numbers and all that needs quotes; a first row gives the width.
func anyRows(t *rapid.T) [][]string {
	field := rapid.OneOf(
		rapid.StringMatching(`[a-z ,;"\n\r\t']{0,12}`),
		rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{1,5})?(e-?[0-9])?`),
		rapid.SampledFrom([]string{"", "true", "FALSE", "null", "007", "-0", "2024-02-29", "1e5", "\"", "\"\"", "ÿ€😀", "\\"}),
	)
	width := rapid.IntRange(2, 6).Draw(t, "width")
	return rapid.SliceOfN(rapid.SliceOfN(field, width, width), 1, 30).Draw(t, "rows")
}

func TestProfileGivesBackTheRowsThatWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := anyRows(t)
		delimiter := rapid.SampledFrom([]rune(candidates)).Draw(t, "delimiter")
		var text bytes.Buffer
		writer := csv.NewWriter(&text)
		writer.Comma = delimiter
		if err := writer.WriteAll(rows); err != nil {
			t.Fatal(err)
		}
		got, err := profileReader(&text, Options{Delimiter: delimiter, NoHeader: true})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rows, got.Rows); diff != "" || got.Summary.BadRows != 0 {
			t.Fatalf("bad %v, rows (-want +got):\n%s", got.Summary.Bad, diff)
		}
	})
}

func TestThePiecesInWhichTextArrivesDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", ",", "\"", "\"\"", "\n", "\r", "\r\n"}), 1, 100).Draw(t, "text"), "")
		o := Options{
			NoHeader:       true,
			Delimiter:      ',',
			MaxFieldBytes:  rapid.IntRange(1, 30).Draw(t, "field limit"),
			MaxRecordBytes: rapid.IntRange(1, 30).Draw(t, "row limit"),
			MaxColumns:     100,
		}
		want, wantErr := scanPieces(strings.NewReader(text), o, chunkBytes)
		got, err := scanPieces(&pieces{text: text, size: rapid.IntRange(1, 7).Draw(t, "piece")}, o, rapid.IntRange(1, 9).Draw(t, "buffer"))
		if diff := cmp.Diff(want, got); diff != "" || !errors.Is(err, wantErr) {
			t.Fatalf("errors %v and %v, records of %q (-whole +pieces):\n%s", wantErr, err, text, diff)
		}
	})
}

// scanPieces lists all rows that a scanner finds when its buffer begins at room bytes.
func scanPieces(src io.Reader, o Options, room int) ([]string, error) {
	scan := newScanner(src, o)
	scan.firstRoom = room
	scan.setDelimiter(byte(o.Delimiter))
	var rows []string
	for {
		row, err := scan.next()
		if err != nil {
			return rows, err
		}
		shown := fmt.Sprintf("%d %s %q %d", row.line, row.reason, row.raw, row.fields)
		for i := range scan.spans {
			if row.reason == "" {
				shown += fmt.Sprintf(" %q", scan.value(row.raw, i))
			}
		}
		rows = append(rows, shown)
	}
}

// pieces gives its text in reads of at most size bytes.
type pieces struct {
	text string
	size int
}

func (p *pieces) Read(into []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	n := copy(into[:min(len(into), p.size)], p.text)
	p.text = p.text[n:]
	return n, nil
}

func TestEveryReaderGivesTheSameSummaryTwice(t *testing.T) {
	text := blockHeader + string(block(6_000)) + "stray\"\n" + strings.Repeat("x", 2<<20) + "\n" + string(block(100))
	want := profileText(t, text, Options{})
	for name, src := range map[string]io.Reader{
		"again":       strings.NewReader(text),
		"halves":      iotest.HalfReader(strings.NewReader(text)),
		"late errors": iotest.DataErrReader(strings.NewReader(text)),
		"pieces":      &pieces{text: text, size: 1_009},
	} {
		if got, err := profileReader(src, Options{}); err != nil || !reflect.DeepEqual(want, got) {
			t.Errorf("%s: error %v, summary (-want +got):\n%s", name, err, cmp.Diff(want.Summary, got.Summary))
		}
	}
}

func FuzzProfile(f *testing.F) {
	for _, text := range []string{
		"a,b\n1,2\n", "a;b\r\n\"x\ny\";2\r\n", "\xFF\xFEa\x00,\x00b\x00", "caf\xE9,1\n", "a\n\"", "a,b\r1,\"2\"\"\r\n\"x", "\uFEFFa|a||\n-1.50|1e9|2024-02-30|true\n",
	} {
		f.Add([]byte(text), uint8(0), false)
		f.Add([]byte(text), uint8(','), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, delimiter uint8, noHeader bool) {
		o := Options{Delimiter: rune(delimiter), NoHeader: noHeader, MaxFieldBytes: 64, MaxRecordBytes: 256, MaxColumns: 16}
		got, err := profileReader(bytes.NewReader(text), o)
		again, errAgain := profileReader(iotest.OneByteReader(bytes.NewReader(text)), o)
		if diff := cmp.Diff(got, again); diff != "" || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Fatalf("errors %v and %v, byte by byte (-want +got):\n%s", err, errAgain, diff)
		}
		if o.Delimiter != 0 && delimiterAllowed(o.Delimiter) {
			withLimits, _ := o.withDefaults()
			whole, _ := scanPieces(bytes.NewReader(text), withLimits, chunkBytes)
			inPieces, _ := scanPieces(bytes.NewReader(text), withLimits, 1+len(text)%9)
			if diff := cmp.Diff(whole, inPieces); diff != "" {
				t.Fatalf("records (-whole +pieces):\n%s", diff)
			}
		}
		if err != nil {
			for _, known := range []error{ErrEmpty, ErrNotCSV, ErrEncoding, ErrHeader, ErrTooManyColumns, ErrDelimiter} {
				if errors.Is(err, known) {
					return
				}
			}
			t.Fatalf("unknown error %v", err)
		}
		for _, column := range got.Summary.Columns {
			filled := got.Summary.Rows - column.Empty
			if column.Distinct > filled || filled > 0 && (column.Distinct == 0 || column.Min == "" || column.Max == "") {
				t.Fatalf("column %+v of %d rows", column, got.Summary.Rows)
			}
		}
		compareWithStandardLibrary(t, text, got)
	})
}

// compareWithStandardLibrary holds wherever both read the same language: no CR, UTF-8, even rows.
func compareWithStandardLibrary(t *testing.T, text []byte, got outcome) {
	if got.Summary.Encoding != UTF8 || got.Summary.BadRows > 0 || bytes.ContainsAny(text, "\r\uFEFF\x00") || len(got.Rows) == 0 {
		return
	}
	reader := csv.NewReader(bytes.NewReader(text))
	reader.Comma = got.Summary.Delimiter
	want, err := reader.ReadAll()
	if err != nil {
		t.Fatalf("the standard library refuses what Profile takes without a bad row: %v", err)
	}
	if diff := cmp.Diff(want[len(want)-len(got.Rows):], got.Rows); diff != "" {
		t.Fatalf("rows (-standard library +Profile):\n%s", diff)
	}
}
