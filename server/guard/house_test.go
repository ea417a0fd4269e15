package guard

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// schemaText has the shapes that matter: connections, plain lists, unions, interfaces, inputs, wide types.
const schemaText = `
interface Node { id: ID! }
type User implements Node { id: ID! email: String name: String sessions: [Session!]! factors: [Factor!]! keys: KeyConnection manager: User
  jobs(first: Int, after: String, last: Int, before: String, filter: JobFilter): JobConnection! self: User }
type Session implements Node { id: ID! user: User createdAt: String device: String ip: String current: Boolean! }
type KeyConnection { nodes: [Key!]! totalCount: Int }
type Key { id: ID! name: String }
type Factor implements Node { id: ID! name: String }
type Job implements Node { id: ID! kind: String state: JobState owner: User attempts: [Attempt!]! result: JobResult progress: Progress artifacts: [Artifact!]! }
type Attempt { number: Int! startedAt: String error: JobError log: [String!]! }
type JobError { code: String message: String }
type Progress { done: Int total: Int fraction: Float stage: String }
type Artifact { id: ID! name: String bytes: Int url: String }
type CsvSummary { rows: Int columns: [String!]! }
type FetchReport { urls: [String!]! }
union JobResult = CsvSummary | FetchReport
enum JobState { SCHEDULED QUEUED RUNNING RETRYING SUCCEEDED FAILED CANCELLED }
input JobFilter { state: JobState kind: String and: [JobFilter!] matrix: [[[Int]]] }
type PageInfo { hasNextPage: Boolean! endCursor: String }
type JobEdge { cursor: String! node: Job! }
type JobConnection { edges: [JobEdge!]! nodes: [Job!]! pageInfo: PageInfo! totalCount: Int }
type UserError { code: String! field: [String!] message: String! }
type LoginPayload { userErrors: [UserError!]! user: User }
input LoginInput { email: String! password: String! }
type Query { me: User user(id: ID!): User node(id: ID!): Node nodes(ids: [ID!]!): [Node]! jobs(first: Int, last: Int, filter: JobFilter): JobConnection! }
type Mutation { login(input: LoginInput!): LoginPayload! logout: LoginPayload! }
type Subscription { jobEvents(id: ID!): Job! }
`

// newExecutor is a guarded executor over schemaText; it executes nothing.
func newExecutor(tb testing.TB, options Options) *Executor {
	tb.Helper()
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: schemaText})
	exec, err := New(&graphql.ExecutableSchemaMock{
		SchemaFunc: func() *ast.Schema { return schema },
		ExecFunc: func(context.Context) graphql.ResponseHandler {
			return graphql.OneShot(&graphql.Response{Data: []byte(`{}`)})
		},
	}, options)
	if err != nil {
		tb.Fatal(err)
	}
	return exec
}

func everyone(context.Context) bool { return true }

// prepare does all that happens to a request before it is executed.
func prepare(exec *Executor, params graphql.RawParams) (*graphql.OperationContext, gqlerror.List) {
	return exec.CreateOperationContext(context.Background(), &params)
}

func prepareText(exec *Executor, document string) gqlerror.List {
	_, errs := prepare(exec, graphql.RawParams{Query: document})
	return errs
}

// variables decodes as the transport does.
func variables(tb testing.TB, text string) map[string]any {
	tb.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var values map[string]any
	if err := decoder.Decode(&values); err != nil {
		tb.Fatal(err)
	}
	return values
}

// limitOf is extensions.limit of the only error, "" when there is no error.
func limitOf(tb testing.TB, errs gqlerror.List) string {
	tb.Helper()
	if len(errs) == 0 {
		return ""
	}
	if len(errs) > 1 || errs[0].Extensions["code"] != CodeLimitExceeded {
		tb.Fatalf("got errors %v, want one with code %s", errs, CodeLimitExceeded)
	}
	return errs[0].Extensions["limit"].(string)
}
