package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// Migrate brings the schema to this program's version. Several programs that start at once migrate
// once; a schema newer than this program is ErrNewerSchema, and nothing is touched.
func (db *DB) Migrate(ctx context.Context) error {
	if db.dialect == SQLite {
		release, err := Lock(ctx, db.path+".migrate", 30*time.Second)
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		defer release()
	}
	return db.withProvider(func(p *goose.Provider) error {
		if err := refuseNewer(ctx, p); err != nil {
			return err
		}
		done, err := p.Up(ctx)
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		for _, m := range done {
			db.options.Logger.Info("migrated", "version", m.Source.Version, "took", m.Duration)
		}
		return nil
	})
}

// SchemaVersion returns the version of the database's schema and of this program's.
func (db *DB) SchemaVersion(ctx context.Context) (current, known int64, err error) {
	err = db.withProvider(func(p *goose.Provider) error {
		current, known, err = p.GetVersions(ctx)
		return err
	})
	return current, known, err
}

func refuseNewer(ctx context.Context, p *goose.Provider) error {
	current, known, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if current > known {
		return fmt.Errorf("%w: its schema is version %d, this program knows %d", ErrNewerSchema, current, known)
	}
	return nil
}

func (db *DB) withProvider(fn func(*goose.Provider) error) error {
	folder, err := fs.Sub(migrations, "migrations/"+db.dialect.String())
	if err != nil {
		return fmt.Errorf("open migrations: %w", err)
	}
	if db.dialect == Postgres {
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return err
		}
		p, err := goose.NewProvider(goose.DialectPostgres, db.pool, folder, goose.WithSessionLocker(locker))
		if err != nil {
			return fmt.Errorf("read migrations: %w", err)
		}
		return fn(p)
	}
	pool, err := sql.Open("sqlite", sqliteAddress(db.path)) // the writer's own connection is never lent
	if err != nil {
		return err
	}
	defer pool.Close()
	p, err := goose.NewProvider(goose.DialectSQLite3, pool, folder)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	return fn(p)
}

// ErrLocked means that another process holds the lock.
var ErrLocked = errors.New("held by another process")

// Lock takes the lock named by path and keeps it until release is called or the process ends. It
// waits at most patience. The lock is a SQLite file with a transaction left open, which every
// operating system releases when the process dies.
func Lock(ctx context.Context, path string, patience time.Duration) (release func(), err error) {
	address := fmt.Sprintf("file:%s?_pragma=busy_timeout(%d)", path, patience.Milliseconds())
	pool, err := sql.Open("sqlite", address)
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(1)
	conn, err := pool.Conn(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, "BEGIN EXCLUSIVE")
	}
	if err != nil {
		if conn != nil {
			_ = conn.Close()
		}
		_ = pool.Close()
		if busy(err) {
			return nil, fmt.Errorf("lock %s: %w", path, ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() {
		_, _ = conn.ExecContext(context.Background(), "ROLLBACK")
		_ = conn.Close()
		_ = pool.Close()
	}, nil
}
