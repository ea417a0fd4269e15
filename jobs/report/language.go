package report

import (
	"embed"
	"fmt"
	"strconv"
	"strings"
	"time"
)

//go:embed words/*.txt
var wordFiles embed.FS

// languages are the tags of the files in words/. The first one is for everybody else.
var languages = [...]string{"en", "de", "es"}

// Language is how a report says things: its words, dates and numbers.
type Language struct {
	Tag    string
	words  map[string]string
	months []string
	forms  forms
}

// forms are the forms of dates and numbers, as CLDR has them: verbs stand for day, month and year.
type forms struct {
	group, point string
	grouped      int64 // from this number on, thousands are set apart
	percent      string
	date         string // the month's name
	short        func(day, year int, m time.Month, name string) string
}

func formsOf(tag string) forms {
	digits := func(between string) func(int, int, time.Month, string) string {
		return func(day, year int, m time.Month, _ string) string {
			return fmt.Sprintf("%02d%s%02d%s%d", day, between, m, between, year)
		}
	}
	switch tag {
	case "de":
		return forms{".", ",", 1000, "\u00a0%", "%d. %s %d", digits(".")}
	case "es":
		return forms{".", ",", 10_000, "\u00a0%", "%d de %s de %d", digits("/")}
	}
	return forms{",", ".", 1000, "%", "%d %s %d", func(day, year int, _ time.Month, name string) string {
		return fmt.Sprintf("%d %s %d", day, name[:3], year)
	}}
}

// LanguageOf returns the language of a locale (BCP 47), by its first subtag: English, German or Spanish, and
// English for all others.
func LanguageOf(locale string) (*Language, error) {
	tag, _, _ := strings.Cut(strings.ToLower(strings.ReplaceAll(locale, "_", "-")), "-")
	known := languages[0]
	for _, l := range languages {
		if l == tag {
			known = l
		}
	}
	text, err := wordFiles.ReadFile("words/" + known + ".txt")
	if err != nil {
		return nil, err
	}
	l := &Language{Tag: known, words: make(map[string]string), forms: formsOf(known)}
	for line := range strings.Lines(string(text)) {
		if key, words, found := strings.Cut(line, ": "); found {
			l.words[key] = strings.TrimSpace(words)
		}
	}
	if l.months = strings.Fields(l.words["months"]); len(l.months) != 12 {
		return nil, fmt.Errorf("%s has %d months", known, len(l.months))
	}
	return l, nil
}

// Say returns the words of a key, with values in the places of their verbs.
func (l *Language) Say(key string, values ...any) string {
	words := l.words[key]
	if len(values) == 0 {
		return words
	}
	return fmt.Sprintf(words, values...)
}

// Name returns the words of a key that is a name of ours, and the name itself when there are none.
func (l *Language) Name(key string) string {
	if words, known := l.words[key]; known {
		return words
	}
	return key
}

// Number returns n with its thousands set apart.
func (l *Language) Number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	if n < l.forms.grouped {
		return digits
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteString(l.forms.group)
		}
		b.WriteRune(d)
	}
	return b.String()
}

// decimal returns a number that is not negative with one digit after the point.
func (l *Language) decimal(x float64) string {
	whole, rest, _ := strings.Cut(strconv.FormatFloat(x, 'f', 1, 64), ".")
	n, _ := strconv.ParseInt(whole, 10, 64) // digits
	return l.Number(n) + l.forms.point + rest
}

// Percent returns part of whole in percent, "–" for a part of nothing.
func (l *Language) Percent(part, whole int64) string {
	if whole == 0 {
		return "–"
	}
	return l.decimal(100*float64(part)/float64(whole)) + l.forms.percent
}

// Date returns the day of t in UTC with the month's name.
func (l *Language) Date(t time.Time) string {
	year, month, day := t.UTC().Date()
	return fmt.Sprintf(l.forms.date, day, l.months[month-1], year)
}

// ShortDate returns the day of t in UTC.
func (l *Language) ShortDate(t time.Time) string {
	year, month, day := t.UTC().Date()
	return l.forms.short(day, year, month, l.months[month-1])
}

// Moment returns t in UTC to the minute.
func (l *Language) Moment(t time.Time) string {
	return l.ShortDate(t) + " " + t.UTC().Format("15:04")
}

// Span returns a period: whole days by the first and the last, else the moments of its begin and end.
func (l *Language) Span(from, to time.Time) string {
	first, last := from.UTC().Truncate(24*time.Hour), to.UTC().Truncate(24*time.Hour)
	if !first.Equal(from) || !last.Equal(to) {
		return l.Say("span", l.Moment(from), l.Moment(to))
	}
	last = last.AddDate(0, 0, -1)
	if last.Equal(first) {
		return l.Date(first)
	}
	return l.Say("span", l.Date(first), l.Date(last))
}

// Duration returns d in the units that a person would use, "–" for none.
func (l *Language) Duration(d time.Duration) string {
	switch {
	case d <= 0:
		return "–"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return l.decimal(d.Seconds()) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%s h %02d min", l.Number(int64(d.Hours())), int(d.Minutes())%60)
}
