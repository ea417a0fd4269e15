package csvprofile

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxNameBytes bounds a column's name, which every row of the JSON Lines repeats.
const maxNameBytes = 200

// Renamed is a column whose name in the header could not be kept.
type Renamed struct {
	Column   int // 1 is the first
	From, To string
}

// name makes the columns from the first row.
func (p *profiler) name(row record) error {
	given, err := p.header(row)
	if err != nil {
		return err
	}
	names := uniqueNames(given)
	for i, name := range names {
		if name != given[i] {
			p.summary.Renamed = append(p.summary.Renamed, Renamed{Column: i + 1, From: shown(given[i]), To: name})
		}
	}
	p.setColumns(names)
	return nil
}

// unnamed makes the columns of a file without a header.
func (p *profiler) unnamed(row record) error {
	if err := p.allow(row.fields); err != nil {
		return err
	}
	p.setColumns(uniqueNames(make([]string, row.fields)))
	return nil
}

func (p *profiler) setColumns(names []string) {
	p.width = len(names)
	p.columns = make([]column, len(names))
	for i, name := range names {
		p.columns[i].name = name
	}
	if p.options.Clean != nil {
		p.clean = newJSONLines(p.options.Clean, p.options.MaxOutputBytes, names)
	}
}

// uniqueNames keeps each name where it stands first, cut to maxNameBytes; an empty one becomes
// column_N, a repeated one gains _2, _3, …, never a name that another column has.
func uniqueNames(given []string) []string {
	names := make([]string, len(given))
	taken := make(map[string]bool, len(given))
	first := make([]bool, len(given))
	for i, name := range given {
		names[i] = shown(name)
		first[i] = name != "" && !taken[names[i]]
		taken[names[i]] = true
	}
	for i, name := range names {
		if first[i] {
			continue
		}
		if name == "" {
			name = fmt.Sprintf("column_%d", i+1)
		}
		names[i] = name
		for n := 2; taken[names[i]]; n++ {
			names[i] = fmt.Sprintf("%s_%d", name, n)
		}
		taken[names[i]] = true
	}
	return names
}

// shown cuts text to maxNameBytes, between runes.
func shown(text string) string {
	if len(text) <= maxNameBytes {
		return text
	}
	cut := maxNameBytes
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return strings.Clone(text[:cut])
}
