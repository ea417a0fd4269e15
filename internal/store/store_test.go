package store_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"gatehouse/internal/store"
	"gatehouse/test/services"
)

func TestMain(m *testing.M) { services.Main(m) }

// eachDatabase runs test on an empty, migrated SQLite and PostgreSQL.
func eachDatabase(t *testing.T, test func(t *testing.T, db *store.DB)) {
	t.Helper()
	for name, address := range map[string]func(testing.TB) string{
		"SQLite":     func(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") },
		"PostgreSQL": services.Postgres,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t, address(t))) })
	}
}

func open(t testing.TB, address string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), address, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

var (
	insertSetting = store.SQL("INSERT INTO kind_settings (kind, max_running) VALUES (?, ?)")
	selectSetting = store.SQL("SELECT max_running FROM kind_settings WHERE kind = ?")
	selectMany    = store.SQL("SELECT kind FROM kind_settings WHERE kind IN (?*) ORDER BY kind")
	countSettings = store.SQL("SELECT count(*) FROM kind_settings")
	selectNow     = store.SQL("SELECT {now}")
)

func insert(ctx context.Context, kind string) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, insertSetting, kind, 1)
		return err
	}
}

func TestAFailedUpdateLeavesNothingAndTakesNoOtherWithIt(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		broken := errors.New("changed my mind")
		var wait sync.WaitGroup
		for i := range 40 {
			wait.Go(func() {
				err := db.Update(t.Context(), func(tx *store.Tx) error {
					if err := insert(t.Context(), fmt.Sprint(i))(tx); err != nil {
						return err
					}
					if i%2 == 0 {
						return broken
					}
					return nil
				})
				if (i%2 == 0) != errors.Is(err, broken) {
					t.Errorf("update %d: %v", i, err)
				}
			})
		}
		wait.Wait()
		n, err := store.One(t.Context(), db, countSettings, store.Value[int])
		if err != nil || n != 20 {
			t.Errorf("%d rows, %v; want 20", n, err)
		}
	})
}

func TestHooksRunOnlyAfterACommit(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		var calls atomic.Int32
		update := func(fail error) {
			err := db.Update(t.Context(), func(tx *store.Tx) error {
				tx.AfterCommit(func() { calls.Add(1) })
				return fail
			})
			if !errors.Is(err, fail) {
				t.Errorf("Update = %v, want %v", err, fail)
			}
		}
		update(errors.New("no"))
		update(nil)
		if calls.Load() != 1 {
			t.Errorf("the hook ran %d times, want once", calls.Load())
		}
	})
}

func TestAPanicInAClosureReachesItsCallerAndLeavesNothing(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_ = db.Update(t.Context(), func(tx *store.Tx) error {
				if err := insert(t.Context(), "lost")(tx); err != nil {
					return err
				}
				panic("out of reach")
			})
		}()
		if _, err := store.One(t.Context(), db, selectSetting, store.Value[int], "lost"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the row of a panicked closure: %v", err)
		}
	})
}

func TestAConflictIsRecognised(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		if err := db.Update(t.Context(), insert(t.Context(), "csv")); err != nil {
			t.Fatal(err)
		}
		if err := db.Update(t.Context(), insert(t.Context(), "csv")); !store.Conflict(err) {
			t.Errorf("the second row with one key: %v", err)
		}
	})
}

func TestListsOfAnyLengthFindTheirRows(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		var kinds []string
		for i := range 23 {
			kinds = append(kinds, fmt.Sprintf("k%02d", i))
			if err := db.Update(t.Context(), insert(t.Context(), kinds[i])); err != nil {
				t.Fatal(err)
			}
		}
		for n := 1; n <= len(kinds); n++ {
			q, size := selectMany.List(n)
			got, err := store.All(t.Context(), db, q, store.Value[string], store.Values(kinds[:n], size)...)
			if err != nil || len(got) != n {
				t.Errorf("a list of %d found %d rows, %v", n, len(got), err)
			}
		}
	})
}

func TestAViewSeesOneMoment(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		err := db.View(t.Context(), func(tx *store.Tx) error {
			before, err := store.One(t.Context(), tx, countSettings, store.Value[int])
			if err != nil {
				return err
			}
			if err := db.Update(t.Context(), insert(t.Context(), "new")); err != nil {
				return err
			}
			after, err := store.One(t.Context(), tx, countSettings, store.Value[int])
			if before != after {
				t.Errorf("the snapshot changed from %d to %d rows", before, after)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestBothClocksCountMicroseconds(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		got, err := store.One(t.Context(), db, selectNow, store.Value[int64])
		if err != nil || got < 1_700_000_000_000_000 || got > 9_000_000_000_000_000 {
			t.Errorf("now = %d, %v", got, err)
		}
	})
}

func TestSeveralProgramsThatStartAtOnceMigrateOnce(t *testing.T) {
	for name, address := range map[string]string{
		"SQLite":     "sqlite:" + filepath.Join(t.TempDir(), "test.db"),
		"PostgreSQL": services.Postgres(t),
	} {
		t.Run(name, func(t *testing.T) {
			var wait sync.WaitGroup
			for range 4 {
				wait.Go(func() { open(t, address) })
			}
			wait.Wait()
		})
	}
}

func TestANewerSchemaIsRefused(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		newer := store.SQL("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, TRUE)")
		if err := db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), newer)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(t.Context()); !errors.Is(err, store.ErrNewerSchema) {
			t.Errorf("Migrate on a newer schema = %v", err)
		}
	})
}

func TestALockHasOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	release, err := store.Lock(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Lock(t.Context(), path, 0); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second holder: %v", err)
	}
	release()
	again, err := store.Lock(t.Context(), path, 0)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	again()
}

func TestAClosedDatabaseAnswersSo(t *testing.T) {
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(t.Context(), func(*store.Tx) error { return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Update on a closed database = %v", err)
	}
}

func TestIDsSortByTimeAndAreRecognised(t *testing.T) {
	last := ""
	for range 1000 {
		id := store.NewID[string]("job")
		if id <= last {
			t.Fatalf("%s came after %s", id, last)
		}
		if !store.ValidID("job", id) || store.ValidID("usr", id) {
			t.Fatalf("%s is not recognised", id)
		}
		last = id
	}
	for _, id := range []string{"", "job_", "job_!!!!", "job_" + last, "JOB" + last[3:]} {
		if store.ValidID("job", id) {
			t.Errorf("%q passes for an id", id)
		}
	}
}

func BenchmarkUpdateSQLiteEightCallers(b *testing.B) {
	db := open(b, "sqlite:"+filepath.Join(b.TempDir(), "x.db"))
	var n atomic.Int64
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := db.Update(b.Context(), insert(b.Context(), fmt.Sprint(n.Add(1)))); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkReadSQLite(b *testing.B) {
	db := open(b, "sqlite:"+filepath.Join(b.TempDir(), "x.db"))
	if err := db.Update(b.Context(), insert(b.Context(), "k")); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := store.One(b.Context(), db, selectSetting, store.Value[int], "k"); err != nil {
			b.Fatal(err)
		}
	}
}
