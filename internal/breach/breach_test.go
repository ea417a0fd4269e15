package breach_test

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the key of the service's ranges
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/breach"
)

// The SHA-1 of "P@ssw0rd" is the example of the service's own documentation: 21BD1 and the rest below.
const (
	stolen       = "P@ssw0rd"
	stolenPrefix = "21BD1"
	stolenRest   = "2DC183F740EE76F27B78EB39C8AD972A757"
)

// service answers like the range service; answer is called with the path's last part.
func service(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) (*breach.Service, *bytes.Buffer) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(answer))
	t.Cleanup(server.Close)
	var log bytes.Buffer
	s, err := breach.New(server.URL+"/range/", breach.Options{Timeout: 200 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s, &log
}

func TestAStolenPasswordIsKnownAndTheServiceLearnsFiveDigits(t *testing.T) {
	s, log := service(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.Header.Get("Add-Padding") != "true" || len(strings.TrimPrefix(r.URL.Path, "/range/")) != 5 || r.URL.RawQuery != "" {
			t.Errorf("the service is asked %s %s with %v", r.Method, r.URL, r.Header)
		}
		sum := sha1.Sum([]byte("padded away")) //nolint:gosec // as above
		fmt.Fprintf(w, "0018A45C4D1DEF81644B54AB7F969B88D65:1\r\n%s:52256179\r\n%X:0\r\n", stolenRest, sum[2:])
	})
	if !s.Has(t.Context(), stolen) {
		t.Error("it is not known")
	}
	if s.Has(t.Context(), "an honest new sentence") {
		t.Error("a good password is known")
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", log)
	}
}

func TestAnEntryThatOnlyPadsIsNoTheft(t *testing.T) {
	s, _ := service(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "%s:0\r\n", stolenRest) })
	if s.Has(t.Context(), stolen) {
		t.Error("padding counts as a theft")
	}
}

func TestAServiceThatFailsKeepsNobodyOut(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"refuses": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, stolenRest+":9", http.StatusTooManyRequests)
		},
		"hangs":     func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"redirects": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"talks": func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				fmt.Fprint(w, strings.Repeat("x", 64<<10))
			}
		},
		"breaks off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			s, log := service(t, answer)
			began := time.Now()
			if s.Has(t.Context(), stolen) {
				t.Error("a service that fails knows the password")
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			if log.Len() == 0 || strings.Contains(log.String(), stolenPrefix) || strings.Contains(log.String(), stolen) {
				t.Errorf("the log tells nothing, or too much: %s", log)
			}
		})
	}
}

func TestAnAddressOfAServiceEndsWithASlash(t *testing.T) {
	for address, good := range map[string]bool{
		"https://api.pwnedpasswords.com/range/":  true,
		"http://127.0.0.1:8080/":                 true,
		"https://api.pwnedpasswords.com/range":   false,
		"https://api.pwnedpasswords.com/?range=": false,
		"file:///etc/":                           false,
		"api.pwnedpasswords.com/range/":          false,
		"":                                       false,
	} {
		if err := breach.CheckURL(address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}
