package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// clusterEvery is how old a Cluster's client lets its knowledge become of who is whose master. With go-redis's
// minute it would go on asking a master that is dead for as long, since only a node that answers corrects it.
const clusterEvery = time.Second

// redisClient returns a client for the addresses, as tune has it: one address is a single Redis,
// several, or one with ?cluster=true, are a Cluster, and any number with ?master_name= are Sentinels.
// It does not dial.
func redisClient(addresses []string, tune func(*redis.UniversalOptions)) (redis.UniversalClient, error) {
	o, err := redisOptions(addresses)
	if err != nil {
		return nil, err
	}
	tune(o)
	if !o.IsClusterMode {
		return redis.NewUniversalClient(o), nil
	}
	cluster := o.Cluster()
	cluster.ClusterStateReloadInterval = clusterEvery
	return redis.NewClusterClient(cluster), nil
}

func redisOptions(addresses []string) (*redis.UniversalOptions, error) {
	var first node
	o := &redis.UniversalOptions{}
	for i, address := range addresses {
		n, err := parseRedis(address)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			first = n
		} else if err := n.agrees(first); err != nil {
			return nil, err
		}
		o.Addrs = append(o.Addrs, n.Addr)
	}
	o.DB, o.Username, o.Password, o.TLSConfig, o.MasterName = first.DB, first.Username, first.Password, first.TLSConfig, first.master
	o.SentinelUsername, o.SentinelPassword = first.Username, first.Password
	o.IsClusterMode = first.master == "" && (first.cluster || len(addresses) > 1)
	if o.IsClusterMode && o.DB != 0 {
		return nil, errors.New("a Redis Cluster has no numbered databases: leave the number out, and give each deployment a namespace")
	}
	if o.TLSConfig != nil && (o.IsClusterMode || o.MasterName != "") {
		o.TLSConfig.ServerName = "" // each node is known by the name under which it is dialled, not all by the first one's
	}
	return o, nil
}

// node is one address.
type node struct {
	*redis.Options
	master  string // as the Sentinels call it
	cluster bool
}

func parseRedis(address string) (node, error) {
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(u.Scheme, "redis") {
		return node{}, fmt.Errorf("a Redis address is redis://HOST:PORT/DB or rediss://…")
	}
	query := u.Query()
	n := node{master: query.Get("master_name"), cluster: query.Get("cluster") == "true"}
	query.Del("master_name")
	query.Del("cluster")
	u.RawQuery = query.Encode()
	n.Options, err = redis.ParseURL(u.String())
	if err != nil {
		return node{}, fmt.Errorf("read Redis address %s: %w", u.Redacted(), err)
	}
	return n, nil
}

// agrees returns an error when the address of one more node says something else than the first: all nodes are
// asked in one way, and what it says would be passed over in silence. It may leave out what the first says.
func (n node) agrees(first node) error {
	for _, differs := range []struct {
		what  string
		other bool
	}{
		{"scheme", (n.TLSConfig == nil) != (first.TLSConfig == nil)},
		{"database", n.DB != 0 && n.DB != first.DB},
		{"user or password", n.Username+n.Password != "" && (n.Username != first.Username || n.Password != first.Password)},
		{"master_name", n.master != "" && n.master != first.master},
	} {
		if differs.other {
			return fmt.Errorf("the Redis at %s has another %s than the first; all addresses of one Redis have the same", n.Addr, differs.what)
		}
	}
	return nil
}

// pingRedis asks a Redis whether it answers, and of a Cluster every master.
func pingRedis(ctx context.Context, client redis.UniversalClient) error {
	if cluster, ok := client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return master.Ping(ctx).Err() })
	}
	return client.Ping(ctx).Err()
}

// redisLog sends go-redis's own lines to our log.
type redisLog struct{ logger *slog.Logger }

// Printf implements go-redis's logger.
func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.logger.DebugContext(ctx, fmt.Sprintf(format, args...))
}
