package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"gatehouse/internal/blob"
	"gatehouse/internal/store"
)

// The bounds of what one attempt keeps.
const (
	maxKept      = 5000
	maxNoteBytes = 256 << 10
)

var errTooMuchKept = errors.New("more is kept than an attempt may keep")

// Kept is what a job has done so far and need not do again: a note, and a file where there is one.
type Kept struct {
	Name string
	Note json.RawMessage
	File *File // nil: the note alone
}

// Keep stores note, and m if it is not nil, so that the next attempt finds both under name, whatever
// becomes of this one. What had that name is replaced. m is finished by it. What a job has kept is deleted
// when it succeeds, save for what [Run.Deliver] makes an artifact, and else with the job: an owner who
// retries it goes on from there, unless its kind begins [Kind.Afresh].
func (r *Run) Keep(ctx context.Context, name string, note any, m *Making) (Kept, error) {
	text, err := json.Marshal(note)
	if err != nil {
		return Kept{}, fmt.Errorf("write note %s: %w", name, err)
	}
	r.making.Lock()
	r.keeps++
	tooMuch := r.keeps > maxKept || len(text) > maxNoteBytes
	r.making.Unlock()
	if tooMuch {
		return Kept{}, fmt.Errorf("keep %s: %w", name, errTooMuchKept)
	}
	k := Kept{Name: name, Note: text}
	if m != nil {
		if k.File, err = r.finishKept(name, m); err != nil {
			return Kept{}, err
		}
	}
	if err := r.writeKept(ctx, k); err != nil {
		if k.File != nil && !store.Uncertain(err) {
			r.queue.forgetUnknown(context.WithoutCancel(ctx), k.File.Key)
		}
		return Kept{}, fmt.Errorf("keep %s: %w", name, err)
	}
	return k, nil
}

// finishKept makes m durable under name.
func (r *Run) finishKept(name string, m *Making) (*File, error) {
	r.forgetMaking(m)
	object, err := m.Commit()
	if err != nil {
		return nil, fmt.Errorf("finish %s: %w", name, err)
	}
	return &File{
		ID: store.NewID[FileID]("art"), Job: r.Job.ID, Role: KeptFile, Key: object.Key, Name: name, MediaType: m.mediaType,
		Bytes: object.Bytes, SHA256: object.SHA256[:],
	}, nil
}

func (r *Run) writeKept(ctx context.Context, k Kept) error {
	return r.changeKept(ctx, func(ctx context.Context, tx *store.Tx) ([]blob.Key, error) {
		replaced, err := dropKeptTx(ctx, tx, r.Job.ID, k.Name)
		if err != nil {
			return nil, err
		}
		if f := k.File; f != nil {
			// Committed before, without an answer, it would replace itself.
			replaced = slices.DeleteFunc(replaced, func(key blob.Key) bool { return key == f.Key })
			if _, err := tx.Exec(ctx, insertFile, f.ID, f.Job, r.Job.Owner, f.Role, f.Key.String(), f.Name, f.MediaType, f.Bytes, f.SHA256); err != nil {
				return nil, err
			}
		}
		_, err = tx.Exec(ctx, insertKept, r.Job.ID, k.Name, string(k.Note))
		return replaced, err
	})
}

// Kept returns what earlier attempts have kept, and this one, by name in ascending order.
func (r *Run) Kept(ctx context.Context) ([]Kept, error) {
	r.making.Lock()
	r.keeps++ // so that the end of the job looks for what is left
	r.making.Unlock()
	all, err := store.All(ctx, r.queue.db, selectKept, scanKept, r.Job.ID)
	if err != nil {
		return nil, fmt.Errorf("read what was kept: %w", err)
	}
	files, err := r.queue.filesOf(ctx, KeptFile, []ID{r.Job.ID})
	if err != nil {
		return nil, err
	}
	byName := map[string]*File{}
	for _, f := range files[r.Job.ID] {
		byName[f.Name] = &f
	}
	for i := range all {
		all[i].File = byName[all[i].Name]
	}
	return all, nil
}

// Drop deletes what was kept under names.
func (r *Run) Drop(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	err := r.changeKept(ctx, func(ctx context.Context, tx *store.Tx) ([]blob.Key, error) {
		var dropped []blob.Key
		for _, name := range names {
			keys, err := dropKeptTx(ctx, tx, r.Job.ID, name)
			if err != nil {
				return nil, err
			}
			dropped = append(dropped, keys...)
		}
		return dropped, nil
	})
	if err != nil {
		return fmt.Errorf("drop what was kept: %w", err)
	}
	return nil
}

// changeKept runs fn in a transaction that only the worker who has the job can commit, and removes the
// files that fn returns. The row of the job is locked: of two that both believe to have it, one waits.
func (r *Run) changeKept(ctx context.Context, fn func(context.Context, *store.Tx) ([]blob.Key, error)) error {
	var gone []blob.Key
	err := r.queue.write(ctx, func(ctx context.Context, tx *store.Tx, _ *changes) (err error) {
		if _, err := fenced(ctx, tx, keepHold, r.Job.ID, r.Job.Claim); err != nil {
			return err
		}
		gone, err = fn(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	r.queue.removeBlobs(context.WithoutCancel(ctx), gone...)
	return nil
}

// dropKeptTx deletes what has the name and returns its file.
func dropKeptTx(ctx context.Context, tx *store.Tx, job ID, name string) ([]blob.Key, error) {
	keys, err := store.All(ctx, tx, selectKeptFile, scanKey, job, name)
	if err != nil {
		return nil, err
	}
	if len(keys) > 0 {
		if _, err := tx.Exec(ctx, deleteKeptFile, job, name); err != nil {
			return nil, err
		}
	}
	_, err = tx.Exec(ctx, deleteKept, job, name)
	return keys, err
}

// delivered is a kept file that is to become an artifact.
type delivered struct {
	file            FileID
	name, mediaType string
}

// Deliver makes a kept file an artifact with that name if, and only if, the job succeeds. Its bytes are not
// copied. One that is dropped or replaced afterwards is no artifact.
func (r *Run) Deliver(k Kept, name, mediaType string) {
	r.making.Lock()
	defer r.making.Unlock()
	r.deliveries = append(r.deliveries, delivered{k.File.ID, name, mediaType})
}

// Abandon gives up a file that the job has begun.
func (r *Run) Abandon(m *Making) {
	r.forgetMaking(m)
	m.Abort()
}

func (r *Run) forgetMaking(m *Making) {
	r.making.Lock()
	defer r.making.Unlock()
	r.made = slices.DeleteFunc(r.made, func(other *Making) bool { return other == m })
}

// settleTx makes artifacts of what is delivered, and deletes what else was kept. It returns the files to
// remove once tx has committed.
func (r *Run) settleTx(ctx context.Context, tx *store.Tx) ([]blob.Key, error) {
	r.making.Lock()
	kept, deliveries := r.keeps > 0, r.deliveries
	r.making.Unlock()
	if !kept { // as most jobs: no statement for those
		return nil, nil
	}
	for _, d := range deliveries {
		if _, err := tx.Exec(ctx, deliverKept, d.name, d.mediaType, d.file, r.Job.ID); err != nil {
			return nil, err
		}
	}
	return dropAllKeptTx(ctx, tx, r.Job.ID)
}

// dropAllKeptTx deletes what a job has kept and returns its files.
func dropAllKeptTx(ctx context.Context, tx *store.Tx, id ID) ([]blob.Key, error) {
	left, err := store.All(ctx, tx, selectKeptFiles, scanKey, id)
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, deleteKeptFiles, id); err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, deleteAllKept, id)
	return left, err
}

func scanKept(scan store.Scan) (Kept, error) {
	var k Kept
	err := scan(&k.Name, (*[]byte)(&k.Note))
	return k, err
}
