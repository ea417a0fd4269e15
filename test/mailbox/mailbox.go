// Package mailbox gives the tests of identity a queue and a post whose messages end in the test: they
// are written, sealed, carried by jobs and rendered as in the program.
package mailbox

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/account"
	"gatehouse/internal/blob"
	"gatehouse/internal/bus"
	"gatehouse/internal/notify"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/jobs"
	"gatehouse/queue"
	"gatehouse/queue/transport"
)

// patience is how long a test waits for a message.
const patience = 15 * time.Second

// Box is what a house needs to send, and where its messages arrive.
type Box struct {
	Queue *queue.Queue
	Post  *notify.Post

	accounts atomic.Pointer[account.Accounts] // who answer requests for proofs; nil: nobody

	mu      sync.Mutex
	arrived []notify.Rendered
	news    chan struct{} // closed and replaced at each arrival
}

// New returns a box over db. Nothing is delivered before [Box.Run].
func New(t testing.TB, db *store.DB, ring *secret.Keyring, messages *bus.Bus) *Box {
	t.Helper()
	b := &Box{news: make(chan struct{})}
	var err error
	if b.Post, err = notify.New(notify.Options{Mail: b, SMS: b}); err != nil {
		t.Fatal(err)
	}
	files, err := blob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	kinds := jobs.Kinds(jobs.Parts{Ring: ring, Post: b.Post, Accounts: b.accounts.Load, Sections: b.sections}, jobs.Options{})
	if b.Queue, err = queue.New(db, transport.Local(transport.Options{}), messages, files, kinds, queue.Options{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	return b
}

// Serve lets accounts answer those who ask for a proof by mail.
func (b *Box) Serve(accounts *account.Accounts) { b.accounts.Store(accounts) }

// sections has the account alone: the rest is tested where it is kept.
func (b *Box) sections() []jobs.Section {
	return jobs.Sections(b.accounts.Load(), nil, nil, b.Queue)[:1]
}

// Run delivers until the test ends.
func (b *Box) Run(t testing.TB) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Queue.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("run queue: %v", err)
		}
	})
}

// Send implements notify.Sender.
func (b *Box) Send(_ context.Context, r notify.Rendered) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.arrived = append(b.arrived, r)
	close(b.news)
	b.news = make(chan struct{})
	return nil
}

// Take waits for the oldest message of kind to an address, and takes it out.
func (b *Box) Take(t testing.TB, kind notify.Kind, to string) notify.Rendered {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		message, news := b.look(kind, to)
		if message != nil {
			return *message
		}
		select {
		case <-news:
		case <-late.C:
			t.Fatalf("no %s came to %s within %v", kind, to, patience)
		}
	}
}

func (b *Box) look(kind notify.Kind, to string) (*notify.Rendered, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, r := range b.arrived {
		if r.Kind == kind && r.To == to {
			b.arrived = append(b.arrived[:i:i], b.arrived[i+1:]...)
			return &r, nil
		}
	}
	return nil, b.news
}

// Arrived returns the kinds of the messages that nobody has taken.
func (b *Box) Arrived() []notify.Kind {
	b.mu.Lock()
	defer b.mu.Unlock()
	kinds := make([]notify.Kind, len(b.arrived))
	for i, r := range b.arrived {
		kinds[i] = r.Kind
	}
	return kinds
}

// Idle waits until no job is left that could send something.
func (b *Box) Idle(t testing.TB) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		left, err := b.Queue.Depths(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
		select {
		case <-look.C:
		case <-late.C:
			t.Fatalf("after %v there are still jobs: %+v", patience, left)
		}
	}
}
