package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver that looks at the result

	"gatehouse/test/services"
)

// deployment is everything that is to fall over. Its processes change under the mishaps alone; their addresses
// stay.
type deployment struct {
	host     services.Host
	folder   string
	binary   string
	database string // its URL
	postgres *services.PostgresServer
	redis    *services.RedisServer
	proxy    *proxy
	db       *sql.DB
	servers  []*process
	workers  []*process
}

// process is one server or worker, started again after each kill.
type process struct {
	d       *deployment
	name    string
	addr    string // HOST:PORT
	args    []string
	running *services.Child
}

// deploy starts two servers and the workers, and returns once all are ready.
func deploy(h services.Host, workers int) *deployment {
	h.Helper()
	d := &deployment{host: h, folder: h.TempDir()}
	if d.binary = os.Getenv("GATEHOUSE_TEST_BINARY"); d.binary == "" {
		d.binary = filepath.Join(d.folder, "gatehouse")
		if err := services.BuildServer(d.binary); err != nil {
			h.Fatalf("%v", err)
		}
	}
	d.postgres, d.redis = services.StartPostgres(h), services.StartDurableRedis(h)
	d.proxy = startProxy(h, d.redis.Addr())
	d.database = d.postgres.URL
	db, err := sql.Open("pgx", d.database)
	if err != nil {
		h.Fatalf("open the database: %v", err)
	}
	db.SetMaxOpenConns(2)
	h.Cleanup(func() { _ = db.Close() })
	d.db = db
	for i := range 2 {
		d.servers = append(d.servers, d.launch(fmt.Sprintf("server %d", i+1), "serve", "--workers=0"))
	}
	for i := range workers {
		d.workers = append(d.workers, d.launch(fmt.Sprintf("worker %d", i+1), "worker", "--workers=4"))
	}
	return d
}

// launch starts a process for the first time. Jobs may fetch from this machine, where their source stands, and
// each account comes from a network of its own.
func (d *deployment) launch(name, subcommand string, flags ...string) *process {
	d.host.Helper()
	p := &process{d: d, name: name, addr: fmt.Sprintf("127.0.0.1:%d", services.FreePort(d.host))}
	p.args = append([]string{
		subcommand, "--addr=" + p.addr, "--data=" + filepath.Join(d.folder, "data"), "--database-url=" + d.database,
		"--redis-url=redis://" + d.proxy.addr + "/0", "--public-url=http://127.0.0.1:8080", "--log-level=warn",
		"--allow-private-fetch", "--trusted-proxies=127.0.0.0/8", "--max-sockets-per-ip=0",
	}, flags...)
	if err := p.start(); err != nil {
		d.host.Fatalf("%v", err)
	}
	d.host.Cleanup(func() { p.running.Stop(syscall.SIGKILL) })
	return p
}

// startWithin bounds how long a process may take until it is ready.
const startWithin = time.Minute

// start runs the program and returns once it is ready, or an error with the end of what it wrote.
func (p *process) start() error {
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the program has its own
	command := exec.Command(p.d.binary, p.args...)
	command.Dir, command.Env = p.d.folder, services.CleanEnvironment()
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.running, err = services.Spawn(command); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	if !until(p.d.host.Context(), startWithin, p.ready) {
		return fmt.Errorf("%s does not get ready; its log ends with\n%s", p.name, p.tail())
	}
	return nil
}

func (p *process) log() string { return filepath.Join(p.d.folder, p.name+".log") }

// tail returns the last 4 KiB of the log.
func (p *process) tail() []byte {
	text, err := os.ReadFile(p.log())
	if err != nil {
		return []byte(err.Error())
	}
	return text[max(0, len(text)-4<<10):]
}

// ready reports whether the process and all that it depends on answer.
func (p *process) ready() bool {
	ctx, cancel := context.WithTimeout(p.d.host.Context(), 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+"/readyz", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	said := make([]byte, 1<<10)
	n, _ := answer.Body.Read(said)
	return answer.StatusCode == http.StatusOK && strings.Contains(string(said[:n]), `"status":"ready"`)
}

// kill ends the process as a power cut does.
func (p *process) kill() { p.running.Stop(syscall.SIGKILL) }

// whole waits until everything answers again.
func (d *deployment) whole() error {
	var first *process
	ok := until(d.host.Context(), startWithin, func() bool {
		for _, p := range append(d.servers[:len(d.servers):len(d.servers)], d.workers...) {
			if first = p; !p.ready() {
				return false
			}
		}
		return true
	})
	if !ok {
		return fmt.Errorf("%s does not recover; its log ends with\n%s", first.name, first.tail())
	}
	return nil
}

// until calls done every few milliseconds until it is true; false when the time is over.
func until(ctx context.Context, within time.Duration, done func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for !done() {
		if !rest(ctx, 20*time.Millisecond) {
			return false
		}
	}
	return true
}

// rest lets d pass; false when ctx ends first.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// background runs parts of the program that end with ctx, and keeps what went wrong first.
type background struct {
	all  sync.WaitGroup
	once sync.Once
	err  error
}

func (b *background) run(part func() error) {
	b.all.Go(func() {
		if err := part(); err != nil {
			b.once.Do(func() { b.err = err })
		}
	})
}

// wait returns the first error of the parts, once all have ended.
func (b *background) wait() error {
	b.all.Wait()
	return b.err
}
