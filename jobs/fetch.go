package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"code.dny.dev/ssrf"

	"gatehouse/internal/fault"
	"gatehouse/queue"
)

// The bounds of a fetch.
const (
	maxURLBytes     = 2048
	maxRedirects    = 5
	maxFetchedBytes = 2 << 30
	dialTimeout     = 10 * time.Second
	headerTimeout   = 30 * time.Second
	silenceTimeout  = 30 * time.Second // in which a body must bring paceBytes
	paceBytes       = 16 << 10
)

// fetcher fetches what users name. Addresses that are not public are refused by the address that
// is actually dialled, after every redirect anew.
type fetcher struct {
	client  *http.Client // follows no redirect: see get
	dialer  *net.Dialer
	silence time.Duration
}

func newFetcher(allowPrivate bool) *fetcher {
	dialer := &net.Dialer{Timeout: dialTimeout}
	if !allowPrivate {
		dialer.Control = ssrf.New(ssrf.WithAnyPort()).Safe
	}
	return &fetcher{dialer: dialer, silence: silenceTimeout, client: &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: dialTimeout,
			ResponseHeaderTimeout: headerTimeout, MaxResponseHeaderBytes: 64 << 10,
			DisableKeepAlives: true, // a kept connection would not be checked again
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// CheckURL returns a fault unless text is an http or https address that may be worth a try.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURLBytes || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fault.New(fault.Invalid, "url", "Give an http or https address of at most 2048 characters.")
	}
	if u.User != nil {
		return fault.New(fault.Invalid, "url", "The address must not carry a user name or password.")
	}
	return nil
}

// wish is what shall be fetched, and how.
type wish struct {
	url     string
	header  http.Header
	raw     bool          // the bytes as they are sent, without unpacking them
	limit   int64         // bytes of the content, unpacked
	had     int64         // bytes of it that are here already
	timeout time.Duration // for all of it, waiting for a slot aside; 0: as long as bytes come
	doors   *doors        // how many may be at one host at once; nil: any number
}

// answer is what came after all redirects. Its body must be closed.
type answer struct {
	*http.Response
	redirects []string // the addresses that were gone to, the last is the answer's
	body      io.ReadCloser
}

// get fetches. Whatever goes wrong outside of this process is a *trouble; when ctx ends it is the cause.
func (f *fetcher) get(ctx context.Context, w wish) (*answer, error) {
	visit := &visit{doors: w.doors, silence: f.silence, outside: ctx}
	address := w.url
	var redirects []string
	for {
		response, err := f.hop(visit, w, address)
		if err != nil {
			return nil, visit.fail(err)
		}
		next, err := redirectOf(response)
		if err != nil {
			response.Body.Close()
			return nil, visit.fail(err)
		}
		if next == "" {
			if response.ContentLength > w.limit-w.had {
				response.Body.Close()
				return nil, visit.fail(tooLarge(w.limit))
			}
			return &answer{response, redirects, visit.body(response.Body, w.limit, w.had)}, nil
		}
		response.Body.Close()
		if redirects = append(redirects, next); len(redirects) > maxRedirects {
			return nil, visit.fail(newTrouble(Redirects, "The address redirects more than 5 times.", nil))
		}
		address = next
	}
}

// hop asks one address, once there is room at its host.
func (f *fetcher) hop(v *visit, w wish, address string) (*http.Response, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, newTrouble(Refused, "The address cannot be read.", err)
	}
	if err := v.enter(strings.ToLower(u.Host), w.timeout); err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(v.ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, newTrouble(Refused, "The address cannot be read.", nil)
	}
	for name, values := range w.header {
		request.Header[name] = values
	}
	request.Header.Set("User-Agent", "Gatehouse")
	if w.raw {
		request.Header.Set("Accept-Encoding", "identity")
	}
	return f.client.Do(request)
}

// redirectOf returns where an answer sends us, "" when it is the last.
func redirectOf(r *http.Response) (string, error) {
	switch r.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return "", nil
	}
	if r.Header.Get("Location") == "" {
		return "", nil
	}
	to, err := r.Location()
	if err != nil || CheckURL(to.String()) != nil {
		return "", newTrouble(Redirects, "The address redirects to one that is not fetched.", nil)
	}
	to.Fragment = ""
	return to.String(), nil
}

// open returns the body at address and its size, 0 when that is not told. The body ends with an
// error when ctx does, when less than 16 KiB come in 30 s, and beyond 2 GiB. What a person can read is a fault.
func (f *fetcher) open(ctx context.Context, address string) (io.ReadCloser, int64, error) {
	got, err := f.get(ctx, wish{url: address, limit: maxFetchedBytes})
	if err != nil {
		return nil, 0, faultOf(err)
	}
	if err := statusTrouble(got.Response, time.Now()); err != nil {
		got.body.Close()
		return nil, 0, faultOf(err)
	}
	return faulty{got.body}, max(0, got.ContentLength), nil
}

// faulty is a body whose troubles are faults.
type faulty struct{ io.ReadCloser }

func (f faulty) Read(into []byte) (int, error) {
	n, err := f.ReadCloser.Read(into)
	return n, faultOf(err)
}

// faultOf puts a trouble into words for the owner of a job that fails by it; all else stays what it is.
func faultOf(err error) error {
	t, ok := errors.AsType[*trouble](err)
	if !ok {
		return err
	}
	code := fault.Invalid
	switch t.Code {
	case Unreachable, Timeout, Interrupted:
		code = fault.Unavailable
	case TooLarge:
		code = fault.TooLarge
	}
	f := fault.New(code, "url", t.Message).With(t.cause)
	if t.lasting() {
		return queue.Permanent(f)
	}
	return f
}

func tooLarge(limit int64) *trouble {
	size := fmt.Sprintf("%d MiB", limit>>20)
	if limit >= 1<<30 {
		size = fmt.Sprintf("%d GiB", limit>>30)
	}
	return newTrouble(TooLarge, "The content is larger than "+size+".", nil)
}
