package e2e

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatehouse/internal/blob"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/session"
	"gatehouse/session/token"
	"gatehouse/vault"
)

// key derives one of the deployment's keys from its secret key, as the program does.
func (d *deployment) key(purpose string) []byte {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.data, "secret.key"))
	if err != nil {
		d.t.Fatal(err)
	}
	root, err := secret.ParseKey(strings.TrimSpace(string(text)))
	if err != nil {
		d.t.Fatal(err)
	}
	derived, err := hkdf.Key(sha256.New, root[:], nil, "gatehouse "+purpose, len(root))
	if err != nil {
		d.t.Fatal(err)
	}
	return derived
}

// signLink returns the query string of a link to an artifact that ends at until, by the key that the
// deployment keeps.
func (d *deployment) signLink(id string, until time.Time) string {
	d.t.Helper()
	ring, err := secret.NewKeyring(secret.Key(d.key("at rest")))
	if err != nil {
		d.t.Fatal(err)
	}
	db, err := store.Open(d.t.Context(), d.database, store.Options{})
	if err != nil {
		d.t.Fatal(err)
	}
	defer db.Close()
	key, err := vault.New(db, ring, nil).Key(d.t.Context(), "artifact links", func() (secret.Key, error) {
		return secret.Key{}, store.ErrNotFound
	})
	if err != nil {
		d.t.Fatal(err)
	}
	signer, err := blob.NewSigner(key[:])
	if err != nil {
		d.t.Fatal(err)
	}
	return signer.Sign(id, until)
}

// signingKey reads the key that signs access tokens from the deployment's database.
func (d *deployment) signingKey() token.SigningKey {
	d.t.Helper()
	ring, err := secret.NewKeyring(secret.Key(d.key("at rest")))
	if err != nil {
		d.t.Fatal(err)
	}
	db, err := store.Open(d.t.Context(), d.database, store.Options{})
	if err != nil {
		d.t.Fatal(err)
	}
	defer db.Close()
	keys, err := session.OpenKeys(d.t.Context(), db, ring, nobody{}, session.KeyOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	return keys.Set().Current()
}

// nobody is told of changes of the keys: there are none.
type nobody struct{}

// Publish implements session.Notices.
func (nobody) Publish(context.Context, string, []byte) error { return nil }

// Subscribe implements session.Notices.
func (nobody) Subscribe(context.Context, string, func([]byte), func()) (func(), error) {
	return func() {}, nil
}

// sign issues c's access token again with key, after change.
func (c *client) sign(key token.SigningKey, change func(*token.Claims)) string {
	c.t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(c.access, ".")[1])
	if err != nil {
		c.t.Fatal(err)
	}
	var known struct {
		Iss, Aud, Sub, Sid, Acr string
		Ver                     int64
		Amr, Roles              []string
	}
	if err := json.Unmarshal(payload, &known); err != nil {
		c.t.Fatalf("%v in %s", err, payload)
	}
	now := time.Now()
	claims := token.Claims{
		Purpose: token.Access, Issuer: known.Iss, Audience: known.Aud, Subject: known.Sub, Session: known.Sid, Version: known.Ver,
		ID: "forged", Class: known.Acr, Methods: known.Amr, Roles: known.Roles, AuthTime: now, IssuedAt: now, ExpiresAt: now.Add(10 * time.Minute),
	}
	change(&claims)
	signed, err := token.Issue(key, claims)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.seen.add("forged token", signed)
}
