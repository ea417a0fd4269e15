package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"
)

const (
	skipBytes  = 64 << 10 // what is read and thrown away rather than asked for anew
	readsAgain = 3        // how often a part is asked for without a byte of it coming
)

// find reads the trailer of an object and returns a reader of the rest.
func (b *bucket) find(ctx context.Context, key Key) (io.ReadSeekCloser, Object, error) {
	var options minio.GetObjectOptions
	options.Set("Range", fmt.Sprintf("bytes=-%d", trailerBytes))
	body, header, err := b.get(ctx, key, options)
	if err != nil {
		return nil, Object{}, err
	}
	defer body.Close()
	trailer, err := io.ReadAll(io.LimitReader(body, int64(trailerBytes)))
	if err != nil {
		return nil, Object{}, b.failed(ctx, "read trailer", err)
	}
	if len(trailer) < trailerBytes {
		return nil, Object{}, fmt.Errorf("%w: no trailer", ErrCorrupt)
	}
	_, size, ranged := strings.Cut(header.Get("Content-Range"), "/")
	total, err := strconv.ParseInt(size, 10, 64)
	if !ranged || err != nil {
		return nil, Object{}, fmt.Errorf("%w: the bucket's answer has no range", ErrStorage)
	}
	object, err := readTrailer(key, total-int64(trailerBytes), trailer)
	if err != nil {
		return nil, Object{}, err
	}
	return &ranges{bucket: b, ctx: ctx, key: key, size: object.Bytes}, object, nil
}

// get asks for a range of an object. One that is not there is ErrCorrupt: each object has a trailer.
func (b *bucket) get(ctx context.Context, key Key, options minio.GetObjectOptions) (io.ReadCloser, http.Header, error) {
	body, _, header, err := b.core.GetObject(ctx, b.name, b.path(key), options)
	if minio.ToErrorResponse(err).StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return nil, nil, fmt.Errorf("%w: no trailer", ErrCorrupt)
	}
	return body, header, b.failed(ctx, "get object", err)
}

// ranges reads an object from wherever it is asked to, as one stream as long as nobody moves far.
type ranges struct {
	bucket *bucket
	ctx    context.Context // of whoever opened it
	key    Key
	size   int64
	at     int64         // where to read next
	body   io.ReadCloser // nil: to be asked for
	bodyAt int64         // where body is
}

// Read implements io.Reader.
func (r *ranges) Read(into []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}
	into = into[:min(int64(len(into)), r.size-r.at)]
	if len(into) == 0 {
		return 0, nil
	}
	var err error
	for range readsAgain {
		if err = r.move(); err != nil {
			return 0, err
		}
		var n int
		if n, err = r.body.Read(into); n > 0 {
			r.at += int64(n)
			r.bodyAt += int64(n)
			return n, nil // an error comes again
		}
		r.drop()
		if r.ctx.Err() != nil {
			break
		}
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return 0, r.bucket.failed(r.ctx, "read object", err)
}

// move sees that body is at the place to read from.
func (r *ranges) move() error {
	if skip := r.at - r.bodyAt; r.body != nil && skip != 0 {
		if skip < 0 || skip > skipBytes {
			r.drop()
		} else if n, err := io.CopyN(io.Discard, r.body, skip); err != nil {
			r.drop()
		} else {
			r.bodyAt += n
		}
	}
	if r.body != nil {
		return nil
	}
	var options minio.GetObjectOptions
	options.Set("Range", fmt.Sprintf("bytes=%d-%d", r.at, r.size-1))
	body, header, err := r.bucket.get(r.ctx, r.key, options)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(header.Get("Content-Range"), fmt.Sprintf("bytes %d-", r.at)) {
		body.Close()
		return fmt.Errorf("%w: the bucket's answer has another range", ErrStorage)
	}
	r.body, r.bodyAt = body, r.at
	return nil
}

// Seek implements io.Seeker; it asks the bucket nothing.
func (r *ranges) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	r.at = offset
	return offset, nil
}

func (r *ranges) drop() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}

// Close implements io.Closer.
func (r *ranges) Close() error {
	r.drop()
	return nil
}
