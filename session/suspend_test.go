package session

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// User agents as browsers send them.
const (
	firefox      = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:137.0) Gecko/20100101 Firefox/137.0"
	laterFirefox = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:141.0) Gecko/20100101 Firefox/141.0"
	chrome       = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0.0.0 Safari/537.36"
)

// at is a place in the network that sessions of these tests begin in.
func at(agent, device string) Origin {
	return Origin{Agent: agent, DeviceID: device, IP: netip.MustParseAddr("192.0.2.7")}
}

// startAt begins a session at a place.
func (h *house) startAt(user viewer.UserID, from Origin) (tokens Tokens) {
	h.Helper()
	h.update(func(tx *store.Tx) (err error) {
		tokens, err = h.sessions.StartTx(h.Context(), tx, Start{
			User: user, Level: viewer.AAL1, Methods: []string{"pwd"}, Remember: true,
			Device: Device{ID: from.DeviceID}, Origin: from,
		})
		return err
	})
	return tokens
}

func (h *house) lift(id viewer.SessionID, from Origin) (tokens Tokens, err error) {
	h.Helper()
	err = h.db.Update(h.Context(), func(tx *store.Tx) (err error) {
		tokens, err = h.sessions.LiftTx(h.Context(), tx, id, from)
		return err
	})
	return tokens, err
}

func TestWhatSpeaksAgainstARequestBeingOfTheSameMachine(t *testing.T) {
	for _, c := range []struct {
		name          string
		home, at      Origin
		use, renewing Reason
	}{
		{"the same", at(firefox, "laptop"), at(firefox, "laptop"), "", ""},
		{"a later version", at(firefox, ""), at(laterFirefox, ""), "", ""},
		{"another browser", at(firefox, ""), at(chrome, ""), AgentChanged, AgentChanged},
		{"a program with a browser's token", at(firefox, ""), at("curl/8.5.0", ""), AgentChanged, AgentChanged},
		{"a browser that is silent", at(firefox, ""), at("", ""), "", AgentChanged},
		{"another device", at("", "laptop"), at("", "phone"), DeviceChanged, DeviceChanged},
		{"another device in the same browser", at(firefox, "laptop"), at(firefox, "phone"), DeviceChanged, DeviceChanged},
		{"a device that is not named any more", at(firefox, "laptop"), at(firefox, ""), "", ""},
		{"a device that is named for the first time", at(firefox, ""), at(firefox, "laptop"), "", ""},
		{"a program's other library", at("python-requests/2.32", ""), at("Python/3.12 websockets/13.1", ""), "", AgentChanged},
		{"a program's silent library", at("node", ""), at("", ""), "", ""},
		{"a program without a user agent", at("", ""), at("curl/8.5.0", ""), "", ""},
		{"a long user agent", at(firefox+string(make([]byte, 300)), ""), at(firefox+string(make([]byte, 300)), ""), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := home{cut(c.home.DeviceID, maxDevice), cut(c.home.Agent, maxAgent)}
			if got := h.strange(c.at, false); got != c.use {
				t.Errorf("in use: %q, want %q", got, c.use)
			}
			if got := h.strange(c.at, true); got != c.renewing {
				t.Errorf("renewing: %q, want %q", got, c.renewing)
			}
		})
	}
}

func TestASessionUsedElsewhereIsSuspendedOnEveryServerAndItsOwnerTold(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		var told []Event
		h.sessions.o.Tell = func(_ context.Context, _ *store.Tx, e Event) error { told = append(told, e); return nil }
		held := h.startAt(h.user(), at(firefox, ""))
		server := h.server(nil, h.notices)
		h.run(h.sessions)
		ended := make(chan Reason, 1)
		defer h.sessions.Watch(held.Session.ID, func(why Reason) { ended <- why })()
		for _, s := range []*Sessions{h.sessions, server} {
			if _, _, err := s.Admit(t.Context(), held.Access, at(laterFirefox, "")); err != nil {
				t.Fatalf("the owner: %v", err)
			}
		}
		for range 2 {
			v, _, err := h.sessions.Admit(t.Context(), held.Access, at(chrome, ""))
			h.refuse("the thief", err, fault.StepUpRequired)
			if !v.Anonymous() || v.Suspended != held.Session.ID || v.User != "" || v.Session != "" {
				t.Errorf("the thief is %+v, want nobody who holds a suspended session", v)
			}
		}
		for name, s := range map[string]*Sessions{"this": h.sessions, "the other": server} {
			_, _, err := s.Admit(t.Context(), held.Access, at(firefox, ""))
			h.refuse("the owner on "+name+" server", err, fault.StepUpRequired)
			_, err = s.Refresh(t.Context(), held.Refresh, at(firefox, ""))
			h.refuse("a refresh on "+name+" server", err, fault.StepUpRequired)
		}
		if why := <-ended; why != Suspended {
			t.Errorf("the watch ended with %q", why)
		}
		late := make(chan Reason, 1)
		defer h.sessions.Watch(held.Session.ID, func(why Reason) { late <- why })()
		if why := <-late; why != Suspended {
			t.Errorf("a watch of a suspended session ended with %q", why)
		}
		if got := h.actions(); !slices.Equal(got, []string{ActionSuspended}) {
			t.Errorf("recorded %v, want one suspension", got)
		}
		if len(told) != 1 || told[0].Action != ActionSuspended || told[0].Agent != "Chrome on macOS" || told[0].Reason != AgentChanged {
			t.Errorf("the owner is told %+v", told)
		}
	})
}

func TestAStolenTokenThatIsRenewedElsewhereIsNotUsedUp(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		held := h.startAt(h.user(), at(firefox, ""))
		_, err := h.sessions.Refresh(t.Context(), held.Refresh, at(chrome, ""))
		h.refuse("the thief", err, fault.StepUpRequired)
		fresh, err := h.lift(held.Session.ID, at(firefox, ""))
		if err != nil {
			t.Fatal(err)
		}
		if fresh.Session.ID != held.Session.ID || !fresh.Session.SuspendedAt.IsZero() {
			t.Errorf("lifted is %+v", fresh.Session)
		}
		if _, _, err := h.sessions.Admit(t.Context(), fresh.Access, at(firefox, "")); err != nil {
			t.Errorf("the owner: %v", err)
		}
		_, _, err = h.sessions.Admit(t.Context(), held.Access, at(firefox, ""))
		h.refuse("the stolen access token", err, fault.Unauthenticated)
		_, err = h.sessions.Refresh(t.Context(), held.Refresh, at(firefox, ""))
		h.refuse("the stolen refresh token", err, fault.TokenInvalid)
		if _, err := h.sessions.Refresh(t.Context(), fresh.Refresh, at(firefox, "")); err != nil {
			t.Errorf("the owner renews: %v", err)
		}
		_, err = h.lift(held.Session.ID, at(firefox, ""))
		h.refuse("a second time", err, fault.WrongState)
	})
}

func TestWhoProvesThemselvesElsewhereTakesTheSessionThere(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		held := h.startAt(h.user(), at(firefox, "laptop"))
		_, _, err := h.sessions.Admit(t.Context(), held.Access, at(chrome, "laptop"))
		h.refuse("before", err, fault.StepUpRequired)
		fresh, err := h.lift(held.Session.ID, at(chrome, ""))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.sessions.Admit(t.Context(), fresh.Access, at(chrome, "laptop")); err != nil {
			t.Errorf("where they proved themselves: %v", err)
		}
		_, _, err = h.sessions.Admit(t.Context(), fresh.Access, at(firefox, "laptop"))
		h.refuse("where it was before", err, fault.StepUpRequired)
	})
}

func TestAReplayFromElsewhereEndsTheSessionRatherThanSuspendIt(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		first := h.startAt(h.user(), at(firefox, ""))
		second, err := h.sessions.Refresh(t.Context(), first.Refresh, at(firefox, ""))
		if err != nil {
			t.Fatal(err)
		}
		h.clock.advance(11 * time.Second)
		_, err = h.sessions.Refresh(t.Context(), first.Refresh, at(chrome, ""))
		h.refuse("the replay", err, fault.TokenReused)
		_, err = h.sessions.Refresh(t.Context(), second.Refresh, at(firefox, ""))
		h.refuse("the owner", err, fault.SessionRevoked)
	})
}

func TestWithinTheGraceAnotherBrowserDoesNotGetTheSuccessor(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		first := h.startAt(h.user(), at(firefox, ""))
		if _, err := h.sessions.Refresh(t.Context(), first.Refresh, at(firefox, "")); err != nil {
			t.Fatal(err)
		}
		_, err := h.sessions.Refresh(t.Context(), first.Refresh, at(chrome, ""))
		h.refuse("the thief", err, fault.StepUpRequired)
	})
}

func TestSigningInAgainOnTheDeviceEndsItsSuspendedSessionAndNoOther(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		user := h.user()
		here, there := h.startAt(user, at(firefox, "laptop")), h.startAt(user, at(chrome, "phone"))
		for _, held := range []Tokens{here, there} {
			_, _, err := h.sessions.Admit(t.Context(), held.Access, at(held.Session.Agent, "stolen"))
			h.refuse("elsewhere", err, fault.StepUpRequired)
		}
		again := h.startAt(user, at(laterFirefox, "laptop"))
		if _, _, err := h.sessions.Admit(t.Context(), again.Access, at(firefox, "laptop")); err != nil {
			t.Errorf("the new session: %v", err)
		}
		_, err := h.sessions.Refresh(t.Context(), here.Refresh, at(firefox, "laptop"))
		h.refuse("the old one here", err, fault.SessionRevoked)
		_, err = h.sessions.Refresh(t.Context(), there.Refresh, at(chrome, "phone"))
		h.refuse("the one there", err, fault.StepUpRequired)
	})
}

func TestAnotherNetworkAloneIsRecordedAtMostOnceAMinute(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		held := h.startAt(h.user(), at(firefox, ""))
		moved := at(firefox, "")
		moved.IP = netip.MustParseAddr("2001:db8:1:2::3")
		use := func() {
			if _, _, err := h.sessions.Admit(t.Context(), held.Access, moved); err != nil {
				t.Fatalf("in another network: %v", err)
			}
			if err := h.sessions.flushSeen(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		use()
		if got := h.actions(); got != nil {
			t.Errorf("within the first minute recorded %v", got)
		}
		h.clock.advance(time.Minute)
		use()
		use()
		if got := h.actions(); !slices.Equal(got, []string{ActionMoved}) {
			t.Errorf("recorded %v, want one move", got)
		}
		next, err := h.sessions.Refresh(t.Context(), held.Refresh, moved)
		if err != nil || next.Session.Network != "2001:db8:1::/48" {
			t.Errorf("renewed in %q, %v", next.Session.Network, err)
		}
		if got := h.actions(); got != nil {
			t.Errorf("a renewal there recorded %v", got)
		}
	})
}

// TestNobodyElsewhereIsEverAdmittedWhateverHappens lets an owner, a thief and the clock act in any order.
func TestNobodyElsewhereIsEverAdmittedWhateverHappens(t *testing.T) {
	h := newHouse(t, sqlite(t))
	rapid.Check(t, func(t *rapid.T) {
		held := h.startAt(h.user(), at(firefox, ""))
		stolen := []Tokens{held}
		suspended := false
		owner, thief := at(firefox, ""), at(chrome, "")
		want := func(what string, err error) {
			switch {
			case suspended && !fault.Is(err, fault.StepUpRequired):
				t.Fatalf("%s of a suspended session: %v", what, err)
			case !suspended && err != nil:
				t.Fatalf("%s: %v", what, err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"the owner asks": func(*rapid.T) {
				_, _, err := h.sessions.Admit(h.Context(), held.Access, owner)
				want("a request", err)
			},
			"the owner renews": func(*rapid.T) {
				next, err := h.sessions.Refresh(h.Context(), held.Refresh, owner)
				want("a renewal", err)
				if err == nil {
					held = next
					stolen = append(stolen, next)
				}
			},
			"the thief asks": func(t *rapid.T) {
				copied := rapid.SampledFrom(stolen).Draw(t, "copy")
				_, _, err := h.sessions.Admit(h.Context(), copied.Access, thief)
				if err == nil {
					t.Fatal("the thief is in")
				}
				suspended = suspended || fault.Is(err, fault.StepUpRequired)
			},
			"the thief renews": func(t *rapid.T) {
				_, err := h.sessions.Refresh(h.Context(), held.Refresh, thief)
				if !fault.Is(err, fault.StepUpRequired) {
					t.Fatalf("the thief renews: %v", err)
				}
				suspended = true
			},
			"the owner proves who they are": func(t *rapid.T) {
				fresh, err := h.lift(held.Session.ID, owner)
				if suspended != (err == nil) {
					t.Fatalf("suspended is %t, lift gave %v", suspended, err)
				}
				if err != nil {
					return
				}
				suspended, held = false, fresh
				for _, old := range stolen {
					if _, _, err := h.sessions.Admit(h.Context(), old.Access, owner); !fault.Is(err, fault.Unauthenticated) {
						t.Fatalf("an old access token: %v", err)
					}
				}
				stolen = []Tokens{fresh}
			},
			"time passes": func(t *rapid.T) {
				h.clock.advance(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
				if h.clock.now().After(held.AccessExpiresAt.Add(-time.Minute)) {
					t.Skip("the access token is about to expire")
				}
			},
		})
	})
}

func TestOnlyADeviceThatIsNewToAKnownPersonIsNew(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		user := h.user()
		sign := func(agent, device string) (r Recognition) {
			t.Helper()
			h.update(func(tx *store.Tx) (err error) {
				r, err = h.sessions.RecognizeTx(t.Context(), tx, user, device, at(agent, ""))
				return err
			})
			return r
		}
		for i, c := range []struct {
			agent, device string
			later         time.Duration
			want          Recognition
		}{
			{firefox, "", 0, Recognition{}}, // the first sign-in of all
			{laterFirefox, "", 0, Recognition{}},
			{chrome, "", 0, Recognition{New: true, Recent: 2}},
			{chrome, "", 0, Recognition{}},
			{chrome, "phone", 0, Recognition{New: true, Recent: 3}},
			{firefox, "phone", 0, Recognition{New: true, Recent: 4}},
			{chrome, "phone", 25 * time.Hour, Recognition{}},
			{"curl/8", "", 0, Recognition{New: true, Recent: 1}},
			{chrome, "phone", 89 * 24 * time.Hour, Recognition{}},
			{"curl/8", "", 25 * time.Hour, Recognition{New: true, Recent: 1}},
		} {
			h.clock.advance(c.later)
			if got := sign(c.agent, c.device); got != c.want {
				t.Errorf("%d: %q on %q is %+v, want %+v", i, c.agent, c.device, got, c.want)
			}
		}
		h.clock.advance(91 * 24 * time.Hour)
		if err := h.sessions.pruneDevices(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := sign(firefox, ""); !got.New {
			t.Error("after a long absence nothing is new: the person was forgotten altogether")
		}
	})
}

func TestTheLastSignInWithADeviceIsKnownFor90Days(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		user, chrome := h.user(), Origin{Agent: chrome}
		sign := func(device string) time.Time {
			h.clock.advance(time.Minute)
			h.update(func(tx *store.Tx) error {
				_, err := h.sessions.RecognizeTx(t.Context(), tx, user, device, chrome)
				return err
			})
			return h.clock.now()
		}
		last := func(user viewer.UserID, device string, at Origin) time.Time {
			t.Helper()
			got, err := h.sessions.LastFrom(t.Context(), user, device, at)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		sign("laptop")
		none, laptop := sign(""), sign("laptop")
		for what, c := range map[string]struct{ got, want time.Time }{
			"laptop":          {last(user, "laptop", chrome), laptop},
			"no device":       {last(user, "", chrome), none},
			"another device":  {last(user, "phone", chrome), time.Time{}},
			"another browser": {last(user, "laptop", Origin{Agent: firefox}), time.Time{}},
			"another user":    {last("", "laptop", chrome), time.Time{}},
		} {
			if got, want := c.got.UnixMicro(), c.want.UnixMicro(); got != want {
				t.Errorf("%s: %v, want %v", what, c.got, c.want)
			}
		}
		h.clock.advance(knownFor)
		if got := last(user, "laptop", chrome); !got.IsZero() {
			t.Errorf("90 days later: %v", got)
		}
	})
}

func TestOfOnePersonABoundedNumberOfDevicesIsKnown(t *testing.T) {
	h := newHouse(t, sqlite(t))
	user, other := h.user(), h.user()
	count := store.SQL(`SELECT count(*) FROM known_devices WHERE user_id = ?`)
	h.update(func(tx *store.Tx) error {
		for i := range maxKnown + 20 {
			h.clock.advance(time.Second)
			for _, id := range []viewer.UserID{user, other} {
				if _, err := h.sessions.RecognizeTx(t.Context(), tx, id, string(rune('a'+i%26))+time.Duration(i).String(), Origin{}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for _, id := range []viewer.UserID{user, other} {
		if n, err := store.One(t.Context(), h.db, count, store.Value[int], id); err != nil || n != maxKnown {
			t.Errorf("%d devices are known, %v; want %d", n, err, maxKnown)
		}
	}
}
