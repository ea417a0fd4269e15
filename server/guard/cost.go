package guard

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	standard "github.com/99designs/gqlgen/graphql/introspection"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// estimate says what executing an operation may cost, in fields. A field costs one, and what is under
// a list counts once for each element the list may have.
type estimate struct {
	limits Limits
	// lengths are the mean lengths of this schema's introspection lists, "__Type.fields" → 6.2.
	lengths map[string]float64
	// introspection is the most an introspection may cost: half more than the query every tool sends.
	introspection float64
}

// newEstimate measures a schema. Its standard introspection query always stays allowed.
func newEstimate(schema *ast.Schema, limits Limits) (estimate, error) {
	e := estimate{limits: limits, lengths: introspectionLengths(schema)}
	document, errs := gqlparser.LoadQueryWithRules(schema, standard.NewQuery(standard.QueryOptions{OneOf: true}), nil)
	if errs != nil {
		return estimate{}, fmt.Errorf("measure the introspection query: %w", errs)
	}
	c := costing{estimate: &e}
	e.introspection = 1.5 * c.set(document.Operations[0].SelectionSet).meta
	return e, nil
}

func introspectionLengths(schema *ast.Schema) map[string]float64 {
	var fields, inputFields, enumValues, arguments, locations, directiveArguments int
	for _, definition := range schema.Types {
		enumValues += len(definition.EnumValues)
		if definition.Kind == ast.InputObject {
			inputFields += len(definition.Fields)
			continue
		}
		fields += len(definition.Fields)
		for _, field := range definition.Fields {
			arguments += len(field.Arguments)
		}
	}
	for _, directive := range schema.Directives {
		locations += len(directive.Locations)
		directiveArguments += len(directive.Arguments)
	}
	mean := func(sum, count int) float64 { return float64(sum) / float64(max(count, 1)) }
	types, directives := len(schema.Types), len(schema.Directives)
	return map[string]float64{
		"__Schema.types":        float64(types),
		"__Schema.directives":   float64(directives),
		"__Type.fields":         mean(fields, types),
		"__Type.inputFields":    mean(inputFields, types),
		"__Type.enumValues":     mean(enumValues, types),
		"__Type.interfaces":     1,
		"__Type.possibleTypes":  1,
		"__Field.args":          mean(arguments, fields),
		"__Directive.args":      mean(directiveArguments, directives),
		"__Directive.locations": mean(locations, directives),
	}
}

// check refuses an operation that costs too much with these variables. It is linear in the document.
func (e *estimate) check(operation *ast.OperationDefinition, variables map[string]any) *gqlerror.Error {
	c := costing{estimate: e, variables: variables}
	total := c.set(operation.SelectionSet)
	if total.data > float64(e.limits.Cost) {
		return exceeded("cost", e.limits.Cost, total.data, c.where(operation), operation.Position)
	}
	if total.meta > e.introspection {
		return exceeded("introspectionCost", int(e.introspection), total.meta, title(operation), operation.Position)
	}
	return nil
}

// cost is what a selection set costs: fields of the data, and fields under __schema and __type.
type cost struct{ data, meta float64 }

type costing struct {
	estimate  *estimate
	variables map[string]any
	fragments map[string]cost
}

func (c *costing) set(set ast.SelectionSet) cost {
	var sum cost
	for _, selection := range set {
		var one cost
		switch node := selection.(type) {
		case *ast.Field:
			one = c.field(node)
		case *ast.InlineFragment:
			one = c.set(node.SelectionSet)
		case *ast.FragmentSpread:
			one = c.fragment(node)
		}
		sum.data += one.data
		sum.meta += one.meta
	}
	return sum
}

func (c *costing) field(field *ast.Field) cost {
	if len(field.SelectionSet) == 0 {
		return cost{data: c.weight(field)}
	}
	inner := c.set(field.SelectionSet)
	if field.Name == "__schema" || field.Name == "__type" {
		return cost{data: 1, meta: 1 + inner.data + inner.meta}
	}
	length := c.length(field)
	return cost{data: c.weight(field) + length*inner.data, meta: length * inner.meta}
}

// fragment is measured once; a validated document has no cycles.
func (c *costing) fragment(spread *ast.FragmentSpread) cost {
	if known, ok := c.fragments[spread.Name]; ok {
		return known
	}
	if spread.Definition == nil {
		return cost{}
	}
	sum := c.set(spread.Definition.SelectionSet)
	if c.fragments == nil {
		c.fragments = make(map[string]cost)
	}
	c.fragments[spread.Name] = sum
	return sum
}

// weight is what the field itself costs: to load its object, to work out its value.
func (c *costing) weight(field *ast.Field) float64 {
	if field.ObjectDefinition == nil {
		return 1
	}
	return float64(max(1, c.estimate.limits.Weights[field.ObjectDefinition.Name+"."+field.Name]))
}

// length says how many elements the field may answer with; 1 for what is no list.
func (c *costing) length(field *ast.Field) float64 {
	definition, parent := field.Definition, field.ObjectDefinition
	if definition == nil || parent == nil {
		return 1
	}
	if strings.HasPrefix(parent.Name, "__") {
		if length, ok := c.estimate.lengths[parent.Name+"."+field.Name]; ok {
			return length
		}
		return 1
	}
	if definition.Arguments.ForName("first") != nil || definition.Arguments.ForName("last") != nil {
		return c.page(field)
	}
	if strings.HasSuffix(parent.Name, "Connection") {
		return 1 // the connection's own field has multiplied already
	}
	if definition.Type.Elem == nil && !strings.HasSuffix(definition.Type.NamedType, "Connection") {
		return 1
	}
	if ids := field.Arguments.ForName("ids"); ids != nil {
		return float64(max(1, c.elements(ids.Value)))
	}
	if size, ok := c.estimate.limits.ListSizes[parent.Name+"."+field.Name]; ok {
		return float64(size)
	}
	return float64(c.estimate.limits.ListSize)
}

// page is the larger of first and last, never above the server's largest page.
func (c *costing) page(field *ast.Field) float64 {
	most := -1
	for _, name := range []string{"first", "last"} {
		if argument := field.Arguments.ForName(name); argument != nil {
			most = max(most, c.number(argument.Value))
		}
	}
	if most < 0 {
		most = c.estimate.limits.PageSize
	}
	return float64(min(most, c.estimate.limits.MaxPageSize))
}

// number is the value of an Int argument, -1 when it is null or not given. What is too large for an int
// counts as the largest page.
func (c *costing) number(value *ast.Value) int {
	if value.Kind == ast.NullValue {
		return -1
	}
	text := value.Raw
	if value.Kind == ast.Variable {
		switch given := c.variables[value.Raw].(type) {
		case nil:
			return -1
		case int:
			return given
		case int64:
			return int(given)
		case json.Number:
			text = given.String()
		case string:
			text = given
		default:
			return c.estimate.limits.MaxPageSize
		}
	}
	number, err := strconv.Atoi(text)
	if err != nil {
		return c.estimate.limits.MaxPageSize
	}
	return number
}

func (c *costing) elements(value *ast.Value) int {
	switch value.Kind {
	case ast.ListValue:
		return len(value.Children)
	case ast.Variable:
		if list, ok := c.variables[value.Raw].([]any); ok {
			return len(list)
		}
	}
	return 1
}

// where names the operation and its dearest root field.
func (c *costing) where(operation *ast.OperationDefinition) string {
	dearest, most := "", -1.0
	for _, selection := range operation.SelectionSet {
		if field, ok := selection.(*ast.Field); ok {
			if cost := c.field(field).data; cost > most {
				dearest, most = field.Alias, cost
			}
		}
	}
	if dearest == "" {
		return title(operation)
	}
	return title(operation) + ", field " + dearest
}
