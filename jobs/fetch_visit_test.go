package jobs

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"code.dny.dev/ssrf"
)

// serving returns the address of a server that is closed with t.
func serving(t testing.TB, handle http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// fetchAll reads what an address brings.
func fetchAll(ctx context.Context, f *fetcher, w wish) ([]byte, error) {
	a, err := f.get(ctx, w)
	if err != nil {
		return nil, err
	}
	defer a.body.Close()
	return io.ReadAll(a.body)
}

// wantTrouble checks with which code something was not fetched.
func wantTrouble(t *testing.T, what string, err error, code FetchCode) {
	t.Helper()
	met, ok := errors.AsType[*trouble](err)
	if !ok || met.Code != code {
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

// TestARedirectInsideIsRefusedByTheAddressDialled lets one server of this machine count as public.
func TestARedirectInsideIsRefusedByTheAddressDialled(t *testing.T) {
	var reached atomic.Int64
	inside := serving(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	outside := serving(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusTemporaryRedirect)
	})
	f := newFetcher(false)
	safe := ssrf.New(ssrf.WithAnyPort()).Safe
	f.dialer.Control = func(network, address string, c syscall.RawConn) error {
		if "http://"+address == outside {
			return nil
		}
		return safe(network, address, c)
	}
	port := inside[strings.LastIndex(inside, ":"):]
	for _, to := range []string{
		inside, "http://localhost" + port, "http://[::ffff:7f00:1]" + port, "http://0x7f.1" + port,
		"http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://10.0.0.1/", "//127.0.0.1" + port,
	} {
		_, err := fetchAll(t.Context(), f, wish{url: outside + "/?to=" + to, limit: 100})
		wantTrouble(t, to, err, Refused)
	}
	for _, to := range []string{"file:///etc/passwd", "gopher://127.0.0.1/", "http://user:word@127.0.0.1/", "http://:80/"} {
		_, err := fetchAll(t.Context(), f, wish{url: outside + "/?to=" + to, limit: 100})
		wantTrouble(t, to, err, Redirects)
	}
	if reached.Load() != 0 {
		t.Errorf("the server inside was reached %d times", reached.Load())
	}
}

// TestANameThatLeadsInsideIsRefused answers for a name with addresses inside, as who rebinds a name does: what
// counts is the address that is dialled, however often the name changes.
func TestANameThatLeadsInsideIsRefused(t *testing.T) {
	var reached atomic.Int64
	inside := serving(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	port := inside[strings.LastIndex(inside, ":"):]
	var asked atomic.Int64
	server := nameServer(t, func() netip.Addr {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("169.254.169.254")}[asked.Add(1)%2]
	})
	f := newFetcher(false)
	f.dialer.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server)
	}}
	for range 4 {
		_, err := fetchAll(t.Context(), f, wish{url: "http://rebound.example" + port, limit: 100})
		wantTrouble(t, "a name that leads inside", err, Refused)
	}
	if asked.Load() < 4 || reached.Load() != 0 {
		t.Errorf("the name was asked for %d times, the server inside reached %d times", asked.Load(), reached.Load())
	}
	open := newFetcher(true)
	open.dialer.Resolver = f.dialer.Resolver
	for range 2 { // one of the two addresses is the server's
		_, _ = fetchAll(t.Context(), open, wish{url: "http://rebound.example" + port, limit: 100, timeout: time.Second})
	}
	if reached.Load() == 0 {
		t.Error("the name does not lead to the server: the test shows nothing")
	}
}

// nameServer answers each question for an IPv4 address (RFC 1035) with the next one, and each other with none.
func nameServer(t *testing.T, next func() netip.Addr) (address string) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		c.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		buffer := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(buffer)
			if err != nil {
				return
			}
			if reply := reply(buffer[:n], next); reply != nil {
				_, _ = c.WriteTo(reply, from)
			}
		}
	}()
	return c.LocalAddr().String()
}

// reply answers one question.
func reply(query []byte, next func() netip.Addr) []byte {
	end := 12
	for end < len(query) && query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5 // the root, type and class
	if end > len(query) {
		return nil
	}
	answer := append([]byte{}, query[:end]...)
	answer[2], answer[3] = 0x84, 0x80 // an answer, with authority
	binary.BigEndian.PutUint16(answer[6:], 0)
	binary.BigEndian.PutUint16(answer[8:], 0)
	binary.BigEndian.PutUint16(answer[10:], 0)
	if binary.BigEndian.Uint16(query[end-4:]) == 1 {
		binary.BigEndian.PutUint16(answer[6:], 1)
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		answer = append(answer, next().AsSlice()...)
	}
	return answer
}

func TestABodyThatDripsIsCutOff(t *testing.T) {
	address := serving(t, func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := w.Write([]byte("x")); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	})
	f := newFetcher(true)
	_, err := fetchAll(t.Context(), f, wish{url: address, limit: 1 << 20, timeout: 100 * time.Millisecond})
	wantTrouble(t, "beyond the time for one address", err, Timeout)
	f.silence = time.Second // no stall of this machine takes that long
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	_, err = fetchAll(ctx, f, wish{url: address, limit: 1 << 20})
	wantTrouble(t, "below the pace", err, Timeout)
}

func TestWhatUnpacksBeyondTheLimitIsRefused(t *testing.T) {
	var bomb bytes.Buffer
	pack := gzip.NewWriter(&bomb)
	if _, err := pack.Write(make([]byte, 64<<20)); err != nil {
		t.Fatal(err)
	}
	pack.Close()
	address := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	})
	f := newFetcher(true)
	_, err := fetchAll(t.Context(), f, wish{url: address, limit: maxAnswerBytes})
	wantTrouble(t, "64 MiB in 64 KiB", err, TooLarge)
	if packed, err := fetchAll(t.Context(), f, wish{url: address, limit: maxAnswerBytes, raw: true}); err != nil || !bytes.Equal(packed, bomb.Bytes()) {
		t.Errorf("raw: %d bytes of %d, %v", len(packed), bomb.Len(), err)
	}
	plain := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/untold" {
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = w.Write(make([]byte, 101))
	})
	for _, path := range []string{"/told", "/untold"} {
		_, err = fetchAll(t.Context(), f, wish{url: plain + path, limit: 100})
		wantTrouble(t, "a byte too many, "+path, err, TooLarge)
		_, err = fetchAll(t.Context(), f, wish{url: plain + path, limit: 102, had: 2})
		wantTrouble(t, "a byte too many with those that are here, "+path, err, TooLarge)
		if _, err = fetchAll(t.Context(), f, wish{url: plain + path, limit: 101}); err != nil {
			t.Errorf("as many as are allowed: %v", err)
		}
	}
}

func TestNoMoreThanTheDoorsAllowAreAtOneHost(t *testing.T) {
	var now, most atomic.Int64
	host := serving(t, func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
		}
		<-time.After(2 * time.Millisecond)
	})
	sendsOn := serving(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, host, http.StatusFound) })
	f, d := newFetcher(true), newDoors(3)
	ended := make(chan error, 40)
	for i := range cap(ended) {
		address := []string{host, sendsOn}[i%2]
		go func() {
			_, err := fetchAll(t.Context(), f, wish{url: address, limit: 100, doors: d})
			ended <- err
		}()
	}
	for range cap(ended) {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if most.Load() != 3 {
		t.Errorf("%d were at the host at once, want 3", most.Load())
	}
	if len(d.open) != 0 {
		t.Errorf("the doors of %d hosts are still open", len(d.open))
	}
}

func TestWhenToComeAgainIsReadFromSecondsAndDates(t *testing.T) {
	now := time.Date(2026, 1, 31, 9, 30, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "120": 2 * time.Minute, "121": 0, "-1": 0, "7.5": 0, "soon": 0, "99999999999999999999": 0,
		"Sat, 31 Jan 2026 09:30:30 GMT": 30 * time.Second, "Sat, 31 Jan 2026 09:29:00 GMT": 0, "Sun, 01 Feb 2026 09:30:00 GMT": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("Retry-After: %q gives %v, want %v", text, got, want)
		}
	}
}

func TestAServerThatSaysWhenIsAskedAgainAndNotForEver(t *testing.T) {
	tries := 0
	wait := &trouble{FetchError: FetchError{Status, ""}, passing: true, wait: time.Millisecond}
	if err := patiently(t.Context(), func() error { tries++; return wait }); !errors.Is(err, wait) || tries != maxTries {
		t.Errorf("asked %d times, %v", tries, err)
	}
	tries = 0
	err := patiently(t.Context(), func() error {
		if tries++; tries == 1 {
			return wait
		}
		return nil
	})
	if err != nil || tries != 2 {
		t.Errorf("asked %d times, %v", tries, err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tries, wait.wait = 0, 2*time.Minute
	if err := patiently(short, func() error { tries++; return wait }); !errors.Is(err, wait) || tries != 1 {
		t.Errorf("beyond the deadline: asked %d times, %v", tries, err)
	}
	why := errors.New("cancelled by the owner")
	ended, end := context.WithCancelCause(t.Context())
	tries = 0
	err = patiently(ended, func() error { tries++; end(why); return wait })
	if !errors.Is(err, why) || tries != 1 {
		t.Errorf("a job that ends: asked %d times, %v", tries, err)
	}
}

func TestWhatAJobEndsByIsNoFaultOfTheAddress(t *testing.T) {
	hanging := serving(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	why := errors.New("cancelled by the owner")
	ctx, end := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { end(why) })
	if _, err := fetchAll(ctx, newFetcher(true), wish{url: hanging, limit: 1}); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
	over, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errNoTime)
	defer cancel()
	_, err := fetchAll(over, newFetcher(true), wish{url: hanging, limit: 1})
	wantTrouble(t, "the end of the time for all", err, Timeout)
}

func TestABrokenAnswerIsToldFromNone(t *testing.T) {
	broken := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = fmt.Fprint(w, "half")
	})
	_, err := fetchAll(t.Context(), newFetcher(true), wish{url: broken, limit: 1000})
	wantTrouble(t, "half an answer", err, Interrupted)
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	_, err = fetchAll(t.Context(), newFetcher(true), wish{url: away.URL, limit: 1000})
	wantTrouble(t, "nobody there", err, Unreachable)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	_, err = fetchAll(t.Context(), newFetcher(true), wish{url: secure.URL, limit: 1000})
	wantTrouble(t, "a certificate of its own", err, Untrusted)
}
