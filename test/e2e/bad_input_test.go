package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/golang-jwt/jwt/v5"

	"gatehouse/session/token"
)

// TestBadInputGetsATypedAnswerAndTakesNothingWithIt runs everything against one server, and looks at
// it afterwards.
func TestBadInputGetsATypedAnswerAndTakesNothingWithIt(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	bystander := d.person()
	kept := bystander.awaitState(bystander.process(vars{"text": "a,b\n1,2\n"}).ID, "SUCCEEDED")
	server := d.servers[0]
	goroutines := server.metric(t, "go_goroutines")
	files := len(d.files())

	t.Run("documents", func(t *testing.T) { badDocuments(t, c) })
	t.Run("bodies", func(t *testing.T) { badBodies(t, c) })
	t.Run("tokens", func(t *testing.T) { badTokens(t, d, c) })
	t.Run("accounts", func(t *testing.T) { badAccounts(t, d, c) })
	t.Run("jobs", func(t *testing.T) { badJobs(t, c) })
	t.Run("uploads", func(t *testing.T) { badUploads(t, d, c) })
	t.Run("sockets", func(t *testing.T) { badSockets(t, d, c) })

	if !c.signedIn() || !bystander.signedIn() {
		t.Error("a session has suffered")
	}
	if again := bystander.job(kept.ID); again.State != "SUCCEEDED" || len(again.Artifacts) != 2 {
		t.Errorf("another person's job is now %+v", again)
	}
	for _, j := range c.list(vars{"first": 100}).Nodes {
		ask[any](c, `mutation($id: ID!) { deleteJob(input: {id: $id}) { deletedId userErrors { code } } }`, vars{"id": j.ID})
	}
	until(t, patience, "files are left behind", func() bool { return len(d.files()) == files })
	c.http.CloseIdleConnections()
	bystander.http.CloseIdleConnections()
	until(t, patience, "goroutines are left behind", func() bool { return server.metric(t, "go_goroutines") <= goroutines+5 })
	memory := server.metric(t, "process_resident_memory_bytes")
	t.Logf("goroutines before %v and after %v; resident memory %.0f MiB", goroutines, server.metric(t, "go_goroutines"), memory/(1<<20))
	if memory > 400<<20 && !raceEnabled {
		t.Errorf("the server holds %.0f MiB", memory/(1<<20))
	}
}

func badDocuments(t *testing.T, c *client) {
	var aliases, nested strings.Builder
	for i := range 30 {
		fmt.Fprintf(&aliases, "a%d: version ", i)
	}
	for range 12 {
		nested.WriteString("{ me { jobs { nodes { owner ")
	}
	typed := `query($first: Int!) { jobs(first: $first) { totalCount } }`
	for _, row := range []struct {
		name  string
		query string
		v     vars
		code  string
	}{
		{"no document", ``, nil, "BAD_USER_INPUT"},
		{"no GraphQL", `hello`, nil, "BAD_USER_INPUT"},
		{"unfinished", `{ me { id `, nil, "BAD_USER_INPUT"},
		{"an unknown field", `{ me { salary } }`, nil, "BAD_USER_INPUT"},
		{"an argument of the wrong type", `{ jobs(first: "x") { totalCount } }`, nil, "BAD_USER_INPUT"},
		{"a variable of the wrong type", typed, vars{"first": "many"}, "BAD_USER_INPUT"},
		{"a variable that is a list", typed, vars{"first": []int{1}}, "BAD_USER_INPUT"},
		{"a number beyond Int", typed, vars{"first": 1 << 40}, "BAD_USER_INPUT"},
		{"a missing variable", typed, nil, "BAD_USER_INPUT"},
		{"a null where none may be", typed, vars{"first": nil}, "BAD_USER_INPUT"},
		{"an unknown enum value", `{ jobs(filter: {states: [ASLEEP]}) { totalCount } }`, nil, "BAD_USER_INPUT"},
		{"a time that is none", `{ jobs(filter: {createdAfter: "yesterday"}) { totalCount } }`, nil, "BAD_USER_INPUT"},
		{"a time that is a number", `query($t: Time) { jobs(filter: {createdAfter: $t}) { totalCount } }`, vars{"t": 7}, "BAD_USER_INPUT"},
		{"a file that is a text", processDocument, vars{"in": vars{"file": "a,b"}}, "BAD_USER_INPUT"},
		{"an unknown operation", `query A { version } query B { version }`, nil, "BAD_USER_INPUT"},
		{"a page of nothing", `{ jobs(first: 0) { totalCount } }`, nil, "BAD_USER_INPUT"},
		{"a page below nothing", `{ jobs(last: -3) { totalCount } }`, nil, "BAD_USER_INPUT"},
		{"first and last", `{ jobs(first: 1, last: 1) { totalCount } }`, nil, "BAD_USER_INPUT"},
		{"a forged cursor", `{ jobs(after: "MiB6eiBqb2JfMQ") { totalCount } }`, nil, "BAD_USER_INPUT"},
		{"a cursor with a tail", `{ jobs(after: "MSB6eiBqb2I=") { totalCount } }`, nil, "BAD_USER_INPUT"},
		{"a cursor that is none", `{ jobs(after: "' OR 1=1 --") { totalCount } }`, nil, "BAD_USER_INPUT"},
		{"a page too large", `{ jobs(first: 101) { totalCount } }`, nil, "BAD_USER_INPUT"},
		{"too many ids", `query($ids: [ID!]!) { nodes(ids: $ids) { id } }`, vars{"ids": slices.Repeat([]string{"job_x"}, 101)}, "BAD_USER_INPUT"},
		{"no such node", `{ node(id: "cat_1") { id } }`, nil, "NOT_FOUND"},
		{"an id of megabytes", `query($id: ID!) { job(id: $id) { id } }`, vars{"id": "job_" + strings.Repeat("x", 500_000)}, "NOT_FOUND"},
		{"an id with a zero byte", `query($id: ID!) { job(id: $id) { id } }`, vars{"id": "job_\x00"}, "NOT_FOUND"},
		{"an owner with a zero byte", listDocument, vars{"filter": vars{"ownerId": "usr_\x00"}}, "FORBIDDEN"},
		{"too many aliases", `{ ` + aliases.String() + ` }`, nil, "LIMIT_EXCEEDED"},
		{"too deep", nested.String() + strings.Repeat("}", 48), nil, "LIMIT_EXCEEDED"},
		{"too many tokens", `{ ` + strings.Repeat("version ", 2000) + ` }`, nil, "LIMIT_EXCEEDED"},
		{"too long", `{ version # ` + strings.Repeat("x", 200<<10) + "\n}", nil, "LIMIT_EXCEEDED"},
		{"fragments in a circle", `query { ...A } fragment A on Query { ...B } fragment B on Query { ...A }`, nil, "BAD_USER_INPUT"},
		{"fields that do not merge", `{ version: __typename version }`, nil, "BAD_USER_INPUT"},
	} {
		a := c.say(row.query, row.v)
		if a.code() != row.code || a.status != http.StatusOK && a.status != http.StatusBadRequest {
			t.Errorf("%s: got %v, want %s", row.name, a, row.code)
		}
		if len(a.Errors) > 0 && a.Errors[0].Extensions.RequestID == "" {
			t.Errorf("%s: no request id in %v", row.name, a)
		}
	}
}

func badBodies(t *testing.T, c *client) {
	for _, row := range []struct {
		name, media, body string
		status            int
	}{
		{"10 MB of query text", "application/json", `{"query": "{ version # ` + strings.Repeat("x", 10<<20) + `"}`, http.StatusRequestEntityTooLarge},
		{"a megabyte of brackets", "application/json", strings.Repeat("[", 1<<20), http.StatusBadRequest},
		{"deep variables", "application/json", `{"query": "{ version }", "variables": {"a": ` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}}`, http.StatusBadRequest},
		{"no JSON", "application/json", `query`, http.StatusBadRequest},
		{"half of it", "application/json", `{"query": "{ ver`, http.StatusBadRequest},
		{"nothing", "application/json", ``, http.StatusBadRequest},
		{"a batch", "application/json", `[{"query": "{ version }"}]`, http.StatusBadRequest},
		{"a query that is a number", "application/json", `{"query": 7}`, http.StatusBadRequest},
		{"variables that are a list", "application/json", `{"query": "{ version }", "variables": []}`, http.StatusBadRequest},
		{"bytes that are no UTF-8", "application/json", "{\"query\": \"{ \xff\xfe }\"}", http.StatusOK},
		{"XML", "application/xml", `<query/>`, http.StatusUnsupportedMediaType},
		{"UTF-16", "application/json; charset=utf-16", `{}`, http.StatusUnsupportedMediaType},
	} {
		a, err := c.post(t.Context(), row.media, strings.NewReader(row.body))
		if err != nil || a.status != row.status || a.code() == "" || a.code() == "INTERNAL" {
			t.Errorf("%s: got %v, %v, want status %d", row.name, a, err, row.status)
		}
	}
	for method, want := range map[string]int{http.MethodPut: http.StatusMethodNotAllowed, http.MethodDelete: http.StatusMethodNotAllowed} {
		r, err := http.NewRequestWithContext(t.Context(), method, c.url+"/graphql", nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := c.http.Do(r); err != nil || response.StatusCode != want {
			t.Errorf("%s: %v, %v", method, response, err)
		} else {
			_ = response.Body.Close()
		}
	}
}

func badTokens(t *testing.T, d *deployment, c *client) {
	key := d.signingKey()
	if genuine := c.sign(key, func(*token.Claims) {}); !with(c, genuine).signedIn() {
		t.Fatal("a token that we sign like the server is refused, so the rows below show nothing")
	}
	stranger, err := token.GenerateKey(token.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(c.access, ".")
	symmetric, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": c.user, "sid": c.session, "exp": time.Now().Add(time.Hour).Unix()}).SignedString([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for name, forged := range map[string]string{
		"nonsense": "nonsense",
		"expired": c.sign(key, func(k *token.Claims) {
			k.IssuedAt, k.ExpiresAt = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
		}),
		"of another issuer":       c.sign(key, func(k *token.Claims) { k.Issuer = "https://evil.example" }),
		"for another audience":    c.sign(key, func(k *token.Claims) { k.Audience = "elsewhere" }),
		"for another purpose":     c.sign(key, func(k *token.Claims) { k.Purpose = token.Challenge }),
		"of a session not there":  c.sign(key, func(k *token.Claims) { k.Session = "ses_nothing" }),
		"of another's session":    c.sign(key, func(k *token.Claims) { k.Subject = "usr_nobody" }),
		"not valid yet":           c.sign(key, func(k *token.Claims) { k.NotBefore = time.Now().Add(time.Hour) }),
		"signed by a stranger":    c.sign(stranger, func(*token.Claims) {}),
		"signed with a password":  symmetric,
		"without a signature":     parts[0] + "." + parts[1] + ".",
		"with another's head":     "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"with a signature cut":    c.access[:len(c.access)-4],
		"the refresh token":       c.refresh,
		"of megabytes":            strings.Repeat("x", 20_000),
		"with a space in between": parts[0] + " ." + parts[1] + "." + parts[2],
	} {
		a := with(c, forged).say(`{ me { id } version }`, nil)
		if a.status != http.StatusUnauthorized || a.code() != "UNAUTHENTICATED" || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("a token %s: %v, want 401 and UNAUTHENTICATED", name, a)
		}
	}
	for name, refresh := range map[string]string{"nonsense": "nonsense", "empty": "", "access": c.access, "cut": c.refresh[:20], "zero": "\x00"} {
		if a := c.tryRefresh(refresh); !slices.Contains([]string{"TOKEN_INVALID", "REQUIRED"}, a.userError()) {
			t.Errorf("the %s refresh token: %v", name, a)
		}
	}
	refused(t, "nobody's jobs", with(c, "").say(`{ jobs { totalCount } }`, nil), "UNAUTHENTICATED")
}

// with returns the person with another access token.
func with(c *client, access string) *client {
	other := *c
	other.access = access
	return &other
}

func badAccounts(t *testing.T, d *deployment, c *client) {
	good := d.seen.password()
	for _, row := range []struct {
		name, email, password, want, field string
	}{
		{"no address", "", good, "REQUIRED", "email"},
		{"half an address", "ada@", good, "INVALID", "email"},
		{"two addresses", "a@example.com, b@example.com", good, "INVALID", "email"},
		{"a line break", "a@example.com\r\nBcc: b@example.com", good, "INVALID", "email"},
		{"a zero byte", "a\x00@example.com", good, "INVALID", "email"},
		{"a long address", strings.Repeat("a", 300) + "@example.com", good, "", "email"},
		{"a taken address", strings.ToUpper(c.email), good, "TAKEN", "email"},
		{"a short password", d.seen.email(), "4 tea", "TOO_SHORT", "password"},
		{"a long password", d.seen.email(), strings.Repeat("tea at four ", 20), "TOO_LONG", "password"},
		{"a common password", d.seen.email(), "password123", "WEAK_PASSWORD", "password"},
	} {
		a := c.say(registerDocument, vars{"in": vars{"email": row.email, "password": row.password}})
		if a.userError() == "" || row.want != "" && a.userError() != row.want {
			t.Errorf("%s: got %v, want %s", row.name, a, row.want)
			continue
		}
		var got struct{ Data struct{ Register signIn } }
		if err := json.Unmarshal(a.body, &got); err != nil || len(got.Data.Register.UserErrors[0].Field) == 0 || got.Data.Register.UserErrors[0].Field[0] != row.field {
			t.Errorf("%s: %v, %v, want the field %s", row.name, a, err, row.field)
		}
	}
}

func badJobs(t *testing.T, c *client) {
	text := "a,b\n1,2\n"
	for _, row := range []struct {
		name string
		in   vars
		want string
	}{
		{"no source", vars{}, "REQUIRED"},
		{"two sources", vars{"text": text, "url": "https://example.com/"}, "REQUIRED"},
		{"an empty text", vars{"text": " \n"}, "EMPTY_FILE"},
		{"a text too large", vars{"text": strings.Repeat("1,2\n", 140<<10)}, "TOO_LARGE"},
		{"a delimiter of two letters", vars{"text": text, "delimiter": "ab"}, "INVALID"},
		{"a delimiter that is a quote", vars{"text": text, "delimiter": `"`}, "INVALID"},
		{"a file URL", vars{"url": "file:///etc/passwd"}, "INVALID"},
		{"a URL with a password", vars{"url": "https://user:word@example.com/"}, "INVALID"},
		{"a URL that is none", vars{"url": "people.csv"}, "INVALID"},
		{"a key too long", vars{"text": text, "options": vars{"idempotencyKey": strings.Repeat("k", 201)}}, "TOO_LONG"},
		{"no attempt", vars{"text": text, "options": vars{"maxAttempts": 0}}, "INVALID"},
		{"too many attempts", vars{"text": text, "options": vars{"maxAttempts": 26}}, "INVALID"},
		{"a time in ages", vars{"text": text, "options": vars{"runAt": "2999-01-01T00:00:00Z"}}, "INVALID"},
	} {
		if a := c.say(processDocument, vars{"in": row.in}); a.userError() != row.want {
			t.Errorf("%s: got %v, want %s", row.name, a, row.want)
		}
	}
	for _, row := range []struct {
		name string
		in   vars
		code string
	}{
		{"a header of a million columns", vars{"text": strings.Repeat("x,", 200_000) + "x\n"}, "TOO_LARGE"},
		{"a URL where nobody answers", vars{"url": "http://127.0.0.1:1/", "options": vars{"maxAttempts": 1}}, "UNAVAILABLE"},
		{"a URL where nothing is", vars{"url": c.url + "/nothing"}, "INVALID"},
	} {
		if j := c.awaitState(c.process(row.in).ID, "FAILED"); j.Error == nil || j.Error.Code != row.code {
			t.Errorf("%s failed with %+v, want %s", row.name, j.Error, row.code)
		}
	}
}

func badUploads(t *testing.T, d *deployment, c *client) {
	png := append([]byte("\x89PNG\r\n\x1a\n"), bytes.Repeat([]byte{0, 1, 2, 255}, 4000)...)
	if a, err := c.tryUpload(strings.NewReader(""), vars{}); err != nil || a.userError() != "EMPTY_FILE" {
		t.Errorf("an empty file: %v, %v", a, err)
	}
	if j := c.awaitState(c.upload(bytes.NewReader(png), vars{}).ID, "FAILED"); j.Error == nil || j.Error.Code != "UNSUPPORTED_FILE" || j.Attempt != 1 {
		t.Errorf("a picture failed with %+v in attempt %d", j.Error, j.Attempt)
	}
	if a, err := with(c, "").tryUpload(strings.NewReader("a\n"), vars{}); err != nil || a.status != http.StatusUnauthorized {
		t.Errorf("a stranger's upload: %v, %v", a, err)
	}
	operations := fmt.Sprintf(`{"query": %q, "variables": {"in": {"file": null}}}`, strings.ReplaceAll(processDocument, "\n\t", " "))
	for _, row := range []struct {
		name  string
		parts [][2]string // name and content; a name that ends in ! is a file
		cut   int         // bytes missing at the end
	}{
		{"nothing in it", nil, 0},
		{"no operations", [][2]string{{"map", "{}"}}, 0},
		{"no map", [][2]string{{"operations", operations}, {"0!", "a\n1\n"}}, 0},
		{"a map that is a list", [][2]string{{"operations", operations}, {"map", "[]"}}, 0},
		{"a map to nowhere", [][2]string{{"operations", operations}, {"map", `{"0": ["variables.in.salary"]}`}, {"0!", "a\n1\n"}}, 0},
		{"a map to the query", [][2]string{{"operations", operations}, {"map", `{"0": ["query"]}`}, {"0!", "a\n1\n"}}, 0},
		{"a file that is missing", [][2]string{{"operations", operations}, {"map", `{"0": ["variables.in.file"]}`}}, 0},
		{"a file that nobody named", [][2]string{{"operations", operations}, {"map", `{"0": ["variables.in.file"]}`}, {"1!", "a\n1\n"}}, 0},
		{"the end torn off", [][2]string{{"operations", operations}, {"map", `{"0": ["variables.in.file"]}`}, {"0!", strings.Repeat("a,b\n", 100_000)}}, 5000},
		{"operations that are no JSON", [][2]string{{"operations", "{"}, {"map", `{}`}}, 0},
	} {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		for _, part := range row.parts {
			writePart(t, form, part[0], part[1])
		}
		if err := form.Close(); err != nil {
			t.Fatal(err)
		}
		body.Truncate(body.Len() - row.cut)
		a, err := c.postForm(form.FormDataContentType(), &body)
		if err != nil || a.status != http.StatusBadRequest || a.code() != "BAD_USER_INPUT" {
			t.Errorf("a form with %s: %v, %v", row.name, a, err)
		}
	}
	goneAway(t, c)
	until(t, patience, "an upload is left half-written", func() bool { return len(d.incoming()) == 0 })
}

func writePart(t *testing.T, form *multipart.Writer, name, content string) {
	t.Helper()
	var part io.Writer
	var err error
	if file, isFile := strings.CutSuffix(name, "!"); isFile {
		part, err = form.CreateFormFile(file, "people.csv")
	} else {
		part, err = form.CreateFormField(name)
	}
	if err == nil {
		_, err = io.WriteString(part, content)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// goneAway begins an upload and hangs up in the middle of the file.
func goneAway(t *testing.T, c *client) {
	t.Helper()
	ctx, hangUp := context.WithCancel(t.Context())
	body := io.MultiReader(strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n"+
		`{"query": "mutation($in: ProcessCsvInput!) { processCsv(input: $in) { job { id } } }", "variables": {"in": {"file": null}}}`+
		"\r\n--x\r\nContent-Disposition: form-data; name=\"map\"\r\n\r\n{\"0\": [\"variables.in.file\"]}\r\n"+
		"--x\r\nContent-Disposition: form-data; name=\"0\"; filename=\"a.csv\"\r\n\r\n"),
		io.LimitReader(endless{}, 4<<20), readerFunc(func([]byte) (int, error) {
			hangUp()
			<-ctx.Done()
			return 0, io.ErrUnexpectedEOF
		}))
	gone := *c
	gone.headers = http.Header{"Graphql-Require-Preflight": {"1"}}
	if a, err := gone.post(ctx, "multipart/form-data; boundary=x", body); err == nil {
		t.Errorf("an upload whose client went away was answered: %v", a)
	}
}

type readerFunc func([]byte) (int, error)

// Read implements io.Reader.
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func badSockets(t *testing.T, d *deployment, c *client) {
	sayHello := func(s *socket) { s.send(envelope{Type: "connection_init", Payload: authorization(c.access)}) }
	subscribe := envelope{ID: "1", Type: "subscribe", Payload: json.RawMessage(`{"query": "subscription { jobUpdates { id } }"}`)}
	for _, row := range []struct {
		name string
		do   func(s *socket)
		want ws.StatusCode
	}{
		{"says nothing", func(*socket) {}, 4408},
		{"subscribes before it signs in", func(s *socket) { s.send(subscribe) }, 4401},
		{"speaks no JSON", func(s *socket) { s.frame(ws.NewTextFrame([]byte("hello"))) }, 4400},
		{"speaks binary", func(s *socket) { s.frame(ws.NewBinaryFrame([]byte{1})) }, 1003},
		{"sends an unknown type", func(s *socket) { s.send(envelope{Type: "shout"}) }, 4400},
		{"signs in with nonsense", func(s *socket) {
			s.send(envelope{Type: "connection_init", Payload: authorization("nonsense")})
		}, 4403},
		{"signs in twice", func(s *socket) { sayHello(s); sayHello(s) }, 4429},
		{"uses an id twice", func(s *socket) { sayHello(s); s.send(subscribe); s.send(subscribe) }, 4409},
		{"subscribes without a query", func(s *socket) {
			sayHello(s)
			s.send(envelope{ID: "1", Type: "subscribe", Payload: json.RawMessage(`{}`)})
		}, 4400},
		{"sends a message of megabytes", func(s *socket) {
			sayHello(s)
			s.frame(ws.NewTextFrame([]byte(`{"type": "` + strings.Repeat("x", 2<<20))))
		}, 1009},
		{"sends a frame without a mask", func(s *socket) {
			_ = ws.WriteFrame(s.conn, ws.NewTextFrame([]byte("{}")))
		}, 1002},
	} {
		s, err := c.tryDial(nil)
		if err != nil {
			t.Fatal(err)
		}
		row.do(s)
		if code, reason := s.awaitClose(patience); code != row.want {
			t.Errorf("a socket that %s: closed with %d %q, want %d", row.name, code, reason, row.want)
		}
	}
	s := c.dial()
	s.subscribe("1", `subscription { jobEvents(id: "job_nothing") { sequence } }`, nil)
	if m, ok := s.next(patience); !ok || !strings.Contains(string(m.Payload), "NOT_FOUND") {
		t.Errorf("a subscription to no job got %s %s", m.Type, m.Payload)
	}
	s.subscribe("2", `subscription { jobUpdates { salary } }`, nil)
	until(t, patience, "a subscription that is not valid got no error", func() bool {
		m, ok := s.next(patience)
		return ok && m.ID == "2" && m.Type == "error"
	})
	s.cut()
}
