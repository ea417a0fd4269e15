package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

type fetchResult struct {
	URL, Body, MediaType string
	Status               *int
	Bytes                int64
	Truncated, FromCache bool
	Artifact             *artifact
	Redirects            []string
	Error                *struct{ Code string }
}

type fetchReport struct {
	Fetched, Failed int
	Results         []fetchResult
}

type downloadedFile struct {
	URL, Name string
	Bytes     int64
	Sha256    string
	Resumed   bool
	Artifact  *artifact
	Error     *struct{ Code string }
}

type downloadReport struct {
	Downloaded, Failed int
	Bytes              int64
	Files              []downloadedFile
}

// begin starts a job of a kind that fetches; field is its mutation.
func (c *client) begin(field string, in vars) job {
	c.t.Helper()
	got := into[map[string]struct{ Job *job }](c.t, c.tryBegin(field, in))[field]
	if got.Job == nil {
		c.t.Fatal("no job")
	}
	return *got.Job
}

func (c *client) tryBegin(field string, in vars) answer {
	c.t.Helper()
	input := strings.ToUpper(field[:1]) + field[1:] + "Input"
	return c.say(`mutation($in: `+input+`!) { `+field+`(input: $in) { job `+jobFields+` userErrors { code field message } } }`, vars{"in": in})
}

// fetchedBy reads what a job of fetchUrls has brought, once it has ended well.
func (c *client) fetchedBy(id string) fetchReport {
	c.t.Helper()
	c.awaitState(id, "SUCCEEDED")
	return ask[struct{ Job struct{ Result fetchReport } }](c, `query($id: ID!) { job(id: $id) { result { ... on FetchReport { fetched failed results {
		url status mediaType bytes body truncated fromCache redirects error { code } artifact { id name mediaType bytes sha256 url expiresAt } } } } } }`, vars{"id": id}).Job.Result
}

// downloadedBy reads what a job of downloadFiles has brought, once it has ended well.
func (c *client) downloadedBy(id string) downloadReport {
	c.t.Helper()
	c.awaitState(id, "SUCCEEDED")
	return ask[struct {
		Job struct{ Result downloadReport }
	}](c, `query($id: ID!) { job(id: $id) { result { ... on DownloadReport { downloaded failed bytes files {
		url name bytes sha256 resumed error { code } artifact { id name mediaType bytes sha256 url expiresAt } } } } } }`, vars{"id": id}).Job.Result
}

// web is a server of this machine that behaves in all the ways.
func web(t *testing.T) (url string, asked *atomic.Int64) {
	asked = new(atomic.Int64)
	var bomb bytes.Buffer
	pack := gzip.NewWriter(&bomb)
	_, _ = pack.Write(make([]byte, 64<<20))
	pack.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch kind, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); kind {
		case "never":
			<-r.Context().Done()
		case "bomb":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		case "long":
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write(bytes.Repeat([]byte("<script>"), 10_000))
		case "metadata":
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
		case "file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		default:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]string{kind: rest})
		}
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL, asked
}

func TestAHundredAddressesAreFetchedAndCachedForTheirOwnerAlone(t *testing.T) {
	t.Parallel()
	address, _ := web(t)
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		var urls []string
		for i := range 86 {
			urls = append(urls, fmt.Sprintf("%s/quick/%d", address, i))
		}
		for i := range 10 {
			urls = append(urls, fmt.Sprintf("%s/never/%d", address, i))
		}
		urls = append(urls, address+"/bomb", address+"/long", address+"/file", "http://127.0.0.1:1/")
		in := vars{"urls": urls, "timeoutSeconds": 2, "cacheSeconds": 600}
		began := time.Now()
		j := c.begin("fetchUrls", in)
		events := follow(t, c.watchSocket(j.ID, nil))
		if e := last(events); e.Job.State != "SUCCEEDED" {
			t.Fatalf("the job ended with %+v", e)
		}
		report := c.fetchedBy(j.ID)
		t.Logf("100 addresses, of which 10 never answer within 2 s, took %v", time.Since(began).Round(time.Millisecond))
		if report.Fetched != 87 || report.Failed != 13 {
			t.Errorf("fetched %d, failed %d", report.Fetched, report.Failed)
		}
		if r := report.Results[7]; r.Body != "{\"quick\":\"7\"}\n" || r.URL != urls[7] || *r.Status != 200 || r.FromCache {
			t.Errorf("a quick one: %+v", r)
		}
		for i, code := range map[int]string{90: "TIMEOUT", 96: "TOO_LARGE", 98: "REDIRECTS", 99: "UNREACHABLE"} {
			if r := report.Results[i]; r.Error == nil || r.Error.Code != code {
				t.Errorf("%s: %+v, want %s", r.URL, r, code)
			}
		}
		if r := report.Results[97]; !r.Truncated || r.Artifact == nil || int64(len(c.fetch(*r.Artifact))) != r.Bytes || r.Bytes != 80_000 {
			t.Errorf("a long one: %+v", r)
		}

		in["urls"] = urls[:86]
		other := c.at(last(d.servers))
		again := other.fetchedBy(other.begin("fetchUrls", in).ID)
		if again.Fetched != 86 {
			t.Errorf("again: fetched %d", again.Fetched)
		}
		for _, r := range again.Results {
			if !r.FromCache {
				t.Errorf("%s was fetched again", r.URL)
			}
		}
		in["urls"] = urls[:1]
		stranger := d.person()
		if r := stranger.fetchedBy(stranger.begin("fetchUrls", in).ID).Results[0]; r.FromCache {
			t.Errorf("a stranger was given the answer of another account: %+v", r)
		}
		if a := d.person().say(`query($id: ID!) { job(id: $id) { id } }`, vars{"id": j.ID}); a.code() != "NOT_FOUND" {
			t.Errorf("a stranger sees the job: %v", a)
		}
	})
}

func TestAddressesInsideAreNotFetched(t *testing.T) {
	t.Parallel()
	address, asked := web(t)
	port := address[strings.LastIndex(address, ":"):]
	d := embedded(t, "--allow-private-fetch=false")
	c := d.person()
	inside := []string{
		address + "/quick/1", address + "/metadata", "http://localhost" + port, "http://[::1]" + port, "http://[::ffff:127.0.0.1]" + port,
		"http://2130706433" + port, "http://0x7f000001" + port, "http://0" + port, "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/",
	}
	report := c.fetchedBy(c.begin("fetchUrls", vars{"urls": inside}).ID)
	for _, r := range report.Results {
		if r.Error == nil || r.Error.Code != "REFUSED" || r.Status != nil {
			t.Errorf("%s: %+v", r.URL, r)
		}
	}
	files := c.downloadedBy(c.begin("downloadFiles", vars{"urls": inside}).ID)
	for _, f := range files.Files {
		if f.Error == nil || f.Error.Code != "REFUSED" || f.Artifact != nil {
			t.Errorf("%s: %+v", f.URL, f)
		}
	}
	if asked.Load() != 0 {
		t.Errorf("the server inside was reached %d times", asked.Load())
	}

	open := embedded(t).person() // may fetch from this machine
	if r := open.fetchedBy(open.begin("fetchUrls", vars{"urls": []string{address + "/quick/1"}}).ID); r.Fetched != 1 {
		t.Errorf("with the flag: %+v: the test shows nothing", r)
	}
	for _, row := range []struct {
		field string
		in    vars
		code  string
		at    string
	}{
		{"fetchUrls", vars{"urls": []string{}}, "REQUIRED", "urls"},
		{"fetchUrls", vars{"urls": []string{"https://example.com", "javascript:alert(1)"}}, "INVALID", "urls.1"},
		{"fetchUrls", vars{"urls": []string{"https://example.com"}, "timeoutSeconds": 31}, "INVALID", "timeoutSeconds"},
		{"downloadFiles", vars{}, "REQUIRED", "urls"},
		{"downloadFiles", vars{"files": []vars{{"url": "https://example.com", "sha256": "00"}}}, "INVALID", "files.0.sha256"},
	} {
		var got map[string]struct{ UserErrors []userError }
		if err := json.Unmarshal(c.tryBegin(row.field, row.in).Data, &got); err != nil || len(got[row.field].UserErrors) != 1 {
			t.Errorf("%s %v: %+v, %v", row.field, row.in, got, err)
			continue
		}
		if e := got[row.field].UserErrors[0]; e.Code != row.code || strings.Join(e.Field, ".") != row.at {
			t.Errorf("%s %v: got %+v, want %s of %s", row.field, row.in, e, row.code, row.at)
		}
	}
	refused(t, "a stranger's addresses", with(c, "").tryBegin("fetchUrls", vars{"urls": []string{address}}), "UNAUTHENTICATED")
}

// halting serves a file with a strong tag, and halts after a number of bytes until it is released.
type halting struct {
	content []byte
	halt    int
	reached chan struct{} // a value for each request that has come to the halt
	release chan struct{}
	mu      sync.Mutex
	ranges  []string
}

func (h *halting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.ranges = append(h.ranges, r.Header.Get("Range"))
	h.mu.Unlock()
	w.Header().Set("ETag", `"v1"`)
	select {
	case <-h.release:
		http.ServeContent(w, r, "large.bin", time.Time{}, bytes.NewReader(h.content))
		return
	default:
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(h.content)))
	_, _ = w.Write(h.content[:h.halt])
	_ = http.NewResponseController(w).Flush()
	h.reached <- struct{}{}
	select {
	case <-h.release:
	case <-r.Context().Done():
	}
}

func (h *halting) asked() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string{}, h.ranges...)
}

func TestADownloadGoesOnWhereAKilledWorkerStopped(t *testing.T) {
	t.Parallel()
	d := distributed(t)
	c := d.person()
	content := make([]byte, 40<<20)
	for i := range content {
		content[i] = byte(i>>3) ^ byte(i>>11) ^ byte(i>>19)
	}
	small := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "small") }))
	t.Cleanup(small.Close)
	h := &halting{content: content, halt: 36 << 20, reached: make(chan struct{}, 10), release: make(chan struct{})}
	large := httptest.NewServer(h)
	t.Cleanup(large.Close)
	sum := sha256.Sum256(content)
	j := c.begin("downloadFiles", vars{
		"urls":  []string{small.URL + "/small.txt"},
		"files": []vars{{"url": large.URL + "/large.bin", "sha256": hex.EncodeToString(sum[:])}},
	})
	<-h.reached
	until(t, patience, "36 MiB were not written", func() bool { return c.job(j.ID).Progress.Done >= 36<<20 })
	d.holder().kill()
	close(h.release)
	report := c.downloadedBy(j.ID)
	done := c.job(j.ID)
	f := report.Files[1]
	if report.Downloaded != 2 || !f.Resumed || f.Sha256 != hex.EncodeToString(sum[:]) || f.Artifact == nil || done.Attempt != 2 {
		t.Fatalf("in attempt %d: %+v", done.Attempt, report)
	}
	if got := c.fetch(*f.Artifact); !bytes.Equal(got, content) {
		t.Errorf("the artifact has %d other bytes", len(got))
	}
	asked := h.asked()
	from := 0
	if _, err := fmt.Sscanf(last(asked), "bytes=%d-", &from); err != nil || len(asked) != 2 || from < 32<<20 || from > 36<<20 {
		t.Errorf("asked for %q, want all, and then what follows two pieces of 16 MiB", asked)
	}
	if n := len(done.Artifacts); n != 2 {
		t.Errorf("there are %d artifacts, want 2", n)
	}
	ask[any](c, `mutation($id: ID!) { deleteJob(input: {id: $id}) { deletedId userErrors { code } } }`, vars{"id": j.ID})
	until(t, patience, "files are left of a deleted job", func() bool { return len(d.files()) == len(d.incoming()) })
}

// TestWhatWasFetchedBeforeAKillIsNotFetchedAgain kills the worker while one of the addresses hangs.
func TestWhatWasFetchedBeforeAKillIsNotFetchedAgain(t *testing.T) {
	t.Parallel()
	d := distributed(t)
	c := d.person()
	var quick atomic.Int64
	hanging, release := make(chan struct{}, 10), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			quick.Add(1)
			fmt.Fprint(w, "quick")
			return
		}
		hanging <- struct{}{}
		select {
		case <-release:
			fmt.Fprint(w, "slow")
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	urls := []string{server.URL + "/slow"}
	for i := range 30 {
		urls = append(urls, fmt.Sprintf("%s/%d", server.URL, i))
	}
	j := c.begin("fetchUrls", vars{"urls": urls, "timeoutSeconds": 30})
	<-hanging
	until(t, patience, "30 were not fetched", func() bool { return c.job(j.ID).Progress.Done == 30 })
	d.holder().kill()
	close(release)
	report := c.fetchedBy(j.ID)
	if report.Fetched != 31 || report.Results[0].Body != "slow" || report.Results[30].Body != "quick" {
		t.Errorf("the report is %+v", report)
	}
	if quick.Load() != 30 {
		t.Errorf("the 30 quick ones were fetched %d times", quick.Load())
	}
}
