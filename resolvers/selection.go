package resolvers

import (
	"context"
	"slices"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"gatehouse/graph"
	"gatehouse/internal/page"
	"gatehouse/queue"
)

// jobSelection is what an operation asks of a list of jobs. A field under @skip or @include counts as
// asked for, and one that is not known here as all of them: the list may bring too much, never too little.
type jobSelection struct {
	queue.Want
	edges   bool
	cursors bool // of the edges
	ends    bool // the page's first and last cursor
}

func selectionOf(set ast.SelectionSet) jobSelection {
	var s jobSelection
	eachField(set, func(f *ast.Field) {
		switch f.Name {
		case "__typename":
		case "nodes":
			s.Fields |= jobFields(f.SelectionSet)
		case "edges":
			s.edges = true
			eachField(f.SelectionSet, s.edge)
		case "pageInfo":
			eachField(f.SelectionSet, func(f *ast.Field) {
				s.ends = s.ends || f.Name == "startCursor" || f.Name == "endCursor"
			})
		case "totalCount":
			s.Total = true
		default:
			s = jobSelection{queue.Want{Fields: queue.Everything, Total: true}, true, true, true}
		}
	})
	return s
}

func (s *jobSelection) edge(f *ast.Field) {
	switch f.Name {
	case "__typename":
	case "node":
		s.Fields |= jobFields(f.SelectionSet)
	case "cursor":
		s.cursors = true
	default:
		s.Fields, s.cursors = queue.Everything, true
	}
}

// jobFields returns what must be read for a selection of Job.
func jobFields(set ast.SelectionSet) (fields queue.Fields) {
	eachField(set, func(f *ast.Field) {
		switch f.Name {
		case "__typename", "id", "attempts", "steps": // the last are found by the id
		case "artifacts": // found by the id too; kind and owner say who may see them
			fields |= queue.WithKind | queue.WithOwner
		case "owner":
			fields |= queue.WithOwner
		case "kind":
			fields |= queue.WithKind
		case "workflow":
			fields |= queue.WithParent
		case "queue":
			fields |= queue.WithQueue
		case "state":
			fields |= queue.WithState
		case "priority":
			fields |= queue.WithPriority
		case "progress":
			fields |= progressFields(f.SelectionSet)
		case "sequence":
			fields |= queue.WithSequence
		case "attempt":
			fields |= queue.WithAttempt
		case "maxAttempts":
			fields |= queue.WithMaxAttempts
		case "input":
			fields |= queue.WithInput
		case "result":
			fields |= queue.WithResult | queue.WithKind | queue.WithOwner
		case "error":
			fields |= queue.WithError
		case "createdAt":
			fields |= queue.WithCreatedAt
		case "runAt":
			fields |= queue.WithRunAt
		case "startedAt":
			fields |= queue.WithStartedAt
		case "finishedAt":
			fields |= queue.WithFinishedAt
		case "expiresAt":
			fields |= queue.WithExpiresAt
		default:
			fields = queue.Everything
		}
	})
	return fields
}

func progressFields(set ast.SelectionSet) (fields queue.Fields) {
	eachField(set, func(f *ast.Field) {
		switch f.Name {
		case "__typename":
		case "stage":
			fields |= queue.WithStage
		default:
			fields |= queue.WithProgress
		}
	})
	return fields
}

// eachField calls visit for each field of set, those of its fragments included.
func eachField(set ast.SelectionSet, visit func(*ast.Field)) {
	for _, selected := range set {
		switch s := selected.(type) {
		case *ast.Field:
			visit(s)
		case *ast.InlineFragment:
			eachField(s.SelectionSet, visit)
		case *ast.FragmentSpread:
			eachField(s.Definition.SelectionSet, visit) // the validation has found it, and no circle
		}
	}
}

// connection makes of a page what the operation asks of it.
func (s jobSelection) connection(found page.Page[*queue.Excerpt], order queue.OrderField) *graph.JobConnection {
	c := &graph.JobConnection{
		Nodes: make([]*queue.Job, len(found.Items)), TotalCount: found.Total,
		PageInfo: &graph.PageInfo{HasNextPage: found.HasNext, HasPreviousPage: found.HasPrev},
	}
	for i, e := range found.Items {
		c.Nodes[i] = (*queue.Job)(e) // the executor reads what jobFields has found, and no more
	}
	if s.edges {
		c.Edges = make([]*graph.JobEdge, len(c.Nodes))
		for i, j := range c.Nodes {
			c.Edges[i] = &graph.JobEdge{Node: j}
			if s.cursors {
				c.Edges[i].Cursor = found.Items[i].Cursor(order).String()
			}
		}
	}
	if n := len(found.Items); s.ends && n > 0 {
		first, last := found.Items[0].Cursor(order).String(), found.Items[n-1].Cursor(order).String()
		c.PageInfo.StartCursor, c.PageInfo.EndCursor = &first, &last
	}
	return c
}

// arguments tells the field that is resolved, and what is wanted of it, from others of the operation: one
// place in a document has one set of arguments.
func arguments(ctx context.Context, want any) any {
	type place struct {
		field *ast.Field
		want  any
	}
	return place{graphql.GetFieldContext(ctx).Field.Field, want}
}

// asks reports whether the object that is resolved is asked for field.
func asks(ctx context.Context, field string) bool {
	return slices.Contains(graphql.CollectAllFields(ctx), field)
}
