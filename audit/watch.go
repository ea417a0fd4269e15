package audit

import (
	"context"
	"fmt"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// How a watch reads.
const (
	watchPage = 100 // events of one statement
	// overtaken is how much later an event may be committed than one with a greater id: transactions do
	// not end in the order in which they began, and clocks of servers differ.
	overtaken = 10 * time.Second
	// lookEvery is how often a watch looks unasked: for what a program without the bus has written.
	lookEvery = 30 * time.Second
	// telling bounds how long a change waits for watchers on other servers to be told.
	telling = 500 * time.Millisecond
)

// Notices carries a message to every server of the deployment, this one included.
type Notices interface {
	Publish(ctx context.Context, topic string, data []byte) error
	// Subscribe calls deliver for each message and gap when some may have been missed, until
	// unsubscribe is called. Neither function blocks.
	Subscribe(ctx context.Context, topic string, deliver func(data []byte), gap func()) (unsubscribe func(), err error)
}

// tellTx has the watchers of user look once tx is committed.
func (l *Log) tellTx(ctx context.Context, tx *store.Tx, user viewer.UserID, action Action) {
	if l.o.Notices == nil || user == "" || !personal[action] || action == AccountImported {
		return // an account that is just being made has no watchers, and many may be made at once
	}
	tx.AfterCommit(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), telling)
		defer cancel()
		_ = l.o.Notices.Publish(ctx, topicOf(user), []byte(action)) // a watcher looks by itself, too
	})
}

// Watch tells by what happens to the safety of their account, on whatever server: first what came after
// the event with the id after ("": nothing), then what comes, each event once; the channel is closed
// when ctx ends, and earlier if the database fails. Faults: UNAUTHENTICATED, BAD_USER_INPUT.
func (l *Log) Watch(ctx context.Context, by viewer.Viewer, after string) (<-chan *Entry, error) {
	if err := mayRead(by, by.User); err != nil {
		return nil, err
	}
	if after != "" && !store.ValidID(prefix, after) {
		return nil, fault.New(fault.BadUserInput, "", "The id in after is not one of a security event.")
	}
	w := &watch{log: l, user: by.User, out: make(chan *Entry), news: make(chan struct{}, 1), stop: func() {}, sent: map[string]bool{}}
	if l.o.Notices != nil { // listen before looking
		stop, err := l.o.Notices.Subscribe(ctx, topicOf(by.User), func([]byte) { w.wake() }, w.wake)
		if err != nil {
			return nil, fmt.Errorf("watch events of %s: %w", by.User, err)
		}
		w.stop = stop
	}
	if err := w.begin(ctx, after); err != nil {
		w.stop()
		return nil, err
	}
	go w.run(ctx)
	return w.out, nil
}

// watch is one subscription. Its fields below stop belong to its goroutine.
type watch struct {
	log  *Log
	user viewer.UserID
	out  chan *Entry
	news chan struct{} // holds one value when there is something to look for
	stop func()

	first  string          // nothing up to this id is sent
	newest string          // the greatest id sent, or first
	sent   map[string]bool // the ids sent that are looked at again
}

func (w *watch) wake() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// begin sets where the watch starts. Without a place it is the newest event of now.
func (w *watch) begin(ctx context.Context, after string) (err error) {
	if w.first = after; after == "" {
		w.first, err = store.One(ctx, w.log.db, selectNewest, store.Value[string], w.user)
		if err != nil {
			return fmt.Errorf("watch events of %s: %w", w.user, err)
		}
	}
	w.newest = w.first
	return nil
}

func (w *watch) run(ctx context.Context) {
	defer close(w.out)
	defer w.stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		more, err := w.send(ctx)
		if err != nil || ctx.Err() != nil {
			return // the client comes back with the id of its last event
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-w.news:
		case <-look.C:
		}
	}
}

// send sends what is new and says whether there may be more.
func (w *watch) send(ctx context.Context) (more bool, err error) {
	from := max(w.first, store.EarlierID(prefix, w.newest, overtaken))
	for id := range w.sent {
		if id <= from {
			delete(w.sent, id)
		}
	}
	for {
		entries, err := store.All(ctx, w.log.db, selectAfter, scanPointer, w.user, from, watchPage)
		if err != nil {
			return false, err
		}
		for _, e := range entries {
			if from = e.ID; w.sent[e.ID] {
				continue
			}
			select {
			case w.out <- e:
			case <-ctx.Done():
				return false, nil
			}
			w.sent[e.ID], w.newest = true, max(w.newest, e.ID)
			more = true
		}
		if len(entries) < watchPage {
			return more, nil
		}
	}
}
