package guard

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// introspection opens __schema and __type to those who may see them, and tells others where the schema
// stands. __typename is open to all.
type introspection struct {
	allowed func(context.Context) bool
}

func (i introspection) check(ctx context.Context, operation *graphql.OperationContext) *gqlerror.Error {
	if !introspects(operation.Operation.SelectionSet, nil) {
		return nil
	}
	if i.allowed == nil || !i.allowed(ctx) {
		return refusal(CodeForbidden, "Introspection is not open to this viewer.", "The schema stands at /schema.graphql.")
	}
	operation.DisableIntrospection = false
	return nil
}

// introspects looks for __schema and __type among the root fields, in fragments too; seen holds the
// fragments looked into.
func introspects(set ast.SelectionSet, seen map[string]bool) bool {
	for _, selection := range set {
		switch node := selection.(type) {
		case *ast.Field:
			if node.Name == "__schema" || node.Name == "__type" {
				return true
			}
		case *ast.InlineFragment:
			if seen == nil {
				seen = make(map[string]bool)
			}
			if introspects(node.SelectionSet, seen) {
				return true
			}
		case *ast.FragmentSpread:
			if node.Definition == nil || seen[node.Name] {
				continue
			}
			if seen == nil {
				seen = make(map[string]bool)
			}
			seen[node.Name] = true
			if introspects(node.Definition.SelectionSet, seen) {
				return true
			}
		}
	}
	return false
}
