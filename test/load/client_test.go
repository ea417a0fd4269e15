//go:build linux

package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// request returns a POST of a GraphQL operation as it goes over the wire.
func request(token, query string, headers ...string) []byte {
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		panic(err) // strings always marshal
	}
	var b bytes.Buffer
	b.WriteString("POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json\r\n")
	if token != "" {
		b.WriteString("Authorization: Bearer " + token + "\r\n")
	}
	for i := 0; i < len(headers); i += 2 {
		b.WriteString(headers[i] + ": " + headers[i+1] + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.Bytes()
}

// connection is one kept-alive HTTP connection.
type connection struct {
	net.Conn
	in *bufio.Reader
}

func dial(addr string) (*connection, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &connection{c, bufio.NewReaderSize(c, 16<<10)}, nil
}

var contentLength = []byte("content-length:")

// exchange sends a prepared request and reads the answer: its status and the length of its body. The
// body is written to into unless that is nil. It allocates nothing.
func (c *connection) exchange(request []byte, into io.Writer) (status, length int, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, 0, err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if len(line) < 12 {
		return 0, 0, fmt.Errorf("no status line: %q", line)
	}
	status, length = int(line[9]-'0')*100+int(line[10]-'0')*10+int(line[11]-'0'), -1
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, 0, err
		}
		if len(line) <= 2 {
			break
		}
		if len(line) > len(contentLength) && bytes.EqualFold(line[:len(contentLength)], contentLength) {
			length = number(line[len(contentLength):])
		}
	}
	switch {
	case length < 0:
		return 0, 0, errors.New("the answer has no Content-Length")
	case into == nil:
		_, err = c.in.Discard(length)
	default:
		_, err = io.CopyN(into, c.in, int64(length))
	}
	return status, length, err
}

func number(text []byte) int {
	n := 0
	for _, c := range text {
		if c >= '0' && c <= '9' {
			n = n*10 + int(c-'0')
		}
	}
	return n
}

// rate is what one round of load brought.
type rate struct {
	perSecond float64
	p50, p99  time.Duration
	cpu       time.Duration // of the server, for one request
}

// fire sends the same request over connections for the time span, after a tenth of it to warm up. Every
// answer must be 200 and as long as the first, which rules out errors in the body.
func fire(t testing.TB, p *program, request []byte, connections int, span time.Duration) rate {
	t.Helper()
	var (
		counting, stop atomic.Bool
		all            sync.WaitGroup
		took           = make([][]time.Duration, connections)
		failed         = make(chan error, connections)
	)
	for i := range connections {
		c, err := dial(p.addr)
		if err != nil {
			t.Fatal(err)
		}
		took[i] = make([]time.Duration, 0, 1<<14)
		all.Go(func() {
			defer c.Close()
			want := 0
			for began := time.Now(); !stop.Load(); {
				status, length, err := c.exchange(request, nil)
				if want == 0 {
					want = length
				}
				if err != nil || status != http.StatusOK || length != want {
					failed <- fmt.Errorf("got status %d, %d bytes, want 200, %d: %w", status, length, want, err)
					return
				}
				now := time.Now()
				if counting.Load() {
					took[i] = append(took[i], now.Sub(began))
				}
				began = now
			}
		})
	}
	time.Sleep(span / 10)
	cpu, began := p.cpu(t), time.Now()
	counting.Store(true)
	time.Sleep(span)
	counting.Store(false)
	elapsed, spent := time.Since(began), p.cpu(t)-cpu
	stop.Store(true)
	all.Wait()
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
	var every []time.Duration
	for _, some := range took {
		every = append(every, some...)
	}
	if len(every) == 0 {
		t.Fatal("no request was answered in time")
	}
	return rate{
		perSecond: float64(len(every)) / elapsed.Seconds(),
		p50:       at(every, 0.5), p99: at(every, 0.99), cpu: spent / time.Duration(len(every)),
	}
}

// ask sends one operation and decodes its data into into; any error fails the test.
func ask(t testing.TB, addr, token, query string, into any, headers ...string) {
	t.Helper()
	body := once(t, addr, request(token, query, headers...))
	var answer struct {
		Data   json.RawMessage   `json:"data"`
		Errors []json.RawMessage `json:"errors"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Errors) > 0 {
		t.Fatalf("%s was answered %s", query, body)
	}
	if into != nil {
		if err := json.Unmarshal(answer.Data, into); err != nil {
			t.Fatalf("%s was answered %s: %v", query, body, err)
		}
	}
}

// once sends one request over a connection of its own and returns the body.
func once(t testing.TB, addr string, request []byte) []byte {
	t.Helper()
	c, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var body bytes.Buffer
	if _, _, err := c.exchange(request, &body); err != nil {
		t.Fatal(err)
	}
	return body.Bytes()
}

// person is an account that has signed in.
type person struct {
	ID, Email, Access, Refresh string
}

const passphrase = "seventeen otters over Winnipeg"

// register makes an account. Each comes from a network of its own, so that the limits on
// registrations, which are on, do not meet the test's many: the server trusts this client as a proxy.
func register(t testing.TB, addr string, n int) person {
	t.Helper()
	who := person{Email: fmt.Sprintf("person%d@example.com", n)}
	var got struct {
		Register struct {
			Outcome struct {
				AccessToken, RefreshToken string
				User                      struct{ ID string }
			}
		}
	}
	ask(t, addr, "", `mutation{register(input:{email:"`+who.Email+`",password:"`+passphrase+`"}){
		outcome{... on SessionTokens{accessToken refreshToken user{id}}} userErrors{message}}}`, &got, forwarded(n)...)
	outcome := got.Register.Outcome
	who.ID, who.Access, who.Refresh = outcome.User.ID, outcome.AccessToken, outcome.RefreshToken
	if who.Access == "" {
		t.Fatalf("%s was not registered", who.Email)
	}
	return who
}

// forwarded is the header that makes the nth caller come from a network of its own.
func forwarded(n int) []string {
	return []string{"X-Forwarded-For", "10." + strconv.Itoa(n>>8&255) + "." + strconv.Itoa(n&255) + ".7"}
}

// behindProxy makes the server believe what forwarded says.
const behindProxy = "--trusted-proxies=127.0.0.0/8"
