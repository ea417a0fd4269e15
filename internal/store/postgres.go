package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// The SQLSTATE codes that we act on (PostgreSQL manual, appendix A).
const (
	uniqueViolation      = "23505"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	diskFull             = "53100"
	notInRepertoire      = "22021"
	tooManyConnections   = "53300" // class 08 is a lost connection, 57P a server that stops or starts
)

// maxTries bounds how often a closure runs when the database asks for another try.
const maxTries = 5

func openPostgres(ctx context.Context, address string, o Options) (*DB, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errors.New("open database: the postgres:// address cannot be read; write postgres://USER:PASSWORD@HOST:PORT/NAME")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = o.DialTimeout
	}
	pool := stdlib.OpenDB(*config)
	pool.SetMaxOpenConns(o.MaxConnections)
	pool.SetMaxIdleConns(o.MaxConnections) // idle ones cost a process there, dialling costs every reader here
	pool.SetConnMaxIdleTime(5 * time.Minute)
	ping, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	if err := pool.PingContext(ping); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", Redact(address), err), pool.Close())
	}
	return &DB{dialect: Postgres, options: o, pool: pool}, nil
}

func (db *DB) updatePostgres(ctx context.Context, fn func(*Tx) error) error {
	for try := 1; ; try++ {
		tx, err := db.attempt(ctx, fn)
		if err == nil {
			for _, fn := range tx.after {
				fn()
			}
			return nil
		}
		if !worthAnotherTry(err) || try == maxTries {
			return err
		}
		if err := pause(ctx, rand.N(time.Duration(try)*10*time.Millisecond)); err != nil {
			return err
		}
	}
}

func (db *DB) attempt(ctx context.Context, fn func(*Tx) error) (*Tx, error) {
	t, err := db.pool.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	defer t.Rollback() //nolint:errcheck // after a commit there is nothing left to roll back
	tx := &Tx{db: db, run: textRunner{t}}
	if err := fn(tx); err != nil {
		return nil, err
	}
	if err := t.Commit(); err != nil {
		if !refused(err) {
			err = fmt.Errorf("%w: %w", errUncertain, err)
		}
		return nil, fmt.Errorf("commit: %w", err)
	}
	return tx, nil
}

var errUncertain = errors.New("the answer was lost")

// refused reports whether the error of a commit shows that nothing was committed: the server has said so. That pgx
// thinks another try safe is no proof: it says so too of a connection that was lost while it waited for the answer.
func refused(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && said.Severity == "ERROR" // FATAL and PANIC come from a server that goes down, perhaps after the commit
}

// Uncertain reports whether err is that of a transaction which may have been committed all the same.
func Uncertain(err error) bool { return errors.Is(err, errUncertain) }

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func worthAnotherTry(err error) bool {
	code := postgresCode(err)
	return code == serializationFailure || code == deadlockDetected
}

// Unfit reports whether err says that the database cannot hold a text: PostgreSQL takes no NUL.
func Unfit(err error) bool { return postgresCode(err) == notInRepertoire }

func postgresCode(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Lost reports whether err means that the database cannot be reached or used at the moment, so that
// another try later may succeed.
func Lost(err error) bool {
	var network *net.OpError
	if errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, sql.ErrConnDone) || errors.Is(err, ErrClosed) || pgconn.SafeToRetry(err) {
		return true
	}
	switch code := postgresCode(err); {
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "57P"), code == tooManyConnections:
		return true
	}
	return lostFile(err)
}
