package blob

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

func TestAnUploadIsSniffedAndUnclaimed(t *testing.T) {
	eachForm(t, func(t *testing.T, s *place) {
		for _, c := range []struct{ name, content, want string }{
			{"empty.csv", "", "text/plain; charset=utf-8"},
			{"a.csv", "name,age\nAda,36\n", "text/plain; charset=utf-8"},
			{"innocent.csv", "\x89PNG\r\n\x1a\n" + strings.Repeat("x", 2_000), "image/png"},
			{"innocent.txt", "<!DOCTYPE html><script>", "text/html; charset=utf-8"},
		} {
			upload, err := s.Receive(t.Context(), c.name, iotest.OneByteReader(strings.NewReader(c.content)), 4_000)
			if err != nil {
				t.Fatal(err)
			}
			if upload.MediaType != c.want || upload.Name != c.name || upload.Bytes != int64(len(c.content)) {
				t.Errorf("got %s %q of %d bytes, want %s %q of %d", upload.MediaType, upload.Name, upload.Bytes, c.want, c.name, len(c.content))
			}
			if upload.Kept() {
				t.Error("a fresh upload is kept")
			}
			if upload.Keep(); !upload.Kept() {
				t.Error("Keep did not keep")
			}
		}
	})
}

func TestAnUploadAboveItsLimitIsRefused(t *testing.T) {
	eachForm(t, func(t *testing.T, s *place) {
		if _, err := s.Receive(t.Context(), "a", strings.NewReader("12345"), 4); !errors.Is(err, ErrTooLarge) || len(files(t, s)) > 0 {
			t.Errorf("error %v, files %v; want %v and none", err, files(t, s), ErrTooLarge)
		}
	})
}

func TestNamesAreCleaned(t *testing.T) {
	for name, want := range map[string]string{
		"people.csv":                            "people.csv",
		"/etc/passwd":                           "passwd",
		`C:\Users\ada\people.csv`:               "people.csv",
		"..":                                    "",
		"a/..":                                  "",
		"":                                      "",
		"/":                                     "",
		"line\r\nend\x00.csv":                   "lineend.csv",
		"gpj.\u202Evsc":                         "gpj.vsc",
		" Zoë.csv ":                             "Zoë.csv",
		"\xFF.csv":                              "\uFFFD.csv",
		strings.Repeat("é", 200):                strings.Repeat("é", 127),
		strings.Repeat("x", 255) + "/" + "last": "last",
	} {
		if got := cleanName(name); got != want {
			t.Errorf("cleanName(%q) = %q, want %q", name, got, want)
		}
	}
}
