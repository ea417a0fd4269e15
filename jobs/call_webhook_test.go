package jobs

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/blob"
	"gatehouse/internal/bus"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/jobs/webhook"
	"gatehouse/queue"
	"gatehouse/queue/transport"
)

// grace calls the addresses of these tests.
var grace = viewer.Viewer{User: "usr_grace"}

// startCalls runs a queue of callWebhook.
func startCalls(t *testing.T, f *fetcher, keys ...[]byte) *queue.Queue {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+t.TempDir()+"/q.db", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := blob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	kind := callsWebhooks(f, func(_ context.Context, owner viewer.UserID) ([][]byte, error) {
		if owner != grace.User {
			t.Errorf("the keys of %s were asked for", owner)
		}
		return keys, nil
	}, time.Now)
	q, err := queue.New(db, transport.Local(transport.Options{}), bus.Local(), files, []queue.Definition{kind}, queue.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run queue: %v", err)
		}
	})
	return q
}

// called returns the job of a call once its first attempt is over or has gone outside.
func called(t *testing.T, q *queue.Queue, address string) *queue.Job {
	t.Helper()
	args := WebhookArgs{URL: address, Payload: json.RawMessage(`{"n": 1}`), Silence: DefaultSilence}
	r, err := Webhook.Request(grace.User, args, queue.JobOptions{})
	if err != nil {
		t.Fatal(err)
	}
	j, err := q.Enqueue(t.Context(), r)
	for err == nil && (j.State == queue.Queued || j.State == queue.Running && j.Process != "") {
		<-time.After(time.Millisecond)
		j, err = q.Get(t.Context(), grace, j.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestTheAnswerOfAnAddressDecidesWhatBecomesOfTheJob(t *testing.T) {
	elsewhere := 0
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { elsewhere++ })
	q := startCalls(t, newFetcher(true), []byte("key"))
	for _, c := range []struct {
		name   string
		status int
		header string // Retry-After, or of a redirect Location
		body   string
		state  queue.State
		result string
		wait   time.Duration // until the next attempt, at least
	}{
		{"JSON", 200, "", ` {"sum": [1.0]} `, queue.Succeeded, `{"status":200,"body":{"sum":[1.0]},"attempts":1,`, 0},
		{"a text", 201, "", "thank you", queue.Succeeded, `{"status":201,"body":null,"attempts":1,`, 0},
		{"nothing", 204, "", "", queue.Succeeded, `{"status":204,"body":null,"attempts":1,`, 0},
		{"a promise", 202, "", "soon", queue.Running, "", 0},
		{"a redirect", 307, "/elsewhere", "", queue.Failed, "", 0},
		{"a refusal", 404, "", "", queue.Failed, "", 0},
		{"an endless answer", 200, "", strings.Repeat("1", maxResultBytes+1), queue.Failed, "", 0},
		{"a slow address", 408, "", "", queue.Retrying, "", 0},
		{"too many", 429, "7200", "", queue.Retrying, "", 2 * time.Hour},
		{"too many until a date", 429, time.Now().Add(2 * time.Hour).UTC().Format(http.TimeFormat), "", queue.Retrying, "", time.Hour},
		{"too many for ever", 429, "99999999999999999999", "", queue.Retrying, "", maxRetryAfter},
		{"a defect", 500, "", "", queue.Retrying, "", 0},
		{"a pause", 503, "soon", "", queue.Retrying, "", 0},
	} {
		path := "/" + strings.ReplaceAll(c.name, " ", "-")
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", c.header)
			w.Header().Set("Location", c.header)
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		})
		j := called(t, q, server.URL+path)
		if j.State != c.state || j.Attempt != 1 || !strings.HasPrefix(string(j.Result), c.result) {
			t.Errorf("%s: the job is %s in attempt %d with %s, %+v", c.name, j.State, j.Attempt, j.Result, j.Error)
		}
		if wait := j.RunAt.Sub(j.StartedAt); c.wait > 0 && wait < c.wait || c.wait == 0 && wait > time.Minute || wait > maxRetryAfter+time.Minute {
			t.Errorf("%s: the next attempt comes after %v, want %v", c.name, wait, c.wait)
		}
	}
	if elsewhere > 0 {
		t.Error("a redirect was followed")
	}
	server.Close()
	if j := called(t, q, server.URL); j.State != queue.Retrying {
		t.Errorf("no answer: the job is %s", j.State)
	}
}

func TestEveryCallIsSignedWithEachKey(t *testing.T) {
	type call struct {
		header http.Header
		body   []byte
	}
	calls := make(chan call, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		calls <- call{r.Header, body}
	}))
	defer server.Close()
	keys := [][]byte{[]byte("present"), []byte("former")}
	q := startCalls(t, newFetcher(true), keys...)
	j := called(t, q, server.URL)
	got := <-calls
	sent, err := strconv.ParseInt(got.header.Get("webhook-timestamp"), 10, 64)
	if err != nil || time.Since(time.Unix(sent, 0)) > webhook.Window {
		t.Errorf("sent at %d, %v", sent, err)
	}
	want := http.Header{}
	webhook.Sign(want, keys, string(j.ID), time.Unix(sent, 0), got.body)
	for name := range want {
		if got.header.Get(name) != want.Get(name) {
			t.Errorf("%s is %q, want %q", name, got.header.Get(name), want.Get(name))
		}
	}
	if string(got.body) != `{"n":1}` || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("sent %s as %s", got.body, got.header.Get("Content-Type"))
	}
	if token := got.header.Get(headerToken); token == "" || got.header.Get(headerAttempt) != "1" || got.header.Get(headerSilence) != "300" {
		t.Errorf("the worker was told %v", got.header)
	} else if _, err := q.Complete(t.Context(), grace, j.ID, token, json.RawMessage(`1`)); !fault.Is(err, fault.AttemptOver) {
		t.Errorf("a job that had its answer was ended again: %v", err)
	}
}

func TestAWebhookIsNotSentToAPrivateAddress(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was sent") }))
	defer inside.Close()
	q := startCalls(t, newFetcher(false), []byte("key"))
	if j := called(t, q, inside.URL); j.State != queue.Failed || j.Attempt != 1 || j.Error.Message != "The address is not a public one." {
		t.Errorf("the job is %s in attempt %d, %+v", j.State, j.Attempt, j.Error)
	}
}

func TestACallThatCannotBeMadeIsRefusedByItsField(t *testing.T) {
	good := func() WebhookArgs {
		return WebhookArgs{URL: "https://example.org/hook", Payload: json.RawMessage(`null`), Silence: DefaultSilence}
	}
	for _, c := range []struct {
		name, field string
		code        fault.Code
		spoil       func(*WebhookArgs)
	}{
		{"an address of another kind", "url", fault.Invalid, func(a *WebhookArgs) { a.URL = "gopher://example.org" }},
		{"no payload", "payload", fault.Required, func(a *WebhookArgs) { a.Payload = nil }},
		{"a large payload", "payload", fault.TooLarge, func(a *WebhookArgs) { a.Payload = make([]byte, maxPayloadBytes+1) }},
		{"no time to speak", "silenceSeconds", fault.Invalid, func(a *WebhookArgs) { a.Silence = 4 }},
		{"days of silence", "silenceSeconds", fault.Invalid, func(a *WebhookArgs) { a.Silence = maxSilence + 1 }},
	} {
		args := good()
		c.spoil(&args)
		if f, ok := fault.As(args.Check()); !ok || f.Code != c.code || strings.Join(f.Field, ".") != c.field {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
	if err := good().Check(); err != nil {
		t.Error(err)
	}
	args, err := scheduledWebhook(json.RawMessage(`{"url": "https://example.org/hook", "payload": {"n": 1}}`))
	if err != nil || args.Silence != DefaultSilence || string(args.Payload) != `{"n": 1}` {
		t.Errorf("of a schedule: %+v, %v", args, err)
	}
	if _, err := scheduledWebhook(json.RawMessage(`{"url": "https://example.org/hook"}`)); !fault.Is(err, fault.Required) {
		t.Errorf("a schedule without a payload: %v", err)
	}
}
