// Command gqlgen generates the executor in graph/ from the schema; go generate ./schema runs it.
//
// It is gqlgen with two changes. Lists are marshalled in sequence (see [gatehouse/internal/marshal.List]),
// save the edges of connections, whose nodes meet in a loader only when they run side by side. And a
// leaf that is a plain Go field or method is written out at once: there is no resolver that could
// fail, no directive, and this project installs no field interceptor, so the context that gqlgen makes
// for each is never looked at.
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

// listCall is how gqlgen 0.17.98 writes a list.
const listCall = "graphql.MarshalSliceConcurrently(ctx, len(v), 0, false, "

// listFunc begins the function that writes a list.
var listFunc = regexp.MustCompile(`(?m)^func \(ec \*executionContext\) marshal(\w+)\(`)

func inSequence(file string) error {
	source, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text := string(source)
	text = leavesAtOnce(text)
	var b strings.Builder
	for len(text) > 0 {
		end := len(text)
		if next := listFunc.FindStringIndex(text[1:]); next != nil {
			end = next[0] + 1
		}
		part := text[:end]
		if name := listFunc.FindString(part); !strings.Contains(name, "Edge2") {
			part = strings.ReplaceAll(part, listCall, "marshal.List(ctx, len(v), ")
		}
		b.WriteString(part)
		text = text[end:]
	}
	formatted, err := imports.Process(file, []byte(b.String()), nil)
	if err != nil {
		return err
	}
	return os.WriteFile(file, formatted, 0o644)
}
