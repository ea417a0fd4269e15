package session

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/session/token"
)

// The columns that scanSession reads.
const sessionColumns = `s.id, s.user_id, s.version, s.mode, s.level, s.methods, s.auth_time, s.remember,
	s.device_id, s.device_name, s.agent, s.network, s.created_at, s.last_seen_at, s.expires_at,
	s.revoked_at, s.revoked_reason, s.suspended_at`

var (
	insertSession = store.SQL(`INSERT INTO sessions (id, user_id, version, mode, level, methods, auth_time,
		remember, device_id, device_name, agent, network, created_at, last_seen_at, expires_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	renewSession = store.SQL(`UPDATE sessions SET expires_at = ?, last_seen_at = ?, network = ?
		WHERE id = ? AND revoked_at IS NULL AND suspended_at IS NULL`)
	selectSurplus = store.SQL(`SELECT id FROM sessions
		WHERE user_id = ? AND revoked_at IS NULL AND expires_at > ?
		ORDER BY id DESC LIMIT 100 OFFSET ?`)
	selectSessions = store.SQL(`SELECT ` + sessionColumns + ` FROM sessions s WHERE s.id IN (?*)`)
	oneSession     = store.SQL(`SELECT ` + sessionColumns + ` FROM sessions s WHERE s.id = ?`)
	selectByUsers  = store.SQL(`SELECT ` + sessionColumns + ` FROM sessions s
		WHERE s.user_id IN (?*) AND s.revoked_at IS NULL AND s.expires_at > ? ORDER BY s.id DESC`)
	selectAllOf = store.SQL(`SELECT ` + sessionColumns + ` FROM sessions s WHERE s.user_id = ? ORDER BY s.id DESC LIMIT 1000`)
	selectLive  = store.SQL(`SELECT id FROM sessions
		WHERE user_id = ? AND revoked_at IS NULL AND id <> ?`)
	selectLastOn   = store.SQL(`SELECT max(id) FROM sessions WHERE user_id = ? AND COALESCE(device_id, '') = ?`)
	markSeen       = store.SQL(`UPDATE sessions SET last_seen_at = ?, network = ? WHERE id = ? AND last_seen_at <= ?`)
	elevateSession = store.SQL(`UPDATE sessions SET level = ?, methods = ?, auth_time = ?
		WHERE id = ? AND revoked_at IS NULL AND expires_at > ?`)
	endMany = store.SQL(`UPDATE sessions SET revoked_at = ?, revoked_reason = ?, version = version + 1
		WHERE revoked_at IS NULL AND id IN (?*)`)
	deleteExpired = store.SQL(`DELETE FROM sessions WHERE id IN
		(SELECT id FROM sessions WHERE expires_at < ? ORDER BY expires_at LIMIT 500)`)
)

var (
	suspendSession = store.SQL(`UPDATE sessions SET suspended_at = ?
		WHERE id = ? AND revoked_at IS NULL AND suspended_at IS NULL`)
	liftSession = store.SQL(`UPDATE sessions SET suspended_at = NULL, version = version + 1, device_id = ?,
		agent = ?, network = ?, auth_time = ?, last_seen_at = ?, expires_at = ?
		WHERE id = ? AND revoked_at IS NULL AND suspended_at IS NOT NULL`)
	selectSuspended = store.SQL(`SELECT ` + sessionColumns + ` FROM sessions s
		WHERE s.user_id = ? AND s.revoked_at IS NULL AND s.suspended_at IS NOT NULL ORDER BY s.id`)
)

var (
	selectKnown = store.SQL(`SELECT count(*), max(CASE WHEN mark = ? THEN last_seen_at END),
		count(CASE WHEN first_seen_at > ? THEN 1 END) FROM known_devices WHERE user_id = ?`)
	rememberDevice = store.SQL(`INSERT INTO known_devices (user_id, mark, first_seen_at, last_seen_at)
		VALUES (?, ?, ?, ?)
		ON CONFLICT (user_id, mark) DO UPDATE SET last_seen_at = excluded.last_seen_at,
		first_seen_at = CASE WHEN known_devices.last_seen_at <= ? THEN excluded.first_seen_at ELSE known_devices.first_seen_at END`)
	forgetDevices = store.SQL(`DELETE FROM known_devices WHERE user_id = ? AND mark IN
		(SELECT mark FROM known_devices WHERE user_id = ? ORDER BY last_seen_at DESC, mark LIMIT 1000 OFFSET ?)`)
	deleteDevices = store.SQL(`DELETE FROM known_devices WHERE (user_id, mark) IN
		(SELECT d.user_id, d.mark FROM known_devices d WHERE d.last_seen_at < ? AND EXISTS
		(SELECT 1 FROM known_devices later WHERE later.user_id = d.user_id AND later.last_seen_at > d.last_seen_at)
		ORDER BY d.last_seen_at LIMIT 500)`)
)

var (
	selectPrincipal = store.SQL(`SELECT status, roles, email_verified FROM principals WHERE user_id = ?`)
	selectRecord    = store.SQL(`SELECT s.user_id, s.version, s.level, s.methods, s.auth_time, s.last_seen_at,
		s.revoked_reason, s.suspended_at, s.device_id, s.agent, s.network, p.status, p.roles, p.email_verified
		FROM sessions s JOIN principals p ON p.user_id = s.user_id WHERE s.id = ?`)
)

var (
	insertToken = store.SQL(`INSERT INTO refresh_tokens
		(hash, session_id, generation, parent, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)`)
	claimToken    = store.SQL(`UPDATE refresh_tokens SET used_at = ? WHERE hash = ? AND used_at IS NULL`)
	selectRenewal = store.SQL(`SELECT ` + sessionColumns + `, p.status, p.roles, p.email_verified,
		t.generation, t.used_at, t.expires_at, child.used_at, child.expires_at
		FROM refresh_tokens t
		JOIN sessions s ON s.id = t.session_id
		JOIN principals p ON p.user_id = s.user_id
		LEFT JOIN refresh_tokens child ON child.session_id = t.session_id AND child.generation = t.generation + 1
		WHERE t.hash = ?`)
	forgetTokens = store.SQL(`DELETE FROM refresh_tokens WHERE session_id = ? AND generation <= ?`)
	deleteTokens = store.SQL(`DELETE FROM refresh_tokens WHERE session_id = ?`)
)

var (
	insertNotices = store.SQL(`INSERT INTO session_outbox (id, subject, created_at)
		SELECT id, id, CAST(? AS BIGINT) FROM sessions WHERE id IN (?*)
		ON CONFLICT (id) DO UPDATE SET created_at = excluded.created_at`)
	selectNotices = store.SQL(`SELECT o.id, COALESCE(s.revoked_reason, CASE WHEN s.suspended_at IS NOT NULL THEN 'SUSPENDED' END) FROM session_outbox o
		LEFT JOIN sessions s ON s.id = o.subject
		WHERE o.created_at <= ? ORDER BY o.created_at LIMIT 500`)
	deleteNotices = store.SQL(`DELETE FROM session_outbox WHERE created_at <= ? AND id IN (?*)`)
)

var (
	lockKeys = store.SQL(`INSERT INTO signing_keys (id, algorithm, sealed, state, created_at)
		VALUES ('lock', '', ?, 'LOCK', ?)
		ON CONFLICT (id) DO UPDATE SET created_at = excluded.created_at`)
	selectKeys = store.SQL(`SELECT id, state, sealed, retired_at FROM signing_keys
		WHERE state IN ('CURRENT', 'NEXT', 'RETIRED') ORDER BY created_at DESC, id`)
	insertKey = store.SQL(`INSERT INTO signing_keys (id, algorithm, sealed, state, created_at, activated_at)
		VALUES (?, ?, ?, ?, ?, ?)`)
	activateKey   = store.SQL(`UPDATE signing_keys SET state = 'CURRENT', activated_at = ? WHERE id = ?`)
	retireKey     = store.SQL(`UPDATE signing_keys SET state = 'RETIRED', sealed = ?, retired_at = ? WHERE id = ?`)
	deleteRetired = store.SQL(`DELETE FROM signing_keys WHERE state = 'RETIRED' AND retired_at < ?`)
)

// principal is what session may know of a user, from the view of that name.
type principal struct {
	status   string
	roles    string // separated by spaces
	verified bool
}

func (p principal) active() bool { return p.status == "ACTIVE" }

func (p *principal) columns() []any { return []any{&p.status, &p.roles, &p.verified} }

func (s *Sessions) principal(ctx context.Context, r store.Reader, user viewer.UserID) (principal, error) {
	p, err := store.One(ctx, r, selectPrincipal, func(scan store.Scan) (p principal, err error) {
		err = scan(p.columns()...)
		return p, err
	}, user)
	if err != nil {
		return p, fmt.Errorf("read user %s: %w", user, err)
	}
	return p, nil
}

func insertSessionTx(ctx context.Context, tx *store.Tx, s Session) error {
	_, err := tx.Exec(ctx, insertSession, s.ID, s.User, s.Version, s.Mode, int64(s.Level),
		strings.Join(s.Methods, " "), store.At(s.AuthTime), s.Remember, store.OrNull(s.Device.ID),
		store.OrNull(s.Device.Name), s.Agent, s.Network, store.At(s.CreatedAt), store.At(s.LastSeenAt),
		store.At(s.ExpiresAt))
	if err != nil {
		return fmt.Errorf("insert session: %w", err)
	}
	return nil
}

func insertTokenTx(ctx context.Context, tx *store.Tx, t refreshToken) error {
	_, err := tx.Exec(ctx, insertToken, t.hash[:], t.session, t.generation, t.parent,
		store.At(t.createdAt), store.At(t.expiresAt))
	if err != nil {
		return fmt.Errorf("insert refresh token: %w", err)
	}
	return nil
}

// columns are the places for sessionColumns; methods is the text that becomes Methods.
func (s *Session) columns(methods *string) []any {
	return []any{
		&s.ID, &s.User, &s.Version, &s.Mode, &s.Level, methods, store.Time(&s.AuthTime), &s.Remember,
		store.Text(&s.Device.ID), store.Text(&s.Device.Name), &s.Agent, &s.Network,
		store.Time(&s.CreatedAt), store.Time(&s.LastSeenAt), store.Time(&s.ExpiresAt),
		store.Time(&s.RevokedAt), store.Text(&s.Reason), store.Time(&s.SuspendedAt),
	}
}

func scanSession(scan store.Scan) (s Session, err error) {
	var methods string
	err = scan(s.columns(&methods)...)
	s.Methods = strings.Fields(methods)
	return s, err
}

func findRenewal(ctx context.Context, r store.Reader, hash token.OpaqueHash) (renewal, error) {
	return store.One(ctx, r, selectRenewal, func(scan store.Scan) (n renewal, err error) {
		var methods string
		into := append(n.session.columns(&methods), n.principal.columns()...)
		into = append(into, &n.generation, store.Time(&n.usedAt), store.Time(&n.expiresAt),
			store.Time(&n.childUsedAt), store.Time(&n.childExpiresAt))
		err = scan(into...)
		n.hash, n.session.Methods = hash, strings.Fields(methods)
		return n, err
	}, hash[:])
}

func selectRecordOf(ctx context.Context, r store.Reader, id viewer.SessionID) (record, error) {
	return store.One(ctx, r, selectRecord, func(scan store.Scan) (rec record, err error) {
		var p principal
		var suspendedAt time.Time
		var methods string
		into := []any{
			&rec.User, &rec.Version, &rec.Level, &methods, store.Time(&rec.AuthTime), store.Time(&rec.LastSeenAt),
			store.Text(&rec.Reason), store.Time(&suspendedAt), store.Text(&rec.Home.Device), &rec.Home.Agent, &rec.Network,
		}
		err = scan(append(into, p.columns()...)...)
		rec.Suspended = !suspendedAt.IsZero()
		rec.Methods, rec.Verified, rec.Active = strings.Fields(methods), p.verified, p.active()
		rec.Roles = []viewer.Role{viewer.User}
		for _, role := range strings.Fields(p.roles) {
			rec.Roles = append(rec.Roles, viewer.Role(role))
		}
		return rec, err
	}, id)
}

// sessionsWhere runs a statement of sessionColumns with a list, in as few parts as the store allows.
func sessionsWhere[T any](ctx context.Context, r store.Reader, q *store.Query, list []T, rest ...any) ([]Session, error) {
	var found []Session
	for part := range slices.Chunk(list, store.MaxList) {
		sized, size := q.List(len(part))
		some, err := store.All(ctx, r, sized, scanSession, append(store.Values(part, size), rest...)...)
		if err != nil {
			return nil, fmt.Errorf("read sessions: %w", err)
		}
		found = append(found, some...)
	}
	return found, nil
}

// execMany runs a statement whose list comes last, in as few parts as the store allows.
func execMany[T any](ctx context.Context, tx *store.Tx, q *store.Query, list []T, first ...any) error {
	for part := range slices.Chunk(list, store.MaxList) {
		sized, size := q.List(len(part))
		if _, err := tx.Exec(ctx, sized, append(slices.Clone(first), store.Values(part, size)...)...); err != nil {
			return err
		}
	}
	return nil
}

func scanKnown(scan store.Scan) (k known, err error) {
	err = scan(&k.all, store.Time(&k.last), &k.recent)
	return k, err
}
