package guard

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

func byHash(hash string) map[string]any {
	return map[string]any{"persistedQuery": map[string]any{"version": 1.0, "sha256Hash": hash}}
}

// codeOf prepares and answers the first error's code, "" when the document is accepted.
func codeOf(exec *Executor, document string, extensions map[string]any) string {
	_, errs := prepare(exec, graphql.RawParams{Query: document, Extensions: extensions})
	if len(errs) == 0 {
		return ""
	}
	return fmt.Sprint(errs[0].Extensions["code"])
}

func TestAHashFindsItsDocumentOnceTheTwoHaveBeenSentTogether(t *testing.T) {
	const document = "{me{id}}"
	hash := hashOf(document)
	exec := newExecutor(t, Options{})
	if got := codeOf(exec, "", byHash(hash)); got != CodeHashNotFound {
		t.Fatalf("unknown hash: got %q", got)
	}
	if got := codeOf(exec, document, byHash(hash)); got != "" {
		t.Fatalf("hash with document: got %q", got)
	}
	operation, errs := prepare(exec, graphql.RawParams{Extensions: byHash(hash)})
	if errs != nil || operation.RawQuery != document {
		t.Fatalf("known hash: got %q, %v", operation.RawQuery, errs)
	}
}

func TestTheErrorOfAnUnknownHashIsTheOneApolloClientsMatch(t *testing.T) {
	_, errs := prepare(newExecutor(t, Options{}), graphql.RawParams{Extensions: byHash(hashOf("x"))})
	if len(errs) != 1 || errs[0].Message != "PersistedQueryNotFound" {
		t.Fatalf("got %v", errs)
	}
}

func TestAHashIsNotLearnedFromADocumentThatIsWrong(t *testing.T) {
	for _, c := range []struct{ name, document, hash, code string }{
		{"another document's hash", "{me{id}}", hashOf("{me{name}}"), CodeBadInput},
		{"a document that is not valid", "{nobody}", hashOf("{nobody}"), "GRAPHQL_VALIDATION_FAILED"},
		{"a document that is too deep", "{me{" + strings.Repeat("self{", 9) + "id" + strings.Repeat("}", 11), "", CodeLimitExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.hash == "" {
				c.hash = hashOf(c.document)
			}
			exec := newExecutor(t, Options{})
			if got := codeOf(exec, c.document, byHash(c.hash)); got != c.code {
				t.Fatalf("got %q, want %q", got, c.code)
			}
			if got := codeOf(exec, "", byHash(c.hash)); got != CodeHashNotFound {
				t.Fatalf("afterwards: got %q, want it unknown", got)
			}
		})
	}
}

func TestTheHashExtensionIsCheckedForItsForm(t *testing.T) {
	exec := newExecutor(t, Options{})
	for name, entry := range map[string]any{
		"not an object":  "x",
		"no version":     map[string]any{"sha256Hash": hashOf("x")},
		"version two":    map[string]any{"version": 2.0, "sha256Hash": hashOf("x")},
		"no hash":        map[string]any{"version": 1.0},
		"a long hash":    map[string]any{"version": 1.0, "sha256Hash": strings.Repeat("a", 65)},
		"a number hash":  map[string]any{"version": 1.0, "sha256Hash": 1.0},
		"a list of them": []any{1.0},
	} {
		if got := codeOf(exec, "{me{id}}", map[string]any{"persistedQuery": entry}); got != CodeBadInput {
			t.Errorf("%s: got %q, want %q", name, got, CodeBadInput)
		}
	}
}

func TestAnAllowListAnswersItsHashesAndMayBeAllThereIs(t *testing.T) {
	const document = "{me{id}}"
	list, err := ReadAllowList(strings.NewReader(fmt.Sprintf("{%q:%q,\"Me_1\":%q}", hashOf(document), document, document)))
	if err != nil {
		t.Fatal(err)
	}
	open := newExecutor(t, Options{Persisted: PersistedOptions{AllowList: list}})
	closed := newExecutor(t, Options{Persisted: PersistedOptions{AllowList: list, OnlyAllowListed: true}})
	for _, c := range []struct {
		name       string
		document   string
		extensions map[string]any
		open, shut string
	}{
		{"a listed hash", "", byHash(hashOf(document)), "", ""},
		{"a listed name", "", byHash("Me_1"), "", ""},
		{"a listed text", document, nil, "", ""},
		{"another text", "{me{name}}", nil, "", CodeNotOnAllowList},
		{"another text with its hash", "{me{name}}", byHash(hashOf("{me{name}}")), "", CodeNotOnAllowList},
		{"an unknown hash", "", byHash(hashOf("x")), CodeHashNotFound, CodeNotOnAllowList},
	} {
		if got := codeOf(open, c.document, c.extensions); got != c.open {
			t.Errorf("%s, open: got %q, want %q", c.name, got, c.open)
		}
		if got := codeOf(closed, c.document, c.extensions); got != c.shut {
			t.Errorf("%s, only listed: got %q, want %q", c.name, got, c.shut)
		}
	}
}

func TestAnAllowListIsRefusedWhenAKeyIsNotItsDocumentsHash(t *testing.T) {
	for name, text := range map[string]string{
		"another hash": fmt.Sprintf("{%q:%q}", hashOf("x"), "{me{id}}"),
		"not JSON":     "{",
		"not texts":    `{"a":1}`,
	} {
		if _, err := ReadAllowList(strings.NewReader(text)); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if _, err := New(nil, Options{Persisted: PersistedOptions{OnlyAllowListed: true}}); err == nil {
		t.Error("only listed without a list: got no error")
	}
}

func TestLongDocumentsAreNotKept(t *testing.T) {
	documents := NewDocuments(0)
	long := strings.Repeat(" ", maxCachedDocument+1)
	documents.add(long, &ast.QueryDocument{})
	if _, ok := documents.get(long); ok {
		t.Error("got a long document back")
	}
	documents.add(long[1:], &ast.QueryDocument{})
	if _, ok := documents.get(long[1:]); !ok {
		t.Error("a document of 16 KiB is not kept")
	}
}

func TestTheDocumentCacheStaysWithinItsBytes(t *testing.T) {
	documents := NewDocuments(1 << 20)
	for i := range 5000 {
		documents.add(fmt.Sprintf("{me{id}} # %d", i), &ast.QueryDocument{})
	}
	documents.cache.CleanUp()
	if got := documents.cache.WeightedSize(); got > 1<<20 {
		t.Errorf("got %d bytes, want at most %d", got, 1<<20)
	}
}

func TestADocumentInTheCacheTakesNoMoreThanItsWeight(t *testing.T) {
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: schemaText})
	const copies = 200
	for name, text := range map[string]string{
		"short":    "{me{id}}",
		"usual":    "query Jobs($first:Int,$state:JobState){jobs(first:$first,filter:{state:$state}){nodes{id kind state owner{id name} progress{done total} attempts{number error{code message}}} pageInfo{hasNextPage endCursor}}}",
		"dense":    "{me{" + strings.Repeat("...{id name}", 60) + "}}",
		"wide":     "{me{" + strings.Repeat("id ", 200) + "}}",
		"repeated": "{" + aliases(40, ":me{...f}") + "} fragment f on User{" + aliases(26, ":id ") + "}",
	} {
		var before, after runtime.MemStats
		kept := make([]*planned, copies)
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range kept {
			document, errs := gqlparser.LoadQueryWithRules(schema, strings.Clone(text), nil)
			if errs != nil {
				t.Fatal(errs)
			}
			kept[i] = newPlanned(document, len(text))
			fill(schema, kept[i])
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(kept)
		took, weight := int(after.HeapAlloc-before.HeapAlloc)/copies, documentBytes+documentBytesPerByte*len(text)
		t.Logf("%s: %d bytes of text, %d of memory, weight %d", name, len(text), took, weight)
		if took > weight {
			t.Errorf("%s: a document takes %d bytes, its weight says %d", name, took, weight)
		}
	}
}

// aliases is a selection of n fields with names of their own.
func aliases(n int, field string) string {
	var selected strings.Builder
	for i := range n {
		fmt.Fprintf(&selected, "a%d%s", i, field)
	}
	return selected.String()
}

// fill asks a plan for the fields of all its selections, as executing the document does.
func fill(schema *ast.Schema, p *planned) {
	operation := &graphql.OperationContext{Doc: p.document}
	types := make(map[string][]string)
	var of func(set ast.SelectionSet, object string)
	of = func(set ast.SelectionSet, object string) {
		if types[object] == nil {
			types[object] = append([]string{object}, schema.Types[object].Interfaces...)
		}
		for _, field := range p.plan.Fields(operation, set, types[object]) {
			if len(field.Selections) > 0 {
				of(field.Selections, field.Definition.Type.Name())
			}
		}
	}
	of(p.document.Operations[0].SelectionSet, schema.Query.Name)
}

func BenchmarkAKnownDocument(b *testing.B) {
	exec := newExecutor(b, Options{})
	b.ReportAllocs()
	for b.Loop() {
		if errs := prepareText(exec, "{me{id name email sessions{id ip}}}"); errs != nil {
			b.Fatal(errs)
		}
	}
}

func BenchmarkANewDocument(b *testing.B) {
	exec := newExecutor(b, Options{})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if errs := prepareText(exec, fmt.Sprintf("{me{id name email sessions{id ip}}} #%d", i)); errs != nil {
			b.Fatal(errs)
		}
	}
}
