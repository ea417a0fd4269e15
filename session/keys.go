package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"
)

// keysTopic tells every server that the signing keys have changed.
const keysTopic = "session.keys"

// reloadEvery is how old the keys in memory may be.
const reloadEvery = 30 * time.Second

// unknownEvery bounds how often a token that names an unknown key makes us read the keys again.
const unknownEvery = time.Second

// maxRetired is how many keys may wait for their last tokens to expire: with current and next they
// fill a key set.
const maxRetired = token.MaxKeys - 2

// KeyOptions tunes Keys; the zero value is a good default.
type KeyOptions struct {
	Algorithm token.Algorithm  // of keys that are made; "": EdDSA
	AccessTTL time.Duration    // longest life of a token that the keys sign; 0: 10 min
	Now       func() time.Time // nil: time.Now
	Audit     Audit            // nil: events are dropped
}

// Keys is the signing keys of a deployment, kept sealed in its database. There is one that signs, the
// next one, which verifiers can already read, and the retired ones, whose private half is gone and
// which verify until the last token they signed has expired. Every server reads them again at most
// 30 s after a change, on the notice of it, and when a token names a key it does not know.
type Keys struct {
	db      *store.DB
	ring    *secret.Keyring
	notices Notices
	o       KeyOptions

	loaded  atomic.Pointer[keySet]
	changed chan struct{} // holds one value when another server has changed the keys

	mu      sync.Mutex // held by the one that reads for an unknown key
	askedAt time.Time  // when it last did
}

// keySet is the keys and the document that shows them.
type keySet struct {
	set  token.KeySet
	jwks []byte
}

// OpenKeys reads the keys of db, and makes them on the deployment's first start; of several servers
// that start at once, one does.
func OpenKeys(ctx context.Context, db *store.DB, ring *secret.Keyring, notices Notices, o KeyOptions) (*Keys, error) {
	o.Algorithm = orDefault(o.Algorithm, token.EdDSA)
	o.AccessTTL = orDefault(o.AccessTTL, 10*time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Audit == nil {
		o.Audit = Options{}.withDefaults().Audit
	}
	k := &Keys{db: db, ring: ring, notices: notices, o: o, changed: make(chan struct{}, 1)}
	err := k.Reload(ctx)
	if errors.Is(err, errNoKeys) {
		if err = k.create(ctx); err == nil {
			err = k.Reload(ctx)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open signing keys: %w", err)
	}
	return k, nil
}

// Set returns the keys: it signs with one and verifies with all.
func (k *Keys) Set() token.KeySet { return k.loaded.Load().set }

// JWKS returns the JSON Web Key Set (RFC 7517 §5) for verifiers; it is read only.
func (k *Keys) JWKS() []byte { return k.loaded.Load().jwks }

// Rotate signs with the next key from now on, makes a new next key and retires the old one. No valid
// token is refused meanwhile. by is an administrator or the server. Faults: UNAUTHENTICATED,
// FORBIDDEN, and WRONG_STATE when too many retired keys still have living tokens.
func (k *Keys) Rotate(ctx context.Context, by viewer.Viewer) error {
	if err := by.SignedIn(); err != nil {
		return err
	}
	if !by.Has(viewer.Admin) {
		return fault.Denied("Only an administrator may rotate keys.")
	}
	fresh, err := token.GenerateKey(k.o.Algorithm) // slow for RSA, so before the lock
	if err != nil {
		return fmt.Errorf("rotate keys: %w", err)
	}
	err = k.change(ctx, func(tx *store.Tx) error { return k.rotateTx(ctx, tx, by, fresh) })
	if err != nil {
		if f, ok := fault.As(err); ok {
			return f
		}
		return fmt.Errorf("rotate keys: %w", err)
	}
	if err := k.Reload(ctx); err != nil {
		return fmt.Errorf("rotate keys: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, noticePatience)
	defer cancel()
	_ = k.notices.Publish(ctx, keysTopic, nil) // who misses it reads the keys within 30 s
	return nil
}

func (k *Keys) rotateTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, fresh token.SigningKey) error {
	now := k.o.Now()
	if _, err := tx.Exec(ctx, deleteRetired, store.At(k.cutoff(now))); err != nil {
		return fmt.Errorf("delete retired keys: %w", err)
	}
	held, err := k.read(ctx, tx)
	switch {
	case err != nil:
		return err
	case held.current == nil || held.next == nil:
		return errNoKeys
	case len(held.retired) >= maxRetired:
		return fault.New(fault.WrongState, "", "Too many keys were retired a moment ago. Try again in half an hour.")
	}
	if err := k.retireTx(ctx, tx, held.current.Public(), now); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, activateKey, store.At(now), held.next.ID); err != nil {
		return fmt.Errorf("activate key %s: %w", held.next.ID, err)
	}
	if err := k.insertTx(ctx, tx, fresh, nextKey, now); err != nil {
		return err
	}
	return k.o.Audit(ctx, tx, Event{Action: ActionRotated, By: by, Count: 1})
}

// create makes the first keys unless another server just did.
func (k *Keys) create(ctx context.Context) error {
	current, err := token.GenerateKey(k.o.Algorithm)
	if err != nil {
		return err
	}
	next, err := token.GenerateKey(k.o.Algorithm)
	if err != nil {
		return err
	}
	return k.change(ctx, func(tx *store.Tx) error {
		held, err := k.read(ctx, tx)
		if err != nil || held.current != nil {
			return err
		}
		now := k.o.Now()
		if err := k.insertTx(ctx, tx, current, currentKey, now); err != nil {
			return err
		}
		return k.insertTx(ctx, tx, next, nextKey, now)
	})
}

// change runs fn while no other server changes the keys: the row named lock is the lock.
func (k *Keys) change(ctx context.Context, fn func(*store.Tx) error) error {
	return k.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, lockKeys, []byte{}, store.At(k.o.Now())); err != nil {
			return fmt.Errorf("lock signing keys: %w", err)
		}
		return fn(tx)
	})
}

// Reload reads the keys from the database.
func (k *Keys) Reload(ctx context.Context) error {
	held, err := k.read(ctx, k.db)
	if err != nil {
		return err
	}
	if held.current == nil {
		return errNoKeys
	}
	set, err := token.NewKeySet(*held.current, held.next, held.retired...)
	if err != nil {
		return err
	}
	k.loaded.Store(&keySet{set: set, jwks: set.JWKS()})
	return nil
}

// reloadUnknown reads the keys for a token that names one we do not know. It reports whether the keys
// were read since; at most once a second they are.
func (k *Keys) reloadUnknown(ctx context.Context) bool {
	before := k.loaded.Load()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.loaded.Load() != before {
		return true // somebody did while we waited
	}
	now := k.o.Now()
	if now.Sub(k.askedAt) < unknownEvery {
		return false
	}
	k.askedAt = now
	return k.Reload(ctx) == nil
}

func (k *Keys) hearChange() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// cutoff is the moment at which keys must have been retired to verify nothing any more now: a server
// may sign with a retired key until it reads the keys again, and clocks differ.
func (k *Keys) cutoff(now time.Time) time.Time {
	return now.Add(-k.o.AccessTTL - token.DefaultLeeway - reloadEvery)
}

// prune deletes the retired keys that verify nothing any more.
func (k *Keys) prune(ctx context.Context) error {
	return k.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, deleteRetired, store.At(k.cutoff(k.o.Now()))); err != nil {
			return fmt.Errorf("delete retired keys: %w", err)
		}
		return nil
	})
}

// keyState is what a key is used for.
type keyState string

const (
	currentKey keyState = "CURRENT"
	nextKey    keyState = "NEXT"
	retiredKey keyState = "RETIRED"
)

var errNoKeys = errors.New("there are no signing keys")

// heldKeys is what the database holds.
type heldKeys struct {
	current, next *token.SigningKey
	retired       []token.PublicKey // last retired first
}

// keyRow is one row of signing_keys.
type keyRow struct {
	id        string
	state     keyState
	sealed    []byte
	retiredAt time.Time
}

func (k *Keys) read(ctx context.Context, r store.Reader) (held heldKeys, err error) {
	rows, err := store.All(ctx, r, selectKeys, func(scan store.Scan) (row keyRow, err error) {
		err = scan(&row.id, &row.state, &row.sealed, store.Time(&row.retiredAt))
		return row, err
	})
	if err != nil {
		return held, fmt.Errorf("read signing keys: %w", err)
	}
	cutoff := k.cutoff(k.o.Now())
	for _, row := range rows {
		if row.state == retiredKey && row.retiredAt.Before(cutoff) {
			continue
		}
		if err := k.openInto(&held, row); err != nil {
			return held, fmt.Errorf("open signing key %s: %w", row.id, err)
		}
	}
	return held, nil
}

func (k *Keys) openInto(held *heldKeys, row keyRow) error {
	der, err := k.ring.Open(row.sealed, keyPlace(row.id))
	if err != nil {
		return err
	}
	if row.state == retiredKey {
		public, err := token.ParsePublicKey(der)
		held.retired = append(held.retired, public)
		return err
	}
	defer clear(der)
	key, err := token.ParseKey(der)
	if row.state == currentKey {
		held.current = &key
	} else {
		held.next = &key
	}
	return err
}

func (k *Keys) insertTx(ctx context.Context, tx *store.Tx, key token.SigningKey, state keyState, now time.Time) error {
	der, err := key.Marshal()
	if err != nil {
		return err
	}
	defer clear(der)
	sealed, err := k.ring.Seal(der, keyPlace(key.ID))
	if err != nil {
		return fmt.Errorf("seal key %s: %w", key.ID, err)
	}
	activated := store.At(now)
	if state != currentKey {
		activated = nil
	}
	if _, err := tx.Exec(ctx, insertKey, key.ID, key.Algorithm, sealed, state, store.At(now), activated); err != nil {
		return fmt.Errorf("insert key %s: %w", key.ID, err)
	}
	return nil
}

// retireTx keeps of a key only what verifies.
func (k *Keys) retireTx(ctx context.Context, tx *store.Tx, public token.PublicKey, now time.Time) error {
	der, err := public.Marshal()
	if err != nil {
		return err
	}
	sealed, err := k.ring.Seal(der, keyPlace(public.ID))
	if err != nil {
		return fmt.Errorf("seal key %s: %w", public.ID, err)
	}
	if _, err := tx.Exec(ctx, retireKey, sealed, store.At(now), public.ID); err != nil {
		return fmt.Errorf("retire key %s: %w", public.ID, err)
	}
	return nil
}

// Sealed lists the sealed columns of this package: the signing keys.
func Sealed() []secret.Column {
	return []secret.Column{{Table: "signing_keys", ID: "id", Name: "sealed", Where: "state <> 'LOCK'", Place: keyPlace}}
}

// keyPlace names the row that a sealed key belongs to.
func keyPlace(id string) []byte { return []byte("signing_keys/" + id) }
