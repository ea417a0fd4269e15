package main

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gatehouse/account"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/session"
	"gatehouse/vault"
)

// secrets are the keys of a deployment.
type secrets struct {
	ring   *secret.Keyring // values at rest
	vault  *vault.Vault    // seals them anew
	index  secret.Key      // the index of addresses
	tokens secret.Key      // successors of refresh tokens
	links  []byte          // signatures of links to artifacts

	outside secret.Key // tokens of workers outside
}

// addressIndex is the key that accounts are found by.
const addressIndex = "address index"

// derive makes the key of one purpose from a secret key (RFC 5869).
func derive(root secret.Key, purpose string) (k secret.Key, err error) {
	derived, err := hkdf.Key(sha256.New, root[:], nil, "gatehouse "+purpose, len(k))
	copy(k[:], derived)
	return k, err
}

// openRing returns the keyring of the secret key in force and of former ones, which open only.
func openRing(roots []secret.Key) (*secret.Keyring, error) {
	keys := make([]secret.Key, len(roots))
	for i, root := range roots {
		var err error
		if keys[i], err = derive(root, "at rest"); err != nil {
			return nil, fmt.Errorf("derive keys: %w", err)
		}
	}
	return secret.NewKeyring(keys[0], keys[1:]...)
}

// openSecrets opens the keys of the deployment with roots: the secret key in force, then former ones.
func openSecrets(ctx context.Context, db *store.DB, roots []secret.Key) (s secrets, err error) {
	if s.ring, err = openRing(roots); err != nil {
		return s, err
	}
	s.vault = vault.New(db, s.ring, nil, append(account.Sealed(), session.Sealed()...)...)
	key := func(purpose string) secret.Key {
		if err != nil {
			return secret.Key{}
		}
		var k secret.Key
		k, err = s.vault.Key(ctx, purpose, func() (secret.Key, error) { return firstKey(ctx, db, s.ring, roots, purpose) })
		return k
	}
	s.index, s.tokens = key(addressIndex), key("refresh tokens")
	links := key("artifact links")
	s.links = links[:]
	s.outside = key("outside workers")
	if errors.Is(err, secret.ErrUnknownKey) {
		return s, fmt.Errorf("the secret key is not the one that this database was sealed with; name that one in secret-key-older: %w", err)
	}
	return s, err
}

// firstKey is the key that a deployment begins with: a random one, or in a database of a version that
// made it from the secret key, that one.
func firstKey(ctx context.Context, db *store.DB, ring *secret.Keyring, roots []secret.Key, purpose string) (secret.Key, error) {
	indexes := make([]secret.Key, len(roots))
	for i, root := range roots {
		var err error
		if indexes[i], err = derive(root, addressIndex); err != nil {
			return secret.Key{}, err
		}
	}
	which, err := account.WhichIndex(ctx, db, ring, indexes)
	switch {
	case errors.Is(err, account.ErrNoIndex) && purpose != addressIndex: // that one is random already
		return secret.NewKey(), nil
	case err != nil:
		return secret.Key{}, err
	case which < 0:
		return secret.NewKey(), nil
	}
	return derive(roots[which], purpose)
}

// roots returns the secret key in force and the former ones.
func roots(s Settings) ([]secret.Key, error) {
	current, err := rootKey(s)
	if err != nil {
		return nil, err
	}
	return append([]secret.Key{current}, s.older...), nil
}

// rootKey returns the configured secret key, or in development the one in the data folder, which is
// made at the first start.
func rootKey(s Settings) (secret.Key, error) {
	if s.SecretKey != "" {
		return s.root, nil
	}
	path := filepath.Join(s.Data, "secret.key")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeRootKey(path)
	}
	if err != nil {
		return secret.Key{}, fmt.Errorf("read secret key: %w", err)
	}
	key, err := secret.ParseKey(strings.TrimSpace(string(text)))
	if err != nil {
		return key, fmt.Errorf("the file %s is damaged: %w", path, err)
	}
	return key, nil
}

// makeRootKey writes a fresh key that only this user can read. Of several programs that start at
// once, one makes the key and the others read it.
func makeRootKey(path string) (secret.Key, error) {
	key := secret.NewKey()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return key, fmt.Errorf("make data folder: %w", err)
	}
	fresh, err := os.CreateTemp(filepath.Dir(path), "secret-*")
	if err != nil {
		return key, fmt.Errorf("make secret key: %w", err)
	}
	defer os.Remove(fresh.Name())
	_, err = fresh.WriteString(key.Text() + "\n")
	if err = errors.Join(err, fresh.Sync(), fresh.Close()); err != nil {
		return key, fmt.Errorf("make secret key: %w", err)
	}
	if err := os.Link(fresh.Name(), path); errors.Is(err, fs.ErrExist) {
		text, err := os.ReadFile(path)
		if err != nil {
			return key, fmt.Errorf("read secret key: %w", err)
		}
		return secret.ParseKey(strings.TrimSpace(string(text)))
	} else if err != nil {
		return key, fmt.Errorf("make secret key: %w", err)
	}
	return key, nil
}
