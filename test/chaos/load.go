package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// started is a job that a server has said it started.
type started struct {
	by *account
	id string
}

// load starts jobs at a steady rate, and goes on as often as it takes for each: its idempotency key makes it one.
type load struct {
	accounts []*account
	source   *source
	options  options
	random   *rand.Rand
	trials   atomic.Int64
	asked    atomic.Int64 // jobs
	watch    chan started // some of the jobs, for whoever has time to watch one

	scheduled, paused time.Time // from when to when the schedule started jobs

	mu   sync.Mutex
	jobs []started
}

// perAccount is fewer than the 600 jobs that an account may start at once.
const perAccount = 400

// atOnce is how many starts wait for a server at the most.
const atOnce = 32

func newLoad(d *deployment, s *source, o options) *load {
	l := &load{source: s, options: o, random: rand.New(rand.NewPCG(o.seed, 1)), watch: make(chan started, 4)}
	for i := range o.jobs/perAccount + 2 {
		l.accounts = append(l.accounts, &account{
			d: d, email: fmt.Sprintf("person%d@example.com", i), network: fmt.Sprintf("10.%d.%d.7", i>>8&255, i&255), trials: &l.trials,
		})
	}
	return l
}

// register makes the accounts.
func (l *load) register(ctx context.Context) error {
	for i, a := range l.accounts {
		name := fmt.Sprintf("Person %d", i)
		if err := a.enter(ctx, "register", map[string]any{"email": a.email, "password": passphrase, "name": name}); err != nil {
			return err
		}
	}
	return nil
}

// run starts all jobs and returns once each was taken.
func (l *load) run(ctx context.Context) error {
	var all background
	places := make(chan struct{}, atOnce)
	began := time.Now()
	for i := range l.options.jobs {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(l.options.rate))
		if !rest(ctx, time.Until(due)) {
			break
		}
		query, input := l.next(i)
		by := l.accounts[i%len(l.accounts)]
		places <- struct{}{}
		all.run(func() error {
			defer func() { <-places }()
			_, err := l.start(ctx, by, i, query, input)
			return err
		})
	}
	return errors.Join(all.wait(), ctx.Err())
}

// start starts one job, by whichever server answers first.
func (l *load) start(ctx context.Context, by *account, server int, query string, input map[string]any) (started, error) {
	l.asked.Add(1)
	var got struct{ Job struct{ ID string } }
	if err := by.ask(ctx, server, query, map[string]any{"in": input}, &got); err != nil {
		return started{}, fmt.Errorf("start job %v: %w", input["options"], err)
	}
	s := started{by, got.Job.ID}
	l.mu.Lock()
	l.jobs = append(l.jobs, s)
	l.mu.Unlock()
	select {
	case l.watch <- s:
	default: // all watchers are at a job
	}
	return s, nil
}

// slow starts one more slow job, the nth, for whoever wants to meet a worker in the middle of it.
func (l *load) slow(ctx context.Context, n int) (started, error) {
	return l.start(ctx, l.accounts[n%len(l.accounts)], n, startCSV, map[string]any{
		"url": l.source.url + "/slow", "options": map[string]any{"idempotencyKey": fmt.Sprint("slow ", n), "maxAttempts": attempts, "priority": "CRITICAL"},
	})
}

const (
	startCSV      = `mutation($in: ProcessCsvInput!) { processCsv(input: $in) { job { id } userErrors { message } } }`
	startWorkflow = `mutation($in: StartWorkflowInput!) { startWorkflow(input: $in) { job { id } userErrors { message } } }`
)

// attempts is as many as a job may have: what a worker did not survive counts.
const attempts = 25

// next says what job i is.
func (l *load) next(i int) (query string, input map[string]any) {
	options := map[string]any{"idempotencyKey": fmt.Sprint("job ", i), "maxAttempts": attempts}
	input = map[string]any{"options": options}
	switch at := l.random.IntN(100); {
	case at < 2:
		input["steps"] = l.steps()
		return startWorkflow, input
	case at < 6:
		input["url"] = l.source.url + "/slow"
	case at < 9:
		input["url"] = fmt.Sprintf("%s/flaky/%d", l.source.url, i)
	case at < 16:
		options["runAt"] = time.Now().Add(time.Second + time.Duration(l.random.Int64N(int64(6*time.Second)))).UTC().Format(time.RFC3339Nano)
		fallthrough
	default:
		input["text"] = "id,name\n1,Ada\n2,Bob\n"
	}
	return startCSV, input
}

// steps are three that need each other; the second reads what the first has made.
func (l *load) steps() []map[string]any {
	step := func(name string, arguments map[string]any, needs ...string) map[string]any {
		return map[string]any{"name": name, "kind": "processCsv", "arguments": arguments, "needs": needs, "maxAttempts": attempts}
	}
	return []map[string]any{
		step("read", map[string]any{"url": l.source.url + "/slow"}),
		step("rejects", map[string]any{"file": map[string]any{"$artifact": "read", "name": "rejects.csv"}}),
		step("last", map[string]any{"url": l.source.url + "/rows"}, "rejects"),
	}
}

// moments counts the minutes at which the schedule must have started a job: those of the last seconds may not have.
func (l *load) moments() int {
	return int(l.paused.Add(-5*time.Second).Truncate(time.Minute).Sub(l.scheduled.Truncate(time.Minute)) / time.Minute)
}

// schedule starts a job at each minute, those that were missed too, and returns what ends that.
func (l *load) schedule(ctx context.Context) (end func() error, err error) {
	by := l.accounts[0]
	l.scheduled = time.Now()
	var made struct{ Schedule struct{ ID string } }
	err = by.ask(ctx, 0, `mutation($in: CreateScheduleInput!) { createSchedule(input: $in) { schedule { id } userErrors { message } } }`,
		map[string]any{"in": map[string]any{
			"name": "each minute", "kind": "processCsv", "arguments": map[string]any{"url": l.source.url + "/rows"},
			"cron": "* * * * *", "catchUp": "ALL", "overlap": "ALLOW", "maxAttempts": attempts,
		}}, &made)
	if err != nil {
		return nil, fmt.Errorf("make a schedule: %w", err)
	}
	return func() error {
		l.paused = time.Now()
		var ended struct{ Schedule *struct{ ID string } }
		return by.ask(ctx, 1, `mutation($id: ID!) { updateSchedule(input: {id: $id, paused: true}) { schedule { id } userErrors { message } } }`,
			map[string]any{"id": made.Schedule.ID}, &ended)
	}, nil
}
