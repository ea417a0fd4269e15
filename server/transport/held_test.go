package transport

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// held is a body that is long in coming.
type held struct {
	io.Reader
	arrive func() // called once, before the first byte
}

func (b *held) Read(p []byte) (int, error) {
	if b.arrive != nil {
		b.arrive()
		b.arrive = nil
	}
	return b.Reader.Read(p)
}

// hold sends a request as Ada whose body takes as long as that to come; meanwhile happens before it has.
func (h *house) hold(media, body string, long time.Duration, meanwhile func()) *httptest.ResponseRecorder {
	now := time.Now()
	h.handler.options.Now = func() time.Time { return now }
	r := request("POST", "/graphql", "", "Content-Type: "+media, "Authorization: Bearer ada", "GraphQL-Require-Preflight: 1")
	r.ContentLength = -1
	r.Body = io.NopCloser(&held{strings.NewReader(body), func() { now = now.Add(long); meanwhile() }})
	return h.do(r)
}

// kinds are the bodies that an operation comes in.
func kinds() map[string][2]string {
	return map[string][2]string{
		"JSON": {"application/json", `{"query":"mutation($x:Int){set(x:$x)}"}`},
		"a form": {"multipart/form-data; boundary=" + boundary, part("operations", "", takeOne) +
			part("map", "", `{"0":["variables.f"]}`) + part("0", "a.csv", "alpha") + lastBoundary},
	}
}

func TestABodyThatIsHeldBackOpensNothingAfterItsSessionHasEnded(t *testing.T) {
	for name, body := range kinds() {
		t.Run(name, func(t *testing.T) {
			h := newHouse(Options{})
			w := h.hold(body[0], body[1], moment, func() { h.locked(func() { h.barred = map[string]bool{"ada": true} }) })
			if code := decode(t, w.Body.Bytes()).code(); code != codeUnauthenticated {
				t.Errorf("got %d %s, want %s", w.Code, w.Body, codeUnauthenticated)
			}
			if len(h.staged) != 0 {
				t.Errorf("got staged %v, want nothing kept", h.staged)
			}
		})
	}
}

func TestABodyThatCameSlowlyIsServedToWhoeverIsStillSignedIn(t *testing.T) {
	for name, body := range kinds() {
		h := newHouse(Options{})
		w := h.hold(body[0], body[1], time.Minute, func() {})
		if a := decode(t, w.Body.Bytes()); len(a.Errors) != 0 || h.asked != 2 {
			t.Errorf("%s: got %s after %d looks at the token, want an answer after 2", name, w.Body, h.asked)
		}
	}
}

func TestABodyThatComesAtOnceIsAuthenticatedOnce(t *testing.T) {
	for name, body := range kinds() {
		h := newHouse(Options{})
		w := h.hold(body[0], body[1], moment-1, func() {})
		if a := decode(t, w.Body.Bytes()); len(a.Errors) != 0 || h.asked != 1 {
			t.Errorf("%s: got %s after %d looks at the token, want an answer after 1", name, w.Body, h.asked)
		}
	}
}

func TestAFormThatComesSteadilyIsCutOffAtItsTimeAllTheSame(t *testing.T) {
	h := newHouse(Options{MaxUploadTime: 300 * time.Millisecond})
	server := httptest.NewServer(h.handler)
	body, writer := io.Pipe()
	go func() { // without end, and faster than the pace asks for
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		_, err := io.WriteString(writer, part("operations", "", takeOne)+part("map", "", `{"0":["variables.f"]}`)+strings.TrimSuffix(part("0", "a.csv", "x"), "\r\n"))
		for ; err == nil; <-tick.C {
			_, err = io.WriteString(writer, strings.Repeat("x", 4<<10))
		}
	}()
	r := httptest.NewRequest("POST", server.URL+"/graphql", body)
	r.RequestURI = ""
	r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	r.Header.Set("Authorization", "Bearer ada")
	r.Header.Set("GraphQL-Require-Preflight", "1")
	began := time.Now()
	response, err := server.Client().Do(r)
	if err == nil {
		_ = response.Body.Close()
	}
	_ = body.Close()
	server.Close() // waits for the handler
	if took := time.Since(began); took > 10*time.Second || err == nil && response.StatusCode != 400 {
		t.Errorf("got %v, %v after %v, want it cut off after 300 ms", response, err, took)
	}
	if len(h.staged) != 0 {
		t.Errorf("got staged %d files, want none", len(h.staged))
	}
}
