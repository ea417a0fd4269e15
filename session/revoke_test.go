package session

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/bus"
	"gatehouse/internal/cache"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/test/services"

	"github.com/redis/go-redis/v9"
)

func TestEachRevocationEndsWhatItSaysAndNothingElse(t *testing.T) {
	admin := viewer.Viewer{User: "usr_admin", Session: "ses_admin", Roles: []viewer.Role{viewer.Admin}}
	for _, c := range []struct {
		name   string
		revoke func(s *Sessions, ctx context.Context, by viewer.Viewer, other Tokens) error
		want   [3]bool // admitted afterwards: the caller, the caller's other session, a stranger
		reason Reason
	}{
		{"one's own", func(s *Sessions, ctx context.Context, by viewer.Viewer, _ Tokens) error {
			return s.Revoke(ctx, by, by.Session)
		}, [3]bool{false, true, true}, SignedOut},
		{"another of one's own", func(s *Sessions, ctx context.Context, by viewer.Viewer, other Tokens) error {
			return s.Revoke(ctx, by, other.Session.ID)
		}, [3]bool{true, false, true}, Revoked},
		{"all others", func(s *Sessions, ctx context.Context, by viewer.Viewer, _ Tokens) error {
			return s.RevokeOthers(ctx, by)
		}, [3]bool{true, false, true}, Revoked},
		{"all", func(s *Sessions, ctx context.Context, by viewer.Viewer, _ Tokens) error {
			return s.RevokeAll(ctx, by, by.User)
		}, [3]bool{false, false, true}, Revoked},
		{"all, by an administrator", func(s *Sessions, ctx context.Context, by viewer.Viewer, _ Tokens) error {
			return s.RevokeAll(ctx, admin, by.User)
		}, [3]bool{false, false, true}, RevokedByAdmin},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, h *house) {
				user := h.user()
				held := [3]Tokens{h.login(user), h.login(user), h.login(h.user())}
				server := h.server(nil, h.notices)
				for _, one := range held { // both servers hold the records
					h.admitted(h.sessions, one)
					h.admitted(server, one)
				}
				by := h.viewer(held[0])
				by.Roles = nil
				if err := c.revoke(h.sessions, t.Context(), by, held[1]); err != nil {
					t.Fatal(err)
				}
				for i, one := range held {
					for name, s := range map[string]*Sessions{"this": h.sessions, "the other": server} {
						if got := h.admitted(s, one); got != c.want[i] {
							t.Errorf("session %d is admitted by %s server: %v, want %v", i, name, got, c.want[i])
						}
					}
				}
				h.mu.Lock()
				defer h.mu.Unlock()
				if len(h.events) != 1 || h.events[0].Action != ActionRevoked || h.events[0].Reason != c.reason {
					t.Errorf("recorded %+v, want one %s for %s", h.events, ActionRevoked, c.reason)
				}
			})
		})
	}
}

func TestTheSessionOfAnotherIsNotThere(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		mine, theirs := h.login(h.user()), h.login(h.user())
		by := h.viewer(mine)
		by.Roles = nil
		ctx, s := t.Context(), h.sessions
		h.refuse("revoke", s.Revoke(ctx, by, theirs.Session.ID), fault.NotFound)
		h.refuse("revoke nothing", s.Revoke(ctx, by, "ses_none"), fault.NotFound)
		h.refuse("revoke all", s.RevokeAll(ctx, by, theirs.Session.User), fault.NotFound)
		_, err := s.List(ctx, by, theirs.Session.User)
		h.refuse("list", err, fault.NotFound)
		nobody := viewer.Viewer{}
		h.refuse("revoke by nobody", s.Revoke(ctx, nobody, theirs.Session.ID), fault.Unauthenticated)
		h.refuse("revoke others by nobody", s.RevokeOthers(ctx, nobody), fault.Unauthenticated)
		h.refuse("revoke all by nobody", s.RevokeAll(ctx, nobody, ""), fault.Unauthenticated)
		if !h.admitted(s, theirs) || len(h.actions()) != 0 {
			t.Error("a refused revocation did something")
		}
	})
}

func TestSessionsAreListedNewestFirstWithoutThoseThatEnded(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		user, other := h.user(), h.user()
		first, second, third := h.login(user), h.login(user), h.login(user)
		short := h.start(Start{User: user})
		h.login(other)
		by := h.viewer(first)
		if err := h.sessions.Revoke(t.Context(), by, second.Session.ID); err != nil {
			t.Fatal(err)
		}
		h.clock.advance(25 * time.Hour) // short has expired
		list, err := h.sessions.List(t.Context(), viewer.Viewer{User: user}, user)
		if err != nil {
			t.Fatal(err)
		}
		var got []viewer.SessionID
		for _, one := range list {
			got = append(got, one.ID)
		}
		if want := []viewer.SessionID{third.Session.ID, first.Session.ID}; !slices.Equal(got, want) {
			t.Errorf("listed %v, want %v", got, want)
		}
		byUser, err := h.sessions.ByUsers(t.Context(), viewer.System(), []viewer.UserID{other, user, "usr_none"})
		if err != nil || len(byUser[user]) != 2 || len(byUser[other]) != 1 || len(byUser["usr_none"]) != 0 {
			t.Errorf("by users: %v, %v", byUser, err)
		}
		byID, err := h.sessions.ByIDs(t.Context(), viewer.System(), []viewer.SessionID{short.Session.ID, second.Session.ID, "ses_none"})
		if err != nil || len(byID) != 2 || byID[second.Session.ID].Reason != Revoked {
			t.Errorf("by ids: %v, %v", byID, err)
		}
	})
}

func TestTheOldestSessionGivesWayToTheHundredAndFirst(t *testing.T) {
	h := newHouse(t, sqlite(t))
	user := h.user()
	oldest, second := h.login(user), h.login(user)
	for range 99 {
		h.login(user)
	}
	if h.admitted(h.sessions, oldest) || !h.admitted(h.sessions, second) {
		t.Error("of 101 sessions not just the oldest has ended")
	}
}

func TestWhatCouldNotBeToldIsToldFromTheOutbox(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		held := h.login(h.user())
		other := h.server(nil, h.notices)
		h.admitted(other, held)
		ended := make(chan Reason, 1)
		other.Watch(held.Session.ID, func(why Reason) { ended <- why })
		stop, err := other.listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer stop()

		h.notices.broken.Store(true) // as if this server died after the commit
		if err := h.sessions.Revoke(t.Context(), viewer.System(), held.Session.ID); err != nil {
			t.Fatal(err)
		}
		h.clock.advance(time.Second)
		if err := h.sessions.republish(t.Context()); err == nil || h.rows()[2] != 1 {
			t.Fatalf("while nobody can be told: %v and %d notices, want an error and one", err, h.rows()[2])
		}
		h.notices.broken.Store(false)
		if err := other.republish(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h.admitted(other, held) {
			t.Error("the other server admits a session that was revoked")
		}
		if why := <-ended; why != RevokedByAdmin {
			t.Errorf("the watcher was told %s, want %s", why, RevokedByAdmin)
		}
		if n := h.rows()[2]; n != 0 {
			t.Errorf("%d notices stay in the outbox", n)
		}
	})
}

func TestWhatAnotherProgramChangedIsHeardFromTheOutbox(t *testing.T) {
	h := newHouse(t, sqlite(t))
	held := h.login(h.user())
	h.admitted(h.sessions, held)
	program := h.server(nil, &notices{Bus: bus.Local()}) // shares the database and nothing else
	if err := program.Revoke(t.Context(), viewer.System(), held.Session.ID); err != nil {
		t.Fatal(err)
	}
	h.clock.advance(time.Second)
	if err := h.sessions.republish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h.admitted(h.sessions, held) {
		t.Error("the session that another program revoked is admitted")
	}
}

func TestAWatcherIsToldOnceHoweverASessionEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(h *house, id viewer.SessionID)
		want Reason
	}{
		{"revoked", func(h *house, id viewer.SessionID) {
			if err := h.sessions.Revoke(h.Context(), viewer.System(), id); err != nil {
				h.Fatal(err)
			}
		}, RevokedByAdmin},
		{"revoked while the notice was lost", func(h *house, id viewer.SessionID) {
			h.notices.broken.Store(true)
			if err := h.sessions.Revoke(h.Context(), viewer.System(), id); err != nil {
				h.Fatal(err)
			}
			h.sessions.watchers.recheck() // what a gap does
		}, RevokedByAdmin},
		{"expired", func(h *house, _ viewer.SessionID) {
			h.clock.advance(31 * 24 * time.Hour)
			h.sessions.watchers.recheck()
		}, Expired},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, h *house) {
				held, left := h.login(h.user()), h.login(h.user())
				h.run(h.sessions)
				told := make(chan Reason, 2)
				h.sessions.Watch(held.Session.ID, func(why Reason) { told <- why })
				stop := h.sessions.Watch(left.Session.ID, func(Reason) { t.Error("a watch that was given up is told") })
				stop()
				c.end(h, held.Session.ID)
				if got := <-told; got != c.want {
					t.Errorf("told %s, want %s", got, c.want)
				}
				h.sessions.hearEnded(encodeNotice([]viewer.SessionID{held.Session.ID, left.Session.ID}, Revoked))
				if len(told) > 0 {
					t.Error("told twice")
				}
			})
		})
	}
}

func TestAWatchOnASessionThatHasEndedIsToldToo(t *testing.T) {
	h := newHouse(t, sqlite(t))
	held := h.login(h.user())
	if err := h.sessions.Revoke(t.Context(), viewer.System(), held.Session.ID); err != nil {
		t.Fatal(err)
	}
	h.run(h.sessions)
	told := make(chan Reason, 1)
	h.sessions.Watch(held.Session.ID, func(why Reason) { told <- why })
	if got := <-told; got != RevokedByAdmin {
		t.Errorf("told %s, want %s", got, RevokedByAdmin)
	}
}

// member is a server with Redis between it and the others.
func (h *house) member(url string) *Sessions {
	h.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		h.Fatal(err)
	}
	universal := &redis.UniversalOptions{Addrs: []string{options.Addr}, DB: options.DB}
	cache.Tune(universal)
	client := redis.NewUniversalClient(universal)
	remote, err := cache.NewRemote(client, cache.RemoteOptions{})
	if err != nil {
		h.Fatal(err)
	}
	b := bus.Redis(client, h.Name(), bus.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 2)
	go func() { ran <- b.Run(ctx) }()
	go func() { ran <- remote.Run(ctx) }()
	h.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			h.Error(err)
		}
		<-ran
		_ = client.Close()
	})
	s := h.server(remote, &notices{Bus: b})
	h.run(s)
	return s
}

func TestARevocationOnOneServerIsSeenOnAnotherWithinASecond(t *testing.T) {
	h := newHouse(t, services.Postgres(t))
	url := services.Redis(t)
	a, b := h.member(url), h.member(url)
	h.sessions = a
	user := h.user()
	for round := range 5 {
		held := h.login(user)
		if !h.admitted(a, held) || !h.admitted(b, held) {
			t.Fatal("a new session is refused")
		}
		ended := make(chan Reason, 1)
		b.Watch(held.Session.ID, func(why Reason) { ended <- why })
		begun := time.Now()
		if err := a.Revoke(t.Context(), viewer.System(), held.Session.ID); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
		case <-time.After(time.Second):
			t.Fatalf("round %d: the watcher on the other server was not told within a second", round)
		}
		for h.admitted(b, held) {
			if time.Since(begun) > time.Second {
				t.Fatalf("round %d: the other server admits the session after a second", round)
			}
		}
		t.Logf("seen on the other server after %v", time.Since(begun))
	}
}

func TestExpiredSessionsAreForgottenADayLater(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.refresh(h.start(Start{User: h.user()}))
		h.clock.advance(47 * time.Hour)
		prune := func() [3]int {
			if err := h.sessions.prune(t.Context()); err != nil {
				t.Fatal(err)
			}
			return h.rows()
		}
		if got, want := prune(), [3]int{1, 2, 0}; got != want {
			t.Errorf("before: %v, want %v", got, want)
		}
		h.clock.advance(2 * time.Hour)
		if got, want := prune(), [3]int{0, 0, 0}; got != want {
			t.Errorf("after: %v, want %v", got, want)
		}
	})
}

func TestOnlyTheNetworkOfAnAddressIsKept(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.77":        "192.0.2.0/24",
		"::ffff:192.0.2.77": "192.0.2.0/24",
		"2001:db8:1:2:3::4": "2001:db8:1::/48",
		"fe80::1%eth0":      "fe80::/48",
		"":                  "",
	} {
		ip, _ := netip.ParseAddr(address)
		if got := Network(ip); got != want {
			t.Errorf("Network(%s) = %q, want %q", address, got, want)
		}
	}
}

func TestWhatAClientSaysOfItselfIsCutToABound(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		var held Tokens
		user := h.user()
		h.update(func(tx *store.Tx) (err error) {
			held, err = h.sessions.StartTx(t.Context(), tx, Start{
				User: user, Level: viewer.AAL1,
				Device: Device{ID: strings.Repeat("é", 300), Name: "a\x00b\xff"}, Origin: Origin{Agent: strings.Repeat("x", 5000)},
			})
			return err
		})
		s := held.Session
		if len(s.Agent) != 200 || s.Device.ID != strings.Repeat("é", 100) || s.Device.Name != "ab\uFFFD" {
			t.Errorf("kept agent of %d, device %q named %q", len(s.Agent), s.Device.ID, s.Device.Name)
		}
	})
}
