// Package audit is the append-only record of what happened: who did what to whose account, from
// which network, in which request, and whether it succeeded.
//
// An event is written in the transaction of what it tells ([Log.RecordTx]), so that neither is there
// without the other; a refusal, which changes nothing, is written by itself ([Log.Record]). Events
// carry no secret, no token and no address: an address appears as its keyed hash. Nobody can change or
// delete one: only time does ([Log.Prune]), and when an account is deleted, its events forget whose they
// were ([Log.ForgetTx]). A person sees what concerns the safety of their account ([Log.Security]) and may
// watch it live ([Log.Watch]).
//
// # Bounds
//
// The details of an event are at most 4 KiB of JSON; [Log.ByUser] reads at most 200 events, a page
// has at most 100; a watch holds one goroutine. An event is kept for [Options.Retention].
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Action is what was done, "noun.verb". Actions are only ever added.
type Action string

// The actions.
const (
	AccountRegistered Action = "account.registered"
	AccountDisabled   Action = "account.disabled"
	AccountEnabled    Action = "account.enabled"
	AdminCreated      Action = "admin.created"
	RolesChanged      Action = "roles.changed"
	PasswordChanged   Action = "password.changed"
	LoginSucceeded    Action = "login.succeeded"
	LoginRefused      Action = "login.refused"
	DeviceNew         Action = "device.new" // a sign-in from a device that was not seen for 90 days
	SessionReused     Action = "session.reused"
	SessionRevoked    Action = "session.revoked"
	SessionSuspended  Action = "session.suspended"
	SessionLifted     Action = "session.lifted"
	SessionMoved      Action = "session.moved"
	KeysRotated       Action = "keys.rotated"

	FactorAdded              Action = "factor.added"
	FactorRemoved            Action = "factor.removed"
	FactorsReset             Action = "factors.reset"
	RecoveryCodesRegenerated Action = "recovery-codes.regenerated"
	RecoveryCodeUsed         Action = "recovery-code.used"
	PasskeyCloned            Action = "passkey.cloned"
	DeviceTrusted            Action = "device.trusted"
	DeviceUntrusted          Action = "device.untrusted"
	LoginChallenged          Action = "login.challenged"
	ChallengeRefused         Action = "challenge.refused"
	SteppedUp                Action = "session.stepped-up"
	ProofSent                Action = "proof.sent"    // a link or code was mailed
	ProofRefused             Action = "proof.refused" // a code was wrong
	EmailVerified            Action = "email.verified"
	EmailChangeAsked         Action = "email.change-asked"
	EmailChanged             Action = "email.changed"
	EmailRestored            Action = "email.restored"
	PasswordReset            Action = "password.reset"
	AccountDisowned          Action = "account.disowned" // "this was not me"
	ProfileChanged           Action = "profile.changed"
	ExportAsked              Action = "export.asked"
	DeletionScheduled        Action = "account.deletion-scheduled"
	DeletionCancelled        Action = "account.deletion-cancelled"
	AccountDeleted           Action = "account.deleted"   // of whom, nobody knows any more
	AccountReclaimed         Action = "account.reclaimed" // somebody proved an address that nobody had confirmed
	IdentityLinked           Action = "identity.linked"
	IdentityUnlinked         Action = "identity.unlinked"
	IdentityRefused          Action = "identity.refused" // a link that was asked for and not made
	APIKeyCreated            Action = "apikey.created"
	APIKeyRevoked            Action = "apikey.revoked"
	ServiceAccountCreated    Action = "service.created"
	ServiceAccountRotated    Action = "service.rotated"
	WebhookRotated           Action = "webhook.rotated"
	ServiceAccountDeleted    Action = "service.deleted"
	ClientGranted            Action = "client.granted" // an access token, for the client's secret
	ClientRefused            Action = "client.refused"
	AccountUnlocked          Action = "account.unlocked"
	UserImpersonated         Action = "user.impersonated"     // at the person
	ImpersonationBegun       Action = "impersonation.started" // at the administrator
	KeysReencrypted          Action = "keys.reencrypted"
	MailAsked                Action = "mail.asked" // somebody sends a mail in words of their own
	AccountImported          Action = "account.imported"
	UsersImported            Action = "users.imported" // how many, at the administrator
)

// Outcome is how it ended.
type Outcome string

// The outcomes.
const (
	Succeeded Outcome = "SUCCEEDED"
	Refused   Outcome = "REFUSED"
)

// Actors that are no account.
const (
	system = "system"
	nobody = "nobody"
	gone   = "gone" // an account that was deleted
)

// maxDetails bounds the JSON of an event's details, in bytes.
const maxDetails = 4 << 10

// maxRead bounds how many events are read at once.
const maxRead = 200

// Event is one happening.
type Event struct {
	Action  Action
	Outcome Outcome           // "": Succeeded
	By      viewer.Viewer     // who did it; the zero viewer is nobody
	Subject viewer.UserID     // whose account it concerns; "" for none
	Session viewer.SessionID  // the session it concerns
	Network string            // where it came from, as session.Network gives it
	Details map[string]string // no secrets, no addresses
}

// Entry is an event as it was recorded.
type Entry struct {
	ID        string // "evt_…", sorted by time
	At        time.Time
	Action    Action
	Outcome   Outcome
	Actor     string // an account's id, "system", "nobody", or "gone" for one that was deleted
	Subject   viewer.UserID
	Session   viewer.SessionID
	Network   string
	RequestID string
	Details   map[string]string
}

// Options tunes a Log; the zero value is a good default.
type Options struct {
	Now       func() time.Time                 // nil: time.Now
	Retention time.Duration                    // how long an event is kept; 0: for ever
	RequestID func(ctx context.Context) string // nil: events carry no request id
	Notices   Notices                          // tells watchers; nil: they look now and then
}

// Log is the record kept in one database. Its methods may be called from many goroutines.
type Log struct {
	db *store.DB
	o  Options
}

// New returns the log of db.
func New(db *store.DB, o Options) *Log {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.RequestID == nil {
		o.RequestID = func(context.Context) string { return "" }
	}
	return &Log{db: db, o: o}
}

// Record writes e in a transaction of its own.
func (l *Log) Record(ctx context.Context, e Event) error {
	return l.db.Update(ctx, func(tx *store.Tx) error { return l.RecordTx(ctx, tx, e) })
}

// RecordTx writes e if, and only if, tx is committed.
func (l *Log) RecordTx(ctx context.Context, tx *store.Tx, e Event) error {
	details, err := encodeDetails(withMachine(e))
	if err != nil {
		return fmt.Errorf("record %s: %w", e.Action, err)
	}
	outcome := e.Outcome
	if outcome == "" {
		outcome = Succeeded
	}
	_, err = tx.Exec(ctx, insertEvent, store.NewID[string]("evt"), store.At(l.o.Now()), e.Action, outcome,
		actorOf(e.By), store.OrNull(e.Subject), store.OrNull(e.Session), store.OrNull(e.Network),
		store.OrNull(l.o.RequestID(ctx)), details)
	if err != nil {
		return fmt.Errorf("record %s: %w", e.Action, err)
	}
	l.tellTx(ctx, tx, e.Subject, e.Action)
	return nil
}

// ByUser returns the events that concern user, newest first, at most limit and at most 200; by is user
// or may read all users. Faults: NOT_FOUND, UNAUTHENTICATED.
func (l *Log) ByUser(ctx context.Context, by viewer.Viewer, user viewer.UserID, limit int) ([]Entry, error) {
	if err := mayRead(by, user); err != nil {
		return nil, err
	}
	entries, err := store.All(ctx, l.db, selectByUser, scanEntry, user, min(max(limit, 0), maxRead))
	if err != nil {
		return nil, fmt.Errorf("read events of %s: %w", user, err)
	}
	return entries, nil
}

// Each calls fn with every event that concerns user, oldest first, in pages of 200. The caller checks who
// may see them.
func (l *Log) Each(ctx context.Context, user viewer.UserID, fn func(Entry) error) error {
	last := ""
	for {
		page, err := store.All(ctx, l.db, selectHistory, scanEntry, user, last, maxRead)
		if err != nil {
			return fmt.Errorf("read events of %s: %w", user, err)
		}
		for _, e := range page {
			if err := fn(e); err != nil {
				return err
			}
			last = e.ID
		}
		if len(page) < maxRead {
			return nil
		}
	}
}

// ForgetTx takes from the events that concern user all that tells whose they were: account, session,
// network, request and details. What happened, when, and how it ended, stays.
func (l *Log) ForgetTx(ctx context.Context, tx *store.Tx, user viewer.UserID) error {
	if _, err := tx.Exec(ctx, forgetSubject, user, gone, user); err != nil {
		return fmt.Errorf("forget events of %s: %w", user, err)
	}
	return nil
}

// withMachine is the details of e, and by what an account did it when not in person.
func withMachine(e Event) map[string]string {
	if !e.By.Limited() {
		return e.Details
	}
	details := maps.Clone(e.Details)
	if details == nil {
		details = map[string]string{}
	}
	if e.By.Machine != "" {
		details["machine"] = string(e.By.Machine)
	}
	if e.By.Actor != "" {
		details["as"] = string(e.By.User)
	}
	return details
}

func actorOf(by viewer.Viewer) string {
	switch {
	case by.System:
		return system
	case by.Actor != "": // who really does it; the subject tells as whom
		return string(by.Actor)
	case by.User == "":
		return nobody
	}
	return string(by.User)
}

func encodeDetails(details map[string]string) (string, error) {
	if len(details) == 0 {
		return "{}", nil
	}
	encoded, err := json.Marshal(details)
	if err != nil {
		return "", err
	}
	if len(encoded) > maxDetails {
		return "", fmt.Errorf("details of %d bytes are more than %d", len(encoded), maxDetails)
	}
	return string(encoded), nil
}
