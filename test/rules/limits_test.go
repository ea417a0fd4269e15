package rules

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// rate is a limit as the code has it or the table says it.
type rate struct{ rule, where string }

// TestTheTableOfRatesIsTheCode compares docs/operations.md with each limit.Rule of the program and each
// @rateLimit of the schema.
func TestTheTableOfRatesIsTheCode(t *testing.T) {
	coded, written := schemaRates(t), tableOfRates(t)
	for name, r := range goRates(t) {
		coded[name] = r
	}
	if len(coded) < 25 {
		t.Fatalf("only %d limits were found: the test shows nothing", len(coded))
	}
	for name, want := range coded {
		if got := written[name]; got != want {
			t.Errorf("docs/operations.md says of %s %q, the code %q", name, got, want)
		}
	}
	for name := range written {
		if _, known := coded[name]; !known {
			t.Errorf("docs/operations.md has %s, which is no limit", name)
		}
	}
}

// spelled is a limit in the words of the table.
func spelled(limit, burst int64, per time.Duration) string {
	each := per / time.Duration(limit)
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if each%unit.of == 0 {
			return fmt.Sprintf("%d at once, then one each %d %s", cmp.Or(burst, limit), each/unit.of, unit.name)
		}
	}
	return fmt.Sprint(each)
}

var rateRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\| (\\d+ at once, [^|]+) \\| `([^`]+)` \\|$")

// tableOfRates reads the table, whose rows are each of one limit.
func tableOfRates(t *testing.T) map[string]rate {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	rates := map[string]rate{}
	for _, row := range rateRow.FindAllStringSubmatch(string(text), -1) {
		if _, twice := rates[row[1]]; twice {
			t.Errorf("docs/operations.md has %s twice", row[1])
		}
		rates[row[1]] = rate{row[3], row[4]}
	}
	return rates
}

var limitedField = regexp.MustCompile(`(?s)  (\w+)\([^@]*?\): \w+![^\n]*@rateLimit\(max: (\d+), seconds: (\d+)\)`)

// schemaRates reads the limits of fields; all are mutations.
func schemaRates(t *testing.T) map[string]rate {
	t.Helper()
	files, err := filepath.Glob("../../schema/*.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	rates := map[string]rate{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		fields := limitedField.FindAllStringSubmatch(string(text), -1)
		if uses := strings.Count(string(text), "@rateLimit(max"); uses != len(fields) {
			t.Errorf("%s: of %d limits %d were understood", file, uses, len(fields))
		}
		for _, f := range fields {
			most, _ := strconv.ParseInt(f[2], 10, 64)
			seconds, _ := strconv.ParseInt(f[3], 10, 64)
			rates["field:Mutation."+f[1]] = rate{spelled(most, most, time.Duration(seconds)*time.Second), "schema/" + filepath.Base(file)}
		}
	}
	return rates
}

// goRates reads every limit.Rule that is written down with a name. The one without is @rateLimit's.
func goRates(t *testing.T) map[string]rate {
	t.Helper()
	rates := map[string]rate{}
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "test" || e.Name() == "graph" || e.Name() == "node_modules" || len(e.Name()) > 2 && e.Name()[0] == '.'):
			return filepath.SkipDir
		case e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		where := strings.TrimPrefix(filepath.ToSlash(path), "../../")
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if ok && isRule(literal.Type) {
				addRule(t, rates, where, literal)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rates
}

func isRule(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != "Rule" {
		return false
	}
	room, ok := s.X.(*ast.Ident)
	return ok && room.Name == "limit"
}

func addRule(t *testing.T, rates map[string]rate, where string, literal *ast.CompositeLit) {
	t.Helper()
	var name string
	numbers := map[string]int64{}
	for _, element := range literal.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			t.Errorf("%s: a limit without the names of its fields", where)
			return
		}
		key := pair.Key.(*ast.Ident).Name
		if key != "Name" {
			numbers[key] = number(pair.Value)
			continue
		}
		text, ok := pair.Value.(*ast.BasicLit)
		if !ok {
			if where != "resolvers/directives.go" {
				t.Errorf("%s: a limit whose name is computed", where)
			}
			return
		}
		name, _ = strconv.Unquote(text.Value)
	}
	if name == "" { // the zero rule
		return
	}
	if numbers["Limit"] <= 0 || numbers["Per"] <= 0 || numbers["Burst"] < 0 {
		t.Errorf("%s: limit %s is not written in numbers", where, name)
		return
	}
	if other, twice := rates[name]; twice {
		t.Errorf("limit %s stands in %s and in %s", name, other.where, where)
	}
	rates[name] = rate{spelled(numbers["Limit"], numbers["Burst"], time.Duration(numbers["Per"])), where}
}

// number is the value of a literal, a unit of time, or a product of such; -1: something else.
func number(e ast.Expr) int64 {
	switch e := e.(type) {
	case *ast.BasicLit:
		if n, err := strconv.ParseInt(strings.ReplaceAll(e.Value, "_", ""), 10, 64); err == nil {
			return n
		}
	case *ast.SelectorExpr:
		if unit := map[string]time.Duration{"Hour": time.Hour, "Minute": time.Minute, "Second": time.Second}[e.Sel.Name]; unit > 0 {
			return int64(unit)
		}
	case *ast.BinaryExpr:
		if e.Op == token.MUL {
			return number(e.X) * number(e.Y)
		}
	}
	return -1
}
