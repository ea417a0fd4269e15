package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gocraft/work"

	"gatehouse/queue/transport"
)

// priorities are all there are. A lane is one of gocraft's job types: one a queue and priority. The
// fetch walks all of them, so they are few; the kind stands in the row.
func priorities() []Priority { return []Priority{Low, Normal, High, Critical} }

// weight is gocraft's priority of a lane: of two lanes that both hold jobs, the one with ten times
// the weight is looked at first ten times out of eleven, so that low ones are late but never starve.
func weight(p Priority) uint {
	w := uint(1)
	for ; p > Low; p-- {
		w *= 10
	}
	return w
}

func lane(queue string, p Priority) string { return queue + ":" + strconv.Itoa(int(p)) }

// laneOf is a lane by its parts.
type laneOf struct {
	queue    string
	priority Priority
}

func (l laneOf) name() string { return lane(l.queue, l.priority) }

// lanesOf returns the lanes of a queue.
func lanesOf(queue string) []laneOf {
	var lanes []laneOf
	for _, p := range priorities() {
		lanes = append(lanes, laneOf{queue, p})
	}
	return lanes
}

// messageID is the name of a message's argument that says which job is ready.
const messageID = "id"

// messageOf returns the message of a job; those of an owner take turns with those of others.
func messageOf(j *Job) transport.Message {
	return transport.Message{messageID: string(j.ID), transport.Of: string(j.Owner)}
}

// enqueuer writes messages for the workers.
type enqueuer struct{ wire *transport.Wire }

func newEnqueuer(w *transport.Wire) *enqueuer { return &enqueuer{w} }

// pushAll pushes jobs with one write a lane.
func (e *enqueuer) pushAll(ctx context.Context, jobs []*Job) error {
	byLane := map[string][]transport.Message{}
	for _, j := range jobs {
		name := lane(j.Queue, j.Priority)
		byLane[name] = append(byLane[name], messageOf(j))
	}
	var failed error
	for name, messages := range byLane {
		failed = errors.Join(failed, e.wire.Push(ctx, name, messages...))
	}
	return failed
}

// running is the set of jobs that this process is at.
type running struct {
	sync.Mutex
	jobs map[ID]*taken
}

// taken is a job in hand.
type taken struct {
	job    *Job
	end    context.CancelCauseFunc
	absent bool // at the last beat the database did not have it as ours
}

func (r *running) add(t *taken) {
	r.Lock()
	defer r.Unlock()
	r.jobs[t.job.ID] = t
}

func (r *running) remove(t *taken) {
	r.Lock()
	defer r.Unlock()
	if r.jobs[t.job.ID] == t { // a later claim of the same job may stand there
		delete(r.jobs, t.job.ID)
	}
}

func (r *running) count() int {
	r.Lock()
	defer r.Unlock()
	return len(r.jobs)
}

// endAll ends the contexts of all jobs with cause.
func (r *running) endAll(cause error) {
	r.Lock()
	defer r.Unlock()
	for _, t := range r.jobs {
		t.end(cause)
	}
}

// end ends the context of the job with cause.
func (r *running) end(id ID, cause error) {
	r.Lock()
	defer r.Unlock()
	if t := r.jobs[id]; t != nil {
		t.end(cause)
	}
}

// delivery is gocraft's context of a job; the claimed job travels in it from the middleware.
type delivery struct{ job *Job }

// crew is the workers of this process that serve the same lanes: one of gocraft's pools.
type crew struct {
	workers int
	lanes   []laneOf
}

// crews returns one for each queue that has workers of its own, and one for all others. One without
// workers is left out.
func (q *Queue) crews() []crew {
	var all []crew
	shared := crew{workers: q.options.Workers}
	for _, queue := range q.queues() {
		lanes := lanesOf(queue)
		if workers, own := q.options.Queues[queue]; own {
			all = append(all, crew{workers, lanes})
		} else {
			shared.lanes = append(shared.lanes, lanes...)
		}
	}
	return slices.DeleteFunc(append(all, shared), func(c crew) bool { return c.workers <= 0 || len(c.lanes) == 0 })
}

// work runs gocraft's workers until ctx ends and their jobs have.
func (q *Queue) work(ctx context.Context, crews []crew) {
	under, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	pools := make([]*work.WorkerPool, len(crews))
	for i, c := range crews {
		pools[i] = q.pool(under, c)
		pools[i].Start()
	}
	<-ctx.Done()
	q.wire.CloseBell()
	close(q.stopping)
	patience := time.AfterFunc(q.options.Shutdown, func() {
		q.running.endAll(ErrShutdown)
		stop(ErrShutdown)
	})
	defer patience.Stop()
	for _, pool := range pools {
		pool.Stop() // waits for the jobs in hand; with the bell closed none takes another meanwhile
	}
	q.ending.Wait()
}

// pool returns the pool of a crew. under outlives the workers.
func (q *Queue) pool(under context.Context, c crew) *work.WorkerPool {
	pool := work.NewWorkerPool(delivery{}, uint(c.workers), q.wire.Namespace(), q.wire.Pool())
	pool.Middleware(func(d *delivery, message *work.Job, next work.NextMiddlewareFunc) error {
		job, err := q.claim(under, ID(message.ArgString(messageID)))
		if err != nil {
			q.options.Logger.ErrorContext(under, "a job was not claimed; the sweeper will push it again", "error", err)
			return nil
		}
		if job == nil {
			return nil
		}
		d.job = job
		return next()
	})
	for _, l := range c.lanes {
		pool.JobWithOptions(l.name(), work.JobOptions{Priority: weight(l.priority), MaxFails: 1, SkipDead: true},
			func(d *delivery, _ *work.Job) error {
				q.do(under, d.job)
				return nil
			})
	}
	return pool
}

// endingAtOnce is how many jobs of a process may be past their work and not yet written at the most, beside
// those that workers wait for.
const endingAtOnce = 128

// do works on job and lets it be written what became of it. The worker does not wait for that: it is free for
// the next job, unless so many ends wait that the database must be away.
func (q *Queue) do(ctx context.Context, job *Job) {
	began := time.Now()
	kind, known := q.kinds[job.Kind]
	ctx, end := context.WithCancelCause(ctx)
	t := &taken{job: job, end: end}
	q.running.add(t)
	q.metrics.started(job)
	q.flows.count(job.Queue, flow{Begun: 1})
	deadline := time.AfterFunc(kind.Deadline, func() { end(ErrDeadline) })

	run := &Run{Job: job, queue: q, ctx: ctx}
	var ended ending
	if known {
		ended = q.handle(ctx, kind, run)
	} else {
		ended.err = Permanent(fmt.Errorf("this program knows no kind of job called %q", job.Kind))
	}
	deadline.Stop()
	cause := context.Cause(ctx)
	if !errors.Is(ended.err, errHeld) && !errors.Is(ended.err, ErrOutside) { // it goes on
		q.metrics.ran(job, time.Since(began), ended.err)
		q.flows.count(job.Queue, ended.flow())
	}
	write := func() {
		// What became of the job is written whatever has ended its context.
		q.finish(context.WithoutCancel(ctx), cause, run, ended)
		q.running.remove(t)
		end(nil)
	}
	select {
	case q.endings <- struct{}{}:
		q.ending.Go(func() {
			write()
			<-q.endings
		})
	default:
		write()
	}
}

// ending is how a handler ended.
type ending struct {
	result any
	err    error
	stack  string // of a panic
}

// flow is what the ending of an attempt adds to its queue's.
func (e ending) flow() flow {
	if e.err != nil {
		return flow{Failed: 1}
	}
	return flow{Succeeded: 1}
}

// handle runs the handler in a goroutine of its own, so that a panic, a Goexit or a handler that
// does not return cannot take the worker with it.
func (q *Queue) handle(ctx context.Context, kind Definition, run *Run) ending {
	done := make(chan ending, 1)
	go func() {
		e := ending{err: errPanicked} // what a Goexit leaves
		defer func() {
			if p := recover(); p != nil {
				e = ending{err: fmt.Errorf("%w: %v", errPanicked, p), stack: string(debug.Stack())}
			}
			done <- e
		}()
		result, err := kind.handle(ctx, run)
		e = ending{result: result, err: err}
	}()
	select {
	case e := <-done:
		return e
	case <-ctx.Done():
	}
	grace := time.NewTimer(q.options.Grace)
	defer grace.Stop()
	select {
	case e := <-done:
		return e
	case <-grace.C:
		q.options.Logger.ErrorContext(ctx, "a handler does not return; its goroutine is left behind",
			"job", run.Job.ID, "kind", run.Job.Kind)
		return ending{err: ErrStuck}
	}
}

// logEnding writes one line about how an attempt ended.
func (q *Queue) logEnding(ctx context.Context, job *Job, state State, err error) {
	level := slog.LevelInfo
	attrs := []any{"job", job.ID, "kind", job.Kind, "attempt", job.Attempt, "state", state}
	if errors.Is(err, errHeld) {
		q.options.Logger.DebugContext(ctx, "job goes on by its steps", attrs...)
		return
	}
	if errors.Is(err, ErrOutside) {
		q.options.Logger.InfoContext(ctx, "job goes on outside", attrs...)
		return
	}
	if err != nil {
		level = slog.LevelWarn
		attrs = append(attrs, "error", err)
	}
	q.options.Logger.Log(ctx, level, "job ended", attrs...)
}
