package agent

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// headers are what real clients send.
var headers = []struct{ header, want string }{
	{"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:137.0) Gecko/20100101 Firefox/137.0", "Firefox on Windows"},
	{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on macOS"},
	{"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:124.0) Gecko/20100101 Firefox/124.0", "Firefox on Linux"},
	{"Mozilla/5.0 (Android 14; Mobile; rv:136.0) Gecko/136.0 Firefox/136.0", "Firefox on Android"},
	{"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/124.0 Mobile/15E148 Safari/605.1.15", "Firefox on iOS"},
	{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0.0.0 Safari/537.36", "Chrome on Windows"},
	{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0.0.0 Safari/537.36", "Chrome on macOS"},
	{"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0.0.0 Safari/537.36", "Chrome on Linux"},
	{"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0.0.0 Safari/537.36", "Chrome on ChromeOS"},
	{"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0.0.0 Mobile Safari/537.36", "Chrome on Android"},
	{"Mozilla/5.0 (iPhone; CPU iPhone OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/134.0.6998.99 Mobile/15E148 Safari/604.1", "Chrome on iOS"},
	{"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/134.0.0.0 Safari/537.36", "Headless Chrome on Linux"},
	{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0.0.0 Safari/537.36 Edg/134.0.3124.85", "Edge on Windows"},
	{"Mozilla/5.0 (Linux; Android 10; HD1913) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0.6998.95 Mobile Safari/537.36 EdgA/134.0.3124.68", "Edge on Android"},
	{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0 Safari/537.36 OPR/117.0.0.0", "Opera on Windows"},
	{"Opera/9.80 (Windows NT 6.1; U; en) Presto/2.10.289 Version/12.02", "Opera on Windows"},
	{"Mozilla/5.0 (Linux; Android 14; SM-S928B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36", "Samsung Internet on Android"},
	{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Safari/605.1.15", "Safari on macOS"},
	{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Mobile/15E148 Safari/604.1", "Safari on iOS"},
	{"Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1", "Safari on iPadOS"},
	{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148", "WebView on iOS"},
	{"Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/134.0.0.0 Mobile Safari/537.36", "WebView on Android"},
	{"Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko", "Internet Explorer on Windows"},
	{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Notes/2.1 Chrome/132.0.0.0 Electron/34.0.0 Safari/537.36", "Electron on Windows"},
	{"Mozilla/5.0 (compatible; something)", "Unknown browser"},
	{"curl/8.5.0", "curl"},
	{"Go-http-client/1.1", "Go-http-client"},
	{"python-requests/2.32.3", "python-requests"},
	{"Python/3.12 websockets/13.1", "Python"},
	{"node", "node"},
	{"okhttp/4.12.0", "okhttp"},
	{"Dart/3.5 (dart:io)", "Dart"},
	{"Notes/7 CFNetwork/1568.300.101 Darwin/24.2.0", "Notes on Apple"},
	{"  ", ""},
	{"/", "Unknown program"},
}

func TestRealHeadersAreNamedAsPeopleKnowThem(t *testing.T) {
	for _, h := range headers {
		if got := Of(h.header).String(); got != h.want {
			t.Errorf("%s\nis %q, want %q", h.header, got, h.want)
		}
	}
}

func TestANewVersionIsTheSameFamily(t *testing.T) {
	version := regexp.MustCompile(`\d+`)
	for _, h := range headers {
		if strings.Contains(h.header, "Trident") { // its version tells it from nothing else
			continue
		}
		later := version.ReplaceAllStringFunc(h.header, func(n string) string { return n + "1" })
		if Of(later) != Of(h.header) {
			t.Errorf("%s\nis %v, a later version is %v", h.header, Of(h.header), Of(later))
		}
	}
}

func TestWhateverComesHasABoundedPrintableName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		header := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{headers[0].header, "curl/8"})).Draw(t, "header") +
			rapid.String().Draw(t, "rest")
		f := Of(header)
		if len(f.String()) > maxName+20 || strings.ContainsFunc(f.String(), func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Fatalf("%q is %q", header, f)
		}
		if (f == Family{}) != (strings.TrimSpace(header) == "") {
			t.Fatalf("%q is %+v", header, f)
		}
	})
}

func BenchmarkOf(b *testing.B) {
	for b.Loop() {
		Of(headers[5].header)
	}
}
