package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"gatehouse/test/services"
)

// run lets everything fall over while jobs are started, waits for their end and looks at what has become of them.
func run(h services.Host, o options) *tally {
	h.Helper()
	h.Logf("%d jobs, %d a second, on 2 servers and %d workers; --seed=%d", o.jobs, o.rate, o.workers, o.seed)
	d := deploy(h, o.workers)
	l := newLoad(d, startSource(h), o)
	ctx, cancel := context.WithCancel(h.Context())
	defer cancel()
	if err := l.register(ctx); err != nil {
		h.Fatalf("%v", err)
	}
	endSchedule, err := l.schedule(ctx)
	if err != nil {
		h.Fatalf("%v", err)
	}
	began := time.Now()
	w := &watchers{jobs: l.watch, options: o}
	m := &mishaps{d: d, load: l, options: o, random: rand.New(rand.NewPCG(o.seed, 2))}
	loaded := make(chan struct{})
	endWatches := sync.OnceFunc(func() { close(l.watch) })
	var parts background
	defer func() { // also when we give up
		cancel()
		<-loaded
		endWatches()
		_ = parts.wait()
	}()
	parts.run(func() error { w.run(ctx); return nil })
	parts.run(func() error {
		defer close(loaded)
		return l.run(ctx)
	})
	err = m.run(ctx, loaded)
	if err == nil {
		err = endSchedule()
	}
	if err != nil {
		h.Fatalf("%v", err)
	}
	endWatches()
	h.Logf("%s  all has fallen over; waiting for the end of the jobs", time.Now().Format(time.TimeOnly))
	until(ctx, o.patience, func() bool { return d.open(ctx) == 0 })
	watched := make(chan error, 1)
	go func() { watched <- parts.wait() }()
	select {
	case err = <-watched:
	case <-time.After(time.Minute):
		cancel()
		err = <-watched
	}
	if err != nil {
		h.Fatalf("%v", err)
	}
	r, err := look(h.Context(), d, l, m, w)
	if err != nil {
		h.Fatalf("look at the result: %v", err)
	}
	r.took = time.Since(began)
	return r
}

// open counts the jobs that have not ended; 1 when the database does not say.
func (d *deployment) open(ctx context.Context) int {
	n := 1
	_ = d.db.QueryRowContext(ctx, `SELECT count(*) FROM jobs
		WHERE owner_id <> '' AND state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')`).Scan(&n)
	return n
}
