package vault_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/account"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/session"
	"gatehouse/test/services"
	"gatehouse/vault"
)

func TestMain(m *testing.M) { services.Main(m) }

func eachDatabase(t *testing.T, test func(t *testing.T, db *store.DB)) {
	t.Helper()
	for name, address := range map[string]func(testing.TB) string{
		"SQLite":     func(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") },
		"PostgreSQL": services.Postgres,
	} {
		t.Run(name, func(t *testing.T) {
			db, err := store.Open(t.Context(), address(t), store.Options{})
			must(t, err)
			t.Cleanup(func() { _ = db.Close() })
			must(t, db.Migrate(t.Context()))
			test(t, db)
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ring(t testing.TB, current secret.Key, older ...secret.Key) *secret.Keyring {
	t.Helper()
	r, err := secret.NewKeyring(current, older...)
	must(t, err)
	return r
}

func columns() []secret.Column { return append(account.Sealed(), session.Sealed()...) }

func seal(t testing.TB, r *secret.Keyring, plain, place string) []byte {
	t.Helper()
	sealed, err := r.Seal([]byte(plain), []byte(place))
	must(t, err)
	return sealed
}

func exec(t testing.TB, db *store.DB, text string, args ...any) {
	t.Helper()
	must(t, db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), store.SQL(text), args...)
		return err
	}))
}

// besides is how many sealed values fill adds to those of accounts, signing key and letter.
const besides = 8

// fill puts n accounts, a signing key and a letter into db, and of the first account a proof, a factor, an
// identity, a wish for a mail, and a mail of its own with the report of its delivery.
func fill(t testing.TB, db *store.DB, r *secret.Keyring, n int) {
	t.Helper()
	for i := range n {
		id := fmt.Sprintf("usr_%04d", i)
		name := []byte(nil)
		if i%2 == 0 {
			name = seal(t, r, "Ada", "users/"+id+"/name")
		}
		exec(t, db, `INSERT INTO users (id, email_sealed, email_index, name_sealed, created_at, updated_at) VALUES (?, ?, ?, ?, 0, 0)`,
			id, seal(t, r, id+"@example.com", "users/"+id+"/email"), []byte(id), name)
	}
	exec(t, db, `INSERT INTO signing_keys (id, algorithm, sealed, state, created_at) VALUES ('k1', 'EdDSA', ?, 'CURRENT', 0)`, seal(t, r, "key", "signing_keys/k1"))
	exec(t, db, `INSERT INTO signing_keys (id, algorithm, sealed, state, created_at) VALUES ('lock', '', ?, 'LOCK', 0)`, []byte{})
	letter := base64.StdEncoding.EncodeToString(seal(t, r, "{}", "jobs/deliverMessage"))
	const insert = `INSERT INTO jobs (id, owner_id, kind, queue, priority, state, max_attempts, input, created_at, run_at)
		VALUES (?, '', ?, 'messages', 1, 'SUCCEEDED', 1, ?, 0, 0)`
	exec(t, db, insert, "job_1", account.DeliverMessage, `{"sealed":"`+letter+`"}`)
	exec(t, db, insert, "job_2", "processCsv", `{"source":"TEXT"}`)
	wish := base64.StdEncoding.EncodeToString(seal(t, r, "{}", "jobs/sendProof"))
	exec(t, db, insert, "job_3", account.SendProof, `{"sealed":"`+wish+`","until":"2026-01-02T03:04:05Z"}`)
	mail := base64.StdEncoding.EncodeToString(seal(t, r, "{}", "jobs/sendEmail"))
	report := base64.StdEncoding.EncodeToString(seal(t, r, "{}", "jobs/job_4/result"))
	exec(t, db, insert, "job_4", account.SendEmail, `{"sealed":"`+mail+`"}`)
	exec(t, db, `UPDATE jobs SET result = ? WHERE id = 'job_4'`, `{"messageId":"<job_4@example.com>","acceptedAt":"2026-01-02T03:04:05Z","sealed":"`+report+`"}`)
	exec(t, db, `INSERT INTO proofs (id, user_id, purpose, slot, link_hash, sealed, created_at, expires_at) VALUES ('p1', 'usr_0000', 'not-me', ?, ?, ?, 0, 0)`,
		[]byte{1}, []byte{1}, seal(t, r, "{}", "proofs/p1/sealed"))
	exec(t, db, `INSERT INTO factors (id, user_id, kind, sealed, name_sealed, created_at) VALUES ('fac_1', 'usr_0000', 'TOTP', ?, ?, 0)`,
		seal(t, r, "key", "factors/fac_1/sealed"), seal(t, r, "phone", "factors/fac_1/name"))
	exec(t, db, `INSERT INTO identities (id, user_id, provider, issuer, subject_index, profile_sealed, tokens_sealed, linked_at, used_at, profile_at)
		VALUES ('idn_1', 'usr_0000', 'work', 'https://id.example.com', ?, ?, ?, 0, 0, 0)`,
		[]byte{1}, seal(t, r, "{}", "identities/idn_1/profile"), seal(t, r, "{}", "identities/idn_1/tokens"))
}

// walk finds the columns of the whole database that hold a value which the key of that name sealed, in
// bytes or in base64.
func walk(t testing.TB, db *store.DB, key string) (found []string) {
	t.Helper()
	mark := "01" + key
	raw, err := hex.DecodeString(mark)
	must(t, err)
	inside := base64.StdEncoding.EncodeToString(raw) // nine bytes: twelve characters, whatever follows
	for _, c := range everyColumn(t, db) {
		table, column, _ := strings.Cut(c, ".")
		text := `SELECT count(*) FROM ` + table + ` WHERE instr(lower(hex(` + column + `)), ?) > 0 OR instr(CAST(` + column + ` AS TEXT), ?) > 0`
		if db.Dialect() == store.Postgres {
			text = `SELECT count(*) FROM ` + table + ` WHERE position(?::text IN ` + column + `::text) > 0 OR position(?::text IN ` + column + `::text) > 0`
		}
		n, err := store.One(t.Context(), db, store.Passing(text), store.Value[int], mark, inside)
		must(t, err)
		if n > 0 {
			found = append(found, c)
		}
	}
	return found
}

func everyColumn(t testing.TB, db *store.DB) []string {
	t.Helper()
	text := `SELECT m.name || '.' || c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'`
	if db.Dialect() == store.Postgres {
		text = `SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c
			JOIN information_schema.tables t ON t.table_name = c.table_name AND t.table_schema = c.table_schema
			WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE'`
	}
	all, err := store.All(t.Context(), db, store.Passing(text), store.Value[string])
	must(t, err)
	return all
}

func TestAfterSealingAnewNoValueOfTheFormerKeyIsLeftAndAllCanBeRead(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		former, current := secret.NewKey(), secret.NewKey()
		old := ring(t, former)
		v := vault.New(db, old, nil, columns()...)
		kept, err := v.Key(t.Context(), "index", func() (secret.Key, error) { return secret.NewKey(), nil })
		must(t, err)
		fill(t, db, old, 450)
		if len(walk(t, db, old.Current())) == 0 {
			t.Fatal("the walk does not find what the former key sealed: it shows nothing")
		}
		both := vault.New(db, ring(t, current, former), nil, columns()...)
		stale, err := both.Stale(t.Context())
		must(t, err)
		if want := int64(450 + 225 + 3 + besides); stale != want {
			t.Errorf("%d values are stale, want %d", stale, want)
		}
		var last, of int64
		changed, err := both.Reseal(t.Context(), func(done, total int64) {
			if done < last && done != 0 {
				last = 0 // the next pass
			}
			last, of = done, total
		})
		must(t, err)
		if changed != stale || last != of || of != stale {
			t.Errorf("%d of %d stale values were sealed anew; told %d of %d", changed, stale, last, of)
		}
		if left := walk(t, db, old.Current()); len(left) > 0 {
			t.Errorf("the former key's values stand in %v", left)
		}
		alone := vault.New(db, ring(t, current), nil, columns()...)
		if stale, err := alone.Stale(t.Context()); err != nil || stale != 0 {
			t.Errorf("with the current key alone: %d stale, %v", stale, err)
		}
		again, err := alone.Key(t.Context(), "index", func() (secret.Key, error) { return secret.NewKey(), nil })
		if err != nil || again != kept {
			t.Errorf("the deployment's key has changed: %v", err)
		}
		if n, err := alone.Reseal(t.Context(), nil); err != nil || n != 0 {
			t.Errorf("a second run changed %d values, %v", n, err)
		}
	})
}

func TestAnInterruptedRunIsTakenUpWhereItStopped(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		former, current := secret.NewKey(), secret.NewKey()
		fill(t, db, ring(t, former), 450)
		v := vault.New(db, ring(t, current, former), nil, columns()...)
		ctx, stop := context.WithCancel(t.Context())
		first, err := v.Reseal(ctx, func(done, _ int64) {
			if done >= 200 {
				stop()
			}
		})
		if !errors.Is(err, context.Canceled) || first == 0 || first > 400 {
			t.Fatalf("interrupted after %d values with %v", first, err)
		}
		second, err := v.Reseal(t.Context(), nil)
		must(t, err)
		if want := int64(450 + 225 + 2 + besides); first+second != want {
			t.Errorf("%d and %d values were sealed anew, want %d in all", first, second, want)
		}
	})
}

func TestAValueThatChangesMeanwhileStaysItsWriters(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		former, current := secret.NewKey(), secret.NewKey()
		old := ring(t, former)
		fill(t, db, old, 2)
		written := seal(t, old, "new@example.com", "users/usr_0001/email")
		column := account.Sealed()[0]
		whole := column.Place
		column.Place = func(id string) []byte { // the walk has read the row and seals it now
			if id == "usr_0001" && written != nil {
				exec(t, db, `UPDATE users SET email_sealed = ? WHERE id = ?`, written, id)
				written = nil
			}
			return whole(id)
		}
		v := vault.New(db, ring(t, current, former), nil, column)
		_, err := v.Reseal(t.Context(), nil)
		must(t, err)
		sealed, err := store.One(t.Context(), db, store.SQL(`SELECT email_sealed FROM users WHERE id = 'usr_0001'`), store.Value[[]byte])
		must(t, err)
		plain, err := ring(t, current).Open(sealed, whole("usr_0001"))
		if err != nil || !bytes.Equal(plain, []byte("new@example.com")) {
			t.Errorf("the row holds %q, %v", plain, err)
		}
	})
}

func TestAKeyOfTheDeploymentIsDrawnOnceByManyServers(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *store.DB) {
		root := secret.NewKey()
		keys := make(chan secret.Key, 8)
		for range cap(keys) {
			go func() {
				v := vault.New(db, ring(t, root), nil)
				k, err := v.Key(t.Context(), "index", func() (secret.Key, error) { return secret.NewKey(), nil })
				if err != nil {
					t.Error(err)
				}
				keys <- k
			}()
		}
		first := <-keys
		for range cap(keys) - 1 {
			if k := <-keys; k != first {
				t.Error("two servers hold two keys")
			}
		}
		_, err := vault.New(db, ring(t, secret.NewKey()), nil).Key(t.Context(), "index", nil)
		if !errors.Is(err, secret.ErrUnknownKey) {
			t.Errorf("with another secret key: %v", err)
		}
	})
}
