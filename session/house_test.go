package session

import (
	"context"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/bus"
	"gatehouse/internal/cache"
	"gatehouse/internal/fault"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/test/services"
)

func TestMain(m *testing.M) { services.Main(m) }

// eachDatabase runs test on an empty, migrated SQLite and PostgreSQL.
func eachDatabase(t *testing.T, test func(t *testing.T, h *house)) {
	t.Helper()
	for name, address := range map[string]func(testing.TB) string{"SQLite": sqlite, "PostgreSQL": services.Postgres} {
		t.Run(name, func(t *testing.T) { test(t, newHouse(t, address(t))) })
	}
}

func sqlite(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") }

// clock is a time that moves when it is told to.
type clock struct{ micros atomic.Int64 }

func (c *clock) now() time.Time          { return time.UnixMicro(c.micros.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.micros.Add(d.Microseconds()) }

// notices is a bus as session wants it. When broken it loses what is published.
type notices struct {
	*bus.Bus
	broken atomic.Bool
}

func (n *notices) Publish(ctx context.Context, topic string, data []byte) error {
	if n.broken.Load() {
		return context.DeadlineExceeded
	}
	return n.Bus.Publish(ctx, topic, data)
}

func (n *notices) Subscribe(ctx context.Context, topic string, deliver func([]byte), gap func()) (func(), error) {
	return n.Bus.Subscribe(ctx, topic, bus.Listener{Deliver: deliver, Gap: gap})
}

// house is one database and what a test needs around it.
type house struct {
	testing.TB
	db       *store.DB
	ring     *secret.Keyring
	root     secret.Key
	clock    *clock
	notices  *notices
	sessions *Sessions // the first server

	mu     sync.Mutex
	events []Event
}

func newHouse(t testing.TB, address string) *house {
	t.Helper()
	db, err := store.Open(t.Context(), address, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	ring, err := secret.NewKeyring(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	h := &house{TB: t, db: db, ring: ring, root: secret.NewKey(), clock: &clock{}, notices: &notices{Bus: bus.Local()}}
	h.clock.micros.Store(1_800_000_000_000_000)
	h.sessions = h.server(nil, h.notices)
	return h
}

// server is one more server of the deployment.
func (h *house) server(remote *cache.Remote, notices Notices) *Sessions {
	h.Helper()
	keys := h.keys(notices)
	s, err := New(h.db, keys, h.root, remote, notices, Options{
		Issuer: "https://gatehouse.example", Audience: "gatehouse", Now: h.clock.now, Audit: h.audit,
	})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(s.Close)
	return s
}

func (h *house) keys(notices Notices) *Keys {
	h.Helper()
	keys, err := OpenKeys(h.Context(), h.db, h.ring, notices, KeyOptions{Now: h.clock.now, Audit: h.audit})
	if err != nil {
		h.Fatal(err)
	}
	return keys
}

// run runs s until the test ends.
func (h *house) run(s *Sessions) {
	h.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	h.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.Errorf("Run = %v", err)
		}
	})
}

func (h *house) audit(_ context.Context, _ *store.Tx, e Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	return nil
}

// actions returns the actions that were recorded since it was last asked.
func (h *house) actions() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var actions []string
	for _, e := range h.events {
		actions = append(actions, e.Action)
	}
	h.events = nil
	return actions
}

var (
	insertUser = store.SQL(`INSERT INTO users (id, email_sealed, email_index, roles, created_at, updated_at)
		VALUES (?, ?, ?, 'ADMIN', 0, 0)`)
	setStatus = store.SQL(`UPDATE users SET status = ?, roles = ? WHERE id = ?`)
	countRows = store.SQL(`SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM refresh_tokens),
		(SELECT count(*) FROM session_outbox)`)
)

func (h *house) update(fn func(tx *store.Tx) error) {
	h.Helper()
	if err := h.db.Update(h.Context(), fn); err != nil {
		h.Fatal(err)
	}
}

func (h *house) exec(q *store.Query, args ...any) {
	h.Helper()
	h.update(func(tx *store.Tx) error {
		_, err := tx.Exec(h.Context(), q, args...)
		return err
	})
}

// rows counts sessions, refresh tokens and notices in the outbox.
func (h *house) rows() [3]int {
	h.Helper()
	n, err := store.One(h.Context(), h.db, countRows, func(scan store.Scan) (n [3]int, err error) {
		err = scan(&n[0], &n[1], &n[2])
		return n, err
	})
	if err != nil {
		h.Fatal(err)
	}
	return n
}

func (h *house) user() viewer.UserID {
	h.Helper()
	id := store.NewID[viewer.UserID]("usr")
	h.exec(insertUser, id, []byte("sealed"), []byte(id))
	return id
}

// login starts a remembered session on the first server.
func (h *house) login(user viewer.UserID) Tokens {
	h.Helper()
	return h.start(Start{User: user, Remember: true})
}

func (h *house) start(start Start) (tokens Tokens) {
	h.Helper()
	start.Level, start.Methods = viewer.AAL1, []string{"pwd"}
	start.Origin = Origin{Agent: "Agent/1", IP: netip.MustParseAddr("192.0.2.7")}
	h.update(func(tx *store.Tx) (err error) {
		tokens, err = h.sessions.StartTx(h.Context(), tx, start)
		return err
	})
	return tokens
}

func (h *house) refresh(held Tokens) Tokens {
	h.Helper()
	next, err := h.tryRefresh(held)
	if err != nil {
		h.Fatalf("refresh: %v", err)
	}
	return next
}

func (h *house) tryRefresh(held Tokens) (Tokens, error) {
	return h.sessions.Refresh(h.Context(), held.Refresh, Origin{IP: netip.MustParseAddr("198.51.100.9")})
}

// refuse fails unless err is a fault of code.
func (h *house) refuse(what string, err error, code fault.Code) {
	h.Helper()
	if !fault.Is(err, code) {
		h.Errorf("%s: got %v, want %s", what, err, code)
	}
}

// viewer is who holds the tokens.
func (h *house) viewer(held Tokens) viewer.Viewer {
	h.Helper()
	v, _, err := h.sessions.Authenticate(h.Context(), held.Access)
	if err != nil {
		h.Fatalf("authenticate: %v", err)
	}
	return v
}

// admitted reports whether s admits the holder, and fails on any other refusal than UNAUTHENTICATED.
func (h *house) admitted(s *Sessions, held Tokens) bool {
	h.Helper()
	_, _, err := s.Authenticate(h.Context(), held.Access)
	if err != nil {
		h.refuse("authenticate", err, fault.Unauthenticated)
	}
	return err == nil
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }
