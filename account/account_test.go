package account_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
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
	"gatehouse/session"
	"gatehouse/test/mailbox"
	"gatehouse/test/services"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/crypto/bcrypt"
)

func TestMain(m *testing.M) { services.Main(m) }

func eachDatabase(t *testing.T, test func(t *testing.T, h *house)) {
	t.Helper()
	for name, address := range map[string]func(testing.TB) string{"SQLite": sqlite, "PostgreSQL": services.Postgres} {
		t.Run(name, func(t *testing.T) { test(t, newHouse(t, address(t))) })
	}
}

func sqlite(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") }

type notices struct{ *bus.Bus }

func (n notices) Subscribe(ctx context.Context, topic string, deliver func([]byte), gap func()) (func(), error) {
	return n.Bus.Subscribe(ctx, topic, bus.Listener{Deliver: deliver, Gap: gap})
}

// house is a deployment of one server, with Ada in it when a test registers her.
type house struct {
	testing.TB
	db       *store.DB
	accounts *account.Accounts
	sessions *session.Sessions
	audit    *audit.Log
	box      *mailbox.Box
	parts    account.Parts
}

func newHouse(t testing.TB, address string) *house {
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
	sessions, err := session.New(db, keys, root, nil, local, session.Options{Issuer: "https://gatehouse.example", Audience: "gatehouse"})
	must(t, err)
	t.Cleanup(sessions.Close)
	log := audit.New(db, audit.Options{})
	box := mailbox.New(t, db, ring, local.Bus)
	h := &house{TB: t, db: db, sessions: sessions, audit: log, box: box, parts: account.Parts{
		DB: db, Ring: ring, Root: root, Hasher: password.New(password.Options{}), Sessions: sessions, Audit: log,
		Limiter: limit.New(nil, limit.Options{}), Notices: local, Queue: box.Queue, Post: box.Post,
	}}
	h.open(account.Options{})
	return h
}

// open gives the house accounts with other options.
func (h *house) open(o account.Options) {
	h.Helper()
	accounts, err := account.New(h.parts, o)
	must(h, err)
	h.Cleanup(accounts.Close)
	h.accounts = accounts
	h.box.Serve(accounts)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	adasEmail    = "Ada@Example.com"
	adasPassword = "Analytical engine no. 1"
)

func (h *house) register(r account.Registration) (user account.User, err error) {
	h.Helper()
	newcomer, err := h.accounts.Prepare(h.Context(), r)
	if err != nil {
		return user, err
	}
	err = h.db.Update(h.Context(), func(tx *store.Tx) (err error) {
		user, err = h.accounts.RegisterTx(h.Context(), tx, newcomer, "192.0.2.0/24")
		return err
	})
	return user, err
}

func (h *house) ada() account.User {
	h.Helper()
	user, err := h.register(account.Registration{Email: adasEmail, Password: adasPassword, Name: "Ada Lovelace", Locale: "en-GB"})
	must(h, err)
	return user
}

// login starts a session of user and returns the viewer behind it, and a way to ask whether it lives.
func (h *house) login(user account.User) (viewer.Viewer, func() bool) {
	h.Helper()
	var tokens session.Tokens
	must(h, h.db.Update(h.Context(), func(tx *store.Tx) (err error) {
		tokens, err = h.sessions.StartTx(h.Context(), tx, session.Start{
			User: user.ID, Level: viewer.AAL1, Methods: []string{"pwd"}, Origin: session.Origin{IP: netip.MustParseAddr("192.0.2.7")},
		})
		return err
	}))
	v, _, err := h.sessions.Authenticate(h.Context(), tokens.Access)
	must(h, err)
	return v, func() bool {
		_, _, err := h.sessions.Authenticate(h.Context(), tokens.Access)
		return err == nil
	}
}

// refuse fails unless err is a fault of code at field.
func refuse(t testing.TB, what string, err error, code fault.Code, field string) {
	t.Helper()
	f, ok := fault.As(err)
	if !ok || f.Code != code || strings.Join(f.Field, ".") != field {
		t.Errorf("%s: got %v, want %s at %q", what, err, code, field)
	}
}

func (h *house) actions(user viewer.UserID) (actions []audit.Action) {
	h.Helper()
	entries, err := h.audit.ByUser(h.Context(), viewer.System(), user, 100)
	must(h, err)
	for _, e := range slices.Backward(entries) {
		actions = append(actions, e.Action)
	}
	return actions
}

func TestAnAccountIsFoundByAnySpellingOfItsAddress(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		ada := h.ada()
		want := account.User{
			ID: ada.ID, Email: adasEmail, Name: "Ada Lovelace", Locale: "en-GB", Roles: []viewer.Role{viewer.User},
			Status: account.Active, CreatedAt: ada.CreatedAt, UpdatedAt: ada.UpdatedAt,
		}
		for _, spelling := range []string{adasEmail, "ada@example.com", " ADA@EXAMPLE.COM\n"} {
			got, err := h.accounts.ByEmail(t.Context(), spelling)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(account.User{})); err != nil || diff != "" {
				t.Errorf("by %q: %v (-want +got):\n%s", spelling, err, diff)
			}
			if h.accounts.Identifier(spelling) != h.accounts.Identifier(adasEmail) {
				t.Errorf("%q has another identifier", spelling)
			}
		}
		got, err := h.accounts.Get(t.Context(), ada.ID)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(account.User{})); err != nil || diff != "" {
			t.Errorf("by id: %v (-want +got):\n%s", err, diff)
		}
		all, err := h.accounts.ByIDs(t.Context(), []viewer.UserID{"usr_none", ada.ID, ada.ID})
		if err != nil || len(all) != 1 || all[ada.ID].Email != adasEmail {
			t.Errorf("by ids: %v, %v", all, err)
		}
		_, err = h.accounts.Get(t.Context(), "usr_none")
		refuse(t, "no such id", err, fault.NotFound, "")
		_, err = h.accounts.ByEmail(t.Context(), "eve@example.com")
		refuse(t, "no such address", err, fault.NotFound, "")
	})
}

func TestLettersThatOnlyLookLikeASCIIAreNoSpellingOfAnAddress(t *testing.T) {
	h := newHouse(t, sqlite(t))
	for _, row := range []struct{ typed, other string }{
		{"mi\u212ae@example.com", "mike@example.com"},        // KELVIN SIGN: NFC makes a K of it
		{"\u0130da@example.com", "i\u0307da@example.com"},    // I WITH DOT ABOVE: small, it is two letters
		{"ad\u037ea@example.com", "ad;a@example.com"},        // GREEK QUESTION MARK: NFC makes a semicolon of it
		{"\u00c9mile@example.com", "\u00e9mile@example.com"}, // beyond ASCII case counts
	} {
		if h.accounts.Identifier(row.typed) == h.accounts.Identifier(row.other) {
			t.Errorf("%+q is found by %+q", row.other, row.typed)
		}
	}
	if h.accounts.Identifier("e\u0301mile@example.com") != h.accounts.Identifier("\u00e9MILE@example.com") {
		t.Error("an accent that is typed by itself makes another address")
	}
	_, err := h.register(account.Registration{Email: "mi\u212ae@example.com", Password: adasPassword})
	refuse(t, "an address with a KELVIN SIGN", err, fault.Invalid, "email")
}

func TestTheDatabaseNamesNobody(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.ada()
	dump, err := store.One(t.Context(), h.db, store.SQL(`SELECT CAST(email_sealed AS TEXT) || CAST(name_sealed AS TEXT)
		|| hex(email_index) || password_hash || (SELECT group_concat(details) FROM audit_events) FROM users`), store.Value[string])
	must(t, err)
	for _, shown := range []string{"ada", "Ada", "Lovelace", "Analytical"} {
		if strings.Contains(dump, shown) {
			t.Errorf("%q stands in the database", shown)
		}
	}
}

func TestASealedAddressOpensInNoOtherRow(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.ada()
	eve, err := h.register(account.Registration{Email: "eve@example.com", Password: "an eavesdropper's word"})
	must(t, err)
	must(t, h.db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), store.SQL(`UPDATE users SET email_sealed = (SELECT email_sealed FROM users WHERE id <> ?) WHERE id = ?`), eve.ID, eve.ID)
		return err
	}))
	if got, err := h.accounts.Get(t.Context(), eve.ID); !errors.Is(err, secret.ErrTampered) {
		t.Errorf("Eve's row with Ada's address opens: %v, %v", got, err)
	}
}

func TestARegistrationIsRefusedByFieldAndReason(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.ada()
	good := account.Registration{Email: "eve@example.com", Password: "an eavesdropper's word"}
	for _, c := range []struct {
		name  string
		spoil func(r *account.Registration)
		code  fault.Code
		field string
	}{
		{"no address", func(r *account.Registration) { r.Email = " " }, fault.Required, "email"},
		{"no at sign", func(r *account.Registration) { r.Email = "eve" }, fault.Invalid, "email"},
		{"a display name", func(r *account.Registration) { r.Email = "Eve <eve@example.com>" }, fault.Invalid, "email"},
		{"two addresses", func(r *account.Registration) { r.Email = "eve@example.com, ada@example.com" }, fault.Invalid, "email"},
		{"a line break", func(r *account.Registration) { r.Email = "eve@example.com\nBcc: ada@example.com" }, fault.Invalid, "email"},
		{"a domain of one label", func(r *account.Registration) { r.Email = "eve@intranet" }, fault.Invalid, "email"},
		{"a domain in other letters", func(r *account.Registration) { r.Email = "eve@exämple.com" }, fault.Invalid, "email"},
		{"an IP address", func(r *account.Registration) { r.Email = "eve@[192.0.2.1]" }, fault.Invalid, "email"},
		{"a long local part", func(r *account.Registration) { r.Email = strings.Repeat("e", 65) + "@example.com" }, fault.Invalid, "email"},
		{"a long address", func(r *account.Registration) { r.Email = "e@" + strings.Repeat("example.", 40) + "com" }, fault.TooLong, "email"},
		{"a known address", func(r *account.Registration) { r.Email = "ADA@example.com" }, fault.Taken, "email"},
		{"a short password", func(r *account.Registration) { r.Password = "short" }, fault.TooShort, "password"},
		{"a long password", func(r *account.Registration) { r.Password = strings.Repeat("long ", 30) }, fault.TooLong, "password"},
		{"a common password", func(r *account.Registration) { r.Password = "password1" }, fault.WeakPassword, "password"},
		{"the address as password", func(r *account.Registration) { r.Password = "eve@example.com" }, fault.WeakPassword, "password"},
		{"a long name", func(r *account.Registration) { r.Name = strings.Repeat("ä", 201) }, fault.TooLong, "name"},
		{"a name with a line break", func(r *account.Registration) { r.Name = "Eve\nEve" }, fault.Invalid, "name"},
		{"no language", func(r *account.Registration) { r.Locale = "en_GB" }, fault.Invalid, "locale"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := good
			c.spoil(&r)
			_, err := h.register(r)
			refuse(t, fmt.Sprintf("%+v", r), err, c.code, c.field)
			for _, private := range []string{r.Email, r.Password} {
				if len(private) > 8 && err != nil && strings.Contains(err.Error(), private) {
					t.Errorf("the error shows %q", private)
				}
			}
		})
	}
	good.Email, good.Name = "eve@localhost", strings.Repeat("ä", 200)
	if _, err := h.register(good); err != nil {
		t.Errorf("a good registration: %v", err)
	}
}

func TestThePasswordOpensAndNothingElseDoes(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		ada := h.ada()
		got, err := h.accounts.ByPassword(t.Context(), "ada@example.com", adasPassword)
		if err != nil || got.ID != ada.ID {
			t.Errorf("the right password: %v, %v", got.ID, err)
		}
		_, wrong := h.accounts.ByPassword(t.Context(), adasEmail, adasPassword+"!")
		_, unknown := h.accounts.ByPassword(t.Context(), "eve@example.com", adasPassword)
		refuse(t, "a wrong password", wrong, fault.InvalidCredentials, "")
		refuse(t, "an unknown address", unknown, fault.InvalidCredentials, "")
		if wrong.Error() != unknown.Error() {
			t.Errorf("%q differs from %q", wrong, unknown)
		}
	})
}

func TestOnlyThePasswordTellsThatAnAccountIsDisabled(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		ada := h.ada()
		_, lives := h.login(ada)
		must(t, h.accounts.Disable(t.Context(), viewer.System(), ada.ID))
		if lives() {
			t.Error("a session of a disabled account lives")
		}
		_, err := h.accounts.ByPassword(t.Context(), adasEmail, "wrong")
		refuse(t, "a wrong password", err, fault.InvalidCredentials, "")
		_, err = h.accounts.ByPassword(t.Context(), adasEmail, adasPassword)
		refuse(t, "the right password", err, fault.AccountDisabled, "")
		must(t, h.accounts.Enable(t.Context(), viewer.System(), ada.ID))
		if _, err = h.accounts.ByPassword(t.Context(), adasEmail, adasPassword); err != nil {
			t.Errorf("enabled again: %v", err)
		}
	})
}

func TestAnOldHashIsReplacedAtTheNextSignIn(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		ada := h.ada()
		old, err := bcrypt.GenerateFromPassword([]byte(adasPassword), bcrypt.MinCost)
		must(t, err)
		must(t, h.db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), store.SQL(`UPDATE users SET password_hash = ? WHERE id = ?`), string(old), ada.ID)
			return err
		}))
		for range 2 {
			_, err = h.accounts.ByPassword(t.Context(), adasEmail, adasPassword)
			must(t, err)
		}
		kept, err := store.One(t.Context(), h.db, store.SQL(`SELECT password_hash FROM users WHERE id = ?`), store.Value[string], ada.ID)
		if err != nil || !strings.HasPrefix(kept, "$argon2id$") {
			t.Errorf("the hash is %.10s…, %v; want argon2id", kept, err)
		}
	})
}

func TestAChangedPasswordEndsTheOtherSessionsAndKeepsTheOneThatAsks(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		ada := h.ada()
		by, mine := h.login(ada)
		_, other := h.login(ada)
		const fresh = "Difference engine no. 2"
		must(t, h.accounts.ChangePassword(t.Context(), by, adasPassword, fresh))
		if !mine() || other() {
			t.Errorf("mine lives: %v, the other: %v; want true, false", mine(), other())
		}
		_, err := h.accounts.ByPassword(t.Context(), adasEmail, adasPassword)
		refuse(t, "the old password", err, fault.InvalidCredentials, "")
		if _, err := h.accounts.ByPassword(t.Context(), adasEmail, fresh); err != nil {
			t.Errorf("the new password: %v", err)
		}
		want := []audit.Action{audit.AccountRegistered, audit.PasswordChanged}
		if got := h.actions(ada.ID); !slices.Equal(got, want) {
			t.Errorf("recorded %v, want %v", got, want)
		}
	})
}

func TestAPasswordIsNotChangedWithoutTheCurrentOneOrForABadOne(t *testing.T) {
	h := newHouse(t, sqlite(t))
	by, _ := h.login(h.ada())
	change := func(current, fresh string) error { return h.accounts.ChangePassword(t.Context(), by, current, fresh) }
	refuse(t, "a short one", change(adasPassword, "short"), fault.TooShort, "newPassword")
	refuse(t, "her name", change(adasPassword, "adalovelace1"), fault.WeakPassword, "newPassword")
	refuse(t, "the product", change(adasPassword, "gatehouse123"), fault.WeakPassword, "newPassword")
	refuse(t, "the same", change(adasPassword, adasPassword), fault.Invalid, "newPassword")
	refuse(t, "nobody", h.accounts.ChangePassword(t.Context(), viewer.Viewer{}, "", ""), fault.Unauthenticated, "")
	for range 4 { // the fifth attempt that counts was the same password
		refuse(t, "a guess", change("a guess at it", "Difference engine no. 2"), fault.InvalidCredentials, "currentPassword")
	}
	refuse(t, "one guess more", change(adasPassword, "Difference engine no. 2"), fault.RateLimited, "")
}

func TestTheFirstAdministratorIsMadeOnceAndAnAccountOnlyWithTheFlag(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		root, err := h.accounts.CreateAdmin(ctx, "root@example.com", "keys of the whole house", "Root", false)
		must(t, err)
		if !root.Verified || !slices.Contains(root.Roles, viewer.Admin) {
			t.Errorf("made %+v, want a confirmed administrator", root)
		}
		_, err = h.accounts.CreateAdmin(ctx, "root@example.com", "keys of the whole house", "Root", false)
		refuse(t, "again", err, fault.Taken, "email")
		h.mailing(account.Options{})
		ada, by, lives := h.settledAda()
		if by.Has(viewer.Admin) {
			t.Fatal("Ada is an administrator already")
		}
		promoted, err := h.accounts.CreateAdmin(ctx, adasEmail, "", "", true)
		must(t, err)
		if !promoted.Verified || !slices.Contains(promoted.Roles, viewer.Admin) || promoted.Name != "Ada Lovelace" || !lives() {
			t.Errorf("promoted %+v, signed in: %v", promoted, lives())
		}
		if got := h.actions(ada.ID); !slices.Contains(got, audit.AdminCreated) {
			t.Errorf("recorded %v, want %s", got, audit.AdminCreated)
		}
	})
}

func TestOnlyAnAdministratorAdministersAndNeverDropsOut(t *testing.T) {
	eachDatabase(t, func(t *testing.T, h *house) {
		ctx, ada := t.Context(), h.ada()
		root, err := h.accounts.CreateAdmin(ctx, "root@example.com", "keys of the whole house", "Root", false)
		must(t, err)
		admin, _ := h.login(root)
		user, _ := h.login(ada)
		before, err := h.accounts.Get(ctx, ada.ID)
		must(t, err)
		for name, refused := range map[string]error{
			"roles": h.accounts.SetRoles(ctx, user, ada.ID, []viewer.Role{viewer.Admin}), "disable": h.accounts.Disable(ctx, user, root.ID),
			"enable": h.accounts.Enable(ctx, user, ada.ID),
		} {
			refuse(t, name+" by a user", refused, fault.Forbidden, "")
		}
		refuse(t, "by nobody", h.accounts.SetRoles(ctx, viewer.Viewer{}, ada.ID, nil), fault.Unauthenticated, "")
		refuse(t, "no such role", h.accounts.SetRoles(ctx, admin, ada.ID, []viewer.Role{"ROOT"}), fault.Invalid, "roles")
		refuse(t, "no such user", h.accounts.SetRoles(ctx, admin, "usr_none", nil), fault.NotFound, "")
		refuse(t, "one's own role", h.accounts.SetRoles(ctx, admin, root.ID, nil), fault.WrongState, "roles")
		refuse(t, "oneself", h.accounts.Disable(ctx, admin, root.ID), fault.WrongState, "")
		must(t, h.accounts.SetRoles(ctx, admin, ada.ID, []viewer.Role{viewer.Developer, viewer.User, viewer.Developer}))
		after, err := h.accounts.Get(ctx, ada.ID)
		must(t, err)
		if want := []viewer.Role{viewer.User, viewer.Developer}; !slices.Equal(after.Roles, want) || len(before.Roles) != 1 {
			t.Errorf("roles %v, before %v; want %v", after.Roles, before.Roles, want)
		}
	})
}

func TestAFullLineOfHashesTurnsAwayForKnownAndUnknownAddressesAlike(t *testing.T) {
	h := newHouse(t, sqlite(t))
	h.ada()
	h.parts.Hasher = password.New(password.Options{Slots: 1, Queue: 1, MaxWait: time.Nanosecond})
	accounts, err := account.New(h.parts, account.Options{})
	must(t, err)
	t.Cleanup(accounts.Close)
	for _, email := range []string{adasEmail, "eve@example.com"} {
		results := make(chan error)
		for range 3 {
			go func() {
				_, err := accounts.ByPassword(t.Context(), email, "a wrong word")
				results <- err
			}()
		}
		var busy int
		for range 3 {
			err := <-results
			if f, ok := fault.As(err); ok && f.Code == fault.Unavailable && f.RetryAfter > 0 {
				busy++
			} else if !fault.Is(err, fault.InvalidCredentials) {
				t.Error(err)
			}
		}
		if busy == 0 {
			t.Errorf("%s: three sign-ins in a line for one and none was turned away", email)
		}
	}
}

func FuzzRegistrationAddress(f *testing.F) {
	h := newHouse(f, sqlite(f))
	for _, seed := range []string{adasEmail, "a@b", "\"a b\"@example.com", "ä@example.com", "a@xn--exmple-cua.com", "a@b.c\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, email string) {
		_, err := h.accounts.Prepare(t.Context(), account.Registration{Email: email, Password: "x"})
		refused, _ := fault.As(err) // the password at the latest
		if refused == nil {
			t.Fatalf("%q: %v", email, err)
		}
		if refused.Field[0] == "password" && strings.ContainsAny(email[:len(email)-1], "\x00\r") {
			t.Errorf("%q is taken as an address", email)
		}
	})
}
