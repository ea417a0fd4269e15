package limit

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Reset gives a subject all its units of a rule back. In Redis this takes a client that can delete; the
// error is Redis's.
func (l *Limiter) Reset(ctx context.Context, rule Rule, subject string) error {
	key := hash(rule.Name, subject)
	l.memory.reset(key)
	if l.remote == nil {
		return nil
	}
	deleter, ok := l.remote.client.(interface {
		Del(ctx context.Context, keys ...string) *redis.IntCmd
	})
	if !ok {
		return fmt.Errorf("reset limit %q: the Redis client cannot delete", rule.Name)
	}
	if err := deleter.Del(ctx, l.remote.key(rule.Name, key)).Err(); err != nil {
		return fmt.Errorf("reset limit %q: %w", rule.Name, err)
	}
	return nil
}

// key is where the state of a subject stands: with the namespace as its hash tag, so that on a Redis
// Cluster one script may touch several.
func (r *remote) key(rule string, key [32]byte) string {
	return "{" + r.namespace + "}:limit:" + rule + ":" + hex.EncodeToString(key[:])
}

func (m *memory) reset(key [32]byte) {
	s := &m.shards[shardOf(cell{key: key})]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.full, key)
}
