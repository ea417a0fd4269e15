package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/internal/cache"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"
)

// verifiedTTL bounds how long the check of a signature is remembered.
const verifiedTTL = time.Minute

// Credential is what a request was admitted by.
type Credential struct {
	ExpiresAt time.Time // of the access token; a connection must show a new one until then. Zero: never
	Session   viewer.SessionID
	Machine   viewer.MachineID // in place of a session
}

// Subject names what was admitted: the same for each token of a session or a machine.
func (c Credential) Subject() string {
	if c.Machine != "" {
		return string(c.Machine)
	}
	return string(c.Session)
}

// verified is what remains of an access token once its signature was checked.
type verified struct {
	Session   viewer.SessionID
	User      viewer.UserID
	Version   int64
	ExpiresAt time.Time // with leeway
	Shown     time.Time // exp as the token says

	Client viewer.MachineID // of a service account, which has no session
	Scopes []viewer.Scope
}

// record is what decides about each request of a session. Its slices are shared: read only.
type record struct {
	User       viewer.UserID
	Version    int64
	Level      viewer.Level
	Methods    []string
	AuthTime   time.Time
	LastSeenAt time.Time
	Reason     Reason // why it was revoked; "": it was not
	Suspended  bool
	Home       home
	Network    string
	Active     bool // the account is
	Verified   bool
	Roles      []viewer.Role

	Actor    viewer.UserID  // the administrator who acts as User
	ReadOnly bool           // Actor may change nothing
	Hash     []byte         // of an API key
	Scopes   []viewer.Scope // of a machine
	EndsAt   time.Time      // of an API key; zero: never
}

func newVerified(now func() time.Time) (*cache.Layer[token.OpaqueHash, verified], error) {
	return cache.New(nil, nil, cache.Options[token.OpaqueHash, verified]{
		Name: "verified_tokens", TTL: verifiedTTL, MaxBytes: 16 << 20,
		Weigh: func(token.OpaqueHash, verified) int { return 256 }, Now: now,
	})
}

func newRecords(remote *cache.Remote, notices Notices, o Options) (*cache.Layer[viewer.SessionID, record], error) {
	return cache.New(remote, notices, cache.Options[viewer.SessionID, record]{
		Name: "sessions", Schema: 3, TTL: o.RecordTTL, MaxBytes: 32 << 20, NeverStale: true, Now: o.Now,
		Weigh: func(_ viewer.SessionID, r record) int { return 700 + len(r.Home.Agent) },
		Key:   func(id viewer.SessionID) string { return string(id) },
	})
}

// loadRecord reads a record for the cache.
func (s *Sessions) loadRecord(ctx context.Context, id viewer.SessionID) (record, error) {
	rec, err := readRecord(ctx, s.db, id)
	if errors.Is(err, store.ErrNotFound) {
		return record{}, cache.ErrAbsent
	}
	return rec, err
}

// Authenticate returns on whose behalf a request with accessToken is made. Roles, level and state are
// those of the session's record, not those that the token was issued with. An API key may stand in place
// of an access token. Faults: UNAUTHENTICATED, with a sentence for each reason; STEP_UP_REQUIRED for a
// suspended session, with a viewer that is nobody and whose Suspended names the session.
func (s *Sessions) Authenticate(ctx context.Context, accessToken string) (viewer.Viewer, Credential, error) {
	return s.admit(ctx, accessToken, nil)
}

// Admit is Authenticate for a request from a place that is known. From another device or browser than
// the session's it suspends the session; from another network it notes it, at most once a minute. A
// machine has no device: it may ask from anywhere.
func (s *Sessions) Admit(ctx context.Context, accessToken string, from Origin) (viewer.Viewer, Credential, error) {
	return s.admit(ctx, accessToken, &from)
}

// admit is Admit; from nowhere that is known when from is nil.
func (s *Sessions) admit(ctx context.Context, accessToken string, from *Origin) (viewer.Viewer, Credential, error) {
	if strings.HasPrefix(accessToken, keyPrefix) {
		return s.byKey(ctx, accessToken)
	}
	claims, err := s.claims(ctx, accessToken)
	if err != nil {
		return viewer.Viewer{}, Credential{}, err
	}
	if claims.Client != "" {
		return s.byClient(ctx, claims)
	}
	rec, err := s.check(ctx, claims)
	if err != nil {
		return shut(claims, err)
	}
	if from == nil {
		from = &Origin{}
	} else if why := rec.Home.strange(*from, false); why != "" {
		if err := s.suspend(ctx, claims.Session, rec.User, *from, why); err != nil {
			return viewer.Viewer{}, Credential{}, err
		}
		return shut(claims, fault.StepUp())
	}
	s.seen.mark(claims.Session, &rec, *from, s.o.Now())
	return rec.viewer(claims), Credential{ExpiresAt: claims.Shown, Session: claims.Session}, nil
}

// shut returns err, and for a suspended session which one it is.
func shut(claims verified, err error) (viewer.Viewer, Credential, error) {
	if fault.Is(err, fault.StepUpRequired) {
		return viewer.Viewer{Suspended: claims.Session}, Credential{}, err
	}
	return viewer.Viewer{}, Credential{}, err
}

// claims returns what an access token says that has not expired.
func (s *Sessions) claims(ctx context.Context, accessToken string) (verified, error) {
	claims, err := s.verify(ctx, accessToken)
	if err != nil {
		return verified{}, err
	}
	if !s.o.Now().Before(claims.ExpiresAt) {
		return verified{}, unauthenticated("The access token has expired.", token.ErrExpired)
	}
	return claims, nil
}

// check returns what is known of the session that claims opens.
func (s *Sessions) check(ctx context.Context, claims verified) (record, error) {
	rec, err := s.record(ctx, claims.Session)
	if err != nil {
		return record{}, err
	}
	return rec, rec.admits(claims)
}

// viewer is whoever holds a token of the session.
func (r *record) viewer(claims verified) viewer.Viewer {
	who := viewer.Viewer{
		User: r.User, Session: claims.Session, Level: r.Level, Methods: r.Methods,
		AuthTime: r.AuthTime, Roles: r.Roles, Verified: r.Verified,
	}
	if r.Actor != "" {
		who.Actor, who.ReadOnly, who.Scopes = r.Actor, r.ReadOnly, viewer.Impersonating()
	}
	return who
}

// verify checks the signature of an access token, at most once a minute for the same token.
func (s *Sessions) verify(ctx context.Context, accessToken string) (verified, error) {
	if accessToken == "" || len(accessToken) > token.MaxBytes {
		return verified{}, unauthenticated("The access token is not valid.", token.ErrMalformed)
	}
	claims, err := s.verified.Get(ctx, token.HashOpaque(accessToken), func(ctx context.Context, _ token.OpaqueHash) (verified, error) {
		claims, err := s.checkSignature(ctx, accessToken)
		if err != nil {
			return verified{}, err
		}
		if claims.ClientID != "" {
			return verified{
				Client: viewer.MachineID(claims.ClientID), Scopes: splitScopes(strings.Join(claims.Scope, " ")), Version: claims.Version,
				ExpiresAt: claims.ExpiresAt.Add(token.DefaultLeeway), Shown: claims.ExpiresAt,
			}, nil
		}
		return verified{
			Session: viewer.SessionID(claims.Session), User: viewer.UserID(claims.Subject), Version: claims.Version,
			ExpiresAt: claims.ExpiresAt.Add(token.DefaultLeeway), Shown: claims.ExpiresAt,
		}, nil
	})
	switch {
	case err == nil:
		return claims, nil
	case errors.Is(err, token.ErrExpired):
		return verified{}, unauthenticated("The access token has expired.", token.ErrExpired)
	case ctx.Err() != nil:
		return verified{}, fmt.Errorf("authenticate: %w", err)
	}
	return verified{}, unauthenticated("The access token is not valid.", err)
}

// checkSignature verifies with the keys in memory and, for a key that is not there, with those of the
// database.
func (s *Sessions) checkSignature(ctx context.Context, accessToken string) (token.Claims, error) {
	options := token.Options{Issuer: s.o.Issuer, Audience: s.o.Audience, Now: s.o.Now}
	claims, err := token.Verify(s.keys.Set(), accessToken, options)
	if errors.Is(err, token.ErrUnknownKey) && s.keys.reloadUnknown(ctx) {
		claims, err = token.Verify(s.keys.Set(), accessToken, options)
	}
	return claims, err
}

// record returns the cached record of a session.
func (s *Sessions) record(ctx context.Context, id viewer.SessionID) (record, error) {
	rec, err := s.records.Get(ctx, id, s.load)
	if errors.Is(err, cache.ErrAbsent) {
		return record{}, unauthenticated("This session has ended. Sign in again.", err)
	}
	if err != nil {
		return record{}, fmt.Errorf("authenticate: read session %s: %w", id, err)
	}
	return rec, nil
}

// admits returns why a verified token opens nothing. That the session has not expired follows from the
// token: none is issued that outlives its session.
func (r *record) admits(claims verified) error {
	switch {
	case !r.Active:
		return unauthenticated("This account is disabled.", nil)
	case r.Reason != "", claims.Version < r.Version, claims.User != r.User:
		return unauthenticated("This session has ended. Sign in again.", nil)
	case r.Suspended:
		return fault.StepUp()
	}
	return nil
}

func unauthenticated(message string, cause error) error {
	return fault.New(fault.Unauthenticated, "", message).With(cause)
}
