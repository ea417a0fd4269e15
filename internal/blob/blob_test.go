package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, text string) Object {
	t.Helper()
	object, err := s.Put(t.Context(), strings.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// files lists what stands in the store's folder.
func files(t *testing.T, s *Store) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(s.folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAnObjectComesBackAsItWasPut(t *testing.T) {
	s := newStore(t)
	for _, size := range []int{0, 1, copyBytes, copyBytes + 1, 1 << 20} {
		want := make([]byte, size)
		rand.Read(want)
		put, err := s.Put(t.Context(), iotest.HalfReader(bytes.NewReader(want)), int64(size))
		if err != nil {
			t.Fatal(err)
		}
		again, err := Open(s.folder) // as after a restart
		if err != nil {
			t.Fatal(err)
		}
		content, opened, err := again.Open(t.Context(), put.Key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(content)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: read %d bytes, error %v", size, len(got), err)
		}
		if err := content.Close(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(put, opened); diff != "" || put.Bytes != int64(size) || put.SHA256 != sha256.Sum256(want) {
			t.Errorf("%d bytes: object %+v (-put +opened):\n%s", size, put, diff)
		}
	}
}

func TestAnObjectCanBeServedInRanges(t *testing.T) {
	s := newStore(t)
	content, object, err := s.Open(t.Context(), put(t, s, "0123456789").Key)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	for want, header := range map[string]string{"0123456789": "", "345": "bytes=3-5", "89": "bytes=-2"} {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		if header != "" {
			request.Header.Set("Range", header)
		}
		answer := httptest.NewRecorder()
		http.ServeContent(answer, request, "x.txt", object.ModifiedAt, content)
		if got := answer.Body.String(); got != want {
			t.Errorf("range %q gives %q, want %q", header, got, want)
		}
	}
}

func TestASeekNeverMakesAnObjectLookDamaged(t *testing.T) {
	s := newStore(t)
	content, _, err := s.Open(t.Context(), put(t, s, "0123456789").Key)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	for _, step := range []struct {
		seek, read int64
		want       string
	}{{0, 5, "01234"}, {2, 5, "23456"}, {0, 4, "0123"}, {0, 10, "0123456789"}, {9, 9, "9"}, {4, 9, "456789"}} {
		if _, err := content.Seek(step.seek, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.LimitReader(content, step.read))
		if err != nil || string(got) != step.want {
			t.Errorf("%d bytes from %d: %q, error %v; want %q", step.read, step.seek, got, err, step.want)
		}
	}
}

func TestADamagedObjectIsFoundOut(t *testing.T) {
	damage := func(change func(file []byte) []byte) (opened, read error) {
		s := newStore(t)
		path := s.path(put(t, s, strings.Repeat("good", 50_000)).Key)
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(file), 0o600); err != nil {
			t.Fatal(err)
		}
		key, _ := ParseKey(filepath.Base(path))
		content, object, err := s.Open(t.Context(), key)
		if err != nil {
			return err, nil
		}
		defer content.Close()
		n, err := io.Copy(io.Discard, content)
		if err != nil && n >= object.Bytes {
			t.Errorf("%d of %d bytes were given in spite of %v", n, object.Bytes, err)
		}
		return nil, err
	}
	if _, err := damage(func(file []byte) []byte { file[777] ^= 1; return file }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a turned bit: read error %v, want %v", err, ErrCorrupt)
	}
	if _, err := damage(func(file []byte) []byte { return file[1:] }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a lost byte: read error %v, want %v", err, ErrCorrupt)
	}
	if err, _ := damage(func(file []byte) []byte { return file[:len(file)-1] }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a cut end: open error %v, want %v", err, ErrCorrupt)
	}
	if err, _ := damage(func([]byte) []byte { return nil }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("an empty file: open error %v, want %v", err, ErrCorrupt)
	}
}

func TestNothingStaysOfAPutThatFails(t *testing.T) {
	broken := errors.New("the client went away")
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	for _, c := range []struct {
		name  string
		ctx   context.Context
		r     io.Reader
		limit int64
		want  error
	}{
		{"one byte too many", t.Context(), strings.NewReader("12345"), 4, ErrTooLarge},
		{"far too many", t.Context(), io.LimitReader(rand.Reader, 10<<20), 1 << 20, ErrTooLarge},
		{"a reader that breaks", t.Context(), io.MultiReader(strings.NewReader("123"), iotest.ErrReader(broken)), 4, broken},
		{"a reader that gives nothing", t.Context(), idleReader{}, 4, io.ErrNoProgress},
		{"an ended context", cancelled, strings.NewReader("123"), 4, broken},
		{"a context that ends on the way", nil, nil, 1 << 40, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			if c.ctx == nil {
				ctx, cancel := context.WithCancelCause(t.Context())
				c.ctx, c.r = ctx, readerFunc(func(into []byte) (int, error) { cancel(broken); return len(into), nil })
			}
			if _, err := s.Put(c.ctx, c.r, c.limit); !errors.Is(err, c.want) || errors.Is(err, ErrStorage) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if left := files(t, s); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

type readerFunc func(into []byte) (int, error)

func (f readerFunc) Read(into []byte) (int, error) { return f(into) }

type idleReader struct{}

func (idleReader) Read([]byte) (int, error) { return 0, nil }

func TestAnObjectIsInvisibleUntilItsCommit(t *testing.T) {
	s := newStore(t)
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "content"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Open(t.Context(), w.key); !errors.Is(err, ErrNotFound) {
		t.Errorf("open before the commit: error %v, want %v", err, ErrNotFound)
	}
	object, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	w.Abort()
	content, _, err := s.Open(t.Context(), object.Key)
	if err != nil {
		t.Fatalf("an abort after the commit took the object: %v", err)
	}
	content.Close()
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("a write after the commit was accepted")
	}
	if _, err := w.Commit(); err == nil {
		t.Error("a second commit was accepted")
	}
}

func TestAnAbortedWriterLeavesNothing(t *testing.T) {
	s := newStore(t)
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.Abort()
	w.Abort()
	if _, err := w.Commit(); err == nil || len(files(t, s)) > 0 {
		t.Errorf("commit after abort: error %v, files %v", err, files(t, s))
	}
}

func TestDeleteIsIdempotent(t *testing.T) {
	s := newStore(t)
	object := put(t, s, "content")
	for range 2 {
		if err := s.Delete(t.Context(), object.Key); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.Open(t.Context(), object.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("open after delete: error %v, want %v", err, ErrNotFound)
	}
}

func TestManyCanPutAtOnce(t *testing.T) {
	s := newStore(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				if _, err := s.Put(t.Context(), strings.NewReader("content"), 7); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := len(files(t, s)); got != 160 {
		t.Errorf("%d files, want 160", got)
	}
}

func TestSweepRemovesWhatNobodyKnowsAndIsOld(t *testing.T) {
	s := newStore(t)
	old := func(path string) {
		at := time.Now().Add(-48 * time.Hour)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	known, forgotten, young := put(t, s, "known"), put(t, s, "forgotten"), put(t, s, "young")
	dead, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	alive, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Abort()
	foreign := filepath.Join(s.incoming(), "README.txt")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{s.path(known.Key), s.path(forgotten.Key), dead.file.Name(), foreign} {
		old(path)
	}
	keepKnown := func(key Key) (bool, error) { return key == known.Key, nil }
	removed, err := s.Sweep(t.Context(), time.Now().Add(-24*time.Hour), keepKnown)
	if err != nil || removed != 2 {
		t.Errorf("removed %d, error %v; want 2", removed, err)
	}
	if _, err := alive.Commit(); err != nil {
		t.Errorf("the living writer lost its file: %v", err)
	}
	if _, err := dead.Commit(); !errors.Is(err, ErrStorage) {
		t.Errorf("commit of a swept writer: error %v, want %v", err, ErrStorage)
	}
	for key, want := range map[Key]error{known.Key: nil, forgotten.Key: ErrNotFound, young.Key: nil} {
		content, _, err := s.Open(t.Context(), key)
		if !errors.Is(err, want) {
			t.Errorf("open %s: error %v, want %v", key, err, want)
		}
		if err == nil {
			content.Close()
		}
	}
}

func TestSweepStopsAtAnErrorOfKeep(t *testing.T) {
	s := newStore(t)
	put(t, s, "content")
	unsure := errors.New("the database is away")
	removed, err := s.Sweep(t.Context(), time.Now().Add(time.Hour), func(Key) (bool, error) { return false, unsure })
	if !errors.Is(err, unsure) || removed != 0 || len(files(t, s)) != 1 {
		t.Errorf("removed %d, error %v, files %v", removed, err, files(t, s))
	}
}

func TestAFolderThatCannotBeUsedIsErrStorage(t *testing.T) {
	inTheWay := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(inTheWay); !errors.Is(err, ErrStorage) {
		t.Errorf("open on a file: error %v, want %v", err, ErrStorage)
	}
	s := newStore(t)
	object := put(t, s, "content")
	if err := os.RemoveAll(s.folder); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context()); !errors.Is(err, ErrStorage) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("create without the folder: error %v, want %v", err, ErrStorage)
	}
	if _, _, err := s.Open(t.Context(), object.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("open without the folder: error %v, want %v", err, ErrNotFound)
	}
}

func TestACommitThatCannotRenameLeavesNothing(t *testing.T) {
	s := newStore(t)
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	name := w.key.String()
	inTheWay := filepath.Join(s.objects(), name[:1])
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); !errors.Is(err, ErrStorage) {
		t.Errorf("error %v, want %v", err, ErrStorage)
	}
	if diff := cmp.Diff([]string{inTheWay}, files(t, s)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func BenchmarkPut(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	content := make([]byte, 16<<20)
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		object, err := s.Put(b.Context(), bytes.NewReader(content), int64(len(content)))
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Delete(b.Context(), object.Key); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	object, err := s.Put(b.Context(), bytes.NewReader(make([]byte, 16<<20)), 16<<20)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(object.Bytes)
	b.ReportAllocs()
	for b.Loop() {
		content, _, err := s.Open(b.Context(), object.Key)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			b.Fatal(err)
		}
		content.Close()
	}
}
