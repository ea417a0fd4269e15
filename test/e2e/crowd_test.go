package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// crowd asks something n times at once, spread over the servers, and counts the answers by code: the
// GraphQL error's or, without one, the user error's.
func (d *deployment) crowd(n int, ask func(c *client, i int) answer) (codes map[string]int, took time.Duration) {
	const atOnce = 100
	began := time.Now()
	codes = map[string]int{}
	turns := make(chan int)
	var mu sync.Mutex
	var all sync.WaitGroup
	for worker := range atOnce {
		c := d.visitor(worker)
		all.Go(func() {
			for i := range turns {
				a := ask(c, i)
				mu.Lock()
				codes[a.code()+a.userError()]++
				mu.Unlock()
			}
		})
	}
	for i := range n {
		turns <- i
	}
	close(turns)
	all.Wait()
	return codes, time.Since(began)
}

// from returns the client as it asks from the i-th of 62,500 networks.
func (c *client) from(i int) *client {
	return c.with("X-Forwarded-For", fmt.Sprintf("10.%d.%d.1", i/250, i%250))
}

// passed checks that of the attempts exactly burst, and one for each full every since, were let through.
func passed(t *testing.T, what string, codes map[string]int, took time.Duration, attempts, burst int, every time.Duration) {
	t.Helper()
	among(t, what, codes, attempts-codes["RATE_LIMITED"], burst, took, every)
}

// among checks that through is burst, and at most one more for each full every.
func among(t *testing.T, what string, codes map[string]int, through, burst int, took, every time.Duration) {
	t.Helper()
	most := burst + int(took/every)
	t.Logf("%s: %v in %v", what, codes, took.Round(time.Millisecond))
	if through < burst || through > most {
		t.Errorf("%s: %d were let through, want %d to %d: %v", what, through, burst, most, codes)
	}
}

// limitedForms runs test on one server with everything inside, and on two over Redis; both believe
// X-Forwarded-For. The forms run alone: a server that is starved for so long that it gives up on Redis
// counts by itself.
func limitedForms(t *testing.T, test func(t *testing.T, d *deployment), flags ...string) {
	flags = append([]string{"--trusted-proxies", "127.0.0.0/8"}, flags...)
	t.Run("one server", func(t *testing.T) { test(t, embedded(t, flags...)) })
	t.Run("two servers over Redis", func(t *testing.T) { test(t, distributed(t, flags...)) })
}
