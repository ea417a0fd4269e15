package services

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	clusterMasters = 3
	clusterSlots   = 16384
)

// RedisCluster is a private Redis Cluster of three masters.
type RedisCluster struct {
	URL string // the addresses of all nodes, as --redis-url takes them

	folder   string
	masters  []*RedisServer
	replicas []*RedisServer // of the master with the same number, if there are any
}

// StartRedisCluster starts a cluster whose masters have a replica each. It ends with t.
func StartRedisCluster(t Host) *RedisCluster {
	t.Helper()
	c := startCluster(t, t.TempDir(), true)
	t.Cleanup(c.stop)
	return c
}

func startCluster(t Host, folder string, replicated bool) *RedisCluster {
	t.Helper()
	c := &RedisCluster{folder: folder}
	for i := range clusterMasters {
		c.masters = append(c.masters, c.startNode(t, fmt.Sprintf("master%d", i)))
		if replicated {
			c.replicas = append(c.replicas, c.startNode(t, fmt.Sprintf("replica%d", i)))
		}
	}
	var urls []string
	for _, node := range c.nodes() {
		urls = append(urls, strings.TrimSuffix(node.URL, "/0"))
	}
	c.URL = strings.Join(urls, ",")
	c.join(t)
	return c
}

func (c *RedisCluster) nodes() []*RedisServer {
	return append(append([]*RedisServer(nil), c.masters...), c.replicas...)
}

// startNode starts a node that thinks another one dead after a second.
func (c *RedisCluster) startNode(t Host, name string) *RedisServer {
	t.Helper()
	folder := filepath.Join(c.folder, name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatalf("%v", err)
	}
	node := newRedis(t, folder)
	node.bus = FreePort(t)
	node.more = []string{
		"--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", fmt.Sprint(node.bus),
		"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", // who has heard nothing yet is not listed
	}
	node.Restart(t)
	return node
}

// join makes one cluster of the nodes.
func (c *RedisCluster) join(t Host) {
	t.Helper()
	for i, master := range c.masters {
		first, last := i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters-1
		master.must(t, "cluster", "addslotsrange", first, last)
	}
	for i, node := range c.nodes() {
		node.must(t, "cluster", "set-config-epoch", i+1)
		for _, other := range c.nodes()[:i] { // hearsay would take seconds
			node.must(t, "cluster", "meet", "127.0.0.1", other.port, other.bus)
		}
	}
	for i, replica := range c.replicas {
		await(t, "the replica's master", func() error {
			return replica.do(t.Context(), "cluster", "replicate", c.masters[i].must(t, "cluster", "myid")).Err()
		})
	}
	for _, node := range c.nodes() {
		await(t, "the cluster", func() error { return c.complete(t.Context(), node) })
	}
	for _, replica := range c.replicas {
		await(t, "the replica", func() error { return replica.follows(t.Context()) })
	}
}

// complete returns nil once node knows of all slots and of all that have them.
func (c *RedisCluster) complete(ctx context.Context, node *RedisServer) error {
	client := node.client()
	defer client.Close()
	info, err := client.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	shards, err := client.ClusterShards(ctx).Result()
	if err != nil {
		return err
	}
	known := 0
	for _, shard := range shards {
		for _, n := range shard.Nodes {
			if n.Health == "online" {
				known++
			}
		}
	}
	if !strings.Contains(info, "cluster_state:ok") || known != len(c.nodes()) {
		return fmt.Errorf("%d of %d nodes are known, %s", known, len(c.nodes()), info)
	}
	return nil
}

// follows returns nil once a replica has all that its master has.
func (s *RedisServer) follows(ctx context.Context) error {
	client := s.client()
	defer client.Close()
	info, err := client.Info(ctx, "replication").Result()
	if err == nil && !strings.Contains(info, "master_link_status:up") {
		err = fmt.Errorf("the replica has not caught up: %s", info)
	}
	return err
}

// KillMasterOf kills the node that holds key. Its replica takes over after a second or two.
func (c *RedisCluster) KillMasterOf(t Host, key string) {
	t.Helper()
	slot, isNumber := c.masters[0].must(t, "cluster", "keyslot", key).(int64)
	if !isNumber {
		t.Fatalf("%s has no slot", key)
	}
	c.masters[(slot+1)*clusterMasters/clusterSlots].Kill()
}

// flush empties all masters.
func (c *RedisCluster) flush(t Host) {
	t.Helper()
	for _, master := range c.masters {
		master.must(t, "flushall")
	}
}

func (c *RedisCluster) stop() {
	if c == nil {
		return
	}
	for _, node := range c.nodes() {
		node.Kill()
	}
	_ = os.RemoveAll(c.folder)
}

func (s *RedisServer) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.Addr(), DialerRetries: 1, ReadTimeout: time.Second, MaxRetries: -1})
}

func (s *RedisServer) do(ctx context.Context, args ...any) *redis.Cmd {
	client := s.client()
	defer client.Close()
	return client.Do(ctx, args...)
}

// must does a command on a connection of its own.
func (s *RedisServer) must(t Host, args ...any) any {
	t.Helper()
	answer, err := s.do(t.Context(), args...).Result()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return answer
}
