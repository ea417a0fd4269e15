package login

import "gatehouse/internal/store"

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
