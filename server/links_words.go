package main

import (
	"embed"
	"fmt"
	"strings"
	"text/template"

	"golang.org/x/text/language"

	"gatehouse/account"
)

//go:embed links.*.txt
var linkWordFiles embed.FS

// linkLanguages are the tags of the files links.TAG.txt. The first one is for everybody else.
var linkLanguages = [...]string{"en", "de", "es"}

// maxPreference bounds how much of a preference for languages is read, in bytes.
const maxPreference = 256

// linkWords is what the pages of links say, in each language.
type linkWords struct {
	matcher language.Matcher
	blocks  []*template.Template // in the order of linkLanguages
}

func readLinkWords() (linkWords, error) {
	var words linkWords
	var tags []language.Tag
	for _, tag := range linkLanguages {
		blocks, err := template.ParseFS(linkWordFiles, "links."+tag+".txt")
		if err != nil {
			return words, fmt.Errorf("read words of links: %w", err)
		}
		tags, words.blocks = append(tags, language.MustParse(tag)), append(words.blocks, blocks)
	}
	words.matcher = language.NewMatcher(tags)
	return words, nil
}

// in returns the words of the first of preferred that any language fits, and English otherwise. A
// preference is a language tag (BCP 47) or an Accept-Language header (RFC 9110 §12.5.4).
func (w linkWords) in(preferred ...string) linkLanguage {
	for i, text := range preferred {
		preferred[i] = text[:min(len(text), maxPreference)]
	}
	_, i := language.MatchStrings(w.matcher, preferred...)
	return linkLanguage{linkLanguages[i], w.blocks[i]}
}

// linkLanguage is the words of one language.
type linkLanguage struct {
	Tag    string
	blocks *template.Template
}

// knows reports whether purpose has a page.
func (l linkLanguage) knows(purpose account.Purpose) bool {
	return l.blocks.Lookup(string(purpose)+".says") != nil
}

// find returns the block of a name as it is said for purpose; nil: there is none.
func (l linkLanguage) find(purpose account.Purpose, name string) *template.Template {
	if own := l.blocks.Lookup(string(purpose) + "." + name); own != nil {
		return own
	}
	return l.blocks.Lookup(name)
}

// say returns a block as one line; "" when there is none.
func (l linkLanguage) say(purpose account.Purpose, name string) (string, error) {
	block := l.find(purpose, name)
	if block == nil {
		return "", nil
	}
	var text strings.Builder
	if err := block.Execute(&text, nil); err != nil {
		return "", fmt.Errorf("say %s in %s: %w", name, l.Tag, err)
	}
	return strings.Join(strings.Fields(text.String()), " "), nil
}
