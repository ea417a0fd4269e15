package guard

import (
	"errors"
	"strings"

	"github.com/vektah/gqlparser/v2/gqlerror"
)

// Limits bound one document. A zero field takes the default its comment names. Fragments count each
// time they are spread, save where a comment says otherwise.
type Limits struct {
	Bytes              int // of text, since block strings are dear to read: long data belongs in variables; 128 KiB
	Tokens             int // lexical tokens, comments included; 1,000
	Depth              int // fields inside fields; 10
	IntrospectionDepth int // the same under __schema and __type; 15
	Aliases            int // aliased fields of an operation; 15
	Directives         int // directives of an operation; 30
	MutationFields     int // root fields of a mutation; 5
	Cost               int // fields executed, lists multiplied by their length; 5,000
	PageSize           int // length of a list without first or last, but able to take one; 20
	MaxPageSize        int // the most that first or last count for; 100
	ListSize           int // length of a list that takes neither and that ListSizes does not name; 5
	// ListSizes are the lengths of lists that may be much longer than ListSize, by "Type.field".
	ListSizes map[string]int
	// Weights are what fields cost that are dear to load or to work out, what is asked of them aside; 1.
	Weights map[string]int
}

// What only an attacker reaches; each bounds a term of the work that validation does.
const (
	maxNesting    = 25     // selection sets inside each other, inline fragments included, in one definition
	maxInline     = 4      // inline fragments inside each other without a field between
	maxNameBytes  = 128    // a name, since suggestions compare names letter by letter
	maxLiterals   = 8      // lists and objects inside each other in a value or a type
	maxRepeats    = 10_000 // sum of the squares of how often each response name is written
	maxReach      = 6_000  // nodes walked: each definition walks all fragments it reaches
	parserTooLong = "exceeded token limit"
)

func (l Limits) withDefaults() Limits {
	for _, field := range []struct {
		value    *int
		fallback int
	}{
		{&l.Bytes, 128 << 10},
		{&l.Tokens, 1000},
		{&l.Depth, 10},
		{&l.IntrospectionDepth, 15},
		{&l.Aliases, 15},
		{&l.Directives, 30},
		{&l.MutationFields, 5},
		{&l.Cost, 5000},
		{&l.PageSize, 20},
		{&l.MaxPageSize, 100},
		{&l.ListSize, 5},
	} {
		if *field.value <= 0 {
			*field.value = field.fallback
		}
	}
	return l
}

func parseError(err error, limits Limits) *gqlerror.Error {
	var syntax *gqlerror.Error
	if !errors.As(err, &syntax) {
		return refusal(CodeBadInput, err.Error(), "")
	}
	if strings.HasPrefix(syntax.Message, parserTooLong) {
		return exceeded("tokens", limits.Tokens, 0, "document", nil)
	}
	syntax.Extensions = map[string]any{"code": CodeBadInput}
	return syntax
}
