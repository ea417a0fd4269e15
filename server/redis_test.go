package main

import (
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestAddressesSayInWhichFormRedisStands(t *testing.T) {
	for _, c := range []struct {
		name      string
		addresses []string
		want      redis.UniversalOptions
		server    string // whose certificate is asked for; "": of each node its own
	}{
		{"a single one", []string{"rediss://user:pass@one:1/3"}, redis.UniversalOptions{Addrs: []string{"one:1"}, DB: 3, Username: "user", Password: "pass"}, "one"},
		{"a cluster", []string{"rediss://:pass@one:1", "rediss://two:2"}, redis.UniversalOptions{Addrs: []string{"one:1", "two:2"}, Password: "pass", IsClusterMode: true}, ""},
		{"a cluster behind one address", []string{"rediss://one:1?cluster=true"}, redis.UniversalOptions{Addrs: []string{"one:1"}, IsClusterMode: true}, ""},
		{
			"sentinels",
			[]string{"rediss://one:1/3?master_name=m", "rediss://two:2/3?master_name=m"},
			redis.UniversalOptions{Addrs: []string{"one:1", "two:2"}, DB: 3, MasterName: "m"},
			"",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := redisOptions(c.addresses)
			if err != nil {
				t.Fatal(err)
			}
			w := c.want
			if !slices.Equal(got.Addrs, w.Addrs) || got.DB != w.DB || got.Username != w.Username || got.Password != w.Password ||
				got.MasterName != w.MasterName || got.IsClusterMode != w.IsClusterMode {
				t.Errorf("got %+v, want %+v", got, w)
			}
			if got.TLSConfig == nil || got.TLSConfig.ServerName != c.server || got.TLSConfig.InsecureSkipVerify {
				t.Errorf("TLS is %+v, want the name %q", got.TLSConfig, c.server)
			}
		})
	}
}
