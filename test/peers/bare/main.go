// Command bare is the least that a Go server can do: net/http writing an answer that it was given,
// and a WebSocket broadcast without GraphQL, sign-in or limits. Gatehouse is measured beside it.
//
//	bare ANSWER    # ANSWER: a file with one HTTP answer, status line, headers and body
//
// It listens on a free loopback port and says which one.
package main

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 §4.2.2 asks for it
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
)

func main() {
	debug.SetGCPercent(400) // as Gatehouse does
	if err := serve(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func serve(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	answer, err := http.ReadResponse(bufio.NewReader(file), nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /graphql", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		maps.Copy(w.Header(), answer.Header)
		_, _ = w.Write(body) // the client has gone, or it has it
	})
	var all audience
	mux.HandleFunc("GET /graphql", all.join)
	mux.HandleFunc("POST /broadcast", all.broadcast)
	fmt.Printf("listening at http://%s\n", listener.Addr())
	return http.Serve(listener, mux) //nolint:gosec // no time-outs: the bare minimum is the point
}

// audience is the open sockets.
type audience struct {
	mu      sync.Mutex
	sockets []net.Conn
}

// join upgrades a connection (RFC 6455 §4.2) and keeps it. What it sends is not read.
func (a *audience) join(w http.ResponseWriter, r *http.Request) {
	socket, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	a.mu.Lock() // before the answer: a broadcast must not miss who has it
	defer a.mu.Unlock()
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see above
	_, err = fmt.Fprintf(socket, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Protocol: %s\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		r.Header.Get("Sec-WebSocket-Protocol"), base64.StdEncoding.EncodeToString(sum[:]))
	if err != nil {
		socket.Close()
		return
	}
	a.sockets = append(a.sockets, socket)
}

// broadcast sends a text frame of the asked length, 126 to 65,535 bytes, to everybody in turn.
func (a *audience) broadcast(w http.ResponseWriter, r *http.Request) {
	bytes, err := strconv.Atoi(r.URL.Query().Get("bytes"))
	if err != nil || bytes < 126 || bytes > 65535 {
		http.Error(w, "bytes is 126 to 65535", http.StatusBadRequest)
		return
	}
	frame := make([]byte, 4+bytes)
	frame[0], frame[1] = 0x81, 126
	binary.BigEndian.PutUint16(frame[2:], uint16(bytes))
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, socket := range a.sockets {
		_, _ = socket.Write(frame) // one who has left misses it
	}
}
