package notify

import (
	"cmp"
	"strings"
	"unicode"
)

// How many characters of a text that somebody chose may stand in a message.
const (
	nameRunes   = 40
	labelRunes  = 60 // of a device, factor, provider, machine or administrator
	reasonRunes = 200
)

// cleaned returns m with harmless texts, and without what its kind has no place for.
func (m Message) cleaned() Message {
	shape := shapes[m.Kind]
	if !shape.takes(hasLink) {
		m.Link = ""
	}
	if !shape.takes(hasCode) {
		m.Code = ""
	}
	if !shape.takes(hasReason) {
		m.Reason = ""
	}
	m.Name = harmless(m.Name, nameRunes, unicode.IsLetter)
	for _, label := range []*string{&m.Device, &m.Factor, &m.Provider, &m.By, &m.Machine} {
		if given := *label; given != "" {
			// Prose names a label in the middle of a sentence, so one of which nothing is left is still there.
			*label = cmp.Or(harmless(given, labelRunes, letterOrDigit), "?")
		}
	}
	m.Reason = harmless(m.Reason, reasonRunes, letterOrDigit)
	return m
}

func letterOrDigit(c rune) bool { return unicode.IsLetter(c) || c >= '0' && c <= '9' }

// harmless returns at most limit characters of text, fit for a message to somebody who did not write
// it. Whoever registers with a victim's address chooses the name in the mail that we send there, and
// would write "Your prize waits at evil.example, call 0900 …" into it.
//
// What is kept is letters (for a name: without digits, and so without phone numbers), marks, and the
// signs of names and devices. All else becomes a space: line ends and controls, which end a header;
// invisible and direction-changing characters; "/", ":" and "@", which make addresses. A full stop
// between letters gets a space after it, since mail programs make even a bare evil.example clickable;
// between digits, as in a version, it stays.
func harmless(text string, limit int, keep func(rune) bool) string {
	var kept []rune
	for _, c := range strings.Join(strings.FieldsFunc(text, func(c rune) bool { return !allowed(c, keep) }), " ") {
		if n := len(kept); n > 0 && kept[n-1] == '.' && c != ' ' && !(n > 1 && digit(kept[n-2]) && digit(c)) {
			kept = append(kept, ' ')
		}
		kept = append(kept, c)
	}
	if len(kept) > limit {
		kept = kept[:limit]
	}
	return strings.Trim(string(kept), " -,'’")
}

func allowed(c rune, keep func(rune) bool) bool {
	return keep(c) || unicode.IsMark(c) || strings.ContainsRune(".-,'’()+_#&", c)
}

func digit(c rune) bool { return c >= '0' && c <= '9' }
