package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// client speaks to one server as one person.
type client struct {
	t    testing.TB
	url  string // of the server
	http *http.Client
	seen *sightings

	email, password string
	user, session   string // ids
	access, refresh string
	device          string
	headers         http.Header // sent with each request
}

func newClient(t testing.TB, url string, seen *sightings) *client {
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t: t, url: url, http: &http.Client{Transport: transport, Timeout: patience}, seen: seen, headers: http.Header{}}
}

// at returns the same person at another server.
func (c *client) at(p *process) *client {
	other := *c
	other.url = p.url
	return &other
}

// again returns the same account, signed in once more.
func (c *client) again() *client {
	c.t.Helper()
	other := *c
	other.login()
	return &other
}

type vars map[string]any

// answer is what a server said to one operation.
type answer struct {
	status int
	header http.Header
	body   []byte
	Data   json.RawMessage `json:"data"`
	Errors []gqlError      `json:"errors"`
}

type gqlError struct {
	Message    string
	Path       []any
	Extensions struct {
		Code       string
		RequestID  string `json:"requestId"`
		RetryAfter *int
		Limit      any
		Hint       string
	}
}

// code is the code of the first error, "" when there is none.
func (a answer) code() string {
	if len(a.Errors) == 0 {
		return ""
	}
	return a.Errors[0].Extensions.Code
}

// userError is the code of the first refusal in the payload of a mutation with one field.
func (a answer) userError() string {
	var payloads map[string]struct {
		UserErrors []struct{ Code string }
	}
	_ = json.Unmarshal(a.Data, &payloads) // what is none has no refusal
	for _, p := range payloads {
		if len(p.UserErrors) > 0 {
			return p.UserErrors[0].Code
		}
	}
	return ""
}

func (a answer) String() string { return fmt.Sprintf("%d %.600s", a.status, a.body) }

// try sends an operation. An error means that no answer came.
func (c *client) try(ctx context.Context, query string, v vars) (answer, error) {
	body, err := json.Marshal(map[string]any{"query": query, "variables": v})
	if err != nil {
		return answer{}, err
	}
	c.seen.hear(v)
	return c.post(ctx, "application/json", bytes.NewReader(body))
}

func (c *client) post(ctx context.Context, contentType string, body io.Reader) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/graphql", body)
	if err != nil {
		return answer{}, err
	}
	r.Header = c.headers.Clone()
	r.Header.Set("Content-Type", contentType)
	if c.access != "" {
		r.Header.Set("Authorization", "Bearer "+c.access)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	a := answer{status: response.StatusCode, header: response.Header}
	if a.body, err = io.ReadAll(response.Body); err != nil {
		return a, err
	}
	if strings.Contains(response.Header.Get("Content-Type"), "json") {
		c.seen.harvest(given, a.body)
		err = json.Unmarshal(a.body, &a)
	}
	return a, err
}

// say sends an operation and returns whatever the server answers.
func (c *client) say(query string, v vars) answer {
	c.t.Helper()
	a, err := c.try(c.t.Context(), query, v)
	if err != nil {
		c.t.Fatalf("%.80s: no answer: %v", query, err)
	}
	return a
}

// ask sends an operation that must succeed and decodes its data into a T.
func ask[T any](c *client, query string, v vars) T {
	c.t.Helper()
	return into[T](c.t, c.say(query, v))
}

func into[T any](t testing.TB, a answer) T {
	t.Helper()
	var data T
	if len(a.Errors) > 0 || a.userError() != "" {
		t.Fatalf("refused: %v", a)
	}
	if err := json.Unmarshal(a.Data, &data); err != nil {
		t.Fatalf("%v in %v", err, a)
	}
	return data
}

// refused checks that the answer is an error with code.
func refused(t testing.TB, what string, a answer, code string) {
	t.Helper()
	if a.code() != code {
		t.Errorf("%s: got %v, want code %s", what, a, code)
	}
}

// tokens is the outcome of a sign-in.
type tokens struct {
	AccessToken, RefreshToken                   string
	AccessTokenExpiresAt, RefreshTokenExpiresAt time.Time
	Session                                     struct{ ID string }
	User                                        struct{ ID string }
}

type signIn struct {
	Outcome    *tokens
	UserErrors []userError
}

type userError struct {
	Code, Message string
	Field         []string
}

const signInFields = `{ outcome { ... on SessionTokens { accessToken refreshToken accessTokenExpiresAt refreshTokenExpiresAt session { id } user { id } } } userErrors { code field message } }`

const (
	registerDocument = `mutation($in: RegisterInput!) { register(input: $in) ` + signInFields + ` }`
	loginDocument    = `mutation($in: LoginInput!) { login(input: $in) ` + signInFields + ` }`
	refreshDocument  = `mutation($token: String) { refreshSession(input: {refreshToken: $token}) ` + signInFields + ` }`
	meDocument       = `{ me { id email sessions { nodes { id current } } } }`
)

func (c *client) register() {
	c.t.Helper()
	c.email, c.password = c.seen.email(), c.seen.password()
	in := vars{"email": c.email, "password": c.password, "name": c.seen.add("name", "Ada of "+c.email[4:16]), "rememberMe": true}
	c.enter(ask[struct{ Register signIn }](c, registerDocument, vars{"in": in}).Register)
}

func (c *client) login() {
	c.t.Helper()
	c.access = ""
	c.enter(into[struct{ Login signIn }](c.t, c.tryLogin(c.password)).Login)
}

func (c *client) tryLogin(password string) answer {
	c.t.Helper()
	in := vars{"email": c.email, "password": password}
	if c.device != "" {
		in["device"] = vars{"id": c.device}
	}
	return c.say(loginDocument, vars{"in": in})
}

func (c *client) enter(s signIn) {
	c.t.Helper()
	if s.Outcome == nil {
		c.t.Fatalf("not signed in: %+v", s)
	}
	c.hold(*s.Outcome)
}

func (c *client) hold(got tokens) {
	c.access, c.refresh = c.seen.add("access token", got.AccessToken), c.seen.add("refresh token", got.RefreshToken)
	c.session, c.user = got.Session.ID, got.User.ID
}

// renew exchanges the refresh token, which must work, and keeps the new pair.
func (c *client) renew() tokens {
	c.t.Helper()
	got := into[struct{ RefreshSession signIn }](c.t, c.tryRefresh(c.refresh)).RefreshSession
	if got.Outcome == nil {
		c.t.Fatalf("not refreshed: %+v", got)
	}
	c.hold(*got.Outcome)
	return *got.Outcome
}

// tryRefresh sends a refresh token without an access token, as an app does whose token has expired.
func (c *client) tryRefresh(token string) answer {
	c.t.Helper()
	stranger := *c
	stranger.access = ""
	return stranger.say(refreshDocument, vars{"token": token})
}

// signedIn reports whether the access token is good at the server.
func (c *client) signedIn() bool {
	a, err := c.try(context.Background(), `{ me { id } }`, nil)
	return err == nil && a.status == http.StatusOK && strings.Contains(string(a.Data), c.user)
}

// job is what the tests look at.
type job struct {
	ID, Kind, State, Priority        string
	Sequence, Attempt, MaxAttempts   int
	Progress                         struct{ Done, Total int64 }
	CreatedAt, RunAt                 time.Time
	StartedAt, FinishedAt, ExpiresAt *time.Time
	Attempts                         []attempt
	Result                           *csvSummary
	Error                            *struct{ Code, Message string }
	Artifacts                        []artifact
}

type attempt struct {
	Number     int
	StartedAt  time.Time
	FinishedAt *time.Time
	Error      *struct{ Code string }
	Log        []string
}

type csvSummary struct {
	Rows, BadRows, Bytes int64
	Encoding, Delimiter  string
	Columns              []struct {
		Name, Type, Min, Max string
		Empty, Distinct      int64
	}
	Rejects []struct {
		Line int64
		Code string
	}
}

type artifact struct {
	ID, Name, MediaType, Sha256, URL string
	Bytes                            int64
	ExpiresAt                        time.Time
}

func (j job) final() bool {
	return slices.Contains([]string{"SUCCEEDED", "FAILED", "CANCELLED"}, j.State)
}

const jobFields = `{ id kind state priority sequence attempt maxAttempts progress { done total } createdAt runAt startedAt finishedAt expiresAt
	attempts { number startedAt finishedAt error { code } log } error { code message }
	artifacts { id name mediaType bytes sha256 url expiresAt }
	result { ... on CsvSummary { rows badRows bytes encoding delimiter columns { name type min max empty distinct } rejects { line code } } } }`

const processDocument = `mutation($in: ProcessCsvInput!) { processCsv(input: $in) { job ` + jobFields + ` userErrors { code field message } } }`

type processed struct {
	ProcessCsv struct {
		Job        *job
		UserErrors []userError
	}
}

// process starts a job from a text or a URL.
func (c *client) process(in vars) job {
	c.t.Helper()
	return started(c.t, c.say(processDocument, vars{"in": in}))
}

func started(t testing.TB, a answer) job {
	t.Helper()
	got := into[processed](t, a).ProcessCsv
	if got.Job == nil {
		t.Fatalf("no job: %v", a)
	}
	return *got.Job
}

// upload starts a job from a file, streamed as a multipart request.
func (c *client) upload(file io.Reader, in vars) job {
	c.t.Helper()
	a, err := c.tryUpload(file, in)
	if err != nil {
		c.t.Fatalf("upload: %v", err)
	}
	return started(c.t, a)
}

func (c *client) tryUpload(file io.Reader, in vars) (answer, error) {
	c.t.Helper()
	in["file"] = nil
	operations, err := json.Marshal(map[string]any{"query": processDocument, "variables": vars{"in": in}})
	if err != nil {
		return answer{}, err
	}
	from, to := io.Pipe()
	form := multipart.NewWriter(to)
	go func() {
		to.CloseWithError(writeForm(form, operations, file))
	}()
	defer from.Close() // frees the writer when the server has answered early
	return c.postForm(form.FormDataContentType(), from)
}

func (c *client) postForm(contentType string, body io.Reader) (answer, error) {
	guarded := *c
	guarded.headers = c.headers.Clone()
	guarded.headers.Set("GraphQL-Require-Preflight", "1")
	return guarded.post(c.t.Context(), contentType, body)
}

func writeForm(form *multipart.Writer, operations []byte, file io.Reader) error {
	if err := form.WriteField("operations", string(operations)); err != nil {
		return err
	}
	if err := form.WriteField("map", `{"0": ["variables.in.file"]}`); err != nil {
		return err
	}
	part, err := form.CreateFormFile("0", "people.csv")
	if err != nil {
		return err
	}
	if _, err := io.Copy(part, file); err != nil {
		return err
	}
	return form.Close()
}

// job reads a job that must exist.
func (c *client) job(id string) job {
	c.t.Helper()
	return ask[struct{ Job job }](c, `query($id: ID!) { job(id: $id) `+jobFields+` }`, vars{"id": id}).Job
}

// awaitState reads the job until it is in state.
func (c *client) awaitState(id, state string) job {
	c.t.Helper()
	var j job
	until(c.t, patience, "job "+id+" is not "+state, func() bool {
		j = c.job(id)
		if j.final() && j.State != state {
			c.t.Fatalf("job %s is %s, want %s: %+v", id, j.State, state, j.Error)
		}
		return j.State == state
	})
	return j
}

// cancel asks for the end of a job.
func (c *client) cancel(id string) answer {
	c.t.Helper()
	return c.say(`mutation($id: ID!) { cancelJob(input: {id: $id}) { job { id state } userErrors { code } } }`, vars{"id": id})
}

// fetch reads an artifact and checks its size and checksum.
func (c *client) fetch(a artifact) []byte {
	c.t.Helper()
	status, content := c.get(a.URL)
	sum := sha256.Sum256(content)
	if status != http.StatusOK || int64(len(content)) != a.Bytes || hex.EncodeToString(sum[:]) != a.Sha256 {
		c.t.Errorf("artifact %s: status %d, %d bytes with SHA-256 %x, want %d and %s", a.Name, status, len(content), sum, a.Bytes, a.Sha256)
	}
	return content
}

// get fetches a URL without signing in.
func (c *client) get(url string) (int, []byte) {
	c.t.Helper()
	response, err := c.http.Get(url)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, content
}
