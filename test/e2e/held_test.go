package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// held is a request whose head the server has admitted and whose body has not come.
type held struct {
	t     testing.TB
	conn  net.Conn
	from  *bufio.Reader
	body  string
	since time.Time
}

// holdBack sends the head of a request and waits until the server asks for the body (RFC 9110 §10.1.1): by
// then it knows the caller.
func (c *client) holdBack(contentType, body string) *held {
	c.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	head := c.headers.Clone()
	head.Set("Content-Type", contentType)
	head.Set("GraphQL-Require-Preflight", "1")
	head.Set("Expect", "100-continue")
	if c.access != "" {
		head.Set("Authorization", "Bearer "+c.access)
	}
	host := strings.TrimPrefix(c.url, "http://")
	fmt.Fprintf(conn, "POST /graphql HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", host, len(body))
	_ = head.Write(conn)
	_, _ = io.WriteString(conn, "\r\n")
	h := &held{t: c.t, conn: conn, from: bufio.NewReader(conn), body: body, since: time.Now()}
	if line, err := h.from.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		c.t.Fatalf("the server asks for no body: %q, %v", line, err)
	}
	if _, err := h.from.ReadString('\n'); err != nil {
		c.t.Fatal(err)
	}
	return h
}

// lateEnough reports whether the body has been held for longer than a slow network would.
func (h *held) lateEnough() bool { return time.Since(h.since) > 400*time.Millisecond }

// finish sends the body and returns what is answered.
func (h *held) finish() answer {
	h.t.Helper()
	if _, err := io.WriteString(h.conn, h.body); err != nil {
		h.t.Fatal(err)
	}
	r, err := http.ReadResponse(h.from, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	a := answer{status: r.StatusCode, body: text}
	if err := json.Unmarshal(text, &a); err != nil {
		h.t.Fatalf("got %d %q: %v", r.StatusCode, text, err)
	}
	return a
}

// bodies are an operation as JSON and as a form with a file, by the media type.
func bodies(t testing.TB, document string, v vars) map[string]string {
	t.Helper()
	v["f"] = nil
	text, err := json.Marshal(vars{"query": document, "variables": v})
	if err != nil {
		t.Fatal(err)
	}
	part := func(head, text string) string {
		return "--end\r\nContent-Disposition: form-data; " + head + "\r\n\r\n" + text + "\r\n"
	}
	return map[string]string{
		"application/json": string(text),
		"multipart/form-data; boundary=end": part(`name="operations"`, string(text)) + part(`name="map"`, `{"0": ["variables.f"]}`) +
			part(`name="0"; filename="a"`, "x") + "--end--\r\n",
	}
}

const promoteDocument = `mutation($id: ID!) { setUserRoles(input: {userId: $id, roles: [ADMIN]}) { user { roles } userErrors { code } } }`

func TestARequestThatIsHeldBackOpensNothingOnceItsSenderIsOut(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		root, eve, carl := d.admin(), d.admin(), d.person()
		there := eve.at(last(d.servers))
		var all []*held
		for media, body := range bodies(t, promoteDocument, vars{"id": carl.user}) {
			all = append(all, there.holdBack(media, body))
		}
		ask[any](root, `mutation($id: ID!) { disableUser(input: {userId: $id}) { user { id } userErrors { code } } }`, vars{"id": eve.user})
		for _, h := range all {
			until(t, patience, "the session of a disabled administrator goes on", func() bool { return h.lateEnough() && !there.signedIn() })
			if a := h.finish(); a.code() != "UNAUTHENTICATED" || len(a.Data) > 0 && string(a.Data) != "null" {
				t.Errorf("a request that was held back answers %v", a)
			}
		}
		carl.login()
		if a := carl.say(`{ users { totalCount } }`, nil); a.code() != "FORBIDDEN" {
			t.Errorf("the one whom it should have promoted reads the users: %v", a)
		}
	})
}

func TestARequestInCookieModeThatIsHeldBackOpensNothingOnceItsSessionIsRevoked(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	b := d.browser()
	b.email, b.password = d.seen.email(), d.seen.password()
	b.say(registerDocument, vars{"in": vars{"email": b.email, "password": b.password}})
	owner := d.visitor(0)
	owner.email, owner.password = b.email, b.password
	owner.login()
	b.headers.Set("Cookie", b.cookie())
	h := b.holdBack("application/json", `{"query": "mutation { updateProfile(input: {name: \"Mallory\"}) { user { name } userErrors { code } } }"}`)
	ask[any](owner, `mutation { revokeOtherSessions { user { id } userErrors { code } } }`, nil)
	until(t, patience, "a revoked session goes on", func() bool { return h.lateEnough() && !b.signedIn() })
	if a := h.finish(); a.code() != "UNAUTHENTICATED" {
		t.Errorf("a request that was held back answers %v", a)
	}
}
