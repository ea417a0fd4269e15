package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/test/services"
)

const (
	callDocument   = `mutation($in: CallWebhookInput!) { callWebhook(input: $in) { job ` + jobFields + ` userErrors { code field message } } }`
	reportDocument = `mutation($in: ReportJobProgressInput!) { reportJobProgress(input: $in) { job { id state progress { done total } } userErrors { code field message } } }`
	endDocument    = `mutation($in: CompleteJobInput!) { completeJob(input: $in) { job { id state } userErrors { code field message } } }`
)

// call starts a job that calls an address.
func (c *client) call(in vars) job {
	c.t.Helper()
	got := ask[struct{ CallWebhook struct{ Job *job } }](c, callDocument, vars{"in": in}).CallWebhook
	if got.Job == nil {
		c.t.Fatal("no job")
	}
	return *got.Job
}

type webhookReport struct {
	Status, Attempts int
	Body             json.RawMessage
	DurationMs       *int64
}

func (c *client) webhookReport(id string) webhookReport {
	c.t.Helper()
	return ask[struct {
		Job struct{ Result webhookReport }
	}](c, `query($id: ID!) { job(id: $id) { result {
		... on WebhookReport { status body attempts durationMs } } } }`, vars{"id": id}).Job.Result
}

// webhookSecret gives the account a new secret.
func (c *client) webhookSecret() string {
	c.t.Helper()
	secret := ask[struct {
		RotateWebhookSecret struct{ Secret string }
	}](c, `mutation { rotateWebhookSecret { secret userErrors { code } } }`, nil).RotateWebhookSecret.Secret
	if !strings.HasPrefix(secret, "whsec_") {
		c.t.Fatalf("the secret does not have the form of one")
	}
	return c.seen.add("webhook secret", secret)
}

// outsideWorker is examples/outside_worker.py.
type outsideWorker struct {
	url string
	log *journal
}

// startOutsideWorker runs the example for c; it reports to the server at url.
func startOutsideWorker(t *testing.T, c *client, url string) *outsideWorker {
	t.Helper()
	_, key := c.apiKey("jobs:work")
	w := &outsideWorker{log: newJournal()}
	script, err := filepath.Abs("../../examples/outside_worker.py")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(services.Python(t), "-u", script)
	command.Env = append(services.CleanEnvironment(), "GATEHOUSE_URL="+url, "GATEHOUSE_API_KEY="+key.access,
		"GATEHOUSE_WEBHOOK_SECRET="+c.webhookSecret(), "PORT=0")
	command.Stdout, command.Stderr = w.log, w.log
	ended := make(chan struct{})
	if err := spawn(command, ended); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("the worker outside said:\n%s", w.log)
		}
	})
	found := w.log.await(regexp.MustCompile(`listening on (\S+)`), ended, patience)
	if found == nil {
		t.Fatalf("the worker outside does not listen:\n%s", w.log)
	}
	w.url = found[1]
	return w
}

func TestAWorkerInPythonDoesAJobOutside(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		w := startOutsideWorker(t, c, last(d.servers).url) // it reports to the other server
		j := c.call(vars{"url": w.url, "payload": vars{"texts": []string{"one", "two words", "and three more", ""}}})
		events := follow(t, c.watchSocket(j.ID, nil))
		if e := last(events); e.Job.State != "SUCCEEDED" || e.Job.Progress.Done != 4 || e.Job.Progress.Total != 4 {
			t.Fatalf("the job ended with %+v", e)
		}
		report := c.webhookReport(j.ID)
		if report.Status != 202 || report.Attempts != 1 || string(report.Body) != `{"words":6}` || report.DurationMs == nil {
			t.Errorf("the report is %+v with %s", report, report.Body)
		}
		done := c.job(j.ID)
		if log := strings.Join(done.Attempts[0].Log, "\n"); !strings.Contains(log, "text 3: 6 words") {
			t.Errorf("the log is %q", log)
		}
		for name, headers := range map[string]map[string]string{
			"unsigned":             {},
			"signed by a stranger": {"webhook-id": j.ID, "webhook-timestamp": strconv.FormatInt(time.Now().Unix(), 10), "webhook-signature": "v1,aGVsbG8="},
		} {
			if status := post(t, w.url, headers, `{"texts": []}`); status != http.StatusUnauthorized {
				t.Errorf("a message that is %s was answered with %d", name, status)
			}
		}
	})
}

func post(t *testing.T, url string, headers map[string]string, body string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// TestAJobOutsideOutlivesTheDeployment kills every process of ours while the worker goes on.
func TestAJobOutsideOutlivesTheDeployment(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		server := last(d.servers)
		w := startOutsideWorker(t, c, server.url)
		texts := make([]string, 30)
		j := c.call(vars{"url": w.url, "payload": vars{"texts": texts, "pauseSeconds": 0.1}})
		until(t, patience, "the worker has not begun", func() bool { return c.job(j.ID).Progress.Done > 0 })
		for _, p := range append(d.servers, d.workers...) {
			p.kill()
		}
		addr := strings.TrimPrefix(server.url, "http://")
		d.servers = []*process{start(t, d.command(append([]string{"serve", "--addr", addr, "--workers", "2"}, d.extra...)...))}
		again := c.at(d.servers[0])
		done := again.awaitState(j.ID, "SUCCEEDED")
		if done.Attempt != 1 || done.Progress.Done != 30 {
			t.Errorf("the job ended in attempt %d with %+v", done.Attempt, done.Progress)
		}
	})
}

func TestACancelledJobStopsTheWorkerInPython(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		w := startOutsideWorker(t, c, last(d.servers).url)
		j := c.call(vars{"url": w.url, "payload": vars{"texts": make([]string, 600), "pauseSeconds": 0.1}})
		until(t, patience, "the worker has not begun", func() bool { return c.job(j.ID).Progress.Done > 0 })
		c.cancel(j.ID)
		c.awaitState(j.ID, "CANCELLED")
		if w.log.await(regexp.MustCompile(regexp.QuoteMeta(j.ID)+`: ATTEMPT_OVER`), nil, patience) == nil {
			t.Error("the worker was not told")
		}
	})
}

// receiver is a web server that keeps what it was sent and answers as the test says.
type receiver struct {
	url  string
	sent chan http.Header
}

func newReceiver(t testing.TB, answer func(w http.ResponseWriter, attempt string)) *receiver {
	r := &receiver{sent: make(chan http.Header, 100)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		r.sent <- q.Header
		answer(w, q.Header.Get("gatehouse-attempt"))
	}))
	t.Cleanup(server.Close)
	r.url = server.URL + "/hook"
	return r
}

func TestAWorkerThatWasSilentIsReplacedAndCanEndNothingAnyMore(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		_, key := c.apiKey("jobs:run")
		r := newReceiver(t, func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusAccepted) })
		j := c.call(vars{"url": r.url, "payload": vars{}, "silenceSeconds": 5, "options": vars{"maxAttempts": 2}})
		first, second := <-r.sent, <-r.sent
		if first.Get("webhook-id") != j.ID || second.Get("webhook-id") != j.ID || first.Get("gatehouse-token") == second.Get("gatehouse-token") {
			t.Errorf("the first worker was told %v, the second %v", first, second)
		}
		late := vars{"in": vars{"jobId": j.ID, "token": first.Get("gatehouse-token"), "result": vars{"from": "the first"}}}
		if code := key.say(endDocument, late).userError(); code != "ATTEMPT_OVER" {
			t.Errorf("the first worker's end: %s", code)
		}
		in := vars{"jobId": j.ID, "token": second.Get("gatehouse-token"), "error": vars{"message": "No more.", "retry": true}}
		ask[json.RawMessage](key.at(last(d.servers)), endDocument, vars{"in": in})
		done := c.awaitState(j.ID, "FAILED")
		if done.Error.Code != "OUTSIDE_FAILED" || done.Error.Message != "No more." || done.Attempts[0].Error.Code != "OUTSIDE_LOST" {
			t.Errorf("the job failed with %+v after %+v", done.Error, done.Attempts)
		}
	})
}

// TestACrashBeforeTheAnswerGivesTheJobToASecondWorker kills the process that waits for an address, which has begun
// to work all the same.
func TestACrashBeforeTheAnswerGivesTheJobToASecondWorker(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		_, key := c.apiKey("jobs:work")
		answered := make(chan struct{})
		r := newReceiver(t, func(w http.ResponseWriter, attempt string) {
			if attempt == "1" {
				<-answered
			}
			w.WriteHeader(http.StatusAccepted)
		})
		defer close(answered)
		j := c.call(vars{"url": r.url, "payload": vars{}})
		first := <-r.sent
		if len(d.workers) > 0 {
			d.holder().kill()
		} else {
			server := d.servers[0]
			server.kill()
			addr := strings.TrimPrefix(server.url, "http://")
			d.servers[0] = start(t, d.command(append([]string{"serve", "--addr", addr, "--workers", "2"}, d.extra...)...))
		}
		second := <-r.sent
		end := func(sent http.Header, result string) answer {
			return key.say(endDocument, vars{"in": vars{"jobId": j.ID, "token": sent.Get("gatehouse-token"), "result": result}})
		}
		if code := end(first, "of the first").userError(); code != "ATTEMPT_OVER" {
			t.Errorf("the first worker's end: %q", code)
		}
		if a := end(second, "of the second"); a.userError() != "" {
			t.Errorf("the second worker's end: %v", a)
		}
		done := c.awaitState(j.ID, "SUCCEEDED")
		if report := c.webhookReport(j.ID); string(report.Body) != `"of the second"` || done.Attempt != 2 || done.Attempts[0].Error.Code != "WORKER_LOST" {
			t.Errorf("the job brought %s after %+v", report.Body, done.Attempts)
		}
	})
}

func TestWhoMayCallAndWhoMayWork(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	r := newReceiver(t, func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusAccepted) })
	j := c.call(vars{"url": r.url, "payload": vars{"n": 1}})
	token := c.seen.add("token of a worker", (<-r.sent).Get("gatehouse-token"))
	word := func(change vars) vars {
		in := vars{"jobId": j.ID, "token": token, "done": 1}
		for name, value := range change {
			in[name] = value
		}
		return vars{"in": in}
	}
	_, worker := c.apiKey("jobs:work")
	_, reader := c.apiKey("account:read")
	refused(t, "a call by a worker's key", worker.say(callDocument, vars{"in": vars{"url": r.url, "payload": 1}}), "FORBIDDEN")
	refused(t, "a cancel by a worker's key", worker.cancel(j.ID), "FORBIDDEN")
	refused(t, "a look at jobs by a worker's key", worker.say(`{ jobs { totalCount } }`, nil), "FORBIDDEN")
	refused(t, "a rotation by a worker's key", worker.say(`mutation { rotateWebhookSecret { secret } }`, nil), "FORBIDDEN")
	refused(t, "a report by a key without the scope", reader.say(reportDocument, word(nil)), "FORBIDDEN")
	refused(t, "a report by a stranger", with(c, "").say(reportDocument, word(nil)), "UNAUTHENTICATED")
	refused(t, "a report by another account", d.person().say(reportDocument, word(nil)), "NOT_FOUND")
	for name, row := range map[string]struct {
		change vars
		code   string
	}{
		"a long stage":   {vars{"stage": strings.Repeat("x", 61)}, "TOO_LONG"},
		"a long line":    {vars{"log": strings.Repeat("x", 2001)}, "TOO_LONG"},
		"a forged token": {vars{"token": token[:len(token)-2] + "AA"}, "TOKEN_INVALID"},
	} {
		if code := worker.say(reportDocument, word(row.change)).userError(); code != row.code {
			t.Errorf("a report of %s: %q, want %s", name, code, row.code)
		}
	}
	for name, end := range map[string]vars{
		"nothing":         {},
		"both":            {"result": 1, "error": vars{"message": "no"}},
		"an empty reason": {"error": vars{"message": " "}},
	} {
		in := vars{"jobId": j.ID, "token": token}
		for key, value := range end {
			in[key] = value
		}
		if code := worker.say(endDocument, vars{"in": in}).userError(); code != "REQUIRED" && code != "INVALID" {
			t.Errorf("an end with %s: %q", name, code)
		}
	}
	got := ask[struct {
		ReportJobProgress struct{ Job job }
	}](worker, reportDocument, word(vars{"total": 2})).ReportJobProgress.Job
	if got.Progress.Done != 1 || got.Progress.Total != 2 || got.State != "RUNNING" {
		t.Errorf("the job is %+v", got)
	}
	for name, in := range map[string]vars{
		"url":            {"url": "ftp://example.org", "payload": 1},
		"payload":        {"url": r.url, "payload": strings.Repeat("x", 513<<10)},
		"silenceSeconds": {"url": r.url, "payload": 1, "silenceSeconds": 1},
	} {
		a := c.say(callDocument, vars{"in": in})
		if a.userError() == "" || !strings.Contains(string(a.body), `"field":["`+name+`"]`) {
			t.Errorf("a call with a bad %s: %v", name, a)
		}
	}
}

func TestARotatedSecretSignsBesideTheLastOne(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	r := newReceiver(t, func(http.ResponseWriter, string) {})
	signatures := func() []string {
		c.awaitState(c.call(vars{"url": r.url, "payload": vars{}}).ID, "SUCCEEDED")
		return strings.Fields((<-r.sent).Get("webhook-signature"))
	}
	if n := len(signatures()); n != 1 {
		t.Errorf("%d signatures before there is a secret to show", n)
	}
	first, second := c.webhookSecret(), c.webhookSecret()
	if n := len(signatures()); n != 2 || first == second {
		t.Errorf("%d signatures after a rotation", n)
	}
	ask[json.RawMessage](c, `mutation { rotateWebhookSecret(input: {graceSeconds: 0}) { secret userErrors { code } } }`, nil)
	if n := len(signatures()); n != 1 {
		t.Errorf("%d signatures after a rotation without grace", n)
	}
	if code := c.say(`mutation { rotateWebhookSecret(input: {graceSeconds: 604801}) { userErrors { code } } }`, nil).userError(); code != "INVALID" {
		t.Errorf("more than a week of grace: %q", code)
	}
	if !strings.Contains(string(c.say(`{ me { securityEvents(first: 5) { nodes { type } } } }`, nil).body), "WEBHOOK_ROTATED") {
		t.Error("the rotation is no security event")
	}
}
