package session

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/bus"
	"gatehouse/internal/fault"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"
)

var countKeys = store.SQL(`SELECT count(*) FROM signing_keys WHERE state <> 'LOCK'`)

func TestServersThatStartAtOnceMakeOnePairOfKeys(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		h.exec(store.SQL(`DELETE FROM signing_keys`))
		var wait sync.WaitGroup
		made := make([]*Keys, 8)
		for i := range made {
			wait.Go(func() {
				var err error
				if made[i], err = OpenKeys(t.Context(), h.db, h.ring, h.notices, KeyOptions{Now: h.clock.now}); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if n, err := store.One(t.Context(), h.db, countKeys, store.Value[int]); err != nil || n != 2 {
			t.Errorf("%d keys, %v; want two", n, err)
		}
		for _, k := range made {
			if k.Set().Current().ID != made[0].Set().Current().ID {
				t.Error("two servers sign with different keys")
			}
		}
	})
}

// showing returns the key ids of the JWKS in their order.
func showing(t *testing.T, k *Keys) (ids []string) {
	t.Helper()
	var document struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal(k.JWKS(), &document); err != nil {
		t.Fatal(err)
	}
	for _, key := range document.Keys {
		ids = append(ids, key.Kid)
	}
	return ids
}

func TestARotationRefusesNoTokenOnAnyServer(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		lonely := h.server(nil, &notices{Bus: bus.Local()}) // hears of no change
		before := h.login(h.user())
		shown := showing(t, h.sessions.keys)
		if err := h.sessions.keys.Rotate(t.Context(), viewer.System()); err != nil {
			t.Fatal(err)
		}
		if got := h.sessions.keys.Set().Current().ID; got != shown[1] {
			t.Errorf("signs with %s, want the key %s that verifiers have known", got, shown[1])
		}
		after := h.login(h.user())
		if err := h.sessions.keys.Rotate(t.Context(), viewer.System()); err != nil {
			t.Fatal(err)
		}
		unheard := h.login(h.user()) // with a key that lonely has never read
		h.clock.advance(5 * time.Minute)
		for name, held := range map[string]Tokens{"before": before, "after": after, "unheard": unheard} {
			for _, s := range []*Sessions{h.sessions, lonely} {
				if !h.admitted(s, held) {
					t.Errorf("a token signed %s the rotation is refused", name)
				}
			}
		}
		if got := h.actions(); len(got) != 2 || got[0] != ActionRotated {
			t.Errorf("recorded %v, want two rotations", got)
		}
	})
}

func TestARetiredKeyIsOnlyPublicAndGoesWithItsLastToken(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		keys := h.sessions.keys
		held := h.login(h.user())
		old := keys.Set().Current().ID
		if err := keys.Rotate(t.Context(), viewer.System()); err != nil {
			t.Fatal(err)
		}
		sealed, err := store.One(t.Context(), h.db, store.SQL(`SELECT sealed FROM signing_keys WHERE id = ?`), store.Value[[]byte], old)
		if err != nil {
			t.Fatal(err)
		}
		der, err := h.ring.Open(sealed, keyPlace(old))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := token.ParseKey(der); err == nil {
			t.Error("the private half of a retired key is still there")
		}
		h.clock.advance(10*time.Minute + token.DefaultLeeway + reloadEvery)
		for _, step := range []struct {
			after time.Duration
			keys  int
		}{{0, 3}, {time.Microsecond, 2}} {
			h.clock.advance(step.after)
			if err := keys.prune(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := keys.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := len(showing(t, keys)); got != step.keys {
				t.Errorf("%d keys are shown, want %d", got, step.keys)
			}
		}
		if h.admitted(h.sessions, held) {
			t.Error("an expired token is admitted")
		}
	})
}

func TestTooManyRotationsAtOnceAreRefusedAndChangeNothing(t *testing.T) {
	h := newHouse(t, sqlite(t))
	keys := h.sessions.keys
	for range maxRetired {
		if err := keys.Rotate(t.Context(), viewer.System()); err != nil {
			t.Fatal(err)
		}
	}
	current := keys.Set().Current().ID
	h.refuse("one more", keys.Rotate(t.Context(), viewer.System()), fault.WrongState)
	if err := keys.Reload(t.Context()); err != nil || keys.Set().Current().ID != current {
		t.Errorf("after the refusal: %v, or another key signs", err)
	}
	h.clock.advance(time.Hour)
	if err := keys.Rotate(t.Context(), viewer.System()); err != nil {
		t.Errorf("an hour later: %v", err)
	}
	h.refuse("a user", keys.Rotate(t.Context(), viewer.Viewer{User: "usr_1"}), fault.Forbidden)
	h.refuse("nobody", keys.Rotate(t.Context(), viewer.Viewer{}), fault.Unauthenticated)
}

func TestAnUnknownKeyIsLookedUpAtMostOnceASecond(t *testing.T) {
	var reads int
	ctx := context.Background()
	h := newHouse(t, sqlite(t))
	elsewhere := newHouse(t, sqlite(t))
	foreign := elsewhere.login(elsewhere.user()).Access
	before := h.sessions.keys.loaded.Load()
	for range 10 {
		if _, _, err := h.sessions.Authenticate(ctx, foreign); err == nil {
			t.Fatal("a foreign token is admitted")
		}
		if now := h.sessions.keys.loaded.Load(); now != before {
			before = now
			reads++
		}
	}
	if reads != 1 {
		t.Errorf("ten unknown keys in one second: %d readings, want one", reads)
	}
	h.clock.advance(time.Second)
	_, _, _ = h.sessions.Authenticate(ctx, foreign)
	if h.sessions.keys.loaded.Load() == before {
		t.Error("a second later the keys are not read again")
	}
}

func TestKeysOpenWithNoOtherKeyring(t *testing.T) {
	h := newHouse(t, sqlite(t))
	ring, err := secret.NewKeyring(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeys(t.Context(), h.db, ring, h.notices, KeyOptions{}); err == nil {
		t.Error("the keys opened with another keyring")
	}
}

func TestKeysOfEachAlgorithmSign(t *testing.T) {
	for _, algorithm := range []token.Algorithm{token.EdDSA, token.ES256, token.RS256} {
		t.Run(string(algorithm), func(t *testing.T) {
			h := newHouse(t, sqlite(t))
			h.exec(store.SQL(`DELETE FROM signing_keys`))
			keys, err := OpenKeys(t.Context(), h.db, h.ring, h.notices, KeyOptions{Algorithm: algorithm, Now: h.clock.now})
			if err != nil {
				t.Fatal(err)
			}
			h.sessions.keys = keys
			if held := h.login(h.user()); !h.admitted(h.sessions, held) {
				t.Error("the token is refused")
			}
		})
	}
}

func TestAServerHearsOfARotation(t *testing.T) {
	h := newHouse(t, sqlite(t))
	other := h.server(nil, h.notices)
	stop, err := other.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := h.sessions.keys.Rotate(t.Context(), viewer.System()); err != nil {
		t.Fatal(err)
	}
	<-other.keys.changed
}
