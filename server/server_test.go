package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"gatehouse/internal/viewer"
	"gatehouse/queue"
	"gatehouse/test/services"
)

func TestMain(m *testing.M) { services.Main(m) }

// house is a whole server in this process, without a network.
type house struct {
	*app
	t          testing.TB
	handler    http.Handler
	statements atomic.Int64 // of operations
}

func newHouse(t testing.TB) *house {
	t.Helper()
	return newHouseOn(t, "")
}

// newHouseOn is a house on the database at address, SQLite in its own folder when that is "".
func newHouseOn(t testing.TB, address string) *house {
	t.Helper()
	h := &house{t: t}
	s, err := Settings{
		Env: "development", Data: t.TempDir(), DatabaseURL: address, Workers: 0, Namespace: "test", SigningAlgorithm: "EdDSA",
		LogLevel: "warn", MaxUploadBytes: 1 << 20, trace: h.heard,
	}.complete("test")
	if err != nil {
		t.Fatal(err)
	}
	if h.app, err = newApp(t.Context(), s, t.Output(), 2); err != nil {
		t.Fatal(err)
	}
	if err := h.openGraphQL(); err != nil {
		t.Fatal(err)
	}
	if h.handler, err = h.routes(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- h.machinery(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		h.close()
	})
	return h
}

// heard counts the statements of operations; those of the machinery come when they come.
func (h *house) heard(ctx context.Context, _ string) {
	if graphql.HasOperationContext(ctx) {
		h.statements.Add(1)
	}
}

// ask sends an operation and returns its data.
func (h *house) ask(token, query string, into any) {
	h.t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		h.t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/graphql", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	var answer struct {
		Data   json.RawMessage
		Errors []any
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || len(answer.Errors) > 0 {
		h.t.Fatalf("%s\nanswered %d: %s", query, w.Code, w.Body)
	}
	if err := json.Unmarshal(answer.Data, into); err != nil {
		h.t.Fatal(err)
	}
}

// register makes an account and returns its access token.
func (h *house) register(email string) string {
	h.t.Helper()
	var answer struct {
		Register struct{ Outcome struct{ AccessToken string } }
	}
	h.ask("", fmt.Sprintf(`mutation { register(input: {email: %q, password: "a long enough secret 7"}) { outcome { ... on SessionTokens { accessToken } } } }`, email), &answer)
	return answer.Register.Outcome.AccessToken
}

// login signs in once more and returns the access token.
func (h *house) login(email string) string {
	h.t.Helper()
	var answer struct {
		Login struct{ Outcome struct{ AccessToken string } }
	}
	h.ask("", fmt.Sprintf(`mutation { login(input: {email: %q, password: "a long enough secret 7"}) { outcome { ... on SessionTokens { accessToken } } } }`, email), &answer)
	return answer.Login.Outcome.AccessToken
}

func TestEachLevelOfAQueryCostsOneStatement(t *testing.T) {
	h := newHouse(t)
	token := h.register("ada@example.com")
	for i := range 12 {
		h.ask(token, fmt.Sprintf(`mutation { processCsv(input: {text: "a,b\n%d,2\n", options: {runAt: "2027-01-01T00:00:00Z"}}) { job { id } } }`, i), new(any))
	}
	for _, c := range []struct {
		name, query string
		most        int64
	}{
		{"nodes", `{ jobs(first: 12) { nodes { id attempts { number } artifacts { url } owner { email sessions { nodes { id } } } } } }`, 6},
		{"edges", `{ jobs(first: 12) { edges { node { owner { id } } } } }`, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := h.statements.Load()
			h.ask(token, c.query, new(any))
			if n := h.statements.Load() - before; n > c.most {
				t.Errorf("the query cost %d statements, want at most %d: list, count, and one a level", n, c.most)
			}
		})
	}
}

func TestEachChangeOfAMutationShowsWhatThoseBeforeItHaveChanged(t *testing.T) {
	h := newHouse(t)
	token := h.register("ada@example.com")
	h.login("ada@example.com")
	var changed struct {
		A, B, C struct {
			User struct{ Sessions struct{ TotalCount int } }
		}
	}
	h.ask(token, `mutation {
		a: updateProfile(input: {name: "Ada"}) { user { sessions { totalCount } } }
		b: revokeOtherSessions { user { sessions { totalCount } } }
		c: revokeAllSessions { user { sessions { totalCount } } }
	}`, &changed)
	got := [3]int{changed.A.User.Sessions.TotalCount, changed.B.User.Sessions.TotalCount, changed.C.User.Sessions.TotalCount}
	if want := [3]int{2, 1, 0}; got != want {
		t.Errorf("after each change there are %v sessions, want %v", got, want)
	}
}

// accountOf returns the account behind a token.
func (h *house) accountOf(token string) viewer.Viewer {
	h.t.Helper()
	v, _, err := h.sessions.Authenticate(h.t.Context(), token)
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

func TestTheMainJobRunsFromRegistrationToResult(t *testing.T) {
	h := newHouse(t)
	token := h.register("ada@example.com")
	var begun struct {
		ProcessCsv struct{ Job struct{ ID string } }
	}
	h.ask(token, `mutation { processCsv(input: {text: "name,age\nAda,36\nEve\n"}) { job { id } } }`, &begun)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	events, err := h.queue.Watch(ctx, h.accountOf(token), queue.ID(begun.ProcessCsv.Job.ID), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range events {
	}
	var done struct {
		Job struct {
			State     string
			Result    struct{ Rows, BadRows int }
			Artifacts []struct{ Name, URL string }
		}
	}
	h.ask(token, fmt.Sprintf(`{ job(id: %q) { state result { ... on CsvSummary { rows badRows } } artifacts { name url } } }`, begun.ProcessCsv.Job.ID), &done)
	if done.Job.State != "SUCCEEDED" || done.Job.Result.Rows != 1 || done.Job.Result.BadRows != 1 || len(done.Job.Artifacts) != 2 {
		t.Fatalf("job = %+v", done.Job)
	}
	link := strings.TrimPrefix(done.Job.Artifacts[0].URL, h.settings.PublicURL)
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, httptest.NewRequest("GET", link, nil))
	if w.Code != http.StatusOK || w.Body.String() != `{"name":"Ada","age":36}`+"\n" {
		t.Errorf("artifact answered %d: %s", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	h.handler.ServeHTTP(w, httptest.NewRequest("GET", link+"x", nil))
	if w.Code != http.StatusForbidden {
		t.Errorf("a forged link answered %d", w.Code)
	}
}

func TestEveryAnswerCarriesItsIDAndSecurityHeaders(t *testing.T) {
	h := newHouse(t)
	for _, path := range []string{"/", "/explorer", "/schema.graphql", "/healthz", "/readyz", "/metrics", "/.well-known/jwks.json", "/nowhere"} {
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		for _, name := range []string{"X-Request-Id", "X-Content-Type-Options", "Referrer-Policy", "Content-Security-Policy"} {
			if w.Header().Get(name) == "" {
				t.Errorf("%s has no %s", path, name)
			}
		}
		if path != "/nowhere" && w.Code != http.StatusOK {
			t.Errorf("%s answered %d: %s", path, w.Code, w.Body)
		}
	}
}

func TestMetricsAreClosedInProductionWithoutAToken(t *testing.T) {
	h := newHouse(t)
	h.settings.Env = "production"
	w := httptest.NewRecorder()
	h.guardMetrics(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusForbidden {
		t.Errorf("metrics without a token were answered %d", w.Code)
	}
}

func TestOnlyATrustedProxyNamesRequests(t *testing.T) {
	h := newHouse(t)
	ask := func(remote string) string {
		r := httptest.NewRequest("GET", "/healthz", nil)
		r.RemoteAddr = remote
		r.Header.Set("X-Request-Id", "chosen-by-the-client")
		w := httptest.NewRecorder()
		handler, err := h.routes()
		if err != nil {
			t.Fatal(err)
		}
		handler.ServeHTTP(w, r)
		return w.Header().Get("X-Request-Id")
	}
	if ask("192.0.2.1:1") == "chosen-by-the-client" {
		t.Error("a stranger chose the id of a request")
	}
	h.settings.proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	if got := ask("192.0.2.1:1"); got != "chosen-by-the-client" {
		t.Errorf("the proxy's id became %s", got)
	}
}

func TestMetricsAskForTheirToken(t *testing.T) {
	h := newHouse(t)
	h.settings.MetricsToken = "hush"
	guarded := h.guardMetrics(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for header, want := range map[string]int{"": 401, "Bearer wrong": 401, "Bearer hush": 200} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		guarded.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q was answered %d, want %d", header, w.Code, want)
		}
	}
}
