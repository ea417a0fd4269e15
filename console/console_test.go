package console_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"gatehouse/console"
)

const (
	maxPackedBytes   = 2_000_000 // of the whole explorer, as the package comment says
	maxUnpackedBytes = 4_000_000 // of one file
)

func TestEveryFileOfTheBuildIsServedInBothForms(t *testing.T) {
	explorer := console.Explorer()
	for _, file := range builtFiles(t) {
		t.Run(file, func(t *testing.T) {
			target := path.Join("/explorer", strings.TrimSuffix(file, ".gz"))
			if file == "index.html.gz" {
				target = "/explorer"
			}
			stored, err := os.ReadFile(path.Join("dist", file))
			if err != nil {
				t.Fatal(err)
			}

			packed := get(explorer, target, "Accept-Encoding", "br;q=1.0, gzip;q=0.8")
			wantStatus(t, packed, http.StatusOK)
			wantHeader(t, packed, "Content-Encoding", "gzip")
			if !bytes.Equal(packed.Body.Bytes(), stored) {
				t.Errorf("packed form: got %d bytes, want the %d of the file", packed.Body.Len(), len(stored))
			}

			plain := get(explorer, target)
			wantStatus(t, plain, http.StatusOK)
			wantHeader(t, plain, "Content-Encoding", "")
			if want := unpack(t, stored); !bytes.Equal(plain.Body.Bytes(), want) {
				t.Errorf("plain form: got %d bytes, want %d", plain.Body.Len(), len(want))
			}
			if plain.Body.Len() > maxUnpackedBytes {
				t.Errorf("plain form is %d bytes, want at most %d", plain.Body.Len(), maxUnpackedBytes)
			}
			if plain.Header().Get("Etag") == packed.Header().Get("Etag") {
				t.Errorf("both forms have the entity tag %s", plain.Header().Get("Etag"))
			}
			for _, answer := range []*httptest.ResponseRecorder{packed, plain} {
				wantHeader(t, answer, "Vary", "Accept-Encoding")
				wantHeader(t, answer, "X-Content-Type-Options", "nosniff")
				if got := answer.Header().Get("Content-Type"); got == "application/octet-stream" {
					t.Errorf("no media type for %s", target)
				}
			}
		})
	}
}

func TestHashedFilesAreCachedForEverAndPagesAreAskedForEachTime(t *testing.T) {
	hashed := regexp.MustCompile(`^assets/[\w.-]+-[\w-]{8}\.(js|css|ttf)\.gz$`)
	explorer := console.Explorer()
	for _, file := range builtFiles(t) {
		target, want := path.Join("/explorer", strings.TrimSuffix(file, ".gz")), "no-cache"
		switch {
		case file == "index.html.gz":
			target = "/explorer/"
		case strings.HasPrefix(file, "assets/"):
			want = "public, max-age=31536000, immutable"
			if !hashed.MatchString(file) {
				t.Errorf("%s carries no hash of its content", file)
			}
		}
		wantHeader(t, get(explorer, target), "Cache-Control", want)
	}
	wantHeader(t, get(console.Front(), "/"), "Cache-Control", "no-cache")
}

func TestAClientThatHasTheFileGetsNotModified(t *testing.T) {
	for _, page := range pages {
		t.Run(page.target, func(t *testing.T) {
			for _, encoding := range []string{"gzip", "identity"} {
				first := get(page.handler, page.target, "Accept-Encoding", encoding)
				again := get(page.handler, page.target, "Accept-Encoding", encoding, "If-None-Match", first.Header().Get("Etag"))
				wantStatus(t, again, http.StatusNotModified)
				if again.Body.Len() != 0 {
					t.Errorf("%s: 304 with a body of %d bytes", encoding, again.Body.Len())
				}
				other := get(page.handler, page.target, "Accept-Encoding", encoding, "If-None-Match", `"another"`)
				wantStatus(t, other, http.StatusOK)
			}
		})
	}
}

func TestGzipIsSentOnlyToThoseWhoAcceptIt(t *testing.T) {
	for _, test := range []struct {
		accept string
		want   string
	}{
		{"", ""},
		{"gzip", "gzip"},
		{"gzip, deflate, br, zstd", "gzip"},
		{"GZIP", "gzip"},
		{"deflate", ""},
		{"*", "gzip"},
		{"*;q=0", ""},
		{"*, gzip;q=0", ""},
		{"gzip;q=0, *", ""},
		{"gzip;q=0", ""},
		{"gzip;q=0.000", ""},
		{"gzip;q=0.001", "gzip"},
		{"identity, gzip ; q=0.5", "gzip"},
		{"xgzip, ;;, gzip-not", ""},
	} {
		got := get(console.Explorer(), "/explorer", "Accept-Encoding", test.accept).Header().Get("Content-Encoding")
		if got != test.want {
			t.Errorf("Accept-Encoding %q: got Content-Encoding %q, want %q", test.accept, got, test.want)
		}
	}
}

func TestThePolicyAllowsOnlyTheSameOrigin(t *testing.T) {
	const policy = "default-src 'none'; script-src 'self'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; " +
		"font-src 'self' data:; connect-src 'self'CONNECT; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	for _, test := range []struct {
		host    string
		connect string
	}{
		{"gatehouse.example", " ws://gatehouse.example wss://gatehouse.example"},
		{"127.0.0.1:8080", " ws://127.0.0.1:8080 wss://127.0.0.1:8080"},
		{"[::1]:8080", ""},
		{"", ""},
		{"a.example; script-src *", ""},
		{"a.example,b.example", ""},
	} {
		for _, page := range pages {
			request := httptest.NewRequest(http.MethodGet, page.target, http.NoBody)
			request.Host = test.host
			answer := httptest.NewRecorder()
			page.handler.ServeHTTP(answer, request)
			wantHeader(t, answer, "Content-Security-Policy", strings.Replace(policy, "CONNECT", test.connect, 1))
		}
	}
}

func TestOtherPathsAreNotFound(t *testing.T) {
	for _, test := range []struct {
		handler http.Handler
		target  string
	}{
		{console.Explorer(), "/explorer/index.html"},
		{console.Explorer(), "/explorer/assets"},
		{console.Explorer(), "/explorer/assets/"},
		{console.Explorer(), "/explorer/assets/absent.js"},
		{console.Explorer(), "/explorer/../console.go"},
		{console.Explorer(), "/explorer/licenses.md.gz"},
		{console.Explorer(), "/"},
		{console.Front(), "/explorer"},
		{console.Front(), "/index.html"},
	} {
		wantStatus(t, get(test.handler, test.target), http.StatusNotFound)
	}
}

func TestHeadGivesTheLengthWithoutTheBodyAndOtherMethodsAreRefused(t *testing.T) {
	for _, page := range pages {
		request := httptest.NewRequest(http.MethodHead, page.target, http.NoBody)
		request.Header.Set("Accept-Encoding", "gzip")
		head := httptest.NewRecorder()
		page.handler.ServeHTTP(head, request)
		wantStatus(t, head, http.StatusOK)
		if head.Body.Len() != 0 || head.Header().Get("Content-Length") == "" {
			t.Errorf("HEAD %s: got a body of %d bytes and Content-Length %q", page.target, head.Body.Len(), head.Header().Get("Content-Length"))
		}

		post := httptest.NewRecorder()
		page.handler.ServeHTTP(post, httptest.NewRequest(http.MethodPost, page.target, http.NoBody))
		wantStatus(t, post, http.StatusMethodNotAllowed)
		wantHeader(t, post, "Allow", "GET, HEAD")
	}
}

func TestPagesNameNoOtherHost(t *testing.T) {
	external := regexp.MustCompile(`(?i)\b(https?|wss?)://|\b(src|href)="?//`)
	for _, page := range pages {
		html := get(page.handler, page.target).Body.String()
		if found := external.FindString(html); found != "" {
			t.Errorf("%s names another host: %q", page.target, found)
		}
	}
}

func TestThePageOfTheExplorerNamesOnlyFilesThatAreServed(t *testing.T) {
	explorer := console.Explorer()
	html := get(explorer, "/explorer").Body.String()
	named := regexp.MustCompile(`(?:src|href)="(/explorer/[^"]+)"`).FindAllStringSubmatch(html, -1)
	if len(named) < 2 {
		t.Fatalf("got %d files named by the page, want a script and a style sheet at least:\n%s", len(named), html)
	}
	for _, match := range named {
		wantStatus(t, get(explorer, match[1]), http.StatusOK)
	}
}

func TestTheBuildIsSmallAndHasNeitherSourceMapsNorTextFonts(t *testing.T) {
	total := 0
	for _, file := range builtFiles(t) {
		packed, err := os.ReadFile(path.Join("dist", file))
		if err != nil {
			t.Fatal(err)
		}
		total += len(packed)
		if strings.Contains(file, ".map") {
			t.Errorf("source map %s", file)
		}
		if strings.Contains(file, ".woff") || (strings.Contains(file, ".ttf") && !strings.Contains(file, "codicon")) {
			t.Errorf("font %s", file)
		}
		if plain := unpack(t, packed); bytes.Contains(plain, []byte("\n//# sourceMappingURL=")) {
			t.Errorf("%s names a source map", file)
		}
	}
	if total > maxPackedBytes {
		t.Errorf("got %d bytes packed, want at most %d", total, maxPackedBytes)
	}
}

func TestTheBuildTellsNothingOfTheMachineThatMadeIt(t *testing.T) {
	for _, file := range builtFiles(t) {
		packed, err := os.ReadFile(path.Join("dist", file))
		if err != nil {
			t.Fatal(err)
		}
		reader, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		const unknownSystem = 255
		if !reader.ModTime.IsZero() || reader.Name != "" || reader.OS != unknownSystem {
			t.Errorf("%s: got time %v, name %q, system %d", file, reader.ModTime, reader.Name, reader.OS)
		}
		if found := regexp.MustCompile(`/(work|home|root|tmp|Users)/\w+/node_modules|/console/web/`).Find(unpack(t, packed)); found != nil {
			t.Errorf("%s holds a path of the machine: %q", file, found)
		}
	}
}

func BenchmarkExplorerPacked(b *testing.B) {
	explorer := console.Explorer()
	request := httptest.NewRequest(http.MethodGet, "/explorer", http.NoBody)
	request.Header.Set("Accept-Encoding", "gzip")
	b.ReportAllocs()
	for b.Loop() {
		explorer.ServeHTTP(httptest.NewRecorder(), request)
	}
}

var pages = []struct {
	handler http.Handler
	target  string
}{
	{console.Front(), "/"},
	{console.Explorer(), "/explorer"},
	{console.Explorer(), "/explorer/"},
}

// builtFiles lists dist from the disk, so that a file the binary left out is noticed.
func builtFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS("dist"), ".", func(file string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, file)
		}
		return err
	})
	if err != nil || len(files) < 3 {
		t.Fatalf("list dist: %d files, %v", len(files), err)
	}
	return files
}

// get asks with headers given as name and value in turn.
func get(handler http.Handler, target string, headers ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodGet, target, http.NoBody)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	return answer
}

func unpack(t *testing.T, packed []byte) []byte {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func wantStatus(t *testing.T, answer *httptest.ResponseRecorder, want int) {
	t.Helper()
	if answer.Code != want {
		t.Errorf("got status %d, want %d: %s", answer.Code, want, answer.Body.Bytes()[:min(answer.Body.Len(), 80)])
	}
}

func wantHeader(t *testing.T, answer *httptest.ResponseRecorder, name, want string) {
	t.Helper()
	if got := answer.Header().Get(name); got != want {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}
