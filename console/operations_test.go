package console_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

func TestTheOperationsOfTheExplorerAreValidAgainstTheSchema(t *testing.T) {
	var sources []*ast.Source
	for _, file := range glob(t, "../schema/*.graphqls") {
		sources = append(sources, &ast.Source{Name: file, Input: read(t, file)})
	}
	schema, err := gqlparser.LoadSchema(sources...)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range glob(t, "web/src/operations/*.graphql") {
		if _, problems := gqlparser.LoadQueryWithRules(schema, read(t, file), rules.NewDefaultRules()); problems != nil {
			t.Errorf("%s: %v", file, problems)
		}
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file is called %s: %v", pattern, err)
	}
	return files
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
