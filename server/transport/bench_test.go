package transport

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	gqlhandler "github.com/99designs/gqlgen/graphql/handler"
	gqltransport "github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/gobwas/ws"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

const benchBody = `{"query":"query Me{me}","operationName":"Me","variables":{}}`

// bare answers the same bytes by net/http alone: the measure of BenchmarkPost.
func bare(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	answer := []byte(`{"data":{"me":""}}`)
	w.Header().Set("Content-Type", mediaJSON+utf8Suffix)
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = w.Write(answer)
}

func benchSchema() graphql.ExecutableSchema {
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: schemaText})
	return &graphql.ExecutableSchemaMock{
		SchemaFunc: func() *ast.Schema { return schema },
		ExecFunc: func(context.Context) graphql.ResponseHandler {
			return graphql.OneShot(&graphql.Response{Data: []byte(`{"me":""}`)})
		},
	}
}

// BenchmarkPost compares requests over one loopback connection a worker, and the handlers alone.
func BenchmarkPost(b *testing.B) {
	h := newHouse(Options{})
	h.handler.options.Observer = Observer{}
	plain := gqlhandler.New(benchSchema())
	plain.AddTransport(gqltransport.POST{})
	plain.SetQueryCache(&documents{})
	for name, handler := range map[string]http.Handler{"bare": http.HandlerFunc(bare), "ours": h.handler, "gqlgen": plain} {
		h.do(request("POST", "/graphql", benchBody)) // the map of documents is filled before workers share it
		plain.ServeHTTP(httptest.NewRecorder(), request("POST", "/graphql", benchBody))
		b.Run("handler/"+name, func(b *testing.B) {
			b.ReportAllocs()
			r := request("POST", "/graphql", "")
			body := strings.NewReader(benchBody)
			r.Body = io.NopCloser(body)
			for b.Loop() {
				_, _ = body.Seek(0, io.SeekStart)
				w := discard{make(http.Header)}
				handler.ServeHTTP(w, r)
			}
		})
		b.Run("server/"+name, func(b *testing.B) {
			server := httptest.NewServer(handler)
			defer server.Close()
			sent := []byte("POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(benchBody)) + "\r\n\r\n" + benchBody)
			b.RunParallel(func(pb *testing.PB) {
				conn, err := net.Dial("tcp", server.Listener.Addr().String())
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close()
				answer := make([]byte, 4096)
				for pb.Next() {
					if _, err := conn.Write(sent); err != nil {
						b.Error(err)
						return
					}
					for n := 0; !bytes.Contains(answer[:n], []byte(`"}}`)); {
						k, err := conn.Read(answer[n:])
						if err != nil {
							b.Error(err)
							return
						}
						n += k
					}
				}
			})
		})
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkIdleSubscriber reports the memory and goroutines of a socket with one live subscription that
// has had two answers. Both ends live in this process, so the client's end is measured too: it is a bare
// net.Conn. The bar is 22 KB.
func BenchmarkIdleSubscriber(b *testing.B) {
	const count = 1000
	h := newHouse(Options{})
	server := httptest.NewServer(h.handler)
	defer server.Close()
	for b.Loop() {
		before, goroutines := footprint(), runtime.NumGoroutine()
		conns := make([]net.Conn, count)
		for i := range conns {
			conns[i] = subscriber(b, server.Listener.Addr().String())
		}
		for i := range 2 * count { // each takes from one channel: whoever waits longest
			h.ticks <- i
		}
		b.ReportMetric(float64(footprint()-before)/count, "B/subscriber")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/count, "goroutines/subscriber")
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
	if err := h.handler.Drain(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// footprint is the memory of live objects and stacks.
func footprint() int64 {
	var stats runtime.MemStats
	for range 3 { // stacks shrink by half a collection
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc + stats.StackInuse)
}

func subscriber(b *testing.B, address string) net.Conn {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Fprint(conn, handshake("graphql-transport-ws", "Origin: http://here.example", "User-Agent: bench", "Cookie: a=b"))
	for head := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
		one := make([]byte, 1)
		if _, err := conn.Read(one); err != nil {
			b.Fatal(err)
		}
		head = append(head, one...)
	}
	for _, text := range []string{`{"type":"connection_init","payload":{"authorization":"Bearer ada"}}`, forever} {
		if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte(text)))); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := readFrame(conn); err != nil { // the acknowledgement
		b.Fatal(err)
	}
	return conn
}
