package guard

import (
	"context"
	"errors"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
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
	// Weights are what objects cost that are dear to load, what is asked of them aside; 1.
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

// limiter is the executor extension: shape before validation, cost after it.
type limiter struct {
	limits    Limits
	documents *Documents
	estimate  estimate
}

func (*limiter) ExtensionName() string { return "Limits" }

// Validate measures the schema, which says how long its introspection lists are.
func (l *limiter) Validate(schema graphql.ExecutableSchema) error {
	var err error
	l.estimate, err = newEstimate(schema.Schema(), l.limits)
	return err
}

// MutateOperationParameters refuses a document whose shape is too much. A document in the cache has
// passed before. Others are parsed here and again by the executor, which offers no place between its
// parser and its validator; parsing 1,000 tokens takes a tenth of a millisecond.
func (l *limiter) MutateOperationParameters(ctx context.Context, request *graphql.RawParams) *gqlerror.Error {
	if _, known := l.documents.Get(ctx, request.Query); known {
		return nil
	}
	if len(request.Query) > l.limits.Bytes {
		return exceeded("bytes", l.limits.Bytes, float64(len(request.Query)), "document", nil)
	}
	document, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: request.Query}, l.limits.Tokens)
	if err != nil {
		return l.parseError(err)
	}
	return checkShape(document, l.limits)
}

func (l *limiter) parseError(err error) *gqlerror.Error {
	var syntax *gqlerror.Error
	if !errors.As(err, &syntax) {
		return refusal(CodeBadInput, err.Error(), "")
	}
	if strings.HasPrefix(syntax.Message, parserTooLong) {
		return exceeded("tokens", l.limits.Tokens, 0, "document", nil)
	}
	syntax.Extensions = map[string]any{"code": CodeBadInput}
	return syntax
}

// MutateOperationContext refuses an operation that would cost too much with its variables.
func (l *limiter) MutateOperationContext(_ context.Context, operation *graphql.OperationContext) *gqlerror.Error {
	return l.estimate.check(operation.Operation, operation.Variables)
}
