package account

import "gatehouse/internal/cache"

// CacheStats returns the counts of the cache of accounts.
func (a *Accounts) CacheStats() []cache.Stats { return []cache.Stats{a.rows.Stats()} }
