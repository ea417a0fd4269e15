package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// maxBatch is how many closures share one commit at the most.
const maxBatch = 512

// What frames transactions and the closures in them.
var (
	begin     = SQL("BEGIN IMMEDIATE")
	commit    = SQL("COMMIT")
	rollback  = SQL("ROLLBACK")
	savepoint = SQL("SAVEPOINT one")
	undo      = SQL("ROLLBACK TO one")
	release   = SQL("RELEASE one")
)

// writer runs all updates of a SQLite database in one goroutine.
type writer struct {
	db    *DB
	pool  *sql.DB
	conn  *sql.Conn
	kept  statements
	queue chan *request
	ended chan struct{}

	closing sync.RWMutex // held for reading while a request is handed over
	closed  bool
}

// request is one closure that waits for its commit.
type request struct {
	ctx   context.Context
	fn    func(*Tx) error
	tx    *Tx
	err   error
	panic any
	done  chan struct{}
}

func newWriter(db *DB, pool *sql.DB, conn *sql.Conn) *writer {
	w := &writer{db: db, pool: pool, conn: conn, queue: make(chan *request, maxBatch), ended: make(chan struct{})}
	go w.loop()
	return w
}

// update hands fn to the writer and waits for its commit. Once a closure has begun, its caller
// waits for the end, whatever becomes of ctx: only so is the answer true.
func (w *writer) update(ctx context.Context, fn func(*Tx) error) error {
	r := &request{ctx: ctx, fn: fn, done: make(chan struct{})}
	if err := w.hand(ctx, r); err != nil {
		return err
	}
	<-r.done
	if r.panic != nil {
		panic(r.panic)
	}
	if r.err != nil {
		return r.err
	}
	for _, fn := range r.tx.after {
		fn()
	}
	return nil
}

func (w *writer) hand(ctx context.Context, r *request) error {
	w.closing.RLock()
	defer w.closing.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.queue <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) close() {
	w.closing.Lock()
	already := w.closed
	w.closed = true
	w.closing.Unlock()
	if !already {
		close(w.queue)
	}
	<-w.ended
}

func (w *writer) loop() {
	defer close(w.ended)
	defer w.pool.Close()
	defer w.conn.Close()
	defer w.kept.close()
	for first := range w.queue {
		w.commit(first)
	}
}

// commit runs first and whatever waits behind it in one transaction.
func (w *writer) commit(first *request) {
	ctx := context.Background() // an interrupted statement would roll back its neighbours
	batch := []*request{first}
	defer func() {
		for _, r := range batch {
			close(r.done)
		}
	}()
	if err := w.do(ctx, begin); err != nil {
		first.err = fmt.Errorf("begin: %w", err)
		return
	}
	w.run(ctx, first)
	for len(batch) < maxBatch {
		next, ok := w.waiting()
		if !ok {
			break
		}
		batch = append(batch, next)
		w.run(ctx, next)
	}
	if err := w.do(ctx, commit); err != nil {
		_ = w.do(ctx, rollback) // fails when the database has already rolled back
		for _, r := range batch {
			if r.err == nil {
				r.err = fmt.Errorf("commit: %w", err)
			}
		}
	}
}

func (w *writer) waiting() (*request, bool) {
	select {
	case r, ok := <-w.queue:
		return r, ok
	default:
		return nil, false
	}
}

// run runs one closure in a savepoint.
func (w *writer) run(ctx context.Context, r *request) {
	if r.err = r.ctx.Err(); r.err != nil {
		return
	}
	if r.err = w.do(ctx, savepoint); r.err != nil {
		return
	}
	r.tx = &Tx{db: w.db, run: w}
	defer func() {
		r.panic = recover()
		var undone error
		if r.err != nil || r.panic != nil {
			undone = w.do(ctx, undo)
		}
		if err := errors.Join(undone, w.do(ctx, release)); err != nil && r.err == nil {
			r.err = fmt.Errorf("end savepoint: %w", err)
		}
	}()
	r.err = r.fn(r.tx)
}

func (w *writer) do(ctx context.Context, q *Query) error {
	_, err := w.exec(ctx, q, nil)
	return err
}

func (w *writer) exec(_ context.Context, q *Query, args []any) (sql.Result, error) {
	ctx := context.Background()
	if q.passing {
		return w.conn.ExecContext(ctx, q.text(SQLite), args...)
	}
	s, err := w.kept.prepared(ctx, w.conn, q)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

func (w *writer) query(_ context.Context, q *Query, args []any) (*sql.Rows, error) {
	ctx := context.Background()
	if q.passing {
		return w.conn.QueryContext(ctx, q.text(SQLite), args...)
	}
	s, err := w.kept.prepared(ctx, w.conn, q)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}
