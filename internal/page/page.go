// Package page describes a window on a long ordered list: Relay's first, after, last and before.
//
// A [Cursor] names a place by the value that the list is sorted by and the id that breaks ties, so
// a page costs the same however deep it lies, and stays right while entries come and go. It is
// opaque to clients but not secret, and it grants nothing: every query filters by owner anyway.
package page

import (
	"encoding/base64"
	"strconv"
	"strings"

	"gatehouse/internal/fault"
)

// The sizes of a page, in entries.
const (
	DefaultSize = 20
	MaxSize     = 100
)

// Window is a valid choice of entries.
type Window struct {
	Size     int     // 1 to MaxSize
	Backward bool    // counted from the end: last and before
	After    *Cursor // only what follows; nil: from the start
	Before   *Cursor // only what precedes; nil: to the end
}

// Request is what a client asks for (GraphQL Cursor Connections Specification §4).
type Request struct {
	First, Last   *int
	After, Before *string
}

// Window checks r. Both first and last, a size outside 1 to MaxSize and a cursor that is not ours
// are BAD_USER_INPUT.
func (r Request) Window() (Window, error) {
	w := Window{Size: DefaultSize}
	switch {
	case r.First != nil && r.Last != nil:
		return w, bad("Give first or last, not both.")
	case r.First != nil:
		w.Size = *r.First
	case r.Last != nil:
		w.Size, w.Backward = *r.Last, true
	}
	if w.Size < 1 || w.Size > MaxSize {
		return w, bad("A page has 1 to " + strconv.Itoa(MaxSize) + " entries.")
	}
	var err error
	if w.After, err = parse(r.After, "after"); err != nil {
		return w, err
	}
	if w.Before, err = parse(r.Before, "before"); err != nil {
		return w, err
	}
	return w, nil
}

// Cursor is a place in a list.
type Cursor struct {
	Key int64 // the value that the list is sorted by
	ID  string
}

// version begins every cursor, so that a later form can be told apart.
const version = "1"

// maxCursor bounds the length of what is taken for a cursor, in bytes.
const maxCursor = 200

// String returns c as clients see it.
func (c Cursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(version + " " + strconv.FormatInt(c.Key, 36) + " " + c.ID))
}

// Parse reads what String wrote.
func Parse(text string) (Cursor, bool) {
	if len(text) > maxCursor {
		return Cursor{}, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return Cursor{}, false
	}
	parts := strings.Split(string(raw), " ")
	if len(parts) != 3 || parts[0] != version || parts[2] == "" {
		return Cursor{}, false
	}
	key, err := strconv.ParseInt(parts[1], 36, 64)
	if err != nil {
		return Cursor{}, false
	}
	c := Cursor{Key: key, ID: parts[2]}
	return c, c.String() == text // one place has one name
}

func parse(text *string, name string) (*Cursor, error) {
	if text == nil {
		return nil, nil
	}
	c, ok := Parse(*text)
	if !ok {
		return nil, bad("The cursor in " + name + " is not one of ours. Use one that a page has given.")
	}
	return &c, nil
}

func bad(message string) error { return fault.New(fault.BadUserInput, "", message) }

// Page is one page of a list.
type Page[T any] struct {
	Items   []T
	HasNext bool
	HasPrev bool
	Total   int
}

// Cut makes a page of rows, of which the query has fetched one more than the window's size in the
// direction of the window. Rows of a backward window come last first and are turned around.
func Cut[T any](w Window, rows []T, total int) Page[T] {
	more := len(rows) > w.Size
	if more {
		rows = rows[:w.Size]
	}
	p := Page[T]{Items: rows, HasNext: more, HasPrev: w.After != nil, Total: total}
	if w.Backward {
		for i, j := 0, len(rows)-1; i < j; i, j = i+1, j-1 {
			rows[i], rows[j] = rows[j], rows[i]
		}
		p.HasNext, p.HasPrev = w.Before != nil, more
	}
	return p
}
