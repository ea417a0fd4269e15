package session

import (
	"sync"
	"testing"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"

	"pgregory.net/rapid"
)

func TestRefreshGivesNewTokensOfTheSameSession(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		first := h.login(h.user())
		h.clock.advance(time.Minute)
		second := h.refresh(first)
		if second.Session.ID != first.Session.ID || second.Refresh == first.Refresh || second.Access == first.Access {
			t.Errorf("refreshed %v into %v", first, second)
		}
		if got, want := second.Session.Network, "198.51.100.0/24"; got != want {
			t.Errorf("network %q, want %q", got, want)
		}
		if !h.admitted(h.sessions, second) {
			t.Error("the refreshed access token is refused")
		}
		third := h.refresh(second)
		if third.Refresh == second.Refresh {
			t.Error("a refresh token came back")
		}
	})
}

func TestRefreshRevokesTheFamilyWhenATokenIsUsedTwice(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		first := h.login(h.user())
		second := h.refresh(first)
		h.actions() // it moved to another network
		h.clock.advance(11 * time.Second)
		_, err := h.tryRefresh(first)
		h.refuse("the used token", err, fault.TokenReused)
		_, err = h.tryRefresh(second)
		h.refuse("its successor", err, fault.SessionRevoked)
		if h.admitted(h.sessions, second) {
			t.Error("the access token of a session that was ended is admitted")
		}
		if got := h.actions(); len(got) != 1 || got[0] != ActionReused {
			t.Errorf("recorded %v, want one %s", got, ActionReused)
		}
	})
}

func TestInTheGraceAnOlderTokenThanTheParentIsAReplay(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		first := h.login(h.user())
		h.refresh(h.refresh(first))
		_, err := h.tryRefresh(first)
		h.refuse("the grandparent", err, fault.TokenReused)
	})
}

func TestTwentyParallelRefreshesGiveOneSuccessor(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		first := h.login(h.user())
		other := h.server(nil, h.notices)
		successors := make([]Tokens, 20)
		var wait sync.WaitGroup
		for i := range successors {
			wait.Go(func() {
				s := []*Sessions{h.sessions, other}[i%2]
				var err error
				if successors[i], err = s.Refresh(t.Context(), first.Refresh, Origin{}); err != nil {
					t.Errorf("refresh %d: %v", i, err)
				}
			})
		}
		wait.Wait()
		for i, got := range successors {
			if got.Refresh != successors[0].Refresh || !got.RefreshExpiresAt.Equal(successors[0].RefreshExpiresAt) {
				t.Errorf("refresh %d gave another successor", i)
			}
		}
		if got, want := h.rows(), [3]int{1, 2, 0}; got != want {
			t.Errorf("sessions, tokens and notices are %v, want %v", got, want)
		}
		h.refresh(successors[7])
	})
}

func TestASessionEndsAfterItsIdleAndItsAbsoluteLife(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name     string
		remember bool
		renewals []time.Duration // between sign-in and the last try
		want     fault.Code
	}{
		{"idle for 13 days", true, []time.Duration{13 * day}, ""},
		{"idle for 14 days", true, []time.Duration{14 * day}, fault.TokenExpired},
		{"renewed for 29 days", true, []time.Duration{10 * day, 10 * day, 9 * day}, ""},
		{"renewed for 30 days", true, []time.Duration{10 * day, 10 * day, 10 * day}, fault.TokenExpired},
		{"not remembered, within the day", false, []time.Duration{12 * time.Hour, 11 * time.Hour}, ""},
		{"not remembered, renewed for a day", false, []time.Duration{12 * time.Hour, 12 * time.Hour}, fault.TokenExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, h *house) {
				held := h.start(Start{User: h.user(), Remember: c.remember})
				last := len(c.renewals) - 1
				for _, pause := range c.renewals[:last] {
					h.clock.advance(pause)
					held = h.refresh(held)
				}
				h.clock.advance(c.renewals[last])
				_, err := h.tryRefresh(held)
				if c.want == "" && err != nil || c.want != "" && !fault.Is(err, c.want) {
					t.Errorf("refresh = %v, want %q", err, c.want)
				}
			})
		})
	}
}

func TestAnAccessTokenDoesNotOutliveItsSession(t *testing.T) {
	h := newHouse(t, sqlite(t))
	held := h.start(Start{User: h.user()})
	h.clock.advance(24*time.Hour - time.Minute)
	if held = h.refresh(held); held.AccessExpiresAt.After(held.Session.ExpiresAt) {
		t.Errorf("access until %v, session until %v", held.AccessExpiresAt, held.Session.ExpiresAt)
	}
}

func TestRefreshIsRefusedForAnUnknownTokenARevokedSessionAndADisabledAccount(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		unknown, _ := token.NewOpaque(refreshPrefix)
		for _, text := range []string{"", "ghr_", unknown} {
			_, err := h.tryRefresh(Tokens{Refresh: text})
			h.refuse("an unknown token", err, fault.TokenInvalid)
		}
		revoked := h.login(h.user())
		if err := h.sessions.RevokeOthers(t.Context(), viewer.Viewer{User: revoked.Session.User}); err != nil {
			t.Fatal(err)
		}
		_, err := h.tryRefresh(revoked)
		h.refuse("a revoked session", err, fault.SessionRevoked)
		user := h.user()
		disabled := h.login(user)
		h.exec(setStatus, "DISABLED", "", user)
		_, err = h.tryRefresh(disabled)
		h.refuse("a disabled account", err, fault.AccountDisabled)
	})
}

func TestASessionRevokedWhileItIsRefreshedStaysRevoked(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		first := h.login(h.user())
		held, err := findRenewal(t.Context(), h.db, token.HashOpaque(first.Refresh))
		if err != nil {
			t.Fatal(err)
		}
		if err := h.sessions.Revoke(t.Context(), viewer.System(), first.Session.ID); err != nil {
			t.Fatal(err)
		}
		err = h.db.Update(t.Context(), func(tx *store.Tx) error {
			return h.sessions.rotateTx(t.Context(), tx, &held, "ghr_next", Origin{}, h.clock.now())
		})
		h.refuse("the refresh that had read before", err, fault.SessionRevoked)
		if got := h.rows()[1]; got != 1 {
			t.Errorf("%d refresh tokens, want the first only", got)
		}
	})
}

func TestOnlyTheLastThousandGenerationsAreRemembered(t *testing.T) {
	h := newHouse(t, sqlite(t))
	held := h.login(h.user())
	for range 1250 {
		held = h.refresh(held)
	}
	if got := h.rows()[1]; got > keptGenerations+forgetEvery || got < keptGenerations {
		t.Errorf("%d generations are remembered, want %d to %d", got, keptGenerations, keptGenerations+forgetEvery)
	}
}

// family is what a session's refresh tokens should do.
type family struct {
	*house
	tokens  []Tokens    // by generation
	usedAt  []time.Time // by generation, of all but the last
	revoked bool
}

func (f *family) latest() Tokens { return f.tokens[len(f.tokens)-1] }

// expected is what showing generation i should give.
func (f *family) expected(i int) fault.Code {
	last := len(f.tokens) - 1
	switch now := f.clock.now(); {
	case f.revoked:
		return fault.SessionRevoked
	case !now.Before(f.latest().Session.ExpiresAt), !now.Before(f.tokens[i].RefreshExpiresAt):
		return fault.TokenExpired
	case i == last, i == last-1 && now.Sub(f.usedAt[i]) <= 10*time.Second:
		return ""
	}
	return fault.TokenReused
}

// show refreshes with generation i and compares.
func (f *family) show(t *rapid.T, i int) {
	want, last := f.expected(i), len(f.tokens)-1
	got, err := f.tryRefresh(f.tokens[i])
	if want != "" {
		f.revoked = f.revoked || want == fault.TokenReused
		if !fault.Is(err, want) {
			t.Fatalf("generation %d of %d: %v, want %s", i, last, err, want)
		}
		return
	}
	if err != nil {
		t.Fatalf("generation %d of %d: %v", i, last, err)
	}
	if i == last {
		f.tokens, f.usedAt = append(f.tokens, got), append(f.usedAt, f.clock.now())
	} else if got.Refresh != f.latest().Refresh {
		t.Fatalf("a replay of generation %d in the grace gave another successor than %d", i, last)
	}
}

func TestAnySequenceOfRefreshesReplaysRevocationsAndPausesKeepsTheFamilySafe(t *testing.T) {
	h := newHouse(t, sqlite(t))
	user := h.user()
	rapid.Check(t, func(t *rapid.T) {
		first := h.start(Start{User: user, Remember: rapid.Bool().Draw(t, "remember")})
		f := &family{house: h, tokens: []Tokens{first}}
		t.Repeat(map[string]func(*rapid.T){
			"refresh": func(t *rapid.T) { f.show(t, len(f.tokens)-1) },
			"replay":  func(t *rapid.T) { f.show(t, rapid.IntRange(0, len(f.tokens)-1).Draw(t, "generation")) },
			"revoke": func(t *rapid.T) {
				if rapid.IntRange(0, 4).Draw(t, "rarely") > 0 {
					t.Skip()
				}
				if err := h.sessions.Revoke(t.Context(), viewer.Viewer{User: user}, first.Session.ID); err != nil {
					t.Fatal(err)
				}
				f.revoked = true
			},
			"pause": func(t *rapid.T) {
				h.clock.advance(rapid.SampledFrom([]time.Duration{
					time.Millisecond, 9 * time.Second, time.Minute, 6 * time.Hour, 5 * 24 * time.Hour,
				}).Draw(t, "pause"))
			},
			"": func(t *rapid.T) {
				live := !f.revoked && h.clock.now().Before(f.latest().AccessExpiresAt.Add(token.DefaultLeeway))
				if _, _, err := h.sessions.Authenticate(t.Context(), f.latest().Access); live != (err == nil) {
					t.Fatalf("authenticate = %v, want admitted: %v", err, live)
				}
			},
		})
	})
}
