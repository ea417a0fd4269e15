// Command gqlgen generates the executor in graph/ from the schema; go generate ./schema runs it.
//
// It is gqlgen with three changes. Lists are marshalled in sequence (see [gatehouse/internal/marshal.List]). A
// leaf that is a plain Go field or method is written out at once: there is no resolver that could
// fail, no directive, and this project installs no field interceptor, so the context that gqlgen makes
// for each is never looked at. And objects are [gatehouse/internal/marshal.Object] with the fields
// that [gatehouse/internal/marshal.Plan] remembers, without the bookkeeping of @defer, which is not served.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/99designs/gqlgen/api"
	"github.com/99designs/gqlgen/codegen/config"
	"golang.org/x/tools/imports"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gqlgen:", err)
		os.Exit(1)
	}
}

func run() error {
	if err := os.Chdir(".."); err != nil { // go generate runs in schema/
		return err
	}
	c, err := config.LoadConfig("gqlgen.yml")
	if err != nil {
		return fmt.Errorf("read gqlgen.yml: %w", err)
	}
	if err := api.Generate(c); err != nil {
		return err
	}
	files, err := filepath.Glob("graph/*.generated.go")
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := inSequence(file); err != nil {
			return fmt.Errorf("rewrite %s: %w", file, err)
		}
	}
	return nil
}

// leaf is how gqlgen 0.17.98 writes a field without resolver and directive whose type is a scalar or an enum.
var leaf = regexp.MustCompile(`(?m)return graphql\.ResolveField\(
\t\tctx,
\t\tec\.OperationContext,
\t\tfield,
\t\tfunc\(ctx context\.Context, field graphql\.CollectedField\) \(\*graphql\.FieldContext, error\) \{
\t\t\treturn ec\.fieldContext_\w+\(ctx, field\)
\t\t\},
\t\tfunc\(ctx context\.Context\) \(any, error\) \{
\t\t\treturn (obj\.[\w.]+(?:\(\))?), nil
\t\t\},
\t\tnil,
\t\tfunc\(ctx context\.Context, selections ast\.SelectionSet, v [^\n]+\) graphql\.Marshaler \{
\t\t\treturn (ec\.marshal[^\n(]+)\(ctx, selections, v\)
\t\t\},
\t\t(?:true|false),
\t\t(?:true|false),
\t\)
\}
(func \(ec \*executionContext\) fieldContext_\w+\(_ context\.Context, field graphql\.CollectedField\) \(fc \*graphql\.FieldContext, err error\) \{
\treturn graphql\.NewScalarFieldContext\("\w+", field, (?:true|false), false, )`)

func leavesAtOnce(text string) string {
	return leaf.ReplaceAllString(text, "return ${2}(ctx, field.Selections, ${1})\n}\n${3}")
}

// objects are the words of gqlgen 0.17.98 about objects, and those of this project.
var objects = strings.NewReplacer(
	"graphql.CollectFields(ec.OperationContext, ", "ec.plan.Fields(ec.OperationContext, ",
	"graphql.NewFieldSet(", "marshal.NewObject(",
	"\tdeferred := graphql.NewDeferredGroup(ctx)\n", "",
	"out.ResolveConcurrently(ec.OperationContext, &deferred, i,\n\t\t\t\ttrue, ", "out.Resolve(ec.OperationContext, i, ",
	"out.ResolveRootConcurrently(innerCtx, ec.OperationContext, i,\n\t\t\t\ttrue, ", "out.ResolveRoot(innerCtx, ec.OperationContext, i, ",
	"\tif n := len(deferred.Defers); n > 0 {\n\t\tatomic.AddInt32(&ec.Deferred, int32(min(n, math.MaxInt32)))\n\t\tec.ProcessDeferredGroup(deferred)\n\t}\n\n", "",
	"ec := newExecutionContext(opCtx, e, make(chan graphql.DeferredResult))", "ec := newExecutionContext(opCtx, e, nil)\n\tec.plan = marshal.PlanOf(ctx)",
	"type executionContext struct {\n", "type executionContext struct {\n\tplan *marshal.Plan\n",
	"\t\t\tvar buf bytes.Buffer\n", "",
	"\t\tvar buf bytes.Buffer\n", "",
	"\t\t\tbuf.Reset()\n", "",
	"\t\t\tdata.MarshalGQL(&buf)\n", "",
	"Data = buf.Bytes()", "Data = ec.plan.Marshal(data)",
	"Data: buf.Bytes()", "Data: ec.plan.Marshal(data)",
	"graphql.MarshalString(", "marshal.MarshalText(",
	"graphql.MarshalID(", "marshal.MarshalText(",
)

// indexes are what gqlgen 0.17.98 generates for resolvers that read inputs by the name of their type, which none does here.
var indexes = regexp.MustCompile(`(?ms)^\tinputUnmarshalers := func\(\) .*?^\t\}\n|^\t+ctx = graphql\.WithLazyInputUnmarshalerIndex\(ctx, inputUnmarshalers\)\n|^// Unmarshal\w+[^\n]*\n(?:^//[^\n]*\n)*^func Unmarshal\w+\(.*?^\}\n`)

// enums are the writers of enums that gqlgen 0.17.98 generates: each has a map of its name.
var enums = regexp.MustCompile(`(?m)^\t(marshal\pL\S+)\s+= map\[`)

// leafLists writes lists of enums, which have no fields whose place in the answer an error could name.
func leafLists(text string) string {
	for _, found := range enums.FindAllStringSubmatch(text, -1) {
		element := "return ec." + found[1] + "(ctx, sel, v[i])"
		text = strings.ReplaceAll(text,
			"marshal.List(ctx, len(v), func(ctx context.Context, i int) graphql.Marshaler {\n\t\tfc := graphql.GetFieldContext(ctx)\n\t\tfc.Result = &v[i]\n\t\t"+element,
			"marshal.Leaves(len(v), func(i int) graphql.Marshaler {\n\t\t"+element)
	}
	return text
}

// listCall is how gqlgen 0.17.98 writes a list.
const listCall = "graphql.MarshalSliceConcurrently(ctx, len(v), 0, false, "

func inSequence(file string) error {
	source, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text := string(source)
	text = objects.Replace(indexes.ReplaceAllString(leavesAtOnce(text), ""))
	text = strings.ReplaceAll(text, listCall, "marshal.List(ctx, len(v), ")
	formatted, err := imports.Process(file, []byte(leafLists(text)), nil)
	if err != nil {
		return err
	}
	return os.WriteFile(file, formatted, 0o644)
}
