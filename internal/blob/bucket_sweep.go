package blob

import (
	"context"
	"fmt"
	"time"

	"github.com/minio/minio-go/v7"
)

// sweep does for a bucket what Sweep says. An object counts from its last change or, as some stores have it, from
// the beginning of its upload.
func (b *bucket) sweep(ctx context.Context, olderThan time.Time, keep func(Key) (bool, error)) (removed int, err error) {
	removed, err = b.sweepUploads(ctx, olderThan)
	if err != nil {
		return removed, err
	}
	for o := range b.core.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: b.prefix, Recursive: true}) {
		if o.Err != nil {
			return removed, b.failed(ctx, "list objects", o.Err)
		}
		key, ours := b.keyOf(o.Key)
		if !ours || !o.LastModified.Before(olderThan) {
			continue
		}
		kept, err := keep(key)
		if err != nil {
			return removed, fmt.Errorf("object %s: %w", key, err)
		}
		if kept {
			continue
		}
		if err := b.remove(ctx, key); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// sweepUploads aborts what writers that died have begun: its parts take room that no list of objects shows.
func (b *bucket) sweepUploads(ctx context.Context, olderThan time.Time) (removed int, err error) {
	for after, afterID := "", ""; ; {
		page, err := b.core.ListMultipartUploads(ctx, b.name, b.prefix, after, afterID, "", sweepBatch)
		if err != nil {
			return removed, b.failed(ctx, "list uploads", err)
		}
		for _, u := range page.Uploads {
			if _, ours := b.keyOf(u.Key); !ours || !u.Initiated.Before(olderThan) {
				continue
			}
			err := b.core.AbortMultipartUpload(ctx, b.name, u.Key, u.UploadID)
			if minio.ToErrorResponse(err).Code == minio.NoSuchUpload { // it has ended meanwhile
				continue
			}
			if err != nil {
				return removed, b.failed(ctx, "abort upload", err)
			}
			removed++
		}
		if !page.IsTruncated || page.NextKeyMarker == after && page.NextUploadIDMarker == afterID {
			return removed, nil
		}
		after, afterID = page.NextKeyMarker, page.NextUploadIDMarker
	}
}
