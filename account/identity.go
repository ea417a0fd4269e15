package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gatehouse/audit"
	"gatehouse/internal/fault"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// IdentityID names an identity, "idn_…".
type IdentityID string

// MaxIdentities is how many identities an account has at most.
const MaxIdentities = 20

// Identity is who a person is at a provider. Issuer and Subject name the person for good; all else is
// what the provider told of them last.
type Identity struct {
	ID        IdentityID
	User      viewer.UserID
	Provider  string // the provider's name in our configuration
	Issuer    string
	Subject   string
	Profile   ProviderProfile
	LinkedAt  time.Time
	UsedAt    time.Time // the last sign-in with it, or when it was linked
	ProfileAt time.Time // when Profile was told
}

// ProviderProfile is what a provider told of a person; each text may be "".
type ProviderProfile struct {
	Email         string
	EmailVerified bool // by the provider
	Name          string
	Username      string
	Picture       string // an https URL
}

// Federated is a person as a provider has just presented them.
type Federated struct {
	Provider string // its name in our configuration
	Title    string // its name for people
	Issuer   string
	Subject  string
	Profile  ProviderProfile
	Locale   string // as the provider has it; may be no language tag
	Tokens   []byte // the provider's tokens in a form that the caller reads again; nil: none
}

// sealedProfile is what stands sealed beside an identity.
type sealedProfile struct {
	Subject string
	Profile ProviderProfile
}

// Unlink takes the identity id, which is one of by's own, from the account. The last way in stays.
// Faults: UNAUTHENTICATED, NOT_FOUND, LAST_WAY_IN.
func (a *Accounts) Unlink(ctx context.Context, by viewer.Viewer, id IdentityID, title string) error {
	if err := by.InPerson(); err != nil {
		return err
	}
	return a.db.Update(ctx, func(tx *store.Tx) error {
		user, hasPassword, err := a.lockTx(ctx, tx, selectLocked, by.User)
		if err != nil {
			return fmt.Errorf("unlink identity: %w", err)
		}
		unlinked, err := tx.Exec(ctx, deleteIdentity, id, by.User)
		if err != nil {
			return fmt.Errorf("unlink identity: %w", err)
		}
		if unlinked == 0 {
			return fault.Missing("identity")
		}
		if err := a.keepsWayInTx(ctx, tx, by.User, hasPassword); err != nil {
			return err
		}
		err = a.audit.RecordTx(ctx, tx, audit.Event{
			Action: audit.IdentityUnlinked, By: by, Subject: by.User, Session: by.Session,
			Details: map[string]string{"identity": string(id)},
		})
		if err != nil {
			return err
		}
		return a.tellOfIdentityTx(ctx, tx, notify.IdentityUnlinked, user, title)
	})
}

// keepsWayInTx returns LAST_WAY_IN when nothing is left that user could sign in with. It is called
// after a way in was removed, while the account is locked.
func (a *Accounts) keepsWayInTx(ctx context.Context, tx *store.Tx, user viewer.UserID, hasPassword bool) error {
	if hasPassword {
		return nil
	}
	left, err := store.One(ctx, tx, countWaysIn, store.Value[int64], user, PasskeyFactor, user)
	if err != nil {
		return fmt.Errorf("count ways into %s: %w", user, err)
	}
	if left == 0 {
		return fault.New(fault.LastWayIn, "", "This is the only way into the account. Set a password or link another identity first.")
	}
	return nil
}

// FindIdentityTx returns the identity of issuer and subject, and locks the account that it belongs to
// until tx ends. Fault: NOT_FOUND.
func (a *Accounts) FindIdentityTx(ctx context.Context, tx *store.Tx, issuer, subject string) (Identity, User, error) {
	r, err := store.One(ctx, tx, selectBySubject, scanIdentity, a.subjectIndex(issuer, subject))
	if errors.Is(err, store.ErrNotFound) {
		return Identity{}, User{}, fault.Missing("identity")
	}
	if err != nil {
		return Identity{}, User{}, fmt.Errorf("find identity: %w", err)
	}
	user, _, err := a.lockTx(ctx, tx, selectLocked, r.User)
	if err != nil {
		return Identity{}, User{}, fmt.Errorf("find identity: %w", err)
	}
	identity, err := a.openIdentity(r)
	return identity, user, err
}

// LinkTx gives user one more identity and tells them by mail. Faults: LIMIT_EXCEEDED. When somebody has
// the identity already, the error is a [store.Conflict] and the transaction must fail.
func (a *Accounts) LinkTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, user User, f Federated, network string) (Identity, error) {
	if err := a.sessions.LiveTx(ctx, tx, by); err != nil {
		return Identity{}, err
	}
	identity, err := a.linkTx(ctx, tx, by, user.ID, f, network)
	if err != nil {
		return Identity{}, err
	}
	return identity, a.tellOfIdentityTx(ctx, tx, notify.IdentityLinked, user, f.Title)
}

// RegisterFederatedTx keeps n, whom PrepareFederated has made of f, as an account with its identity. Fault:
// TAKEN, for an address that has an account; the error is a [store.Conflict] for an identity that has
// one. The transaction must then fail.
func (a *Accounts) RegisterFederatedTx(ctx context.Context, tx *store.Tx, n Newcomer, f Federated, network string) (User, Identity, error) {
	user, err := a.RegisterTx(ctx, tx, n, network)
	if err != nil {
		return User{}, Identity{}, err
	}
	identity, err := a.linkTx(ctx, tx, viewer.Viewer{User: user.ID}, user.ID, f, network)
	return user, identity, err
}

func (a *Accounts) linkTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, user viewer.UserID, f Federated, network string) (Identity, error) {
	identity, err := a.keepIdentityTx(ctx, tx, user, f)
	if err != nil {
		return Identity{}, err
	}
	return identity, a.audit.RecordTx(ctx, tx, audit.Event{
		Action: audit.IdentityLinked, By: by, Subject: user, Session: by.Session, Network: network,
		Details: map[string]string{"identity": string(identity.ID), "provider": f.Provider},
	})
}

// keepIdentityTx inserts f.
func (a *Accounts) keepIdentityTx(ctx context.Context, tx *store.Tx, user viewer.UserID, f Federated) (Identity, error) {
	count, err := store.One(ctx, tx, countIdentities, store.Value[int64], user)
	if err != nil {
		return Identity{}, fmt.Errorf("count identities of %s: %w", user, err)
	}
	if count >= MaxIdentities {
		return Identity{}, fault.New(fault.LimitExceeded, "", fmt.Sprintf("An account has at most %d identities.", MaxIdentities))
	}
	now := a.now()
	identity := Identity{
		ID: store.NewID[IdentityID]("idn"), User: user, Provider: f.Provider, Issuer: f.Issuer, Subject: f.Subject,
		Profile: f.Profile, LinkedAt: now, UsedAt: now, ProfileAt: now,
	}
	profile, tokens, err := a.sealIdentity(identity, f.Tokens)
	if err != nil {
		return Identity{}, fmt.Errorf("link identity: %w", err)
	}
	_, err = tx.Exec(ctx, insertIdentity, identity.ID, user, f.Provider, f.Issuer, a.subjectIndex(f.Issuer, f.Subject),
		profile, tokens, store.At(now), store.At(now), store.At(now))
	if err != nil {
		return Identity{}, fmt.Errorf("link identity: %w", err)
	}
	return identity, nil
}

// MeetTx keeps what the provider has just said of an identity that is known: a sign-in with it. Tokens
// stay as they are when f has none. Fault: WRONG_STATE when it was unlinked meanwhile.
func (a *Accounts) MeetTx(ctx context.Context, tx *store.Tx, identity Identity, f Federated) (Identity, error) {
	now := a.now()
	identity.Provider, identity.Profile, identity.UsedAt, identity.ProfileAt = f.Provider, f.Profile, now, now
	profile, tokens, err := a.sealIdentity(identity, f.Tokens)
	if err != nil {
		return Identity{}, fmt.Errorf("update identity %s: %w", identity.ID, err)
	}
	met, err := tx.Exec(ctx, meetIdentity, f.Provider, profile, store.At(now), store.At(now), identity.ID)
	if err == nil && tokens != nil { // whoever refreshes the old ones keeps nothing
		_, err = tx.Exec(ctx, replaceTokens, tokens, identity.ID)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("update identity %s: %w", identity.ID, err)
	}
	if met == 0 { // while we waited for the account
		return Identity{}, fault.New(fault.WrongState, "", "This identity was unlinked a moment ago.")
	}
	return identity, nil
}

// KeepProfile keeps what a provider says of an identity now. The caller has checked who asks.
func (a *Accounts) KeepProfile(ctx context.Context, identity Identity, profile ProviderProfile) (Identity, error) {
	identity.Profile, identity.ProfileAt = profile, a.now()
	sealed, _, err := a.sealIdentity(identity, nil)
	if err == nil {
		err = a.db.Update(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(ctx, updateIdentityProfile, sealed, store.At(identity.ProfileAt), identity.ID)
			return err
		})
	}
	if err != nil {
		return Identity{}, fmt.Errorf("update identity %s: %w", identity.ID, err)
	}
	return identity, nil
}

// PrepareFederated returns the account of a newcomer whom a provider has presented: without a password,
// confirmed if the provider has verified the address. A name or language that we would not take is left
// out. Faults: those of the address, at email.
func (a *Accounts) PrepareFederated(f Federated) (Newcomer, error) {
	user := User{
		ID: store.NewID[viewer.UserID]("usr"), Roles: []viewer.Role{viewer.User}, Status: Active, Verified: f.Profile.EmailVerified,
	}
	var err error
	if user.Email, err = parseEmail(f.Profile.Email); err != nil {
		return Newcomer{}, err
	}
	if user.Name, err = parseName(f.Profile.Name); err != nil {
		user.Name = ""
	}
	if user.Locale, err = parseLocale(f.Locale); err != nil {
		user.Locale = "en"
	}
	return Newcomer{user: user, index: a.emailIndex(user.Email)}, nil
}

// tellOfIdentityTx writes to the owner. To an address that nobody has confirmed nothing is written: it
// may be a stranger's.
func (a *Accounts) tellOfIdentityTx(ctx context.Context, tx *store.Tx, kind notify.Kind, user User, title string) error {
	if !user.Verified {
		return nil
	}
	return a.warnTx(ctx, tx, user, notify.Message{Kind: kind, Provider: title})
}

// subjectIndex is the keyed hash by which an identity is found. The length keeps ("ab", "c") and
// ("a", "bc") apart.
func (a *Accounts) subjectIndex(issuer, subject string) []byte {
	mac := hmac.New(sha256.New, a.index)
	fmt.Fprintf(mac, "identity %d:%s%s", len(issuer), issuer, subject)
	return mac.Sum(nil)
}

// sealIdentity returns the columns of i; sealedTokens is nil, and so NULL, without tokens.
func (a *Accounts) sealIdentity(i Identity, tokens []byte) (profile []byte, sealedTokens any, err error) {
	plain, err := json.Marshal(sealedProfile{i.Subject, i.Profile})
	if err != nil {
		return nil, nil, err
	}
	if profile, err = a.ring.Seal(plain, identityPlace(i.ID, "profile")); err != nil {
		return nil, nil, err
	}
	if tokens != nil {
		sealedTokens, err = a.ring.Seal(tokens, identityPlace(i.ID, "tokens"))
	}
	return profile, sealedTokens, err
}

func (a *Accounts) openIdentity(r identityRow) (Identity, error) {
	plain, err := a.ring.Open(r.profileSealed, identityPlace(r.ID, "profile"))
	if err != nil {
		return Identity{}, fmt.Errorf("open identity %s: %w", r.ID, err)
	}
	var p sealedProfile
	if err := json.Unmarshal(plain, &p); err != nil {
		return Identity{}, fmt.Errorf("open identity %s: %w", r.ID, err)
	}
	r.Subject, r.Profile = p.Subject, p.Profile
	return r.Identity, nil
}

// identityPlace names the row and column that a sealed value belongs to.
func identityPlace(id IdentityID, column string) []byte {
	return []byte("identities/" + string(id) + "/" + column)
}

// identityRow is an identity as the database holds it.
type identityRow struct {
	Identity      // without Subject and Profile
	profileSealed []byte
}

// NodeID returns the id under which a client can fetch i again.
func (i Identity) NodeID() string { return string(i.ID) }

// Email returns the address that the provider told, nil when it told none.
func (i Identity) Email() *string { return orNil(i.Profile.Email) }

// EmailVerified reports whether the provider has verified that address.
func (i Identity) EmailVerified() bool { return i.Profile.EmailVerified }

// Name returns the person's name at the provider, nil when it told none.
func (i Identity) Name() *string { return orNil(i.Profile.Name) }

// Username returns what the person is called at the provider, nil when it told none.
func (i Identity) Username() *string { return orNil(i.Profile.Username) }

// Picture returns the address of a picture, nil when the provider told none.
func (i Identity) Picture() *string { return orNil(i.Profile.Picture) }

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
