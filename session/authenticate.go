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
	Active     bool   // the account is
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
		Name: "sessions", Schema: 2, TTL: o.RecordTTL, MaxBytes: 32 << 20, NeverStale: true, Now: o.Now,
		Weigh: func(viewer.SessionID, record) int { return 512 },
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
// those of the session's record, not those that the token was issued with. Its fault is
// UNAUTHENTICATED, with a sentence for each reason. An API key may stand in place of an access token.
func (s *Sessions) Authenticate(ctx context.Context, accessToken string) (viewer.Viewer, Credential, error) {
	if strings.HasPrefix(accessToken, keyPrefix) {
		return s.byKey(ctx, accessToken)
	}
	claims, err := s.verify(ctx, accessToken)
	if err != nil {
		return viewer.Viewer{}, Credential{}, err
	}
	now := s.o.Now()
	if !now.Before(claims.ExpiresAt) {
		return viewer.Viewer{}, Credential{}, unauthenticated("The access token has expired.", token.ErrExpired)
	}
	if claims.Client != "" {
		return s.byClient(ctx, claims)
	}
	rec, err := s.record(ctx, claims.Session)
	if err != nil {
		return viewer.Viewer{}, Credential{}, err
	}
	if err := rec.admits(claims); err != nil {
		return viewer.Viewer{}, Credential{}, err
	}
	s.seen.mark(claims.Session, rec.LastSeenAt, now)
	who := viewer.Viewer{
		User: rec.User, Session: claims.Session, Level: rec.Level, Methods: rec.Methods,
		AuthTime: rec.AuthTime, Roles: rec.Roles, Verified: rec.Verified,
	}
	if rec.Actor != "" {
		who.Actor, who.ReadOnly, who.Scopes = rec.Actor, rec.ReadOnly, viewer.Impersonating()
	}
	return who, Credential{ExpiresAt: claims.Shown, Session: claims.Session}, nil
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
	}
	return nil
}

func unauthenticated(message string, cause error) error {
	return fault.New(fault.Unauthenticated, "", message).With(cause)
}
