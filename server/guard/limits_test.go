package guard

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"pgregory.net/rapid"
)

func TestADocumentIsRefusedByTheLimitItExceedsAndNotBefore(t *testing.T) {
	nest := func(field, leaf string, levels int) string {
		return strings.Repeat(field+"{", levels) + leaf + strings.Repeat("}", levels)
	}
	aliases := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "a%d:id ", i)
		}
		return "{me{" + b.String() + "}}"
	}
	for _, c := range []struct{ name, document, limit string }{
		{"a plain query", "{me{id}}", ""},
		{"ten levels", "{" + nest("me", "", 0) + "me{" + nest("self", "id", 8) + "}}", ""},
		{"eleven levels", "{me{" + nest("self", "id", 9) + "}}", "depth"},
		{"eleven levels by fragments", "{me{...A}} fragment A on User{" + nest("self", "...B", 5) + "} fragment B on User{" + nest("self", "id", 4) + "}", "depth"},
		{"eleven levels in the second operation", "query A{me{id}} query B{me{" + nest("self", "id", 9) + "}}", "depth"},
		{"introspection of fifteen levels", "{__type(name:\"User\"){" + nest("ofType", "name", 13) + "}}", ""},
		{"introspection of sixteen levels", "{__type(name:\"User\"){" + nest("ofType", "name", 14) + "}}", "introspectionDepth"},
		{"introspection levels by a fragment", "{__type(name:\"User\"){...T}} fragment T on __Type{" + nest("ofType", "name", 14) + "}", "introspectionDepth"},
		{"fifteen aliases", aliases(15), ""},
		{"sixteen aliases", aliases(16), "aliases"},
		{"aliases of a fragment count each time it is spread", "{me{...F sessions{user{...F}} self{...F manager{...F}}}} fragment F on User{a:id b:id c:id d:id}", "aliases"},
		{"an alias equal to its name is none", "{me{" + strings.Repeat("id:id ", 16) + "}}", ""},
		{"thirty directives", "{me{id" + strings.Repeat(" name@include(if:true)", 30) + "}}", ""},
		{"thirty-one directives", "{me{id" + strings.Repeat(" name@include(if:true)", 31) + "}}", "directives"},
		{"five root fields of a mutation", "mutation{a:logout{user{id}} b:logout{user{id}} c:logout{user{id}} d:logout{user{id}} logout{user{id}} __typename}", ""},
		{"six root fields of a mutation", "mutation{a:logout{user{id}} b:logout{user{id}} c:logout{user{id}} d:logout{user{id}} e:logout{user{id}} logout{user{id}}}", "mutationFields"},
		{"six root fields by a fragment", "mutation{...F a:logout{user{id}} b:logout{user{id}} c:logout{user{id}}} fragment F on Mutation{d:logout{user{id}} ...{e:logout{user{id}} f:logout{user{id}}}}", "mutationFields"},
		{"six root fields of a query", "{a:me{id} b:me{id} c:me{id} d:me{id} e:me{id} me{id}}", ""},
		{"a page within the cost", "{jobs(first:100){nodes{id kind state owner{id name}}}}", ""},
		{"a page in a page", "{jobs(first:100){nodes{owner{jobs(first:100){totalCount}}}}}", "cost"},
		{"a last page in a page", "{jobs(last:100){nodes{owner{jobs(last:100){totalCount}}}}}", "cost"},
		{"pages of default length", "{jobs{nodes{owner{jobs{nodes{id}}}}}}", ""},
		{"pages of default length, one more", "{jobs{nodes{owner{jobs{nodes{owner{jobs{nodes{id}}}}}}}}}", "cost"},
		{"a page larger than any", "{jobs(first:99999999999999999999){nodes{id}}}", "-"},
		{"too many tokens", "{me{" + strings.Repeat("id ", 1000) + "}}", "tokens"},
		{"too many tokens in comments", "{me{id" + strings.Repeat("#\n", 1000) + "}}", "tokens"},
		{"too long", "{me{id}}" + strings.Repeat(" ", 128<<10), "bytes"},
		{"the same field again and again", "{me{" + strings.Repeat("id ", 101) + "}}", "repeatedFields"},
		{"four inline fragments inside another", "{me{" + strings.Repeat("...{", 4) + "id" + strings.Repeat("}", 5) + "}", ""},
		{"five inline fragments inside another", "{me{" + strings.Repeat("...{", 5) + "id" + strings.Repeat("}", 6) + "}", "inlineNesting"},
		{"inline fragments at each level", "{me{" + strings.Repeat("...{...{self{", 9) + "id" + strings.Repeat("}}}", 9) + "}}", "nesting"},
		{"a long name", "{me{" + strings.Repeat("a", 129) + "}}", "nameBytes"},
		{"a deep value", "{jobs(filter:{matrix:" + strings.Repeat("[", 8) + strings.Repeat("]", 8) + "}){totalCount}}", "literalNesting"},
		{"a deep type", "query($a:" + strings.Repeat("[", 9) + "Int" + strings.Repeat("]", 9) + "){me{id}}", "literalNesting"},
	} {
		t.Run(c.name, func(t *testing.T) {
			exec := newExecutor(t, Options{Introspection: everyone})
			errs := prepareText(exec, c.document)
			if c.limit == "-" { // refused by validation, and that without a limit
				if len(errs) == 0 || errs[0].Extensions["limit"] != nil {
					t.Fatalf("got %v, want a validation error", errs)
				}
				return
			}
			if got := limitOf(t, errs); got != c.limit {
				t.Fatalf("got limit %q (%v), want %q\n%s", got, errs, c.limit, c.document)
			}
		})
	}
}

func TestARefusalSaysWhatTheLimitIsWhatWasSeenAndWhere(t *testing.T) {
	exec := newExecutor(t, Options{})
	errs := prepareText(exec, "query Deep {\n me{"+strings.Repeat("self{", 11)+"id"+strings.Repeat("}", 11)+"}}")
	if limitOf(t, errs) != "depth" {
		t.Fatalf("got %v", errs)
	}
	e := errs[0].Extensions
	if e["max"] != 10 || e["seen"] != 13 || e["where"] != "query Deep" {
		t.Errorf("got extensions %v", e)
	}
	if len(errs[0].Locations) != 1 || errs[0].Locations[0].Line != 2 {
		t.Errorf("got locations %v, want line 2", errs[0].Locations)
	}
}

func TestTheCostCountsVariables(t *testing.T) {
	exec := newExecutor(t, Options{})
	const document = "query Q($n:Int,$m:Int=1,$ids:[ID!]!){jobs(first:$n){nodes{owner{jobs(first:$m){nodes{id}}}}} nodes(ids:$ids){id}}"
	for _, c := range []struct{ name, values, limit string }{
		{"small pages", `{"n":10,"m":10,"ids":["a"]}`, ""},
		{"large pages", `{"n":100,"m":100,"ids":["a"]}`, "cost"},
		{"more than the largest page counts as that", `{"n":1000000,"ids":["a"]}`, ""},
		{"null is the default page", `{"n":null,"m":null,"ids":["a"]}`, ""},
		{"many ids", `{"n":1,"ids":[` + strings.Repeat(`"a",`, 5000) + `"a"]}`, "cost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, errs := prepare(exec, graphql.RawParams{Query: document, Variables: variables(t, c.values)})
			if got := limitOf(t, errs); got != c.limit {
				t.Fatalf("got %q (%v), want %q", got, errs, c.limit)
			}
		})
	}
}

func TestADocumentInTheCacheKeepsItsLimits(t *testing.T) {
	exec := newExecutor(t, Options{})
	const document = "query($n:Int){jobs(first:$n){nodes{owner{jobs(first:$n){nodes{id}}}}}}"
	for range 3 {
		if _, errs := prepare(exec, graphql.RawParams{Query: document, Variables: variables(t, `{"n":2}`)}); errs != nil {
			t.Fatalf("got %v", errs)
		}
		if _, errs := prepare(exec, graphql.RawParams{Query: document, Variables: variables(t, `{"n":100}`)}); limitOf(t, errs) != "cost" {
			t.Fatalf("got %v, want the cost refused", errs)
		}
	}
}

func TestWrongDocumentsGetNoNamesSuggestedInProduction(t *testing.T) {
	documents := []string{"{mee{id}}", "{jobs(firts:1){totalCount}}", "{...on Uzer{id}}", "{jobs(filter:{state:RUNING}){totalCount}}", "{jobs(filter:{stat:1}){totalCount}}", "{me}"}
	quiet, talking := newExecutor(t, Options{}), newExecutor(t, Options{Suggestions: true})
	for _, document := range documents {
		errs := prepareText(quiet, document)
		if errs == nil || strings.Contains(errs.Error(), "Did you mean") {
			t.Errorf("%s: got %v, want an error without suggestion", document, errs)
		}
	}
	if errs := prepareText(talking, "{mee{id}}"); !strings.Contains(errs.Error(), "Did you mean") {
		t.Errorf("got %v, want a suggestion in development", errs)
	}
}

func TestIntrospectionIsForThoseWhoMay(t *testing.T) {
	type key struct{}
	exec := newExecutor(t, Options{Introspection: func(ctx context.Context) bool { return ctx.Value(key{}) != nil }})
	for _, c := range []struct {
		name, document string
		refused        bool
	}{
		{"the schema", "{__schema{queryType{name}}}", true},
		{"a type in a fragment", "{...F} fragment F on Query{...{__type(name:\"User\"){name}}}", true},
		{"the type name", "{__typename me{__typename}}", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			errs := prepareText(exec, c.document)
			if refused := errs != nil && errs[0].Extensions["code"] == CodeForbidden && errs[0].Extensions["hint"] != nil; refused != c.refused {
				t.Fatalf("got %v, want refused %v", errs, c.refused)
			}
			ctx := context.WithValue(graphql.StartOperationTrace(context.Background()), key{}, true)
			operation, errs := exec.CreateOperationContext(ctx, &graphql.RawParams{Query: c.document})
			if errs != nil || operation.DisableIntrospection == c.refused {
				t.Fatalf("allowed viewer: got %v, introspection disabled %v", errs, operation.DisableIntrospection)
			}
		})
	}
}

// drawDocument is a valid document of nested users in fragments, with what it spans by the plain,
// exponential definition of spreading.
func drawDocument(t *rapid.T) (text string, depth, aliases int) {
	count := rapid.IntRange(1, 4).Draw(t, "fragments")
	depths, aliased := make([]int, count), make([]int, count)
	bodies := make([]string, count)
	for i := count - 1; i >= 0; i-- { // a fragment spreads only later ones
		var b strings.Builder
		b.WriteString("id ")
		depths[i] = 1
		for k := range rapid.IntRange(0, 3).Draw(t, "selections") {
			var spread string
			inner, more := 1, 0
			if later := i + 1 + rapid.IntRange(0, 2).Draw(t, "later"); later < count {
				spread, inner, more = fmt.Sprintf("...F%d ", later), depths[later], aliased[later]
			}
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				fmt.Fprintf(&b, "a%d_%d:self{id %s} ", i, k, spread)
				aliased[i]++
				depths[i] = max(depths[i], inner+1)
			case 1:
				fmt.Fprintf(&b, "self{id %s} ", spread)
				depths[i] = max(depths[i], inner+1)
			default:
				fmt.Fprintf(&b, "...{id %s} ", spread)
				depths[i] = max(depths[i], inner)
			}
			aliased[i] += more
		}
		bodies[i] = fmt.Sprintf("fragment F%d on User{%s}", i, b.String())
	}
	return "{me{...F0}} " + strings.Join(bodies, " "), 1 + depths[0], aliased[0]
}

func TestFragmentsCountAsIfTheyWereWrittenOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, depth, aliases := drawDocument(t)
		document, err := parser.ParseQuery(&ast.Source{Input: text})
		if err != nil {
			t.Fatal(err)
		}
		s := survey{document: document, repeats: map[string]int{}, fragments: map[string]*definition{}}
		if err := s.measureDefinitions(); err != nil {
			t.Fatal(err)
		}
		if got := s.span(document.Operations[0].SelectionSet); got.depth != depth || got.aliases != aliases {
			t.Fatalf("got depth %d and %d aliases, want %d and %d\n%s", got.depth, got.aliases, depth, aliases, text)
		}
	})
}

func FuzzEveryDocumentIsAnswered(f *testing.F) {
	for _, document := range attacks() {
		if len(document) < 4096 {
			f.Add(document)
		}
	}
	exec := newExecutor(f, Options{Introspection: everyone})
	f.Fuzz(func(t *testing.T, document string) {
		operation, errs := prepare(exec, graphql.RawParams{Query: document})
		if len(errs) == 0 && operation.Operation == nil {
			t.Fatalf("got neither an operation nor an error for %q", document)
		}
	})
}

func TestALongListIsPricedByItsOwnLength(t *testing.T) {
	exec := newExecutor(t, Options{Limits: Limits{ListSizes: map[string]int{"User.sessions": 200}}})
	for document, limit := range map[string]string{
		"{me{sessions{id device}}}":                               "",
		"{jobs(first:10){nodes{owner{sessions{id device}}}}}":     "",
		"{jobs(first:20){nodes{owner{sessions{id device ip}}}}}":  "cost",
		"{jobs(first:100){nodes{owner{factors{id name}}}}}":       "",
		"{jobs(first:100){nodes{owner{s:sessions{id}}}}}":         "cost",
		"{jobs(first:100){nodes{owner{...{sessions{...{id}}}}}}}": "cost",
	} {
		if got := limitOf(t, prepareText(exec, document)); got != limit {
			t.Errorf("%s: got limit %q, want %q", document, got, limit)
		}
	}
}

func TestAConnectionWithoutPagesIsPricedAsAList(t *testing.T) {
	exec := newExecutor(t, Options{Limits: Limits{ListSizes: map[string]int{"User.keys": 50}}})
	for document, limit := range map[string]string{
		"{me{keys{nodes{id name}}}}":                           "",
		"{jobs(first:30){nodes{owner{keys{nodes{id name}}}}}}": "",
		"{jobs(first:40){nodes{owner{keys{nodes{id name}}}}}}": "cost",
	} {
		if got := limitOf(t, prepareText(exec, document)); got != limit {
			t.Errorf("%s: got limit %q, want %q", document, got, limit)
		}
	}
}

func TestAFieldThatIsDearCostsItsWeight(t *testing.T) {
	exec := newExecutor(t, Options{Limits: Limits{Weights: map[string]int{"Job.result": 40, "Job.kind": 30}}})
	for document, limit := range map[string]string{
		"{jobs(first:100){nodes{result{...on CsvSummary{rows}}}}}":                                                            "",
		"{a:jobs(first:100){nodes{result{...on CsvSummary{rows}}}} b:jobs(first:100){nodes{result{...on CsvSummary{rows}}}}}": "cost",
		"{a:jobs(first:100){nodes{progress{done}}} b:jobs(first:100){nodes{progress{done}}}}":                                 "",
		"{jobs(first:100){nodes{kind}}}":           "",
		"{jobs(first:100){nodes{kind also:kind}}}": "cost",
	} {
		if got := limitOf(t, prepareText(exec, document)); got != limit {
			t.Errorf("%s: got limit %q, want %q", document, got, limit)
		}
	}
}
