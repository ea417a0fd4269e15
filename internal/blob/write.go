package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"os"
	"path/filepath"
)

// mark ends every object, so that a foreign or half-written file is told from one.
const mark = "GHBLOB1\n"

const trailerBytes = sha256.Size + len(mark)

// Writer takes the bytes of one object. It belongs to one goroutine and ends with Commit or Abort. The context of
// Create bounds what Write sends to a bucket; Commit and Abort outlive it.
//
//	w, err := store.Create(ctx)
//	…
//	defer w.Abort() // nothing after Commit
type Writer struct {
	store  *Store
	key    Key
	file   *os.File // the object, or of what goes to a bucket the part that is under way
	upload *upload  // to the bucket; nil in a folder
	sum    hash.Hash
	bytes  int64
	err    error // the first failure, or that the writer has ended
}

var errEnded = errors.New("the writer has ended")

// Create begins a new object under a fresh key. A disk that fails is ErrStorage, here and in the
// methods of the Writer.
func (s *Store) Create(ctx context.Context) (*Writer, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	key := newKey()
	file, err := os.OpenFile(filepath.Join(s.incoming(), key.String()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, storageError("create object", err)
	}
	w := &Writer{store: s, key: key, file: file, sum: sha256.New()}
	if s.bucket != nil {
		w.upload = newUpload(ctx, s.bucket, key, file)
	}
	return w, nil
}

// Write appends to the object. After an error the object can only be aborted.
func (w *Writer) Write(content []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.append(content)
	w.sum.Write(content[:n])
	w.bytes += int64(n)
	w.err = err
	return n, err
}

func (w *Writer) append(content []byte) (int, error) {
	if w.upload != nil {
		return w.upload.Write(content)
	}
	n, err := w.file.Write(content)
	if err != nil {
		return n, storageError("write object", err)
	}
	return n, nil
}

// Commit makes the object visible, whole and for good, or removes it and returns the error.
func (w *Writer) Commit() (Object, error) {
	if w.err != nil {
		err := w.err
		w.Abort()
		return Object{}, err
	}
	object := Object{Key: w.key, Bytes: w.bytes}
	w.sum.Sum(object.SHA256[:0])
	if err := w.finish(append(object.SHA256[:], mark...)); err != nil {
		w.Abort()
		return Object{}, err
	}
	w.file, w.err = nil, errEnded
	return object, nil
}

// finish appends the trailer and makes the object visible.
func (w *Writer) finish(trailer []byte) error {
	if _, err := w.append(trailer); err != nil {
		return err
	}
	if w.upload != nil {
		if err := w.upload.finish(); err != nil {
			return err
		}
		w.dropFile()
		return nil
	}
	if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
		return storageError("commit object", err)
	}
	if err := w.publish(); err != nil {
		return storageError("commit object", err)
	}
	return nil
}

// publish renames the file into place and waits until its folder is on disk.
func (w *Writer) publish() error {
	target := w.store.path(w.key)
	if err := makeFolders(filepath.Dir(target)); err != nil {
		return err
	}
	if err := os.Rename(w.file.Name(), target); err != nil {
		return err
	}
	if err := syncFolder(filepath.Dir(target)); err != nil {
		return errors.Join(err, remove(target))
	}
	return nil
}

// Abort gives the object up. It does nothing after Commit or a first Abort; what cannot be removed now is
// left to Sweep.
func (w *Writer) Abort() {
	if w.file == nil {
		return
	}
	w.dropFile()
	if w.upload != nil {
		w.upload.abort()
	}
	w.file, w.err = nil, errEnded
}

// dropFile removes the file of incoming; one that stays is left to Sweep.
func (w *Writer) dropFile() {
	w.file.Close()
	_ = remove(w.file.Name())
}

// makeFolders makes objects/a/b on its first use, and sees that it outlives a power cut.
func makeFolders(folder string) error {
	if _, err := os.Stat(folder); err == nil {
		return nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	above := filepath.Dir(folder)
	return errors.Join(syncFolder(above), syncFolder(filepath.Dir(above)))
}
