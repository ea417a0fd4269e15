package marshal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"pgregory.net/rapid"
)

const planSchema = `
interface Node { id: ID! }
interface Named { id: ID! name: String }
type User implements Node & Named { id: ID! name: String friend: User }
type Job implements Node { id: ID! kind: String owner: User }
type Query { me: User job: Job node: Node }
`

// anyDocument draws a valid document with fragments, aliases and directives.
func anyDocument(t *rapid.T) string {
	var set func(of string, depth int) string
	set = func(of string, depth int) string {
		fields := map[string][]string{"User": {"id", "name"}, "Job": {"id", "kind"}, "Node": {"id"}}[of]
		var b strings.Builder
		b.WriteString("{__typename")
		for range rapid.IntRange(0, 4).Draw(t, "fields") {
			directive := rapid.SampledFrom([]string{"", "", "", " @include(if: $yes)", " @skip(if: $no)"}).Draw(t, "directive")
			switch name := rapid.SampledFrom(append([]string{"deep", "inline", "spread"}, fields...)).Draw(t, "field"); {
			case name == "deep" && of == "User" && depth > 0:
				fmt.Fprintf(&b, " friend%s%s", directive, set("User", depth-1))
			case name == "deep" && of == "Job" && depth > 0:
				fmt.Fprintf(&b, " owner%s%s", directive, set("User", depth-1))
			case name == "inline" && depth > 0:
				fmt.Fprintf(&b, " ...on Node%s%s", directive, set("Node", depth-1))
			case name == "spread":
				fmt.Fprintf(&b, " ...F%s%s", of, directive)
			case name != "deep" && name != "inline":
				fmt.Fprintf(&b, " %s%s", name, directive)
			}
		}
		return b.String() + "}"
	}
	return "query Q($yes: Boolean! $no: Boolean!){__typename @include(if: $yes) @skip(if: $no) me" + set("User", 3) + " job" + set("Job", 3) + " node" + set("Node", 2) +
		" ...on Query{me{...FUser} job{...FJob} node{...FNode}}} fragment FUser on User" + set("Node", 0) +
		" fragment FJob on Job{kind owner{...FUser}} fragment FNode on Node{id ...on Job{kind}}"
}

var planTypes = map[string][]string{"Query": {"Query"}, "User": {"User", "Node", "Named"}, "Job": {"Job", "Node"}}

// walk collects all fields below set as a client would get them, by collect.
func walk(of string, set ast.SelectionSet, collect func(ast.SelectionSet, []string) []graphql.CollectedField) string {
	var b strings.Builder
	for _, field := range collect(set, planTypes[of]) {
		b.WriteString(field.Alias)
		for _, next := range map[string][]string{"me": {"User"}, "job": {"Job"}, "node": {"User", "Job"}, "owner": {"User"}, "friend": {"User"}}[field.Name] {
			b.WriteString("{" + walk(next, field.Selections, collect) + "}")
		}
		b.WriteByte(' ')
	}
	return b.String()
}

func TestAPlanGivesTheFieldsThatCollectingThemGives(t *testing.T) {
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: planSchema})
	rapid.Check(t, func(t *rapid.T) {
		text := anyDocument(t)
		document, err := gqlparser.LoadQueryWithRules(schema, text, nil)
		if err != nil {
			t.Skip(err)
		}
		plan := NewPlan(document, rapid.SampledFrom([]int{0, 10, 1000}).Draw(t, "room"))
		set := document.Operations[0].SelectionSet
		for range 4 {
			variables := map[string]any{"yes": rapid.Bool().Draw(t, "yes"), "no": rapid.Bool().Draw(t, "no")}
			fresh := func() *graphql.OperationContext {
				return &graphql.OperationContext{Doc: document, Variables: variables}
			}
			one, other := fresh(), fresh()
			got := walk("Query", set, func(s ast.SelectionSet, of []string) []graphql.CollectedField { return plan.Fields(one, s, of) })
			want := walk("Query", set, func(s ast.SelectionSet, of []string) []graphql.CollectedField {
				return graphql.CollectFields(other, s, of)
			})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s\nwith %v (-gqlgen +plan):\n%s", text, variables, diff)
			}
		}
	})
}

func TestAPlanRemembersAndKeepsItsBound(t *testing.T) {
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: planSchema})
	document, errs := gqlparser.LoadQueryWithRules(schema, "{me{id name friend{id}} job{id kind}}", nil)
	if errs != nil {
		t.Fatal(errs)
	}
	operation := &graphql.OperationContext{Doc: document}
	for room, want := range map[int]int{0: 0, 2: 1, 5: 2, 100: 4} {
		plan := NewPlan(document, room)
		for range 3 {
			walk("Query", document.Operations[0].SelectionSet, func(s ast.SelectionSet, of []string) []graphql.CollectedField {
				return plan.Fields(operation, s, of)
			})
		}
		if got := len(*plan.known.Load()); got != want {
			t.Errorf("with room for %d fields the plan remembers %d selections, want %d", room, got, want)
		}
	}
}

func TestAnObjectIsWrittenAsGqlgenWritesIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.StringMatching(`[_a-z][a-zA-Z0-9_]{0,3}`), 0, 20).Draw(t, "names")
		fields := make([]graphql.CollectedField, len(names))
		for i, name := range names {
			fields[i] = graphql.CollectedField{Field: &ast.Field{Name: name, Alias: name}}
		}
		ours, theirs := NewObject(fields), graphql.NewFieldSet(fields)
		for i := range names {
			word := rapid.String().Draw(t, "value")
			ours.Values[i], theirs.Values[i] = MarshalText(word), graphql.MarshalString(word)
		}
		var got, want bytes.Buffer
		ours.MarshalGQL(&got)
		theirs.MarshalGQL(&want)
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			t.Errorf("(-gqlgen +ours):\n%s", diff)
		}
	})
}

func TestAFieldThatPanicsIsNullAndTheOthersStand(t *testing.T) {
	operation := &graphql.OperationContext{RecoverFunc: func(context.Context, any) error { return errors.New("masked") }}
	ctx := graphql.WithResponseContext(t.Context(), graphql.DefaultErrorPresenter, operation.RecoverFunc)
	object := NewObject([]graphql.CollectedField{{Field: &ast.Field{Alias: "a"}}, {Field: &ast.Field{Alias: "b"}}, {Field: &ast.Field{Alias: "c"}}})
	object.Values[0] = MarshalText("x")
	object.Resolve(operation, 1, false, func(context.Context) graphql.Marshaler { panic("no") })
	object.Resolve(operation, 2, true, func(context.Context) graphql.Marshaler { return MarshalText("y") })
	object.Dispatch(ctx)
	var got bytes.Buffer
	object.MarshalGQL(&got)
	if want := `{"a":"x","b":null,"c":"y"}`; got.String() != want || object.Invalids != 0 {
		t.Errorf("got %s with %d invalid fields, want %s", &got, object.Invalids, want)
	}
	if errs := graphql.GetErrors(ctx); len(errs) != 1 || errs[0].Message != "masked" {
		t.Errorf("got errors %v", errs)
	}
}
