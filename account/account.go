// Package account is the person behind a sign-in: address, name, password, roles, and whether they may
// come in at all.
//
// # At rest
//
// Address and name are sealed with the deployment's keyring; an address is found by a keyed hash of
// its canonical form ([Accounts.Identifier]), so that a copy of the database names nobody. Passwords
// are argon2id hashes, made and checked by [gatehouse/account/password] before any transaction.
//
// # Silence
//
// [Accounts.ByPassword] costs the same and says the same for an address without an account, a wrong
// password and a disabled account; only who has the password learns that an account is disabled.
//
// # Bounds
//
// An address has at most 254 characters, a name 200. Accounts are kept in memory for at most a minute
// (32 MiB), sealed as they are in the database.
package account

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/account/password"
	"gatehouse/audit"
	"gatehouse/internal/cache"
	"gatehouse/internal/fault"
	"gatehouse/internal/limit"
	"gatehouse/internal/notify"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
	"gatehouse/session"
)

// Status is whether an account may sign in.
type Status string

// The states of an account.
const (
	Active   Status = "ACTIVE"
	Disabled Status = "DISABLED"
)

// User is one account.
type User struct {
	ID        viewer.UserID
	Email     string // as the person wrote it
	Verified  bool   // the address is confirmed
	Name      string // "": not given
	Locale    string // BCP 47
	Roles     []viewer.Role
	Status    Status
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletesAt time.Time // when the account is deleted; zero: it stays

	version int64 // counts the changes of password, roles and status
}

// EmailVerification is when an address must be confirmed.
type EmailVerification string

// The policies: before the first sign-in, or at any later time. With Required the answer to a
// registration does not tell whether the address has an account.
const (
	Optional EmailVerification = "OPTIONAL"
	Required EmailVerification = "REQUIRED"
)

// Parts are what Accounts is built from; all but Remote and Breaches are required.
type Parts struct {
	DB       *store.DB
	Ring     *secret.Keyring // seals addresses and names
	Root     secret.Key      // makes the index of addresses; when it changes, no account is found
	Hasher   *password.Hasher
	Sessions *session.Sessions
	Audit    *audit.Log
	Limiter  *limit.Limiter
	Notices  session.Notices
	Queue    *queue.Queue  // carries messages
	Post     *notify.Post  // says which messages can be sent
	Remote   *cache.Remote // of several servers; nil for one
	Breaches Breaches      // nil: new passwords are held against the embedded list only
}

// Breaches knows passwords that were stolen elsewhere. A service that does not answer knows none.
type Breaches interface {
	Has(ctx context.Context, secret string) bool
}

// Options tunes Accounts; the zero value is a good default.
type Options struct {
	EmailVerification EmailVerification // "": Optional
	Product           string            // no password may be close to it; "": Gatehouse
	MFA               MFA               // the zero value: none is asked for, and none can be enrolled
	PublicURL         string            // where our own pages for links stand; "": http://localhost:8080
	LinkURL           string            // a frontend's pages for links: see CheckLinkURL; "": our own
	MailLimits        MailLimits        // how often somebody may ask for a mail
	Now               func() time.Time  // nil: time.Now
}

// Accounts is the accounts of a deployment. Its methods may be called from many goroutines.
type Accounts struct {
	db       *store.DB
	ring     *secret.Keyring
	hasher   *password.Hasher
	sessions *session.Sessions
	audit    *audit.Log
	limiter  *limit.Limiter
	queue    *queue.Queue
	post     *notify.Post
	breaches Breaches
	o        Options
	index    []byte     // HMAC key of the index of addresses
	codes    secret.Key // HMAC key of codes by mail and SMS
	rows     *cache.Layer[viewer.UserID, row]
}

// New returns the accounts kept in parts.DB.
func New(parts Parts, o Options) (*Accounts, error) {
	if parts.DB == nil || parts.Ring == nil || parts.Hasher == nil || parts.Sessions == nil ||
		parts.Audit == nil || parts.Limiter == nil || parts.Notices == nil || parts.Queue == nil || parts.Post == nil || parts.Root == (secret.Key{}) {
		return nil, errors.New("make accounts: a part is missing")
	}
	if o.EmailVerification == "" {
		o.EmailVerification = Optional
	}
	if o.Product == "" {
		o.Product = "Gatehouse"
	}
	if o.PublicURL == "" {
		o.PublicURL = "http://localhost:8080"
	}
	if o.LinkURL == "" {
		o.LinkURL = o.PublicURL + ownPages
	}
	if err := CheckLinkURL(o.LinkURL); err != nil {
		return nil, fmt.Errorf("make accounts: links: %w", err)
	}
	o.MailLimits = o.MailLimits.withDefaults()
	if o.Now == nil {
		o.Now = time.Now
	}
	index, err := indexKey(parts.Root)
	if err != nil {
		return nil, fmt.Errorf("make accounts: %w", err)
	}
	codes, err := hkdf.Key(sha256.New, parts.Root[:], nil, "gatehouse one-time codes", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("make accounts: %w", err)
	}
	rows, err := newRows(parts.Remote, parts.Notices)
	if err != nil {
		return nil, fmt.Errorf("make accounts: %w", err)
	}
	return &Accounts{
		db: parts.DB, ring: parts.Ring, hasher: parts.Hasher, sessions: parts.Sessions,
		audit: parts.Audit, limiter: parts.Limiter, queue: parts.Queue, post: parts.Post, breaches: parts.Breaches, o: o,
		index: index, codes: secret.Key(codes), rows: rows,
	}, nil
}

// Close ends what the cache of a listens to.
func (a *Accounts) Close() { a.rows.Close() }

// EmailVerification returns the policy in force.
func (a *Accounts) EmailVerification() EmailVerification { return a.o.EmailVerification }

// Get returns the account id. The caller checks who may see it. Fault: NOT_FOUND.
func (a *Accounts) Get(ctx context.Context, id viewer.UserID) (User, error) {
	found, err := a.rows.Get(ctx, id, a.read)
	if errors.Is(err, cache.ErrAbsent) {
		return User{}, fault.Missing("user")
	}
	if err != nil {
		return User{}, fmt.Errorf("read account %s: %w", id, err)
	}
	return a.openCached(ctx, found)
}

// ByIDs returns those of ids that exist: from memory, then from Redis, then in one statement for every
// 500. The caller checks who may see them.
func (a *Accounts) ByIDs(ctx context.Context, ids []viewer.UserID) (map[viewer.UserID]User, error) {
	found, err := a.rows.GetMany(ctx, ids, a.readMany)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	users := make(map[viewer.UserID]User, len(found))
	for id, r := range found {
		if users[id], err = a.openCached(ctx, r); err != nil {
			return nil, err
		}
	}
	return users, nil
}

// ByEmail returns the account of an address. Fault: NOT_FOUND.
func (a *Accounts) ByEmail(ctx context.Context, email string) (User, error) {
	r, err := a.find(ctx, email)
	if errors.Is(err, store.ErrNotFound) {
		return User{}, fault.Missing("user")
	}
	if err != nil {
		return User{}, err
	}
	return a.open(r.row)
}

// IDOf returns the id of the account of an address, or "" when there is none, by the same statement and
// with the same work for both.
func (a *Accounts) IDOf(ctx context.Context, email string) (viewer.UserID, error) {
	id, err := store.One(ctx, a.db, selectIDOf, store.Value[viewer.UserID], a.emailIndex(email))
	if err != nil {
		return "", fmt.Errorf("find account: %w", err)
	}
	return id, nil
}

// find returns the row of an address, or store.ErrNotFound.
func (a *Accounts) find(ctx context.Context, email string) (secretRow, error) {
	found, err := store.One(ctx, a.db, selectByEmail, scanSecret, a.emailIndex(email))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return secretRow{}, fmt.Errorf("find account: %w", err)
	}
	return found, err
}

// changedTx makes every server read the account and the records of its sessions again after tx.
func (a *Accounts) changedTx(ctx context.Context, tx *store.Tx, id viewer.UserID) error {
	tx.AfterCommit(func() {
		// A server that is not told holds the old row for a minute at most; what decides about requests
		// is the session's record, which ForgetTx keeps.
		_ = a.rows.Invalidate(context.WithoutCancel(ctx), id)
	})
	return a.sessions.ForgetTx(ctx, tx, id)
}

// openCached unseals a row of the cache. One that a forgotten secret key sealed was sealed anew in the
// database meanwhile.
func (a *Accounts) openCached(ctx context.Context, r row) (User, error) {
	user, err := a.open(r)
	if !errors.Is(err, secret.ErrUnknownKey) {
		return user, err
	}
	if err := a.rows.Invalidate(ctx, r.ID); err != nil {
		return User{}, fmt.Errorf("read account %s: %w", r.ID, err)
	}
	fresh, err := store.One(ctx, a.db, selectByID, scanRow, r.ID)
	if err != nil {
		return User{}, fmt.Errorf("read account %s: %w", r.ID, err)
	}
	return a.open(fresh)
}

// open unseals a row.
func (a *Accounts) open(r row) (User, error) {
	email, err := a.ring.Open(r.EmailSealed, place(r.ID, "email"))
	if err != nil {
		return User{}, fmt.Errorf("open account %s: %w", r.ID, err)
	}
	var name []byte
	if len(r.NameSealed) > 0 {
		if name, err = a.ring.Open(r.NameSealed, place(r.ID, "name")); err != nil {
			return User{}, fmt.Errorf("open account %s: %w", r.ID, err)
		}
	}
	return User{
		ID: r.ID, Email: string(email), Verified: r.Verified, Name: string(name), Locale: r.Locale,
		Roles: r.roles(), Status: r.Status, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		DeletesAt: r.DeletesAt, version: r.Version,
	}, nil
}

// place names the row and column that a sealed value belongs to.
func place(id viewer.UserID, column string) []byte {
	return []byte("users/" + string(id) + "/" + column)
}

// Now is the clock of the accounts, to the microsecond: login lives by it too.
func (a *Accounts) Now() time.Time { return a.now() }

// Keyring seals what login keeps of a person's way in.
func (a *Accounts) Keyring() *secret.Keyring { return a.ring }

// now is the clock to the microsecond, as moments are stored.
func (a *Accounts) now() time.Time { return a.o.Now().UTC().Truncate(time.Microsecond) }

// row is an account as the database holds it, and as it is cached: sealed.
type row struct {
	ID          viewer.UserID
	EmailSealed []byte
	NameSealed  []byte
	Verified    bool
	Locale      string
	RoleNames   string // separated by spaces, without USER
	Status      Status
	Version     int64
	CreatedAt   time.Time
	UpdatedAt   time.Time
	MustReset   bool      // the password opens nothing until it was replaced
	DeletesAt   time.Time // zero: it stays
}

// secretRow is a row with the hash of its password, which is never cached.
type secretRow struct {
	row
	hash password.Encoded // "": no password
}

func (r row) roles() []viewer.Role {
	roles := []viewer.Role{viewer.User}
	for _, name := range strings.Fields(r.RoleNames) {
		roles = append(roles, viewer.Role(name))
	}
	return roles
}

func newRows(remote *cache.Remote, notices session.Notices) (*cache.Layer[viewer.UserID, row], error) {
	return cache.New(remote, notices, cache.Options[viewer.UserID, row]{
		Name: "users", TTL: time.Minute, MaxBytes: 32 << 20,
		Weigh: func(_ viewer.UserID, r row) int { return 400 + len(r.EmailSealed) + len(r.NameSealed) },
		Key:   func(id viewer.UserID) string { return string(id) },
	})
}
