package csvprofile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// reader splits a CSV into rows and judges each.
type reader struct {
	options  Options
	scan     *scanner
	encoding Encoding
	width    int // how many columns there are; 0 until the first row has told
}

// open takes the first steps: encoding and delimiter.
func (r *reader) open(source io.Reader) error {
	text, encoding, err := decode(source)
	if err != nil {
		return err
	}
	r.encoding = encoding
	r.scan = newScanner(text, r.options)
	return r.chooseDelimiter()
}

// chooseDelimiter fills the buffer once, refuses what is no text, and settles the delimiter.
func (r *reader) chooseDelimiter() error {
	if err := r.scan.fill(); err != nil {
		return err
	}
	sample, whole := r.scan.peek(sampleBytes)
	if err := refuseBinary(sample); err != nil {
		return err
	}
	if r.options.Delimiter == 0 {
		r.options.Delimiter = rune(detectDelimiter(sample, whole, r.options))
	}
	r.scan.setDelimiter(byte(r.options.Delimiter))
	return nil
}

// judge returns why the row is bad, or "".
func (r *reader) judge(row record) Reason {
	switch {
	case row.reason != "":
		return row.reason
	case bytes.IndexByte(row.raw, 0) >= 0:
		return NULByte
	case !validText(row.raw, r.encoding):
		return InvalidEncoding
	case r.width > 0 && row.fields < r.width:
		return TooFewFields
	case r.width > 0 && row.fields > r.width:
		return TooManyFields
	}
	return ""
}

// message says the reason as a sentence.
func (r *reader) message(row record, reason Reason) string {
	switch reason {
	case BareQuote:
		return "A quote stands inside a field that does not begin with one."
	case TextAfterQuote:
		return "A closing quote is followed by text."
	case UnterminatedQuote:
		return "A quote is opened and never closed."
	case TooLarge:
		return fmt.Sprintf("A field is above %d bytes or the row above %d bytes.", r.options.MaxFieldBytes, r.options.MaxRecordBytes)
	case NULByte:
		return "The row holds a NUL byte."
	case InvalidEncoding:
		return fmt.Sprintf("The row is not valid %s.", r.encoding)
	}
	return fmt.Sprintf("Fields: %d; columns: %d.", row.fields, r.width)
}

// header returns the fields of the first row, which must be a good one.
func (r *reader) header(row record) ([]string, error) {
	if reason := r.judge(row); reason != "" {
		return nil, fmt.Errorf("%w: line %d: %s", ErrHeader, row.line, r.message(row, reason))
	}
	if err := r.allow(row.fields); err != nil {
		return nil, err
	}
	return r.fields(row), nil
}

func (r *reader) allow(columns int) error {
	if columns > r.options.MaxColumns {
		return fmt.Errorf("%w: %d, and %d are allowed", ErrTooManyColumns, columns, r.options.MaxColumns)
	}
	return nil
}

// fields returns what a good row holds.
func (r *reader) fields(row record) []string {
	fields := make([]string, row.fields)
	for i := range fields {
		fields[i] = string(r.scan.value(row.raw, i))
	}
	return fields
}

// Row is one row of a CSV behind its header. A bad one has a reason and no fields.
type Row struct {
	Line    int64 // where it begins; the first line of the file is 1
	Fields  []string
	Reason  Reason
	Message string // the reason as a sentence
}

// Header returns the names in the first row of a CSV, as they stand there. Errors: those of [Profile].
func Header(ctx context.Context, src io.Reader, o Options) ([]string, error) {
	_, names, err := begin(ctx, src, o)
	return names, err
}

// Each reads a CSV with a header from src until its end, until ctx ends or until a function fails: it
// calls header with the names in the first row, as they stand there, and row with each row behind it, good
// or bad. Of o it takes the delimiter, the limits and Progress. Memory and errors are as for [Profile].
func Each(ctx context.Context, src io.Reader, o Options, header func(names []string) error, row func(Row) error) error {
	r, names, err := begin(ctx, src, o)
	if err == nil {
		err = header(names)
	}
	if err != nil {
		return err
	}
	for {
		found, err := r.scan.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read CSV: %w", err)
		}
		next := Row{Line: found.line, Reason: r.judge(found)}
		if next.Reason != "" {
			next.Message = r.message(found, next.Reason)
		} else {
			next.Fields = r.fields(found)
		}
		if err := row(next); err != nil {
			return err
		}
	}
}

// begin opens a CSV and reads its header.
func begin(ctx context.Context, src io.Reader, o Options) (*reader, []string, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, nil, fmt.Errorf("read CSV: %w", err)
	}
	r := &reader{options: o}
	if err := r.open(&source{ended: func() error { return ended(ctx) }, reader: src, progress: o.Progress}); err != nil {
		return nil, nil, fmt.Errorf("read CSV: %w", err)
	}
	first, err := r.scan.next()
	if errors.Is(err, io.EOF) {
		err = ErrEmpty
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read CSV: %w", err)
	}
	names, err := r.header(first)
	if err != nil {
		return nil, nil, fmt.Errorf("read CSV: %w", err)
	}
	r.width = len(names)
	return r, names, nil
}
