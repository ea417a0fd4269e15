package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
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
	silenceTimeout  = 30 * time.Second // between two pieces of a body
)

// fetcher fetches what users name. Addresses that are not public are refused by the address that
// is actually dialled, after every redirect anew.
type fetcher struct{ client *http.Client }

func newFetcher(allowPrivate bool) *fetcher {
	dialer := &net.Dialer{Timeout: dialTimeout}
	if !allowPrivate {
		dialer.Control = ssrf.New(ssrf.WithAnyPort()).Safe
	}
	return &fetcher{client: &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: dialTimeout,
			ResponseHeaderTimeout: headerTimeout, MaxResponseHeaderBytes: 64 << 10,
			DisableKeepAlives: true, // a kept connection would not be checked again
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fault.New(fault.Invalid, "url", "The address redirects more than 5 times.")
			}
			return CheckURL(r.URL.String())
		},
	}}
}

// CheckURL returns a fault unless text is an http or https address that may be worth a try.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURLBytes || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fault.New(fault.Invalid, "url", "Give an http or https address of at most 2048 characters.")
	}
	if u.User != nil {
		return fault.New(fault.Invalid, "url", "The address must not carry a user name or password.")
	}
	return nil
}

// open returns the body at address and its size, 0 when that is not told. The body ends with an
// error when ctx does, when nothing comes for 30 s, and beyond 2 GiB.
func (f *fetcher) open(ctx context.Context, address string) (io.ReadCloser, int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		cancel(nil)
		return nil, 0, queue.Permanent(fault.New(fault.Invalid, "url", "The address cannot be read."))
	}
	request.Header.Set("User-Agent", "Gatehouse")
	answer, err := f.client.Do(request)
	if err != nil {
		cancel(nil)
		return nil, 0, fetchFault(err)
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		cancel(nil)
		return nil, 0, statusFault(answer.StatusCode)
	}
	body := &body{ReadCloser: answer.Body, cancel: cancel, left: maxFetchedBytes}
	body.silence = time.AfterFunc(silenceTimeout, func() { cancel(errSilent) })
	return body, max(0, answer.ContentLength), nil
}

var errSilent = errors.New("the server sent nothing for 30 s")

// body is an answer's body under watch.
type body struct {
	io.ReadCloser
	cancel  context.CancelCauseFunc
	silence *time.Timer
	left    int64
}

func (b *body) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	b.silence.Reset(silenceTimeout)
	if b.left -= int64(n); b.left < 0 {
		return 0, queue.Permanent(fault.New(fault.TooLarge, "url", "The file is larger than 2 GiB."))
	}
	return n, err
}

func (b *body) Close() error {
	b.silence.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}

// fetchFault tells the owner what went wrong without the addresses behind the name. Its cause, which
// is logged, is without the address that was asked for: a signed link is a secret.
func fetchFault(err error) error {
	var asked *url.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	if errors.Is(err, ssrf.ErrProhibitedIP) || errors.Is(err, ssrf.ErrProhibitedNetwork) || errors.Is(err, ssrf.ErrProhibitedPort) {
		return queue.Permanent(fault.New(fault.Invalid, "url", "The address is not a public one.").With(err))
	}
	if f, ok := fault.As(err); ok {
		return queue.Permanent(f)
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return queue.Permanent(fault.New(fault.Invalid, "url", "The address is not a public one.").With(err))
	}
	return fault.New(fault.Unavailable, "url", "The address does not answer.").With(err)
}

func statusFault(status int) error {
	f := fault.New(fault.Invalid, "url", fmt.Sprintf("The address answered with status %d.", status))
	if status == http.StatusTooManyRequests || status >= 500 {
		return f
	}
	return queue.Permanent(f)
}
