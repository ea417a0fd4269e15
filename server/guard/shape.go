package guard

import (
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// checkShape bounds what validating and executing a parsed document may cost. It needs no schema, and
// its own work is linear in the document save for the reach, which stops at its bound. A fragment
// cycle is left to validation, which names it.
func checkShape(document *ast.QueryDocument, limits Limits) *gqlerror.Error {
	s := survey{document: document, repeats: make(map[string]int), fragments: make(map[string]*definition)}
	if err := s.measureDefinitions(); err != nil {
		return err
	}
	if err := s.checkRepeats(); err != nil {
		return err
	}
	if err := s.checkReach(); err != nil {
		return err
	}
	for _, operation := range document.Operations {
		if err := s.checkOperation(operation, limits); err != nil {
			return err
		}
	}
	return nil
}

// survey is one pass over a document.
type survey struct {
	document   *ast.QueryDocument
	operations []*definition
	fragments  map[string]*definition // the first of each name, as validation does
	all        []*definition
	repeats    map[string]int // response name → how often it is written
}

// definition is what is written in one operation or fragment, its spreads not followed.
type definition struct {
	where    string
	selected ast.SelectionSet
	nodes    int      // selections, directives, arguments and values
	spreads  []string // names, repeated as written
	extent   extent   // with spreads followed; valid when done
	state    state
}

type state uint8

const (
	fresh state = iota
	entered
	done
)

func (s *survey) measureDefinitions() *gqlerror.Error {
	for _, operation := range s.document.Operations {
		d := &definition{where: title(operation), selected: operation.SelectionSet}
		s.operations, s.all = append(s.operations, d), append(s.all, d)
		w := writing{survey: s, definition: d}
		w.name(operation.Name, operation.Position)
		w.variables(operation.VariableDefinitions)
		w.directives(operation.Directives)
		w.selections(operation.SelectionSet, 1)
		if w.err != nil {
			return w.err
		}
	}
	for _, fragment := range s.document.Fragments {
		d := &definition{where: "fragment " + fragment.Name, selected: fragment.SelectionSet}
		if s.fragments[fragment.Name] == nil {
			s.fragments[fragment.Name] = d
		}
		s.all = append(s.all, d)
		w := writing{survey: s, definition: d}
		w.name(fragment.Name, fragment.Position)
		w.name(fragment.TypeCondition, fragment.Position)
		w.variables(fragment.VariableDefinition)
		w.directives(fragment.Directives)
		w.selections(fragment.SelectionSet, 1)
		if w.err != nil {
			return w.err
		}
	}
	return nil
}

// checkRepeats bounds the pairs of fields that may have to merge: validation compares each pair of
// fields with one response name, whole subtrees at a time.
func (s *survey) checkRepeats() *gqlerror.Error {
	pairs := 0
	for name, times := range s.repeats {
		if pairs += times * times; pairs > maxRepeats {
			return exceeded("repeatedFields", maxRepeats, float64(pairs), "fields named "+name, nil)
		}
	}
	return nil
}

// checkReach bounds the nodes that validation walks: each definition walks every fragment it reaches, once.
func (s *survey) checkReach() *gqlerror.Error {
	total := 0
	for _, start := range s.all {
		reached := map[*definition]bool{start: true}
		queue := []*definition{start}
		for len(queue) > 0 {
			d := queue[len(queue)-1]
			queue = queue[:len(queue)-1]
			if total += d.nodes + 1; total > maxReach {
				return exceeded("fragments", maxReach, float64(total), start.where, nil)
			}
			for _, name := range d.spreads {
				if next := s.fragments[name]; next != nil && !reached[next] {
					reached[next] = true
					queue = append(queue, next)
				}
			}
		}
	}
	return nil
}

// extent is what a selection set spans with its fragments spread.
type extent struct {
	depth, meta          int // levels of fields, and of those under __schema and __type
	deepest, metaDeepest *ast.Position
	aliases, directives  int
	fields               int // at this level, inline and spread ones included, __typename not
}

// beside adds the extent of a fragment spread at this level.
func (e *extent) beside(other extent) {
	if other.depth > e.depth {
		e.depth, e.deepest = other.depth, other.deepest
	}
	if other.meta > e.meta {
		e.meta, e.metaDeepest = other.meta, other.metaDeepest
	}
	e.aliases = saturated(e.aliases + other.aliases)
	e.directives = saturated(e.directives + other.directives)
	e.fields = saturated(e.fields + other.fields)
}

// saturated stops a count from overflowing when fragments double it at each step.
func saturated(n int) int { return min(n, 1<<30) }

func (s *survey) span(set ast.SelectionSet) extent {
	var e extent
	for _, selection := range set {
		switch node := selection.(type) {
		case *ast.Field:
			e.beside(s.spanField(node))
		case *ast.InlineFragment:
			e.beside(s.span(node.SelectionSet))
			e.directives = saturated(e.directives + len(node.Directives))
		case *ast.FragmentSpread:
			e.beside(s.spanFragment(node.Name))
			e.directives = saturated(e.directives + len(node.Directives))
		}
	}
	return e
}

func (s *survey) spanField(field *ast.Field) extent {
	e := s.span(field.SelectionSet)
	e.directives = saturated(e.directives + len(field.Directives))
	e.fields = 1
	if field.Name == "__typename" {
		e.fields = 0
	}
	if field.Alias != field.Name {
		e.aliases = saturated(e.aliases + 1)
	}
	if field.Name == "__schema" || field.Name == "__type" {
		e.meta, e.metaDeepest = 1+max(e.depth, e.meta), field.Position
		e.depth, e.deepest = 1, field.Position
		return e
	}
	e.depth = saturated(e.depth + 1)
	if e.deepest == nil {
		e.deepest = field.Position
	}
	return e
}

// spanFragment measures a fragment once. A fragment inside itself counts for nothing: validation refuses it.
func (s *survey) spanFragment(name string) extent {
	d := s.fragments[name]
	if d == nil || d.state == entered {
		return extent{}
	}
	if d.state == fresh {
		d.state = entered
		d.extent = s.span(d.selected)
		d.state = done
	}
	return d.extent
}

func (s *survey) checkOperation(operation *ast.OperationDefinition, limits Limits) *gqlerror.Error {
	e := s.span(operation.SelectionSet)
	e.directives = saturated(e.directives + len(operation.Directives))
	where := title(operation)
	switch {
	case e.depth > limits.Depth:
		return exceeded("depth", limits.Depth, float64(e.depth), where, e.deepest)
	case e.meta > limits.IntrospectionDepth:
		return exceeded("introspectionDepth", limits.IntrospectionDepth, float64(e.meta), where, e.metaDeepest)
	case e.aliases > limits.Aliases:
		return exceeded("aliases", limits.Aliases, float64(e.aliases), where, operation.Position)
	case e.directives > limits.Directives:
		return exceeded("directives", limits.Directives, float64(e.directives), where, operation.Position)
	case operation.Operation == ast.Mutation && e.fields > limits.MutationFields:
		return exceeded("mutationFields", limits.MutationFields, float64(e.fields), where, operation.Position)
	}
	return nil
}
