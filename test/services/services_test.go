package services

import (
	"database/sql"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestMain(m *testing.M) { Main(m) }

func TestAKilledRedisComesBackEmptyOnItsPort(t *testing.T) {
	s := StartRedis(t)
	s.Kill()
	if s.ping() == nil {
		t.Fatal("a killed server answers")
	}
	s.Restart(t)
	if err := s.ping(); err != nil {
		t.Fatalf("a restarted server does not answer: %v", err)
	}
}

func TestEachTestGetsAnEmptyPostgresDatabase(t *testing.T) {
	for range 2 {
		db, err := sql.Open("pgx", Postgres(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("CREATE TABLE once (id int)"); err != nil {
			t.Error(err)
		}
		db.Close()
	}
}

func TestEachTestGetsItsOwnRedisDatabase(t *testing.T) {
	if a, b := Redis(t), Redis(t); a == b {
		t.Errorf("two tests share %s", a)
	}
}

func TestEveryFormOfRedisStartsEmptyAndTakesAWrite(t *testing.T) {
	for range 2 {
		EachRedis(t, func(t *testing.T, url string) {
			c := redis.NewUniversalClient(RedisOptions(t, url))
			defer c.Close()
			if n, err := c.Exists(t.Context(), "key").Result(); n != 0 || err != nil {
				t.Errorf("the key is there: %d, %v", n, err)
			}
			if err := c.Set(t.Context(), "key", 1, 0).Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAReplicaTakesOverFromAKilledMaster(t *testing.T) {
	for _, form := range []struct {
		name  string
		start func() (url string, kill func())
	}{
		{"sentinels", func() (string, func()) { s := StartRedisSentinels(t); return s.URL, s.KillMaster }},
		{"cluster", func() (string, func()) {
			c := StartRedisCluster(t)
			return c.URL, func() { c.KillMasterOf(t, "key") }
		}},
	} {
		t.Run(form.name, func(t *testing.T) {
			began := time.Now()
			url, kill := form.start()
			t.Logf("started in %v", time.Since(began))
			set := func() error {
				c := redis.NewUniversalClient(RedisOptions(t, url)) // a fresh one asks who is the master
				defer c.Close()
				return c.Set(t.Context(), "key", 1, 0).Err()
			}
			if err := set(); err != nil {
				t.Fatal(err)
			}
			kill()
			killed := time.Now()
			await(t, "the replica", set)
			t.Logf("took over in %v", time.Since(killed))
		})
	}
}
