package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"gatehouse/internal/blob"
	"gatehouse/internal/store"
)

// maxResultInRow is the size up to which a result stands in the row, in bytes; a larger one is a
// file of the job.
const maxResultInRow = 64 << 10

// The pauses between two tries to write the end of a job.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
	lastTries  = 4 // once the process is shutting down
)

// finish writes what became of an attempt, and goes on trying while the database is away: the work
// is done and should not be done again. cause is why its context ended, nil when it has not.
func (q *Queue) finish(ctx context.Context, cause error, run *Run, e ending) {
	defer run.dropFiles()
	progress := run.quiet()
	pause := firstPause
	for last := lastTries; ; pause = min(2*pause, lastPause) {
		state, err := q.writeEnding(ctx, cause, run, progress, e)
		if err == nil {
			q.logEnding(ctx, run.Job, state, e.err)
			return
		}
		q.options.Logger.WarnContext(ctx, "the end of a job was not written", "job", run.Job.ID, "error", err)
		if errors.Is(err, errFenced) || errors.Is(err, store.ErrClosed) || last == 0 {
			q.metrics.lost.Add(1)
			return
		}
		select {
		case <-q.stopping:
			last--
			time.Sleep(min(pause, lastPause/4))
		case <-time.After(pause):
		}
	}
}

// writeEnding decides what an ending means and writes it.
func (q *Queue) writeEnding(ctx context.Context, cause error, run *Run, progress Progress, e ending) (State, error) {
	kind := q.kinds[run.Job.Kind]
	switch {
	case e.err == nil:
		return q.succeed(ctx, run, kind, progress, e)
	case errors.Is(e.err, errHeld):
		return q.hold(ctx, run)
	case errors.Is(e.err, ErrOutside): // whatever has ended the context: the worker has it
		return q.handOut(ctx, run, kind)
	case errors.Is(cause, ErrCancelled):
		return q.endRun(ctx, run, Failure{"CANCELLED", "The owner cancelled the job."}, e, endCancelled, kind.Retention.Microseconds())
	case errors.Is(cause, ErrShutdown):
		return q.refund(ctx, run)
	case errors.Is(cause, ErrDeadline) && !errors.Is(e.err, ErrStuck):
		e.err = fmt.Errorf("%w: %w", ErrDeadline, e.err)
	}
	why := failure(e.err)
	if isPermanent(e.err) || run.Job.Attempt >= run.Job.MaxAttempts {
		return q.endRun(ctx, run, why, e, failJob, why.Code, why.Message, kind.Retention.Microseconds())
	}
	return q.endRun(ctx, run, why, e, retryLater, why.Code, why.Message,
		kind.pause(run.Job.Attempt, e.err).Microseconds(), kind.Retention.Microseconds())
}

// succeed writes the result and the files together with the state.
func (q *Queue) succeed(ctx context.Context, run *Run, kind Definition, progress Progress, e ending) (State, error) {
	files, err := run.finishFiles()
	if err != nil {
		return q.failedAfterAll(ctx, run, kind, files, err)
	}
	result, err := json.Marshal(e.result)
	if err != nil {
		return q.failedAfterAll(ctx, run, kind, files, Permanent(fmt.Errorf("write the result: %w", err)))
	}
	inRow := any(string(result))
	if len(result) > maxResultInRow {
		object, err := q.putResult(ctx, result)
		if err != nil {
			return q.failedAfterAll(ctx, run, kind, files, err)
		}
		inRow = nil
		files = append(files, made{object, Outcome, "result.json", "application/json"})
	}
	if progress.Total > 0 {
		progress.Done = progress.Total
	}
	p := &pending{ctx: ctx, success: &success{taking: taking{run.Job.ID, run.Job.Claim}, run: run, files: files, row: []any{
		run.Job.ID, run.Job.Claim, inRow, progress.Done, progress.Total, progress.Stage, kind.Retention.Microseconds(),
	}}}
	err = q.writer.commit(ctx, p)
	if errors.Is(err, errFenced) { // perhaps by this very ending, whose answer was lost
		q.forgetUnknown(ctx, madeKeys(files)...)
	}
	if err == nil {
		q.slotFreed(ctx, run.Job)
		q.goOnAll(ctx, &p.changes)
		q.removeBlobs(ctx, p.success.settled...)
	}
	return Succeeded, err
}

// success is the good end of a job, its files and the row that changes it.
type success struct {
	taking
	run     *Run
	files   []made
	row     []any
	settled []blob.Key // of what was replaced; its files go once this is committed
}

// succeedAllTx writes that all have succeeded, by one statement; who is fenced keeps that error.
func succeedAllTx(ctx context.Context, tx *store.Tx, all []*pending) error {
	if len(all) == 0 {
		return nil
	}
	rows, byTaking := make([][]any, len(all)), make(map[taking]*pending, len(all))
	for i, p := range all {
		p.err = errFenced
		rows[i], byTaking[p.success.taking] = p.success.row, p
	}
	jobs, err := store.Rows(ctx, tx, succeedJobs, scanJobs(), rows)
	if err != nil || len(jobs) == 0 {
		return err
	}
	attempts, told := make([][]any, len(jobs)), make([]telling, len(jobs))
	for i, j := range jobs {
		p := byTaking[taking{j.ID, j.Claim}]
		attempts[i], told[i], p.job, p.err = []any{j.ID, j.Claim}, telling{j, &p.changes}, j, nil
		for _, f := range p.success.files {
			if err := addFileTx(ctx, tx, j, f.role, f.object, f.name, f.mediaType); err != nil {
				return err
			}
		}
		if p.success.settled, err = p.success.run.settleTx(ctx, tx); err != nil {
			return err
		}
	}
	if _, err := store.Rows(ctx, tx, endAttempts, store.Value[string], attempts); err != nil {
		return err
	}
	return recordStates(ctx, tx, told, "")
}

// failedAfterAll ends an attempt whose work was done and could not be kept.
func (q *Queue) failedAfterAll(ctx context.Context, run *Run, kind Definition, files []made, err error) (State, error) {
	q.removeBlobs(ctx, madeKeys(files)...)
	return q.writeEnding(ctx, nil, run, Progress{}, ending{err: err})
}

// endRun runs a fenced statement that ends the attempt, with the job's id and claim as its last
// parameters, and keeps the attempt's error.
func (q *Queue) endRun(ctx context.Context, run *Run, why Failure, e ending, end *store.Query, args ...any) (State, error) {
	var state State
	err := q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) error {
		j, err := fenced(ctx, tx, end, append(args[:len(args):len(args)], run.Job.ID, run.Job.Claim)...)
		if err != nil {
			return err
		}
		state = j.State
		if _, err := tx.Exec(ctx, endAttempt, why.Code, why.Message, store.OrNull(e.stack), j.ID, run.Job.Claim); err != nil {
			return err
		}
		return changes.record(ctx, tx, j, StateChanged, why.Message)
	})
	if err == nil {
		q.slotFreed(ctx, run.Job)
	}
	if state == Retrying && err == nil {
		q.metrics.retried(run.Job.Kind)
	}
	return state, err
}

// refund hands the job back as if this attempt had never begun.
func (q *Queue) refund(ctx context.Context, run *Run) (State, error) {
	err := q.write(ctx, func(ctx context.Context, tx *store.Tx, changes *changes) error {
		j, err := fenced(ctx, tx, handBack, run.Job.ID, run.Job.Claim)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, forgetAttempt, j.ID, run.Job.Claim); err != nil {
			return err
		}
		return changes.record(ctx, tx, j, StateChanged, "The worker shut down and handed the job back.")
	})
	return Queued, err
}

// fenced runs a statement that changes a job only for its present claim.
func fenced(ctx context.Context, tx *store.Tx, q *store.Query, args ...any) (*Job, error) {
	j, err := store.One(ctx, tx, q, scanJob, args...)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errFenced
	}
	return j, err
}

func addFileTx(ctx context.Context, tx *store.Tx, job *Job, role Role, o blob.Object, name, mediaType string) error {
	_, err := tx.Exec(ctx, insertFile, store.NewID[FileID]("art"), job.ID, job.Owner, role, o.Key.String(), name, mediaType, o.Bytes, o.SHA256[:])
	if err != nil {
		return fmt.Errorf("keep file %s: %w", name, err)
	}
	return nil
}

// forgetUnknown removes those files that no row knows. What cannot be asked now, the sweep of the blob store does.
func (q *Queue) forgetUnknown(ctx context.Context, keys ...blob.Key) {
	for _, key := range keys {
		if owned, err := q.Owned(ctx, key); err == nil && !owned {
			q.removeBlobs(ctx, key)
		}
	}
}

func madeKeys(files []made) []blob.Key {
	keys := make([]blob.Key, len(files))
	for i, f := range files {
		keys[i] = f.object.Key
	}
	return keys
}

// removeBlobs deletes files that no row knows any more, and reports whether it did. It ends at the first error, since
// each would wait for a store that hangs; the sweep of the blob store finds the rest.
func (q *Queue) removeBlobs(ctx context.Context, keys ...blob.Key) bool {
	for _, key := range keys {
		if err := q.files.Delete(ctx, key); err != nil {
			q.options.Logger.WarnContext(ctx, "files were not deleted", "error", err)
			return false
		}
	}
	return true
}

func (q *Queue) putResult(ctx context.Context, result []byte) (blob.Object, error) {
	w, err := q.files.Create(ctx)
	if err != nil {
		return blob.Object{}, err
	}
	defer w.Abort() // after Commit it does nothing
	if _, err := w.Write(result); err != nil {
		return blob.Object{}, err
	}
	return w.Commit()
}

// Result returns what a job has brought, as JSON, wherever it is kept; nil when there is none.
func (q *Queue) Result(ctx context.Context, j *Job) (json.RawMessage, error) {
	if j.Result != nil || j.State != Succeeded {
		return j.Result, nil
	}
	key, err := q.outcomeOf(ctx, j)
	if err != nil || key == (blob.Key{}) {
		return nil, err
	}
	content, _, err := q.files.Open(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("open result of %s: %w", j.ID, err)
	}
	defer content.Close()
	return io.ReadAll(io.LimitReader(content, maxInputBytes<<4))
}

// outcomeOf returns where the result of j is kept that is too large for its row; zero when nowhere.
func (q *Queue) outcomeOf(ctx context.Context, j *Job) (blob.Key, error) {
	if j.outcome != "" {
		return blob.ParseKey(j.outcome)
	}
	files, err := q.filesOf(ctx, Outcome, []ID{j.ID})
	if err != nil || len(files[j.ID]) == 0 {
		return blob.Key{}, err
	}
	return files[j.ID][0].Key, nil
}
