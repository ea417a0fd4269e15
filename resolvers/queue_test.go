package resolvers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"
	"go.uber.org/goleak"

	"gatehouse/dataloaders"
	"gatehouse/graph"
	"gatehouse/internal/blob"
	"gatehouse/internal/bus"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/jobs"
	"gatehouse/jobs/csvprofile"
	"gatehouse/queue"
	"gatehouse/queue/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is the resolvers over an embedded queue, asked by ada. It has no accounts.
type house struct {
	queue    *queue.Queue
	schema   graphql.ExecutableSchema
	executor *executor.Executor
	loaders  *dataloaders.Source
}

var ada = viewer.Viewer{User: "usr_ada", Level: 1}

func newHouse(t *testing.T, kinds ...queue.Definition) *house {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "test.db"), store.Options{})
	must(err)
	t.Cleanup(func() { _ = db.Close() })
	must(db.Migrate(t.Context()))
	files, err := blob.Open(t.TempDir())
	must(err)
	q, err := queue.New(db, transport.Local(transport.Options{}), bus.Local(), files, kinds, queue.Options{Workers: 1})
	must(err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- q.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		must(<-ended)
	})
	r := &Resolver{Queue: q, Files: files, Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}
	schema := graph.NewExecutableSchema(graph.Config{Resolvers: r, Directives: r.Directives()})
	return &house{q, schema, executor.New(schema), dataloaders.NewSource(nil, nil, q)}
}

// ask runs an operation and returns its data.
func (h *house) ask(t *testing.T, query string, variables map[string]any) map[string]any {
	t.Helper()
	ctx := graphql.StartOperationTrace(h.loaders.With(WithCaller(t.Context(), ada, &Request{})))
	operation, refused := h.executor.CreateOperationContext(ctx, &graphql.RawParams{Query: query, Variables: variables})
	if refused != nil {
		t.Fatalf("%s\nis refused: %v", query, refused)
	}
	run, ctx := h.executor.DispatchOperation(ctx, operation)
	response := run(ctx)
	var data map[string]any
	if err := json.Unmarshal(response.Data, &data); err != nil || len(response.Errors) > 0 {
		t.Fatalf("%s\nanswered %s, %v, %v", query, response.Data, response.Errors, err)
	}
	return data
}

func enqueue[A, R any](t *testing.T, h *house, k queue.Kind[A, R], args A, o queue.JobOptions) *queue.Job {
	t.Helper()
	r, err := k.Request(ada.User, args, o)
	if err != nil {
		t.Fatal(err)
	}
	j, err := h.queue.Enqueue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// leaves returns a selection of all of a type that needs no arguments and no further selection.
func leaves(schema *ast.Schema, name string) string {
	d := schema.Types[name]
	switch d.Kind {
	case ast.Union:
		var parts []string
		for _, member := range d.Types {
			parts = append(parts, "... on "+member+" "+leaves(schema, member))
		}
		return "{ " + strings.Join(parts, " ") + " }"
	case ast.Object:
		parts := []string{"__typename"}
		for _, f := range d.Fields {
			if schema.Types[f.Type.Name()].IsLeafType() && !strings.HasPrefix(f.Name, "__") {
				parts = append(parts, f.Name)
			}
		}
		return "{ " + strings.Join(parts, " ") + " }"
	}
	return ""
}

// TestAListBringsEveryFieldOfAJobThatIsAskedFor asks for each field alone, in every form in which a list
// can be asked for it, and compares with the job itself. The owner is left to
// TestAListReadsOnlyWhatIsAskedOfIt: here are no accounts.
func TestAListBringsEveryFieldOfAJobThatIsAskedFor(t *testing.T) {
	type args struct{ Size int }
	csv := queue.Kind[args, csvprofile.Summary]{Name: jobs.CSV.Name, Handle: func(ctx context.Context, run *queue.Run, a args) (csvprofile.Summary, error) {
		if a.Size < 0 {
			return csvprofile.Summary{}, queue.Permanent(errors.New("no use"))
		}
		run.Report(2, 4, "writing")
		if _, err := run.Create(ctx, "clean.jsonl", "application/jsonl"); err != nil {
			return csvprofile.Summary{}, err
		}
		s := csvprofile.Summary{Rows: 7}
		for range a.Size {
			s.Bad = append(s.Bad, csvprofile.BadRow{Message: strings.Repeat("x", 100)})
		}
		return s, nil
	}}
	h := newHouse(t, csv.Define())
	ids := map[string]bool{}
	for _, size := range []int{1, 2000, -1} { // a small result, one that is too large for the row, none
		j := enqueue(t, h, csv, args{size}, queue.JobOptions{Priority: queue.High})
		events, err := h.queue.Watch(t.Context(), ada, j.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range events { // until it has ended
		}
		ids[string(j.ID)] = true
	}
	ids[string(enqueue(t, h, csv, args{1}, queue.JobOptions{RunAt: time.Now().Add(time.Hour)}).ID)] = true

	edges := func(list any) (nodes []any) {
		for _, e := range list.(map[string]any)["edges"].([]any) {
			nodes = append(nodes, e.(map[string]any)["node"])
		}
		return nodes
	}
	nodes := func(list any) []any { return list.(map[string]any)["nodes"].([]any) }
	forms := []struct {
		name, query string
		jobs        func(list any) []any
	}{
		{"nodes", `query($yes: Boolean!) { jobs { nodes { id @include(if: $yes) it: %s } } }`, nodes},
		{"edges", `query($yes: Boolean!) { jobs { edges { node { id @include(if: $yes) it: %s } } } }`, edges},
		{"both", `query($yes: Boolean!) { jobs { nodes { id } edges { node { id @include(if: $yes) it: %s } } } }`, edges},
		{"twice", `query($yes: Boolean!) { jobs { nodes { id @include(if: $yes) } } jobs { nodes { it: %s } } }`, nodes},
		{"conditional", `query($yes: Boolean!) { jobs { nodes { id ... @include(if: $yes) { it: %s } } } }`, nodes},
		{"inline", `query($yes: Boolean!) { jobs { ... @include(if: $yes) { nodes { ... on Node { id } ... on Job { it: %s } } } } }`, nodes},
		{"fragments", `query($yes: Boolean!) { ...Q } fragment Q on Query { jobs { ...C @include(if: $yes) } }
			fragment C on JobConnection { edges { ...E } } fragment E on JobEdge { node { ...N ...J } }
			fragment N on Node { id } fragment J on Job { it: %s }`, edges},
	}
	schema := h.schema.Schema()
	for _, field := range schema.Types["Job"].Fields {
		if strings.HasPrefix(field.Name, "__") || field.Name == "owner" {
			continue
		}
		selection := field.Name + leaves(schema, field.Type.Name())
		want := map[string]any{}
		for id := range ids {
			want[id] = h.ask(t, fmt.Sprintf(`{ job(id: %q) { it: %s } }`, id, selection), nil)["job"].(map[string]any)["it"]
		}
		for _, form := range forms {
			t.Run(field.Name+" by "+form.name, func(t *testing.T) {
				found := form.jobs(h.ask(t, fmt.Sprintf(form.query, selection), map[string]any{"yes": true})["jobs"])
				if len(found) != len(ids) {
					t.Fatalf("%d jobs, want %d", len(found), len(ids))
				}
				for _, j := range found {
					j := j.(map[string]any)
					got, _ := json.Marshal(j["it"])
					alone, _ := json.Marshal(want[j["id"].(string)])
					if string(got) != string(alone) {
						t.Errorf("the list says %s, the job itself %s", got, alone)
					}
				}
			})
		}
	}
}

func TestAListReadsOnlyWhatIsAskedOfIt(t *testing.T) {
	schema := graph.NewExecutableSchema(graph.Config{}).Schema()
	for _, c := range []struct {
		selection string
		want      jobSelection
	}{
		{`{ nodes { id __typename attempts { number } } }`, jobSelection{}},
		{`{ nodes { artifacts { url } } }`, jobSelection{Want: queue.Want{Fields: queue.WithKind | queue.WithOwner}}},
		{`{ nodes { id kind state createdAt progress { fraction } owner { id email } } pageInfo { hasNextPage } }`, jobSelection{
			Want: queue.Want{Fields: queue.WithKind | queue.WithState | queue.WithCreatedAt | queue.WithProgress | queue.WithOwner},
		}},
		{`{ totalCount edges { node { progress { stage } } } }`, jobSelection{Want: queue.Want{Fields: queue.WithStage, Total: true}, edges: true}},
		{`{ edges { cursor } nodes { result { __typename } } }`, jobSelection{Want: queue.Want{Fields: queue.WithResult | queue.WithKind | queue.WithOwner}, edges: true, cursors: true}},
		{`{ pageInfo { endCursor } }`, jobSelection{ends: true}},
	} {
		document, err := gqlparser.LoadQueryWithRules(schema, `{ jobs `+c.selection+` }`, rules.NewDefaultRules())
		if err != nil {
			t.Fatal(err)
		}
		if got := selectionOf(document.Operations[0].SelectionSet[0].(*ast.Field).SelectionSet); got != c.want {
			t.Errorf("%s\nasks for %+v, want %+v", c.selection, got, c.want)
		}
	}
}

// TestAFieldThatNobodyKnowsIsReadWithAllOthers is about a schema that has grown past this package.
func TestAFieldThatNobodyKnowsIsReadWithAllOthers(t *testing.T) {
	unknown := ast.SelectionSet{&ast.Field{Name: "mood"}}
	for name, set := range map[string]ast.SelectionSet{
		"a job":        {&ast.Field{Name: "nodes", SelectionSet: unknown}},
		"a job's edge": {&ast.Field{Name: "edges", SelectionSet: ast.SelectionSet{&ast.Field{Name: "node", SelectionSet: unknown}}}},
		"an edge":      {&ast.Field{Name: "edges", SelectionSet: unknown}},
		"the list":     unknown,
	} {
		if got := selectionOf(set); got.Fields != queue.Everything {
			t.Errorf("a new field of %s: %b is read, want %b", name, got.Fields, queue.Everything)
		}
	}
}

func TestCursorsAreThereWhenAskedFor(t *testing.T) {
	k := queue.Kind[struct{}, struct{}]{Name: "later", Handle: func(context.Context, *queue.Run, struct{}) (struct{}, error) { return struct{}{}, nil }}
	h := newHouse(t, k.Define())
	for i := range 5 {
		enqueue(t, h, k, struct{}{}, queue.JobOptions{RunAt: time.Now().Add(time.Duration(i+1) * time.Hour)})
	}
	whole := h.ask(t, `{ jobs { edges { cursor node { id } } pageInfo { startCursor endCursor } } }`, nil)["jobs"].(map[string]any)
	var cursors []string
	for _, e := range whole["edges"].([]any) {
		cursors = append(cursors, e.(map[string]any)["cursor"].(string))
	}
	info := whole["pageInfo"].(map[string]any)
	if len(cursors) != 5 || info["startCursor"] != cursors[0] || info["endCursor"] != cursors[4] {
		t.Fatalf("cursors %v, page %v", cursors, info)
	}
	info = h.ask(t, `{ jobs(first: 2) { pageInfo { endCursor hasNextPage } } }`, nil)["jobs"].(map[string]any)["pageInfo"].(map[string]any)
	if info["endCursor"] != cursors[1] || info["hasNextPage"] != true {
		t.Errorf("without nodes the page is %v, want the end %s", info, cursors[1])
	}
	rest := h.ask(t, `query($after: String) { jobs(after: $after) { nodes { id } } }`, map[string]any{"after": cursors[1]})["jobs"].(map[string]any)["nodes"].([]any)
	for i, j := range rest {
		if want := whole["edges"].([]any)[i+2].(map[string]any)["node"].(map[string]any)["id"]; j.(map[string]any)["id"] != want {
			t.Errorf("after the second comes %v, want %v", j, want)
		}
	}
}
