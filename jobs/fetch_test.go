package jobs

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"gatehouse/internal/fault"
	"gatehouse/jobs/csvprofile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPrivateAddressesAreRefusedByTheAddressDialled(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "a,b\n1,2\n")
	}))
	defer inside.Close()
	port := inside.URL[strings.LastIndex(inside.URL, ":"):]
	f := newFetcher(false)
	for _, address := range []string{
		inside.URL, "http://localhost" + port, "http://[::1]" + port, "http://2130706433" + port, "http://127.1" + port,
		"http://[::ffff:127.0.0.1]" + port, "http://0.0.0.0" + port, "http://169.254.169.254/latest/meta-data", "http://10.0.0.1/",
	} {
		body, _, err := f.open(t.Context(), address)
		if err == nil {
			body.Close()
			t.Errorf("%s was fetched", address)
			continue
		}
		if got, ok := fault.As(err); !ok || got.Code != fault.Invalid || strings.Contains(got.Message, "127") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestTheAddressAskedForIsNotLogged(t *testing.T) {
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	for _, f := range []*fetcher{newFetcher(true), newFetcher(false)} {
		_, _, err := f.open(t.Context(), away.URL+"/report.csv?signature=hunter2")
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "report.csv") {
			t.Errorf("the log is told %v", err)
		}
	}
}

func TestARedirectIsCheckedAnew(t *testing.T) {
	hops := 0
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hops++
		http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
	}))
	defer outside.Close()
	if body, _, err := newFetcher(true).open(t.Context(), outside.URL); err == nil {
		body.Close()
		t.Error("a redirect to a file was followed")
	}
	round := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
	}))
	defer round.Close()
	if body, _, err := newFetcher(true).open(t.Context(), round.URL+"/"); err == nil {
		body.Close()
		t.Error("a redirect without end was followed")
	}
}

func TestWhatAnAddressAnswersIsToldInWords(t *testing.T) {
	for _, c := range []struct {
		status int
		again  bool // another attempt may help
	}{{404, false}, {403, false}, {429, true}, {503, true}} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(c.status) }))
		_, _, err := newFetcher(true).open(t.Context(), server.URL)
		server.Close()
		f, ok := fault.As(err)
		if !ok || f.Code != fault.Invalid {
			t.Errorf("status %d gives %v", c.status, err)
		}
		if _, plain := err.(*fault.Fault); plain != c.again {
			t.Errorf("status %d: another attempt %v, want %v", c.status, plain, c.again)
		}
	}
}

func TestAddressesThatCannotWorkAreRefusedAtOnce(t *testing.T) {
	for _, address := range []string{"", "ftp://x/y", "file:///etc/passwd", "http://", "/x", "http://user:secret@example.com/", "http://" + strings.Repeat("a", 3000)} {
		if err := CheckURL(address); !fault.Is(err, fault.Invalid) {
			t.Errorf("CheckURL(%.40q) = %v", address, err)
		}
	}
	if err := CheckURL("https://example.com/a.csv?x=1"); err != nil {
		t.Errorf("a good address is refused: %v", err)
	}
}

func TestWhatCannotBeReadIsToldInWords(t *testing.T) {
	for _, err := range []error{
		csvprofile.ErrEmpty, csvprofile.ErrNotCSV, csvprofile.ErrEncoding, csvprofile.ErrHeader,
		csvprofile.ErrTooManyColumns, csvprofile.ErrDelimiter, csvprofile.ErrOutputTooLarge,
	} {
		if _, ok := fault.As(csvFault(err)); !ok {
			t.Errorf("%v has no words for the owner", err)
		}
	}
	if other := errors.New("disk on fire"); csvFault(other) != other {
		t.Error("an error of ours became the owner's")
	}
}

func TestADelimiterIsOneCharacter(t *testing.T) {
	for text, good := range map[string]bool{"": true, ";": true, "\t": true, ",": true, "\"": false, "\n": false, "ab": false, "é": false} {
		if err := CheckDelimiter(text); (err == nil) != good {
			t.Errorf("CheckDelimiter(%q) = %v", text, err)
		}
	}
}
