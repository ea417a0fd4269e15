package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// DefaultQueue is the queue of kinds that name none.
const DefaultQueue = "default"

// Kind is one kind of job: what it takes, A, what it brings, R, and how it is run.
type Kind[A, R any] struct {
	Name        string
	Description string
	Queue       string        // ""; DefaultQueue
	MaxAttempts int           // 0: 5
	Deadline    time.Duration // of one attempt; 0: 15 min
	Retention   time.Duration // how long an ended job is kept; 0: 7 days
	Backoff     func(attempt int) time.Duration

	// Arguments reads what a schedule or a step of a workflow is to start the kind with: the input of its
	// mutation as a JSON object, without options. What the mutation would refuse is a fault here too, with the
	// same field. nil: only its mutation starts the kind, as one whose arguments are sealed.
	Arguments func(input json.RawMessage) (A, error)
	// File is the name of the input that is a file, "" when the kind takes none. A step gives it what another
	// has made; Arguments then finds an object with its name, mediaType and bytes there.
	File      string
	NeedsFile bool // so that a schedule cannot start the kind
	// Scope is what its mutation asks for beside [viewer.RunJobs]; a schedule starts the kind as long as
	// its owner is granted it. "": nothing more.
	Scope viewer.Scope
	// Outside is how the kind goes on once Handle has returned [ErrOutside]; nil: it never does.
	Outside *Outside[A, R]

	// Afresh says that a job which its owner starts anew knows nothing of what earlier attempts have kept.
	Afresh bool
	// Unmetered kinds are started whatever their owner's quota says, as what the law asks of us.
	Unmetered bool

	// Handle does the work. It returns soon after ctx ends; context.Cause tells why. It may run more
	// than once for one job, also beside a run that was believed dead, so what it does outside of
	// its Run must be safe to do twice.
	Handle func(ctx context.Context, run *Run, args A) (R, error)
}

// Definition is a kind without its types, as the queue keeps it.
type Definition struct {
	Name        string
	Description string
	Queue       string
	MaxAttempts int
	Deadline    time.Duration
	Retention   time.Duration
	Scope       viewer.Scope
	File        string
	needsFile   bool
	afresh      bool
	Unmetered   bool
	backoff     func(attempt int) time.Duration
	outside     *outside // nil: it never goes on outside
	handle      func(ctx context.Context, run *Run) (any, error)
	request     func(owner viewer.UserID, arguments json.RawMessage, o JobOptions, file *blob.Upload) (Request, error) // nil: by its mutation alone
}

// Schedulable reports whether a schedule may start the kind.
func (d Definition) Schedulable() bool { return d.request != nil && !d.needsFile }

// CanBeStep reports whether a step of a workflow may be of the kind.
func (d Definition) CanBeStep() bool { return d.request != nil && d.Name != WorkflowKind.Name }

// Define returns k as the queue keeps it, with its defaults filled in.
func (k Kind[A, R]) Define() Definition {
	d := Definition{
		Name: k.Name, Description: k.Description, Queue: k.Queue, MaxAttempts: k.MaxAttempts,
		Deadline: k.Deadline, Retention: k.Retention, Scope: k.Scope, Unmetered: k.Unmetered, File: k.File, needsFile: k.NeedsFile, afresh: k.Afresh, backoff: k.Backoff, outside: k.Outside.define(),
	}
	if d.Scope == "" {
		d.Scope = viewer.RunJobs
	}
	if d.Queue == "" {
		d.Queue = DefaultQueue
	}
	if d.MaxAttempts == 0 {
		d.MaxAttempts = 5
	}
	if d.Deadline == 0 {
		d.Deadline = 15 * time.Minute
	}
	if d.Retention == 0 {
		d.Retention = 7 * 24 * time.Hour
	}
	if d.backoff == nil {
		d.backoff = Exponential(time.Second, 10*time.Minute)
	}
	d.handle = func(ctx context.Context, run *Run) (any, error) {
		var args A
		if err := json.Unmarshal(run.Job.Input, &args); err != nil {
			return nil, Permanent(fmt.Errorf("read the arguments: %w", err))
		}
		return k.Handle(ctx, run, args)
	}
	if k.Arguments != nil {
		d.request = func(owner viewer.UserID, arguments json.RawMessage, o JobOptions, file *blob.Upload) (Request, error) {
			if file == nil && gives(arguments, k.File) {
				return Request{}, fault.New(fault.Invalid, k.File, "Only a step of a workflow gives a file, and only one that another has made.")
			}
			args, err := k.Arguments(arguments)
			if err != nil {
				return Request{}, err
			}
			request, err := k.Request(owner, args, o)
			if file != nil {
				request.Files = []*blob.Upload{file}
			}
			return request, err
		}
	}
	return d
}

// gives reports whether arguments have something under the name.
func gives(arguments json.RawMessage, name string) bool {
	var object map[string]json.RawMessage
	return name != "" && json.Unmarshal(arguments, &object) == nil && object[name] != nil
}

// Request returns the wish to have args worked on for owner.
func (k Kind[A, R]) Request(owner viewer.UserID, args A, o JobOptions) (Request, error) {
	input, err := json.Marshal(args)
	if err != nil {
		return Request{}, fmt.Errorf("write arguments of %s: %w", k.Name, err)
	}
	return Request{id: store.NewID[ID]("job"), Kind: k.Name, Owner: owner, Input: input, JobOptions: o}, nil
}

// Request is the wish to have a job done.
type Request struct {
	Kind  string
	Owner viewer.UserID
	Input json.RawMessage
	JobOptions
	Files []*blob.Upload // what the job reads; claimed once the job is committed

	id     ID // chosen once, so that a transaction that runs twice makes one job
	parent ID // the workflow of which it is a step; "": none
}

// JobOptions says how a job is to be run; the zero value leaves it to its kind.
type JobOptions struct {
	IdempotencyKey string
	Priority       Priority
	RunAt          time.Time
	MaxAttempts    int
}

// The bounds of what a caller may ask for.
const (
	maxKeyRunes    = 200
	maxAttempts    = 25
	maxInputBytes  = 1 << 20
	maxScheduleFor = 366 * 24 * time.Hour
)

// check returns a fault for options that no job can have.
func (o JobOptions) check(now time.Time) error {
	switch {
	case len([]rune(o.IdempotencyKey)) > maxKeyRunes:
		return fault.New(fault.TooLong, "idempotencyKey", "An idempotency key has at most 200 characters.")
	case o.MaxAttempts < 0 || o.MaxAttempts > maxAttempts:
		return fault.New(fault.Invalid, "maxAttempts", "A job has 1 to 25 attempts.")
	case o.RunAt.After(now.Add(maxScheduleFor)):
		return fault.New(fault.Invalid, "runAt", "A job can be planned at most 366 days ahead.")
	}
	return nil
}

// Exponential returns a policy that waits first after the first failure and twice as long after
// each further one, at most longest, spread by ±20 %.
func Exponential(first, longest time.Duration) func(attempt int) time.Duration {
	return func(attempt int) time.Duration {
		wait := longest
		if attempt < 30 {
			wait = min(longest, first<<max(0, attempt-1))
		}
		spread := int64(wait) / 5
		return wait + time.Duration(rand.Int64N(2*spread+1)-spread)
	}
}

// pause returns how long to wait after an attempt has failed with err: no less than a fault advises.
func (d Definition) pause(attempt int, err error) time.Duration {
	wait := d.backoff(attempt)
	if f, ok := fault.As(err); ok {
		wait = max(wait, f.RetryAfter)
	}
	return wait
}

// permanent marks an error that another attempt cannot mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks err as one that another attempt cannot mend: the job fails at once.
func Permanent(err error) error { return permanent{err} }

func isPermanent(err error) bool {
	var p permanent
	return errors.As(err, &p)
}

// failure returns the words of err for the owner. What is not a fault is not theirs to read.
func failure(err error) Failure {
	if f, ok := fault.As(err); ok {
		return Failure{string(f.Code), f.Message}
	}
	switch {
	case errors.Is(err, ErrDeadline):
		return Failure{"DEADLINE_EXCEEDED", "The job took longer than its kind allows."}
	case errors.Is(err, ErrStuck):
		return Failure{"STUCK", "The job did not end when it was told to."}
	case errors.Is(err, errPanicked):
		return Failure{"PANICKED", "The job ran into a defect of the program."}
	case errors.Is(err, ErrWorkerLost):
		return Failure{"WORKER_LOST", "The worker disappeared in the middle of the job."}
	}
	return Failure{string(fault.Internal), "The job failed for a reason that the operator can read in the log."}
}
