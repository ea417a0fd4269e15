// Package breach asks a range service whether a password was stolen somewhere.
//
// The service has the form of Have I Been Pwned's "range" API (version 3): it is asked for the first five
// hexadecimal digits of the password's SHA-1, answers with the other 35 of all it knows that begin so,
// and never learns the password (k-anonymity). SHA-1 is that service's key here and protects nothing.
// "Add-Padding: true" hides from onlookers, by the answer's length, which range was asked for; entries
// that only pad have the count 0.
//
// # Bounds
//
// A question takes one second at most and reads 1 MiB at most. A service that does not answer, or not
// as it should, knows no password: nobody is kept from choosing one because somebody else's machine is
// down. Redirects are not followed.
package breach

import (
	"bufio"
	"context"
	"crypto/sha1" //nolint:gosec // the key of the service's ranges
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"
)

const (
	prefixDigits   = 5
	defaultTimeout = time.Second
	maxAnswer      = 1 << 20
)

// Options of a Service. The zero value is a good default.
type Options struct {
	Timeout time.Duration // of one question; 0: 1 s
	Logger  *slog.Logger  // hears of a service that does not answer; nil: silent
}

// Service is one range service. It is safe for concurrent use.
type Service struct {
	url    string
	client *http.Client
	logger *slog.Logger
}

// CheckURL says what is wrong with the address of a range service, to which five digits are added.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || !strings.HasSuffix(u.Path, "/") {
		return errors.New("write a web address that ends with a slash, such as https://api.pwnedpasswords.com/range/")
	}
	return nil
}

// New returns the service at url.
func New(url string, o Options) (*Service, error) {
	if err := CheckURL(url); err != nil {
		return nil, fmt.Errorf("open range service: %w", err)
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	client := &http.Client{Timeout: o.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &Service{url: url, client: client, logger: o.Logger}, nil
}

// Has reports whether the service knows secret, in Unicode form NFC. It is false when the service
// does not answer.
func (s *Service) Has(ctx context.Context, secret string) bool {
	sum := sha1.Sum(norm.NFC.Bytes([]byte(secret))) //nolint:gosec // the key of the service's ranges
	digits := strings.ToUpper(hex.EncodeToString(sum[:]))
	known, err := s.ask(ctx, digits[:prefixDigits], digits[prefixDigits:])
	if err != nil {
		s.logger.WarnContext(ctx, "the range service of stolen passwords does not answer; the password was let through", "error", scrub(err))
	}
	return known
}

func (s *Service) ask(ctx context.Context, prefix, rest string) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+prefix, nil)
	if err != nil {
		return false, err
	}
	request.Header.Set("Add-Padding", "true")
	request.Header.Set("User-Agent", "Gatehouse")
	response, err := s.client.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return false, fmt.Errorf("status %d", response.StatusCode)
	}
	lines := bufio.NewScanner(io.LimitReader(response.Body, maxAnswer))
	for lines.Scan() {
		suffix, count, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		if strings.EqualFold(suffix, rest) {
			return strings.Trim(count, "0") != "", nil
		}
	}
	return false, lines.Err()
}

// scrub takes the address, whose end tells a part of the hash, out of an error for the log.
func scrub(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}
