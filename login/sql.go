package login

import (
	"strings"

	"gatehouse/account"
	"gatehouse/internal/store"
)

var (
	insertChallenge = store.SQL(`INSERT INTO challenges (hash, user_id, user_version, purpose, session_id, methods, sealed, expires_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`)
	selectChallenge = store.SQL(`SELECT user_id, user_version, purpose, session_id, methods, sealed, tries, code_method,
		code_hash, expires_at, used_at FROM challenges WHERE hash = ?`)
	countTry = store.SQL(`UPDATE challenges SET tries = tries + 1
		WHERE hash = ? AND tries < ? AND used_at IS NULL AND expires_at > ?`)
	useChallenge = store.SQL(`UPDATE challenges SET used_at = ?, code_hash = NULL WHERE hash = ? AND used_at IS NULL`)
	keepCode     = store.SQL(`UPDATE challenges SET codes_sent = codes_sent + 1, code_method = ?, code_hash = ?
		WHERE hash = ? AND codes_sent < ? AND used_at IS NULL AND expires_at > ?`)
	pruneChallenges = store.SQL(`DELETE FROM challenges WHERE hash IN
		(SELECT hash FROM challenges WHERE expires_at <= ? LIMIT 500)`)
)

func scanChallenge(scan store.Scan) (w waiting, err error) {
	var methods string
	err = scan(&w.user, &w.version, &w.purpose, store.Text(&w.session), &methods, &w.sealed, &w.tries, store.Text(&w.codeBy),
		&w.codeHash, store.Time(&w.expiresAt), store.Time(&w.usedAt))
	for _, m := range strings.Fields(methods) {
		w.methods = append(w.methods, account.Method(m))
	}
	return w, err
}

func joined(methods []account.Method) string {
	texts := make([]string, len(methods))
	for i, m := range methods {
		texts[i] = string(m)
	}
	return strings.Join(texts, " ")
}

var (
	insertFlow = store.SQL(`INSERT INTO oauth_flows (state_hash, sealed, expires_at) VALUES (?, ?, ?)`)
	selectFlow = store.SQL(`SELECT sealed FROM oauth_flows WHERE state_hash = ?`)
	takeFlow   = store.SQL(`DELETE FROM oauth_flows WHERE state_hash = ?`)
	sweepFlows = store.SQL(`DELETE FROM oauth_flows WHERE state_hash IN
		(SELECT state_hash FROM oauth_flows WHERE expires_at < ? ORDER BY expires_at LIMIT 100)`)

	insertExchange = store.SQL(`INSERT INTO oauth_exchanges (code_hash, sealed, expires_at) VALUES (?, ?, ?)`)
	selectExchange = store.SQL(`SELECT sealed FROM oauth_exchanges WHERE code_hash = ?`)
	takeExchange   = store.SQL(`DELETE FROM oauth_exchanges WHERE code_hash = ?`)
	sweepExchanges = store.SQL(`DELETE FROM oauth_exchanges WHERE code_hash IN
		(SELECT code_hash FROM oauth_exchanges WHERE expires_at < ? ORDER BY expires_at LIMIT 100)`)
)
