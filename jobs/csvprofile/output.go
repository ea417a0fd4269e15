package csvprofile

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// flushBytes is how much output is gathered before it is written.
const flushBytes = 64 << 10

// output gathers what is written and bounds it.
type output struct {
	to      io.Writer
	name    string // for errors
	buf     []byte
	allowed int64 // bytes that may still be written
}

// flushFull writes once enough is gathered.
func (o *output) flushFull() error {
	if len(o.buf) < flushBytes {
		return nil
	}
	return o.flush()
}

func (o *output) flush() error {
	if int64(len(o.buf)) > o.allowed {
		return fmt.Errorf("%w: %s", ErrOutputTooLarge, o.name)
	}
	if len(o.buf) == 0 {
		return nil
	}
	if n, err := o.to.Write(o.buf); err != nil {
		return fmt.Errorf("write %s: %w", o.name, err)
	} else if n < len(o.buf) {
		return fmt.Errorf("write %s: %w", o.name, io.ErrShortWrite)
	}
	o.allowed -= int64(len(o.buf))
	o.buf = o.buf[:0]
	return nil
}

// jsonLines writes good rows, see Options.Clean.
type jsonLines struct {
	output
	keys [][]byte // what stands before each value: {"a": and ,"b":
}

func newJSONLines(to io.Writer, allowed int64, names []string) *jsonLines {
	j := &jsonLines{output: output{to: to, name: "clean rows", allowed: allowed}}
	for i, name := range names {
		key := []byte{','}
		if i == 0 {
			key[0] = '{'
		}
		j.keys = append(j.keys, append(appendString(key, []byte(name)), ':'))
	}
	return j
}

// field writes the row's i-th value; literal is what column.observe said of it.
func (j *jsonLines) field(i int, value []byte, literal bool) error {
	j.buf = append(j.buf, j.keys[i]...)
	switch {
	case len(value) == 0:
		j.buf = append(j.buf, "null"...)
	case literal:
		j.buf = append(j.buf, value...)
	default:
		j.buf = appendString(j.buf, value)
	}
	return j.flushFull()
}

func (j *jsonLines) endRow() {
	j.buf = append(j.buf, '}', '\n')
}

// mustEscape holds for the bytes that a JSON string may not hold as they are (RFC 8259 §7).
var mustEscape = func() (must [256]bool) {
	for control := range 0x20 {
		must[control] = true
	}
	must['"'], must['\\'] = true, true
	return must
}()

// appendString appends valid UTF-8 as a JSON string.
func appendString(to, text []byte) []byte {
	const hex = "0123456789abcdef"
	to = append(to, '"')
	plain := 0 // where the bytes begin that need no escape
	for i, b := range text {
		if !mustEscape[b] {
			continue
		}
		to = append(to, text[plain:i]...)
		plain = i + 1
		switch b {
		case '"', '\\':
			to = append(to, '\\', b)
		case '\n':
			to = append(to, '\\', 'n')
		case '\r':
			to = append(to, '\\', 'r')
		case '\t':
			to = append(to, '\\', 't')
		default:
			to = append(to, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		}
	}
	to = append(to, text[plain:]...)
	return append(to, '"')
}

// rejects writes bad rows, see Options.Rejects.
type rejects struct {
	output
}

func newRejects(to io.Writer, allowed int64) *rejects {
	return &rejects{output{to: to, name: "rejects", allowed: allowed, buf: []byte("line,reason,text\n")}}
}

func (r *rejects) row(line int64, reason Reason, text []byte) error {
	r.buf = strconv.AppendInt(r.buf, line, 10)
	r.buf = append(r.buf, ',')
	r.buf = append(r.buf, reason...)
	r.buf = append(r.buf, ',', '"')
	if formula(text) {
		r.buf = append(r.buf, '\'')
	}
	for len(text) > 0 {
		char, size := utf8.DecodeRune(text)
		text = text[size:]
		switch char {
		case '"':
			r.buf = append(r.buf, '"', '"')
		case 0:
			r.buf = append(r.buf, "\uFFFD"...)
		default: // a byte that is no UTF-8 has been decoded as U+FFFD
			r.buf = utf8.AppendRune(r.buf, char)
		}
		if err := r.flushFull(); err != nil {
			return err
		}
	}
	r.buf = append(r.buf, '"', '\n')
	return nil
}

// Inert returns text as a cell that no spreadsheet takes for a formula: one that begins like a formula has
// an apostrophe in front (OWASP, CSV injection).
func Inert(text string) string {
	if formula(text) {
		return "'" + text
	}
	return text
}

// formula reports whether a spreadsheet may take text for a formula: by its first character, which may
// also be a full-width one.
func formula[T string | []byte](text T) bool {
	first, _ := utf8.DecodeRuneInString(string(text[:min(len(text), utf8.UTFMax)]))
	return strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) && len(text) > 0
}
