package login_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/account"
	"gatehouse/account/password"
	"gatehouse/audit"
	"gatehouse/internal/bus"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/login"
	"gatehouse/session"
	"gatehouse/test/mailbox"
	"gatehouse/test/services"
)

func TestMain(m *testing.M) { services.Main(m) }

func eachDatabase(t *testing.T, test func(t *testing.T, h *house)) {
	t.Helper()
	eachAddress(t, func(t *testing.T, address string) { test(t, newHouse(t, address, account.Options{})) })
}

func eachAddress(t *testing.T, test func(t *testing.T, address string)) {
	t.Helper()
	for name, address := range map[string]func(testing.TB) string{"SQLite": sqlite, "PostgreSQL": services.Postgres} {
		t.Run(name, func(t *testing.T) { test(t, address(t)) })
	}
}

func sqlite(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") }

type notices struct{ *bus.Bus }

func (n notices) Subscribe(ctx context.Context, topic string, deliver func([]byte), gap func()) (func(), error) {
	return n.Bus.Subscribe(ctx, topic, bus.Listener{Deliver: deliver, Gap: gap})
}

// house is a deployment of one server.
type house struct {
	testing.TB
	db       *store.DB
	hasher   *password.Hasher
	parts    account.Parts
	accounts *account.Accounts
	sessions *session.Sessions
	audit    *audit.Log
	logins   *login.Logins
	box      *mailbox.Box
	micros   atomic.Int64           // the limiter's clock
	hashing  atomic.Pointer[func()] // called when a hash begins and when it ends; nil: nobody looks
}

func newHouse(t testing.TB, address string, o account.Options) *house {
	t.Helper()
	db, err := store.Open(t.Context(), address, store.Options{})
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	must(t, db.Migrate(t.Context()))
	ring, err := secret.NewKeyring(secret.NewKey())
	must(t, err)
	root, local := secret.NewKey(), notices{bus.Local()}
	keys, err := session.OpenKeys(t.Context(), db, ring, local, session.KeyOptions{})
	must(t, err)
	h := &house{TB: t, db: db, audit: audit.New(db, audit.Options{})}
	h.hasher = password.New(password.Options{Now: func() time.Time {
		if look := h.hashing.Load(); look != nil {
			(*look)()
		}
		return time.Now()
	}})
	h.sessions, err = session.New(db, keys, root, nil, local, session.Options{Issuer: "https://gatehouse.example", Audience: "gatehouse"})
	must(t, err)
	t.Cleanup(h.sessions.Close)
	limiter := limit.New(nil, limit.Options{Now: func() time.Time { return time.UnixMicro(h.micros.Load()) }})
	h.box = mailbox.New(t, db, ring, local.Bus)
	h.parts = account.Parts{
		DB: db, Ring: ring, Root: root, Hasher: h.hasher, Sessions: h.sessions, Audit: h.audit, Limiter: limiter, Notices: local,
		Queue: h.box.Queue, Post: h.box.Post,
	}
	h.accounts, err = account.New(h.parts, o)
	must(t, err)
	t.Cleanup(h.accounts.Close)
	h.box.Serve(h.accounts)
	h.logins = login.New(db, h.accounts, h.sessions, h.audit, limiter, login.Limits{})
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const secretWord = "Analytical engine no. 1"

var loopback = netip.MustParseAddr("127.0.0.1")

func (h *house) register(email string) (login.Outcome, error) {
	h.Helper()
	return h.logins.Register(h.Context(), login.Registration{
		Registration: account.Registration{Email: email, Password: secretWord},
		Client:       login.Client{Origin: session.Origin{IP: loopback}},
	})
}

// attempt signs in from a device at an address.
func (h *house) attempt(email, word, device, ip string) error {
	h.Helper()
	_, err := h.logins.ByPassword(h.Context(), login.Attempt{
		Email: email, Password: word,
		Client: login.Client{Device: session.Device{ID: device}, Origin: session.Origin{IP: netip.MustParseAddr(ip)}},
	})
	return err
}

func refuse(t testing.TB, what string, err error, code fault.Code) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

func (h *house) signedIn(o login.Outcome) viewer.Viewer {
	h.Helper()
	v, _, err := h.sessions.Authenticate(h.Context(), o.Tokens.Access)
	must(h, err)
	return v
}

func TestAPasswordThatIsChangedWhileItIsCheckedOpensNothing(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		owner, err := h.register("ada@example.com")
		must(t, err)
		looks := 0
		look := func() {
			if looks++; looks == 2 { // the thief's hash is done, their session not yet begun
				must(t, h.accounts.ChangePassword(t.Context(), h.signedIn(owner), secretWord, "Difference engine no. 2"))
			}
		}
		h.hashing.Store(&look)
		refuse(t, "the old password", h.attempt("ada@example.com", secretWord, "", "127.0.0.1"), fault.WrongState)
		live, err := h.sessions.List(t.Context(), h.signedIn(owner), owner.User.ID)
		must(t, err)
		if len(live) != 1 || live[0].ID != owner.Tokens.Session.ID {
			t.Errorf("live sessions: %+v, want the owner's alone", live)
		}
	})
}

func TestWhoRegistersIsSignedInAndCanComeBack(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		first, err := h.register("ada@example.com")
		must(t, err)
		if v := h.signedIn(first); v.User != first.User.ID || !first.SignedIn() || v.Verified {
			t.Errorf("signed in as %+v, want the unconfirmed %s", v, first.User.ID)
		}
		again, err := h.logins.ByPassword(t.Context(), login.Attempt{
			Email: "ADA@example.com", Password: secretWord, Client: login.Client{
				Remember: true, Mode: session.Cookie, Device: session.Device{ID: "laptop", Name: "Ada's laptop"},
				Origin: session.Origin{Agent: "Agent/1", IP: loopback},
			},
		})
		must(t, err)
		s := again.Tokens.Session
		if s.ID == first.Tokens.Session.ID || s.Mode != session.Cookie || !s.Remember || s.Device.Name != "Ada's laptop" {
			t.Errorf("the second session is %+v", s)
		}
		h.signedIn(again)
		entries, err := h.audit.ByUser(t.Context(), viewer.System(), first.User.ID, 10)
		must(t, err)
		var got []audit.Action
		for _, e := range entries {
			got = append(got, e.Action)
		}
		if want := []audit.Action{audit.LoginSucceeded, audit.DeviceNew, audit.LoginSucceeded, audit.AccountRegistered}; !slices.Equal(got, want) {
			t.Errorf("recorded %v, want %v", got, want)
		}
		_, err = h.register("ada@example.com")
		refuse(t, "the same address", err, fault.Taken)
	})
}

func TestWhoLogsOutIsOut(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		in, err := h.register("ada@example.com")
		must(t, err)
		must(t, h.logins.Logout(t.Context(), h.signedIn(in)))
		_, _, err = h.sessions.Authenticate(t.Context(), in.Tokens.Access)
		refuse(t, "the access token", err, fault.Unauthenticated)
		_, err = h.sessions.Refresh(t.Context(), in.Tokens.Refresh, session.Origin{})
		refuse(t, "the refresh token", err, fault.SessionRevoked)
		refuse(t, "nobody", h.logins.Logout(t.Context(), viewer.Viewer{}), fault.Unauthenticated)
	})
}

func TestWhereAddressesAreConfirmedFirstAKnownOneGetsTheSameAnswer(t *testing.T) {
	h := newHouse(t, sqlite(t), account.Options{EmailVerification: account.Required})
	unknown, first := h.register("ada@example.com")
	known, second := h.register("ada@example.com")
	if first != nil || second != nil || unknown.SignedIn() || known.SignedIn() {
		t.Errorf("an unknown address: %v, %v; a known one: %v, %v", unknown, first, known, second)
	}
	if _, err := h.accounts.ByEmail(t.Context(), "ada@example.com"); err != nil {
		t.Errorf("no account was made: %v", err)
	}
}

func TestARefusalTellsAndRecordsTheSameForAKnownAndAnUnknownAddress(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		_, err := h.register("ada@example.com")
		must(t, err)
		known := h.attempt("ada@example.com", "a wrong word", "", "192.0.2.1")
		unknown := h.attempt("eve@example.com", "a wrong word", "", "192.0.2.1")
		refuse(t, "known", known, fault.InvalidCredentials)
		if known.Error() != unknown.Error() {
			t.Errorf("%q differs from %q", known, unknown)
		}
		recorded, err := store.All(t.Context(), h.db, store.SQL(`SELECT actor || COALESCE(subject, '') || network || details
			FROM audit_events WHERE action = 'login.refused' ORDER BY id`), store.Value[string])
		must(t, err)
		if len(recorded) != 2 {
			t.Fatalf("recorded %q, want two refusals", recorded)
		}
		for i, email := range []string{"ada@example.com", "eve@example.com"} {
			want := fmt.Sprintf(`nobody192.0.2.0/24{"identifier":%q,"method":"pwd","reason":"INVALID_CREDENTIALS"}`, h.accounts.Identifier(email))
			if recorded[i] != want {
				t.Errorf("recorded %s, want %s", recorded[i], want)
			}
		}
		for _, private := range []string{"ada@", "eve@", "a wrong word"} {
			if strings.Contains(fmt.Sprint(known, unknown, recorded), private) {
				t.Errorf("%q shows", private)
			}
		}
	})
}

func TestAnAddressAndANetworkAreSlowedButNotThisMachine(t *testing.T) {
	h := newHouse(t, sqlite(t), account.Options{})
	limited := login.New(h.db, h.accounts, h.sessions, h.audit, limit.New(nil, limit.Options{}), login.Limits{
		IP:         limit.Rule{Name: "ip", Limit: 1, Per: time.Hour, Burst: 2},
		Network:    limit.Rule{Name: "network", Limit: 1, Per: time.Hour, Burst: 3},
		RegisterIP: limit.Rule{Name: "register", Limit: 1, Per: time.Hour, Burst: 1},
	})
	attempt := func(i int, ip string) error {
		_, err := limited.ByPassword(t.Context(), login.Attempt{
			Email: fmt.Sprintf("eve%d@example.com", i), Password: "guess",
			Client: login.Client{Origin: session.Origin{IP: netip.MustParseAddr(ip)}},
		})
		return err
	}
	for i, c := range []struct {
		ip   string
		want fault.Code
	}{
		{"192.0.2.1", fault.InvalidCredentials},
		{"192.0.2.1", fault.InvalidCredentials},
		{"::ffff:192.0.2.1", fault.RateLimited},    // the same address
		{"192.0.2.2", fault.InvalidCredentials},    // another of its network
		{"192.0.2.3", fault.RateLimited},           // the network
		{"198.51.100.1", fault.InvalidCredentials}, // another network
		{"127.0.0.1", fault.InvalidCredentials},
		{"127.0.0.1", fault.InvalidCredentials},
		{"::1", fault.InvalidCredentials},
		{"127.0.0.1", fault.InvalidCredentials},
	} {
		refuse(t, fmt.Sprintf("attempt %d from %s", i, c.ip), attempt(i, c.ip), c.want)
	}
	register := func(email string) error {
		_, err := limited.Register(t.Context(), login.Registration{
			Registration: account.Registration{Email: email, Password: secretWord},
			Client:       login.Client{Origin: session.Origin{IP: netip.MustParseAddr("203.0.113.5")}},
		})
		return err
	}
	must(t, register("one@example.com"))
	refuse(t, "a second account", register("two@example.com"), fault.RateLimited)
}

// BenchmarkRefusal prints how much longer a wrong password takes than an unknown address: the ratio of
// the medians over 40 pairs, which is to lie between 0.9 and 1.1.
func BenchmarkRefusal(b *testing.B) {
	h := newHouse(b, sqlite(b), account.Options{})
	_, err := h.register("ada@example.com")
	must(b, err)
	for b.Loop() {
		var known, unknown [40]time.Duration
		for i := range known {
			known[i] = h.timed(b, "ada@example.com")
			unknown[i] = h.timed(b, "eve@example.com")
			h.micros.Add(time.Hour.Microseconds())
		}
		slices.Sort(known[:])
		slices.Sort(unknown[:])
		b.ReportMetric(float64(known[20])/float64(unknown[20]), "known/unknown")
	}
}

func (h *house) timed(b *testing.B, email string) time.Duration {
	begun := time.Now()
	refuse(b, email, h.attempt(email, "a wrong word", "", "192.0.2.1"), fault.InvalidCredentials)
	return time.Since(begun)
}

// BenchmarkLogin prints the sign-ins a second of some callers, and their ratio to the raw hashes a
// second of the same run.
func BenchmarkLogin(b *testing.B) {
	for _, callers := range []int{4, 16} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			h := newHouse(b, sqlite(b), account.Options{})
			_, err := h.register("ada@example.com")
			must(b, err)
			const each = 24
			for b.Loop() {
				raw := perSecond(callers, each, func() {
					must(b, h.hasher.VerifyNothing(b.Context(), secretWord))
				})
				logins := perSecond(callers, each, func() {
					must(b, h.attempt("ada@example.com", secretWord, "", "127.0.0.1"))
				})
				b.ReportMetric(raw, "hashes/s")
				b.ReportMetric(logins, "logins/s")
				b.ReportMetric(logins/raw, "ratio")
			}
		})
	}
}

// perSecond lets callers do work each times and returns how often a second it was done.
func perSecond(callers, each int, work func()) float64 {
	begun := time.Now()
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for range each {
				work()
			}
		})
	}
	wait.Wait()
	return float64(callers*each) / time.Since(begun).Seconds()
}
