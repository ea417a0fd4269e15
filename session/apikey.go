package session

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"gatehouse/internal/cache"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"
)

// keyPrefix begins every API key: gh_<environment>_<id>_<secret>. It tells people and secret scanners
// what they have found. No other credential of ours begins so.
const keyPrefix = "gh_"

// Bounds of the machines of one account; what was revoked or has expired does not count.
const (
	maxKeys     = 50
	maxServices = 20
	maxMachine  = 100 // characters of a name
)

// Environment is the word in an API key that keeps keys of tests out of production.
type Environment string

// The environments.
const (
	Live Environment = "live"
	Test Environment = "test"
)

// APIKey is a key that acts for its owner within its scopes. The key itself is shown once and stored
// as its hash.
type APIKey struct {
	ID         viewer.MachineID
	Owner      viewer.UserID
	Name       string
	Scopes     []viewer.Scope
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time // to the minute; zero: never
}

// KeyWish describes an API key that is to be made.
type KeyWish struct {
	Name      string         // 1 to 100 characters
	Scopes    []viewer.Scope // at least one, none that the owner does not hold
	ExpiresAt time.Time      // zero: never
}

// CreateAPIKey makes a key of by and returns it with its one showing. Faults: UNAUTHENTICATED,
// FORBIDDEN for a machine; REQUIRED, TOO_LONG and INVALID by field; WRONG_STATE when by has 50 keys.
func (s *Sessions) CreateAPIKey(ctx context.Context, by viewer.Viewer, wish KeyWish) (APIKey, string, error) {
	now := s.now()
	if err := by.InPerson(); err != nil {
		return APIKey{}, "", err
	}
	if err := checkMachine(by, wish.Name, wish.Scopes); err != nil {
		return APIKey{}, "", err
	}
	if !wish.ExpiresAt.IsZero() && !wish.ExpiresAt.After(now) {
		return APIKey{}, "", fault.New(fault.Invalid, "expiresAt", "A key expires in the future, or never.")
	}
	key := APIKey{
		ID: store.NewID[viewer.MachineID]("key"), Owner: by.User, Name: strings.TrimSpace(wish.Name),
		Scopes: viewer.Sorted(wish.Scopes), CreatedAt: now, ExpiresAt: wish.ExpiresAt.UTC().Truncate(time.Microsecond),
	}
	if wish.ExpiresAt.IsZero() {
		key.ExpiresAt = time.Time{}
	}
	shown, hash := token.NewOpaque(keyPrefix + string(s.o.Environment) + "_" + strings.TrimPrefix(string(key.ID), "key_") + "_")
	err := s.change(ctx, "create API key", func(tx *store.Tx) error {
		if err := s.LiveTx(ctx, tx, by); err != nil {
			return err
		}
		if err := s.roomTx(ctx, tx, countAPIKeys, by.User, maxKeys, "API keys"); err != nil {
			return err
		}
		if err := insertKeyTx(ctx, tx, key, hash); err != nil {
			return err
		}
		return s.recordTx(ctx, tx, Event{
			Action: ActionKeyCreated, By: by, User: by.User, Session: by.Session, Machine: key.Name,
			Details: map[string]string{"key": string(key.ID), "scopes": joinScopes(key.Scopes)},
		})
	})
	if err != nil {
		return APIKey{}, "", err
	}
	return key, shown, nil
}

// RevokeAPIKey ends a key of by, or of anybody when by is an administrator, on every server within a
// second. One that has ended stays so. Faults: UNAUTHENTICATED, FORBIDDEN for a machine, NOT_FOUND.
func (s *Sessions) RevokeAPIKey(ctx context.Context, by viewer.Viewer, id viewer.MachineID) error {
	if err := by.Person(); err != nil {
		return err
	}
	return s.change(ctx, "revoke API key", func(tx *store.Tx) error {
		owner, err := s.machineOwnerTx(ctx, tx, by, ownerOfKey, id, "API key")
		if err != nil {
			return err
		}
		changed, err := tx.Exec(ctx, revokeKey, store.At(s.now()), id)
		if err != nil || changed == 0 {
			return err
		}
		if err := s.noticeTx(ctx, tx, []viewer.SessionID{viewer.SessionID(id)}, Revoked); err != nil {
			return err
		}
		return s.o.Audit(ctx, tx, Event{
			Action: ActionKeyRevoked, By: by, User: owner, Session: by.Session, Details: map[string]string{"key": string(id)},
		})
	})
}

// byKey admits the holder of an API key.
func (s *Sessions) byKey(ctx context.Context, shown string) (viewer.Viewer, Credential, error) {
	id, err := s.parseKey(shown)
	if err != nil {
		return viewer.Viewer{}, Credential{}, err
	}
	rec, err := s.machine(ctx, id)
	if err != nil {
		return viewer.Viewer{}, Credential{}, err
	}
	now := s.o.Now()
	switch {
	case !token.OpaqueHash(rec.Hash).Equal(token.HashOpaque(shown)):
		return viewer.Viewer{}, Credential{}, unauthenticated("The API key is not valid.", nil)
	case !rec.EndsAt.IsZero() && !now.Before(rec.EndsAt):
		return viewer.Viewer{}, Credential{}, unauthenticated("The API key has expired.", nil)
	}
	s.seen.mark(viewer.SessionID(id), &rec, Origin{}, now)
	return rec.machine(id, rec.Scopes), Credential{ExpiresAt: rec.EndsAt, Machine: id}, nil
}

// keySecret is the length of the last part of a key: 256 bits in base64url.
var keySecret = base64.RawURLEncoding.EncodedLen(len(token.OpaqueHash{}))

// parseKey returns the id of a text that has the form of a key of this environment.
func (s *Sessions) parseKey(shown string) (viewer.MachineID, error) {
	parts := strings.SplitN(strings.TrimPrefix(shown, keyPrefix), "_", 3)
	if len(parts) != 3 || len(parts[2]) != keySecret || !store.ValidID("key", "key_"+parts[1]) {
		return "", unauthenticated("The API key is not valid.", token.ErrMalformed)
	}
	if env := Environment(parts[0]); env != s.o.Environment && (env == Live || env == Test) {
		return "", unauthenticated("The API key is for another environment.", nil)
	}
	return viewer.MachineID("key_" + parts[1]), nil
}

// machine returns the cached record of an API key or a service account that is in force.
func (s *Sessions) machine(ctx context.Context, id viewer.MachineID) (record, error) {
	rec, err := s.record(ctx, viewer.SessionID(id))
	switch {
	case fault.Is(err, fault.Unauthenticated):
		return rec, unauthenticated("The credential is not valid.", cache.ErrAbsent)
	case err != nil:
		return rec, err
	case !rec.Active:
		return rec, unauthenticated("The account behind this credential is disabled.", nil)
	case rec.Reason != "":
		return rec, unauthenticated("This credential was revoked.", nil)
	}
	return rec, nil
}

// machine returns the viewer of a machine with no more than scopes.
func (r *record) machine(id viewer.MachineID, scopes []viewer.Scope) viewer.Viewer {
	return viewer.Viewer{
		User: r.User, Machine: id, Level: viewer.AAL1, Roles: r.Roles, Scopes: scopes, Verified: r.Verified,
	}
}

// checkMachine returns the fault of a name or of scopes that by may not give.
func checkMachine(by viewer.Viewer, name string, scopes []viewer.Scope) error {
	switch name = strings.TrimSpace(name); {
	case name == "":
		return fault.New(fault.Required, "name", "Give it a name.")
	case name != cut(name, maxMachine):
		return fault.New(fault.TooLong, "name", "A name has at most 100 characters.")
	case len(scopes) == 0:
		return fault.New(fault.Required, "scopes", "Give at least one scope.")
	}
	for _, scope := range scopes {
		if !by.May(scope) { // one that there is not is granted to nobody
			return fault.New(fault.Invalid, "scopes", "You hold no scope "+quoted(scope)+".")
		}
	}
	return nil
}

// quoted is a scope as a sentence shows it: what is none of ours is not repeated.
func quoted(scope viewer.Scope) string {
	if scope.Valid() {
		return string(scope)
	}
	return "of that name"
}

// roomTx refuses a machine beyond most.
func (s *Sessions) roomTx(ctx context.Context, tx *store.Tx, count *store.Query, owner viewer.UserID, most int, what string) error {
	n, err := store.One(ctx, tx, count, store.Value[int], owner, store.At(s.now()))
	if err != nil {
		return fmt.Errorf("count %s of %s: %w", what, owner, err)
	}
	if n >= most {
		return fault.New(fault.WrongState, "", fmt.Sprintf("An account has at most %d %s. Revoke one first.", most, what))
	}
	return nil
}

// machineOwnerTx returns the owner of a machine that by may manage.
func (s *Sessions) machineOwnerTx(ctx context.Context, tx *store.Tx, by viewer.Viewer, q *store.Query, id viewer.MachineID, what string) (viewer.UserID, error) {
	owner, err := store.One(ctx, tx, q, store.Value[viewer.UserID], id)
	if err == nil && !mayEnd(by, owner) {
		err = store.ErrNotFound
	}
	if isMissing(err) {
		return "", fault.Missing(what)
	}
	return owner, err
}

func joinScopes(scopes []viewer.Scope) string {
	names := make([]string, len(scopes))
	for i, scope := range scopes {
		names[i] = string(scope)
	}
	return strings.Join(names, " ")
}

func splitScopes(text string) []viewer.Scope {
	scopes := []viewer.Scope{} // a machine is limited even by none
	for _, name := range strings.Fields(text) {
		scopes = append(scopes, viewer.Scope(name))
	}
	return scopes
}
