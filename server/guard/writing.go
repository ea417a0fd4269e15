package guard

import (
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// writing walks what is written in one definition and keeps the first limit it exceeds. The parser
// bounds the recursion at 1,000.
type writing struct {
	survey     *survey
	definition *definition
	inline     int // inline fragments open since the last field
	err        *gqlerror.Error
}

func (w *writing) refuse(limit string, most, seen int, at *ast.Position) {
	if w.err == nil {
		w.err = exceeded(limit, most, float64(seen), w.definition.where, at)
	}
}

func (w *writing) name(name string, at *ast.Position) {
	if len(name) > maxNameBytes {
		w.refuse("nameBytes", maxNameBytes, len(name), at)
	}
}

func (w *writing) selections(set ast.SelectionSet, nesting int) {
	for _, selection := range set {
		if w.err != nil {
			return
		}
		w.definition.nodes++
		switch node := selection.(type) {
		case *ast.Field:
			w.field(node, nesting)
		case *ast.InlineFragment:
			w.name(node.TypeCondition, node.Position)
			w.directives(node.Directives)
			w.inlined(node, nesting)
		case *ast.FragmentSpread:
			w.name(node.Name, node.Position)
			w.directives(node.Directives)
			w.definition.spreads = append(w.definition.spreads, node.Name)
		}
	}
}

func (w *writing) field(field *ast.Field, nesting int) {
	w.survey.repeats[field.Alias]++
	w.name(field.Alias, field.Position)
	w.name(field.Name, field.Position)
	w.arguments(field.Arguments)
	w.directives(field.Directives)
	outer := w.inline
	w.inline = 0
	w.nested(field.SelectionSet, nesting, field.Position)
	w.inline = outer
}

// inlined bounds inline fragments directly inside another: validation compares the fields in them once
// for each.
func (w *writing) inlined(fragment *ast.InlineFragment, nesting int) {
	if w.inline++; w.inline > maxInline {
		w.refuse("inlineNesting", maxInline, w.inline, fragment.Position)
		return
	}
	w.nested(fragment.SelectionSet, nesting, fragment.Position)
	w.inline--
}

func (w *writing) nested(set ast.SelectionSet, nesting int, at *ast.Position) {
	if len(set) == 0 {
		return
	}
	if nesting++; nesting > maxNesting {
		w.refuse("nesting", maxNesting, nesting, at)
		return
	}
	w.selections(set, nesting)
}

func (w *writing) directives(list ast.DirectiveList) {
	for _, directive := range list {
		w.definition.nodes++
		w.name(directive.Name, directive.Position)
		w.arguments(directive.Arguments)
	}
}

func (w *writing) arguments(list ast.ArgumentList) {
	for _, argument := range list {
		w.name(argument.Name, argument.Position)
		w.value(argument.Value, 0)
	}
}

func (w *writing) value(value *ast.Value, nesting int) {
	if value == nil || w.err != nil {
		return
	}
	w.definition.nodes++
	switch value.Kind {
	case ast.EnumValue, ast.Variable:
		w.name(value.Raw, value.Position)
	case ast.ListValue, ast.ObjectValue:
		if nesting++; nesting > maxLiterals {
			w.refuse("literalNesting", maxLiterals, nesting, value.Position)
			return
		}
		for _, child := range value.Children {
			w.name(child.Name, child.Position)
			w.value(child.Value, nesting)
		}
	}
}

func (w *writing) variables(list ast.VariableDefinitionList) {
	for _, variable := range list {
		w.definition.nodes++
		w.name(variable.Variable, variable.Position)
		w.typeReference(variable.Type)
		w.value(variable.DefaultValue, 0)
		w.directives(variable.Directives)
	}
}

func (w *writing) typeReference(reference *ast.Type) {
	for nesting := 0; reference != nil; nesting++ {
		if nesting > maxLiterals {
			w.refuse("literalNesting", maxLiterals, nesting, reference.Position)
			return
		}
		w.name(reference.NamedType, reference.Position)
		reference = reference.Elem
	}
}
