package queue

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// ErrOutside is what a handler returns whose work goes on with a worker outside of the deployment. The
// job stays RUNNING and no process holds it, until [Queue.Complete] or [Queue.GiveUp] is called with the
// token of its claim, its owner cancels it, or nothing is heard of the worker for too long.
var ErrOutside = errors.New("the work goes on outside")

// Outside is how a kind's attempts go on outside.
type Outside[A, R any] struct {
	Silence func(args A) time.Duration // the longest time without a word of the worker
	Longest time.Duration              // of an attempt in all
	// Result returns what the job has brought when the worker gives this, took after the attempt began.
	Result func(j *Job, given json.RawMessage, took time.Duration) R
}

// outside is an Outside without its types.
type outside struct {
	silence func(input json.RawMessage) time.Duration
	longest time.Duration
	result  func(j *Job, given json.RawMessage, took time.Duration) any
}

func (o *Outside[A, R]) define() *outside {
	if o == nil {
		return nil
	}
	return &outside{
		silence: func(input json.RawMessage) time.Duration {
			var args A
			if json.Unmarshal(input, &args) != nil { // the handler has read them
				return o.Longest
			}
			return o.Silence(args)
		},
		longest: o.Longest,
		result:  func(j *Job, given json.RawMessage, took time.Duration) any { return o.Result(j, given, took) },
	}
}

// handOut lets go of a job that a worker outside goes on with. One that it has ended before we noticed is
// left as it is.
func (q *Queue) handOut(ctx context.Context, run *Run, kind Definition) (State, error) {
	if kind.outside == nil {
		return q.writeEnding(ctx, nil, run, Progress{}, ending{err: Permanent(fmt.Errorf("the kind %s does not go on outside", kind.Name))})
	}
	silence := kind.outside.silence(run.Job.Input)
	err := q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) error {
		j, err := fenced(ctx, tx, handOutJob, silence.Microseconds(), kind.outside.longest.Microseconds(), run.Job.ID, run.Job.Claim)
		if err != nil {
			return err
		}
		if !j.CancelAskedAt.IsZero() {
			tx.AfterCommit(q.sweepNow)
		}
		return changes.record(ctx, tx, j, LineWritten, "A worker outside goes on with the job.")
	})
	if errors.Is(err, errFenced) {
		return Running, nil
	}
	if err == nil {
		q.slotFreed(ctx, run.Job) // of its owner: no worker of ours is at it
	}
	return Running, err
}

// tokenPrefix tells people and secret scanners what they have found.
const tokenPrefix = "ghw_"

// Token returns what a worker outside shows to report on the job and to end it, as long as this attempt
// lasts: the number of the claim, and a keyed hash of it and the job.
func (r *Run) Token() string { return r.queue.token(r.Job.ID, r.Job.Claim) }

func (q *Queue) token(id ID, claim int64) string {
	number := strconv.FormatInt(claim, 10)
	mac := hmac.New(sha256.New, q.options.TokenKey[:])
	fmt.Fprintf(mac, "gatehouse outside worker\x00%s\x00%s", id, number)
	return tokenPrefix + number + "_" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// claimOf returns the claim of the job id that token was made for. Fault: TOKEN_INVALID.
func (q *Queue) claimOf(id ID, token string) (int64, error) {
	number, _, _ := strings.Cut(strings.TrimPrefix(token, tokenPrefix), "_")
	claim, err := strconv.ParseInt(number, 10, 64)
	if err != nil || !hmac.Equal([]byte(token), []byte(q.token(id, claim))) {
		return 0, fault.New(fault.TokenInvalid, "token", "This is not a token of this job.")
	}
	return claim, nil
}

// Word is what a worker outside says of its work.
type Word struct {
	Progress
	Line string // a line for the attempt's log; "": none
}

func (w Word) check() error {
	switch {
	case w.Done < 0:
		return fault.New(fault.Invalid, "done", "What is done is 0 or more.")
	case w.Total < 0:
		return fault.New(fault.Invalid, "total", "The total is 0 or more.")
	case utf8.RuneCountInString(w.Stage) > maxStageRunes:
		return fault.New(fault.TooLong, "stage", "A stage has at most 60 characters.")
	case len(w.Line) > maxLineBytes:
		return fault.New(fault.TooLong, "log", "A line has at most 2000 bytes.")
	}
	return nil
}

// Tell takes a word of the worker outside that has the job, which may then be silent for another while.
// Beyond 200 lines an attempt's log takes no more. Faults: UNAUTHENTICATED, FORBIDDEN; NOT_FOUND for what is not
// by's own; TOKEN_INVALID; ATTEMPT_OVER once the attempt is, however it ended; INVALID and TOO_LONG by field.
func (q *Queue) Tell(ctx context.Context, by viewer.Viewer, id ID, token string, w Word) (*Job, error) {
	j, err := q.given(ctx, by, id, token)
	if err != nil {
		return nil, err
	}
	if err := w.check(); err != nil {
		return nil, err
	}
	o := q.kinds[j.Kind].outside
	claim, silence, longest := j.Claim, o.silence(j.Input).Microseconds(), o.longest.Microseconds()
	err = q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) (err error) {
		j, err = fenced(ctx, tx, tellJob, w.Done, w.Total, w.Stage, silence, longest, id, claim)
		if err != nil {
			return err
		}
		if err := trimTx(ctx, tx, j); err != nil {
			return err
		}
		if err := changes.record(ctx, tx, j, ProgressMade, ""); err != nil || w.Line == "" {
			return err
		}
		if room, err := tx.Exec(ctx, countLine, id, claim, maxLogLines); err != nil || room == 0 {
			return err
		}
		if j, err = fenced(ctx, tx, touchJob, id, claim); err != nil {
			return err
		}
		return changes.record(ctx, tx, j, LineWritten, w.Line)
	})
	if errors.Is(err, errFenced) {
		return nil, attemptOver()
	}
	if err != nil {
		return nil, fmt.Errorf("take a word on %s: %w", id, err)
	}
	return j, nil
}

// trimEvery is after how many events those beyond the newest keptEvents are forgotten.
const trimEvery = 1000

// trimTx bounds the events of a job whose worker may report for as long as it likes.
func trimTx(ctx context.Context, tx *store.Tx, j *Job) error {
	if j.Sequence < keptEvents || j.Sequence%trimEvery > 1 { // a word makes two events at the most
		return nil
	}
	_, err := tx.Exec(ctx, forgetEvents, j.ID, j.Sequence-keptEvents)
	return err
}

// Complete ends the job with what the worker outside brings. Faults: those of [Queue.Tell].
func (q *Queue) Complete(ctx context.Context, by viewer.Viewer, id ID, token string, result json.RawMessage) (*Job, error) {
	return q.endOutside(ctx, by, id, token, func(j *Job, took time.Duration) ending {
		return ending{result: q.kinds[j.Kind].outside.result(j, result, took)}
	})
}

// maxReason bounds what a worker outside says of its failure, in characters.
const maxReason = 500

// GiveUp ends the attempt of the worker outside as failed, for a reason in words for the owner. The job
// is tried again when that may help and attempts are left. Faults: those of [Queue.Tell]; REQUIRED and
// TOO_LONG of the message.
func (q *Queue) GiveUp(ctx context.Context, by viewer.Viewer, id ID, token, message string, again bool) (*Job, error) {
	if message = strings.TrimSpace(message); message == "" || utf8.RuneCountInString(message) > maxReason {
		return nil, &fault.Fault{Code: fault.Invalid, Field: []string{"error", "message"}, Message: "Say why in 1 to 500 characters."}
	}
	return q.endOutside(ctx, by, id, token, func(*Job, time.Duration) ending {
		err := error(fault.New(outsideFailed, "", message))
		if !again {
			err = Permanent(err)
		}
		return ending{err: err}
	})
}

// outsideFailed is the code of a job whose worker outside has given up.
const outsideFailed fault.Code = "OUTSIDE_FAILED"

// endOutside ends the attempt that token is for with what end makes of it.
func (q *Queue) endOutside(ctx context.Context, by viewer.Viewer, id ID, token string, end func(j *Job, took time.Duration) ending) (*Job, error) {
	j, err := q.given(ctx, by, id, token)
	if err != nil {
		return nil, err
	}
	now, err := store.One(ctx, q.db, selectNow, scanMoment)
	if err != nil {
		return nil, fmt.Errorf("end %s: %w", id, err)
	}
	took := max(0, now.Sub(j.StartedAt))
	e := end(j, took)
	state, err := q.writeEnding(context.WithoutCancel(ctx), nil, &Run{Job: j, queue: q, ctx: ctx}, j.Progress, e)
	if errors.Is(err, errFenced) {
		return nil, attemptOver()
	}
	if err != nil {
		return nil, fmt.Errorf("end %s: %w", id, err)
	}
	q.metrics.ran(j, took, e.err)
	q.logEnding(ctx, j, state, e.err)
	return q.read(ctx, q.db, id)
}

// given returns the job if by owns it and token is for the attempt that now runs.
func (q *Queue) given(ctx context.Context, by viewer.Viewer, id ID, token string) (*Job, error) {
	if err := by.Require(viewer.WorkJobs); err != nil {
		return nil, err
	}
	j, err := q.read(ctx, q.db, id)
	if err != nil {
		return nil, err
	}
	if j.Owner != by.User {
		return nil, missing()
	}
	claim, err := q.claimOf(id, token)
	if err != nil {
		return nil, err
	}
	if claim != j.Claim || j.State != Running || q.kinds[j.Kind].outside == nil {
		return nil, attemptOver()
	}
	return j, nil
}

// attemptOver is the answer for a worker whose attempt has ended, whatever has ended it.
func attemptOver() error {
	return fault.New(fault.AttemptOver, "token", "This attempt is over: the job was cancelled, has ended, or was given to another worker. Stop working on it.")
}

// collect ends the attempts of workers outside that were silent for too long, or whose job was cancelled. The
// first count, as those of workers that disappear do.
func (q *Queue) collect(ctx context.Context) error {
	return q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) error {
		ids, err := store.All(ctx, tx, selectSilent, store.Value[ID])
		if err != nil || len(ids) == 0 {
			return err
		}
		query, size := collectSilent.List(len(ids))
		jobs, err := store.All(ctx, tx, query, scanJobs(), append([]any{q.longestRetention().Microseconds()}, store.Values(ids, size)...)...)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			why := outsideLost
			if j.State == Cancelled {
				why = Failure{"CANCELLED", "The owner cancelled the job."}
			}
			if _, err := tx.Exec(ctx, endAttempt, why.Code, why.Message, nil, j.ID, j.Claim); err != nil {
				return err
			}
			if err := changes.record(ctx, tx, j, StateChanged, why.Message); err != nil {
				return err
			}
		}
		return nil
	})
}
