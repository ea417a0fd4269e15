package marshal

import (
	"bytes"
	"context"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// Plan remembers for a document that is served again and again which fields each of its selections
// has for each type of object: fragments spread, equal fields merged. What depends on variables, by
// a directive, is collected anew for each request. It is good for use by several goroutines.
type Plan struct {
	known atomic.Pointer[map[selection][]graphql.CollectedField]

	size   atomic.Int64 // bytes of the largest answer of late
	mu     sync.Mutex
	stable map[*ast.Selection]bool // where lists of selections begin that stay as long as the plan
	room   int                     // fields that may still be remembered
}

// selection is a list of selections, taken for a type of object.
type selection struct {
	first *ast.Selection
	count int
	of    *string // first of the names that the type satisfies
}

// NewPlan returns the plan of a validated document, which remembers at most most fields.
func NewPlan(document *ast.QueryDocument, most int) *Plan {
	p := &Plan{stable: make(map[*ast.Selection]bool), room: most}
	for _, operation := range document.Operations {
		p.keep(operation.SelectionSet)
	}
	p.known.Store(&map[selection][]graphql.CollectedField{})
	return p
}

func (p *Plan) keep(set ast.SelectionSet) {
	if len(set) > 0 {
		p.stable[&set[0]] = true
	}
}

// Fields returns the fields that set selects of an object that satisfies the named types. The result
// is shared: it must not be changed. A nil plan remembers nothing.
func (p *Plan) Fields(operation *graphql.OperationContext, set ast.SelectionSet, satisfies []string) []graphql.CollectedField {
	if p == nil || len(set) == 0 || len(satisfies) == 0 {
		return graphql.CollectFields(operation, set, satisfies)
	}
	key := selection{&set[0], len(set), &satisfies[0]}
	if fields, ok := (*p.known.Load())[key]; ok {
		return fields
	}
	fields := graphql.CollectFields(operation, set, satisfies)
	if !conditional(operation.Doc, set, nil) {
		p.remember(key, fields)
	}
	return fields
}

func (p *Plan) remember(key selection, fields []graphql.CollectedField) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := *p.known.Load()
	if _, ok := known[key]; ok || !p.stable[key.first] || len(fields) > p.room {
		return
	}
	p.room -= len(fields)
	for _, field := range fields {
		p.keep(field.Selections)
	}
	larger := make(map[selection][]graphql.CollectedField, len(known)+1)
	maps.Copy(larger, known)
	larger[key] = fields
	p.known.Store(&larger)
}

// conditional reports whether the fields of set depend on a directive; seen holds the fragments looked into.
func conditional(document *ast.QueryDocument, set ast.SelectionSet, seen map[string]bool) bool {
	for _, selected := range set {
		switch node := selected.(type) {
		case *ast.Field:
			if len(node.Directives) > 0 {
				return true
			}
		case *ast.InlineFragment:
			if len(node.Directives) > 0 || conditional(document, node.SelectionSet, seen) {
				return true
			}
		case *ast.FragmentSpread:
			if len(node.Directives) > 0 {
				return true
			}
			if seen[node.Name] {
				continue
			}
			if seen == nil {
				seen = make(map[string]bool)
			}
			seen[node.Name] = true
			if fragment := document.Fragments.ForName(node.Name); fragment != nil && conditional(document, fragment.SelectionSet, seen) {
				return true
			}
		}
	}
	return false
}

// The room that an answer is given to begin with, in bytes.
const (
	usualAnswer = 512
	largeAnswer = 64 << 10
)

// Marshal writes data into a buffer of the size that answers to this document have had.
func (p *Plan) Marshal(data graphql.Marshaler) []byte {
	size := int64(usualAnswer)
	if p != nil {
		size = max(p.size.Load(), 64)
	}
	buffer := bytes.NewBuffer(make([]byte, 0, size))
	data.MarshalGQL(buffer)
	if p != nil {
		p.expect(size, int64(buffer.Len()))
	}
	return buffer.Bytes()
}

// expect grows with the answers at once, and shrinks with them slowly.
func (p *Plan) expect(given, used int64) {
	if used <= given && used > given/2 || used > largeAnswer {
		return
	}
	if used <= given {
		used = given - given/8
	}
	p.size.Store(used)
}

type planKey struct{}

// WithPlan returns ctx with the plan of the operation's document.
func WithPlan(ctx context.Context, p *Plan) context.Context {
	return context.WithValue(ctx, planKey{}, p)
}

// PlanOf returns the plan of the operation of ctx, nil when its document has none.
func PlanOf(ctx context.Context) *Plan {
	p, _ := ctx.Value(planKey{}).(*Plan)
	return p
}
