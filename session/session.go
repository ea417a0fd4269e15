// Package session knows who is signed in, on what device, and until when; and which machines may act
// for whom.
//
// # A session
//
// A session is one row: a user, how they proved who they are, where, and when it ends. [Sessions]
// starts one ([Sessions.StartTx]), answers for each request whose it is ([Sessions.Authenticate]),
// renews its tokens ([Sessions.Refresh]) and ends it ([Sessions.Revoke] and its kin). The holder has
// two tokens: a signed access token of ten minutes and an opaque refresh token that is good once.
//
// # Revocation
//
// A request is checked against the session's record, which is kept in memory and, in a deployment
// of several servers, in Redis. Whatever changes a record writes a row of the outbox in the same
// transaction, makes every server forget the record right after the commit, and once more a second
// later: the second time makes up for a crash or a Redis that did not answer, and carries what another
// program on the same database has changed. [Sessions.Watch] tells long connections.
//
// # Compromise
//
// A session belongs to the device and browser that it began with. Used with others ([Sessions.Admit],
// [Sessions.Refresh]) it is suspended: it answers STEP_UP_REQUIRED on every server, what is open ends,
// and its owner is told. [Sessions.LiftTx], or a sign-in on the same device, ends that. Another network
// alone is only recorded.
//
// # Machines
//
// An API key acts for its owner, a service account for itself, each within its scopes and never beyond
// its owner's ([Sessions.CreateAPIKey], [Sessions.CreateServiceAccount], [Sessions.Grant]). Their records
// lie beside those of sessions and end by the same notices. They belong to no device.
//
// # Bounds
//
// A user has at most 100 live sessions, the oldest giving way; a session keeps at most 1,100
// generations of its refresh token; the record of a session is at most [Options.RecordTTL] old, 5 s
// where there are several servers and 1 s where they cannot reach each other; 10,000 sessions may wait to have their last use written; of a user 100
// devices are known, for 90 days each. Signing keys: see [Keys].
package session

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/internal/cache"
	"gatehouse/internal/limit"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"
)

// Mode is how the holder keeps the tokens.
type Mode string

// The modes: the client keeps them itself, or the browser does in cookies.
const (
	Bearer Mode = "BEARER"
	Cookie Mode = "COOKIE"
)

// Reason is why a session ended.
type Reason string

// The reasons.
const (
	SignedOut       Reason = "SIGNED_OUT"
	Revoked         Reason = "REVOKED" // by its owner, from another session
	RevokedByAdmin  Reason = "REVOKED_BY_ADMIN"
	Reused          Reason = "REUSED" // a refresh token came a second time
	PasswordChanged Reason = "PASSWORD_CHANGED"
	AccountDisabled Reason = "ACCOUNT_DISABLED"
	Replaced        Reason = "REPLACED"    // the user signed in too many times
	Compromised     Reason = "COMPROMISED" // somebody else may have been in the account
	AccountDeleted  Reason = "ACCOUNT_DELETED"
	Expired         Reason = "EXPIRED"
	Reclaimed       Reason = "RECLAIMED" // somebody proved that the account's address is theirs

	// Suspended is no end: the session waits for its holder to prove who they are, but nothing that is
	// open goes on.
	Suspended     Reason = "SUSPENDED"
	DeviceChanged Reason = "DEVICE_CHANGED" // why it was suspended: another device id
	AgentChanged  Reason = "AGENT_CHANGED"  // another browser or system

	// RolesChanged ends what was opened with other roles; the session itself goes on.
	RolesChanged Reason = "ROLES_CHANGED"
)

// Device is what the client says of the machine it runs on; both parts may be empty.
type Device struct {
	ID   string // chosen by the client, the same at each sign-in; at most 100 characters
	Name string // for people; at most 100 characters
}

// Origin is where a request comes from.
type Origin struct {
	Agent    string     // User-Agent; 200 characters of it are kept
	IP       netip.Addr // only its network is kept: see Network
	DeviceID string     // as the request names it; "": it does not
}

// Session is one signed-in session.
type Session struct {
	ID       viewer.SessionID
	User     viewer.UserID
	Version  int64 // an access token of an older version is refused
	Mode     Mode
	Level    viewer.Level
	Methods  []string // RFC 8176
	AuthTime time.Time
	Remember bool
	Device   Device
	Agent    string
	Network  string // where it was last seen

	CreatedAt  time.Time
	LastSeenAt time.Time // to the minute
	ExpiresAt  time.Time // when it ends unless it is renewed
	RevokedAt  time.Time // zero while it lives
	Reason     Reason    // why it was revoked

	SuspendedAt time.Time // zero unless its holder must prove who they are

	Actor    viewer.UserID // the administrator who acts as User; "": the person themself
	ReadOnly bool          // Actor may change nothing
}

// Tokens is what the holder of a session is given.
type Tokens struct {
	Access           string
	AccessExpiresAt  time.Time
	Refresh          string
	RefreshExpiresAt time.Time
	Session          Session
}

// String hides the tokens from fmt.
func (t Tokens) String() string { return "[tokens of " + string(t.Session.ID) + "]" }

// GoString hides the tokens from %#v.
func (t Tokens) GoString() string { return t.String() }

// LogValue hides the tokens from slog.
func (t Tokens) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Notices carries a message to every server of the deployment, this one included.
type Notices interface {
	Publish(ctx context.Context, topic string, data []byte) error
	// Subscribe calls deliver for each message and gap when some may have been missed, until
	// unsubscribe is called. Neither function blocks.
	Subscribe(ctx context.Context, topic string, deliver func(data []byte), gap func()) (unsubscribe func(), err error)
}

// Event is a happening that the record of what happened should hold.
type Event struct {
	Action  string // one of the actions below
	By      viewer.Viewer
	User    viewer.UserID
	Session viewer.SessionID
	Network string
	From    string // the network before, of ActionMoved
	Agent   string // the browser and system, or the program, that was there
	Reason  Reason
	Count   int // sessions concerned
	Refused bool
	Machine string            // what its owner calls the API key or service account; it is told and not recorded
	Details map[string]string // more than the fields above; no secrets, no addresses
}

// Audit writes e in tx; it stands here because session may not know the package that keeps events.
type Audit func(ctx context.Context, tx *store.Tx, e Event) error

// The actions of events.
const (
	ActionReused    = "session.reused"
	ActionRevoked   = "session.revoked"
	ActionSuspended = "session.suspended"
	ActionLifted    = "session.lifted"
	ActionMoved     = "session.moved" // it was used in another network
	ActionRotated   = "keys.rotated"

	ActionKeyCreated     = "apikey.created"
	ActionKeyRevoked     = "apikey.revoked"
	ActionServiceCreated = "service.created"
	ActionServiceRotated = "service.rotated"
	ActionServiceDeleted = "service.deleted"
	ActionWebhookRotated = "webhook.rotated"
	ActionGranted        = "client.granted"
	ActionGrantRefused   = "client.refused"
)

// MachineTTL is the life of an access token of a service account.
const MachineTTL = 10 * time.Minute

// Options tunes Sessions. Issuer and Audience are required; the rest has a good default at zero.
type Options struct {
	Issuer   string // iss of access tokens: the public URL
	Audience string // aud of access tokens

	AccessTTL   time.Duration // of an access token; 0: 10 min
	IdleTTL     time.Duration // of a remembered session since it was last renewed; 0: 14 days
	AbsoluteTTL time.Duration // of a remembered session since it began; 0: 30 days
	ShortTTL    time.Duration // of a session not remembered since it began; 0: 1 day
	Grace       time.Duration // in which a used refresh token gives its successor again; 0: 10 s; below 0: none
	RecordTTL   time.Duration // how long a session's record is kept unless it changes; 0: 10 s
	MaxPerUser  int           // live sessions; 0: 100
	Environment Environment   // in API keys; "": Test

	Limiter *limit.Limiter   // of the token endpoint; nil: no limits
	Now     func() time.Time // nil: time.Now
	Audit   Audit            // nil: events are dropped
	Tell    Audit            // tells the person of a session reused or suspended and of a machine's new secret, in the same transaction; nil: nobody does
	Logger  *slog.Logger     // nil: silent
}

func (o Options) withDefaults() Options {
	o.AccessTTL = orDefault(o.AccessTTL, 10*time.Minute)
	o.IdleTTL = orDefault(o.IdleTTL, 14*24*time.Hour)
	o.AbsoluteTTL = orDefault(o.AbsoluteTTL, 30*24*time.Hour)
	o.ShortTTL = orDefault(o.ShortTTL, 24*time.Hour)
	o.Grace = orDefault(o.Grace, 10*time.Second)
	o.RecordTTL = orDefault(o.RecordTTL, 10*time.Second)
	o.MaxPerUser = orDefault(o.MaxPerUser, 100)
	o.Environment = orDefault(o.Environment, Test)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Audit == nil {
		o.Audit = func(context.Context, *store.Tx, Event) error { return nil }
	}
	if o.Tell == nil {
		o.Tell = func(context.Context, *store.Tx, Event) error { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Sessions is the sessions of a deployment. Its methods may be called from many goroutines.
type Sessions struct {
	db        *store.DB
	keys      *Keys
	notices   Notices
	o         Options
	successor []byte // HMAC key that makes a refresh token's successor
	webhooks  []byte // HMAC key that makes the secrets of webhooks
	verified  *cache.Layer[token.OpaqueHash, verified]
	records   *cache.Layer[viewer.SessionID, record]
	load      func(context.Context, viewer.SessionID) (record, error) // loadRecord, made once
	watchers  watchers
	seen      seen
}

// New returns the sessions kept in db. root is a secret that all servers of the deployment share;
// remote is their common cache, nil for a single server.
func New(db *store.DB, keys *Keys, root secret.Key, remote *cache.Remote, notices Notices, o Options) (*Sessions, error) {
	if o.Issuer == "" || o.Audience == "" {
		return nil, errors.New("make sessions: options lack issuer or audience")
	}
	o = o.withDefaults()
	successor, err := hkdf.Key(sha256.New, root[:], nil, "gatehouse refresh token successor", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("make sessions: %w", err)
	}
	webhooks, err := hkdf.Key(sha256.New, root[:], nil, "gatehouse webhook secrets", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("make sessions: %w", err)
	}
	s := &Sessions{db: db, keys: keys, notices: notices, o: o, successor: successor, webhooks: webhooks, watchers: newWatchers()}
	if s.verified, err = newVerified(o.Now); err != nil {
		return nil, fmt.Errorf("make sessions: %w", err)
	}
	if s.records, err = newRecords(remote, notices, o); err != nil {
		return nil, fmt.Errorf("make sessions: %w", err)
	}
	s.load = s.loadRecord
	return s, nil
}

// Close ends what the caches of s listen to. It is called after Run has returned.
func (s *Sessions) Close() {
	s.records.Close()
	s.verified.Close()
}

// Network returns the part of ip that is kept and compared: the /24 of an IPv4 address, the /48 of
// an IPv6 address, "" for the zero address.
func Network(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	ip = ip.Unmap().WithZone("")
	bits := 48
	if ip.Is4() {
		bits = 24
	}
	prefix, _ := ip.Prefix(bits) // fails for more bits than there are
	return prefix.String()
}

// recordTx has e recorded, and the person told who should know.
func (s *Sessions) recordTx(ctx context.Context, tx *store.Tx, e Event) error {
	if err := s.o.Audit(ctx, tx, e); err != nil {
		return err
	}
	switch e.Action {
	case ActionReused, ActionSuspended, ActionKeyCreated, ActionServiceCreated, ActionServiceRotated:
		return s.o.Tell(ctx, tx, e)
	}
	return nil
}

// cut returns at most n characters of text, which is made valid UTF-8 without NUL, so that both
// databases take it.
func cut(text string, n int) string {
	if len(text) > utf8.UTFMax*n {
		text = text[:utf8.UTFMax*n]
	}
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n])
	}
	return text
}
