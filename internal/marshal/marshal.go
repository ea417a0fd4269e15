// Package marshal reads and writes the schema's own scalars, and writes lists in sequence.
package marshal

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
)

// maxLong is the largest whole number that JavaScript holds exactly: 2^53.
const maxLong = 1 << 53

// bad says that a client's value is none of its scalar.
func bad(message string) error { return fault.New(fault.BadUserInput, "", message) }

// MarshalTime writes a moment in RFC 3339 form in UTC; the zero time is null.
func MarshalTime(t time.Time) graphql.Marshaler {
	if t.IsZero() {
		return graphql.Null
	}
	return graphql.WriterFunc(func(w io.Writer) {
		var buffer [40]byte
		text := append(buffer[:0], '"')
		text = t.UTC().AppendFormat(text, time.RFC3339Nano)
		_, _ = w.Write(append(text, '"')) // the executor's buffer does not fail
	})
}

// UnmarshalTime reads RFC 3339.
func UnmarshalTime(v any) (time.Time, error) {
	text, ok := v.(string)
	if !ok {
		return time.Time{}, bad("A Time is a text in RFC 3339 form, e.g. 2026-01-31T09:30:00Z.")
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Year() < 1970 || t.Year() > 9998 {
		return time.Time{}, bad(fmt.Sprintf("%.40q is not a Time in RFC 3339 form, e.g. 2026-01-31T09:30:00Z.", text))
	}
	return t.UTC(), nil
}

// MarshalLong writes a whole number.
func MarshalLong(n int64) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) {
		var buffer [20]byte
		_, _ = w.Write(strconv.AppendInt(buffer[:0], n, 10))
	})
}

// UnmarshalLong reads a whole number from 0 to 2^53.
func UnmarshalLong(v any) (int64, error) {
	n, err := graphql.UnmarshalInt64(v)
	if err != nil || n < 0 || n > maxLong {
		return 0, bad("A Long is a whole number from 0 to 2^53.")
	}
	return n, nil
}

// MarshalJSON writes any JSON value as it is; nothing becomes null.
func MarshalJSON(raw json.RawMessage) graphql.Marshaler {
	if len(raw) == 0 {
		return graphql.Null
	}
	return graphql.WriterFunc(func(w io.Writer) { _, _ = w.Write(raw) })
}

// UnmarshalJSON takes any JSON value.
func UnmarshalJSON(v any) (json.RawMessage, error) { return json.Marshal(v) }

// MarshalUpload is there because a scalar has both ways; uploads are never sent out.
func MarshalUpload(*blob.Upload) graphql.Marshaler { return graphql.Null }

// UnmarshalUpload takes the file that the transport has stored in place of the variable.
func UnmarshalUpload(v any) (*blob.Upload, error) {
	staged, ok := v.(Staged)
	if !ok {
		return nil, bad("An Upload is sent as a part of a multipart request: see the GraphQL multipart request specification.")
	}
	return staged.Upload, nil
}

// Staged is a received file as it stands in the variables. It is no pointer, because the executor
// dereferences variables that are.
type Staged struct{ Upload *blob.Upload }

// Keep reports whether a resolver has claimed the file.
func (s Staged) Keep() bool { return s.Upload.Kept() }
