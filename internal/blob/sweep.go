package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// sweepBatch is how many names of a folder Sweep holds at a time.
const sweepBatch = 256

// Sweep removes what nobody will ask for: files of writers that died, and objects that keep disowns.
// Only what was last written before olderThan is looked at, so give writers time (a day, say): one
// that stays silent for longer loses its file, and one that has committed must by then have told
// whoever stands behind keep. It returns how many files it removed, also when it ends early: with
// ctx, with an error of keep, or with ErrStorage. Files whose name is no key are left alone. In a bucket an
// upload counts from its beginning, so one that takes longer than that is lost.
func (s *Store) Sweep(ctx context.Context, olderThan time.Time, keep func(Key) (bool, error)) (removed int, err error) {
	leftover := func(Key) (bool, error) { return false, nil }
	n, err := sweepFolder(ctx, s.incoming(), olderThan, leftover)
	if err != nil {
		return n, fmt.Errorf("sweep incoming: %w", err)
	}
	removed += n
	if s.bucket != nil {
		n, err := s.bucket.sweep(ctx, olderThan, keep)
		if err != nil {
			return removed + n, fmt.Errorf("sweep bucket: %w", err)
		}
		return removed + n, nil
	}
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	for _, a := range letters {
		for _, b := range letters {
			n, err := sweepFolder(ctx, filepath.Join(s.objects(), string(a), string(b)), olderThan, keep)
			removed += n
			if err != nil {
				return removed, fmt.Errorf("sweep objects: %w", err)
			}
		}
	}
	return removed, nil
}

// sweepFolder sweeps one folder, which may be missing.
func sweepFolder(ctx context.Context, path string, olderThan time.Time, keep func(Key) (bool, error)) (removed int, err error) {
	folder, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	defer folder.Close()
	for {
		entries, err := folder.ReadDir(sweepBatch)
		for _, entry := range entries {
			gone, err := sweepFile(ctx, path, entry, olderThan, keep)
			if err != nil {
				return removed, err
			}
			if gone {
				removed++
			}
		}
		if errors.Is(err, io.EOF) {
			return removed, nil
		}
		if err != nil {
			return removed, fmt.Errorf("%w: %w", ErrStorage, err)
		}
	}
}

// sweepFile removes one file if it is old and nobody keeps it.
func sweepFile(ctx context.Context, folder string, entry fs.DirEntry, olderThan time.Time, keep func(Key) (bool, error)) (removed bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	key, err := ParseKey(entry.Name())
	if err != nil {
		return false, nil
	}
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.ModTime().Before(olderThan) {
		return false, nil // gone meanwhile, or young
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	kept, err := keep(key)
	if err != nil {
		return false, fmt.Errorf("object %s: %w", key, err)
	}
	if kept {
		return false, nil
	}
	if err := remove(filepath.Join(folder, entry.Name())); err != nil {
		return false, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	return true, nil
}
