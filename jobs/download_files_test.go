package jobs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/fault"
)

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func TestFilesAreDownloadedUnderTheirOwnNames(t *testing.T) {
	y := newYard(t)
	content := noise(300 << 10)
	address := serving(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/named":
			w.Header().Set("Content-Disposition", `attachment; filename="../r.csv"; filename*=UTF-8''%e2%82%ac%20rates.csv`)
		case r.URL.Path == "/moved":
			http.Redirect(w, r, "/elsewhere/report.pdf", http.StatusFound)
			return
		case r.URL.Path == "/away":
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "text/csv")
		_, _ = w.Write(content)
	})
	args, err := NewDownloadArgs(
		[]string{address + "/data/report.pdf", address + "/moved", address + "/named", address + "/", address + "/away"},
		[]DownloadSpec{{address + "/right", strings.ToUpper(sumOf(content))}, {address + "/wrong", sumOf(nil)}},
	)
	if err != nil {
		t.Fatal(err)
	}
	j, report := work(y, ada, DownloadFiles, args)
	files := y.artifacts(j)
	for i, want := range []string{"report.pdf", "report (2).pdf", "€ rates.csv", "download", "", "right", ""} {
		f := report.Files[i]
		if want == "" {
			if f.Error == nil || f.Name != nil || f.SHA256 != nil {
				t.Errorf("%s: %+v", f.URL, f)
			}
			continue
		}
		if f.Name == nil || *f.Name != want || *f.MediaType != "text/csv" || f.Bytes != int64(len(content)) || *f.SHA256 != sumOf(content) || !bytes.Equal(files[want], content) {
			t.Errorf("%s: %+v, want %s", f.URL, f, want)
		}
	}
	if report.Downloaded != 5 || report.Failed != 2 || report.Files[4].Error.Code != Status || report.Files[6].Error.Code != Checksum || len(files) != 5 {
		t.Errorf("the report is %+v with %d artifacts", report, len(files))
	}
	if j.Attempt != 1 || j.Progress.Total == 0 {
		t.Errorf("attempt %d, progress %+v", j.Attempt, j.Progress)
	}
}

// cutter serves content, and cuts off its first answers half way.
type cutter struct {
	content []byte
	tag     string
	cuts    atomic.Int64 // answers yet to be cut off
	ranges  chan string  // what was asked for, and under which condition; "": all
	deaf    bool         // it does not heed the condition
	swap    []byte       // the content after the first answer; nil: the same
	swapTag string
}

func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.ranges <- strings.TrimSpace(r.Header.Get("Range") + " " + r.Header.Get("If-Range"))
	if c.deaf {
		r.Header.Del("If-Range")
	}
	w.Header().Set("ETag", c.tag)
	if c.cuts.Add(-1) >= 0 {
		w.Header().Set("Content-Length", fmt.Sprint(len(c.content)))
		_, _ = w.Write(c.content[:len(c.content)/2])
		if c.swap != nil {
			c.content, c.tag = c.swap, c.swapTag
		}
		return // net/http closes a connection that was promised more
	}
	http.ServeContent(w, r, "file.bin", time.Time{}, bytes.NewReader(c.content))
}

func TestAnInterruptedDownloadGoesOnWhereItStopped(t *testing.T) {
	whole := noise(900 << 10)
	other, shorter := bytes.ToLower(whole), bytes.ToLower(noise(700<<10))
	for _, c := range []struct {
		name    string
		server  *cutter
		want    []byte
		second  string // the range of the second request
		third   string
		resumed bool
	}{
		{"a strong tag", &cutter{content: whole, tag: `"a"`}, whole, `bytes=460800- "a"`, "-", true},
		{"a weak tag", &cutter{content: whole, tag: `W/"a"`}, whole, "", "-", false},
		{"no tag", &cutter{content: whole}, whole, "", "-", false},
		{"another content by its tag", &cutter{content: whole, tag: `"a"`, swap: other, swapTag: `"b"`}, other, `bytes=460800- "a"`, "", false},
		{"another content by its tag, of a server that does not heed If-Range", &cutter{content: whole, tag: `"a"`, swap: other, swapTag: `"b"`, deaf: true}, other, `bytes=460800- "a"`, "", false},
		{"a shorter content under the same tag", &cutter{content: whole, tag: `"a"`, swap: shorter, swapTag: `"a"`}, shorter, `bytes=460800- "a"`, "", false},
		{"another content under the same tag", &cutter{content: whole, tag: `"a"`, swap: other, swapTag: `"a"`}, other, `bytes=460800- "a"`, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			y := newYard(t)
			c.server.cuts.Store(1)
			c.server.ranges = make(chan string, 10)
			address := serving(t, c.server.ServeHTTP)
			expected := sumOf(c.want)
			if c.server.deaf { // then the tag alone tells
				expected = ""
			}
			args, err := NewDownloadArgs(nil, []DownloadSpec{{address + "/file.bin", expected}})
			if err != nil {
				t.Fatal(err)
			}
			j, report := work(y, ada, DownloadFiles, args)
			f := report.Files[0]
			if f.Error != nil || f.Resumed != c.resumed || !bytes.Equal(y.artifacts(j)["file.bin"], c.want) || j.Attempt != 2 {
				t.Errorf("attempt %d: %+v, %+v", j.Attempt, f, f.Error)
			}
			close(c.server.ranges)
			var asked []string
			for r := range c.server.ranges {
				asked = append(asked, r)
			}
			want := []string{"", c.second, c.third}
			if c.third == "-" {
				want = want[:2]
			}
			if strings.Join(asked, ";") != strings.Join(want, ";") {
				t.Errorf("asked for %q, want %q", asked, want)
			}
		})
	}
}

func TestOneFileThatFailsDoesNotFetchTheOthersAgain(t *testing.T) {
	y := newYard(t)
	var good, ill atomic.Int64
	address := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ill" {
			ill.Add(1)
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		good.Add(1)
		fmt.Fprint(w, "content")
	})
	args, err := NewDownloadArgs([]string{address + "/good", address + "/ill"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	y.options.MaxAttempts = 2
	j, report := work(y, ada, DownloadFiles, args)
	if report.Downloaded != 1 || report.Failed != 1 || report.Files[1].Error.Code != Status || string(y.artifacts(j)["good"]) != "content" {
		t.Errorf("the report is %+v", report)
	}
	if good.Load() != 1 || ill.Load() != 2 {
		t.Errorf("the good one was fetched %d times, the other %d times, want once and twice", good.Load(), ill.Load())
	}
}

func TestDownloadsAreRefusedByTheirPlace(t *testing.T) {
	good := "https://example.com/a"
	for _, c := range []struct {
		name  string
		urls  []string
		files []DownloadSpec
		code  fault.Code
		field string
	}{
		{"none", nil, nil, fault.Required, "urls"},
		{"too many", make([]string, 11), make([]DownloadSpec, 10), fault.TooLarge, "urls"},
		{"a path", []string{good, "/etc/passwd"}, nil, fault.Invalid, "urls.1"},
		{"another scheme", nil, []DownloadSpec{{"ftp://example.com/a", ""}}, fault.Invalid, "files.0.url"},
		{"half a sum", nil, []DownloadSpec{{good, "abc"}}, fault.Invalid, "files.0.sha256"},
		{"a sum of other letters", nil, []DownloadSpec{{good, strings.Repeat("g", 64)}}, fault.Invalid, "files.0.sha256"},
	} {
		_, err := NewDownloadArgs(c.urls, c.files)
		f, ok := fault.As(err)
		if !ok || f.Code != c.code || strings.Join(f.Field, ".") != c.field {
			t.Errorf("%s: got %+v, want %s of %s", c.name, f, c.code, c.field)
		}
	}
}

func TestANameIsTakenFromTheServerOrTheAddressAndMadeSafe(t *testing.T) {
	for _, c := range []struct{ disposition, address, want string }{
		{`attachment; filename=report.csv`, "http://x/y", "report.csv"},
		{`attachment; filename="a b.csv"; filename*=UTF-8''%c3%a4.csv`, "http://x/y", "ä.csv"},
		{`inline; filename="..\\..\\windows\\system.ini"`, "http://x/y", "system.ini"},
		{`attachment; filename="../../etc/passwd"`, "http://x/y", "passwd"},
		{`attachment; filename=".."`, "http://x/data.json?name=z", "data.json"},
		{`attachment; filename=".bashrc"`, "http://x/y", "bashrc"},
		{`attachment; filename="a\"b<c>|d?.txt"`, "http://x/y", "a_b_c__d_.txt"},
		{"attachment; filename=\"gnp\u202egpj.exe\"", "http://x/y", "gnpgpj.exe"},
		{`attachment; filename="CON.txt"`, "http://x/y", "_CON.txt"},
		{`attachment; filename="contract.txt"`, "http://x/y", "contract.txt"},
		{`attachment; filename="trailing. . "`, "http://x/y", "trailing"},
		{`attachment; filename=`, "http://x/y%2f..%2fz.tar.gz", "z.tar.gz"},
		{"", "http://x/", "download"},
		{"", "http://x", "download"},
		{"", "http://x/%00%0d%0a", "download"},
		{"", "http://x/" + strings.Repeat("ä", 300) + ".csv", strings.Repeat("ä", 98) + ".csv"},
	} {
		if got := fileName(c.disposition, c.address); got != c.want {
			t.Errorf("fileName(%q, %.40q) = %q, want %q", c.disposition, c.address, got, c.want)
		}
	}
	taken := map[string]bool{}
	for _, want := range []string{"a.csv", "a (2).csv", "a (3).csv"} {
		if got := unique("a.csv", taken); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := unique("A.CSV", taken); got != "A (4).CSV" {
		t.Errorf("got %q: another case of letters is no other name on some systems", got)
	}
}
