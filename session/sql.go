package session

import (
	"context"
	"errors"
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
	s.revoked_at, s.revoked_reason, s.suspended_at, s.actor_id, s.read_only`

var (
	insertSession = store.SQL(`INSERT INTO sessions (id, user_id, version, mode, level, methods, auth_time,
		remember, device_id, device_name, agent, network, created_at, last_seen_at, expires_at, actor_id, read_only)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	renewSession = store.SQL(`UPDATE sessions SET expires_at = ?, last_seen_at = ?, network = ?
		WHERE id = ? AND revoked_at IS NULL AND suspended_at IS NULL`)
	selectSurplus = store.SQL(`SELECT id FROM sessions
		WHERE user_id = ? AND revoked_at IS NULL AND expires_at > ? AND actor_id IS NULL
		ORDER BY id DESC LIMIT 100 OFFSET ?`)
	selectSessions = store.SQL(`SELECT ` + sessionColumns + ` FROM sessions s WHERE s.id IN (?*)`)
	oneSession     = store.SQL(`SELECT ` + sessionColumns + ` FROM sessions s WHERE s.id = ?`)
	selectByUsers  = store.SQL(`SELECT ` + sessionColumns + ` FROM sessions s
		WHERE s.user_id IN (?*) AND s.revoked_at IS NULL AND s.expires_at > ? ORDER BY s.id DESC`)
	selectAllOf = store.SQL(`SELECT ` + sessionColumns + ` FROM sessions s WHERE s.user_id = ? ORDER BY s.id DESC LIMIT 1000`)
	selectLive  = store.SQL(`SELECT id FROM sessions
		WHERE (user_id = ? OR actor_id = ?) AND revoked_at IS NULL AND id <> ?`)
	selectActing   = store.SQL(`SELECT id FROM sessions WHERE actor_id = ? AND revoked_at IS NULL`)
	markSeen       = store.SQL(`UPDATE sessions SET last_seen_at = ?, network = ? WHERE id = ? AND last_seen_at <= ?`)
	elevateSession = store.SQL(`UPDATE sessions SET level = ?, methods = ?, auth_time = ?
		WHERE id = ? AND revoked_at IS NULL AND suspended_at IS NULL AND expires_at > ?`)
	endMany = store.SQL(`UPDATE sessions SET revoked_at = ?, revoked_reason = ?, version = version + 1
		WHERE revoked_at IS NULL AND id IN (?*)`)
	lockLive = store.SQL(`SELECT 1 FROM sessions WHERE id = ? AND user_id = ? AND revoked_at IS NULL AND suspended_at IS NULL`).
			On(store.Postgres, `SELECT 1 FROM sessions WHERE id = ? AND user_id = ? AND revoked_at IS NULL AND suspended_at IS NULL FOR SHARE`)
	deleteExpired = store.SQL(`DELETE FROM sessions WHERE id IN
		(SELECT id FROM sessions WHERE expires_at < ? ORDER BY expires_at LIMIT 500)`)
)

var (
	suspendSession = store.SQL(`UPDATE sessions SET suspended_at = ?
		WHERE id = ? AND revoked_at IS NULL AND suspended_at IS NULL`)
	liftSession = store.SQL(`UPDATE sessions SET suspended_at = NULL, version = version + 1, device_id = ?,
		agent = ?, network = ?, auth_time = ?, last_seen_at = ?, expires_at = ?
		WHERE id = ? AND revoked_at IS NULL AND suspended_at IS NOT NULL AND actor_id IS NULL`)
	selectSuspended = store.SQL(`SELECT ` + sessionColumns + ` FROM sessions s
		WHERE s.user_id = ? AND s.revoked_at IS NULL AND s.suspended_at IS NOT NULL ORDER BY s.id`)
)

var (
	selectKnown = store.SQL(`SELECT count(*), max(CASE WHEN mark = ? THEN last_seen_at END),
		count(CASE WHEN first_seen_at > ? THEN 1 END) FROM known_devices WHERE user_id = ?`)
	selectLastFrom = store.SQL(`SELECT (SELECT last_seen_at FROM known_devices WHERE user_id = ? AND mark = ?)`)
	rememberDevice = store.SQL(`INSERT INTO known_devices (user_id, mark, first_seen_at, last_seen_at)
		VALUES (?, ?, ?, ?)
		ON CONFLICT (user_id, mark) DO UPDATE SET last_seen_at = excluded.last_seen_at,
		first_seen_at = CASE WHEN known_devices.last_seen_at <= ? THEN excluded.first_seen_at ELSE known_devices.first_seen_at END`)
	forgetDevices = store.SQL(`DELETE FROM known_devices WHERE user_id = ? AND mark IN
		(SELECT mark FROM known_devices WHERE user_id = ? ORDER BY last_seen_at DESC, mark LIMIT 1000 OFFSET ?)`)
	selectDevices    = store.SQL(`SELECT first_seen_at, last_seen_at FROM known_devices WHERE user_id = ? ORDER BY last_seen_at DESC`)
	forgetAllDevices = store.SQL(`DELETE FROM known_devices WHERE user_id = ?`)
	deleteDevices    = store.SQL(`DELETE FROM known_devices WHERE (user_id, mark) IN
		(SELECT d.user_id, d.mark FROM known_devices d WHERE d.last_seen_at < ? AND EXISTS
		(SELECT 1 FROM known_devices later WHERE later.user_id = d.user_id AND later.last_seen_at > d.last_seen_at)
		ORDER BY d.last_seen_at LIMIT 500)`)
)

var (
	selectPrincipal = store.SQL(`SELECT status, roles, email_verified FROM principals WHERE user_id = ?`)
	selectRecord    = store.SQL(`SELECT s.user_id, s.version, s.level, s.methods, s.auth_time, s.last_seen_at,
		s.revoked_reason, s.suspended_at, s.device_id, s.agent, s.network, s.actor_id, s.read_only,
		p.status, p.roles, p.email_verified
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
		SELECT id, id, CAST(? AS BIGINT) FROM (SELECT id FROM sessions
			UNION ALL SELECT id FROM api_keys UNION ALL SELECT id FROM service_accounts) c WHERE id IN (?*)
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

// rolesOf reads the roles of a principal, which do not name USER.
func rolesOf(names string) []viewer.Role {
	roles := []viewer.Role{viewer.User}
	for _, name := range strings.Fields(names) {
		roles = append(roles, viewer.Role(name))
	}
	return roles
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
		store.At(s.ExpiresAt), store.OrNull(s.Actor), s.ReadOnly)
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
		store.Time(&s.RevokedAt), store.Text(&s.Reason), store.Time(&s.SuspendedAt), store.Text(&s.Actor), &s.ReadOnly,
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
			store.Text(&rec.Actor), &rec.ReadOnly,
		}
		err = scan(append(into, p.columns()...)...)
		rec.Suspended = !suspendedAt.IsZero()
		rec.Methods, rec.Verified, rec.Active = strings.Fields(methods), p.verified, p.active()
		rec.Roles = rolesOf(p.roles)
		return rec, err
	}, id)
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

// API keys and service accounts.
var (
	insertKeyRow = store.SQL(`INSERT INTO api_keys (id, owner_id, name, hash, scopes, created_at, expires_at)
		VALUES (?, ?, ?, ?, ?, ?, ?)`)
	countAPIKeys = store.SQL(`SELECT count(*) FROM api_keys
		WHERE owner_id = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)`)
	selectKeysOf = store.SQL(`SELECT id, owner_id, name, scopes, created_at, expires_at, last_used_at FROM api_keys
		WHERE owner_id IN (?*) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?) ORDER BY id DESC`)
	selectKeysByIDs = store.SQL(`SELECT id, owner_id, name, scopes, created_at, expires_at, last_used_at FROM api_keys
		WHERE id IN (?*) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)`)
	ownerOfKey = store.SQL(`SELECT owner_id FROM api_keys WHERE id = ?`)
	revokeKey  = store.SQL(`UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL`)
	markKey    = store.SQL(`UPDATE api_keys SET last_used_at = ? WHERE id = ? AND COALESCE(last_used_at, 0) <= ?`)
	pruneKeys  = store.SQL(`DELETE FROM api_keys WHERE revoked_at < ? OR expires_at < ?`)

	insertService = store.SQL(`INSERT INTO service_accounts (id, owner_id, name, scopes, hash, created_at)
		VALUES (?, ?, ?, ?, ?, ?)`)
	countServices = store.SQL(`SELECT count(*) FROM service_accounts
		WHERE owner_id = ? AND revoked_at IS NULL AND created_at <= ?`)
	selectServicesOf = store.SQL(`SELECT id, owner_id, name, scopes, created_at, last_used_at, former_until
		FROM service_accounts WHERE owner_id IN (?*) AND revoked_at IS NULL ORDER BY id DESC`)
	selectServicesByIDs = store.SQL(`SELECT id, owner_id, name, scopes, created_at, last_used_at, former_until
		FROM service_accounts WHERE id IN (?*) AND revoked_at IS NULL`)
	selectService = store.SQL(`SELECT id, owner_id, name, scopes, created_at, last_used_at, former_until
		FROM service_accounts WHERE id = ? AND revoked_at IS NULL`)
	selectServiceIDs = store.SQL(`SELECT id FROM service_accounts WHERE owner_id = ? ORDER BY id`)
	rotateService    = store.SQL(`UPDATE service_accounts SET former_hash = hash, former_until = ?, hash = ?, rotated_at = ?
		WHERE id = ? AND revoked_at IS NULL`)
	replaceService = store.SQL(`UPDATE service_accounts SET former_hash = NULL, former_until = ?, hash = ?,
		rotated_at = ?, version = version + 1 WHERE id = ? AND revoked_at IS NULL`)
	revokeService = store.SQL(`UPDATE service_accounts SET revoked_at = ?, version = version + 1, former_hash = NULL
		WHERE id = ? AND revoked_at IS NULL`)
	markService   = store.SQL(`UPDATE service_accounts SET last_used_at = ? WHERE id = ? AND COALESCE(last_used_at, 0) <= ?`)
	pruneServices = store.SQL(`DELETE FROM service_accounts WHERE revoked_at < ?`)
	selectClient  = store.SQL(`SELECT a.owner_id, a.version, a.hash, a.former_hash, a.former_until, a.scopes,
		p.status, p.roles, p.email_verified
		FROM service_accounts a JOIN principals p ON p.user_id = a.owner_id WHERE a.id = ? AND a.revoked_at IS NULL`)

	rotateWebhookSecret = store.SQL(`INSERT INTO webhook_secrets (owner_id, version, rotated_at, former_until) VALUES (?, 1, ?, ?)
		ON CONFLICT (owner_id) DO UPDATE SET version = webhook_secrets.version + 1, rotated_at = excluded.rotated_at,
			former_until = excluded.former_until
		RETURNING version`)
	selectWebhookSecret = store.SQL(`SELECT o.id, COALESCE(w.version, 0), COALESCE(w.former_until > CAST(? AS BIGINT), FALSE)
		FROM (SELECT COALESCE((SELECT owner_id FROM service_accounts WHERE id = ?), CAST(? AS TEXT)) AS id) o
		LEFT JOIN webhook_secrets w ON w.owner_id = o.id`)

	selectKeysSince = store.SQL(`SELECT id FROM api_keys
		WHERE owner_id = ? AND created_at >= ? AND revoked_at IS NULL ORDER BY id`)
	selectServicesSince = store.SQL(`SELECT id FROM service_accounts
		WHERE owner_id = ? AND COALESCE(rotated_at, created_at) >= ? AND revoked_at IS NULL ORDER BY id`)

	selectMachines = store.SQL(`SELECT id FROM api_keys WHERE owner_id = ? AND revoked_at IS NULL
		UNION ALL SELECT id FROM service_accounts WHERE owner_id = ? AND revoked_at IS NULL`)
	selectKeyRecord = store.SQL(`SELECT k.owner_id, 0, k.scopes, k.hash, k.expires_at, k.last_used_at, k.revoked_at,
		p.status, p.roles, p.email_verified
		FROM api_keys k JOIN principals p ON p.user_id = k.owner_id WHERE k.id = ?`)
	selectServiceRecord = store.SQL(`SELECT a.id, a.version, a.scopes, a.hash, a.revoked_at, a.last_used_at, a.revoked_at,
		p.status, p.roles, p.email_verified
		FROM service_accounts a JOIN principals p ON p.user_id = a.owner_id WHERE a.id = ?`)

	selectStandings = store.SQL(`SELECT c.id, c.revoked_at, c.revoked_reason, c.suspended_at, c.expires_at,
		p.status, p.roles, p.email_verified
		FROM (SELECT id, user_id, revoked_at, revoked_reason, suspended_at, expires_at FROM sessions
			UNION ALL SELECT id, owner_id, revoked_at, NULL, NULL, expires_at FROM api_keys
			UNION ALL SELECT id, owner_id, revoked_at, NULL, NULL, NULL FROM service_accounts) c
		JOIN principals p ON p.user_id = c.user_id WHERE c.id IN (?*)`)
)

// isMissing reports whether err says that there is no such row.
func isMissing(err error) bool { return errors.Is(err, store.ErrNotFound) }

func insertKeyTx(ctx context.Context, tx *store.Tx, k APIKey, hash token.OpaqueHash) error {
	_, err := tx.Exec(ctx, insertKeyRow, k.ID, k.Owner, k.Name, hash[:], joinScopes(k.Scopes), store.At(k.CreatedAt), store.At(k.ExpiresAt))
	return err
}

func scanAPIKey(scan store.Scan) (k APIKey, err error) {
	var scopes string
	err = scan(&k.ID, &k.Owner, &k.Name, &scopes, store.Time(&k.CreatedAt), store.Time(&k.ExpiresAt), store.Time(&k.LastUsedAt))
	k.Scopes = splitScopes(scopes)
	return k, err
}

func insertServiceTx(ctx context.Context, tx *store.Tx, a ServiceAccount, hash token.OpaqueHash) error {
	_, err := tx.Exec(ctx, insertService, a.ID, a.Owner, a.Name, joinScopes(a.Scopes), hash[:], store.At(a.CreatedAt))
	return err
}

func scanService(scan store.Scan) (a ServiceAccount, err error) {
	var scopes string
	err = scan(&a.ID, &a.Owner, &a.Name, &scopes, store.Time(&a.CreatedAt), store.Time(&a.LastUsedAt), store.Time(&a.FormerUntil))
	a.Scopes = splitScopes(scopes)
	return a, err
}

func scanClient(scan store.Scan) (c client, err error) {
	var scopes string
	into := []any{&c.owner, &c.version, &c.hash, &c.former, store.Time(&c.until), &scopes}
	err = scan(append(into, c.columns()...)...)
	c.scopes = splitScopes(scopes)
	return c, err
}

// markTx notes the last use of a session or machine, and the network of a session, unless another
// server has in the same minute: then it wrote no row.
func markTx(ctx context.Context, tx *store.Tx, id viewer.SessionID, u use) (written int64, err error) {
	at, before := store.At(u.at), store.At(u.at.Add(-seenEvery))
	switch kindOf(id) {
	case "key":
		return tx.Exec(ctx, markKey, at, id, before)
	case "svc":
		return tx.Exec(ctx, markService, at, id, before)
	}
	return tx.Exec(ctx, markSeen, at, u.network, id, before)
}

// kindOf is the prefix of an id, which tells the table.
func kindOf(id viewer.SessionID) string {
	kind, _, _ := strings.Cut(string(id), "_")
	return kind
}

// readRecord reads what decides about each request of a session, an API key or a service account.
func readRecord(ctx context.Context, r store.Reader, id viewer.SessionID) (record, error) {
	switch kindOf(id) {
	case "key":
		return readMachine(ctx, r, selectKeyRecord, id)
	case "svc":
		return readMachine(ctx, r, selectServiceRecord, id)
	}
	return selectRecordOf(ctx, r, id)
}

func readMachine(ctx context.Context, r store.Reader, q *store.Query, id viewer.SessionID) (record, error) {
	return store.One(ctx, r, q, func(scan store.Scan) (rec record, err error) {
		var p principal
		var scopes string
		var revokedAt time.Time
		into := []any{
			&rec.User, &rec.Version, &scopes, &rec.Hash, store.Time(&rec.EndsAt), store.Time(&rec.LastSeenAt), store.Time(&revokedAt),
		}
		err = scan(append(into, p.columns()...)...)
		rec.Scopes, rec.Verified, rec.Active, rec.Roles = splitScopes(scopes), p.verified, p.active(), rolesOf(p.roles)
		if !revokedAt.IsZero() {
			rec.Reason = Revoked
		}
		return rec, err
	}, id)
}

// standings reads what decides about streams of sessions and machines.
func (s *Sessions) standings(ctx context.Context, ids []viewer.SessionID) (map[viewer.SessionID]standing, error) {
	found := make(map[viewer.SessionID]standing, len(ids))
	for part := range slices.Chunk(ids, store.MaxList) {
		sized, size := selectStandings.List(len(part))
		some, err := store.All(ctx, s.db, sized, func(scan store.Scan) (one standing, err error) {
			into := []any{&one.id, store.Time(&one.revokedAt), store.Text(&one.reason), store.Time(&one.suspendedAt), store.Time(&one.expiresAt)}
			err = scan(append(into, one.columns()...)...)
			return one, err
		}, store.Values(part, size)...)
		if err != nil {
			return nil, fmt.Errorf("read watched sessions: %w", err)
		}
		for _, one := range some {
			found[one.id] = one
		}
	}
	return found, nil
}
