// Package store opens the database of a deployment, SQLite or PostgreSQL, and runs transactions on it.
//
// It knows no table of the domain. A package that owns a table writes its statements once with
// [SQL] and runs them through a [*Tx], or, for a single read, through the [*DB] itself.
//
// # Time and identity
//
// A moment is stored as whole microseconds since 1970 UTC (see [At] and [Time]), so that both
// databases order and compare it alike. Rows are named by [NewID]: a prefix and 26 characters that
// sort by time.
//
// # Writing
//
// On SQLite every [DB.Update] goes through one connection and one goroutine, which runs all
// closures that wait (at most 512) inside one transaction, each in a savepoint of its own, and
// commits once: a closure that fails takes no other with it, and eight busy callers share one
// commit. On PostgreSQL each Update is a transaction of its own, run again (at most five times) when
// the database reports a serialisation failure or a deadlock.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"
)

// ErrNotFound is what [One] answers when no row matches.
var ErrNotFound = errors.New("no such row")

// ErrNewerSchema means that a newer program has migrated the database: this one must not touch it.
var ErrNewerSchema = errors.New("the database was migrated by a newer Gatehouse")

// ErrClosed is what a closed database answers.
var ErrClosed = errors.New("the database is closed")

// Dialect is the language of a database.
type Dialect int

// The dialects.
const (
	SQLite Dialect = iota
	Postgres
)

// String returns the name that the metrics carry.
func (d Dialect) String() string {
	if d == Postgres {
		return "postgres"
	}
	return "sqlite"
}

// Options tunes a database; the zero value is a good default.
type Options struct {
	MaxConnections int           // of PostgreSQL's pool, idle ones included; 0: 20
	Readers        int           // of SQLite's pool; 0: 4
	DialTimeout    time.Duration // for the first answer of PostgreSQL; 0: 10 s
	Logger         *slog.Logger  // for migrations; nil: silent

	// Trace is called before each statement with the context of its caller; tests count with it.
	Trace func(ctx context.Context, statement string)
}

// DB is an open database. Its methods may be called from many goroutines.
type DB struct {
	dialect Dialect
	options Options
	pool    *sql.DB // readers of SQLite; everything of PostgreSQL
	path    string  // of SQLite's file
	writer  *writer // SQLite only
	reads   statements
}

// Open opens the database at address: "sqlite:PATH" or "postgres://…". It changes nothing: see [DB.Migrate].
func Open(ctx context.Context, address string, o Options) (*DB, error) {
	if o.MaxConnections == 0 {
		o.MaxConnections = 20
	}
	if o.Readers == 0 {
		o.Readers = 4
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	scheme, rest, _ := strings.Cut(address, ":")
	switch scheme {
	case "sqlite":
		return openSQLite(ctx, rest, o)
	case "postgres", "postgresql":
		return openPostgres(ctx, address, o)
	}
	return nil, fmt.Errorf("open database: the address begins with %q; write sqlite:PATH or postgres://…", scheme)
}

// Redact returns address without its passwords, for logs.
func Redact(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(not readable)" // and so it cannot be told where the password stands
	}
	query := u.Query()
	for name := range query {
		if strings.Contains(strings.ToLower(name), "password") {
			query.Set(name, "xxxxx")
			u.RawQuery = query.Encode()
		}
	}
	return u.Redacted()
}

// Dialect returns the language of the database.
func (db *DB) Dialect() Dialect { return db.dialect }

// Stats returns the figures of the connection pool.
func (db *DB) Stats() sql.DBStats { return db.pool.Stats() }

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.pool.PingContext(ctx); err != nil {
		return fmt.Errorf("ping %s: %w", db.dialect, err)
	}
	return nil
}

// Close ends all transactions in hand, then every connection.
func (db *DB) Close() error {
	db.reads.close()
	err := db.pool.Close() // readers first: SQLite tidies up with its last connection, if that may write
	if db.writer != nil {
		db.writer.close()
	}
	return err
}

// View runs fn on one snapshot of the database. fn only reads.
func (db *DB) View(ctx context.Context, fn func(tx *Tx) error) error {
	options := &sql.TxOptions{ReadOnly: true}
	if db.dialect == Postgres {
		options.Isolation = sql.LevelRepeatableRead
	}
	t, err := db.pool.BeginTx(ctx, options)
	if err != nil {
		return fmt.Errorf("begin to read: %w", err)
	}
	defer t.Rollback() //nolint:errcheck // a snapshot has nothing to lose
	return fn(&Tx{db: db, run: db.inside(t)})
}

// Update runs fn in a transaction and commits it unless fn fails. fn may run twice, so it only
// touches tx; it is quick, because on SQLite every other writer waits for it.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if db.writer != nil {
		return db.writer.update(ctx, fn)
	}
	return db.updatePostgres(ctx, fn)
}
