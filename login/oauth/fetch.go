package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	maxAnswerBytes = 1 << 20 // of a body, after decompression
	maxHeaderBytes = 64 << 10
	maxRedirects   = 3
)

var (
	errTooLarge = errors.New("the answer has more than 1 MiB")
	errRedirect = errors.New("an endpoint redirected to another host")
)

// newClient returns the one client of a provider. timeout bounds a request with its answer.
func newClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: sameOrigin,
		Transport: bounded{&http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: timeout}).DialContext,
			TLSHandshakeTimeout:    timeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			MaxIdleConnsPerHost:    2,
			MaxConnsPerHost:        64,
			IdleConnTimeout:        30 * time.Second,
			ForceAttemptHTTP2:      true,
		}},
	}
}

// sameOrigin follows a redirect only where the first request went, so that neither a secret nor our
// place in the network is lent to another host.
func sameOrigin(next *http.Request, via []*http.Request) error {
	first := via[0].URL
	if next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
		return fmt.Errorf("%w: %s to %s", errRedirect, first.Host, next.URL.Host)
	}
	if len(via) > maxRedirects {
		return fmt.Errorf("%w: more than %d times", errRedirect, maxRedirects)
	}
	return nil
}

// bounded reads each answer whole, and no further than maxAnswerBytes, before anybody looks at it. A
// compressed answer is counted as it unpacks.
type bounded struct{ next http.RoundTripper }

// RoundTrip sends request. The body of its answer lies in memory.
func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	if request.Header.Get("Accept") == "" {
		request.Header.Set("Accept", "application/json")
	}
	request.Header.Set("User-Agent", "Gatehouse")
	response, err := b.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswerBytes {
		return nil, errTooLarge
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// get reads the JSON at url into the value that into points to; numbers in an any stay [json.Number].
// accessToken may be empty.
func (p *Provider) get(ctx context.Context, step Step, url, accessToken string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return p.fail(step, ConfigWrong, "the endpoint is no URL")
	}
	if accessToken != "" {
		request.Header.Set("Authorization", "Bearer "+accessToken)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return p.unreached(ctx, step, err)
	}
	defer response.Body.Close()
	contentType := response.Header.Get("Content-Type")
	if response.StatusCode != http.StatusOK {
		return p.status(step, response.StatusCode, contentType)
	}
	decoder := json.NewDecoder(response.Body)
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return p.fail(step, AnswerMalformed, "want JSON, got content type %q", contentType)
	}
	return nil
}
