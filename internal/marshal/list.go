package marshal

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
)

// List writes the elements of a list one after the other. gqlgen starts a goroutine for each, which
// costs more than most elements; the generator of this project puts List in its place, except where
// each element waits for a loader.
func List(ctx context.Context, length int, element func(ctx context.Context, i int) graphql.Marshaler) graphql.Array {
	array := make(graphql.Array, length)
	places := make([]int, length)
	contexts := make([]graphql.FieldContext, length)
	for i := range array {
		places[i] = i
		contexts[i].Index = &places[i]
		array[i] = one(graphql.WithFieldContext(ctx, &contexts[i]), i, element)
	}
	return array
}

// one writes an element; a panic blanks it and becomes an error of the answer.
func one(ctx context.Context, i int, element func(ctx context.Context, i int) graphql.Marshaler) (m graphql.Marshaler) {
	defer func() {
		if p := recover(); p != nil {
			graphql.AddError(ctx, graphql.Recover(ctx, p))
			m = graphql.Null
		}
	}()
	return element(ctx, i)
}

// Leaves writes a list of enums or scalars.
func Leaves(length int, element func(i int) graphql.Marshaler) graphql.Array {
	array := make(graphql.Array, length)
	for i := range array {
		array[i] = element(i)
	}
	return array
}
