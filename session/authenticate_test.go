package session

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/bus"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"

	"github.com/google/go-cmp/cmp"
)

func TestASessionBeginsWithTokensThatSayWhoseItIs(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		held := h.login(h.user())
		got, credential, err := h.sessions.Authenticate(t.Context(), held.Access)
		if err != nil {
			t.Fatal(err)
		}
		want := viewer.Viewer{
			User: held.Session.User, Session: held.Session.ID, Level: viewer.AAL1, Methods: []string{"pwd"},
			AuthTime: h.clock.now(), Roles: []viewer.Role{viewer.User, viewer.Admin},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("another viewer (-want +got):\n%s", diff)
		}
		if want := (Credential{ExpiresAt: h.clock.now().Add(10 * time.Minute), Session: held.Session.ID}); credential != want {
			t.Errorf("credential %+v, want %+v", credential, want)
		}
		if held.Session.Network != "192.0.2.0/24" || held.Session.Agent != "Agent/1" || held.Session.Mode != Bearer {
			t.Errorf("session %+v", held.Session)
		}
	})
}

func TestARefusalSaysWhyInItsOwnWords(t *testing.T) {
	h := newHouse(t, sqlite(t))
	held := h.login(h.user())
	elsewhere := newHouse(t, sqlite(t))
	foreign := elsewhere.login(elsewhere.user()).Access
	gone := h.login(h.user())
	h.exec(store.SQL(`DELETE FROM sessions WHERE id = ?`), gone.Session.ID)
	revoked := h.login(h.user())
	if err := h.sessions.RevokeAll(t.Context(), viewer.System(), revoked.Session.User); err != nil {
		t.Fatal(err)
	}
	disabled := h.login(h.user())
	h.exec(setStatus, "DISABLED", "", disabled.Session.User)
	for _, c := range []struct{ name, token, want string }{
		{"nothing", "", "not valid"},
		{"a text", "not a token", "not valid"},
		{"a long text", strings.Repeat("x", token.MaxBytes+1), "not valid"},
		{"a refresh token", held.Refresh, "not valid"},
		{"a token of another deployment", foreign, "not valid"},
		{"a token with another signature", held.Access[:len(held.Access)-8] + "AAAAAAAA", "not valid"},
		{"a token of a deleted session", gone.Access, "has ended"},
		{"a token of a revoked session", revoked.Access, "has ended"},
		{"a token of a disabled account", disabled.Access, "is disabled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := h.sessions.Authenticate(t.Context(), c.token)
			f, ok := fault.As(err)
			if !ok || f.Code != fault.Unauthenticated || !strings.Contains(f.Message, c.want) {
				t.Errorf("got %v, want UNAUTHENTICATED that says %q", err, c.want)
			}
		})
	}
	if !h.admitted(h.sessions, held) {
		t.Error("the good token is refused")
	}
	h.clock.advance(10*time.Minute + token.DefaultLeeway)
	for _, verified := range []string{"once before", "for the first time"} {
		_, _, err := h.sessions.Authenticate(t.Context(), held.Access)
		if f, ok := fault.As(err); !ok || !strings.Contains(f.Message, "has expired") {
			t.Errorf("an expired token, verified %s: %v", verified, err)
		}
		h.sessions.verified.Invalidate(t.Context(), token.HashOpaque(held.Access))
	}
}

func TestATokenOfAnOlderVersionOfItsSessionIsRefused(t *testing.T) {
	h := newHouse(t, sqlite(t))
	held := h.login(h.user())
	h.exec(store.SQL(`UPDATE sessions SET version = 2 WHERE id = ?`), held.Session.ID)
	if h.admitted(h.sessions, held) {
		t.Error("a token of version 1 is admitted to version 2")
	}
}

func TestANewRoleCountsAtOnceWhereverItWasGiven(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		held := h.login(h.user())
		other := h.server(nil, h.notices)
		for _, s := range []*Sessions{h.sessions, other} {
			if v, _, err := s.Authenticate(t.Context(), held.Access); err != nil || !v.Has(viewer.Admin) {
				t.Fatalf("%+v, %v; want an admin", v, err)
			}
		}
		h.update(func(tx *store.Tx) error {
			if _, err := tx.Exec(t.Context(), setStatus, "ACTIVE", "DEVELOPER", held.Session.User); err != nil {
				return err
			}
			return other.ForgetTx(t.Context(), tx, held.Session.User)
		})
		for i, s := range []*Sessions{h.sessions, other} {
			v, _, err := s.Authenticate(t.Context(), held.Access)
			if err != nil || v.Has(viewer.Admin) || !v.Has(viewer.Developer) {
				t.Errorf("server %d: %+v, %v; want a developer", i, v.Roles, err)
			}
		}
	})
}

func TestTheLastUseIsWrittenOnceAMinute(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		held := h.login(h.user())
		lastSeen := func() time.Time {
			if err := h.sessions.flushSeen(t.Context()); err != nil {
				t.Fatal(err)
			}
			found, err := h.sessions.ByIDs(t.Context(), viewer.System(), []viewer.SessionID{held.Session.ID})
			if err != nil {
				t.Fatal(err)
			}
			return found[held.Session.ID].LastSeenAt
		}
		begun := h.clock.now()
		h.clock.advance(59 * time.Second)
		h.viewer(held)
		if got := lastSeen(); !got.Equal(begun) {
			t.Errorf("after 59 s last seen %v, want %v", got, begun)
		}
		h.clock.advance(time.Second)
		minute := h.clock.now()
		h.viewer(held)
		if got := lastSeen(); !got.Equal(minute) {
			t.Errorf("after a minute last seen %v, want %v", got, minute)
		}
		h.clock.advance(time.Second)
		h.viewer(held) // by a record that still knows the old moment
		if got := lastSeen(); !got.Equal(minute) {
			t.Errorf("a second later last seen %v, want still %v", got, minute)
		}
	})
}

func TestTokensAndErrorsShowNoSecret(t *testing.T) {
	h := newHouse(t, sqlite(t))
	held := h.login(h.user())
	used := h.refresh(held)
	h.clock.advance(time.Hour)
	_, reused := h.tryRefresh(held)
	_, revoked := h.tryRefresh(used)
	_, _, expired := h.sessions.Authenticate(t.Context(), held.Access)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, interrupted := h.sessions.Refresh(cancelled, used.Refresh, Origin{})
	_, _, late := h.sessions.Authenticate(cancelled, used.Access+"x")
	for _, shown := range []string{
		fmt.Sprint(held), fmt.Sprintf("%v %+v %#v", used, used, used),
		fmt.Sprint(reused, revoked, expired, interrupted, late),
	} {
		for _, secret := range []string{held.Access, held.Refresh, used.Access, used.Refresh} {
			if strings.Contains(shown, secret) {
				t.Errorf("a secret shows in %s", shown)
			}
		}
	}
	if interrupted == nil || late == nil {
		t.Errorf("a cancelled context gave %v and %v, want errors", interrupted, late)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	h := newHouse(b, sqlite(b))
	s, err := New(h.db, h.sessions.keys, h.root, nil, &notices{Bus: bus.Local()}, Options{
		Issuer: "https://gatehouse.example", Audience: "gatehouse", Now: time.Now,
	})
	if err != nil {
		b.Fatal(err)
	}
	h.sessions = s
	held := h.login(h.user())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, err := s.Authenticate(b.Context(), held.Access); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRefresh(b *testing.B) {
	h := newHouse(b, sqlite(b))
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		held := h.login(h.user())
		for pb.Next() {
			held = h.refresh(held)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "refreshes/s")
}

func TestARequestThatFollowsAnotherReadsNoDatabase(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		held := h.login(h.user())
		_, key := h.key(h.viewer(held), KeyWish{Name: "of a test", Scopes: []viewer.Scope{viewer.RunJobs}})
		for _, credential := range []string{held.Access, key} {
			if _, _, err := h.sessions.Authenticate(t.Context(), credential); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.db.Close(); err != nil {
			t.Fatal(err)
		}
		for _, credential := range []string{held.Access, key} {
			if _, _, err := h.sessions.Authenticate(t.Context(), credential); err != nil {
				t.Errorf("without the database: %v", err)
			}
		}
		h.clock.advance(h.sessions.o.RecordTTL + time.Second) // the record has grown old: it must be read
		if _, _, err := h.sessions.Authenticate(t.Context(), held.Access); err == nil {
			t.Error("an old record still counts")
		}
	})
}
