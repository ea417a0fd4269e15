package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
)

// mark ends every object, so that a foreign or half-written file is told from one.
const mark = "GHBLOB1\n"

const trailerBytes = sha256.Size + len(mark)

// Writer takes the bytes of one object. It belongs to one goroutine and ends with Commit or Abort:
//
//	w, err := store.Create(ctx)
//	…
//	defer w.Abort() // nothing after Commit
type Writer struct {
	store *Store
	key   Key
	file  *os.File
	sum   hash.Hash
	bytes int64
	err   error // the first failure, or that the writer has ended
}

var errEnded = errors.New("the writer has ended")

// Create begins a new object under a fresh key. A disk that fails is ErrStorage, here and in the
// methods of the Writer.
func (s *Store) Create(ctx context.Context) (*Writer, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	key := newKey()
	file, err := os.OpenFile(filepath.Join(s.incoming(), key.String()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, storageError("create object", err)
	}
	return &Writer{store: s, key: key, file: file, sum: sha256.New()}, nil
}

// Write appends to the object. After an error the object can only be aborted.
func (w *Writer) Write(content []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.file.Write(content)
	w.sum.Write(content[:n])
	w.bytes += int64(n)
	if err != nil {
		w.err = storageError("write object", err)
	}
	return n, w.err
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
	info, err := w.seal(object)
	if err != nil {
		w.Abort()
		return Object{}, storageError("commit object", err)
	}
	object.ModifiedAt = info.ModTime()
	if err := w.publish(); err != nil {
		w.Abort()
		return Object{}, storageError("commit object", err)
	}
	w.file, w.err = nil, errEnded
	return object, nil
}

// seal writes the trailer and waits until the file is on disk.
func (w *Writer) seal(object Object) (fs.FileInfo, error) {
	if _, err := w.file.Write(append(object.SHA256[:], mark...)); err != nil {
		return nil, err
	}
	if err := w.file.Sync(); err != nil {
		return nil, err
	}
	info, err := w.file.Stat()
	if err != nil {
		return nil, err
	}
	return info, w.file.Close()
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

// Abort gives the object up. It does nothing after Commit or a first Abort; a file that cannot be
// removed now is left to Sweep.
func (w *Writer) Abort() {
	if w.file == nil {
		return
	}
	w.file.Close()
	_ = remove(w.file.Name())
	w.file, w.err = nil, errEnded
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
