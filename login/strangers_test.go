package login_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/account"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/login"
	"gatehouse/session"
)

// strict is a rule that is soon spent.
var strict = limit.Rule{Name: "strict", Limit: 2, Per: time.Minute, Burst: 3}

// limited returns the ways into h with limits of their own, at the clock of h.
func (h *house) limited(limits login.Limits) *login.Logins {
	limiter := limit.New(nil, limit.Options{Now: func() time.Time { return time.UnixMicro(h.micros.Load()) }})
	return login.New(h.db, h.accounts, h.sessions, h.audit, limiter, limits)
}

func TestGuessingIsSlowedForKnownAndUnknownAddressesAlikeAndLocksNoOwnerOut(t *testing.T) {
	h := newHouse(t, sqlite(t), account.Options{})
	_, err := h.register("ada@example.com")
	must(t, err)
	must(t, h.attempt("ada@example.com", secretWord, "laptop", "192.0.2.1"))
	must(t, h.attempt("ada@example.com", secretWord, "", "192.0.2.1"))
	for _, email := range []string{"ada@example.com", "eve@example.com"} {
		for i := range 20 {
			refuse(t, fmt.Sprintf("guess %d at %s", i, email), h.attempt(email, "guess", "", fmt.Sprintf("198.51.100.%d", i)), fault.InvalidCredentials)
		}
		err := h.attempt(email, "guess", "", "203.0.113.1")
		refuse(t, "one guess more at "+email, err, fault.RateLimited)
		if f, _ := fault.As(err); f.RetryAfter != 30*time.Second {
			t.Errorf("try again in %v, want 30 s", f.RetryAfter)
		}
		refuse(t, "one that names a device", h.attempt(email, "guess", "phone", "203.0.113.1"), fault.RateLimited)
	}
	if err := h.attempt("ada@example.com", secretWord, "laptop", "192.0.2.1"); err != nil {
		t.Errorf("the owner on a known device: %v", err)
	}
	refuse(t, "the owner elsewhere", h.attempt("ada@example.com", secretWord, "", "192.0.2.1"), fault.RateLimited)
	h.micros.Add((30 * time.Second).Microseconds())
	if err := h.attempt("ada@example.com", secretWord, "", "192.0.2.1"); err != nil {
		t.Errorf("the owner 30 s later: %v", err)
	}
	for _, email := range []string{"ada@example.com", "eve@example.com"} { // the success has set nothing back
		refuse(t, "a guess after the owner at "+email, h.attempt(email, "guess", "", "203.0.113.1"), fault.InvalidCredentials)
		refuse(t, "two guesses after the owner at "+email, h.attempt(email, "guess", "", "203.0.113.1"), fault.RateLimited)
	}
}

func TestAStrangerSeesTheSameOfAnAddressWithAnOwnerWhoSignsInAsOfOneWithout(t *testing.T) {
	h := newHouse(t, sqlite(t), account.Options{})
	registered, err := h.register("ada@example.com")
	must(t, err)
	rapid.Check(t, func(t *rapid.T) {
		logins := h.limited(login.Limits{Identifier: strict})
		count := func(email, device string, right bool) string {
			err := logins.Count(context.Background(), login.Attempt{Email: email, Client: login.Client{Device: session.Device{ID: device}}}, right)
			f, refused := fault.As(err)
			if err != nil && !refused {
				t.Fatal(err)
			}
			if !refused {
				return "may try"
			}
			return fmt.Sprint(f.Code, " for ", f.RetryAfter)
		}
		laptop := fmt.Sprint("laptop ", rapid.Uint64().Draw(t, "laptop"))
		slips, known := 0, false
		t.Repeat(map[string]func(*rapid.T){
			"the owner signs in": func(t *rapid.T) {
				device := rapid.SampledFrom([]string{"", laptop, fmt.Sprint("new ", rapid.Uint64().Draw(t, "new"))}).Draw(t, "device")
				answer := count("ada@example.com", device, true)
				if answer != "may try" {
					if device == laptop && known && slips < strict.Burst {
						t.Fatalf("the owner is locked out on a known device: %s", answer)
					}
					return
				}
				_, err := logins.Enter(context.Background(), registered.User, login.Client{Device: session.Device{ID: device}}, "pwd")
				if err != nil {
					t.Fatal(err)
				}
				if device == laptop {
					slips, known = 0, true
				}
			},
			"the owner mistypes on a known device": func(*rapid.T) {
				if known {
					count("ada@example.com", laptop, false)
					slips++
				}
			},
			"a stranger guesses": func(t *rapid.T) {
				device := rapid.SampledFrom([]string{"", "laptop", "phone"}).Draw(t, "device")
				ada, nobody := count("ada@example.com", device, false), count("nobody@example.com", device, false)
				if ada != nobody {
					t.Fatalf("with an account: %s; without: %s", ada, nobody)
				}
			},
			"time passes": func(t *rapid.T) {
				h.micros.Add(rapid.Int64Range(0, time.Minute.Microseconds()).Draw(t, "time"))
			},
		})
	})
}

func TestARightPasswordIsNotCountedAndAWrongOneIs(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		_, err := h.register("ada@example.com")
		must(t, err)
		h.logins = h.limited(login.Limits{Identifier: strict})
		for i := range 2 * strict.Burst {
			if err := h.attempt("ada@example.com", secretWord, "", "192.0.2.1"); err != nil {
				t.Fatalf("sign-in %d: %v", i, err)
			}
		}
		for range strict.Burst {
			refuse(t, "a guess", h.attempt("ada@example.com", "guess", "", "192.0.2.1"), fault.InvalidCredentials)
		}
		refuse(t, "a guess more", h.attempt("ada@example.com", "guess", "", "192.0.2.1"), fault.RateLimited)
		refuse(t, "the right one, while others guess", h.attempt("ada@example.com", secretWord, "", "192.0.2.1"), fault.RateLimited)
	})
}

func TestARightAnswerIsNotCountedAndSetsNothingBack(t *testing.T) {
	h := newMFAHouse(t, sqlite(t), account.MFA{Methods: allMethods})
	h.enrolled()
	h.logins = h.limited(login.Limits{Answers: strict})
	right := func(what string) {
		t.Helper()
		code := h.codes[0]
		h.codes = h.codes[1:]
		o, err := h.answer(h.enter("pwd").Challenge, account.RecoveryCode, code)
		if err != nil || !o.SignedIn() {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for i := range strict.Burst + 1 {
		right(fmt.Sprintf("sign-in %d", i))
	}
	for i := range strict.Burst {
		if i == strict.Burst-1 {
			right("the owner, while somebody who knows the password guesses")
		}
		_, err := h.answer(h.enter("pwd").Challenge, account.TOTP, "000000")
		refuse(t, "a guess", err, fault.InvalidCode)
	}
	_, err := h.answer(h.enter("pwd").Challenge, account.TOTP, "000000")
	refuse(t, "one guess more", err, fault.RateLimited)
}

// BenchmarkRefusalByLimit prints how much longer it takes to refuse one attempt more for an address with
// an account than for one without: the ratio of the medians over 2,000 pairs, which is to lie near 1.
func BenchmarkRefusalByLimit(b *testing.B) {
	for _, device := range []string{"", "a device"} {
		b.Run(fmt.Sprintf("device=%q", device), func(b *testing.B) {
			h := newHouse(b, sqlite(b), account.Options{})
			_, err := h.register("ada@example.com")
			must(b, err)
			h.logins = h.limited(login.Limits{Identifier: limit.Rule{Name: "none", Limit: 1, Per: 365 * 24 * time.Hour}})
			timed := func(email string) time.Duration {
				begun := time.Now()
				refuse(b, email, h.attempt(email, "guess", device, "127.0.0.1"), fault.RateLimited)
				return time.Since(begun)
			}
			for _, email := range []string{"ada@example.com", "eve@example.com"} {
				refuse(b, email, h.attempt(email, "guess", device, "127.0.0.1"), fault.InvalidCredentials)
			}
			for b.Loop() {
				var known, unknown [2000]time.Duration
				for i := range known {
					known[i], unknown[i] = timed("ada@example.com"), timed("eve@example.com")
				}
				slices.Sort(known[:])
				slices.Sort(unknown[:])
				b.ReportMetric(float64(known[1000])/float64(unknown[1000]), "known/unknown")
				b.ReportMetric(float64(unknown[1000].Microseconds()), "us")
			}
		})
	}
}
