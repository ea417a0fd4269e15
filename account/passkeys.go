package account

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gatehouse/account/passkey"
	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"
)

// Ceremony is the first half of a passkey's registration or use: what the browser is given, and the id
// under which its answer is awaited, once, for five minutes.
type Ceremony struct {
	ID      string
	Options json.RawMessage // of navigator.credentials.create or get
}

const ceremonyPrefix = "pkc_"

// StartPasskeyRegistration begins to add a passkey to the account of by. Faults: UNAUTHENTICATED,
// STEP_UP_REQUIRED, WRONG_STATE, RATE_LIMITED.
func (a *Accounts) StartPasskeyRegistration(ctx context.Context, by viewer.Viewer) (Ceremony, error) {
	if err := a.mayEnroll(ctx, by, Passkey); err != nil {
		return Ceremony{}, err
	}
	user, err := a.Get(ctx, by.User)
	if err != nil {
		return Ceremony{}, err
	}
	existing, err := a.credentials(ctx, a.db, user.ID)
	if err != nil {
		return Ceremony{}, err
	}
	whom := passkey.User{Handle: a.handle(user.ID), Name: user.Email, DisplayName: user.Name}
	options, state, err := a.o.MFA.Passkey.BeginRegistration(whom, existing, passkey.Preferred, a.now())
	if errors.Is(err, passkey.ErrFull) {
		return Ceremony{}, fault.New(fault.WrongState, "", "Your account has 20 passkeys, the most there can be. Remove one first.")
	}
	if err != nil {
		return Ceremony{}, fmt.Errorf("register passkey: %w", err)
	}
	return a.keepCeremony(ctx, user.ID, options, state)
}

// ProvePasskey checks what the browser says of the passkey that it has made in a ceremony of by; name may
// be empty. Faults: UNAUTHENTICATED; TOKEN_INVALID at ceremonyId; PASSKEY_REFUSED; TOO_LONG and INVALID at
// name.
func (a *Accounts) ProvePasskey(ctx context.Context, by viewer.Viewer, ceremony string, response []byte, name string) (Proven, error) {
	if err := by.InPerson(); err != nil {
		return Proven{}, err
	}
	state, owner, err := a.takeCeremony(ctx, ceremony)
	if err != nil {
		return Proven{}, err
	}
	if owner != by.User {
		return Proven{}, noCeremony()
	}
	credential, err := a.o.MFA.Passkey.FinishRegistration(state, response, a.now())
	if err != nil {
		return Proven{}, refusedPasskey(err)
	}
	content, err := json.Marshal(credential)
	if err != nil {
		return Proven{}, fmt.Errorf("register passkey: %w", err)
	}
	r, err := a.newFactor(by, PasskeyFactor, string(content), name, "Passkey")
	if err != nil {
		return Proven{}, err
	}
	r.lookup, r.counter = credentialIndex(credential.ID), int64(credential.SignCount)
	return Proven{row: r, fresh: true}, nil
}

// StartPasskeyLogin begins a sign-in of whoever holds a passkey. With an address the browser is told
// which passkeys to look for; an address without any gets one that nobody has, so that the answer does
// not tell. The caller has counted the attempt.
func (a *Accounts) StartPasskeyLogin(ctx context.Context, email string) (Ceremony, error) {
	if a.o.MFA.Passkey == nil {
		return Ceremony{}, noPasskeys()
	}
	if email == "" {
		options, state, err := a.o.MFA.Passkey.BeginDiscoverableLogin(passkey.Preferred, a.now())
		if err != nil {
			return Ceremony{}, fmt.Errorf("start passkey login: %w", err)
		}
		return a.keepCeremony(ctx, "", options, state)
	}
	credentials, err := a.credentialsOf(ctx, email)
	if err != nil {
		return Ceremony{}, err
	}
	options, state, err := a.o.MFA.Passkey.BeginLogin(credentials, passkey.Preferred, a.now())
	if err != nil {
		return Ceremony{}, fmt.Errorf("start passkey login: %w", err)
	}
	return a.keepCeremony(ctx, "", options, state)
}

// credentialsOf returns the ids of the passkeys of an address alone, or decoys.
func (a *Accounts) credentialsOf(ctx context.Context, email string) ([]passkey.Credential, error) {
	user, err := a.ByEmail(ctx, email)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	found, err := a.credentials(ctx, a.db, user.ID) // none for ""
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return a.decoys(email), nil
	}
	bare := make([]passkey.Credential, len(found))
	for i, c := range found {
		bare[i].ID = c.ID
	}
	return bare, nil
}

// decoys are the credentials of an address that has none, always the same ones: one, two or three, with ids
// of the lengths that real ones have. What remains: a list of four passkeys or more, one with an id of
// another length, and one that changes belong to an account.
func (a *Accounts) decoys(email string) []passkey.Credential {
	var (
		counts  = [...]int{1, 1, 1, 1, 1, 2, 2, 3}         // of passkeys that people have
		lengths = [...]int{16, 16, 20, 20, 32, 32, 48, 64} // in bytes, as their keys and password managers make them
	)
	text := canonical(email)
	form := a.keyed("passkey decoys", text)
	decoys := make([]passkey.Credential, counts[int(form[0])%len(counts)])
	for i := range decoys {
		id := a.keyed(fmt.Sprintf("passkey decoy %d", 2*i), text)
		id = append(id, a.keyed(fmt.Sprintf("passkey decoy %d", 2*i+1), text)...)
		decoys[i].ID = id[:lengths[int(form[1+i])%len(lengths)]]
	}
	return decoys
}

// PasskeyEntry is a passkey whose signature was checked.
type PasskeyEntry struct {
	User         viewer.UserID
	UserVerified bool // by PIN or biometry: two factors at once
	Synced       bool // the key may be on several devices

	factor FactorID
	sealed []byte // the credential with its new counter
	count  int64
}

// FinishPasskeyLogin checks what the browser says in a ceremony of [Accounts.StartPasskeyLogin]. Faults:
// TOKEN_INVALID at ceremonyId; PASSKEY_REFUSED.
func (a *Accounts) FinishPasskeyLogin(ctx context.Context, ceremony string, response []byte) (PasskeyEntry, error) {
	if a.o.MFA.Passkey == nil {
		return PasskeyEntry{}, noPasskeys()
	}
	state, owner, err := a.takeCeremony(ctx, ceremony)
	if err != nil {
		return PasskeyEntry{}, err
	}
	if owner != "" {
		return PasskeyEntry{}, noCeremony()
	}
	return a.CheckPasskey(ctx, state, response)
}

// AskPasskeyTx begins the use of one of user's passkeys as second factor. The caller keeps the state.
func (a *Accounts) AskPasskeyTx(ctx context.Context, tx *store.Tx, user viewer.UserID) (options json.RawMessage, state passkey.State, err error) {
	if a.o.MFA.Passkey == nil {
		return nil, passkey.State{}, noPasskeys()
	}
	credentials, err := a.credentials(ctx, tx, user)
	if err != nil {
		return nil, passkey.State{}, err
	}
	return a.o.MFA.Passkey.BeginLogin(credentials, passkey.Preferred, a.now())
}

// CheckPasskey checks a browser's answer to state. What came of it is used by [Accounts.UsePasskeyTx].
// Fault: PASSKEY_REFUSED.
func (a *Accounts) CheckPasskey(ctx context.Context, state passkey.State, response []byte) (PasskeyEntry, error) {
	if a.o.MFA.Passkey == nil {
		return PasskeyEntry{}, noPasskeys()
	}
	var r factorRow
	lookup := func(_, id []byte) (c passkey.Credential, err error) {
		r, err = store.One(ctx, a.db, selectByLookup, scanFactor, credentialIndex(id))
		if errors.Is(err, store.ErrNotFound) || err == nil && r.confirmedAt.IsZero() {
			return c, passkey.ErrUnknownCredential
		}
		if err != nil {
			return c, err
		}
		return a.credential(r)
	}
	entry, err := a.o.MFA.Passkey.FinishLogin(state, response, lookup, a.now())
	if errors.Is(err, passkey.ErrCloned) {
		return PasskeyEntry{}, errors.Join(refusedPasskey(err), a.audit.Record(ctx, audit.Event{
			Action: audit.PasskeyCloned, Outcome: audit.Refused, Subject: r.User, Details: map[string]string{"factor": string(r.ID)},
		}))
	}
	if err != nil {
		return PasskeyEntry{}, refusedPasskey(err)
	}
	content, err := json.Marshal(entry.Credential)
	if err != nil {
		return PasskeyEntry{}, fmt.Errorf("check passkey: %w", err)
	}
	e := PasskeyEntry{
		User: r.User, UserVerified: entry.UserVerified, Synced: entry.Credential.BackupEligible,
		factor: r.ID, count: int64(entry.Credential.SignCount),
	}
	e.sealed, err = a.ring.Seal(content, factorPlace(r.ID, "sealed"))
	return e, err
}

// UsePasskeyTx notes the use of e. Fault: PASSKEY_REFUSED when it was removed, or used beside us.
func (a *Accounts) UsePasskeyTx(ctx context.Context, tx *store.Tx, e PasskeyEntry) error {
	used, err := tx.Exec(ctx, usePasskey, e.sealed, e.count, store.At(a.now()), e.factor, e.count, e.count)
	if err != nil {
		return fmt.Errorf("use passkey: %w", err)
	}
	if used == 0 {
		return refusedPasskey(passkey.ErrUnknownCredential)
	}
	return nil
}

// keepCeremony keeps state until its answer comes. user is "" while nobody has said who they are.
func (a *Accounts) keepCeremony(ctx context.Context, user viewer.UserID, options json.RawMessage, state passkey.State) (Ceremony, error) {
	plain, err := json.Marshal(state)
	if err != nil {
		return Ceremony{}, fmt.Errorf("keep passkey ceremony: %w", err)
	}
	id, hash := token.NewOpaque(ceremonyPrefix)
	sealed, err := a.ring.Seal(plain, ceremonyPlace(hash))
	if err != nil {
		return Ceremony{}, fmt.Errorf("keep passkey ceremony: %w", err)
	}
	err = a.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, insertCeremony, hash[:], store.OrNull(user), sealed, store.At(a.now().Add(passkey.Lifetime)))
		return err
	})
	if err != nil {
		return Ceremony{}, fmt.Errorf("keep passkey ceremony: %w", err)
	}
	return Ceremony{ID: id, Options: options}, nil
}

// takeCeremony takes a ceremony out: it is good once. Fault: TOKEN_INVALID.
func (a *Accounts) takeCeremony(ctx context.Context, id string) (state passkey.State, owner viewer.UserID, err error) {
	type kept struct {
		owner   viewer.UserID
		sealed  []byte
		expires time.Time
	}
	var held kept
	hash := token.HashOpaque(id)
	err = a.db.Update(ctx, func(tx *store.Tx) (err error) {
		held, err = store.One(ctx, tx, selectCeremony, func(scan store.Scan) (k kept, err error) {
			err = scan(store.Text(&k.owner), &k.sealed, store.Time(&k.expires))
			return k, err
		}, hash[:])
		if errors.Is(err, store.ErrNotFound) {
			return noCeremony()
		}
		if err != nil {
			return err
		}
		deleted, err := tx.Exec(ctx, deleteCeremony, hash[:])
		if err == nil && deleted == 0 {
			return noCeremony()
		}
		return err
	})
	if err != nil {
		return state, "", err
	}
	if !a.now().Before(held.expires) || a.o.MFA.Passkey == nil {
		return state, "", noCeremony()
	}
	plain, err := a.ring.Open(held.sealed, ceremonyPlace(hash))
	if errors.Is(err, secret.ErrUnknownKey) { // it was dropped since
		return state, "", noCeremony()
	}
	if err != nil {
		return state, "", fmt.Errorf("open passkey ceremony: %w", err)
	}
	return state, held.owner, json.Unmarshal(plain, &state)
}

func ceremonyPlace(hash token.OpaqueHash) []byte {
	return append([]byte("passkey_ceremonies/sealed/"), hash[:]...)
}

// credentials returns the passkeys of user.
func (a *Accounts) credentials(ctx context.Context, r store.Reader, user viewer.UserID) ([]passkey.Credential, error) {
	rows, err := store.All(ctx, r, selectFactorsOf, scanFactor, user, PasskeyFactor)
	if err != nil {
		return nil, fmt.Errorf("read passkeys: %w", err)
	}
	credentials := make([]passkey.Credential, len(rows))
	for i, row := range rows {
		if credentials[i], err = a.credential(row); err != nil {
			return nil, err
		}
	}
	return credentials, nil
}

func (a *Accounts) credential(r factorRow) (c passkey.Credential, err error) {
	content, err := a.secretOf(r)
	if err != nil {
		return c, err
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(content))).Decode(&c); err != nil {
		return c, fmt.Errorf("open factor %s: %w", r.ID, err)
	}
	return c, nil
}

// handle names an account to authenticators, and tells nothing about it.
func (a *Accounts) handle(id viewer.UserID) []byte { return a.keyed("passkey handle", string(id)) }

// keyed is a keyed hash of text for one purpose.
func (a *Accounts) keyed(purpose, text string) []byte {
	mac := hmac.New(sha256.New, a.index)
	mac.Write([]byte("gatehouse " + purpose + "\x00" + text))
	return mac.Sum(nil)
}

// credentialIndex is how a passkey is found.
func credentialIndex(id []byte) []byte {
	hash := sha256.Sum256(id)
	return hash[:]
}

func noCeremony() error {
	return fault.New(fault.TokenInvalid, "ceremonyId", "This passkey request is over. Begin again.")
}

func noPasskeys() error {
	return fault.New(fault.WrongState, "", "Passkeys are not offered here.")
}

// refusedPasskey turns what a ceremony says into a fault; a failure of the store stays one.
func refusedPasskey(err error) error {
	for _, known := range []error{
		passkey.ErrExpired, passkey.ErrMalformed, passkey.ErrChallenge, passkey.ErrOrigin, passkey.ErrUnknownCredential,
		passkey.ErrSignature, passkey.ErrUnverified, passkey.ErrCloned,
	} {
		if errors.Is(err, known) {
			return fault.New(fault.PasskeyRefused, "", "The passkey was not accepted.").With(known)
		}
	}
	return fmt.Errorf("check passkey: %w", err)
}
