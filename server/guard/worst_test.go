package guard

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	standard "github.com/99designs/gqlgen/graphql/introspection"
)

// attacks are documents built to cost as much as the token limit lets them, a row a method.
func attacks() map[string]string {
	repeat := func(n int, f func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(f(i))
			b.WriteByte(' ')
		}
		return b.String()
	}
	same := func(text string) func(int) string { return func(int) string { return text } }
	tree := func(width, depth int) string { // width copies of the same field, each with the same below
		inner := "id"
		for range depth {
			inner = strings.Repeat("self{"+inner+"} ", width)
		}
		return "{me{" + inner + "}}"
	}
	list := map[string]string{
		"one field many times":            "{me{" + repeat(990, same("id")) + "}}",
		"one field 90 times":              "{me{" + repeat(90, same("id")) + "}}",
		"fields that are not there":       "{" + repeat(900, func(i int) string { return fmt.Sprintf("nothing%d", i) }) + "}",
		"fields that are nearly there":    "{me{" + repeat(900, func(i int) string { return fmt.Sprintf("sessionss%d", i) }) + "}}",
		"long names":                      "{" + repeat(900, func(i int) string { return fmt.Sprintf("%s%d", strings.Repeat("a", 124), i) }) + "}",
		"one very long name":              "{" + strings.Repeat("a", 900_000) + "}",
		"a very long string":              `{user(id:"` + strings.Repeat("x", 900_000) + `"){id}}`,
		"a very long string of escapes":   `{user(id:"` + strings.Repeat(`\u00e9`, 150_000) + `"){id}}`,
		"a very long block string":        `{user(id:"""` + strings.Repeat(" x\n", 300_000) + `"""){id}}`,
		"a block string of long lines":    `{user(id:"""` + strings.Repeat("\n", 500_000) + strings.Repeat(" ", 400_000) + `"""){id}}`,
		"a block string within bounds":    `{user(id:"""` + strings.Repeat(" x\n", 43_000) + `"""){id}}`,
		"a block string of line ends":     `{user(id:"""` + strings.Repeat("\n", 130_000) + `"""){id}}`,
		"an escaped string within bounds": `{user(id:"` + strings.Repeat(`\u00e9`, 21_000) + `"){id}}`,
		"a very long number":              `{user(id:` + strings.Repeat("9", 900_000) + `){id}}`,
		"a wrong very long number":        `{jobs(first:` + strings.Repeat("9", 900_000) + `){totalCount}}`,
		"white space":                     `{me{id` + strings.Repeat(" \n,", 300_000) + `}}`,
		"a very long comment":             "{me{id #" + strings.Repeat("x", 900_000) + "\n}}",
		"many comments":                   "{me{id " + strings.Repeat("#x\n", 900) + "}}",
		"a byte order mark again":         strings.Repeat("\ufeff", 300_000) + "{me{id}}",
		"inline fragments inside another": "{" + strings.Repeat("...{", 24) + repeat(99, same("me{id}")) + strings.Repeat("}", 24) + "}",
		"the same inside fragments":       "{" + strings.Repeat("...{", maxInline) + repeat(70, same("me{id}")) + strings.Repeat("}", maxInline+1),
		"many fragments of the same":      "{me{" + repeat(20, func(i int) string { return fmt.Sprintf("...F%d", i) }) + "}}" + repeat(20, func(i int) string { return fmt.Sprintf("fragment F%d on User{self{id} self{id} self{id}}", i) }),
		"fragments deep in fragments": "{me{...A0 ...B0}}" + repeat(8, func(i int) string {
			return fmt.Sprintf("fragment A%d on User{%s}fragment B%d on User{%s}", i, repeat(4, func(int) string { return fmt.Sprintf("self{...A%d ...B%d}", i+1, i+1) }), i, repeat(4, func(int) string { return fmt.Sprintf("self{...B%d ...A%d}", i+1, i+1) }))
		}) + "fragment A8 on User{id}fragment B8 on User{id}",
		"inline fragments beside another": "{" + repeat(160, same("...{me{id}}")) + "}",
		"many operations":                 repeat(100, func(i int) string { return fmt.Sprintf("query Q%d{...F}", i) }) + "fragment F on Query{" + repeat(95, func(i int) string { return fmt.Sprintf("a%d:me{id}", i) }) + "}",
		"a chain of fragments":            "{...F0} " + repeat(100, func(i int) string { return fmt.Sprintf("fragment F%d on Query{...F%d}", i, i+1) }) + "fragment F100 on Query{me{id}}",
		"a circle of fragments":           "{...F0} " + repeat(100, func(i int) string { return fmt.Sprintf("fragment F%d on Query{...F%d}", i, (i+1)%100) }),
		"fragments that spread all": "{...F0} " + repeat(18, func(i int) string {
			return fmt.Sprintf("fragment F%d on Query{%s}", i, repeat(18, func(k int) string { return fmt.Sprintf("...F%d", k) }))
		}),
		"fragments that double": "{...F0} " + repeat(60, func(i int) string {
			return fmt.Sprintf("fragment F%d on User{self{...F%d} s:self{...F%d}}", i, i+1, i+1)
		}) + "fragment F60 on User{id}",
		"fragments that merge":         "{me{" + repeat(20, func(i int) string { return fmt.Sprintf("...F%d", i) }) + "}}" + repeat(20, func(i int) string { return fmt.Sprintf("fragment F%d on User{self{self{id ...F%d}}}", i, (i+7)%20) }),
		"wide fragments that merge":    "{me{...A ...B}}fragment A on User{" + repeat(45, same("self{id name}")) + "}fragment B on User{" + repeat(45, same("self{id name}")) + "}",
		"tree of two by six":           tree(2, 6),
		"tree of three by four":        tree(3, 4),
		"tree of five by three":        tree(5, 3),
		"tree of twelve by two":        tree(12, 2),
		"conflicts":                    "{" + repeat(90, func(i int) string { return fmt.Sprintf("a:user(id:%d){id}", i) }) + "}",
		"many arguments":               "{jobs(" + repeat(300, func(i int) string { return fmt.Sprintf("a%d:1", i) }) + "){totalCount}}",
		"the same argument again":      "{jobs(" + repeat(320, same("first:1")) + "){totalCount}}",
		"many variables":               "query(" + repeat(150, func(i int) string { return fmt.Sprintf("$a%d:Int", i) }) + "){jobs(" + repeat(80, func(i int) string { return fmt.Sprintf("first:$a%d", i) }) + "){totalCount}}",
		"variables nobody defined":     "{jobs(filter:{and:[" + repeat(450, func(i int) string { return fmt.Sprintf("$a%d", i) }) + "]}){totalCount}}",
		"a deep list":                  "{jobs(filter:{matrix:" + strings.Repeat("[", 450) + strings.Repeat("]", 450) + "}){totalCount}}",
		"a wide list of wrong values":  "{jobs(filter:{matrix:[[[" + repeat(900, same(`"x"`)) + "]]]}){totalCount}}",
		"a deep list of a long string": "{jobs(filter:{matrix:[[[[[" + `"` + strings.Repeat("x", 900_000) + `"` + "]]]]]}){totalCount}}",
		"a deep object":                "{jobs(filter:" + strings.Repeat("{and:", 300) + "1" + strings.Repeat("}", 300) + "){totalCount}}",
		"wrong enum values":            "{jobs(filter:{and:[" + repeat(190, same("{state:RUNING}")) + "]}){totalCount}}",
		"a deep type":                  "query($a:" + strings.Repeat("[", 400) + "Int" + strings.Repeat("]", 400) + "){me{id}}",
		"directives":                   "{me" + strings.Repeat("@include(if:true)", 160) + "{id}}",
		"directives nobody defined":    "{me" + strings.Repeat("@x", 490) + "{id}}",
		"operations of one name":       repeat(190, same("query A{x}")),
		"types that are not there":     "{" + repeat(190, func(i int) string { return fmt.Sprintf("...on Sesion%d{id}", i) }) + "}",
		"interfaces":                   "{" + repeat(90, same(`node(id:1){...on Job{id}...on User{id}}`)) + "}",
		"introspection":                standard.Query,
		"introspection in a circle":    "{__schema{types" + strings.Repeat("{fields{type", 60) + "{name}" + strings.Repeat("}}", 60) + "}}",
		"introspection by aliases":     "{" + repeat(15, func(i int) string { return fmt.Sprintf("a%d:__schema{types{fields{type{fields{name}}}}}", i) }) + "}",
		"braces":                       strings.Repeat("{", 100_000),
		"brackets":                     "{a(b:" + strings.Repeat("[", 100_000),
		"unclosed string":              `{a(b:"` + strings.Repeat("x", 900_000),
	}
	return list
}

func TestTheStandardIntrospectionQueryStaysAllowed(t *testing.T) {
	exec := newExecutor(t, Options{Introspection: everyone})
	if errs := prepareText(exec, standard.Query); errs != nil {
		t.Fatalf("got %v", errs)
	}
}

func TestEveryAttackGetsFewTypedErrorsOrRunsWithinItsLimits(t *testing.T) {
	exec := newExecutor(t, Options{Introspection: everyone, Suggestions: true})
	for name, document := range attacks() {
		t.Run(name, func(t *testing.T) {
			operation, errs := prepare(exec, graphql.RawParams{Query: document})
			if len(errs) == 0 && operation.Operation == nil {
				t.Fatal("got neither an operation nor an error")
			}
			for _, err := range errs {
				if err.Extensions["code"] == nil {
					t.Fatalf("got %v without a code", err)
				}
			}
		})
	}
}

// BenchmarkWorstDocument prepares each attack (parse, guard, validate) and reports the dearest, the
// least of three runs each. The bar is 25 ms of CPU.
func BenchmarkWorstDocument(b *testing.B) {
	type result struct {
		name string
		took time.Duration
		errs int
	}
	for _, talking := range []bool{false, true} {
		b.Run(fmt.Sprintf("suggestions=%v", talking), func(b *testing.B) {
			var results []result
			for b.Loop() {
				results = nil
				for name, document := range attacks() {
					one := result{name: name, took: time.Hour}
					for range 3 {
						exec := newExecutor(b, Options{Introspection: everyone, Suggestions: talking})
						start := time.Now()
						one.errs = len(prepareText(exec, document))
						one.took = min(one.took, time.Since(start))
					}
					results = append(results, one)
				}
			}
			slices.SortFunc(results, func(x, y result) int { return int(y.took - x.took) })
			for _, one := range results[:8] {
				b.Logf("%-34s %v (%d errors)", one.name, one.took, one.errs)
			}
			b.ReportMetric(float64(results[0].took.Microseconds())/1000, "ms/worst")
		})
	}
}
