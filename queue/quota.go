package queue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gatehouse/internal/blob"
	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Quota is what one owner may have at once; 0: any amount.
type Quota struct {
	Open   int   // jobs that have not ended
	Stored int64 // bytes of files that jobs read and have made
}

// Usage is what an owner has.
type Usage struct {
	Open   int
	Stored int64
}

// Used returns what by has and may have, and how many of by's jobs may run at once; 0: any number.
func (q *Queue) Used(ctx context.Context, by viewer.Viewer) (u Usage, most Quota, running int, err error) {
	if err := by.SignedIn(); err != nil {
		return u, most, 0, err
	}
	if !by.Owns(by.User, viewer.ReadJobs) {
		return u, most, 0, fault.Denied("This credential may not see jobs.")
	}
	u, err = usageOf(ctx, q.db, by.User)
	return u, q.options.Quota, q.options.OwnerRunning, err
}

func usageOf(ctx context.Context, r store.Reader, owner viewer.UserID) (Usage, error) {
	u, err := store.One(ctx, r, selectUsage, func(scan store.Scan) (u Usage, err error) {
		err = scan(&u.Open, &u.Stored)
		return u, err
	}, owner, owner)
	if err != nil {
		return u, fmt.Errorf("count what %s has: %w", owner, err)
	}
	return u, nil
}

// quotaFresh is how long a count of what an owner has is good, together with what this process adds. Several
// servers may pass a quota by what they start in such a time.
const quotaFresh = time.Second

// maxCounted bounds the owners whose counts are remembered.
const maxCounted = 10_000

// counts is what owners had a moment ago. The zero value is ready.
type counts struct {
	sync.Mutex
	known map[viewer.UserID]*counted
}

type counted struct {
	Usage
	at time.Time
}

// admit returns QUOTA_EXCEEDED when owner has no room for so many more open jobs with so many bytes of files. It
// refuses by a fresh count only.
func (q *Queue) admit(ctx context.Context, r store.Reader, owner viewer.UserID, jobs int, bytes int64) error {
	if owner == "" || q.options.Quota == (Quota{}) {
		return nil
	}
	if q.counts.add(owner, jobs, bytes, q.options.Quota) {
		return nil
	}
	u, err := usageOf(ctx, r, owner)
	if err != nil {
		return err
	}
	if err := q.options.Quota.check(u, jobs, bytes); err != nil {
		return err
	}
	q.counts.put(owner, Usage{u.Open + jobs, u.Stored + bytes})
	return nil
}

// check returns a fault when who has u may not have so much more. Whoever has used up their bytes starts nothing:
// most jobs make files.
func (l Quota) check(u Usage, jobs int, bytes int64) error {
	if l.Open > 0 && u.Open+jobs > l.Open {
		return fault.New(fault.QuotaExceeded, "", fmt.Sprintf("An account has at most %d jobs that have not ended. Wait for some, or cancel them.", l.Open))
	}
	if l.Stored > 0 && (u.Stored+bytes > l.Stored || u.Stored == l.Stored) {
		return fault.New(fault.QuotaExceeded, "", fmt.Sprintf("The files of an account's jobs have at most %d bytes. Delete jobs that have ended.", l.Stored))
	}
	return nil
}

// add reports whether a count that is still good has room, and adds to it.
func (c *counts) add(owner viewer.UserID, jobs int, bytes int64, l Quota) bool {
	c.Lock()
	defer c.Unlock()
	known := c.known[owner]
	if known == nil || time.Since(known.at) > quotaFresh || l.check(known.Usage, jobs, bytes) != nil {
		return false
	}
	known.Open += jobs
	known.Stored += bytes
	return true
}

func (c *counts) put(owner viewer.UserID, u Usage) {
	c.Lock()
	defer c.Unlock()
	if c.known == nil || len(c.known) >= maxCounted {
		c.known = make(map[viewer.UserID]*counted)
	}
	c.known[owner] = &counted{u, time.Now()}
}

// admitRequest is admit for a job that is about to be written. One that an idempotency key gives again needs no room.
func (q *Queue) admitRequest(ctx context.Context, r store.Reader, w Request) error {
	if kind := q.kinds[w.Kind]; kind.Unmetered {
		return nil
	}
	err := q.admit(ctx, r, w.Owner, 1, sizeOf(w.Files))
	if !fault.Is(err, fault.QuotaExceeded) || w.IdempotencyKey == "" {
		return err
	}
	same, there := store.All(ctx, r, selectSame, scanJobs(), w.id, w.Owner, w.Kind, w.IdempotencyKey)
	if there == nil && len(same) > 0 {
		return nil
	}
	return err
}

func sizeOf(uploads []*blob.Upload) (bytes int64) {
	for _, u := range uploads {
		bytes += u.Bytes
	}
	return bytes
}
