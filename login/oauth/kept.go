package oauth

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	keepFor     = time.Hour        // after that a value is loaded again
	staleFor    = 24 * time.Hour   // so long it serves while the provider is down
	renewEvery  = 10 * time.Second // how often somebody may ask for a newer value than the kept one
	firstPause  = time.Second      // after one failure; doubled by each
	longestRest = time.Minute
)

// kept is a document of the provider: loaded when it is first needed, by one caller for all who wait,
// kept for keepFor. A failure is answered from memory while its pause lasts, so that a provider that is
// down is asked at most once a second, and soon once a minute.
type kept[T any] struct {
	now    func() time.Time
	load   func(context.Context) (T, error)
	flight singleflight.Group

	mu       sync.Mutex
	value    T
	loadedAt time.Time // zero: never
	failures int       // since loadedAt
	retryAt  time.Time // no load before
	failure  error     // of the last load
}

// get returns the value, loading it when needed. ctx bounds the wait, not the load.
func (k *kept[T]) get(ctx context.Context) (T, error) {
	k.mu.Lock()
	value, age, never := k.value, k.now().Sub(k.loadedAt), k.loadedAt.IsZero()
	resting, failure := k.now().Before(k.retryAt), k.failure
	k.mu.Unlock()
	if !never && age < keepFor {
		return value, nil
	}
	if !resting {
		loaded, err := k.reload(ctx)
		if err == nil {
			return loaded, nil
		}
		failure = err
	}
	if !never && age < staleFor {
		return value, nil
	}
	var none T
	return none, failure
}

// renew loads the value again, unless that was done a moment ago or has just failed.
func (k *kept[T]) renew(ctx context.Context) (T, bool) {
	k.mu.Lock()
	now := k.now()
	early := now.Before(k.retryAt) || now.Sub(k.loadedAt) < renewEvery
	k.mu.Unlock()
	if early {
		var none T
		return none, false
	}
	value, err := k.reload(ctx)
	return value, err == nil
}

// reload outlives a caller who goes away: others may wait for it. The client's timeout ends it.
func (k *kept[T]) reload(ctx context.Context) (T, error) {
	result := k.flight.DoChan("", func() (any, error) {
		value, err := k.load(context.WithoutCancel(ctx))
		k.remember(value, err)
		return value, err
	})
	var none T
	select {
	case <-ctx.Done():
		return none, ctx.Err()
	case r := <-result:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil
	}
}

func (k *kept[T]) remember(value T, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.value, k.loadedAt, k.failures, k.retryAt, k.failure = value, k.now(), 0, time.Time{}, nil
		return
	}
	pause := min(firstPause<<min(k.failures, 6), longestRest)
	k.failures, k.retryAt, k.failure = k.failures+1, k.now().Add(pause), err
}
