package marshal

import (
	"bytes"
	"io"

	"github.com/99designs/gqlgen/graphql"
)

// MarshalText writes a String, an ID or an enum value. It does what graphql.MarshalString does, and the
// generator of this project puts it in that place: a text that needs no escapes is copied whole.
func MarshalText(s string) graphql.Marshaler { return quoted(s) }

type quoted string

// MarshalGQL implements graphql.Marshaler.
func (q quoted) MarshalGQL(w io.Writer) {
	buffer, ok := w.(*bytes.Buffer)
	if !ok || !plain(string(q)) {
		graphql.MarshalString(string(q)).MarshalGQL(w)
		return
	}
	buffer.WriteByte('"')
	buffer.WriteString(string(q))
	buffer.WriteByte('"')
}

// plain reports whether s is valid UTF-8 without what JSON escapes, as far as a byte tells: what is not ASCII is not plain.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
