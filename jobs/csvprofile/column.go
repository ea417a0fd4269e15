package csvprofile

import (
	"bytes"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// Type is what all non-empty values of a column are.
type Type string

// The types, each the narrowest that fits: an INTEGER column is no DECIMAL one. A column of mixed
// types is TEXT, save that integers among decimals are DECIMAL. An empty column is TEXT.
const (
	Integer  Type = "INTEGER"  // 0, or digits without leading zero, perhaps after a minus; of any size
	Decimal  Type = "DECIMAL"  // a JSON number: an integer, perhaps a fraction, perhaps an exponent
	Boolean  Type = "BOOLEAN"  // true or false in any case
	Date     Type = "DATE"     // 2006-01-02
	DateTime Type = "DATETIME" // RFC 3339, or 2006-01-02 15:04:05 with T or a space; without zone it compares as UTC
	Text     Type = "TEXT"
)

// maxKeptBytes bounds the least and greatest value kept of a column, and the longest number: one with
// more digits is TEXT.
const maxKeptBytes = 200

// column gathers what one column holds. Its type is known at the end only, so it keeps the bounds
// under the type so far and, because any later value may turn it to TEXT, under that too.
type column struct {
	name     string
	rows     int64
	empty    int64
	kind     kind
	typed    extremes
	text     extremes
	distinct distinct
}

// observe takes one value and tells whether it may be written as a JSON literal.
func (c *column) observe(value []byte) (literal bool) {
	c.rows++
	if len(value) == 0 {
		c.empty++
		return false
	}
	c.distinct.add(xxhash.Sum64(value))
	kept := value[:min(len(value), maxKeptBytes)]
	c.text.widen(textKey(kept), kept, bytes.Compare)
	found := read(value)
	if found.kind != c.kind {
		c.kind = join(c.kind, found.kind)
	}
	if c.kind != kindText {
		c.typed.widen(found.key, value, compareTyped)
	}
	return found.literal
}

// join returns the narrowest kind that holds both.
func join(a, b kind) kind {
	switch {
	case a == kindNone, a == b:
		return b
	case a == kindInteger && b == kindDecimal, a == kindDecimal && b == kindInteger:
		return kindDecimal
	}
	return kindText
}

// result returns the column's line of the Summary.
func (c *column) result() Column {
	count, exact := c.distinct.count()
	shownBounds := &c.typed
	if c.kind == kindText {
		shownBounds = &c.text
	}
	low, high := shownBounds.low, shownBounds.high
	if c.kind == kindBoolean {
		low, high = bytes.ToLower(low), bytes.ToLower(high)
	}
	return Column{
		Name: c.name, Type: c.kind.columnType(), Min: string(withoutCutRune(low)), Max: string(withoutCutRune(high)),
		Empty: c.empty, Distinct: min(count, c.rows-c.empty), DistinctIsExact: exact,
	}
}

// extremes keeps the least and the greatest of the values it has seen. A key orders values roughly:
// a smaller key means a smaller value, equal keys ask for compare.
type extremes struct {
	low, high       []byte
	lowKey, highKey uint64
}

// widen takes one value of at most maxKeptBytes.
func (e *extremes) widen(key uint64, value []byte, compare func(a, b []byte) int) {
	if e.low == nil {
		e.low, e.lowKey = bytes.Clone(value), key
		e.high, e.highKey = bytes.Clone(value), key
		return
	}
	if key < e.lowKey || key == e.lowKey && compare(value, e.low) < 0 {
		e.low, e.lowKey = append(e.low[:0], value...), key
	}
	if key > e.highKey || key == e.highKey && compare(value, e.high) > 0 {
		e.high, e.highKey = append(e.high[:0], value...), key
	}
}

// textKey is the first eight bytes, most significant first, filled up with zeros.
func textKey(value []byte) uint64 {
	if len(value) >= 8 {
		return binary.BigEndian.Uint64(value)
	}
	var key uint64
	for _, b := range value {
		key = key<<8 | uint64(b)
	}
	return key << (8 * (8 - len(value)))
}
