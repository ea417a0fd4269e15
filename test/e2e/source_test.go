package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// people writes a CSV of rows, of which every badEvery-th has a field too many; 0: none.
func people(rows, badEvery int) []byte {
	var b bytes.Buffer
	b.WriteString("id,name,born,score,member\n")
	for i := 1; i <= rows; i++ {
		fmt.Fprintf(&b, "%d,Person %d,19%02d-0%d-1%d,%d.%02d,%t", i, i, i%100, 1+i%9, i%9, i%1000, i%100, i%2 == 0)
		if badEvery > 0 && i%badEvery == 0 {
			b.WriteString(",extra")
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// source is a web server that sends a CSV of which the test decides the pace.
type source struct {
	url     string
	opened  chan time.Time // one moment for each request that has begun
	gone    chan struct{}  // one value for each request whose client went away early
	opening atomic.Int64
	release chan struct{} // closed by open: whoever is fed slowly gets the rest at once
	once    sync.Once
}

// drip is how a slow source sends: a piece each interval, until it is released.
type drip struct {
	piece []byte
	every time.Duration
	size  int64 // bytes announced; 0: none
}

// newSource returns a server that drips until it is released; then it ends the file.
func newSource(t testing.TB, d drip) *source {
	s := &source{opened: make(chan time.Time, 1000), gone: make(chan struct{}, 1000), release: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, d) }))
	s.url = server.URL + "/people.csv"
	t.Cleanup(func() {
		s.open()
		server.CloseClientConnections()
		server.Close()
	})
	return s
}

func (s *source) serve(w http.ResponseWriter, r *http.Request, d drip) {
	s.opening.Add(1)
	s.opened <- time.Now()
	w.Header().Set("Content-Type", "text/csv")
	if d.size > 0 {
		w.Header().Set("Content-Length", fmt.Sprint(d.size))
	}
	_, _ = w.Write([]byte("id,name\n"))
	tick := time.NewTicker(d.every)
	defer tick.Stop()
	for {
		if _, err := w.Write(d.piece); err != nil {
			s.gone <- struct{}{}
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-tick.C:
		case <-s.release:
			return
		case <-r.Context().Done():
			s.gone <- struct{}{}
			return
		}
	}
}

// open lets every request end well, those that come later after their first piece.
func (s *source) open() { s.once.Do(func() { close(s.release) }) }

// awaitOpened returns when the next request began.
func (s *source) awaitOpened(t testing.TB, within time.Duration) time.Time {
	t.Helper()
	select {
	case at := <-s.opened:
		return at
	case <-time.After(within):
		t.Fatalf("nobody has asked for the source within %v", within)
		return time.Time{}
	}
}

// slowRows is a source of ten rows each 20 ms.
func slowRows(t testing.TB) *source {
	return newSource(t, drip{piece: bytes.Repeat([]byte("1,Ada\n"), 10), every: 20 * time.Millisecond})
}
