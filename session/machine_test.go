package session

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"
)

// person is a fresh account, signed in.
func (h *house) person() viewer.Viewer {
	h.Helper()
	return h.viewer(h.login(h.user()))
}

func (h *house) key(by viewer.Viewer, wish KeyWish) (APIKey, string) {
	h.Helper()
	if wish.Name == "" {
		wish.Name = "of a test"
	}
	key, shown, err := h.sessions.CreateAPIKey(h.Context(), by, wish)
	if err != nil {
		h.Fatal(err)
	}
	return key, shown
}

// holder is who shows a credential, nobody when it is refused.
func (h *house) holder(s *Sessions, shown string) viewer.Viewer {
	h.Helper()
	v, _, err := s.Authenticate(h.Context(), shown)
	if err != nil {
		h.refuse("the credential", err, fault.Unauthenticated)
	}
	return v
}

func TestAnAPIKeyIsItsOwnerWithinItsScopes(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		owner := h.person()
		key, shown := h.key(owner, KeyWish{Scopes: []viewer.Scope{viewer.ReadUsers, viewer.RunJobs, viewer.RunJobs}})
		v := h.holder(h.sessions, shown)
		if v.User != owner.User || v.Machine != key.ID || v.Session != "" || !slices.Equal(v.Scopes, []viewer.Scope{viewer.RunJobs, viewer.ReadUsers}) {
			t.Fatalf("the holder is %+v", v)
		}
		if !v.May(viewer.ReadUsers) || v.May(viewer.ReadJobs) || v.Has(viewer.Admin) || v.Person() == nil {
			t.Errorf("the key of an administrator may more or less than its scopes: %+v", v)
		}
		h.exec(setStatus, "ACTIVE", "", owner.User) // the owner is no administrator any more
		h.update(func(tx *store.Tx) error { return h.sessions.ForgetTx(t.Context(), tx, owner.User) })
		if v := h.holder(h.sessions, shown); v.May(viewer.ReadUsers) || !v.May(viewer.RunJobs) {
			t.Errorf("the key may more than its owner: %+v", v)
		}
		h.exec(setStatus, "DISABLED", "", owner.User)
		h.update(func(tx *store.Tx) error { return h.sessions.ForgetTx(t.Context(), tx, owner.User) })
		if v := h.holder(h.sessions, shown); !v.Anonymous() {
			t.Errorf("the key of a disabled account is %+v", v)
		}
	})
}

func TestNothingButTheWholeKeyOpens(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		owner := h.person()
		key, shown := h.key(owner, KeyWish{Scopes: []viewer.Scope{viewer.RunJobs}, ExpiresAt: h.clock.now().Add(time.Hour)})
		_, other := h.key(owner, KeyWish{Scopes: []viewer.Scope{viewer.RunJobs}})
		stem := shown[:len(shown)-keySecret]
		for name, text := range map[string]string{
			"another's secret": stem + other[len(other)-keySecret:], "cut": shown[:len(shown)-1], "longer": shown + "A", "the stem": stem,
			"of production": strings.Replace(shown, "gh_test_", "gh_live_", 1), "of no environment": strings.Replace(shown, "gh_test_", "gh__", 1),
			"an id alone": string(key.ID), "empty": "gh_", "a long one": "gh_test_" + strings.Repeat("_", 10_000), "a secret alone": "gh_" + other[len(other)-keySecret:],
			"an unknown id": "gh_test_" + strings.Repeat("0", 26) + "_" + other[len(other)-keySecret:],
		} {
			if v := h.holder(h.sessions, text); !v.Anonymous() {
				t.Errorf("%s opens as %+v", name, v)
			}
		}
		if h.holder(h.sessions, shown).Anonymous() {
			t.Fatal("the key does not open")
		}
		h.clock.advance(time.Hour)
		if !h.holder(h.sessions, shown).Anonymous() {
			t.Error("an expired key opens")
		}
		if list, err := h.sessions.APIKeys(t.Context(), owner, []viewer.UserID{owner.User}); err != nil || len(list[owner.User]) != 1 {
			t.Errorf("listed are %+v, %v; want the living one", list, err)
		}
		rows, err := store.All(t.Context(), h.db, store.SQL(`SELECT hash FROM api_keys ORDER BY id`), store.Value[[]byte])
		if err != nil || len(rows) != 2 || len(rows[0]) != len(token.OpaqueHash{}) {
			t.Errorf("stored are %x, %v", rows, err)
		}
	})
}

func TestMachinesMadeSinceAMomentEndAndTheirRecordsWithThem(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		owner, stranger := h.person(), h.person()
		scopes := []viewer.Scope{viewer.RunJobs}
		_, old := h.key(owner, KeyWish{Scopes: scopes})
		_, others := h.key(stranger, KeyWish{Scopes: scopes})
		stays, _, err := h.sessions.CreateServiceAccount(t.Context(), owner, "stays", scopes)
		if err != nil {
			t.Fatal(err)
		}
		for _, grace := range []time.Duration{0, time.Minute} { // before the moment
			if _, _, err := h.sessions.RotateServiceAccount(t.Context(), owner, stays.ID, grace); err != nil {
				t.Fatal(err)
			}
		}
		rotated, _, err := h.sessions.CreateServiceAccount(t.Context(), owner, "rotated", scopes)
		if err != nil {
			t.Fatal(err)
		}
		h.clock.advance(time.Hour)
		since := h.clock.now()
		_, fresh := h.key(owner, KeyWish{Scopes: scopes})
		if _, _, err := h.sessions.RotateServiceAccount(t.Context(), owner, rotated.ID, 0); err != nil {
			t.Fatal(err)
		}
		service, secret, err := h.sessions.CreateServiceAccount(t.Context(), owner, "robot", scopes)
		if err != nil {
			t.Fatal(err)
		}
		granted, err := h.sessions.Grant(t.Context(), GrantRequest{Client: service.ID, Secret: secret})
		if err != nil {
			t.Fatal(err)
		}
		holds := func(want ...bool) {
			t.Helper()
			for i, shown := range []string{old, others, fresh, granted.Access} {
				if got := !h.holder(h.sessions, shown).Anonymous(); got != want[i] {
					t.Errorf("credential %d holds: %t, want %t", i, got, want[i])
				}
			}
		}
		end := func(since time.Time) {
			h.update(func(tx *store.Tx) error {
				return h.sessions.EndMachinesTx(t.Context(), tx, viewer.Viewer{User: owner.User}, owner.User, since)
			})
		}
		holds(true, true, true, true)
		end(since)
		holds(true, true, false, false)
		alive, err := h.sessions.ServiceAccountsByIDs(t.Context(), owner, []viewer.MachineID{stays.ID, rotated.ID})
		if err != nil {
			t.Fatal(err)
		}
		for id, want := range map[viewer.MachineID]bool{stays.ID: true, rotated.ID: false} {
			if _, is := alive[id]; is != want {
				t.Errorf("service account %s is alive: %t, want %t", id, is, want)
			}
		}
		end(time.Time{})
		holds(false, true, false, false)
	})
}

func TestAKeyIsGoodFromEveryDevice(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		_, shown := h.key(h.person(), KeyWish{Scopes: []viewer.Scope{viewer.RunJobs}})
		for _, from := range []Origin{{DeviceID: "laptop", Agent: "curl/8"}, {DeviceID: "phone", Agent: "Mozilla/5.0 (Windows NT 10.0) Firefox/137.0"}} {
			if v, _, err := h.sessions.Admit(t.Context(), shown, from); err != nil || v.Machine == "" {
				t.Errorf("from %+v: %+v, %v", from, v, err)
			}
		}
	})
}

func TestARevokedKeyIsRefusedByAServerThatHasItInMemory(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		owner, other := h.person(), h.server(nil, h.notices)
		h.run(other)
		key, shown := h.key(owner, KeyWish{Scopes: []viewer.Scope{viewer.RunJobs}})
		v := h.holder(other, shown)
		if v.Anonymous() {
			t.Fatal("the key does not open")
		}
		ended := make(chan Reason, 1)
		defer other.WatchViewer(v, func(why Reason) { ended <- why })()
		h.refuse("somebody else", h.sessions.RevokeAPIKey(t.Context(), viewer.Viewer{User: "usr_eve"}, key.ID), fault.NotFound)
		h.refuse("the key itself", h.sessions.RevokeAPIKey(t.Context(), v, key.ID), fault.Forbidden)
		if err := h.sessions.RevokeAPIKey(t.Context(), owner, key.ID); err != nil {
			t.Fatal(err)
		}
		if why := <-ended; why != Revoked {
			t.Errorf("the stream ended by %s", why)
		}
		if !h.holder(other, shown).Anonymous() {
			t.Error("the revoked key opens")
		}
		if err := h.sessions.RevokeAPIKey(t.Context(), owner, key.ID); err != nil {
			t.Errorf("revoked twice: %v", err)
		}
		h.clock.advance(keptRevoked + time.Minute)
		if err := h.sessions.pruneMachines(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, err := store.One(t.Context(), h.db, store.SQL(`SELECT count(*) FROM api_keys`), store.Value[int]); err != nil || n != 0 {
			t.Errorf("%d rows are kept, %v", n, err)
		}
	})
}

func TestTheLastUseOfAKeyIsWrittenOnceAMinute(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		owner := h.person()
		key, shown := h.key(owner, KeyWish{Scopes: []viewer.Scope{viewer.RunJobs}})
		used := func() time.Time {
			h.holder(h.sessions, shown)
			if err := h.sessions.flushSeen(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, err := h.sessions.APIKeysByIDs(t.Context(), owner, []viewer.MachineID{key.ID})
			if err != nil {
				t.Fatal(err)
			}
			return got[key.ID].LastUsedAt
		}
		first := used()
		if first.IsZero() {
			t.Fatal("the first use is not written")
		}
		h.clock.advance(30 * time.Second)
		if again := used(); !again.Equal(first) {
			t.Error("written twice within a minute")
		}
		h.clock.advance(31 * time.Second)
		if again := used(); !again.After(first) {
			t.Error("the use a minute later is not written")
		}
	})
}

func TestAnAccountHasABoundedNumberOfKeys(t *testing.T) {
	h := newHouse(t, sqlite(t))
	owner := h.person()
	for range maxKeys {
		h.key(owner, KeyWish{Scopes: []viewer.Scope{viewer.RunJobs}})
	}
	_, _, err := h.sessions.CreateAPIKey(t.Context(), owner, KeyWish{Name: "one more", Scopes: []viewer.Scope{viewer.RunJobs}})
	h.refuse("one more", err, fault.WrongState)
	h.key(h.person(), KeyWish{Scopes: []viewer.Scope{viewer.RunJobs}})
}

// rotations is a model of a service account: which of its secrets are good, and until when.
type rotations struct {
	current, former string
	until           time.Time
	dead            []string
	deleted         bool
}

func TestOfAServiceAccountsSecretsOnlyTheRightOnesAreGood(t *testing.T) {
	h := newHouse(t, sqlite(t))
	owner := h.person()
	rapid.Check(t, func(t *rapid.T) {
		made, shown, err := h.sessions.CreateServiceAccount(h.Context(), owner, "of a test", []viewer.Scope{viewer.RunJobs})
		if err != nil {
			t.Fatal(err)
		}
		m := &rotations{current: shown}
		defer func() { _ = h.sessions.DeleteServiceAccount(h.Context(), owner, made.ID) }()
		grant := func(secret string) bool {
			_, err := h.sessions.Grant(h.Context(), GrantRequest{Client: made.ID, Secret: secret})
			if err != nil && !fault.Is(err, fault.InvalidCredentials) {
				t.Fatal(err)
			}
			return err == nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"rotate": func(t *rapid.T) {
				if m.deleted {
					t.Skip("it is gone")
				}
				grace := rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour}).Draw(t, "grace")
				_, fresh, err := h.sessions.RotateServiceAccount(h.Context(), owner, made.ID, grace)
				if err != nil {
					t.Fatal(err)
				}
				if m.former != "" {
					m.dead = append(m.dead, m.former)
				}
				m.former, m.current, m.until = m.current, fresh, h.clock.now().Add(grace)
			},
			"wait": func(t *rapid.T) {
				h.clock.advance(rapid.SampledFrom([]time.Duration{time.Second, 40 * time.Second, 50 * time.Minute}).Draw(t, "wait"))
			},
			"delete": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "chance") > 0 || m.deleted {
					t.Skip("seldom, and once")
				}
				if err := h.sessions.DeleteServiceAccount(h.Context(), owner, made.ID); err != nil {
					t.Fatal(err)
				}
				m.deleted = true
			},
			"": func(t *rapid.T) {
				if got := grant(m.current); got == m.deleted {
					t.Fatalf("the current secret is good: %t, deleted %t", got, m.deleted)
				}
				if m.former != "" {
					if got, want := grant(m.former), !m.deleted && h.clock.now().Before(m.until); got != want {
						t.Fatalf("the last secret is good: %t, want %t", got, want)
					}
				}
				if n := len(m.dead); n > 0 && grant(m.dead[n-1]) {
					t.Fatal("a secret of two rotations ago is good")
				}
			},
		})
	})
}

func TestATokenOfAServiceAccountEndsWithItAndWithALeakedSecret(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		owner := h.person()
		made, secret, err := h.sessions.CreateServiceAccount(t.Context(), owner, "of a test", []viewer.Scope{viewer.RunJobs, viewer.ReadUsers})
		if err != nil {
			t.Fatal(err)
		}
		granted := func(secret string, scopes ...viewer.Scope) Granted {
			t.Helper()
			g, err := h.sessions.Grant(t.Context(), GrantRequest{Client: made.ID, Secret: secret, Scopes: scopes})
			if err != nil {
				t.Fatal(err)
			}
			return g
		}
		narrow := granted(secret, viewer.RunJobs)
		v := h.holder(h.sessions, narrow.Access)
		if v.User != viewer.UserID(made.ID) || v.Machine != made.ID || !v.May(viewer.RunJobs) || v.May(viewer.ReadUsers) || v.Has(viewer.Admin) {
			t.Errorf("the holder of a narrow token is %+v", v)
		}
		if wide := h.holder(h.sessions, granted(secret).Access); !wide.May(viewer.ReadUsers) {
			t.Errorf("the holder of a wide token is %+v", wide)
		}
		_, err = h.sessions.Grant(t.Context(), GrantRequest{Client: made.ID, Secret: secret, Scopes: []viewer.Scope{viewer.ReadAudit}})
		h.refuse("a scope that the client lacks", err, fault.Invalid)
		_, fresh, err := h.sessions.RotateServiceAccount(t.Context(), owner, made.ID, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if h.holder(h.sessions, narrow.Access).Anonymous() {
			t.Error("a rotation with grace has ended a token")
		}
		if _, _, err = h.sessions.RotateServiceAccount(t.Context(), owner, made.ID, 0); err != nil {
			t.Fatal(err)
		}
		if !h.holder(h.sessions, narrow.Access).Anonymous() {
			t.Error("a rotation without grace has ended no token")
		}
		_, err = h.sessions.Grant(t.Context(), GrantRequest{Client: made.ID, Secret: fresh})
		h.refuse("the secret before", err, fault.InvalidCredentials)
		h.clock.advance(MachineTTL + time.Minute)
		_, _, err = h.sessions.RotateServiceAccount(t.Context(), owner, made.ID, MaxGrace+time.Second)
		h.refuse("a grace of more than an hour", err, fault.Invalid)
		for _, err := range []error{
			h.sessions.DeleteServiceAccount(t.Context(), viewer.Viewer{User: "usr_eve"}, made.ID),
			h.sessions.DeleteServiceAccount(t.Context(), owner, "svc_none"),
		} {
			h.refuse("somebody else's", err, fault.NotFound)
		}
	})
}

func TestTheTokenEndpointIsLimitedByClientAndNetworkTogether(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.sessions.o.Limiter = limit.New(nil, limit.Options{Now: h.clock.now})
	owner := h.person()
	made, secret, err := h.sessions.CreateServiceAccount(t.Context(), owner, "of a test", []viewer.Scope{viewer.RunJobs})
	if err != nil {
		t.Fatal(err)
	}
	limited := false
	for range 80 {
		_, err := h.sessions.Grant(t.Context(), GrantRequest{Client: made.ID, Secret: "ghs_guess", Origin: Origin{IP: addr("192.0.2.1")}})
		limited = limited || fault.Is(err, fault.RateLimited)
	}
	if !limited {
		t.Error("guessing is not slowed")
	}
	if _, err := h.sessions.Grant(t.Context(), GrantRequest{Client: made.ID, Secret: secret, Origin: Origin{IP: addr("198.51.100.1")}}); err != nil {
		t.Errorf("the client itself, elsewhere: %v", err)
	}
}

func TestAnImpersonationIsLimitedAndEndsWithItsActor(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		admin, person := h.person(), h.user()
		var tokens Tokens
		h.update(func(tx *store.Tx) (err error) {
			tokens, err = h.sessions.ImpersonateTx(t.Context(), tx, admin, person, true, Origin{})
			return err
		})
		v := h.viewer(tokens)
		if v.User != person || v.Actor != admin.User || !v.ReadOnly || v.Has(viewer.Admin) || v.May(viewer.ReadUsers) || v.Person() == nil {
			t.Errorf("the viewer is %+v", v)
		}
		if tokens.Refresh != "" || tokens.AccessExpiresAt.Sub(h.clock.now()) > ImpersonationTTL {
			t.Errorf("the tokens are %+v", tokens)
		}
		h.refuse("all sessions of the person", h.sessions.RevokeAll(t.Context(), v, person), fault.Forbidden)
		if last, err := h.sessions.LastFrom(t.Context(), person, "", Origin{}); err != nil || !last.IsZero() {
			t.Errorf("an impersonation counts as a sign-in of the person: %s, %v", last, err)
		}
		h.update(func(tx *store.Tx) error {
			return h.sessions.EndImpersonationsTx(t.Context(), tx, viewer.System(), admin.User)
		})
		if h.admitted(h.sessions, tokens) {
			t.Error("it outlives its end")
		}
		h.update(func(tx *store.Tx) (err error) {
			tokens, err = h.sessions.ImpersonateTx(t.Context(), tx, admin, person, false, Origin{})
			return err
		})
		if err := h.sessions.RevokeAll(t.Context(), admin, admin.User); err != nil {
			t.Fatal(err)
		}
		if h.admitted(h.sessions, tokens) {
			t.Error("it outlives the sessions of its actor")
		}
	})
}

func TestChangedRolesEndTheStreamsThatWereOpenedWithTheOldOnesAndNoOther(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		user := h.user()
		held := h.login(user)
		h.run(h.sessions)
		old, kept := make(chan Reason, 1), make(chan Reason, 1)
		defer h.sessions.WatchViewer(h.viewer(held), func(why Reason) { old <- why })()
		defer h.sessions.Watch(held.Session.ID, func(why Reason) { kept <- why })()
		h.exec(setStatus, "ACTIVE", "DEVELOPER", user)
		h.update(func(tx *store.Tx) error { return h.sessions.ForgetTx(t.Context(), tx, user) })
		if why := <-old; why != RolesChanged {
			t.Errorf("the stream ended by %s", why)
		}
		fresh := make(chan Reason, 1)
		defer h.sessions.WatchViewer(h.viewer(held), func(why Reason) { fresh <- why })()
		h.clock.advance(2 * time.Second)
		if err := errors.Join(h.sessions.republish(t.Context()), h.sessions.checkWatched(t.Context())); err != nil { // the outbox says it again
			t.Fatal(err)
		}
		select {
		case why := <-fresh:
			t.Errorf("the stream of the new role ended by %s", why)
		case why := <-kept:
			t.Errorf("a watch of the session ended by %s", why)
		default:
		}
	})
}
