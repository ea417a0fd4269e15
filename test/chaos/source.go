package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"gatehouse/test/services"
)

// source is where jobs fetch CSVs: /rows at once, /flaky/NAME only at the third time, /slow over some time.
type source struct {
	url string

	mu    sync.Mutex
	asked map[string]int // how often, by path
}

// slowly is how long /slow takes: long enough that a worker is often killed in the middle.
const slowly = 1500 * time.Millisecond

func startSource(h services.Host) *source {
	s := &source{asked: map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	h.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	s.url = server.URL
	return s
}

func (s *source) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked[r.URL.Path]++
	times := s.asked[r.URL.Path]
	s.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/flaky/") && times < 3 {
		http.Error(w, "not yet", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/csv")
	_, _ = w.Write([]byte("id,name\n1,Ada\n2,Bob,extra\n")) // a bad row, so that there are two artifacts
	if !strings.HasPrefix(r.URL.Path, "/slow") {
		return
	}
	for i := range 10 {
		_ = http.NewResponseController(w).Flush()
		if !rest(r.Context(), slowly/10) {
			return
		}
		fmt.Fprintf(w, "%d,Person %d\n", i+2, i)
	}
}
