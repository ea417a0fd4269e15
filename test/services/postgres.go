package services

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver that makes and drops the tests' databases
)

// PostgresServer is a private PostgreSQL.
type PostgresServer struct {
	URL string // postgres://gatehouse@127.0.0.1:PORT/postgres?sslmode=disable

	postgres string
	folder   string
	port     int
	owner    *syscall.Credential
	running  *Child
}

// StartPostgres starts a private server that ends with t.
func StartPostgres(t Host) *PostgresServer {
	t.Helper()
	folder, err := os.MkdirTemp("", "gatehouse-postgres-")
	if err != nil {
		t.Fatalf("make a folder for postgres: %v", err)
	}
	s := startPostgres(t, folder)
	t.Cleanup(func() {
		s.Kill()
		_ = os.RemoveAll(folder)
	})
	return s
}

func startPostgres(t Host, folder string) *PostgresServer {
	t.Helper()
	s := &PostgresServer{
		postgres: need(t, "postgres", "/usr/lib/postgresql/*/bin/postgres"),
		folder:   filepath.Join(folder, "data"),
		port:     FreePort(t),
		owner:    unprivileged(t, folder),
	}
	s.URL = fmt.Sprintf("postgres://gatehouse@127.0.0.1:%d/postgres?sslmode=disable", s.port)
	initdb := exec.Command(need(t, "initdb", "/usr/lib/postgresql/*/bin/initdb"),
		"--pgdata", s.folder, "--username", "gatehouse", "--auth", "trust", "--encoding", "UTF8",
		"--locale", "C.UTF-8", "--no-sync")
	initdb.Dir = folder
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	s.Restart(t)
	return s
}

// unprivileged returns the account under which postgres runs: it refuses to run as root.
func unprivileged(t Host, folder string) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Fatalf("postgres does not run as root, and there is no account to run it as: %v", err)
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	if err := os.Chown(folder, uid, gid); err != nil {
		t.Fatalf("give the folder to %s: %v", account.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// Restart starts the server again on its port and data, and returns once it answers.
func (s *PostgresServer) Restart(t Host) {
	t.Helper()
	command := exec.Command(s.postgres, "-D", s.folder, "-p", fmt.Sprint(s.port), "-h", "127.0.0.1",
		"-k", "", "-c", "max_connections=200", "-c", "log_min_messages=fatal")
	command.Dir = filepath.Dir(s.folder)
	command.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner, Pdeathsig: syscall.SIGQUIT}
	var err error
	if s.running, err = Spawn(command); err != nil {
		t.Fatalf("start postgres: %v", err)
	}
	await(t, "postgres", s.ping)
}

func (s *PostgresServer) ping() error {
	db, err := sql.Open("pgx", s.URL)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return db.PingContext(ctx)
}

// Kill ends the server at once and without a checkpoint; committed data stays on disk.
func (s *PostgresServer) Kill() { s.running.Stop(syscall.SIGQUIT) }

var (
	sharedPostgres     *PostgresServer
	sharedPostgresOnce sync.Once
	postgresDatabases  atomic.Int64
)

// Postgres returns the URL of an empty database on the PostgreSQL that the tests of this binary
// share. The server runs with its default durability.
func Postgres(t testing.TB) string {
	t.Helper()
	need(t, "postgres", "/usr/lib/postgresql/*/bin/postgres")
	sharedPostgresOnce.Do(func() {
		folder, err := os.MkdirTemp("", "gatehouse-postgres-")
		if err != nil {
			t.Fatalf("make a folder for postgres: %v", err)
		}
		sharedPostgres = startPostgres(t, folder)
	})
	if sharedPostgres == nil {
		t.Fatalf("the shared postgres did not start")
	}
	return sharedPostgres.Database(t)
}

// Database makes an empty database that is dropped when t ends, and returns its URL.
func (s *PostgresServer) Database(t Host) string {
	t.Helper()
	db, err := sql.Open("pgx", s.URL)
	if err != nil {
		t.Fatalf("open postgres: %v", err)
	}
	defer db.Close()
	name := fmt.Sprintf("test_%d", postgresDatabases.Add(1))
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatalf("make database %s: %v", name, err)
	}
	return fmt.Sprintf("postgres://gatehouse@127.0.0.1:%d/%s?sslmode=disable", s.port, name)
}
