package jobs

import (
	"context"
	"io"
	"sync"
	"time"
)

// visit is one fetch under way, over all its redirects: its context, its place at a host and its clocks.
type visit struct {
	outside context.Context // of whoever wants it
	ctx     context.Context
	cancel  context.CancelCauseFunc
	clock   *time.Timer // ends the visit after the time for one address; nil: there is none
	silence time.Duration
	doors   *doors
	leave   func()
}

// enter waits for a place at host and gives up the one at the last. The clock begins with the first.
func (v *visit) enter(host string, timeout time.Duration) error {
	if v.ctx == nil {
		v.ctx, v.cancel = context.WithCancelCause(v.outside)
	}
	if v.leave != nil {
		v.leave()
		v.leave = nil
	}
	leave, err := v.doors.enter(v.ctx, host)
	if err != nil {
		return err
	}
	v.leave = leave
	if v.clock == nil && timeout > 0 {
		v.clock = time.AfterFunc(timeout, func() { v.cancel(errSlow) })
	}
	return nil
}

// end gives back what the visit holds.
func (v *visit) end() {
	if v.clock != nil {
		v.clock.Stop()
	}
	if v.cancel != nil {
		v.cancel(nil)
	}
	if v.leave != nil {
		v.leave()
		v.leave = nil
	}
}

// fail ends the visit and says what it met.
func (v *visit) fail(err error) error {
	t := v.told(err)
	v.end()
	return t
}

func (v *visit) told(err error) error {
	if v.ctx == nil {
		return troubleOf(err, nil, context.Cause(v.outside))
	}
	return troubleOf(err, context.Cause(v.ctx), context.Cause(v.outside))
}

// body returns the answer's body under watch: it must keep its pace and its limit.
func (v *visit) body(from io.ReadCloser, limit, had int64) io.ReadCloser {
	b := &body{from: from, visit: v, limit: limit, left: limit - had}
	b.watch = time.AfterFunc(v.silence, func() { v.cancel(errSilent) })
	return b
}

// body is an answer's body under watch.
type body struct {
	from        io.ReadCloser
	visit       *visit
	watch       *time.Timer
	paced       int64 // bytes since the watch was set
	limit, left int64
}

// Read implements io.Reader. What goes wrong at the other end is a *trouble.
func (b *body) Read(into []byte) (int, error) {
	n, err := b.from.Read(into)
	if b.paced += int64(n); b.paced >= paceBytes {
		b.paced = 0
		b.watch.Reset(b.visit.silence)
	}
	if b.left -= int64(n); b.left < 0 {
		return 0, tooLarge(b.limit)
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, brokenOff(b.visit.told(err))
}

// brokenOff says of an answer that had begun that it broke off.
func brokenOff(err error) error {
	if t, ok := err.(*trouble); ok && t.Code == Unreachable {
		return passingTrouble(Interrupted, "The answer broke off or cannot be read.", t.cause)
	}
	return err
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.watch.Stop()
	b.visit.end()
	return b.from.Close()
}

// doors bound how many fetches of this process are at one host at once, so that nobody uses it to flood one.
type doors struct {
	each int
	mu   sync.Mutex
	open map[string]*door // of the hosts that somebody is at or waits for
}

// door is one host's.
type door struct {
	slots chan struct{}
	users int
}

func newDoors(each int) *doors { return &doors{each: each, open: map[string]*door{}} }

// enter waits until there is room at host.
func (d *doors) enter(ctx context.Context, host string) (leave func(), err error) {
	if d == nil {
		return func() {}, nil
	}
	at := d.approach(host)
	select {
	case at.slots <- struct{}{}:
		return func() {
			<-at.slots
			d.depart(host, at)
		}, nil
	case <-ctx.Done():
		d.depart(host, at)
		return nil, context.Cause(ctx)
	}
}

func (d *doors) approach(host string) *door {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.open[host]
	if at == nil {
		at = &door{slots: make(chan struct{}, d.each)}
		d.open[host] = at
	}
	at.users++
	return at
}

func (d *doors) depart(host string, at *door) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at.users--; at.users == 0 {
		delete(d.open, host)
	}
}
