package notify

import (
	"embed"
	"fmt"
	"strings"
	"text/template"
	"time"
)

//go:embed words/*.txt
var wordFiles embed.FS

// languages are the tags of the files in words/. The first one is for everybody else.
var languages = [...]string{"en", "de", "es"}

// language is one file of words.
type language struct {
	tag    string
	blocks *template.Template
	months []string
}

// facts are what prose may name. Code is for SMS, which has no other place for it.
type facts struct {
	Product, Name, Code, Expiry, Due string
	Factor, Provider, By, Machine    string
	Left                             int
}

func readWords() (map[string]*language, error) {
	words := make(map[string]*language)
	for _, tag := range languages {
		blocks, err := template.ParseFS(wordFiles, "words/"+tag+".txt")
		if err != nil {
			return nil, err
		}
		l := &language{tag: tag, blocks: blocks}
		months, err := l.say("months", nil)
		if err != nil {
			return nil, err
		}
		if l.months = strings.Fields(months); len(l.months) != 12 {
			return nil, fmt.Errorf("%s has %d months", tag, len(l.months))
		}
		words[tag] = l
	}
	return words, nil
}

// language returns the words for a locale (BCP 47), by its first subtag.
func (p *Post) language(locale string) *language {
	tag := strings.ToLower(locale)
	if end := strings.IndexAny(tag, "-_"); end >= 0 {
		tag = tag[:end]
	}
	if l, known := p.words[tag]; known {
		return l
	}
	return p.words[languages[0]]
}

// say returns a block, filled in, without the space around it.
func (l *language) say(block string, data any) (string, error) {
	var text strings.Builder
	if err := l.blocks.ExecuteTemplate(&text, block, data); err != nil {
		return "", fmt.Errorf("words of %s: %w", l.tag, err)
	}
	return strings.TrimSpace(text.String()), nil
}

// line returns a block as one line.
func (l *language) line(block string, data any) (string, error) {
	text, err := l.say(block, data)
	return strings.Join(strings.Fields(text), " "), err
}

// paragraphs returns a block's paragraphs, each as one line.
func (l *language) paragraphs(block string, data any) ([]string, error) {
	text, err := l.say(block, data)
	if err != nil {
		return nil, err
	}
	var paragraphs []string
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		if line := strings.Join(strings.Fields(paragraph), " "); line != "" {
			paragraphs = append(paragraphs, line)
		}
	}
	return paragraphs, nil
}

// duration says minutes in the largest unit that needs no fraction: "15 minutes", "1 hour", "7 days".
func (l *language) duration(minutes int) (string, error) {
	switch {
	case minutes >= 24*60 && minutes%(24*60) == 0:
		return l.line("days", minutes/(24*60))
	case minutes >= 60 && minutes%60 == 0:
		return l.line("hours", minutes/60)
	}
	return l.line("minutes", minutes)
}

// moment says t, in UTC, to the minute.
func (l *language) moment(t time.Time) (string, error) {
	t = t.UTC()
	return l.line("moment", struct {
		Day, Year    int
		Month, Clock string
	}{t.Day(), t.Year(), l.months[t.Month()-1], t.Format("15:04")})
}
