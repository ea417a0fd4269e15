package store

import (
	"context"
	"database/sql"
	"sync"
)

// Reader runs reading statements: a *DB for a single one, a *Tx for several on one snapshot.
type Reader interface {
	query(ctx context.Context, q *Query, args ...any) (*sql.Rows, error)
}

// Tx is a transaction in hand. It is used by one goroutine and not after its closure has returned.
type Tx struct {
	db    *DB
	run   runner
	after []func()
}

// runner runs one statement on the connection of a transaction.
type runner interface {
	exec(ctx context.Context, q *Query, args []any) (sql.Result, error)
	query(ctx context.Context, q *Query, args []any) (*sql.Rows, error)
}

// AfterCommit calls fn once the transaction is durable, in the goroutine that called Update; never
// when it fails.
func (tx *Tx) AfterCommit(fn func()) { tx.after = append(tx.after, fn) }

// Exec runs q and returns how many rows it changed.
func (tx *Tx) Exec(ctx context.Context, q *Query, args ...any) (int64, error) {
	tx.db.trace(ctx, q)
	result, err := tx.run.exec(ctx, q, args)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (tx *Tx) query(ctx context.Context, q *Query, args ...any) (*sql.Rows, error) {
	tx.db.trace(ctx, q)
	return tx.run.query(ctx, q, args)
}

func (db *DB) query(ctx context.Context, q *Query, args ...any) (*sql.Rows, error) {
	db.trace(ctx, q)
	if db.dialect == Postgres || q.passing { // pgx keeps it prepared; a passing one is not kept
		return db.pool.QueryContext(ctx, q.text(db.dialect), args...)
	}
	s, err := db.reads.prepared(ctx, db.pool, q)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

func (db *DB) trace(ctx context.Context, q *Query) {
	if db.options.Trace != nil {
		db.options.Trace(ctx, q.text(db.dialect))
	}
}

// Scan is the part of a row that a scanning function needs.
type Scan func(into ...any) error

// One returns the only row of q, or ErrNotFound.
func One[T any](ctx context.Context, r Reader, q *Query, scan func(Scan) (T, error), args ...any) (T, error) {
	var none T
	rows, err := r.query(ctx, q, args...)
	if err != nil {
		return none, err
	}
	defer rows.Close()
	if !rows.Next() {
		return none, notFound(rows.Err())
	}
	row, err := scan(rows.Scan)
	if err != nil {
		return none, err
	}
	return row, rows.Close()
}

// All returns every row of q, in the order of the database.
func All[T any](ctx context.Context, r Reader, q *Query, scan func(Scan) (T, error), args ...any) ([]T, error) {
	rows, err := r.query(ctx, q, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	values := rows.Scan // taken once, not for each row
	for rows.Next() {
		row, err := scan(values)
		if err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// Value scans a row of one column.
func Value[T any](scan Scan) (T, error) {
	var v T
	err := scan(&v)
	return v, err
}

func notFound(err error) error {
	if err != nil {
		return err
	}
	return ErrNotFound
}

// statements keeps the prepared statements of one pool or connection.
type statements struct{ byQuery sync.Map } // *Query to *sql.Stmt

type preparer interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

func (s *statements) prepared(ctx context.Context, on preparer, q *Query) (*sql.Stmt, error) {
	if kept, ok := s.byQuery.Load(q); ok {
		return kept.(*sql.Stmt), nil
	}
	made, err := on.PrepareContext(context.WithoutCancel(ctx), q.text(SQLite))
	if err != nil {
		return nil, err
	}
	if q.passing {
		return made, nil
	}
	if kept, raced := s.byQuery.LoadOrStore(q, made); raced {
		return kept.(*sql.Stmt), made.Close()
	}
	return made, nil
}

// close ends the statements: one that is left keeps its connection to SQLite open for good.
func (s *statements) close() {
	s.byQuery.Range(func(_, kept any) bool {
		_ = kept.(*sql.Stmt).Close() // there is nobody left who could mend it
		return true
	})
}

// inside runs statements in a transaction that database/sql opened.
func (db *DB) inside(t *sql.Tx) runner {
	if db.dialect == Postgres {
		return textRunner{t}
	}
	return snapshot{db, t}
}

type textRunner struct{ tx *sql.Tx }

func (r textRunner) exec(ctx context.Context, q *Query, args []any) (sql.Result, error) {
	return r.tx.ExecContext(ctx, q.text(Postgres), args...)
}

func (r textRunner) query(ctx context.Context, q *Query, args []any) (*sql.Rows, error) {
	return r.tx.QueryContext(ctx, q.text(Postgres), args...)
}

// snapshot reads SQLite in a transaction of the readers' pool.
type snapshot struct {
	db *DB
	tx *sql.Tx
}

func (r snapshot) exec(ctx context.Context, q *Query, args []any) (sql.Result, error) {
	return r.tx.ExecContext(ctx, q.text(SQLite), args...)
}

func (r snapshot) query(ctx context.Context, q *Query, args []any) (*sql.Rows, error) {
	if q.passing {
		return r.tx.QueryContext(ctx, q.text(SQLite), args...)
	}
	s, err := r.db.reads.prepared(ctx, r.db.pool, q)
	if err != nil {
		return nil, err
	}
	return r.tx.StmtContext(ctx, s).QueryContext(ctx, args...)
}
