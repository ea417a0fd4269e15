package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// guess signs in with a wrong password.
func (c *client) guess(email string, headers ...string) answer {
	c = c.with(headers...)
	c.email, c.access = email, ""
	a, err := c.try(context.Background(), loginDocument, vars{"in": vars{"email": email, "password": "not the one at all"}})
	if err != nil {
		c.t.Errorf("no answer: %v", err)
	}
	return a
}

func TestOfAThousandParallelAttemptsOverTwoServersExactlyTheAllowedNumberGetThrough(t *testing.T) {
	const attempts = 1000
	limitedForms(t, func(t *testing.T, d *deployment) {
		owner := d.visitor(0).with("X-Forwarded-For", "198.51.100.1")
		owner.register()
		owner.device = "the owner's laptop"
		owner.login()
		words := map[string]string{}
		for _, email := range []string{owner.email, d.seen.email()} { // as if nobody had ever signed in
			var mu sync.Mutex
			codes, took := d.crowd(attempts, func(c *client, i int) answer {
				a := c.from(i).guess(email)
				if len(a.Errors) > 0 && a.code() == "RATE_LIMITED" {
					mu.Lock()
					words[a.Errors[0].Message] = a.code()
					mu.Unlock()
				}
				return a
			})
			passed(t, "one address", codes, took, attempts, 20, 30*time.Second)
		}
		if len(words) != 1 {
			t.Errorf("the refusals differ: %v", words)
		}
		owner.login() // their device counts apart
		codes, took := d.crowd(attempts, func(c *client, i int) answer {
			return c.guess(fmt.Sprintf("nobody%d@example.com", i), "X-Forwarded-For", "203.0.113.9")
		})
		passed(t, "one IP address", codes, took, attempts, 60, time.Second)
		codes, took = d.crowd(attempts, func(c *client, i int) answer {
			return c.guess(fmt.Sprintf("noone%d@example.com", i), "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i%250))
		})
		passed(t, "one network", codes, took, attempts, 300, 200*time.Millisecond)
	})
}

func TestAnAddressOpensOnlySoManySocketsAndStreams(t *testing.T) {
	t.Parallel()
	d := embedded(t, "--max-sockets-per-ip", "3", "--trusted-proxies", "127.0.0.0/8")
	c := d.person()
	from := func(ip string) (*socket, error) { return c.tryDial(http.Header{"X-Forwarded-For": {ip}}) }
	var open []*socket
	for range 3 {
		s, err := from("203.0.113.1")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	if s, err := from("203.0.113.1"); err == nil || !strings.Contains(err.Error(), "429") {
		t.Errorf("a fourth socket: %v, %v, want status 429", s, err)
	}
	stream := c.with("X-Forwarded-For", "203.0.113.1", "Accept", "text/event-stream")
	if a, err := stream.try(t.Context(), `subscription { jobUpdates { id } }`, nil); err != nil || a.status != http.StatusTooManyRequests {
		t.Errorf("a stream beside three sockets: %v, %v", a, err)
	}
	if s, err := from("203.0.113.2"); err != nil {
		t.Errorf("another address: %v", err)
	} else {
		s.cut()
	}
	open[0].cut()
	until(t, patience, "a place that was left is not given away", func() bool {
		s, err := from("203.0.113.1")
		if err == nil {
			s.cut()
		}
		return err == nil
	})
	for i := range 2 { // of one IPv6 customer, whatever the last 64 bits
		if _, err := from(fmt.Sprintf("2001:db8::%d", i)); err != nil {
			t.Error(err)
		}
	}
	if _, err := from("2001:db8::abcd:1"); err != nil {
		t.Error(err)
	}
	if _, err := from("2001:db8::abcd:2"); err == nil {
		t.Error("a fourth socket of one IPv6 network was opened")
	}
}

func TestBadTokensAreCountedAndDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	d := embedded(t, "--log-level", "info")
	c := d.person()
	before := strings.Count(d.servers[0].log.String(), "\n")
	c.access += "x"
	for range 50 {
		refused(t, "a damaged token", c.say(`{ me { id } }`, nil), "UNAUTHENTICATED")
	}
	if lines := strings.Count(d.servers[0].log.String(), "\n") - before; lines > 5 {
		t.Errorf("50 bad tokens wrote %d lines", lines)
	}
	if n := d.servers[0].metric(t, "gatehouse_refused_tokens_total"); n != 50 {
		t.Errorf("%v refused tokens are counted, want 50", n)
	}
}
