package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The operations that test/peers measures over the network.
const (
	meQuery   = `{me{id email name roles createdAt}}`
	listQuery = `{jobs(first:20){nodes{id kind state createdAt progress{fraction} owner{id email}} pageInfo{hasNextPage}}}`
)

// BenchmarkOperation is what Gatehouse adds to net/http: one request through all middleware and limits,
// and what nothing but reading the body and writing an answer costs.
func BenchmarkOperation(b *testing.B) {
	h := newHouse(b)
	token := h.register("ada@example.com")
	for i := range 40 {
		h.ask(token, fmt.Sprintf(`mutation { processCsv(input: {text: "a,b\n%d,2\n", options: {runAt: "2027-01-01T00:00:00Z"}}) { job { id } } }`, i), new(any))
	}
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["Content-Type"] = []string{"application/json"}
		_, _ = w.Write([]byte("{}"))
	})
	for _, c := range []struct {
		name, query string
		handler     http.Handler
	}{{"bare", meQuery, bare}, {"me", meQuery, h.handler}, {"list", listQuery, h.handler}} {
		b.Run(c.name, func(b *testing.B) {
			body := fmt.Sprintf(`{"query":%q}`, c.query)
			text := strings.NewReader(body)
			r := httptest.NewRequest("POST", "/graphql", text)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+token)
			r.Body = io.NopCloser(text)
			w := &sink{header: make(http.Header)}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = text.Seek(0, io.SeekStart)
				clear(w.header)
				c.handler.ServeHTTP(w, r)
			}
			b.ReportMetric(float64(w.written)/float64(b.N), "answer-B/op")
		})
	}
}

// sink counts an answer's bytes.
type sink struct {
	header  http.Header
	written int
}

func (s *sink) Header() http.Header { return s.header }

func (s *sink) WriteHeader(int) {}

func (s *sink) Write(p []byte) (int, error) { s.written += len(p); return len(p), nil }
