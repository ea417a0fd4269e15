package session

import "gatehouse/internal/cache"

// CacheStats returns the counts of the caches of verified tokens and of session records.
func (s *Sessions) CacheStats() []cache.Stats {
	return []cache.Stats{s.verified.Stats(), s.records.Stats()}
}
