//go:build linux

package load

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// measureSubscribers opens thousands of sockets that watch a job on which nothing happens: what one
// costs, and how long the last waits for one event, beside a broadcast of the same bytes without
// GraphQL.
func measureSubscribers(t *testing.T, b *bench) {
	count := of(b, 5000, 2000)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < uint64(count)+500 {
		count = int(limit.Cur) - 500
		t.Logf("ulimit -n allows %d sockets only", count)
	}
	house := b.gatehouse(t, anyCore, t.TempDir(), "--debug-addr=127.0.0.1:0")
	ada := register(t, house.addr, 1)
	bare := startBare(t, anyCore, house.addr, request(ada.Access, meQuery))
	bare.pause()
	settle(t, house)
	before, _ := house.resident(t)
	heap, stacks := inUse(t, house)

	var rounds, raws, ratios []float64
	for i := range of(b, 3, 1) {
		job := scheduledJob(t, house, ada)
		watching := openSockets(t, house.addr, count, ada.Access, job)
		if i == 0 {
			settle(t, house)
			now, _ := house.resident(t)
			each := float64(now-before) / float64(count) / 1024
			heapNow, stacksNow := inUse(t, house)
			b.atMost(t, fmt.Sprintf("memory of an idle subscriber, of %d", count), 26, each, " KiB",
				fmt.Sprintf("growth of RSS after a collection; heap in use grew by %.1f KiB, stacks by %.1f KiB",
					(heapNow-heap)/float64(count)/1024, (stacksNow-stacks)/float64(count)/1024))
		}
		finished := house.profile(t, time.Second)
		ours := watching.last(t, func() {
			cancel(t, house, ada, job)
		})
		finished()
		size := watching.bytes
		watching.close()
		house.pause()
		bare.resume()
		listening := openSockets(t, bare.addr, count, "", "")
		raw := listening.last(t, func() { broadcast(t, bare.addr, size) })
		listening.close()
		bare.pause()
		house.resume()
		rounds, raws, ratios = append(rounds, millis(ours)), append(raws, millis(raw)), append(ratios, float64(ours)/float64(raw))
	}
	bare.resume()
	b.atMost(t, fmt.Sprintf("last of %d subscribers for one event, of a raw broadcast", count), 1.6, middle(ratios), "",
		fmt.Sprintf("%.0f against %.0f ms, from the call of cancelJob; the client reads on the same cores", middle(rounds), middle(raws)))
}

// settle lets the server collect its garbage twice, and gives it a moment to hand memory back.
func settle(t testing.TB, house *program) {
	t.Helper()
	for range 2 {
		house.snapshot(t, "heap?gc=1")
	}
	house.snapshot(t, "goroutine")
	time.Sleep(2 * time.Second)
}

var memoryLine = regexp.MustCompile(`(?m)^go_memstats_(heap|stack)_inuse_bytes ([0-9.e+]+)$`)

// inUse is the bytes of heap and stacks in use, as the metrics tell.
func inUse(t testing.TB, house *program) (heap, stacks float64) {
	t.Helper()
	answer, err := http.Get("http://" + house.addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range memoryLine.FindAllSubmatch(text, -1) {
		into := &heap
		if string(found[1]) == "stack" {
			into = &stacks
		}
		*into, _ = strconv.ParseFloat(string(found[2]), 64)
	}
	return heap, stacks
}

// scheduledJob is a job that waits for tomorrow.
func scheduledJob(t testing.TB, house *program, who person) (id string) {
	t.Helper()
	var got struct {
		ProcessCsv struct{ Job struct{ ID string } }
	}
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	ask(t, house.addr, who.Access, `mutation{processCsv(input:{text:"a\n1\n",options:{runAt:"`+tomorrow+`"}}){job{id}}}`, &got)
	return got.ProcessCsv.Job.ID
}

func cancel(t testing.TB, house *program, who person, job string) {
	t.Helper()
	var got struct {
		CancelJob struct {
			UserErrors []struct{ Message string }
		}
	}
	ask(t, house.addr, who.Access, `mutation{cancelJob(input:{id:"`+job+`"}){userErrors{message}}}`, &got)
	if len(got.CancelJob.UserErrors) > 0 {
		t.Fatalf("the job was not cancelled: %v", got.CancelJob.UserErrors)
	}
}

func broadcast(t testing.TB, addr string, bytes int) {
	t.Helper()
	answer, err := http.Post(fmt.Sprintf("http://%s/broadcast?bytes=%d", addr, bytes), "", nil)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("broadcast: %v, %v", answer, err)
	}
	_ = answer.Body.Close()
}

// sockets are open WebSockets, each with a goroutine that reads.
type sockets struct {
	conns   []net.Conn
	readers sync.WaitGroup
	heard   chan time.Time // when one got its event
	bytes   int            // of the event
	mu      sync.Mutex     // guards bytes
}

// openSockets opens count sockets; with a token each subscribes to the job and has got its snapshot.
func openSockets(t testing.TB, addr string, count int, token, job string) *sockets {
	t.Helper()
	s := &sockets{heard: make(chan time.Time, count)}
	ready := make(chan error, count)
	opening := make(chan struct{}, 64) // at once, so that no queue of the kernel overflows
	for range count {
		opening <- struct{}{}
		conn, in, err := handshake(addr)
		if err != nil {
			t.Fatalf("open socket %d: %v", len(s.conns)+1, err)
		}
		s.conns = append(s.conns, conn)
		s.readers.Go(func() {
			err := subscribe(conn, in, token, job)
			<-opening
			ready <- err
			if err == nil {
				s.listen(in)
			}
		})
	}
	for range count {
		if err := <-ready; err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// handshake opens a WebSocket (RFC 6455 §4.1).
func handshake(addr string) (net.Conn, *bufio.Reader, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	_, err = io.WriteString(conn, "GET /graphql HTTP/1.1\r\nHost: "+addr+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: c2l4dGVlbiBieXRlcyBveA==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n")
	if err != nil {
		return nil, nil, err
	}
	in := bufio.NewReaderSize(conn, 512)
	line, err := in.ReadString('\n')
	if err != nil || !strings.Contains(line, " 101 ") {
		return nil, nil, fmt.Errorf("the handshake was answered %q: %w", line, err)
	}
	for line != "\r\n" {
		if line, err = in.ReadString('\n'); err != nil {
			return nil, nil, err
		}
	}
	return conn, in, nil
}

// subscribe says who the client is and asks for the job's events, until the snapshot has come.
func subscribe(conn net.Conn, in *bufio.Reader, token, job string) error {
	if token == "" {
		return nil
	}
	query, err := json.Marshal(`subscription{jobEvents(id:"` + job + `"){sequence at type job{id state progress{done total stage}}}}`)
	if err != nil {
		return err
	}
	for _, say := range []string{
		`{"type":"connection_init","payload":{"Authorization":"Bearer ` + token + `"}}`,
		`{"id":"1","type":"subscribe","payload":{"query":` + string(query) + `}}`,
	} {
		if err := sendText(conn, say); err != nil {
			return err
		}
		if code, _, err := receive(in); err != nil || code != 1 {
			return fmt.Errorf("the server answered with a frame of code %d: %w", code, err)
		}
	}
	return nil
}

// sendText sends a masked text frame; the mask is zero, which RFC 6455 §5.3 asks of no honest client
// and every server takes.
func sendText(conn net.Conn, text string) error {
	frame := []byte{0x81, 0x80 | 126, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(frame[2:], uint16(len(text)))
	_, err := conn.Write(append(frame, text...))
	return err
}

// receive reads one frame and drops its payload.
func receive(in *bufio.Reader) (code byte, length int, err error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, 0, err
	}
	if length = int(head[1] & 127); length == 126 {
		var long [2]byte
		if _, err := io.ReadFull(in, long[:]); err != nil {
			return 0, 0, err
		}
		length = int(binary.BigEndian.Uint16(long[:]))
	}
	_, err = in.Discard(length)
	return head[0] & 15, length, err
}

// listen tells when the first text frame has come, then reads until the end.
func (s *sockets) listen(in *bufio.Reader) {
	for told := false; ; {
		code, length, err := receive(in)
		if err != nil {
			return
		}
		if code == 1 && !told {
			told = true
			s.mu.Lock()
			s.bytes = length
			s.mu.Unlock()
			s.heard <- time.Now()
		}
	}
}

// last returns how long after cause was called the last socket got its event.
func (s *sockets) last(t testing.TB, cause func()) time.Duration {
	t.Helper()
	began := time.Now()
	cause()
	var latest time.Time
	for heard := range s.conns {
		select {
		case at := <-s.heard:
			if at.After(latest) {
				latest = at
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%d of %d subscribers got no event within 30 s", len(s.conns)-heard, len(s.conns))
		}
	}
	return latest.Sub(began)
}

func (s *sockets) close() {
	for _, c := range s.conns {
		c.Close()
	}
	s.readers.Wait()
}
