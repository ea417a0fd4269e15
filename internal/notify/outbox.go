package notify

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// outboxKeeps is how many messages an outbox keeps.
	outboxKeeps = 200
	// maxKept bounds a message's file, in bytes: JSON may write one byte as six.
	maxKept = 6*maxRendered + 64<<10
	// deadAfter is when a file that was begun and not finished belongs to a process that is gone.
	deadAfter = time.Hour
)

// ErrNotKept says that an outbox has no message of that id.
var ErrNotKept = errors.New("no such message")

// Kept is a message in an outbox.
type Kept struct {
	ID      string    `json:"id"` // its place in the outbox: later messages have greater ids
	At      time.Time `json:"at"`
	Message Rendered  `json:"message"`
}

// OutboxOptions of an Outbox. The zero value is a good default.
type OutboxOptions struct {
	Now func() time.Time // nil: time.Now
}

// Outbox is a [Sender] for development: it keeps the newest 200 messages as JSON files in a folder,
// where every process of the machine finds them, and shows them as pages. It is safe for concurrent
// use, also by several processes. The messages hold codes and links that let one in, so the folder is
// its owner's alone; production has no use for it.
type Outbox struct {
	folder string
	now    func() time.Time
}

// NewOutbox returns the outbox in folder, which is made when it is missing.
func NewOutbox(folder string, o OutboxOptions) (*Outbox, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	return &Outbox{folder: folder, now: o.Now}, nil
}

// Send keeps r. A disk that fails is ErrTemporary; a message that no sender would take is ErrPermanent.
// While several send at once, each may add one to the 200 for a moment.
func (o *Outbox) Send(ctx context.Context, r Rendered) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("keep message: %w: %w", ErrTemporary, context.Cause(ctx))
	}
	if err := r.check(); err != nil {
		return fmt.Errorf("keep message: %w: %w", ErrPermanent, err)
	}
	at := o.now().UTC()
	kept := Kept{ID: newOutboxID(at), At: at, Message: r}
	if err := o.write(kept); err != nil {
		return fmt.Errorf("keep message: %w: %w", ErrTemporary, err)
	}
	if err := o.prune(); err != nil {
		return fmt.Errorf("prune outbox: %w: %w", ErrTemporary, err)
	}
	return nil
}

// newOutboxID returns the microsecond in 16 digits and 26 random characters: ids sort by time.
func newOutboxID(at time.Time) string {
	return fmt.Sprintf("%016d-%s", at.UnixMicro(), strings.ToLower(rand.Text()))
}

// outboxID reports whether text has the form of an id, and so leads to no other file.
func outboxID(text string) bool {
	micros, random, _ := strings.Cut(text, "-")
	return len(micros) == 16 && strings.Trim(micros, digits) == "" &&
		len(random) == 26 && strings.Trim(random, alphanumeric) == ""
}

func (o *Outbox) path(id string) string { return filepath.Join(o.folder, id+".json") }

// write makes the message's file appear at once and whole.
func (o *Outbox) write(k Kept) error {
	text, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	begun := filepath.Join(o.folder, k.ID+".begun")
	if err = os.WriteFile(begun, text, 0o600); err == nil {
		err = os.Rename(begun, o.path(k.ID))
	}
	if err != nil {
		_ = os.Remove(begun)
	}
	return err
}

// prune removes all messages but the newest, and what dead processes have left unfinished. Whoever
// prunes last has seen every message that was kept before, so no more than 200 stay.
func (o *Outbox) prune() error {
	entries, err := os.ReadDir(o.folder)
	if err != nil {
		return err
	}
	var problems []error
	ids := newestFirst(entries)
	for _, id := range ids[min(len(ids), outboxKeeps):] {
		problems = append(problems, forget(o.path(id)))
	}
	for _, entry := range entries {
		if id, begun := strings.CutSuffix(entry.Name(), ".begun"); begun && outboxID(id) && o.old(entry) {
			problems = append(problems, forget(filepath.Join(o.folder, entry.Name())))
		}
	}
	return errors.Join(problems...)
}

// old reports whether nobody can still be writing to a file.
func (o *Outbox) old(entry fs.DirEntry) bool {
	info, err := entry.Info()
	return err == nil && o.now().Sub(info.ModTime()) > deadAfter
}

// forget is os.Remove that is content when somebody else was faster.
func forget(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// newestFirst returns the ids of the messages among the folder's entries.
func newestFirst(entries []fs.DirEntry) []string {
	var ids []string
	for _, entry := range entries {
		if id, kept := strings.CutSuffix(entry.Name(), ".json"); kept && outboxID(id) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(b, a) })
	return ids
}

// List returns the newest n messages, newest first; n below 1 or above 200 is 200. A message that
// another process has just removed, or whose file was damaged by hand, is passed over.
func (o *Outbox) List(ctx context.Context, n int) ([]Kept, error) {
	entries, err := os.ReadDir(o.folder)
	if err != nil {
		return nil, fmt.Errorf("list outbox: %w", err)
	}
	if n < 1 || n > outboxKeeps {
		n = outboxKeeps
	}
	var kept []Kept
	for _, id := range newestFirst(entries) {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("list outbox: %w", context.Cause(ctx))
		}
		if len(kept) == n {
			break
		}
		if k, err := o.read(id); err == nil {
			kept = append(kept, k)
		}
	}
	return kept, nil
}

// Get returns one message. One that is not there is ErrNotKept.
func (o *Outbox) Get(ctx context.Context, id string) (Kept, error) {
	if ctx.Err() != nil {
		return Kept{}, fmt.Errorf("open message: %w", context.Cause(ctx))
	}
	if !outboxID(id) {
		return Kept{}, fmt.Errorf("open message: %w", ErrNotKept)
	}
	k, err := o.read(id)
	if errors.Is(err, fs.ErrNotExist) {
		return Kept{}, fmt.Errorf("open message: %w", ErrNotKept)
	}
	if err != nil {
		return Kept{}, fmt.Errorf("open message: %w", err)
	}
	return k, nil
}

func (o *Outbox) read(id string) (Kept, error) {
	file, err := os.Open(o.path(id))
	if err != nil {
		return Kept{}, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.Size() > maxKept {
		return Kept{}, errors.Join(err, errors.New("the file is no message"))
	}
	k := Kept{}
	if err := json.NewDecoder(file).Decode(&k); err != nil {
		return Kept{}, errors.New("the file is no message") // the decoder's words may repeat it
	}
	k.ID = id
	return k, nil
}
