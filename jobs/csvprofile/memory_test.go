package csvprofile

import (
	"context"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// wide gives rows of 1,024 different values, with every so often a row at the limits of size: one that
// is all escapes, one that is too large, one whose quote is never closed.
type wide struct {
	row, rest []byte
	number    int
	left      int64
	corners   [][]byte
}

func (w *wide) Read(into []byte) (int, error) {
	if w.left <= 0 {
		return 0, io.EOF
	}
	if len(w.rest) == 0 {
		w.next()
	}
	n := copy(into, w.rest)
	w.rest, w.left = w.rest[n:], w.left-int64(n)
	return n, nil
}

func (w *wide) next() {
	w.number++
	if w.number%200 == 0 {
		w.rest = w.corners[w.number/200%len(w.corners)]
		return
	}
	w.row = w.row[:0]
	for column := range DefaultMaxColumns {
		w.row = strconv.AppendInt(w.row, int64(w.number*DefaultMaxColumns+column), 10)
		if w.number < 3 {
			w.row = append(w.row, strings.Repeat("n", maxKeptBytes)...)
		}
		w.row = append(w.row, ',')
	}
	w.row[len(w.row)-1] = '\n'
	w.rest = w.row
}

func TestMemoryStaysBounded(t *testing.T) {
	const bound = 32 << 20
	src := &wide{left: 32 << 20, corners: [][]byte{
		[]byte("\"" + strings.Repeat("\"\"", DefaultMaxFieldBytes/2-1) + "\"" + strings.Repeat(",\x01", DefaultMaxColumns-1) + "\n"),
		[]byte(strings.Repeat("\xff\"", DefaultMaxRecordBytes) + "\n"),
		[]byte("\"" + strings.Repeat("x,\n", DefaultMaxFieldBytes/2)),
		[]byte(strings.Repeat("\"\",", DefaultMaxRecordBytes) + "\n"),
	}}
	live := func() uint64 {
		var memory runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&memory)
		return memory.HeapAlloc
	}
	before, most, sampledAt := live(), uint64(0), int64(0)
	summary, err := Profile(context.Background(), src, Options{
		Delimiter: ',', Clean: io.Discard, Rejects: io.Discard,
		Progress: func(n int64) {
			if n-sampledAt > 1<<20 {
				sampledAt, most = n, max(most, live())
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows, %d bad: at most %.1f MiB live", summary.Rows, summary.BadRows, float64(most-before)/(1<<20))
	if most > before+bound {
		t.Errorf("%d bytes live, want at most %d", most-before, bound)
	}
}
