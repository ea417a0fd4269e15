package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/account"
	"gatehouse/account/password"
	"gatehouse/audit"
	"gatehouse/internal/bus"
	"gatehouse/internal/limit"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/session"
	"gatehouse/test/mailbox"
)

func migrated(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "test.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// accountsOf are the accounts of db as a server with these keys has them.
func accountsOf(t *testing.T, db *store.DB, ring *secret.Keyring, index secret.Key) *account.Accounts {
	t.Helper()
	local := notices{bus.Local()}
	keys, err := session.OpenKeys(t.Context(), db, ring, local, session.KeyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := session.New(db, keys, index, nil, local, session.Options{Issuer: "https://gatehouse.example", Audience: audience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sessions.Close)
	box := mailbox.New(t, db, ring, local.Bus)
	accounts, err := account.New(account.Parts{
		DB: db, Ring: ring, Root: index, Hasher: password.New(password.Options{}), Sessions: sessions, Audit: audit.New(db, audit.Options{}),
		Limiter: limit.New(nil, limit.Options{}), Notices: local, Queue: box.Queue, Post: box.Post,
	}, account.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(accounts.Close)
	return accounts
}

// olderDatabase is one of a version that made the index from its secret key, with Ada in it.
func olderDatabase(t *testing.T, root secret.Key) *store.DB {
	t.Helper()
	db := migrated(t)
	ring, err := openRing([]secret.Key{root})
	if err != nil {
		t.Fatal(err)
	}
	index, err := derive(root, addressIndex)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := accountsOf(t, db, ring, index).CreateAdmin(t.Context(), "ada@example.com", "Analytical engine no. 1", "", false); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestADatabaseOfAnOlderVersionKeepsItsIndex(t *testing.T) {
	old, fresh := secret.NewKey(), secret.NewKey()
	for name, roots := range map[string][]secret.Key{
		"with the key it has":           {old},
		"with another key at once":      {fresh, old},
		"with the new key behind it":    {old, fresh},
		"with a third key between them": {fresh, secret.NewKey(), old},
	} {
		t.Run(name, func(t *testing.T) {
			db := olderDatabase(t, old)
			s, err := openSecrets(t.Context(), db, roots)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := accountsOf(t, db, s.ring, s.index).ByEmail(t.Context(), "ADA@example.com"); err != nil {
				t.Errorf("Ada is not found: %v", err)
			}
			links, err := derive(old, "artifact links")
			if err != nil || secret.Key(s.links) != links {
				t.Errorf("links to artifacts of before are refused: %v", err)
			}
			again, err := openSecrets(t.Context(), db, roots)
			if err != nil || again.index != s.index || again.tokens != s.tokens {
				t.Errorf("the next start has other keys: %v", err)
			}
		})
	}
}

func TestASecretKeyThatDoesNotOpenTheDatabaseIsRefused(t *testing.T) {
	fresh := migrated(t)
	if _, err := openSecrets(t.Context(), fresh, []secret.Key{secret.NewKey()}); err != nil {
		t.Fatal(err)
	}
	for name, db := range map[string]*store.DB{"of an older version": olderDatabase(t, secret.NewKey()), "of this version": fresh} {
		_, err := openSecrets(t.Context(), db, []secret.Key{secret.NewKey()})
		if !errors.Is(err, secret.ErrUnknownKey) || !strings.Contains(err.Error(), "secret-key-older") {
			t.Errorf("a database %s: %v", name, err)
		}
	}
}

func TestTheKeysOfANewDatabaseDoNotFollowFromItsSecretKey(t *testing.T) {
	root := secret.NewKey()
	s, err := openSecrets(t.Context(), migrated(t), []secret.Key{root})
	if err != nil {
		t.Fatal(err)
	}
	derived, err := derive(root, addressIndex)
	if err != nil || s.index == derived || s.index == s.tokens {
		t.Errorf("the index is made from the secret key: %v", err)
	}
}
