package services

import (
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// The forms of Redis that the tests of this binary share, beside the single one.
var (
	sharedTLS           tlsServer
	sharedTLSOnce       sync.Once
	sharedSentinels     *RedisSentinels
	sharedSentinelsOnce sync.Once
	sharedCluster       *RedisCluster
	sharedClusterOnce   sync.Once
)

// EachRedis runs test on every form of Redis: a single one, one behind TLS, one watched by Sentinels, and a
// Cluster. url leads to an empty database and is for [RedisOptions]. A Cluster has but one database:
// tests of one binary that run at once must not use this.
func EachRedis(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	for _, form := range []struct {
		name string
		url  func(Host) string
	}{
		{"redis", Redis},
		{"redis with TLS", func(t Host) string { url, _ := RedisWithTLS(t); return url }},
		{"redis with sentinels", redisWithSentinels},
		{"redis cluster", redisCluster},
	} {
		t.Run(form.name, func(t *testing.T) { test(t, form.url(t)) })
	}
}

func redisWithSentinels(t Host) string {
	need(t, "redis-server")
	sharedSentinelsOnce.Do(func() { sharedSentinels = startSentinels(t, sharedFolder(t)) })
	return emptyDatabase(t, sharedSentinels.URL)
}

func redisCluster(t Host) string {
	need(t, "redis-server")
	sharedClusterOnce.Do(func() { sharedCluster = startCluster(t, sharedFolder(t), false) })
	sharedCluster.flush(t)
	return sharedCluster.URL
}

func sharedFolder(t Host) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "gatehouse-redis-")
	if err != nil {
		t.Fatalf("make a folder for redis-server: %v", err)
	}
	return folder
}

// emptyDatabase gives a URL, or several, the number of a database that nobody has used.
func emptyDatabase(t Host, url string) string {
	t.Helper()
	n := redisDatabases.Add(1)
	if n >= 1024 {
		t.Fatalf("more than 1023 tests asked for a Redis database")
	}
	return strings.ReplaceAll(url, "/0", fmt.Sprintf("/%d", n))
}

// RedisOptions are those with which a client reaches a Redis of this package.
func RedisOptions(t Host, url string) *redis.UniversalOptions {
	t.Helper()
	o := &redis.UniversalOptions{}
	for part := range strings.SplitSeq(url, ",") {
		address, master, _ := strings.Cut(part, "?master_name=")
		parsed, err := redis.ParseURL(address)
		if err != nil {
			t.Fatalf("%v", err)
		}
		o.Addrs, o.MasterName, o.DB = append(o.Addrs, parsed.Addr), master, parsed.DB
		if parsed.TLSConfig != nil {
			o.TLSConfig = &tls.Config{RootCAs: sharedTLS.trusted}
		}
	}
	return o
}
