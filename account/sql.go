package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/internal/cache"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

const columns = `id, email_sealed, name_sealed, email_verified, locale, roles, status, version, created_at, updated_at,
	must_reset, deletes_at`

const insertUserText = `INSERT INTO users (id, email_sealed, email_index, email_verified, name_sealed,
	locale, password_hash, roles, status, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// lastingAdmin chooses the administrators who will be there tomorrow.
const lastingAdmin = `' ' || roles || ' ' LIKE '% ADMIN %' AND status = 'ACTIVE' AND deletes_at IS NULL`

var (
	selectByID      = store.SQL(`SELECT ` + columns + ` FROM users WHERE id = ?`)
	selectByIDs     = store.SQL(`SELECT ` + columns + ` FROM users WHERE id IN (?*)`)
	selectByEmail   = store.SQL(`SELECT ` + columns + `, password_hash FROM users WHERE email_index = ?`)
	selectIDOf      = store.SQL(`SELECT COALESCE((SELECT id FROM users WHERE email_index = ?), '')`)
	selectSecret    = store.SQL(`SELECT ` + columns + `, password_hash FROM users WHERE id = ?`)
	insertUser      = store.SQL(insertUserText)
	replacePassword = store.SQL(`UPDATE users SET password_hash = ?, must_reset = FALSE, version = version + 1, updated_at = ?
		WHERE id = ? AND password_hash = ?`)
	rehashPassword = store.SQL(`UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ?`)
	updateRoles    = store.SQL(`UPDATE users SET roles = ?, version = version + 1, updated_at = ? WHERE id = ?`)
	updateStatus   = store.SQL(`UPDATE users SET status = ?, version = version + 1, updated_at = ? WHERE id = ? AND status <> 'DELETING'`)
	lockVersion    = store.SQL(`SELECT version FROM users WHERE id = ?`).
			On(store.Postgres, `SELECT version FROM users WHERE id = ? FOR SHARE`)
	lockAdmins = store.SQL(`SELECT id FROM users WHERE `+lastingAdmin+` ORDER BY id`).
			On(store.Postgres, `SELECT id FROM users WHERE `+lastingAdmin+` ORDER BY id FOR UPDATE`)
	countAdmins    = store.SQL(`SELECT count(*) FROM users WHERE ' ' || roles || ' ' LIKE '% ADMIN %'`)
	selectAnyIndex = store.SQL(`SELECT id, email_sealed, email_index FROM users ORDER BY id LIMIT 1`)
	verifyEmail    = store.SQL(`UPDATE users SET email_verified = TRUE, version = version + 1, updated_at = ?
		WHERE id = ?`)
	resetPassword = store.SQL(`UPDATE users SET password_hash = ?, must_reset = FALSE, version = version + 1, updated_at = ?
		WHERE id = ?`)
	demandReset = store.SQL(`UPDATE users SET must_reset = password_hash IS NOT NULL, version = version + 1, updated_at = ?
		WHERE id = ?`)
	updateEmail = store.SQL(`UPDATE users SET email_sealed = ?, email_index = ?, email_verified = TRUE,
		version = version + 1, updated_at = ? WHERE id = ?`)
	updateProfile = store.SQL(`UPDATE users SET name_sealed = ?, locale = ?, updated_at = ? WHERE id = ?`)
)

// Imports: what is there already, and what is not yet.
var (
	insertUnlessThere = store.SQL(insertUserText + ` ON CONFLICT DO NOTHING`)
	selectThere       = store.SQL(`SELECT id FROM users WHERE id IN (?*)`)
	selectTaken       = store.SQL(`SELECT email_index FROM users WHERE email_index IN (?*)`)
	selectAllKept     = store.SQL(`SELECT slot FROM proofs WHERE slot IN (?*) AND purpose = ? AND used_at IS NULL AND expires_at > ?`)
)

// An account's end.
var (
	scheduleDeletion = store.SQL(`UPDATE users SET deletes_at = ?, updated_at = ? WHERE id = ? AND deletes_at IS NULL`)
	cancelDeletion   = store.SQL(`UPDATE users SET deletes_at = NULL, updated_at = ?
		WHERE id = ? AND deletes_at IS NOT NULL AND status <> 'DELETING'`)
	selectDue = store.SQL(`SELECT id FROM users WHERE deletes_at IS NOT NULL AND deletes_at <= ?
		AND ' ' || roles || ' ' NOT LIKE '% ADMIN %' ORDER BY deletes_at LIMIT ?`)
	beginDeletion = store.SQL(`UPDATE users SET status = 'DELETING', version = version + 1, updated_at = ?
		WHERE id = ? AND deletes_at <= ? AND ' ' || roles || ' ' NOT LIKE '% ADMIN %'`)
	deleteUser = store.SQL(`DELETE FROM users WHERE id = ? AND status = 'DELETING'`)
)

// proofColumns are what scanProof reads.
const proofColumns = `id, user_id, purpose, slot, code_hash, sealed, created_at, expires_at, used_at`

var (
	insertProof = store.SQL(`INSERT INTO proofs (id, user_id, purpose, slot, link_hash, code_hash, sealed, created_at, expires_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (user_id, purpose, slot) DO UPDATE SET id = excluded.id, link_hash = excluded.link_hash,
			code_hash = excluded.code_hash, sealed = excluded.sealed, tries = 0, created_at = excluded.created_at,
			expires_at = excluded.expires_at, used_at = NULL`)
	selectByLink = store.SQL(`SELECT ` + proofColumns + ` FROM proofs WHERE link_hash = ? AND purpose = ?`)
	claimByLink  = store.SQL(`UPDATE proofs SET used_at = ? WHERE link_hash = ? AND purpose = ? AND used_at IS NULL
		AND expires_at > ? RETURNING ` + proofColumns)
	countTry = store.SQL(`UPDATE proofs SET tries = tries + 1 WHERE user_id = ? AND purpose = ? AND slot = ?
		AND used_at IS NULL AND expires_at > ? AND tries < ? RETURNING ` + proofColumns)
	selectUsedSince = store.SQL(`SELECT 1 FROM proofs WHERE user_id = ? AND purpose = ? AND used_at > ? LIMIT 1`)
	useProof        = store.SQL(`UPDATE proofs SET used_at = ? WHERE id = ?`)
	voidProofs      = store.SQL(`DELETE FROM proofs WHERE user_id = ? AND used_at IS NULL AND purpose IN (?, ?, ?)`)
	forgetLater     = store.SQL(`DELETE FROM proofs WHERE user_id = ? AND created_at >= ? AND id <> ?`)
	selectKept      = store.SQL(`SELECT 1 FROM proofs WHERE purpose = ? AND slot = ? AND used_at IS NULL AND expires_at > ?
		AND user_id <> ? LIMIT 1`)
	selectWayBack = store.SQL(`SELECT ` + proofColumns + ` FROM proofs WHERE user_id = ? AND purpose = ? AND slot = ?
		AND used_at IS NULL AND expires_at > ?`)
	deleteExpired = store.SQL(`DELETE FROM proofs WHERE id IN (SELECT id FROM proofs WHERE expires_at < ? ORDER BY expires_at LIMIT 500)`)
)

func scanProof(scan store.Scan) (p Proof, err error) {
	err = scan(&p.ID, &p.User, &p.Purpose, &p.slot, &p.codeHash, &p.sealed, store.Time(&p.createdAt),
		store.Time(&p.ExpiresAt), store.Time(&p.usedAt))
	return p, err
}

func (r *row) into() []any {
	return []any{
		&r.ID, &r.EmailSealed, &r.NameSealed, &r.Verified, &r.Locale, &r.RoleNames, &r.Status, &r.Version,
		store.Time(&r.CreatedAt), store.Time(&r.UpdatedAt), &r.MustReset, store.Time(&r.DeletesAt),
	}
}

func scanRow(scan store.Scan) (r row, err error) {
	err = scan(r.into()...)
	return r, err
}

// scanSecret scans columns and the password's hash.
func scanSecret(scan store.Scan) (r secretRow, err error) {
	err = scan(append(r.into(), store.Text(&r.hash))...)
	return r, err
}

// read reads one row for the cache.
func (a *Accounts) read(ctx context.Context, id viewer.UserID) (row, error) {
	r, err := store.One(ctx, a.db, selectByID, scanRow, id)
	if errors.Is(err, store.ErrNotFound) {
		return row{}, cache.ErrAbsent
	}
	return r, err
}

// readMany reads rows for the cache.
func (a *Accounts) readMany(ctx context.Context, ids []viewer.UserID) (map[viewer.UserID]row, error) {
	rows, err := store.Many(ctx, a.db, selectByIDs, scanRow, ids)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	found := make(map[viewer.UserID]row, len(rows))
	for _, r := range rows {
		found[r.ID] = r
	}
	return found, nil
}

func (a *Accounts) insertTx(ctx context.Context, tx *store.Tx, r secretRow, index []byte) error {
	_, err := tx.Exec(ctx, insertUser, r.values(index)...)
	return err
}

// values are the parameters of insertUserText.
func (r *secretRow) values(index []byte) []any {
	return []any{
		r.ID, r.EmailSealed, index, r.Verified, r.NameSealed, r.Locale,
		store.OrNull(r.hash), r.RoleNames, r.Status, store.At(r.CreatedAt), store.At(r.UpdatedAt),
	}
}

const factorColumns = `id, user_id, kind, sealed, name_sealed, counter, code_hash, code_expires_at, created_at,
	confirmed_at, last_used_at`

var (
	lockUser = store.SQL(`SELECT `+columns+` FROM users WHERE id = ?`).
			On(store.Postgres, `SELECT `+columns+` FROM users WHERE id = ? FOR NO KEY UPDATE`)
	bumpVersion   = store.SQL(`UPDATE users SET version = version + 1, updated_at = ? WHERE id = ?`)
	selectFactors = store.SQL(`SELECT ` + factorColumns + ` FROM factors
		WHERE user_id = ? AND confirmed_at IS NOT NULL ORDER BY id`)
	countFactors    = store.SQL(`SELECT count(*) FROM factors WHERE user_id = ? AND confirmed_at IS NOT NULL`)
	selectFactorsOf = store.SQL(`SELECT ` + factorColumns + ` FROM factors
		WHERE user_id = ? AND kind = ? AND confirmed_at IS NOT NULL ORDER BY id`)
	selectFactorsOfMany = store.SQL(`SELECT ` + factorColumns + ` FROM factors
		WHERE user_id IN (?*) AND confirmed_at IS NOT NULL ORDER BY id`)
	selectConfirmed = store.SQL(`SELECT ` + factorColumns + ` FROM factors WHERE id IN (?*) AND confirmed_at IS NOT NULL`)
	selectFactor    = store.SQL(`SELECT ` + factorColumns + ` FROM factors WHERE id = ?`)
	selectByLookup  = store.SQL(`SELECT ` + factorColumns + ` FROM factors WHERE lookup = ?`)
	selectKinds     = store.SQL(`SELECT kind FROM factors WHERE user_id = ? AND confirmed_at IS NOT NULL
		UNION SELECT 'RECOVERY_CODE' FROM recovery_codes WHERE user_id = ?`)
	insertFactor = store.SQL(`INSERT INTO factors (id, user_id, kind, sealed, name_sealed, lookup, counter,
		code_hash, code_expires_at, created_at, confirmed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	confirmFactor = store.SQL(`UPDATE factors SET confirmed_at = ?, counter = ?, code_hash = NULL, code_expires_at = NULL
		WHERE id = ? AND confirmed_at IS NULL`)
	useFactor    = store.SQL(`UPDATE factors SET counter = ?, last_used_at = ? WHERE id = ? AND counter < ?`)
	touchFactor  = store.SQL(`UPDATE factors SET last_used_at = ? WHERE id = ?`)
	countCodeTry = store.SQL(`UPDATE factors SET code_tries = code_tries + 1 WHERE id = ? AND code_tries < ?`)
	usePasskey   = store.SQL(`UPDATE factors SET sealed = ?, counter = ?, last_used_at = ?
		WHERE id = ? AND (counter < ? OR CAST(? AS BIGINT) = 0)`)
	deleteFactor  = store.SQL(`DELETE FROM factors WHERE id = ?`)
	deleteFactors = store.SQL(`DELETE FROM factors WHERE user_id = ?`)
	deletePending = store.SQL(`DELETE FROM factors WHERE user_id = ? AND kind = ? AND confirmed_at IS NULL`)
	prunePending  = store.SQL(`DELETE FROM factors WHERE id IN
		(SELECT id FROM factors WHERE confirmed_at IS NULL AND created_at < ? LIMIT 500)`)
)

var (
	countRecoveryCodes       = store.SQL(`SELECT user_id, count(*) FROM recovery_codes WHERE user_id IN (?*) GROUP BY user_id`)
	selectRecoveryCodes      = store.SQL(`SELECT hash FROM recovery_codes WHERE user_id = ?`)
	insertRecoveryCode       = store.SQL(`INSERT INTO recovery_codes (user_id, hash, created_at) VALUES (?, ?, ?)`)
	deleteRecoveryCode       = store.SQL(`DELETE FROM recovery_codes WHERE user_id = ? AND hash = ?`)
	deleteFreshFactors       = store.SQL(`DELETE FROM factors WHERE user_id = ? AND (created_at > ? OR confirmed_at > ?)`)
	deleteFreshRecoveryCodes = store.SQL(`DELETE FROM recovery_codes WHERE user_id = ? AND created_at > ?`)

	deleteRecoveryCodes = store.SQL(`DELETE FROM recovery_codes WHERE user_id = ?`)
)

const trustedColumns = `id, user_id, name, agent, network, created_at, last_used_at, expires_at`

var (
	insertTrusted = store.SQL(`INSERT INTO trusted_devices (id, user_id, hash, name, agent, network, created_at, last_used_at, expires_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	useTrusted = store.SQL(`UPDATE trusted_devices SET last_used_at = ?
		WHERE hash = ? AND user_id = ? AND expires_at > ?`)
	selectTrusted = store.SQL(`SELECT ` + trustedColumns + ` FROM trusted_devices
		WHERE user_id IN (?*) AND expires_at > ? ORDER BY id DESC`)
	selectTrustedByIDs   = store.SQL(`SELECT ` + trustedColumns + ` FROM trusted_devices WHERE id IN (?*)`)
	deleteOneTrusted     = store.SQL(`DELETE FROM trusted_devices WHERE id = ? AND user_id = ?`)
	deleteTrusted        = store.SQL(`DELETE FROM trusted_devices WHERE user_id = ?`)
	deleteSurplusTrusted = store.SQL(`DELETE FROM trusted_devices WHERE user_id = ? AND id NOT IN
		(SELECT id FROM trusted_devices WHERE user_id = ? ORDER BY id DESC LIMIT ?)`)
	pruneTrusted = store.SQL(`DELETE FROM trusted_devices WHERE id IN
		(SELECT id FROM trusted_devices WHERE expires_at <= ? LIMIT 500)`)
)

var (
	insertCeremony  = store.SQL(`INSERT INTO passkey_ceremonies (hash, user_id, sealed, expires_at) VALUES (?, ?, ?, ?)`)
	selectCeremony  = store.SQL(`SELECT user_id, sealed, expires_at FROM passkey_ceremonies WHERE hash = ?`)
	deleteCeremony  = store.SQL(`DELETE FROM passkey_ceremonies WHERE hash = ?`)
	pruneCeremonies = store.SQL(`DELETE FROM passkey_ceremonies WHERE hash IN
		(SELECT hash FROM passkey_ceremonies WHERE expires_at <= ? LIMIT 500)`)
)

// factorRow is a factor as the database holds it: sealed.
type factorRow struct {
	Factor      // without its name
	sealed      []byte
	nameSealed  []byte
	lookup      []byte // of passkeys: the SHA-256 of the credential's id
	counter     int64  // of TOTP the last step used, of passkeys the signature counter
	codeHash    []byte // of a phone that waits to be confirmed
	codeExpires time.Time
	confirmedAt time.Time // zero: not yet
}

func scanFactor(scan store.Scan) (r factorRow, err error) {
	err = scan(&r.ID, &r.User, &r.Kind, &r.sealed, &r.nameSealed, &r.counter, &r.codeHash, store.Time(&r.codeExpires),
		store.Time(&r.CreatedAt), store.Time(&r.confirmedAt), store.Time(&r.LastUsedAt))
	return r, err
}

func scanTrusted(scan store.Scan) (d TrustedDevice, err error) {
	err = scan(&d.ID, &d.User, &d.Name, &d.Agent, &d.Network, store.Time(&d.CreatedAt), store.Time(&d.LastUsedAt),
		store.Time(&d.ExpiresAt))
	return d, err
}

const identityColumns = `id, user_id, provider, issuer, profile_sealed, linked_at, used_at, profile_at`

var (
	selectIdentities      = store.SQL(`SELECT ` + identityColumns + ` FROM identities WHERE user_id IN (?*) ORDER BY id`)
	selectIdentitiesByIDs = store.SQL(`SELECT ` + identityColumns + ` FROM identities WHERE id IN (?*)`)
	selectBySubject       = store.SQL(`SELECT ` + identityColumns + ` FROM identities WHERE subject_index = ?`)
	countIdentities       = store.SQL(`SELECT count(*) FROM identities WHERE user_id = ?`)
	countWaysIn           = store.SQL(`SELECT (SELECT count(*) FROM identities WHERE user_id = ?) +
		(SELECT count(*) FROM factors WHERE kind = ? AND user_id = ? AND confirmed_at IS NOT NULL)`)
	insertIdentity = store.SQL(`INSERT INTO identities (id, user_id, provider, issuer, subject_index, profile_sealed,
		tokens_sealed, linked_at, used_at, profile_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	meetIdentity          = store.SQL(`UPDATE identities SET provider = ?, profile_sealed = ?, used_at = ?, profile_at = ? WHERE id = ?`)
	replaceTokens         = store.SQL(`UPDATE identities SET tokens_sealed = ?, claimed_until = NULL WHERE id = ?`)
	updateIdentityProfile = store.SQL(`UPDATE identities SET profile_sealed = ?, profile_at = ? WHERE id = ?`)
	deleteIdentity        = store.SQL(`DELETE FROM identities WHERE id = ? AND user_id = ?`)
	deleteFreshIdentities = store.SQL(`DELETE FROM identities WHERE user_id = ? AND linked_at > ?`)
	deleteIdentities      = store.SQL(`DELETE FROM identities WHERE user_id = ?`)

	selectTokens = store.SQL(`SELECT tokens_sealed FROM identities WHERE id = ?`)
	claimTokens  = store.SQL(`UPDATE identities SET claimed_until = ? WHERE id = ? AND COALESCE(claimed_until, 0) < ?`)
	endClaim     = store.SQL(`UPDATE identities SET tokens_sealed = COALESCE(?, tokens_sealed), claimed_until = NULL
		WHERE id = ? AND claimed_until = ?`)
)

var (
	selectLocked = store.SQL(`SELECT `+columns+`, password_hash FROM users WHERE id = ?`).
			On(store.Postgres, `SELECT `+columns+`, password_hash FROM users WHERE id = ? FOR UPDATE`)
	selectLockedByEmail = store.SQL(`SELECT `+columns+`, password_hash FROM users WHERE email_index = ?`).
				On(store.Postgres, `SELECT `+columns+`, password_hash FROM users WHERE email_index = ? FOR UPDATE`)
	reclaimUser = store.SQL(`UPDATE users SET password_hash = NULL, must_reset = FALSE, name_sealed = NULL,
		email_verified = TRUE, deletes_at = NULL, version = version + 1, updated_at = ? WHERE id = ?`)
)

func scanIdentity(scan store.Scan) (r identityRow, err error) {
	err = scan(&r.ID, &r.User, &r.Provider, &r.Issuer, &r.profileSealed,
		store.Time(&r.LinkedAt), store.Time(&r.UsedAt), store.Time(&r.ProfileAt))
	return r, err
}
