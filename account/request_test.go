package account_test

import (
	"fmt"
	"net/netip"
	"testing"

	"gatehouse/account"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/viewer"
	"gatehouse/session"
)

// asking is the ways to have a mail sent to an address without signing in.
var asking = map[string]func(h *house, email string) error{
	"a confirmation": func(h *house, email string) error {
		return h.accounts.RequestEmailVerification(h.Context(), viewer.Viewer{}, email, home)
	},
	"a reset": func(h *house, email string) error {
		return h.accounts.RequestPasswordReset(h.Context(), email, home)
	},
	"a sign-in": func(h *house, email string) error {
		return h.accounts.RequestLoginCode(h.Context(), email, session.Bearer, home)
	},
}

// granted asks until it is refused, which is after 100 times at most.
func (h *house) granted(what, email string) int {
	h.Helper()
	for i := range 100 {
		err := asking[what](h, email)
		if fault.Is(err, fault.RateLimited) {
			return i
		}
		must(h, err)
	}
	return 100
}

// usual is a house where Ada has an account, and with the default limits, of which nothing is used.
func usual(t *testing.T) (*house, account.User) {
	t.Helper()
	h := newHouse(t, sqlite(t))
	ada := h.ada()
	h.parts.Limiter = limit.New(nil, limit.Options{})
	h.open(account.Options{})
	return h, ada
}

func TestMailsAreLimitedForEachAddressWhetherOrNotItHasAnAccount(t *testing.T) {
	for what := range asking {
		t.Run(what, func(t *testing.T) {
			h, _ := usual(t)
			for _, email := range []string{adasEmail, "nobody@example.com"} {
				if n := h.granted(what, email); n != 5 {
					t.Errorf("%d mails may be sent to %s, want 5", n, email)
				}
			}
		})
	}
}

func TestWhoUsesUpTheMailsOfTwoPurposesLeavesSomeOfTheThird(t *testing.T) {
	for last := range asking {
		t.Run(last, func(t *testing.T) {
			h, _ := usual(t)
			for _, email := range []string{adasEmail, "nobody@example.com"} {
				for what := range asking {
					if what != last {
						if n := h.granted(what, email); n != 5 {
							t.Errorf("%d of %s may be sent to %s, want 5", n, what, email)
						}
					}
				}
				if n := h.granted(last, email); n != 2 {
					t.Errorf("then %d of %s may be sent to %s, want 2: 12 in all", n, last, email)
				}
			}
		})
	}
}

func TestAnAddressThatIsChangedToOrRegisteredAgainCountsAsOneThatIsConfirmed(t *testing.T) {
	h, user := usual(t)
	ada, _ := h.login(user)
	for range 3 {
		must(t, h.accounts.RequestEmailChange(t.Context(), ada, "fresh@example.com", adasPassword, home))
	}
	_, err := h.accounts.Prepare(t.Context(), account.Registration{Email: "fresh@example.com", Password: adasPassword})
	must(t, err)
	if n := h.granted("a confirmation", "fresh@example.com"); n != 1 {
		t.Errorf("%d more may be sent, want 1", n)
	}
	if n := h.granted("a reset", "fresh@example.com"); n != 5 {
		t.Errorf("%d resets may be sent, want 5", n)
	}
}

func TestMailsAreLimitedForEachIPAddressAndNetwork(t *testing.T) {
	h, _ := usual(t)
	ask := func(i int, ip string) error {
		return h.accounts.RequestPasswordReset(t.Context(), fmt.Sprintf("nobody%d@example.com", i), session.Origin{IP: netip.MustParseAddr(ip)})
	}
	for i := range 60 {
		must(t, ask(i, fmt.Sprintf("203.0.113.%d", i/20)))
		if i == 19 {
			refuse(t, "the 21st from an IP address", ask(i, "203.0.113.0"), fault.RateLimited, "")
		}
	}
	refuse(t, "the 61st from a network", ask(60, "203.0.113.9"), fault.RateLimited, "")
}
