package services

import (
	"database/sql"
	"testing"
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
