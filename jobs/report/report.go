// Package report lays out reports as PDF: a heading with key figures, a chart of the days, tables that go
// on over pages under their own headings, notes, and "page n of m" at the foot of each.
//
// A [Document] says what stands in a report and [Document.Write] how it looks. The package is pure: what a
// report tells of comes in as texts and numbers, the moment at which it was made too. The same document is
// the same file, byte by byte.
//
// # Letters
//
// Texts are in the Go fonts, which have Latin, Greek and Cyrillic letters (the WGL4 set). Each letter that they
// lack is shown as an empty box, never as another letter; so are controls and marks of direction, with which a name
// could feign another. A text that is too wide for its cell ends in "…".
//
// # Bounds
//
// A table has at most [MaxRows] rows, a chart [MaxDays] days. A document is held in memory until it is written:
// some 300 KB and 2 KB for each page, beside 10 MB for the fonts while it is laid out.
package report

import (
	"errors"
	"io"
	"time"
)

// The bounds of a document.
const (
	MaxRows = 400 // of one table; so many days are in the longest period, and some
	MaxDays = 367 // a year, and one more for a period that begins within a day
)

// Paper is the size of the pages.
type Paper string

// The papers.
const (
	A4     Paper = "A4"
	Letter Paper = "LETTER"
)

// Document is a report before it is laid out.
type Document struct {
	Language *Language
	Paper    Paper
	Product  string   // what the deployment is known as
	Title    string   // what it is
	Lines    []string // of whom it is, which period, when it was made
	Made     time.Time
	Figures  []Figure // at most 6
	Chart    Chart
	Tables   []Table
	Notes    []string
}

// Figure is a number that is shown large.
type Figure struct{ Name, Value string }

// Chart shows a bar for each day, in layers.
type Chart struct {
	Title  string
	Series []string // at most four, the lowest layer first
	From   time.Time
	Days   [][]int64 // for each day from From on, a number for each of Series
}

// Column is a column of a table.
type Column struct {
	Name   string
	Width  float64 // its share of the table's width
	Number bool    // stands at the right
}

// Table is a table of texts.
type Table struct {
	Title   string
	Columns []Column
	Rows    [][]string
	Total   []string // nil: none
	More    int      // how many rows are left out at its end
}

// errTooLarge is a defect of the caller, who bounds what is asked for.
var errTooLarge = errors.New("the document is larger than one may be")

// Write lays the document out, writes it as PDF, and returns how many pages it has.
func (d *Document) Write(to io.Writer) (pages int, err error) {
	if len(d.Chart.Days) > MaxDays || len(d.Figures) > maxFigures || len(d.Chart.Series) > len(layers) {
		return 0, errTooLarge
	}
	s, err := newSheets(d)
	if err != nil {
		return 0, err
	}
	s.heading()
	s.figures()
	s.chart()
	for _, t := range d.Tables {
		if len(t.Rows) > MaxRows {
			return 0, errTooLarge
		}
		s.table(t)
	}
	s.notes()
	return s.finish(to)
}

// Rows returns how many rows the tables of d have, those left out not counted.
func (d *Document) Rows() int {
	var rows int
	for _, t := range d.Tables {
		rows += len(t.Rows)
	}
	return rows
}
