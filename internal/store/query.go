package store

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Query is one statement, written once for both dialects.
type Query struct {
	texts   [2]string
	raw     string // as it was written
	passing bool   // made for one use; not worth a prepared statement

	lists sync.Map // size to *Query, of a statement with a list or with rows
}

// now is the database's clock in microseconds, per dialect; it stands in a statement as {now}.
var now = [2]string{
	SQLite:   "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
	Postgres: "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
}

// SQL returns the statement text, in which ? is a bind parameter, {now} the database's clock in
// microseconds, (?*) the one list of [Query.List], and (?, ?)* the rows of [Query.Rows]. A text is rebound
// once, so it belongs into a package variable.
func SQL(text string) *Query {
	return &Query{raw: text, texts: [2]string{SQLite: render(SQLite, text), Postgres: render(Postgres, text)}}
}

// Passing is SQL for a text that is put together at run time and not kept prepared.
func Passing(text string) *Query {
	q := SQL(text)
	q.passing = true
	return q
}

// On replaces the text for one dialect and returns q.
func (q *Query) On(d Dialect, text string) *Query {
	q.texts[d] = render(d, text)
	return q
}

func (q *Query) text(d Dialect) string { return q.texts[d] }

// listSizes are the lengths in which lists are sent, so that few statements serve all and stay prepared.
var listSizes = []int{1, 5, 20, 100, 500}

// MaxList is the longest list that a statement takes.
const MaxList = 500

// List returns q with room for n values where it says (?*), and how many values it wants: the
// caller repeats its last value up to that length, which [Values] does. n is at most [MaxList].
func (q *Query) List(n int) (*Query, int) {
	size := sizeFor(n, listSizes)
	return q.sized(size, func(text string) string {
		return strings.ReplaceAll(text, "(?*)", "(?"+strings.Repeat(", ?", size-1)+")")
	}), size
}

// rowSizes are the numbers of rows that are sent. They stand closer than listSizes: a row that is sent twice
// costs more than a value.
var rowSizes = []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 500}

// Rows returns q with room for n rows where a row (…)* stands in it, behind VALUES, and how many rows it
// wants: the caller repeats its last one up to that length, which [RowValues] does, so the statement must do
// no more with a row that comes twice. n is at most [MaxList].
func (q *Query) Rows(n int) (*Query, int) {
	size := sizeFor(n, rowSizes)
	return q.sized(size, func(text string) string {
		before, after, _ := strings.Cut(text, rowsEnd)
		at := strings.LastIndex(before, rowsBegin) + len(rowsBegin)
		row := before[at:] + ")"
		return before[:at] + row + strings.Repeat(", "+row, size-1) + after
	}), size
}

const rowsBegin, rowsEnd = "VALUES ", ")*"

func sizeFor(n int, sizes []int) int {
	for _, s := range sizes {
		if n <= s {
			return s
		}
	}
	return sizes[len(sizes)-1]
}

// sized returns q as expand makes it for size; it is made once.
func (q *Query) sized(size int, expand func(text string) string) *Query {
	if sized, ok := q.lists.Load(size); ok {
		return sized.(*Query)
	}
	sized := &Query{passing: q.passing}
	for d, text := range q.texts {
		sized.texts[d] = rebind(Dialect(d), expand(text))
	}
	kept, _ := q.lists.LoadOrStore(size, sized)
	return kept.(*Query)
}

// Values returns list as bind parameters for a statement that wants size of them.
func Values[T any](list []T, size int) []any {
	args := make([]any, size)
	for i := range args {
		args[i] = list[min(i, len(list)-1)]
	}
	return args
}

// RowValues returns rows as bind parameters for a statement that wants size of them.
func RowValues(rows [][]any, size int) []any {
	args := make([]any, 0, size*len(rows[0]))
	for i := range size {
		args = append(args, rows[min(i, len(rows)-1)]...)
	}
	return args
}

func render(d Dialect, text string) string {
	text = strings.ReplaceAll(text, "{now}", now[d])
	if strings.Contains(text, "(?*)") || strings.Contains(text, rowsEnd) {
		return text // bound when the length is known
	}
	return rebind(d, text)
}

// rebind numbers the bind parameters of text for PostgreSQL; a ? inside quotes is left alone.
func rebind(d Dialect, text string) string {
	if d != Postgres {
		return text
	}
	var b strings.Builder
	b.Grow(len(text) + 16)
	quoted, n := false, 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\'':
			quoted = !quoted
			b.WriteByte(c)
		case c == '?' && !quoted:
			n++
			fmt.Fprintf(&b, "$%d", n)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// At returns t as it is stored: microseconds since 1970, or NULL for the zero time.
func At(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// Time scans a stored moment into t; NULL becomes the zero time.
func Time(t *time.Time) *Moment { return (*Moment)(t) }

// Moment is the scanner behind [Time].
type Moment time.Time

// Scan implements sql.Scanner.
func (m *Moment) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		*m = Moment(time.Time{})
	case int64:
		*m = Moment(time.UnixMicro(v).UTC())
	default:
		return fmt.Errorf("scan a moment from %T", value)
	}
	return nil
}

// Text scans a column that may be NULL into a string type; NULL becomes "".
func Text[T ~string](t *T) Nullable[T] { return Nullable[T]{t} }

// Nullable is the scanner behind [Text].
type Nullable[T ~string] struct{ into *T }

// Scan implements sql.Scanner.
func (n Nullable[T]) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		*n.into = ""
	case string:
		*n.into = T(v)
	case []byte:
		*n.into = T(v)
	default:
		return fmt.Errorf("scan a text from %T", value)
	}
	return nil
}

// Number scans a column of whole numbers, which is never NULL, into any type of them. Scanning into
// the bare pointer goes through reflection, or through a text.
func Number[T ~int | ~int64](n *T) Whole[T] { return Whole[T]{n} }

// Whole is the scanner behind [Number].
type Whole[T ~int | ~int64] struct{ into *T }

// Scan implements sql.Scanner.
func (w Whole[T]) Scan(value any) error {
	v, ok := value.(int64)
	if !ok {
		return fmt.Errorf("scan a whole number from %T", value)
	}
	*w.into = T(v)
	return nil
}

// OrNull returns s as a bind parameter, NULL for "".
func OrNull[T ~string](s T) any {
	if s == "" {
		return nil
	}
	return string(s)
}
