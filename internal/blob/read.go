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
	"strings"
)

// Open returns the object's content and what it is. ErrNotFound says that there is none, ErrCorrupt
// that the file under the key is no object. Who reads from the beginning to the end without a seek in
// between has the content checked: the Read that reaches the end is ErrCorrupt when the bytes are not
// those that were committed. The content must be closed; in a folder on Unix it stays readable after a Delete.
// From a bucket it is read as long as ctx lasts, a part anew where a connection breaks.
func (s *Store) Open(ctx context.Context, key Key) (io.ReadSeekCloser, Object, error) {
	if ctx.Err() != nil {
		return nil, Object{}, context.Cause(ctx)
	}
	opened, object, err := s.find(ctx, key)
	if err != nil {
		return nil, Object{}, fmt.Errorf("open object %s: %w", key, err)
	}
	return &content{from: opened, object: object, sum: sha256.New()}, object, nil
}

// find returns the bytes of an object without its trailer, unchecked.
func (s *Store) find(ctx context.Context, key Key) (io.ReadSeekCloser, Object, error) {
	if s.bucket != nil {
		return s.bucket.find(ctx, key)
	}
	file, err := os.Open(s.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Object{}, ErrNotFound
	}
	if err != nil {
		return nil, Object{}, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	object, err := describe(file, key)
	if err != nil {
		file.Close()
		return nil, Object{}, err
	}
	return section{io.NewSectionReader(file, 0, object.Bytes), file}, object, nil
}

// section is a file without its trailer.
type section struct {
	*io.SectionReader
	file *os.File
}

// Read implements io.Reader.
func (s section) Read(into []byte) (int, error) {
	n, err := s.SectionReader.Read(into)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, storageError("read object", err)
	}
	return n, err
}

// Close implements io.Closer.
func (s section) Close() error { return s.file.Close() }

// describe reads the trailer.
func describe(file *os.File, key Key) (Object, error) {
	info, err := file.Stat()
	if err != nil {
		return Object{}, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	size := info.Size() - int64(trailerBytes)
	if size < 0 {
		return Object{}, fmt.Errorf("%w: no trailer", ErrCorrupt)
	}
	var trailer [trailerBytes]byte
	if _, err := file.ReadAt(trailer[:], size); err != nil {
		return Object{}, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	return readTrailer(key, size, trailer[:])
}

// readTrailer returns the object of that many bytes that has the trailer.
func readTrailer(key Key, bytes int64, trailer []byte) (Object, error) {
	sum, marked := strings.CutSuffix(string(trailer), mark)
	if !marked || len(sum) != sha256.Size {
		return Object{}, fmt.Errorf("%w: no mark", ErrCorrupt)
	}
	object := Object{Key: key, Bytes: bytes}
	copy(object.SHA256[:], sum)
	return object, nil
}

// content reads one object. It sums what is read as long as that is one run from the beginning.
type content struct {
	from   io.ReadSeekCloser
	object Object
	sum    hash.Hash
	summed int64 // bytes in sum: the read position while the run lasts, or -1
}

// Read withholds the last bytes when the sum is wrong, so that no copy of them looks complete.
func (c *content) Read(into []byte) (int, error) {
	n, err := c.from.Read(into)
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
	at, err := c.from.Seek(offset, whence)
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

func (c *content) Close() error { return c.from.Close() }
