// Package blob keeps uploads and artifacts: streams of bytes under a key, with their SHA-256.
//
// # How it is used
//
// Open takes a folder, OpenS3 a bucket and a folder for what is under way. Put and Receive store a stream
// and bound its length; Create gives a Writer for who produces bytes piece by piece. Nothing is visible
// before its bytes are on disk: Writer.Commit syncs the file, renames it into place and syncs the folder, or
// has the bucket make an object of what was sent. Store.Open reads an object back and checks it against its
// sum. Sweep removes what a crash has left behind.
//
// # Where it lies
//
//	incoming/<key>    in the folder: being written
//	objects/a/b/<key> committed: the bytes, then a trailer of 40 bytes: the SHA-256 and a mark
//
// Keys are 128 random bits in base32, so a and b spread the objects over 1,024 folders. Several
// processes of one machine may share the folder. A bucket holds its objects under the same names and with
// the same bytes, below a prefix, so that files move between the two forms by a copy; any number of
// machines may share it. What goes there is gathered in incoming in parts of 16 MiB, which are sent one by
// one: as one request when there is only one, else as a multipart upload.
//
// # Bounds
//
// A call holds one buffer of 64 KiB and an open file, whatever the object's size; a Writer to a bucket holds
// 16 MiB of disk and the object at most 10,000 parts. The length of an object is bounded by whoever stores
// it. The store itself has no quota; a full disk is ErrStorage. A request to a bucket is tried three times
// and given up when no byte moves for 30 s; how long a moving one takes is not bounded.
package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

var (
	// ErrNotFound says that no object has the key.
	ErrNotFound = errors.New("no such object")
	// ErrTooLarge says that a stream is longer than its limit.
	ErrTooLarge = errors.New("the content is too large")
	// ErrStorage says that the disk, its folder or the bucket failed: full, read-only, gone, silent. It
	// wraps the cause.
	ErrStorage = errors.New("storage failed")
	// ErrCorrupt says that a stored object is not what was committed.
	ErrCorrupt = errors.New("the stored object is corrupt")
)

// copyBytes is the size of each step of a copy, and so how often a copy looks at its context.
const copyBytes = 64 << 10

// Object says what is stored under a key.
type Object struct {
	Key    Key
	Bytes  int64
	SHA256 [sha256.Size]byte
}

// Store keeps objects in a folder or a bucket. All its methods may be called at once, also by several
// processes.
type Store struct {
	folder string
	bucket *bucket // nil: all is in the folder
}

// Open returns the store in folder, which is made when it is missing.
func Open(folder string) (*Store, error) {
	s := &Store{folder: folder}
	for _, room := range []string{s.incoming(), s.objects()} {
		if err := os.MkdirAll(room, 0o700); err != nil {
			return nil, storageError("open store", err)
		}
	}
	return s, nil
}

// OpenS3 returns the store in a bucket; folder, which is made when it is missing, takes what is under way. It
// does not ask the bucket: Check does.
func OpenS3(folder string, o S3) (*Store, error) {
	s := &Store{folder: folder}
	if err := os.MkdirAll(s.incoming(), 0o700); err != nil {
		return nil, storageError("open store", err)
	}
	var err error
	s.bucket, err = newBucket(o)
	return s, err
}

// Close lets go of connections. Objects that are open must be closed first.
func (s *Store) Close() {
	if s.bucket != nil {
		s.bucket.transport.CloseIdleConnections()
	}
}

// Check returns an error that says what is wrong with the bucket, the keys or their rights: it puts an empty
// object there, lists and removes it.
func (s *Store) Check(ctx context.Context) error {
	if s.bucket == nil {
		return nil // Open has made the folder
	}
	return s.bucket.check(ctx)
}

// Ping reports whether the store answers.
func (s *Store) Ping(ctx context.Context) error {
	if s.bucket != nil {
		return s.bucket.ping(ctx)
	}
	if _, err := os.Stat(s.objects()); err != nil {
		return storageError("look at the store", err)
	}
	return nil
}

func (s *Store) incoming() string { return filepath.Join(s.folder, "incoming") }

func (s *Store) objects() string { return filepath.Join(s.folder, "objects") }

// path is where the object stands once it is committed.
func (s *Store) path(key Key) string {
	name := key.String()
	return filepath.Join(s.objects(), name[:1], name[1:2], name)
}

// Put stores all of r. More than limit bytes are ErrTooLarge. An error of r comes back wrapped. After
// any error nothing is stored.
func (s *Store) Put(ctx context.Context, r io.Reader, limit int64) (Object, error) {
	w, err := s.Create(ctx)
	if err != nil {
		return Object{}, err
	}
	defer w.Abort()
	if err := fill(ctx, w, r, limit); err != nil {
		return Object{}, fmt.Errorf("put object: %w", err)
	}
	return w.Commit()
}

// fill copies r to w until the end of r or of ctx, whichever comes first.
func fill(ctx context.Context, w *Writer, r io.Reader, limit int64) error {
	buffer := make([]byte, copyBytes)
	for idle := 0; idle < 100; idle++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, readErr := r.Read(buffer)
		if int64(n) > limit-w.bytes {
			return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
		}
		if n > 0 {
			idle = 0
		}
		if _, err := w.Write(buffer[:n]); err != nil {
			return err
		}
		if errors.Is(readErr, io.EOF) {
			return nil
		}
		if readErr != nil {
			return fmt.Errorf("read content: %w", readErr)
		}
	}
	return io.ErrNoProgress
}

// Delete removes the object; it is no error when there is none.
func (s *Store) Delete(ctx context.Context, key Key) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if s.bucket != nil {
		return s.bucket.remove(ctx, key)
	}
	if err := remove(s.path(key)); err != nil {
		return storageError("delete object", err)
	}
	return nil
}

// remove is os.Remove that is content when there is nothing.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// storageError makes err an ErrStorage.
func storageError(doing string, err error) error {
	return fmt.Errorf("%s: %w: %w", doing, ErrStorage, err)
}
