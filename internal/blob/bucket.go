package blob

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// The bounds of what is asked of a bucket.
const (
	s3Tries        = 3                // of each request
	removePatience = 10 * time.Second // for a removal, tries included
	commitPatience = 10 * time.Minute // for what makes an object visible: its last part, and the assembling
)

// bucket keeps objects in an S3-compatible store.
type bucket struct {
	core      *minio.Core
	transport *http.Transport
	name      string
	prefix    string // of all objects
	endpoint  string
}

func newBucket(o S3) (*bucket, error) {
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	lookup := minio.BucketLookupDNS
	if o.PathStyle {
		lookup = minio.BucketLookupPath
	}
	transport := newTransport(o.Patience)
	core, err := minio.NewCore(o.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""), Secure: o.TLS, Region: o.Region,
		BucketLookup: lookup, Transport: transport, MaxRetries: s3Tries,
	})
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", o.Bucket, err)
	}
	return &bucket{core: core, transport: transport, name: o.Bucket, prefix: o.Prefix + "objects/", endpoint: o.Endpoint}, nil
}

// path is the name of an object, as in a folder.
func (b *bucket) path(key Key) string {
	name := key.String()
	return b.prefix + path.Join(name[:1], name[1:2], name)
}

// keyOf returns the key of the object with that name.
func (b *bucket) keyOf(name string) (Key, bool) {
	key, err := ParseKey(path.Base(name))
	return key, err == nil && b.path(key) == name
}

func (b *bucket) remove(ctx context.Context, key Key) error {
	ctx, cancel := context.WithTimeout(ctx, removePatience)
	defer cancel()
	err := b.core.RemoveObject(ctx, b.name, b.path(key), minio.RemoveObjectOptions{})
	return unlessNotFound(b.failed(ctx, "delete object", err))
}

// ping asks whether the bucket is there, once.
func (b *bucket) ping(ctx context.Context) error {
	found, err := b.core.BucketExists(ctx, b.name)
	if err == nil && !found {
		err = errors.New("there is no such bucket")
	}
	return b.failed(ctx, "look at bucket "+b.name, err)
}

// check tries all rights that we need.
func (b *bucket) check(ctx context.Context) error {
	doing := fmt.Sprintf("use bucket %s at %s", b.name, b.endpoint)
	key := newKey() // what a crash leaves here, Sweep removes
	if _, err := b.core.PutObject(ctx, b.name, b.path(key), nil, 0, "", emptySum, putOptions); err != nil {
		return b.failed(ctx, doing+": put", err)
	}
	for o := range b.core.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: b.path(key), Recursive: true}) {
		if o.Err != nil {
			return b.failed(ctx, doing+": list", o.Err)
		}
	}
	if _, err := b.core.ListMultipartUploads(ctx, b.name, b.path(key), "", "", "", 1); err != nil {
		return b.failed(ctx, doing+": list uploads", err)
	}
	return b.failed(ctx, doing+": delete", b.core.RemoveObject(ctx, b.name, b.path(key), minio.RemoveObjectOptions{}))
}

// failed makes err, which may be nil, one of ours: the cause of ctx when that has ended, ErrNotFound, or
// ErrStorage.
func (b *bucket) failed(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	case minio.ToErrorResponse(err).Code == minio.NoSuchKey:
		return fmt.Errorf("%s: %w", doing, ErrNotFound)
	default:
		return storageError(doing, err)
	}
}

func unlessNotFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
