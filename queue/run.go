package queue

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"gatehouse/internal/blob"
	"gatehouse/internal/store"
)

// reportEvery is the shortest time between two stored reports of a job.
const reportEvery = 100 * time.Millisecond

// Run is what a handler knows of its job and may do for it. Its methods may be called from many
// goroutines, until the handler has returned.
type Run struct {
	Job *Job // as it was taken; not to be changed

	queue *Queue
	ctx   context.Context // of the attempt; bounds the writes that the handler does not wait for

	reporting sync.Mutex
	newest    Progress
	dirty     bool        // newest is not yet stored
	last      time.Time   // when a report was stored
	timer     *time.Timer // stores newest later
	ended     bool
	writing   sync.WaitGroup

	making     sync.Mutex
	made       []*Making
	lines      int
	keeps      int // how often something was kept or asked for
	deliveries []delivered
}

// Report says how far the job has come, in the unit of its kind; total 0 means that nobody knows.
// It is cheap and never blocks: the newest report wins, and at most ten a second are stored.
func (r *Run) Report(done, total int64, stage string) {
	r.reporting.Lock()
	defer r.reporting.Unlock()
	r.newest, r.dirty = Progress{done, total, clip(stage, maxStageRunes)}, true
	if r.ended || r.timer != nil {
		return
	}
	wait := max(0, reportEvery-time.Since(r.last))
	r.writing.Add(1)
	r.timer = time.AfterFunc(wait, func() {
		defer r.writing.Done()
		r.storeNewest()
	})
}

func (r *Run) storeNewest() {
	r.reporting.Lock()
	newest := r.newest
	r.dirty, r.last = false, time.Now()
	skip := r.ended
	r.reporting.Unlock()
	if !skip {
		r.store(newest)
	}
	r.reporting.Lock()
	defer r.reporting.Unlock()
	r.timer = nil
	if r.dirty && !r.ended { // something newer came while we wrote
		r.writing.Add(1)
		r.timer = time.AfterFunc(reportEvery, func() {
			defer r.writing.Done()
			r.storeNewest()
		})
	}
}

func (r *Run) store(p Progress) {
	err := r.queue.write(r.ctx, func(ctx context.Context, tx *store.Tx, changes *changes) error {
		j, err := fenced(ctx, tx, progressJob, p.Done, p.Total, p.Stage, r.Job.ID, r.Job.Claim)
		if err != nil {
			return err
		}
		return changes.record(ctx, tx, j, ProgressMade, "")
	})
	if err != nil && r.ctx.Err() == nil {
		r.queue.options.Logger.WarnContext(r.ctx, "a report was not stored", "job", r.Job.ID, "error", err)
	}
}

// Log writes a line that the owner can read, at most 2,000 bytes of it. Beyond 200 lines an
// attempt says no more.
func (r *Run) Log(format string, args ...any) {
	r.making.Lock()
	r.lines++
	silent := r.lines > maxLogLines
	r.making.Unlock()
	if silent {
		return
	}
	line := clipBytes(fmt.Sprintf(format, args...), maxLineBytes)
	err := r.queue.write(r.ctx, func(ctx context.Context, tx *store.Tx, changes *changes) error {
		j, err := fenced(ctx, tx, touchJob, r.Job.ID, r.Job.Claim)
		if err != nil {
			return err
		}
		return changes.record(ctx, tx, j, LineWritten, line)
	})
	if err != nil && r.ctx.Err() == nil {
		r.queue.options.Logger.WarnContext(r.ctx, "a line was not stored", "job", r.Job.ID, "error", err)
	}
}

// Inputs lists the files that the job reads.
func (r *Run) Inputs(ctx context.Context) ([]File, error) {
	files, err := r.queue.filesOf(ctx, Input, []ID{r.Job.ID})
	return files[r.Job.ID], err
}

// Open opens a file of the job for reading.
func (r *Run) Open(ctx context.Context, f File) (io.ReadSeekCloser, error) {
	return r.queue.Open(ctx, f)
}

// Open opens a file for reading. One whose sum is not that of the row is blob.ErrCorrupt: somebody else has written
// to the store.
func (q *Queue) Open(ctx context.Context, f File) (io.ReadSeekCloser, error) {
	content, object, err := q.files.Open(ctx, f.Key)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(object.SHA256[:], f.SHA256) {
		content.Close()
		return nil, fmt.Errorf("open %s: %w: it was replaced", f.ID, blob.ErrCorrupt)
	}
	return content, nil
}

// Making is a file that a job is writing. It becomes an artifact if, and only if, the job succeeds.
type Making struct {
	*blob.Writer
	name, mediaType string
	finished        *blob.Object // nil until it is durable
}

// Create begins a file of the job. Whatever becomes of the attempt, nothing half-written stays.
func (r *Run) Create(ctx context.Context, name, mediaType string) (*Making, error) {
	w, err := r.queue.files.Create(ctx)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	m := &Making{Writer: w, name: name, mediaType: mediaType}
	r.making.Lock()
	defer r.making.Unlock()
	r.made = append(r.made, m)
	return m, nil
}

// made is a finished file that waits for the job's success.
type made struct {
	object          blob.Object
	role            Role
	name, mediaType string
}

// finishFiles makes the written files durable. The end of a job may be written more than once, and so this called.
func (r *Run) finishFiles() ([]made, error) {
	r.making.Lock()
	defer r.making.Unlock()
	var all []made
	for _, m := range r.made {
		if m.finished == nil {
			object, err := m.Commit()
			if err != nil {
				return all, fmt.Errorf("finish %s: %w", m.name, err)
			}
			m.finished = &object
		}
		all = append(all, made{*m.finished, Artifact, m.name, m.mediaType})
	}
	return all, nil
}

// dropFiles removes what was written and not finished.
func (r *Run) dropFiles() {
	r.making.Lock()
	defer r.making.Unlock()
	for _, m := range r.made {
		m.Abort() // after Commit it does nothing
	}
}

// quiet ends reporting and returns the newest report.
func (r *Run) quiet() Progress {
	r.reporting.Lock()
	r.ended = true
	if r.timer != nil && r.timer.Stop() {
		r.writing.Done()
	}
	newest := r.newest
	r.reporting.Unlock()
	r.writing.Wait()
	return newest
}

func clip(s string, runes int) string {
	if utf8.RuneCountInString(s) <= runes {
		return s
	}
	return string([]rune(s)[:runes])
}

func clipBytes(s string, bytes int) string {
	if len(s) <= bytes {
		return s
	}
	for bytes > 0 && !utf8.RuneStart(s[bytes]) {
		bytes--
	}
	return s[:bytes]
}
