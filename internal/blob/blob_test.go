package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
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
	"github.com/minio/minio-go/v7"

	"gatehouse/test/services"
)

func TestMain(m *testing.M) { services.Main(m) }

// place is a store under test.
type place struct {
	*Store
	kept string // the folder in which a server keeps the bucket; "": there is none
}

// newStore returns an empty store in a folder.
func newStore(t *testing.T) *place {
	t.Helper()
	return openStore(t, filepath.Join(t.TempDir(), "blobs"))
}

func openStore(t *testing.T, folder string) *place {
	t.Helper()
	s, err := Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	return &place{Store: s}
}

// newBucketStore returns an empty store in a bucket.
func newBucketStore(t *testing.T, b services.Bucket) *place {
	t.Helper()
	s, err := OpenS3(filepath.Join(t.TempDir(), "blobs"), s3Of(t, b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &place{s, b.Folder}
}

// s3Of says how to use the bucket, below a prefix.
func s3Of(t *testing.T, b services.Bucket) S3 {
	t.Helper()
	o, err := ParseS3(strings.Replace(b.URL, "?", "/test/files?", 1))
	if err != nil {
		t.Fatal(err)
	}
	o.AccessKey, o.SecretKey = services.S3AccessKey, services.S3SecretKey
	return o
}

// eachForm runs test on an empty store of each form.
func eachForm(t *testing.T, test func(t *testing.T, s *place)) {
	t.Helper()
	t.Run("folder", func(t *testing.T) { test(t, newStore(t)) })
	t.Run("bucket", func(t *testing.T) { test(t, newBucketStore(t, services.S3(t))) })
}

// fileOf is the file of an object; in a bucket that of the server's.
func fileOf(t *testing.T, s *place, key Key) string {
	t.Helper()
	if s.bucket == nil {
		return s.path(key)
	}
	return filepath.Join(s.kept, s.bucket.path(key))
}

func reopen(s *place) (*Store, error) {
	if s.bucket == nil {
		return Open(s.folder)
	}
	return &Store{folder: s.folder, bucket: s.bucket}, nil
}

// raw returns what is stored, trailer and all.
func raw(t *testing.T, s *place, key Key) []byte {
	t.Helper()
	stored, err := os.ReadFile(fileOf(t, s, key))
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// overwrite stores something else under the key.
func overwrite(t *testing.T, s *place, key Key, stored []byte) {
	t.Helper()
	if s.bucket == nil {
		if err := os.WriteFile(s.path(key), stored, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	sum := sha256.Sum256(stored)
	_, err := s.bucket.core.PutObject(t.Context(), s.bucket.name, s.bucket.path(key), bytes.NewReader(stored), int64(len(stored)),
		"", hex.EncodeToString(sum[:]), putOptions)
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, s *place, text string) Object {
	t.Helper()
	object, err := s.Put(t.Context(), strings.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// files lists what stands in the store's folder, and in its bucket: objects and uploads.
func files(t *testing.T, s *place) []string {
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
	if s.bucket == nil {
		return found
	}
	for o := range s.bucket.core.ListObjectsIter(t.Context(), s.bucket.name, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		found = append(found, o.Key)
	}
	uploads, err := s.bucket.core.ListMultipartUploads(t.Context(), s.bucket.name, "", "", "", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range uploads.Uploads {
		found = append(found, u.Key+"?"+u.UploadID)
	}
	return found
}

func TestAnObjectComesBackAsItWasPut(t *testing.T) {
	eachForm(t, func(t *testing.T, s *place) {
		for _, size := range []int{0, 1, copyBytes, copyBytes + 1, 1 << 20} {
			want := make([]byte, size)
			rand.Read(want)
			put, err := s.Put(t.Context(), iotest.HalfReader(bytes.NewReader(want)), int64(size))
			if err != nil {
				t.Fatal(err)
			}
			again, err := reopen(s) // as after a restart
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
	})
}

func TestAnObjectCanBeServedInRanges(t *testing.T) {
	eachForm(t, func(t *testing.T, s *place) {
		content, _, err := s.Open(t.Context(), put(t, s, "0123456789").Key)
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
			http.ServeContent(answer, request, "x.txt", time.Time{}, content)
			if got := answer.Body.String(); got != want {
				t.Errorf("range %q gives %q, want %q", header, got, want)
			}
		}
	})
}

func TestASeekNeverMakesAnObjectLookDamaged(t *testing.T) {
	eachForm(t, func(t *testing.T, s *place) {
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
	})
}

func TestADamagedObjectIsFoundOut(t *testing.T) {
	eachForm(t, func(t *testing.T, s *place) {
		damage := func(change func(file []byte) []byte) (opened, read error) {
			key := put(t, s, strings.Repeat("good", 50_000)).Key
			overwrite(t, s, key, change(raw(t, s, key)))
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
	})
}

func TestNothingStaysOfAPutThatFails(t *testing.T) {
	broken := errors.New("the client went away")
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	for _, c := range []struct {
		name  string
		ctx   context.Context
		read  func() io.Reader // each form reads one of its own
		limit int64
		want  error
	}{
		{"one byte too many", t.Context(), func() io.Reader { return strings.NewReader("12345") }, 4, ErrTooLarge},
		{"far too many", t.Context(), func() io.Reader { return io.LimitReader(rand.Reader, 10<<20) }, 1 << 20, ErrTooLarge},
		{"a reader that breaks", t.Context(), func() io.Reader { return io.MultiReader(strings.NewReader("123"), iotest.ErrReader(broken)) }, 4, broken},
		{"a reader that gives nothing", t.Context(), func() io.Reader { return idleReader{} }, 4, io.ErrNoProgress},
		{"an ended context", cancelled, func() io.Reader { return strings.NewReader("123") }, 4, broken},
		{"a context that ends on the way", nil, nil, 1 << 40, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachForm(t, func(t *testing.T, s *place) {
				ctx, read := c.ctx, c.read
				if ctx == nil {
					ending, cancel := context.WithCancelCause(t.Context())
					ctx = ending
					read = func() io.Reader {
						return readerFunc(func(into []byte) (int, error) { cancel(broken); return len(into), nil })
					}
				}
				if _, err := s.Put(ctx, read(), c.limit); !errors.Is(err, c.want) || errors.Is(err, ErrStorage) {
					t.Errorf("error %v, want %v", err, c.want)
				}
				if left := files(t, s); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		})
	}
}

type readerFunc func(into []byte) (int, error)

func (f readerFunc) Read(into []byte) (int, error) { return f(into) }

type idleReader struct{}

func (idleReader) Read([]byte) (int, error) { return 0, nil }

func TestAnObjectIsInvisibleUntilItsCommit(t *testing.T) {
	eachForm(t, func(t *testing.T, s *place) {
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
	})
}

func TestAnAbortedWriterLeavesNothing(t *testing.T) {
	eachForm(t, func(t *testing.T, s *place) {
		w, err := s.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.Abort()
		w.Abort()
		if _, err := w.Commit(); err == nil || len(files(t, s)) > 0 {
			t.Errorf("commit after abort: error %v, files %v", err, files(t, s))
		}
	})
}

func TestDeleteIsIdempotent(t *testing.T) {
	eachForm(t, func(t *testing.T, s *place) {
		object := put(t, s, "content")
		for range 2 {
			if err := s.Delete(t.Context(), object.Key); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := s.Open(t.Context(), object.Key); !errors.Is(err, ErrNotFound) {
			t.Errorf("open after delete: error %v, want %v", err, ErrNotFound)
		}
	})
}

func TestManyCanPutAtOnce(t *testing.T) {
	eachForm(t, func(t *testing.T, s *place) {
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
	})
}

func TestSweepRemovesWhatNobodyKnowsAndIsOld(t *testing.T) {
	eachForm(t, func(t *testing.T, s *place) {
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
		for _, path := range []string{fileOf(t, s, known.Key), fileOf(t, s, forgotten.Key), dead.file.Name(), foreign} {
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
		if _, err := dead.Commit(); s.bucket == nil && !errors.Is(err, ErrStorage) {
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
	})
}

func TestSweepStopsAtAnErrorOfKeep(t *testing.T) {
	eachForm(t, func(t *testing.T, s *place) {
		put(t, s, "content")
		unsure := errors.New("the database is away")
		removed, err := s.Sweep(t.Context(), time.Now().Add(time.Hour), func(Key) (bool, error) { return false, unsure })
		if !errors.Is(err, unsure) || removed != 0 || len(files(t, s)) != 1 {
			t.Errorf("removed %d, error %v, files %v", removed, err, files(t, s))
		}
	})
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
