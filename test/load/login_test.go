//go:build linux

package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"
)

// callers numbers requests, so that each comes from a network of its own.
type callers struct{ n atomic.Int64 }

func (c *callers) next() []string { return forwarded(int(c.n.Add(1))) }

func loginOf(email, password string, headers []string) []byte {
	return request("", `mutation{login(input:{email:"`+email+`",password:"`+password+`"}){
		outcome{... on SessionTokens{accessToken}} userErrors{code}}}`, headers...)
}

// measureLogin compares sign-ins with bare argon2id hashes of the same parameters in the same minute,
// and a wrong password with an unknown address.
func measureLogin(t *testing.T, b *bench) {
	house := b.gatehouse(t, anyCore, t.TempDir(), behindProxy)
	people := make([]person, of(b, 64, 32))
	for i := range people {
		people[i] = register(t, house.addr, i)
	}
	span := of(b, 3*time.Second, 1500*time.Millisecond)
	for _, one := range []struct {
		callers int
		bar     float64
	}{{4, 0.85}, {16, 0.80}} {
		var ratios, ours, ceilings []float64
		for range of(b, 3, 2) {
			house.pause()
			ceiling := hashesPerSecond(span)
			house.resume()
			logins := loginsPerSecond(t, house, people, one.callers, span)
			ratios, ours, ceilings = append(ratios, logins/ceiling), append(ours, logins), append(ceilings, ceiling)
		}
		b.atLeast(t, fmt.Sprintf("sign-ins, %d callers, of the argon2id ceiling", one.callers), one.bar, middle(ratios), "",
			fmt.Sprintf("%.1f sign-ins/s against %.1f hashes/s (19 MiB, t=2, p=1) on %d cores", middle(ours), middle(ceilings), runtime.NumCPU()))
	}
	measureSilence(t, b, house, people)
}

// hashesPerSecond is what the machine hashes with nothing around it, one at a time on each core.
func hashesPerSecond(span time.Duration) float64 {
	var (
		done atomic.Int64
		all  sync.WaitGroup
	)
	began := time.Now()
	for range runtime.NumCPU() {
		all.Go(func() {
			for time.Since(began) < span {
				argon2.IDKey([]byte(passphrase), []byte("sixteen bytes...!"), 2, 19*1024, 1, 32)
				done.Add(1)
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(began).Seconds()
}

func loginsPerSecond(t testing.TB, house *program, people []person, parallel int, span time.Duration) float64 {
	t.Helper()
	var (
		from callers
		done atomic.Int64
		all  sync.WaitGroup
	)
	began := time.Now()
	for i := range parallel {
		all.Go(func() {
			for k := i; time.Since(began) < span; k += parallel {
				answer := once(t, house.addr, loginOf(people[k%len(people)].Email, passphrase, from.next()))
				if !bytes.Contains(answer, []byte(`"accessToken":"`)) {
					t.Errorf("a sign-in was answered %s", answer)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(began).Seconds()
}

// measureSilence compares how long the two refusals take that nobody should be able to tell apart.
func measureSilence(t *testing.T, b *bench, house *program, people []person) {
	const pairs = 40
	var wrong, unknown []time.Duration
	refused := func(email string, n int) time.Duration {
		attempt := loginOf(email, "not the password at all", forwarded(40_000+n))
		began := time.Now()
		answer := once(t, house.addr, attempt)
		took := time.Since(began)
		if !bytes.Contains(answer, []byte("INVALID_CREDENTIALS")) {
			t.Fatalf("a wrong sign-in was answered %s", answer)
		}
		return took
	}
	for i := range pairs {
		wrong = append(wrong, refused(people[i%len(people)].Email, 2*i))
		unknown = append(unknown, refused(fmt.Sprintf("nobody%d@example.com", i), 2*i+1))
	}
	r := float64(middle(wrong)) / float64(middle(unknown))
	b.note(t, row{
		"wrong password against unknown e-mail", "0.90–1.10", figure(r), verdict(r >= 0.9 && r <= 1.1),
		fmt.Sprintf("medians of %d pairs, %.1f and %.1f ms", pairs, millis(middle(wrong)), millis(middle(unknown))),
	})
}

// measureRefresh lets eight clients refresh their sessions, each with the token it was given last.
func measureRefresh(t *testing.T, b *bench) {
	const parallel = 8
	house := b.gatehouse(t, anyCore, t.TempDir(), behindProxy)
	people := make([]person, parallel)
	for i := range people {
		people[i] = register(t, house.addr, i)
	}
	var (
		done atomic.Int64
		all  sync.WaitGroup
	)
	span := of(b, 4*time.Second, 1500*time.Millisecond)
	began := time.Now()
	finished := house.profile(t, span)
	for _, who := range people {
		all.Go(func() {
			for time.Since(began) < span {
				next, err := refresh(house.addr, who.Refresh)
				if err != nil {
					t.Error(err)
					return
				}
				who.Refresh = next
				done.Add(1)
			}
		})
	}
	all.Wait()
	elapsed := time.Since(began)
	finished()
	b.atLeast(t, "refresh, embedded", 1500, float64(done.Load())/elapsed.Seconds(), "/s",
		fmt.Sprintf("%d clients, a connection each time, each token used once", parallel))
}

func refresh(addr, token string) (next string, err error) {
	c, err := dial(addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	var body bytes.Buffer
	if _, _, err := c.exchange(request("", `mutation{refreshSession(input:{refreshToken:"`+token+`"}){
		outcome{... on SessionTokens{refreshToken}} userErrors{code}}}`), &body); err != nil {
		return "", err
	}
	var got struct {
		Data struct {
			RefreshSession struct {
				Outcome struct{ RefreshToken string }
			}
		}
	}
	if err := json.Unmarshal(body.Bytes(), &got); err != nil || got.Data.RefreshSession.Outcome.RefreshToken == "" {
		return "", fmt.Errorf("refresh was answered %s", body.Bytes())
	}
	return got.Data.RefreshSession.Outcome.RefreshToken, nil
}

// measureLoginMemory lets 64 people sign in at once, twice.
func measureLoginMemory(t *testing.T, b *bench) {
	const parallel = 64
	house := b.gatehouse(t, anyCore, t.TempDir(), behindProxy)
	people := make([]person, parallel)
	for i := range people {
		people[i] = register(t, house.addr, i)
	}
	house.forgetPeak()
	var (
		from       callers
		busy, done atomic.Int64
		all        sync.WaitGroup
	)
	for _, who := range people {
		all.Go(func() {
			for range 2 {
				if bytes.Contains(once(t, house.addr, loginOf(who.Email, passphrase, from.next())), []byte(`"accessToken":"`)) {
					done.Add(1)
				} else {
					busy.Add(1)
				}
			}
		})
	}
	all.Wait()
	_, peak := house.resident(t)
	b.atMost(t, "peak memory, 64 sign-ins at once", 200, float64(peak)/mebibyte, " MiB",
		fmt.Sprintf("RSS; %d signed in, %d told to come back", done.Load(), busy.Load()))
}
