package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/minio/minio-go/v7"
)

// A part is 16 MiB, all but the last, as some stores ask; S3 has at most 10,000 of an object, so an object has
// 156 GiB at most.
const (
	partBytes = 16 << 20
	maxParts  = 10_000
)

// abortPatience bounds an abort, tries included.
const abortPatience = 10 * time.Second

var errManyParts = errors.New("an object in a bucket has at most 156 GiB")

// putOptions let the SHA-256 of what is sent be signed with the request, so that the store checks it.
var putOptions = minio.PutObjectOptions{DisableContentSha256: true, ContentType: "application/octet-stream"}

const emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // SHA-256 of nothing

// upload sends the bytes of one object as they come, through a file that holds a part.
type upload struct {
	bucket *bucket
	ctx    context.Context // of whoever writes
	name   string
	file   *os.File
	held   int64 // bytes in file
	sum    hash.Hash
	id     string // of the multipart upload; "" as long as one part is all there is
	parts  []minio.CompletePart
}

func newUpload(ctx context.Context, b *bucket, key Key, file *os.File) *upload {
	return &upload{bucket: b, ctx: ctx, name: b.path(key), file: file, sum: sha256.New()}
}

// Write implements io.Writer.
func (u *upload) Write(content []byte) (written int, err error) {
	for written < len(content) {
		if u.held == partBytes {
			if err := u.sendPart(u.ctx); err != nil {
				return written, err
			}
		}
		piece := content[written:]
		n, err := u.file.Write(piece[:min(int64(len(piece)), partBytes-u.held)])
		u.sum.Write(piece[:n])
		u.held += int64(n)
		written += n
		if err != nil {
			return written, storageError("write object", err)
		}
	}
	return written, nil
}

// sendPart sends the part that is held and makes room for the next.
func (u *upload) sendPart(ctx context.Context) (err error) {
	if u.id == "" {
		if u.id, err = u.bucket.core.NewMultipartUpload(ctx, u.bucket.name, u.name, putOptions); err != nil {
			return u.bucket.failed(ctx, "begin upload", err)
		}
	}
	number := len(u.parts) + 1
	if number > maxParts {
		return fmt.Errorf("%w: %w", ErrTooLarge, errManyParts)
	}
	part, err := u.bucket.core.PutObjectPart(ctx, u.bucket.name, u.name, u.id, number, u.body(), u.held,
		minio.PutObjectPartOptions{Sha256Hex: u.takeSum(), DisableContentSha256: true})
	if err != nil {
		return u.bucket.failed(ctx, fmt.Sprintf("send part %d", number), err)
	}
	u.parts = append(u.parts, minio.CompletePart{PartNumber: number, ETag: part.ETag})
	if _, err := u.file.Seek(0, io.SeekStart); err != nil {
		return storageError("send part", err)
	}
	u.held = 0
	return nil
}

// body is what is held, so often as it is asked for: a request that fails is sent again.
func (u *upload) body() io.Reader { return io.NewSectionReader(u.file, 0, u.held) }

// takeSum returns the sum of what is held and begins that of the next part.
func (u *upload) takeSum() string {
	defer u.sum.Reset()
	return hex.EncodeToString(u.sum.Sum(nil))
}

// finish makes the object visible. When that fails, nobody knows whether it is: it is removed, or left to Sweep.
func (u *upload) finish() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), commitPatience)
	defer cancel()
	err := u.publish(ctx)
	if err != nil {
		if key, ours := u.bucket.keyOf(u.name); ours {
			_ = u.bucket.remove(ctx, key)
		}
	}
	return err
}

func (u *upload) publish(ctx context.Context) error {
	if u.id == "" {
		_, err := u.bucket.core.PutObject(ctx, u.bucket.name, u.name, u.body(), u.held, "", u.takeSum(), putOptions)
		return u.bucket.failed(ctx, "commit object", err)
	}
	if err := u.sendPart(ctx); err != nil {
		return err
	}
	_, err := u.bucket.core.CompleteMultipartUpload(ctx, u.bucket.name, u.name, u.id, u.parts, minio.PutObjectOptions{})
	if err != nil {
		return u.bucket.failed(ctx, "commit object", err)
	}
	u.id = "" // nothing to abort
	return nil
}

// abort gives up what was sent. What it cannot reach is left to Sweep.
func (u *upload) abort() {
	if u.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), abortPatience)
	defer cancel()
	_ = u.bucket.core.AbortMultipartUpload(ctx, u.bucket.name, u.name, u.id)
	u.id = ""
}
