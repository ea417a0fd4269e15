package jobs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/viewer"
)

func TestAHundredAddressesAreFetchedThoughTenNeverAnswer(t *testing.T) {
	y := newYard(t)
	address := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/never") {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		fmt.Fprintf(w, `{"path":%q}`, r.URL.Path)
	})
	args := FetchArgs{TimeoutSeconds: 1}
	for i := range 100 {
		kind := "quick"
		if i%10 == 3 {
			kind = "never"
		}
		args.URLs = append(args.URLs, fmt.Sprintf("%s/%s/%d", address, kind, i))
	}
	began := time.Now()
	j, report := work(y, ada, FetchURLs, args)
	t.Logf("took %v", time.Since(began))
	if report.Fetched != 90 || report.Failed != 10 || j.Progress.Done != 100 || len(y.artifacts(j)) != 0 {
		t.Errorf("fetched %d, failed %d, progress %+v", report.Fetched, report.Failed, j.Progress)
	}
	for i, r := range report.Results {
		if i%10 == 3 {
			if r.Error == nil || r.Error.Code != Timeout || r.Status != nil || r.Body != nil {
				t.Errorf("%d: %+v", i, r)
			}
			continue
		}
		if want := fmt.Sprintf(`{"path":"/quick/%d"}`, i); r.URL != args.URLs[i] || *r.Body != want || *r.Status != 200 || r.Bytes != int64(len(want)) {
			t.Errorf("%d: %+v", i, r)
		}
	}
}

func TestWhatDoesNotFitIntoTheReportBecomesAFile(t *testing.T) {
	y := newYard(t)
	long := strings.Repeat("ä", inlineBytes)
	picture := []byte{0x89, 'P', 'N', 'G', 0, 0xff}
	address := serving(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, long)
		case "/picture":
			w.Header().Set("Content-Type", "image/png")
			_, _ = w.Write(picture)
		case "/huge":
			_, _ = w.Write(make([]byte, maxAnswerBytes+1))
		case "/away":
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":"no such thing"}`)
		case "/moved":
			http.Redirect(w, r, "/away", http.StatusMovedPermanently)
		}
	})
	j, report := work(y, ada, FetchURLs, FetchArgs{TimeoutSeconds: 10, URLs: []string{
		address + "/long", address + "/picture", address + "/huge", address + "/moved", address + "/empty",
	}})
	files := y.artifacts(j)
	if len(files) != 2 || string(files["001.html"]) != long || !bytes.Equal(files["002.png"], picture) {
		t.Errorf("there are %d artifacts", len(files))
	}
	r := report.Results
	if r[0].File != "001.html" || !r[0].Truncated || *r[0].Body != long[:inlineBytes] || r[0].Bytes != int64(len(long)) {
		t.Errorf("the long one: %d bytes of %d, file %q", len(*r[0].Body), r[0].Bytes, r[0].File)
	}
	if r[1].File != "002.png" || r[1].Body != nil || r[1].Truncated {
		t.Errorf("the picture: %+v", r[1])
	}
	if r[2].Error == nil || r[2].Error.Code != TooLarge {
		t.Errorf("the huge one: %+v", r[2])
	}
	if r[3].Error == nil || r[3].Error.Code != Status || *r[3].Status != 404 || *r[3].Body != `{"error":"no such thing"}` || fmt.Sprint(r[3].Redirects) != "["+address+"/away]" {
		t.Errorf("the one that is away: %+v", r[3])
	}
	if r[4].Error != nil || *r[4].Body != "" || report.Fetched != 3 || report.Failed != 2 {
		t.Errorf("the empty one: %+v of %+v", r[4], report)
	}
}

func TestAnAnswerServesItsOwnerAloneAndOnlyAsOldAsAskedFor(t *testing.T) {
	y := newYard(t)
	var asked atomic.Int64
	address := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/private" {
			w.Header().Set("Cache-Control", "max-age=60, No-Store")
		}
		if r.URL.Path == "/ill" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, asked.Add(1))
	})
	for _, c := range []struct {
		name         string
		by           viewer.Viewer
		path         string
		cacheSeconds int
		body         string
		fromCache    bool
	}{
		{"the first time", ada, "/a", 60, "1", false},
		{"again", ada, "/a", 60, "1", true},
		{"again, as old as may be", ada, "/a", 3600, "1", true},
		{"another owner", eve, "/a", 60, "2", false},
		{"without the cache", ada, "/a", 0, "3", false},
		{"another address", ada, "/a?b", 60, "4", false},
		{"a server that wants it in no cache", ada, "/private", 60, "5", false},
		{"the same again", ada, "/private", 60, "6", false},
		{"an error", ada, "/ill", 60, "7", false},
		{"the error again", ada, "/ill", 60, "8", false},
		{"the other owner again", eve, "/a", 60, "2", true},
	} {
		_, report := work(y, c.by, FetchURLs, FetchArgs{URLs: []string{address + c.path}, TimeoutSeconds: 10, CacheSeconds: c.cacheSeconds})
		if r := report.Results[0]; *r.Body != c.body || r.FromCache != c.fromCache {
			t.Errorf("%s: body %s, from cache %v, want %s, %v", c.name, *r.Body, r.FromCache, c.body, c.fromCache)
		}
	}
}

func TestAServerThatIsBusyIsAskedAgainWhenItSays(t *testing.T) {
	y := newYard(t)
	var asked atomic.Int64
	address := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "well")
	})
	began := time.Now()
	_, report := work(y, ada, FetchURLs, FetchArgs{URLs: []string{address}, TimeoutSeconds: 10})
	if r := report.Results[0]; r.Error != nil || *r.Body != "well" || time.Since(began) < time.Second {
		t.Errorf("after %v: %+v", time.Since(began), r)
	}
}

func TestAddressesAreRefusedByTheirPlace(t *testing.T) {
	good := "https://example.com/"
	for _, c := range []struct {
		name  string
		args  FetchArgs
		code  fault.Code
		field string
	}{
		{"none", FetchArgs{TimeoutSeconds: 10}, fault.Required, "urls"},
		{"too many", FetchArgs{TimeoutSeconds: 10, URLs: make([]string, 101)}, fault.TooLarge, "urls"},
		{"a file", FetchArgs{TimeoutSeconds: 10, URLs: []string{good, "file:///etc/passwd"}}, fault.Invalid, "urls.1"},
		{"no host", FetchArgs{TimeoutSeconds: 10, URLs: []string{"http://:80/"}}, fault.Invalid, "urls.0"},
		{"no time", FetchArgs{URLs: []string{good}}, fault.Invalid, "timeoutSeconds"},
		{"too much time", FetchArgs{URLs: []string{good}, TimeoutSeconds: 31}, fault.Invalid, "timeoutSeconds"},
		{"too old", FetchArgs{URLs: []string{good}, TimeoutSeconds: 10, CacheSeconds: 3601}, fault.Invalid, "cacheSeconds"},
		{"of the future", FetchArgs{URLs: []string{good}, TimeoutSeconds: 10, CacheSeconds: -1}, fault.Invalid, "cacheSeconds"},
	} {
		f, ok := fault.As(c.args.Check())
		if !ok || f.Code != c.code || strings.Join(f.Field, ".") != c.field {
			t.Errorf("%s: got %+v, want %s of %s", c.name, f, c.code, c.field)
		}
	}
	args, err := readFetchArguments(json.RawMessage(`{"urls": ["https://example.com/"], "cacheSeconds": 60}`))
	if err != nil || args.TimeoutSeconds != usualWait || args.CacheSeconds != 60 {
		t.Errorf("as a schedule has it: %+v, %v", args, err)
	}
	if _, err := readFetchArguments(json.RawMessage(`{"urls": ["https://example.com/"], "timeoutSeconds": 0}`)); !fault.Is(err, fault.Invalid) {
		t.Errorf("a schedule without time: %v", err)
	}
}

// BenchmarkHundredAddresses fetches 100 addresses of this machine in one job.
func BenchmarkHundredAddresses(b *testing.B) {
	y := newYard(b)
	address := serving(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(noiseOf4KiB) })
	args := FetchArgs{TimeoutSeconds: 10}
	for i := range 100 {
		args.URLs = append(args.URLs, fmt.Sprintf("%s/%d", address, i))
	}
	for b.Loop() {
		if _, report := work(y, ada, FetchURLs, args); report.Fetched != 100 {
			b.Fatalf("fetched %d", report.Fetched)
		}
	}
	b.ReportMetric(float64(100*b.N)/b.Elapsed().Seconds(), "addresses/s")
}

var noiseOf4KiB = noise(4 << 10)
