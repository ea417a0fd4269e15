package notify

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clock gives each caller a second of its own.
type clock struct{ ticks atomic.Int64 }

func (c *clock) now() time.Time { return testMoment.Add(time.Duration(c.ticks.Add(1)) * time.Second) }

func newOutbox(t testing.TB, folder string) *Outbox {
	t.Helper()
	o, err := NewOutbox(folder, OutboxOptions{Now: new(clock).now})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestAnOutboxShowsTheNewestFirst(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "outbox")
	o := newOutbox(t, folder)
	first, second := rendered(t), renderedSMS(t)
	for _, r := range []Rendered{first, second} {
		if err := o.Send(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	again := newOutbox(t, folder) // another process
	kept, err := again.List(t.Context(), 0)
	if err != nil || len(kept) != 2 {
		t.Fatalf("%d messages, error %v", len(kept), err)
	}
	if diff := cmp.Diff([]Rendered{second, first}, []Rendered{kept[0].Message, kept[1].Message}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !kept[0].At.After(kept[1].At) || kept[0].At.Location() != time.UTC {
		t.Errorf("kept at %v and %v", kept[0].At, kept[1].At)
	}
	one, err := again.Get(t.Context(), kept[1].ID)
	if diff := cmp.Diff(kept[1], one); err != nil || diff != "" {
		t.Errorf("error %v (-list +get):\n%s", err, diff)
	}
	if newest, err := again.List(t.Context(), 1); err != nil || len(newest) != 1 || newest[0].ID != kept[0].ID {
		t.Errorf("the newest one is %v, error %v", newest, err)
	}
}

func TestAnOutboxKeepsTwoHundredUnderManyWriters(t *testing.T) {
	folder := t.TempDir()
	ticking := new(clock)
	r := renderedSMS(t)
	var all sync.WaitGroup
	for range 4 {
		o, err := NewOutbox(folder, OutboxOptions{Now: ticking.now})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			all.Go(func() {
				for range outboxKeeps / 4 {
					if err := o.Send(t.Context(), r); err != nil {
						t.Error(err)
					}
					if _, err := o.List(t.Context(), 3); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != outboxKeeps {
		t.Fatalf("%d files, error %v", len(entries), err)
	}
	kept, err := newOutbox(t, folder).List(t.Context(), outboxKeeps)
	if err != nil || len(kept) != outboxKeeps {
		t.Fatalf("%d messages, error %v", len(kept), err)
	}
	// 400 were sent, a second apart: those of the first 200 seconds are gone.
	if oldest := kept[len(kept)-1].At; !oldest.After(testMoment.Add(outboxKeeps * time.Second)) {
		t.Errorf("the oldest is of %v", oldest)
	}
}

func TestAnOutboxLeavesForeignFilesAndClearsDeadOnes(t *testing.T) {
	folder := t.TempDir()
	o := newOutbox(t, folder)
	if err := o.Send(t.Context(), rendered(t)); err != nil {
		t.Fatal(err)
	}
	kept, err := o.List(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, content string, at time.Time) {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write("README.json", "{}", testMoment.Add(-48*time.Hour))
	write(newOutboxID(testMoment)+".begun", "{", testMoment.Add(-48*time.Hour))
	alive := newOutboxID(testMoment) + ".begun"
	write(alive, "{", testMoment)
	damaged := newOutboxID(testMoment.Add(time.Hour)) + ".json"
	write(damaged, "{not JSON", testMoment)
	if err := o.Send(t.Context(), renderedSMS(t)); err != nil {
		t.Fatal(err)
	}
	var names []string
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	listed, err := o.List(t.Context(), 0)
	if err != nil || len(listed) != 2 || listed[1].ID != kept[0].ID {
		t.Errorf("listed %v, error %v", listed, err)
	}
	if len(names) != 5 || !strings.Contains(strings.Join(names, " "), alive) || !strings.Contains(strings.Join(names, " "), "README.json") {
		t.Errorf("files %v", names)
	}
	if _, err := o.Get(t.Context(), strings.TrimSuffix(damaged, ".json")); err == nil || errors.Is(err, ErrNotKept) || strings.Contains(err.Error(), "JSON") {
		t.Errorf("the damaged message: error %v", err)
	}
}

func TestNoIDLeadsOutOfAnOutbox(t *testing.T) {
	folder := t.TempDir()
	o := newOutbox(t, filepath.Join(folder, "outbox"))
	if err := os.WriteFile(filepath.Join(folder, "secret.json"), []byte(`{"id":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{
		"", "secret", "../secret", "..", "1772716029000000-" + strings.Repeat("a", 25) + "/", "1772716029000000-" + strings.Repeat("a", 26),
		"1772716029000000-../../secret" + strings.Repeat("a", 13), "\x00",
	} {
		if kept, err := o.Get(t.Context(), id); !errors.Is(err, ErrNotKept) {
			t.Errorf("%q: %+v, error %v", id, kept, err)
		}
	}
}

func TestAnOutboxThatCannotWriteIsTemporary(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "outbox")
	o := newOutbox(t, folder)
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := o.Send(t.Context(), rendered(t)); !errors.Is(err, ErrTemporary) {
		t.Errorf("error %v", err)
	}
	if _, err := o.List(t.Context(), 0); err == nil {
		t.Error("a missing folder was listed")
	}
	if _, err := NewOutbox("/dev/null/outbox", OutboxOptions{}); err == nil {
		t.Error("an outbox in a file was opened")
	}
}

func TestAnOutboxEndsWithItsContextAndRefusesWhatNobodyCouldSend(t *testing.T) {
	o := newOutbox(t, t.TempDir())
	stop := errors.New("the server shuts down")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if err := o.Send(ctx, rendered(t)); !errors.Is(err, stop) || !errors.Is(err, ErrTemporary) {
		t.Errorf("error %v", err)
	}
	bad := rendered(t)
	bad.Subject = "a\nb"
	if err := o.Send(t.Context(), bad); !errors.Is(err, ErrPermanent) {
		t.Errorf("error %v", err)
	}
	if kept, err := o.List(t.Context(), 0); err != nil || len(kept) > 0 {
		t.Errorf("kept %v, error %v", kept, err)
	}
}

func TestAnOutboxIsItsOwnersAlone(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "outbox")
	o := newOutbox(t, folder)
	if err := o.Send(t.Context(), rendered(t)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(folder, func(_ string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", entry.Name(), info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func BenchmarkOutbox(b *testing.B) {
	o, err := NewOutbox(b.TempDir(), OutboxOptions{})
	if err != nil {
		b.Fatal(err)
	}
	r := rendered(b)
	for b.Loop() {
		if err := o.Send(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
