package csvprofile

import (
	"bytes"
	"io"
)

// chunkBytes is the first size of the read buffer, and what it may hold beyond the largest row.
const chunkBytes = 256 << 10

// scanner splits delimited text into rows, RFC 4180 §2 with the recovery of the package comment. A row
// that does not yet end in the buffer is parsed again once the buffer holds more; the buffer doubles
// when a row takes more than half of it, so that costs at most a constant factor.
type scanner struct {
	src        io.Reader
	buf        []byte // buf[start:end] is read and not yet consumed
	start, end int
	atEOF      bool  // src has ended
	skipping   bool  // the rest of the line at start belongs to a bad row
	line       int64 // the line at start; the first is 1

	delimiter byte
	unquoted  *stops // delimiter, quote, CR, LF
	inQuotes  *stops // quote, CR, LF
	spans     []span // the fields of the row parsed last, at most maxSpans
	unescaped []byte // the field that value returned last, when it held quotes

	maxSpans, maxField, maxRecord int
	firstRoom                     int // the first size of buf, chunkBytes
}

// span is where a field's content stands in its row.
type span struct {
	start, end int32
	escaped    bool // holds "" for "
}

// record is one row; its bytes are good until the next call of next.
type record struct {
	line   int64  // where it begins
	raw    []byte // without the line end; of a malformed row the first line, at most maxRecord bytes
	fields int    // how many, which may be more than there are spans
	reason Reason // why it is malformed, or ""
}

func newScanner(src io.Reader, o Options) *scanner {
	return &scanner{
		src: src, line: 1, firstRoom: chunkBytes,
		maxSpans: o.MaxColumns, maxField: o.MaxFieldBytes, maxRecord: o.MaxRecordBytes,
	}
}

// setDelimiter comes before the first call of next.
func (s *scanner) setDelimiter(delimiter byte) {
	s.delimiter = delimiter
	s.unquoted = newStops(delimiter, '"', '\n', '\r')
	s.inQuotes = newStops('"', '"', '\n', '\r')
}

// peek returns at most n bytes of what is buffered, and whether that is all there is.
func (s *scanner) peek(n int) (text []byte, whole bool) {
	text = s.buf[s.start:s.end]
	if len(text) > n {
		return text[:n], false
	}
	return text, s.atEOF
}

// next returns the next row, skipping blank lines, or io.EOF.
func (s *scanner) next() (record, error) {
	for {
		if s.skipping {
			if err := s.skipLine(); err != nil {
				return record{}, err
			}
		}
		row := s.parse()
		switch {
		case row.verdict == unfinished && s.atEOF:
			return record{}, io.EOF // only an empty buffer is unfinished at the end
		case row.verdict == unfinished:
			if err := s.fill(); err != nil {
				return record{}, err
			}
		case row.verdict == malformed:
			return s.firstLine(row)
		default:
			found := record{line: s.line, raw: s.buf[s.start : s.start+row.length], fields: row.fields}
			s.start += row.length + row.lineEnd
			s.line += int64(row.lines)
			if row.length > 0 {
				return found, nil
			}
		}
	}
}

// verdict is how a parse ended.
type verdict uint8

const (
	unfinished verdict = iota // the buffer ends before the row does
	complete
	malformed
)

// parsed is what parse found at the start of the buffer.
type parsed struct {
	verdict verdict
	reason  Reason // of a malformed row
	length  int    // of a complete row, without its line end
	lineEnd int    // 0 at the end of the file, 1, or 2 for CRLF
	lines   int    // how many lines the row takes
	fields  int
}

// parse reads one row at the start of the buffered text and leaves its fields in s.spans. The verdict
// does not depend on how much is buffered: each limit is checked before the byte beyond it is judged.
func (s *scanner) parse() parsed {
	text := s.buf[s.start:s.end]
	if len(text) == 0 {
		return parsed{verdict: unfinished}
	}
	s.spans = s.spans[:0]
	row := parsed{lines: 1}
	at := 0
	for {
		limit := min(at+s.maxField, s.maxRecord)
		field := span{start: int32(at)}
		if at < len(text) && text[at] == '"' {
			field.start++
			quoted := s.quoted(text, at+1, limit)
			if quoted.verdict != complete {
				return parsed{verdict: quoted.verdict, reason: quoted.reason}
			}
			field.end, field.escaped = int32(quoted.end), quoted.escaped
			row.lines += quoted.lines
			at = quoted.end + 1
		} else {
			at = s.unquoted.next(text, at)
			field.end = int32(at)
		}
		if at > limit {
			return parsed{verdict: malformed, reason: TooLarge}
		}
		if at == len(text) && !s.atEOF {
			return parsed{verdict: unfinished}
		}
		row.fields++
		if len(s.spans) < s.maxSpans {
			s.spans = append(s.spans, field)
		}
		if at < len(text) && text[at] == s.delimiter {
			at++
			continue
		}
		return s.endRow(text, at, field, row)
	}
}

// endRow judges the byte after a row's last field, or the end of the file.
func (s *scanner) endRow(text []byte, at int, field span, row parsed) parsed {
	row.verdict, row.length = complete, at
	switch {
	case at == len(text):
		return row
	case text[at] == '\n':
		row.lineEnd = 1
		return row
	case text[at] == '\r':
		if at+1 == len(text) && !s.atEOF {
			return parsed{verdict: unfinished} // LF may follow
		}
		row.lineEnd = lineEndBytes(text[at:])
		return row
	case int(field.end) < at: // the closing quote stands between
		return parsed{verdict: malformed, reason: TextAfterQuote}
	}
	return parsed{verdict: malformed, reason: BareQuote}
}

// quotedField is what quoted found; end is where the closing quote stands.
type quotedField struct {
	verdict verdict
	reason  Reason
	end     int
	escaped bool
	lines   int // line ends inside
}

// quoted reads the inside of a quoted field from at, where the opening quote has been passed.
func (s *scanner) quoted(text []byte, at, limit int) quotedField {
	var field quotedField
	for {
		at = s.inQuotes.next(text, at)
		switch {
		case at > limit || at >= len(text) && len(text) > limit:
			return quotedField{verdict: malformed, reason: TooLarge}
		case at >= len(text) && s.atEOF:
			return quotedField{verdict: malformed, reason: UnterminatedQuote}
		case at >= len(text):
			return quotedField{verdict: unfinished}
		case text[at] != '"':
			field.lines++
			at += lineEndBytes(text[at:])
		case at+1 < len(text) && text[at+1] == '"':
			field.escaped = true
			at += 2
		default: // closed, or so it seems: at the end of the buffer parse asks for more
			field.verdict, field.end = complete, at
			return field
		}
	}
}

// lineEndBytes is the length of the line end that text begins with.
func lineEndBytes(text []byte) int {
	if len(text) > 1 && text[0] == '\r' && text[1] == '\n' {
		return 2
	}
	return 1
}

// firstLine consumes the first line of a malformed row and returns it, cut to maxRecord bytes.
func (s *scanner) firstLine(row parsed) (record, error) {
	for {
		text := s.buf[s.start:s.end]
		length := bytes.IndexAny(text, "\r\n")
		if length < 0 && len(text) <= s.maxRecord && !s.atEOF {
			if err := s.fill(); err != nil {
				return record{}, err
			}
			continue
		}
		if length < 0 {
			length = len(text)
		}
		length = min(length, s.maxRecord)
		s.start += length
		s.skipping = true // consumes the line end too, once this row's bytes are no longer needed
		return record{line: s.line, raw: text[:length], reason: row.reason}, nil
	}
}

// skipLine consumes what is left of a line, its end included.
func (s *scanner) skipLine() error {
	for {
		text := s.buf[s.start:s.end]
		at := bytes.IndexAny(text, "\r\n")
		if at < 0 {
			at = len(text)
		}
		s.start += at
		text = text[at:]
		undecided := len(text) == 0 || len(text) == 1 && text[0] == '\r'
		if !undecided || s.atEOF {
			s.start += min(len(text), lineEndBytes(text))
			s.line++
			s.skipping = false
			return nil
		}
		if err := s.fill(); err != nil {
			return err
		}
	}
}

// fill moves what is not consumed to the front and reads until the buffer is full or src ends. It
// always makes room, up to maxRecord and one chunk, where every row is either complete or too large.
func (s *scanner) fill() error {
	kept := s.end - s.start
	room := s.buf
	if kept >= len(s.buf)/2 && len(s.buf) < s.maxRecord+chunkBytes {
		room = make([]byte, min(max(2*len(s.buf), s.firstRoom), s.maxRecord+chunkBytes))
	}
	copy(room, s.buf[s.start:s.end])
	s.buf = room
	s.start, s.end = 0, kept
	idle := 0
	for s.end < len(s.buf) && !s.atEOF {
		n, err := s.src.Read(s.buf[s.end:])
		s.end += n
		switch {
		case err == io.EOF:
			s.atEOF = true
		case err != nil:
			return err
		case n > 0:
			idle = 0
		default:
			if idle++; idle == 100 {
				return io.ErrNoProgress
			}
		}
	}
	return nil
}

// value returns the content of the i-th field of the row that next returned last, given its raw text.
// It is good until the next call of value or next.
func (s *scanner) value(raw []byte, i int) []byte {
	field := &s.spans[i]
	content := raw[field.start:field.end]
	if field.escaped {
		return s.unescape(content)
	}
	return content
}

// unescape makes one quote of each two.
func (s *scanner) unescape(content []byte) []byte {
	s.unescaped = s.unescaped[:0]
	for {
		quote := bytes.IndexByte(content, '"')
		if quote < 0 {
			s.unescaped = append(s.unescaped, content...)
			return s.unescaped
		}
		s.unescaped = append(s.unescaped, content[:quote+1]...)
		content = content[quote+2:]
	}
}
