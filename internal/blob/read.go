package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
)

// Open returns the object's content and what it is. ErrNotFound says that there is none, ErrCorrupt
// that the file under the key is no object. Who reads from the beginning to the end without a seek in
// between has the content checked: the Read that reaches the end is ErrCorrupt when the bytes are not
// those that were committed. The content must be closed; on Unix it stays readable after a Delete.
func (s *Store) Open(ctx context.Context, key Key) (io.ReadSeekCloser, Object, error) {
	if ctx.Err() != nil {
		return nil, Object{}, context.Cause(ctx)
	}
	file, err := os.Open(s.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Object{}, fmt.Errorf("open object %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return nil, Object{}, storageError("open object", err)
	}
	object, err := describe(file, key)
	if err != nil {
		file.Close()
		return nil, Object{}, fmt.Errorf("open object %s: %w", key, err)
	}
	return &content{
		section: io.NewSectionReader(file, 0, object.Bytes),
		file:    file, object: object, sum: sha256.New(),
	}, object, nil
}

// describe reads the trailer.
func describe(file *os.File, key Key) (Object, error) {
	info, err := file.Stat()
	if err != nil {
		return Object{}, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	object := Object{Key: key, Bytes: info.Size() - int64(trailerBytes), ModifiedAt: info.ModTime()}
	if object.Bytes < 0 {
		return Object{}, fmt.Errorf("%w: no trailer", ErrCorrupt)
	}
	var trailer [trailerBytes]byte
	if _, err := file.ReadAt(trailer[:], object.Bytes); err != nil {
		return Object{}, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	if !bytes.HasSuffix(trailer[:], []byte(mark)) {
		return Object{}, fmt.Errorf("%w: no mark", ErrCorrupt)
	}
	copy(object.SHA256[:], trailer[:])
	return object, nil
}

// content reads one object. It sums what is read as long as that is one run from the beginning.
type content struct {
	section *io.SectionReader
	file    *os.File
	object  Object
	sum     hash.Hash
	summed  int64 // bytes in sum: the read position while the run lasts, or -1
}

// Read withholds the last bytes when the sum is wrong, so that no copy of them looks complete.
func (c *content) Read(into []byte) (int, error) {
	n, err := c.section.Read(into)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, storageError("read object", err)
	}
	if c.summed < 0 {
		return n, err
	}
	c.sum.Write(into[:n])
	c.summed += int64(n)
	if c.summed == c.object.Bytes && !bytes.Equal(c.sum.Sum(nil), c.object.SHA256[:]) {
		return 0, fmt.Errorf("read object %s: %w", c.object.Key, ErrCorrupt)
	}
	return n, err
}

func (c *content) Seek(offset int64, whence int) (int64, error) {
	at, err := c.section.Seek(offset, whence)
	switch {
	case err != nil:
		return at, err
	case at == 0:
		c.sum.Reset()
		c.summed = 0
	case at != c.summed:
		c.summed = -1
	}
	return at, nil
}

func (c *content) Close() error { return c.file.Close() }
