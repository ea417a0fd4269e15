package queue

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"gatehouse/internal/store"
)

func TestAWriteWhoseFenceHasPassedIsToldSoWhenAnotherBreaksTheTransaction(t *testing.T) {
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "q.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	broken := errors.New("broken")
	var batch []*pending
	for _, end := range []error{errFenced, broken, nil} {
		batch = append(batch, &pending{
			ctx: t.Context(), done: make(chan struct{}), told: make(chan struct{}),
			write: func(context.Context, *store.Tx, *changes) error { return end },
		})
	}
	newWriter(&Queue{db: db}).flush(batch)
	for i, want := range []error{errFenced, broken, nil} {
		if !errors.Is(batch[i].err, want) {
			t.Errorf("write %d ended with %v, want %v", i, batch[i].err, want)
		}
	}
}
