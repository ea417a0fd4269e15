package main

import (
	"bytes"
	"encoding/json"
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

// crowdQuery is a page of accounts with what hangs on them.
const crowdQuery = `{users(first:20){nodes{id email sessions{nodes{id lastSeenAt}} factors{id kind}} pageInfo{hasNextPage}}}`

// BenchmarkCrowd is a page of 20 accounts with their sessions and factors.
func BenchmarkCrowd(b *testing.B) {
	for name, address := range databases() {
		b.Run(name, func(b *testing.B) {
			c := newCrowd(b, address(b), 20)
			body, err := json.Marshal(map[string]string{"query": crowdQuery})
			c.must(err)
			before := c.statements.Load()
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest("POST", "/graphql", bytes.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "Bearer "+c.admin)
				w := &sink{header: make(http.Header)}
				c.handler.ServeHTTP(w, r)
			}
			b.ReportMetric(float64(c.statements.Load()-before)/float64(b.N), "statements/op")
		})
	}
}

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
