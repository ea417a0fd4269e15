package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// vendor is an SMS vendor on loopback, and the last form it was sent.
type vendor struct {
	*httptest.Server
	form   url.Values
	header http.Header
	query  url.Values
}

func startVendor(t *testing.T, answer http.HandlerFunc) *vendor {
	t.Helper()
	v := &vendor{}
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.Method != http.MethodPost {
			t.Errorf("%s, error %v", r.Method, err)
		}
		v.form, v.header, v.query = r.PostForm, r.Header, r.URL.Query()
		answer(w, r)
	}))
	t.Cleanup(v.Close)
	return v
}

func newSMS(t testing.TB, address string, change func(*SMSOptions)) *SMS {
	t.Helper()
	o := SMSOptions{URL: address, From: "+12025550100"}
	if change != nil {
		change(&o)
	}
	s, err := NewSMS(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func renderedSMS(t testing.TB) Rendered {
	t.Helper()
	r, err := newPost(t, Options{Host: "example.com"}).Render(full(MfaCode, BySMS))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnSMSIsPostedAsAForm(t *testing.T) {
	v := startVendor(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	r := renderedSMS(t)
	for name, c := range map[string]struct {
		change        func(*SMSOptions)
		fields        Fields
		authorization string
	}{
		"open":   {nil, Fields{"From", "To", "Body"}, ""},
		"basic":  {func(o *SMSOptions) { o.Username, o.Password = "AC1", "s:cret" }, Fields{"From", "To", "Body"}, "Basic QUMxOnM6Y3JldA=="},
		"bearer": {func(o *SMSOptions) { o.Token = "t0ken" }, Fields{"From", "To", "Body"}, "Bearer t0ken"},
		"names":  {func(o *SMSOptions) { o.Fields = Fields{From: "sender", Body: "text"} }, Fields{"sender", "To", "text"}, ""},
	} {
		if err := newSMS(t, v.URL+"/send?region=eu", c.change).Send(t.Context(), r); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := url.Values{c.fields.From: {"+12025550100"}, c.fields.To: {r.To}, c.fields.Body: {r.Text}}
		if diff := cmp.Diff(want, v.form); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got := v.header.Get("Authorization"); got != c.authorization || v.query.Get("region") != "eu" {
			t.Errorf("%s: authorization %q, query %v", name, got, v.query)
		}
		if got := v.header.Get("Content-Type"); got != "application/x-www-form-urlencoded" {
			t.Errorf("%s: content type %q", name, got)
		}
	}
}

func TestAVendorsStatusSaysWhetherToTryAgain(t *testing.T) {
	for status, want := range map[int]error{
		200: nil, 201: nil, 202: nil, 204: nil, 302: ErrPermanent, 307: ErrPermanent, 400: ErrPermanent,
		401: ErrTemporary, 403: ErrPermanent, 404: ErrPermanent, 408: ErrTemporary, 422: ErrPermanent,
		429: ErrTemporary, 500: ErrTemporary, 502: ErrTemporary, 503: ErrTemporary,
	} {
		v := startVendor(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			if status != 204 {
				fmt.Fprint(w, "no: ", r.PostForm)
			}
		})
		err := newSMS(t, v.URL, func(o *SMSOptions) { o.Token = "t0ken" }).Send(t.Context(), renderedSMS(t))
		if !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("%d: error %v, want %v", status, err, want)
			continue
		}
		var refusal *Refusal
		if err != nil && (!errors.As(err, &refusal) || refusal.Code != status) {
			t.Errorf("%d: error %v names no status", status, err)
		}
		notRepeated(t, err)
	}
}

// notRepeated checks that err holds nothing that only vendor and receiver may know.
func notRepeated(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, secret := range []string{testCode, "491701234567", "t0ken", "apikey"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error repeats %q: %v", secret, err)
		}
	}
}

func TestAVendorThatFailsToAnswerIsTemporary(t *testing.T) {
	stopped := make(chan struct{})
	for name, answer := range map[string]http.HandlerFunc{
		"silence": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-stopped:
			}
		},
		"cut": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"no HTTP": func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				fmt.Fprintf(conn, "%s %s\r\n\r\n", r.PostForm.Get("To"), testCode)
				conn.Close()
			}
		},
	} {
		v := startVendor(t, answer)
		s := newSMS(t, v.URL+"/?key=apikey", func(o *SMSOptions) { o.Timeout = 200 * time.Millisecond })
		err := s.Send(t.Context(), renderedSMS(t))
		if !errors.Is(err, ErrTemporary) {
			t.Errorf("%s: error %v", name, err)
		}
		notRepeated(t, err)
	}
	close(stopped)
	v := startVendor(t, nil)
	v.Close()
	err := newSMS(t, v.URL+"/?key=apikey", nil).Send(t.Context(), renderedSMS(t))
	if !errors.Is(err, ErrTemporary) {
		t.Errorf("nobody there: error %v", err)
	}
	notRepeated(t, err)
}

func TestACancelledContextEndsAnSMS(t *testing.T) {
	stop := errors.New("the server shuts down")
	ctx, cancel := context.WithCancelCause(t.Context())
	v := startVendor(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel(stop)
		<-r.Context().Done()
	})
	if err := newSMS(t, v.URL, nil).Send(ctx, renderedSMS(t)); !errors.Is(err, ErrTemporary) || !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
}

func TestAVendorsEndlessAnswerIsNotReadToItsEnd(t *testing.T) {
	written := make(chan int, 1)
	v := startVendor(t, func(w http.ResponseWriter, _ *http.Request) {
		n := 0
		defer func() { written <- n }()
		for {
			more, err := io.WriteString(w, strings.Repeat("x", 32<<10))
			if n += more; err != nil {
				return
			}
		}
	})
	if err := newSMS(t, v.URL, nil).Send(t.Context(), renderedSMS(t)); err != nil {
		t.Error(err)
	}
	t.Logf("the vendor wrote %d bytes before it was cut off", <-written)
}

func TestAMailAddressGetsNoSMS(t *testing.T) {
	r := renderedSMS(t)
	r.To = "ada@example.com"
	if err := newSMS(t, "http://127.0.0.1:1/", nil).Send(t.Context(), r); !errors.Is(err, ErrPermanent) {
		t.Errorf("error %v", err)
	}
}

func TestAVendorThatCannotWorkIsRefused(t *testing.T) {
	for name, o := range map[string]SMSOptions{
		"no address":        {From: "x"},
		"no web address":    {URL: "ftp://example.com", From: "x"},
		"in clear":          {URL: "http://vendor.example/secret", From: "x"},
		"credentials in it": {URL: "https://u:secret@vendor.example/", From: "x"},
		"no sender":         {URL: "https://vendor.example/"},
		"two ways":          {URL: "https://vendor.example/", From: "x", Username: "u", Token: "secret"},
		"password alone":    {URL: "https://vendor.example/", From: "x", Password: "secret"},
		"token with a line": {URL: "https://vendor.example/", From: "x", Token: "secret\r\nX: y"},
		"time-out":          {URL: "https://vendor.example/", From: "x", Timeout: -1},
	} {
		if _, err := NewSMS(o); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
