package transport

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const schemaText = `
scalar Upload
input Files { list: [Upload] one: Upload }
type Query { me: String add(x: Int!, tags: [String!]): String fails: String panics: String manyErrors: String }
type Mutation { set(x: Int): String take(files: Files, file: Upload): String leave(file: Upload): String }
type Subscription { ticks(n: Int!): Int forever: Int }
`

type viewerKey struct{}

// house is a handler over a schema without generated code, with an authenticator and a stage that record.
type house struct {
	handler *Handler
	exec    traced

	mu       sync.Mutex
	revoke   map[string]func(string) // by subject
	finished []Finished
	sockets  int
	subs     int
	ticks    chan int // what forever answers
	staged   map[string]string
	dropped  []string
	barred   map[string]bool // who is refused from now on
	asked    int             // how often the authenticator was
}

var errRefused = errors.New("refused")

func newHouse(options Options) *house {
	h := &house{revoke: make(map[string]func(string)), ticks: make(chan int), staged: make(map[string]string)}
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: schemaText})
	h.exec = traced{executor.New(&graphql.ExecutableSchemaMock{
		SchemaFunc: func() *ast.Schema { return schema },
		ExecFunc:   h.execute,
	})}
	h.exec.SetQueryCache(&documents{})
	h.exec.SetParserTokenLimit(1000)
	h.exec.SetRecoverFunc(func(context.Context, any) error { return requestError(codeInternal, "internal system error") })
	options.Authenticator = h
	options.Stage = h
	options.Present = func(_ context.Context, err error) *gqlerror.Error {
		if errors.Is(err, errRefused) {
			return requestError(codeUnauthenticated, "This token is not good.")
		}
		return requestError(codeInternal, "masked")
	}
	options.RequestID = func(context.Context) string { return "req_1" }
	options.Observer = Observer{
		Finished:      func(_ context.Context, f Finished) { h.locked(func() { h.finished = append(h.finished, f) }) },
		Sockets:       func(delta int) { h.locked(func() { h.sockets += delta }) },
		Subscriptions: func(delta int) { h.locked(func() { h.subs += delta }) },
	}
	h.handler = New(h.exec, options)
	return h
}

// traced gives gqlgen's executor the start time that it insists on.
type traced struct{ *executor.Executor }

func (t traced) CreateOperationContext(ctx context.Context, params *graphql.RawParams) (*graphql.OperationContext, gqlerror.List) {
	return t.Executor.CreateOperationContext(graphql.StartOperationTrace(ctx), params)
}

// documents is a cache of parsed documents without a bound.
type documents struct{ byText sync.Map }

func (d *documents) Get(_ context.Context, text string) (*ast.QueryDocument, bool) {
	document, ok := d.byText.Load(text)
	if !ok {
		return nil, false
	}
	return document.(*ast.QueryDocument), true
}

func (d *documents) Add(_ context.Context, text string, document *ast.QueryDocument) {
	d.byText.Store(text, document)
}

func (h *house) locked(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// Request takes "Bearer NAME" or "Bearer NAME SECONDS"; "bad" is refused.
func (h *house) Request(r *http.Request) (Caller, error) {
	return h.Socket(r, r.Header.Get("Authorization"))
}

// visitor is a caller by name.
type visitor struct {
	*house
	name string
}

func (v visitor) Attach(ctx context.Context) context.Context {
	return context.WithValue(ctx, viewerKey{}, v.name)
}

func (v visitor) Watch(ended func(string)) func() {
	v.locked(func() { v.revoke[v.name] = ended })
	return func() { v.locked(func() { delete(v.revoke, v.name) }) }
}

func (h *house) Socket(_ *http.Request, authorization string) (Caller, error) {
	if authorization == "" {
		return Caller{}, nil
	}
	words := strings.Fields(strings.TrimPrefix(authorization, "Bearer "))
	barred := false
	h.locked(func() { h.asked++; barred = h.barred[words[0]] })
	if barred {
		return Caller{}, errRefused
	}
	switch words[0] {
	case "bad":
		return Caller{}, errRefused
	case "panics":
		panic("authenticator")
	}
	caller := Caller{Subject: words[0], Visitor: visitor{h, words[0]}}
	if len(words) > 1 {
		var seconds int
		fmt.Sscan(words[1], &seconds)
		caller.ExpiresAt = time.Now().Add(time.Duration(seconds) * time.Second)
	}
	return caller, nil
}

// stagedValue is a struct that holds a pointer, as a stage must answer.
type stagedValue struct{ claim *claim }

type claim struct {
	text  string
	taken bool
}

func (v stagedValue) Keep() bool { return v.claim.taken }

func (h *house) Stage(_ context.Context, file UploadedFile) (any, func(), error) {
	if file.Name == "full" {
		return nil, nil, errors.New("disk full")
	}
	text, err := io.ReadAll(file.Body)
	drop := func() {
		h.locked(func() { h.dropped = append(h.dropped, file.Name); delete(h.staged, file.Name) })
	}
	h.locked(func() { h.staged[file.Name] = string(text) })
	return stagedValue{&claim{text: string(text)}}, drop, err
}

// execute stands for generated code: it looks at the first root field only.
func (h *house) execute(ctx context.Context) graphql.ResponseHandler {
	operation := graphql.GetOperationContext(ctx)
	field := operation.Operation.SelectionSet[0].(*ast.Field)
	arguments := field.ArgumentMap(operation.Variables)
	switch field.Name {
	case "fails":
		return graphql.OneShot(&graphql.Response{Data: []byte(`{"fails":null}`), Errors: gqlerror.List{{Message: "no", Extensions: map[string]any{"code": "NOT_FOUND"}}}})
	case "manyErrors":
		errs := make(gqlerror.List, 25)
		for i := range errs {
			errs[i] = gqlerror.Errorf("error %d", i)
		}
		return graphql.OneShot(&graphql.Response{Data: []byte(`null`), Errors: errs})
	case "panics":
		panic("resolver")
	case "ticks":
		n, _ := arguments["n"].(int64)
		sent := int64(0)
		var data []byte // for every answer anew, as in generated code
		return func(context.Context) *graphql.Response {
			if sent == n {
				return nil
			}
			sent++
			data = fmt.Appendf(data[:0], "{\"ticks\":\n%d}", sent)
			return &graphql.Response{Data: data}
		}
	case "forever":
		return func(ctx context.Context) *graphql.Response {
			select {
			case <-ctx.Done():
				return nil
			case tick := <-h.ticks:
				return &graphql.Response{Data: fmt.Appendf(nil, `{"forever":%d}`, tick)}
			}
		}
	case "take":
		return graphql.OneShot(&graphql.Response{Data: fmt.Appendf(nil, `{"take":%q}`, takeAll(arguments))})
	case "add":
		return graphql.OneShot(&graphql.Response{Data: fmt.Appendf(nil, `{"add":"%v"}`, arguments["x"])})
	}
	viewer, _ := ctx.Value(viewerKey{}).(string)
	return graphql.OneShot(&graphql.Response{Data: fmt.Appendf(nil, `{%q:%q}`, field.Alias, viewer)})
}

// takeAll claims every staged file in the arguments and answers their texts.
func takeAll(value any) string {
	switch value := value.(type) {
	case stagedValue:
		value.claim.taken = true
		return "[" + value.claim.text + "]"
	case []any:
		var all strings.Builder
		for _, element := range value {
			all.WriteString(takeAll(element))
		}
		return all.String()
	case map[string]any:
		return takeAll(value["files"]) + takeAll(value["list"]) + takeAll(value["one"]) + takeAll(value["file"])
	}
	return ""
}

// request makes a POST of JSON; headers are "Name: value", and change the defaults.
func request(method, target, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	return r
}

func (h *house) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	return w
}

// answer is a response as a client decodes it.
type answer struct {
	Data   json.RawMessage
	Errors []struct {
		Message    string
		Extensions map[string]any
		Path       []any
	}
	Extensions map[string]any
}

func decode(tb testing.TB, text []byte) answer {
	tb.Helper()
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		tb.Fatalf("got %q: %v", text, err)
	}
	return a
}

func (a answer) code() string {
	if len(a.Errors) == 0 {
		return ""
	}
	return fmt.Sprint(a.Errors[0].Extensions["code"])
}

// pipes is a listener of in-memory connections, which a bubble of testing/synctest can wait on.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// serve runs an http.Server over pipes until the test ends.
func (h *house) serve(t *testing.T) *pipes {
	p := newPipes()
	server := &http.Server{Handler: h.handler, ReadTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(p) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := h.handler.Drain(ctx); err != nil {
			t.Errorf("drain: %v", err)
		}
		_ = server.Close()
		<-done
	})
	return p
}

// raw sends a request as text and returns the connection and a reader of the answer.
func raw(t *testing.T, conn net.Conn, text string) (*http.Response, *bufio.Reader) {
	t.Helper()
	go func() { _, _ = io.Copy(conn, bytes.NewReader([]byte(text))) }()
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	return response, reader
}
