package e2e

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAFullDiskIsATypedAnswerAndLeavesNothingHalfWritten(t *testing.T) {
	t.Parallel()
	d := newDeployment(t, nil)
	smallDisk(t, d.data, 24<<20)
	d.database = "sqlite:" + filepath.Join(d.data, "gatehouse.db")
	d.watchSecrets()
	d.addServer("--workers", "2")
	c := d.person()

	a, err := c.tryUpload(io.LimitReader(endless{}, 64<<20), vars{})
	if err != nil {
		t.Errorf("an upload larger than the disk was not answered: %v", err)
	} else {
		refused(t, "an upload larger than the disk", a, "UNAVAILABLE")
	}
	d.awaitNoFiles()
	if !c.signedIn() {
		t.Error("me does not work after the upload")
	}

	filler := fill(t, filepath.Join(d.data, "filler"))
	refused(t, "a job on a full disk", c.say(processDocument, vars{"in": vars{"text": "a,b\n1,2\n"}}), "UNAVAILABLE")
	stranger := d.visitor(0)
	codes := map[string]bool{}
	until(t, patience, "the database's log still has room", func() bool {
		email, password := d.seen.email(), d.seen.password()
		a := stranger.say(registerDocument, vars{"in": vars{"email": email, "password": password}})
		codes[a.code()] = true
		return a.code() != ""
	})
	if codes["INTERNAL"] {
		t.Errorf("registrations on a full disk were answered by %v, want UNAVAILABLE", codes)
	}
	if !c.signedIn() {
		t.Error("reading does not work on a full disk")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	until(t, patience, "the server does not recover", func() bool {
		a := c.say(processDocument, vars{"in": vars{"text": "a,b\n1,2\n"}})
		if len(a.Errors) > 0 {
			return false
		}
		c.awaitState(started(t, a).ID, "SUCCEEDED")
		return true
	})
	d.person()
	if list := c.list(vars{}); list.TotalCount != 1 {
		t.Errorf("there are %d jobs, want the one that was accepted", list.TotalCount)
	}
	if left := d.incoming(); len(left) != 0 {
		t.Errorf("files are half-written: %v", left)
	}
}

// smallDisk makes folder a file system of its own with so many bytes.
func smallDisk(t *testing.T, folder string, bytes int) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("tmpfs", folder, "tmpfs", 0, fmt.Sprintf("size=%d", bytes))
	if errors.Is(err, syscall.EPERM) {
		t.Skip("this machine lets not even root mount")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for size := 1 << 20; size > 0; { // in ever smaller pieces
		if _, err := file.Write(make([]byte, size)); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			size /= 2
		}
	}
	return path
}

// endless is a CSV without an end.
type endless struct{}

// Read implements io.Reader.
func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "0123456789,\n"[rand.IntN(12)]
	}
	return len(p), nil
}

func TestAReadOnlyDataFolderIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(folder, 0o555); err != nil {
		t.Fatal(err)
	}
	c := newCommand(t, "serve", "--addr", "127.0.0.1:0", "--data", folder)
	if os.Getuid() == 0 { // root may write anywhere
		c.as = &syscall.Credential{Uid: 65534, Gid: 65534}
		if err := os.Chmod(filepath.Dir(folder), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Dir(filepath.Dir(folder)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	out, code := c.run()
	if code != 1 || !strings.Contains(out, "cannot be written to") || !strings.Contains(out, folder) {
		t.Errorf("ended with %d and said %q, want a refusal that names the folder", code, out)
	}
	if left, _ := os.ReadDir(folder); len(left) != 0 {
		t.Errorf("the folder holds %v", left)
	}
	t.Logf("refused within %v", time.Since(began))
}
