// Package csvprofile reads a CSV of any size once and says what is in it.
//
// # What it gives
//
// Profile returns a Summary: the rows, each column with its name, inferred type, least and greatest
// value, empty and distinct counts, and the bad rows with line number and reason. On the way it writes
// each good row as one JSON object a line (JSON Lines) and each bad row to a second CSV. It holds no
// state between calls and draws no random numbers: the same bytes give the same Summary and the same
// output, whatever pieces they arrive in, so a job may run it twice.
//
// # What it accepts
//
// RFC 4180 with these choices. A row ends at LF, CRLF or a lone CR; inside quotes all three are data.
// Spaces belong to the field. Lines without any byte are skipped. Every row must have as many fields
// as the header, or without a header as many as the first good row. Text is UTF-8 with or without a
// byte order mark, UTF-16 with one, or windows-1252 when the first 64 KiB are plainly that; the last
// two are converted and Summary.Encoding says so. Anything else is refused with one of the errors below.
//
// # Recovery
//
// A quote inside an unquoted field, text after a closing quote, a quote open at the end of the file
// and a field or row above its limit make a malformed row. It costs its first line only: reading
// resumes at the line that follows. A stray quote therefore never swallows the file. No byte is parsed
// more than twice (save for refills of the buffer): within a row every quote toggles between inside and
// outside or is an error, so a line that kept a field open from its start to its end holds an even
// number of quotes, and read on its own it can only close on itself or be malformed at once.
//
// # Bounds
//
// Memory does not grow with the file: one read buffer of Options.MaxRecordBytes and 256 KiB, one
// unescaped field, and a column at most 17 KiB. With the default limits the live heap stays under
// 32 MiB for 1,024 columns and about 3 MiB for twenty. Output is bounded by Options.MaxOutputBytes.
package csvprofile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"
)

// What a person can mend in the file or in the arguments. Each is wrapped with the particulars.
var (
	ErrEmpty          = errors.New("the file is empty")
	ErrNotCSV         = errors.New("the file is not a CSV")
	ErrEncoding       = errors.New("the file's encoding is not one of UTF-8, UTF-16 with a byte order mark, windows-1252")
	ErrHeader         = errors.New("the header row is malformed")
	ErrTooManyColumns = errors.New("the file has too many columns")
	ErrDelimiter      = errors.New("the delimiter must be one ASCII character other than a quote, a line end and NUL")
	ErrOutputTooLarge = errors.New("the rows would take more room than allowed")
)

// Defaults of Options.
const (
	DefaultMaxColumns     = 1_024
	DefaultMaxFieldBytes  = 1 << 20
	DefaultMaxRecordBytes = 4 << 20
	DefaultMaxListed      = 100
	DefaultMaxOutputBytes = 16 << 30
)

// Options say how to read and where to write. The zero value reads a file with a header, finds the
// delimiter itself and writes nothing.
type Options struct {
	// Delimiter stands between fields; 0 finds it among comma, semicolon, tab and bar.
	Delimiter rune
	// NoHeader says that the first row is data; columns are then named column_1, column_2, ….
	NoHeader bool

	// Clean receives each good row as a JSON object on a line of its own, fields in column order, in
	// UTF-8. A field that reads as a JSON literal is written as that literal: true, false, and a number
	// of at most 15 digits in its shortest form (no leading zero, no trailing zero after the point, no
	// exponent), which a float64 holds without loss. An empty field is null. All else is a string, such
	// as 007, 1.50 and 12345678901234567890. So every value gives back the very text of its field.
	Clean io.Writer
	// Rejects receives a CSV of line, reason and text, one row a bad row, in UTF-8. The text is the row
	// as it stood, at most MaxRecordBytes, made Inert; bytes that are not UTF-8, and NUL, are replaced by
	// U+FFFD.
	Rejects io.Writer
	// Progress is told the bytes read from the source so far, after each read of at most 4 MiB.
	Progress func(bytesRead int64)

	// The limits; 0 means the default above, and none may be negative.
	MaxColumns     int   // columns of the header or first row; more is ErrTooManyColumns
	MaxFieldBytes  int   // one field as written, quotes included; a larger one makes the row bad
	MaxRecordBytes int   // one row as written, at most 1 GiB; a larger one is bad
	MaxListed      int   // bad rows listed in the Summary; all are counted and written to Rejects
	MaxOutputBytes int64 // of Clean and of Rejects, each; more is ErrOutputTooLarge
}

// withDefaults fills in the limits that were left out.
func (o Options) withDefaults() (Options, error) {
	if o.MaxColumns < 0 || o.MaxFieldBytes < 0 || o.MaxRecordBytes < 0 || o.MaxListed < 0 || o.MaxOutputBytes < 0 {
		return o, errors.New("a limit is negative")
	}
	if o.MaxRecordBytes > 1<<30 {
		return o, fmt.Errorf("MaxRecordBytes is %d, above 1 GiB", o.MaxRecordBytes)
	}
	orDefault(&o.MaxColumns, DefaultMaxColumns)
	orDefault(&o.MaxFieldBytes, DefaultMaxFieldBytes)
	orDefault(&o.MaxRecordBytes, DefaultMaxRecordBytes)
	orDefault(&o.MaxListed, DefaultMaxListed)
	orDefault(&o.MaxOutputBytes, DefaultMaxOutputBytes)
	if o.Delimiter != 0 && !delimiterAllowed(o.Delimiter) {
		return o, fmt.Errorf("%w, not %q", ErrDelimiter, o.Delimiter)
	}
	return o, nil
}

func orDefault[N int | int64](limit *N, value N) {
	if *limit == 0 {
		*limit = value
	}
}

func delimiterAllowed(r rune) bool {
	return r > 0 && r < utf8.RuneSelf && r != '"' && r != '\n' && r != '\r'
}

// Summary says what a CSV holds.
type Summary struct {
	Rows      int64     `json:"rows"`          // good rows; the header is not one
	BadRows   int64     `json:"badRows"`       // all bad rows, listed or not
	Bad       []BadRow  `json:"rejects"`       // the first Options.MaxListed of them, in file order
	Columns   []Column  `json:"columns"`       // in file order
	Renamed   []Renamed `json:"renamed"`       // header names that were empty, used twice or too long
	Delimiter rune      `json:"delimiterCode"` // given or found
	Encoding  Encoding  `json:"encoding"`      // what the bytes were; all output is UTF-8
	BytesRead int64     `json:"bytes"`         // of the source, before any conversion
}

// Column is what one column holds. Min and Max are empty when no field has a value; they are compared
// as the column's type asks (TEXT by bytes) and cut to 200 bytes.
type Column struct {
	Name     string `json:"name"`
	Type     Type   `json:"type"`
	Min      string `json:"min"`
	Max      string `json:"max"`
	Empty    int64  `json:"empty"`    // fields without a byte between their delimiters or quotes
	Distinct int64  `json:"distinct"` // different non-empty values
	// DistinctIsExact holds up to 1,024 values; beyond, Distinct is a HyperLogLog estimate with a
	// standard error of 0.81 %.
	DistinctIsExact bool `json:"distinctIsExact"`
}

// Reason says why a row is bad.
type Reason string

// The reasons. The first four are malformed text, the last four are about a row that could be split.
const (
	BareQuote         Reason = "BARE_QUOTE"         // a quote inside an unquoted field
	TextAfterQuote    Reason = "TEXT_AFTER_QUOTE"   // a closing quote is followed by neither delimiter nor line end
	UnterminatedQuote Reason = "UNTERMINATED_QUOTE" // a quote is still open at the end of the file
	TooLarge          Reason = "TOO_LARGE"          // a field or the row is above its limit
	NULByte           Reason = "NUL_BYTE"           // a NUL after the first 64 KiB (before, the file is refused)
	InvalidEncoding   Reason = "INVALID_ENCODING"   // bytes that are no text in the file's encoding
	TooFewFields      Reason = "TOO_FEW_FIELDS"     // fewer fields than columns
	TooManyFields     Reason = "TOO_MANY_FIELDS"    // more fields than columns
)

// BadRow is a row that was left out. Line is where it begins; the first line is 1.
type BadRow struct {
	Line    int64  `json:"line"`
	Reason  Reason `json:"code"`
	Message string `json:"reason"`
}

// profiler is one run of Profile over one file.
type profiler struct {
	reader
	columns []column
	clean   *jsonLines // nil when nobody wants it
	rejects *rejects   // nil when nobody wants it
	summary Summary
}

// Profile reads a CSV from src until its end or until ctx ends, and writes each good row as a JSON
// line to o.Clean and each bad one to o.Rejects.
//
// ctx is looked at before each read of at most 4 MiB (256 KiB while rows are short), so its end is seen
// within 0.3 s of work at worst; a Read that blocks must be tied to ctx by whoever opened src. The
// error is then context.Cause(ctx). Otherwise it is one of the errors of this package, or what src or
// a writer returned. After an error the output is incomplete and to be thrown away.
func Profile(ctx context.Context, src io.Reader, o Options) (Summary, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Summary{}, fmt.Errorf("profile CSV: %w", err)
	}
	p := &profiler{reader: reader{options: o}}
	source := &source{ended: func() error { return ended(ctx) }, reader: src, progress: o.Progress}
	if err := p.run(source); err != nil {
		return Summary{}, fmt.Errorf("profile CSV: %w", err)
	}
	p.summary.BytesRead = source.bytesRead
	return p.summary, nil
}

// ended is nil while ctx lasts, then the reason why it ended.
func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// run takes the steps in order: encoding, delimiter, header, rows, output.
func (p *profiler) run(source io.Reader) error {
	if err := p.open(source); err != nil {
		return err
	}
	p.summary.Encoding, p.summary.Delimiter = p.encoding, p.options.Delimiter
	if p.options.Rejects != nil {
		p.rejects = newRejects(p.options.Rejects, p.options.MaxOutputBytes)
	}
	if err := p.rows(); err != nil {
		return err
	}
	for i := range p.columns {
		p.summary.Columns = append(p.summary.Columns, p.columns[i].result())
	}
	return p.flush()
}

// rows reads every row. The first well-formed one gives the columns.
func (p *profiler) rows() error {
	empty := true
	for {
		row, err := p.scan.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		empty = false
		if err := p.row(row); err != nil {
			return err
		}
	}
	if empty {
		return ErrEmpty
	}
	return nil
}

func (p *profiler) row(row record) error {
	if p.columns == nil && !p.options.NoHeader {
		return p.name(row)
	}
	reason := p.judge(row)
	if reason != "" {
		return p.reject(row, reason)
	}
	if p.columns == nil {
		if err := p.unnamed(row); err != nil {
			return err
		}
	}
	return p.accept(row)
}

// accept takes a good row into the columns and writes it.
func (p *profiler) accept(row record) error {
	p.summary.Rows++
	for i := range p.columns {
		value := p.scan.value(row.raw, i)
		literal := p.columns[i].observe(value)
		if p.clean == nil {
			continue
		}
		if err := p.clean.field(i, value, literal); err != nil {
			return err
		}
	}
	if p.clean != nil {
		p.clean.endRow()
	}
	return nil
}

// reject counts a bad row, lists the first ones and writes it.
func (p *profiler) reject(row record, reason Reason) error {
	p.summary.BadRows++
	if len(p.summary.Bad) < p.options.MaxListed {
		p.summary.Bad = append(p.summary.Bad, BadRow{Line: row.line, Reason: reason, Message: p.message(row, reason)})
	}
	if p.rejects == nil {
		return nil
	}
	return p.rejects.row(row.line, reason, row.raw)
}

func (p *profiler) flush() error {
	if p.clean != nil {
		if err := p.clean.flush(); err != nil {
			return err
		}
	}
	if p.rejects != nil {
		return p.rejects.flush()
	}
	return nil
}

// source counts the bytes that are read, tells the progress, and ends with its context.
type source struct {
	ended     func() error
	reader    io.Reader
	progress  func(bytesRead int64)
	bytesRead int64
}

// Read asks for at most 4 MiB, so that progress and cancellation are never far away.
func (s *source) Read(into []byte) (int, error) {
	if err := s.ended(); err != nil {
		return 0, err
	}
	n, err := s.reader.Read(into[:min(len(into), 4<<20)])
	if n < 0 || n > len(into) || s.bytesRead > math.MaxInt64-int64(n) {
		return 0, errors.New("the source miscounted what it read")
	}
	s.bytesRead += int64(n)
	if s.progress != nil && n > 0 {
		s.progress(s.bytesRead)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("read source: %w", err)
	}
	return n, err
}
