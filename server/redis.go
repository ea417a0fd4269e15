package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
)

// redisClient returns a client for the addresses, as tune has it: one address is a single Redis,
// several are a Cluster, and any number with ?master_name= are Sentinels. It does not dial.
func redisClient(addresses []string, tune func(*redis.UniversalOptions)) (redis.UniversalClient, error) {
	o := &redis.UniversalOptions{}
	for i, address := range addresses {
		parsed, master, err := parseRedis(address)
		if err != nil {
			return nil, err
		}
		o.Addrs = append(o.Addrs, parsed.Addr)
		if i == 0 {
			o.DB, o.Username, o.Password, o.TLSConfig, o.MasterName = parsed.DB, parsed.Username, parsed.Password, parsed.TLSConfig, master
			o.SentinelUsername, o.SentinelPassword = parsed.Username, parsed.Password
		}
	}
	tune(o)
	return redis.NewUniversalClient(o), nil
}

func parseRedis(address string) (*redis.Options, string, error) {
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(u.Scheme, "redis") {
		return nil, "", fmt.Errorf("a Redis address is redis://HOST:PORT/DB or rediss://…")
	}
	query := u.Query()
	master := query.Get("master_name")
	query.Del("master_name")
	u.RawQuery = query.Encode()
	parsed, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, "", fmt.Errorf("read Redis address %s: %w", u.Redacted(), err)
	}
	return parsed, master, nil
}

// redisLog sends go-redis's own lines to our log.
type redisLog struct{ logger *slog.Logger }

// Printf implements go-redis's logger.
func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.logger.DebugContext(ctx, fmt.Sprintf(format, args...))
}
