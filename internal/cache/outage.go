package cache

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// failuresToDown is how many failures in a row mean that Redis is down.
	failuresToDown = 3
	// mendInterval is how often Redis is asked while it is down. It is the same on every server, which
	// is what makes the second answer safe to act on.
	mendInterval = 250 * time.Millisecond
	// maxOwed bounds the invalidations that are remembered one by one.
	maxOwed = 10_000
)

// follower is a layer on a Remote.
type follower struct {
	drop     func()                      // empties its memory
	announce func(context.Context) error // has the other servers empty theirs
}

// outage knows whether Redis is down and what is owed to it.
type outage struct {
	down     atomic.Bool
	failures atomic.Int32
	wake     chan struct{} // tells Run that Redis went down

	mu        sync.Mutex
	followers map[string]*follower // by key prefix
	owed      map[string]*debt     // by key prefix
	owedKeys  int
}

// debt is the invalidations of one layer that Redis has missed.
type debt struct {
	keys []string
	all  bool // too many to name, or the whole layer
}

func newOutage() outage {
	return outage{
		wake: make(chan struct{}, 1), followers: make(map[string]*follower), owed: make(map[string]*debt),
	}
}

// isDown reports whether Redis is not to be asked. No Remote is never down.
func (r *Remote) isDown() bool { return r != nil && r.down.Load() }

// Up reports whether Redis is in use.
func (r *Remote) Up() bool { return !r.isDown() }

// note counts how a command went. A caller who gave up says nothing about Redis.
func (r *Remote) note(ctx context.Context, err error) {
	if err == nil {
		if r.failures.Load() != 0 {
			r.failures.Store(0)
		}
		return
	}
	if ctx.Err() != nil {
		return
	}
	if r.failures.Add(1) >= failuresToDown {
		r.mu.Lock()
		r.goDown()
		r.mu.Unlock()
	}
}

// goDown stops asking Redis. r.mu is held.
func (r *Remote) goDown() {
	r.down.Store(true)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// register makes a layer a follower.
func (r *Remote) register(prefix string, f *follower) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.followers[prefix] = f
}

func (r *Remote) unregister(prefix string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.followers, prefix)
}

// bury makes keys of the layer at prefix unreadable: at once, or, if Redis is down, before it is read
// again.
func (r *Remote) bury(ctx context.Context, prefix string, keys []string) {
	r.buryOrOwe(prefix, debt{keys: keys}, func() error { return r.entomb(ctx, keys) })
}

// buryAll does so for all keys of the layer.
func (r *Remote) buryAll(ctx context.Context, prefix string) {
	r.buryOrOwe(prefix, debt{all: true}, func() error { return r.entombAll(ctx, prefix) })
}

func (r *Remote) buryOrOwe(prefix string, d debt, pay func() error) {
	if r.oweWhileDown(prefix, d) {
		return
	}
	if err := pay(); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.owe(prefix, d)
		r.goDown() // what is in Redis cannot be trusted
	}
}

// oweWhileDown notes d if Redis is down, in one step with looking.
func (r *Remote) oweWhileDown(prefix string, d debt) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.down.Load() {
		return false
	}
	r.owe(prefix, d)
	return true
}

// owe adds d to what the layer owes. r.mu is held.
func (r *Remote) owe(prefix string, d debt) {
	total := r.owed[prefix]
	if total == nil {
		total = &debt{}
		r.owed[prefix] = total
	}
	r.owedKeys -= len(total.keys)
	total.all = total.all || d.all || r.owedKeys+len(total.keys)+len(d.keys) > maxOwed
	total.keys = append(total.keys, d.keys...)
	if total.all {
		total.keys = nil
	}
	r.owedKeys += len(total.keys)
}

// Run watches over Redis until ctx ends: once it is down, nothing else brings it up again.
func (r *Remote) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
			r.mend(ctx)
		}
	}
}

// mend returns when Redis is up again or ctx has ended.
func (r *Remote) mend(ctx context.Context) {
	tick := time.NewTicker(mendInterval)
	defer tick.Stop()
	for answered := false; ; {
		settled := r.settle(ctx) == nil
		if settled && answered && r.comeUp() {
			return
		}
		answered = settled
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// settle asks whether Redis answers and pays what is owed to it.
func (r *Remote) settle(ctx context.Context) error {
	if err := r.ping(ctx); err != nil {
		return err
	}
	for prefix, d := r.takeDebt(); d != nil; prefix, d = r.takeDebt() {
		if err := r.pay(ctx, prefix, d); err != nil {
			r.mu.Lock()
			r.owe(prefix, *d)
			r.mu.Unlock()
			return err
		}
	}
	return nil
}

// ping asks Redis whether it answers, and of a Cluster every master: a key may live on any.
func (r *Remote) ping(ctx context.Context) error {
	if cluster, ok := r.client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return node.Ping(ctx).Err() })
	}
	return r.client.Ping(ctx).Err()
}

// takeDebt removes one layer's debt; nil: there is none.
func (r *Remote) takeDebt() (string, *debt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for prefix, d := range r.owed {
		delete(r.owed, prefix)
		r.owedKeys -= len(d.keys)
		return prefix, d
	}
	return "", nil
}

// pay puts the tombstones that are owed, and has the other servers, which may have read what was below
// them meanwhile, empty their memory. If they do not hear of it, the bus is broken and tells them.
func (r *Remote) pay(ctx context.Context, prefix string, d *debt) error {
	if d.all {
		if err := r.entombAll(ctx, prefix); err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(d.keys, scanCount) {
		if err := r.entomb(ctx, batch); err != nil {
			return err
		}
	}
	r.mu.Lock()
	f := r.followers[prefix]
	r.mu.Unlock()
	if f != nil {
		_ = f.announce(ctx)
	}
	return nil
}

// comeUp uses Redis again if nothing is owed to it, and empties the memory of all layers.
func (r *Remote) comeUp() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.owed) > 0 {
		return false
	}
	for _, f := range r.followers {
		f.drop()
	}
	r.failures.Store(0)
	r.down.Store(false)
	return true
}
