package blob

import (
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
)

// mountSmallDisk gives a file system of one MiB, which only root may mount.
func mountSmallDisk(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a full disk needs the right to mount one: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return folder
}

func TestAFullDiskIsErrStorageAndLeavesNothing(t *testing.T) {
	s := openStore(t, mountSmallDisk(t))
	_, err := s.Put(t.Context(), io.LimitReader(rand.Reader, 4<<20), 8<<20)
	if !errors.Is(err, ErrStorage) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v, want %v", err, ErrStorage)
	}
	if left := files(t, s); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	put(t, s, strings.Repeat("there is room again", 1_000))
}

func TestAReadOnlyDiskIsErrStorage(t *testing.T) {
	folder := mountSmallDisk(t)
	s := openStore(t, folder)
	object := put(t, s, "content")
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.file.Close() // an open file would keep the disk writable
	if err := syscall.Mount("tmpfs", folder, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context()); !errors.Is(err, ErrStorage) || !errors.Is(err, syscall.EROFS) {
		t.Errorf("create: error %v, want %v", err, ErrStorage)
	}
	if err := s.Delete(t.Context(), object.Key); !errors.Is(err, ErrStorage) {
		t.Errorf("delete: error %v, want %v", err, ErrStorage)
	}
	content, _, err := s.Open(t.Context(), object.Key)
	if err != nil {
		t.Fatalf("what is there can no longer be read: %v", err)
	}
	content.Close()
}
