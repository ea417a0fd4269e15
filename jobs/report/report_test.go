package report

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

var made = time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC)

// sample returns a document with a table of so many rows.
func sample(t testing.TB, locale string, paper Paper, rows int) *Document {
	t.Helper()
	l, err := LanguageOf(locale)
	if err != nil {
		t.Fatal(err)
	}
	d := &Document{
		Language: l, Paper: paper, Product: "Gatehouse of Ada", Title: l.Say("jobActivity"), Made: made,
		Lines:   []string{l.Say("accountOf", "Ada Λάβλεϊς Ђорђевић"), l.Say("period", l.Span(made.AddDate(0, 0, -30), made)), l.Say("made", l.Moment(made))},
		Figures: []Figure{{l.Say("jobs"), l.Number(1234567)}, {l.Say("successRate"), l.Percent(2, 3)}},
		Chart:   Chart{Title: l.Say("jobsPerDay"), Series: []string{l.Say("succeeded"), l.Say("failed"), l.Say("open"), l.Say("cancelled")}, From: made.AddDate(0, 0, -30)},
		Notes:   []string{l.Say("noteKept"), l.Say("noteTime")},
	}
	for i := range 31 {
		d.Chart.Days = append(d.Chart.Days, []int64{int64(i * 37), int64(i % 5 * 20), int64(i % 3), 0})
	}
	table := Table{
		Title:   l.Say("byKind"),
		Columns: []Column{{l.Say("kind"), 3, false}, {l.Say("jobs"), 1, true}, {l.Say("meanTime"), 1.4, true}},
		Total:   []string{l.Say("total"), l.Number(99999), ""}, More: 1500,
	}
	for i := range rows {
		table.Rows = append(table.Rows, []string{fmt.Sprintf("row-%03d (ünïcödé) \\", i), l.Number(int64(i * 1000)), l.Duration(time.Duration(i*i) * time.Second)})
	}
	d.Tables = []Table{table, {Title: l.Say("failures"), Columns: []Column{{l.Say("code"), 1, false}}}}
	return d
}

func written(t testing.TB, d *Document) ([]byte, int) {
	t.Helper()
	var b bytes.Buffer
	pages, err := d.Write(&b)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), pages
}

var (
	stream = regexp.MustCompile(`(?s)/Length (\d+)>>\nstream\n`)
	shown  = regexp.MustCompile(`(?s)Td \(((?:[^\\()]|\\.)*)\) Tj`)
	escape = regexp.MustCompile(`(?s)\\(.)`)
)

// textsOf reads the texts of each page from the file's streams, in the order in which they were written.
func textsOf(t testing.TB, file []byte) [][]string {
	t.Helper()
	var pages [][]string
	for _, at := range stream.FindAllSubmatchIndex(file, -1) {
		length, err := strconv.Atoi(string(file[at[2]:at[3]]))
		if err != nil {
			t.Fatal(err)
		}
		packed, err := zlib.NewReader(bytes.NewReader(file[at[1] : at[1]+length]))
		if err != nil {
			continue // a map of letters
		}
		content, err := io.ReadAll(packed)
		if err != nil {
			t.Fatal(err)
		}
		var page []string
		for _, found := range shown.FindAllSubmatch(content, -1) {
			text := escape.ReplaceAllFunc(found[1], func(pair []byte) []byte {
				if pair[1] == 'r' {
					return []byte("\r")
				}
				return pair[1:]
			})
			var units []uint16
			for i := 0; i+1 < len(text); i += 2 {
				units = append(units, uint16(text[i])<<8|uint16(text[i+1]))
			}
			page = append(page, string(utf16.Decode(units)))
		}
		if len(page) > 0 {
			pages = append(pages, page)
		}
	}
	return pages
}

func TestAReportHasItsNumbersItsHeadersAndItsPagesCounted(t *testing.T) {
	for _, c := range []struct {
		locale             string
		paper              Paper
		size, page, number string
		rate, total, more  string
	}{
		{"en", A4, "595.28 841.89", "page %d of %d", "1,234,567", "66.7%", "Total", "and 1,500 more"},
		{"de-CH", A4, "595.28 841.89", "Seite %d von %d", "1.234.567", "66,7\u00a0%", "Summe", "und 1.500 weitere"},
		{"es-MX", Letter, "612.00 792.00", "página %d de %d", "1.234.567", "66,7\u00a0%", "Total", "y 1500 más"},
		{"fr", A4, "595.28 841.89", "page %d of %d", "1,234,567", "66.7%", "Total", "and 1,500 more"},
	} {
		d := sample(t, c.locale, c.paper, 120)
		file, pages := written(t, d)
		got := textsOf(t, file)
		if len(got) != pages || pages < 3 || !bytes.Contains(file, []byte("/MediaBox [0 0 "+c.size+"]")) {
			t.Fatalf("%s: %d pages of text, %d written, want as many of %s", c.locale, len(got), pages, c.size)
		}
		rows := 0
		for i, texts := range got {
			if want := fmt.Sprintf(c.page, i+1, pages); !slices.Contains(texts, want) {
				t.Errorf("%s: page %d does not say %q", c.locale, i+1, want)
			}
			here := 0
			for _, text := range texts {
				if strings.HasPrefix(text, "row-") {
					here++
				}
			}
			if rows += here; here > 0 && !slices.Contains(texts, d.Tables[0].Columns[0].Name) {
				t.Errorf("%s: page %d has %d rows and no header", c.locale, i+1, here)
			}
		}
		if rows != 120 {
			t.Errorf("%s: %d rows, want 120", c.locale, rows)
		}
		all := slices.Concat(got...)
		for _, want := range []string{c.number, c.rate, c.total, c.more, `row-007 (ünïcödé) \`, d.Language.Say("nothing")} {
			if !slices.Contains(all, want) {
				t.Errorf("%s: nowhere is %q", c.locale, want)
			}
		}
	}
}

func TestALetterThatTheFontLacksIsABox(t *testing.T) {
	for name, want := range map[string]string{
		"Ada Lovelace":           "Ada Lovelace",
		"Ђорђе Ελένη Łukasz Ğül": "Ђорђе Ελένη Łukasz Ğül",
		"Zoe\u0308":              "Zoë", // composed
		"中文":                     "□□",
		"😀\U00010000\U0010ffff":  "□□□", // beyond the basic plane
		"a\u202eb\u0000c\ud7ff":  "a□b□c□",
		"line\nfeed":             "line feed",
		"\xff":                   "\ufffd",
		"€ – „Anführung“ … ½ × ≠ ∞": "€ – „Anführung“ … ½ × ≠ ∞",
	} {
		f, err := newFaces()
		if err != nil {
			t.Fatal(err)
		}
		if got := f.shown(name); got != want {
			t.Errorf("%q is shown as %q, want %q", name, got, want)
		}
		d := sample(t, "en", A4, 1)
		d.Title, d.Product, d.Tables[0].Rows[0][0] = name, name, name
		file, _ := written(t, d)
		if all := slices.Concat(textsOf(t, file)...); !slices.Contains(all, want) {
			t.Errorf("%q: the file does not have %q", name, want)
		}
	}
}

func TestATextThatIsTooWideIsCut(t *testing.T) {
	d := sample(t, "en", A4, 1)
	long := strings.Repeat("Wilhelmine ", 4000)
	d.Title, d.Lines[0], d.Tables[0].Rows[0][0] = long, long, long
	file, pages := written(t, d)
	all := slices.Concat(textsOf(t, file)...)
	cut := slices.DeleteFunc(all, func(s string) bool { return !strings.HasSuffix(s, "Wilhelmine…") && !strings.HasSuffix(s, "…") })
	if len(cut) < 3 || pages != 1 {
		t.Errorf("%d texts were cut on %d pages, want title, line and cell on one", len(cut), pages)
	}
}

func TestTheSameDocumentIsTheSameFile(t *testing.T) {
	first, _ := written(t, sample(t, "de", A4, 50))
	for range 5 {
		if again, _ := written(t, sample(t, "de", A4, 50)); !bytes.Equal(first, again) {
			t.Fatal("the same document was written in two ways")
		}
	}
	if !bytes.Contains(first, []byte("D:20261124093000")) {
		t.Error("the file does not say when it was made")
	}
}

func TestADocumentBeyondItsBoundsIsRefused(t *testing.T) {
	long, wide := sample(t, "en", A4, MaxRows+1), sample(t, "en", A4, 1)
	wide.Chart.Days = make([][]int64, MaxDays+1)
	for _, d := range []*Document{long, wide} {
		if _, err := d.Write(io.Discard); err == nil {
			t.Error("a document beyond its bounds was written")
		}
	}
	most := sample(t, "en", A4, MaxRows)
	most.Chart.Days = make([][]int64, MaxDays)
	if _, pages := written(t, most); pages > 15 {
		t.Errorf("the largest table takes %d pages", pages)
	}
}

func TestEveryLanguageSaysTheSame(t *testing.T) {
	english, err := LanguageOf("en")
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range languages {
		l, err := LanguageOf(tag)
		if err != nil {
			t.Fatal(err)
		}
		for key, words := range english.words {
			if strings.Count(l.words[key], "%") != strings.Count(words, "%") || l.words[key] == "" {
				t.Errorf("%s says of %s %q, English %q", tag, key, l.words[key], words)
			}
		}
		if len(l.words) != len(english.words) {
			t.Errorf("%s has %d entries, English %d", tag, len(l.words), len(english.words))
		}
	}
}

func TestDatesAndNumbersAreThoseOfTheLanguage(t *testing.T) {
	day := time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC)
	for tag, want := range map[string][]string{
		"en": {"5 March 2026", "5 Mar 2026 14:07", "5 March 2026 – 7 March 2026", "5 Mar 2026 00:00 – 5 Mar 2026 14:07", "1,234", "12.5 s", "850 ms", "2 min 05 s", "1,000 h 00 min", "–", "–"},
		"de": {"5. März 2026", "05.03.2026 14:07", "5. März 2026 – 7. März 2026", "05.03.2026 00:00 – 05.03.2026 14:07", "1.234", "12,5 s", "850 ms", "2 min 05 s", "1.000 h 00 min", "–", "–"},
		"es": {"5 de marzo de 2026", "05/03/2026 14:07", "5 de marzo de 2026 – 7 de marzo de 2026", "05/03/2026 00:00 – 05/03/2026 14:07", "1234", "12,5 s", "850 ms", "2 min 05 s", "1000 h 00 min", "–", "–"},
	} {
		l, err := LanguageOf(tag)
		if err != nil {
			t.Fatal(err)
		}
		afternoon := day.Add(14*time.Hour + 7*time.Minute)
		got := []string{
			l.Date(day), l.Moment(afternoon), l.Span(day, day.AddDate(0, 0, 3)), l.Span(day, afternoon), l.Number(1234),
			l.Duration(12500 * time.Millisecond), l.Duration(850 * time.Millisecond), l.Duration(125 * time.Second), l.Duration(1000 * time.Hour), l.Duration(0), l.Percent(0, 0),
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", tag, got, want)
		}
	}
}

func TestDaysAreThoseThatAPeriodTouches(t *testing.T) {
	midnight := time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		from, to time.Time
		want     int
	}{
		{midnight, midnight.AddDate(0, 0, 1), 1},
		{midnight.Add(time.Hour), midnight.AddDate(0, 0, 1).Add(time.Minute), 2},
		{midnight, midnight.AddDate(0, 0, 366), 366},
		{midnight.Add(time.Minute), midnight.AddDate(0, 0, 366).Add(time.Minute), 367},
	} {
		if first, n := DaysOf(c.from, c.to); !first.Equal(midnight) || n != c.want {
			t.Errorf("%v to %v: %d days from %v, want %d", c.from, c.to, n, first, c.want)
		}
	}
}

func TestTheAxisReachesTheHighestBar(t *testing.T) {
	for most, want := range map[int64]int64{0: 1, 4: 1, 5: 2, 9: 5, 21: 10, 81: 50, 1000: 500, 100_000: 50_000} {
		if got := stepOf(most); got != want {
			t.Errorf("up to %d: steps of %d, want %d", most, got, want)
		}
	}
}
