package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// mishap is one way in which something falls over. do returns once it is up again, or an error that ends all.
type mishap struct {
	name string
	do   func(ctx context.Context, m *mishaps) error
}

// all are the mishaps, in the order of the table.
func all() []mishap {
	return []mishap{
		{"kill -9 of a worker in mid-job", killWorker},
		{"kill -9 of a server", killServer},
		{"SIGSTOP of a worker in mid-job for 5 s", pauseWorker},
		{"kill -9 of Redis, back with its data", killRedis(false)},
		{"kill -9 of Redis, back empty", killRedis(true)},
		{"Redis hangs for 3 s", hangRedis},
		{"FLUSHALL", flush},
		{"one reply of Redis in eight is lost for 3 s", loseReplies},
		{"all connections to Redis are cut", cut},
		{"kill -9 of PostgreSQL", killPostgres},
	}
}

// mishaps makes one thing after the other fall over, and keeps when.
type mishaps struct {
	d       *deployment
	load    *load
	options options
	random  *rand.Rand
	log     []happened
	killed  []kill
}

// happened is one mishap: how long it lasted, and when everything answered again.
type happened struct {
	name        string
	began, over time.Time
	lasted      time.Duration
}

// kill is the end of a worker, by the ids under which the database knew it.
type kill struct {
	at  time.Time
	ids []string
}

// run lets mishaps happen in turns until done is closed, and each once at least.
func (m *mishaps) run(ctx context.Context, done <-chan struct{}) error {
	var turn []mishap
	for len(m.log) < len(all()) || !closed(done) {
		if len(turn) == 0 {
			turn = all()
			m.random.Shuffle(len(turn), func(i, j int) { turn[i], turn[j] = turn[j], turn[i] })
		}
		if err := m.happen(ctx, turn[0]); err != nil {
			return fmt.Errorf("%s: %w", turn[0].name, err)
		}
		turn = turn[1:]
		if !rest(ctx, m.options.rest) {
			return ctx.Err()
		}
	}
	return nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (m *mishaps) happen(ctx context.Context, next mishap) error {
	m.d.host.Logf("%s  %s", time.Now().Format(time.TimeOnly), next.name)
	h := happened{name: next.name, began: time.Now()}
	if err := next.do(ctx, m); err != nil {
		return err
	}
	h.lasted = time.Since(h.began)
	if err := m.d.whole(); err != nil {
		return err
	}
	h.over = time.Now()
	m.log = append(m.log, h)
	return nil
}

// busy returns a worker that is at a slow job, and its ids.
func (m *mishaps) busy(ctx context.Context) (*process, []string, error) {
	job, err := m.load.slow(ctx, len(m.log))
	if err != nil {
		return nil, nil, err
	}
	var pid int
	met := until(ctx, startWithin, func() bool {
		return m.d.db.QueryRowContext(ctx, `SELECT p.pid FROM jobs j JOIN processes p ON p.id = j.process_id
			WHERE j.state = 'RUNNING' AND j.id = $1`, job.id).Scan(&pid) == nil
	})
	for _, w := range m.d.workers {
		if met && w.running.PID() == pid {
			ids, err := texts(ctx, m.d.db, `SELECT id FROM processes WHERE pid = $1`, pid)
			return w, ids, err
		}
	}
	return nil, nil, fmt.Errorf("no worker has begun %s", job.id)
}

// killWorker leaves the worker's jobs to the others for a while.
func killWorker(ctx context.Context, m *mishaps) error {
	w, ids, err := m.busy(ctx)
	if err != nil {
		return err
	}
	m.killed = append(m.killed, kill{time.Now(), ids})
	w.kill()
	rest(ctx, 4*time.Second)
	return w.start()
}

func killServer(_ context.Context, m *mishaps) error {
	s := m.d.servers[m.random.IntN(len(m.d.servers))]
	s.kill()
	return s.start()
}

// pauseWorker lets a worker sleep for longer than its lease, and wake up as somebody who was taken for dead.
func pauseWorker(ctx context.Context, m *mishaps) error {
	w, _, err := m.busy(ctx)
	if err != nil {
		return err
	}
	w.running.Signal(syscall.SIGSTOP)
	defer w.running.Signal(syscall.SIGCONT)
	rest(ctx, 5*time.Second)
	return nil
}

func killRedis(empty bool) func(context.Context, *mishaps) error {
	return func(ctx context.Context, m *mishaps) error {
		m.d.redis.Kill()
		rest(ctx, 2*time.Second)
		if empty {
			if err := m.d.redis.Forget(); err != nil {
				return err
			}
		}
		m.d.redis.Restart(m.d.host)
		return nil
	}
}

func hangRedis(ctx context.Context, m *mishaps) error {
	m.d.redis.Pause()
	defer m.d.redis.Resume()
	rest(ctx, 3*time.Second)
	return nil
}

func flush(ctx context.Context, m *mishaps) error {
	o, err := redis.ParseURL(m.d.redis.URL)
	if err != nil {
		return err
	}
	client := redis.NewClient(o)
	defer client.Close()
	return client.FlushAll(ctx).Err()
}

func loseReplies(ctx context.Context, m *mishaps) error {
	m.d.proxy.losing.Store(true)
	defer m.d.proxy.losing.Store(false)
	rest(ctx, 3*time.Second)
	return nil
}

func cut(_ context.Context, m *mishaps) error {
	m.d.proxy.cut()
	return nil
}

func killPostgres(ctx context.Context, m *mishaps) error {
	m.d.postgres.Kill()
	rest(ctx, m.options.away)
	m.d.postgres.Restart(m.d.host)
	return nil
}
