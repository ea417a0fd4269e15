package main

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gatehouse/internal/secret"
)

// secrets are the keys of a deployment, all made from its one secret key.
type secrets struct {
	ring   *secret.Keyring // values at rest
	index  secret.Key      // the index of addresses
	tokens secret.Key      // successors of refresh tokens
	links  []byte          // signatures of links to artifacts
}

// newSecrets derives the keys from root, each for its own purpose (RFC 5869).
func newSecrets(root secret.Key) (secrets, error) {
	derive := func(purpose string) (k secret.Key, err error) {
		derived, err := hkdf.Key(sha256.New, root[:], nil, "gatehouse "+purpose, len(k))
		copy(k[:], derived)
		return k, err
	}
	var s secrets
	rest, err := derive("at rest")
	if err != nil {
		return s, fmt.Errorf("derive keys: %w", err)
	}
	if s.ring, err = secret.NewKeyring(rest); err != nil {
		return s, fmt.Errorf("derive keys: %w", err)
	}
	links, err1 := derive("artifact links")
	index, err2 := derive("address index")
	tokens, err3 := derive("refresh tokens")
	s.links, s.index, s.tokens = links[:], index, tokens
	return s, errors.Join(err1, err2, err3)
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
