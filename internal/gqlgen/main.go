// Command gqlgen generates the executor in graph/ from the schema; go generate ./schema runs it.
//
// It is gqlgen with one change: lists are marshalled in sequence (see [gatehouse/internal/marshal.List]),
// save the edges of connections, whose nodes meet in a loader only when they run side by side.
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
	if !strings.Contains(text, listCall) {
		return nil
	}
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
