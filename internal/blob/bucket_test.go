package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/test/services"
)

func TestABucketIsNamedByAnAddress(t *testing.T) {
	for address, want := range map[string]S3{
		"s3://files": {Endpoint: "s3.us-east-1.amazonaws.com", TLS: true, Region: "us-east-1", Bucket: "files"},
		"s3://my.files/a/b_2/?region=eu-central-1": {
			Endpoint: "s3.eu-central-1.amazonaws.com", TLS: true, Region: "eu-central-1", Bucket: "my.files", Prefix: "a/b_2/",
		},
		"s3://files?endpoint=http://127.0.0.1:9000": {Endpoint: "127.0.0.1:9000", Region: "us-east-1", Bucket: "files", PathStyle: true},
		"s3://files?endpoint=https://s3.example.com/&path-style=false": {
			Endpoint: "s3.example.com", TLS: true, Region: "us-east-1", Bucket: "files",
		},
	} {
		got, err := ParseS3(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", address, diff)
		}
	}
	for _, address := range []string{
		"", "files", "https://files", "s3://", "s3://UPPER", "s3://key:hush@files", "s3://files#x", "s3://files/../other", "s3://files/a//b",
		"s3://files/%00", "s3://files?endpoint=127.0.0.1:9000", "s3://files?endpoint=https://key:hush@host", "s3://files?endpoint=https://host/path",
		"s3://files?endpoint=file:///etc/passwd", "s3://files?region=eu/../x", "s3://files?region=a&region=b", "s3://files?path-style=perhaps",
		"s3://files?access-key=hush", "s3://files?%zz", "s3://files?endpoint=https://%zz",
	} {
		if _, err := ParseS3(address); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: error %v", address, err)
		}
	}
	for endpoint, want := range map[string]bool{
		"127.0.0.1:9000": true, "[::1]:9000": true, "localhost": true, "[::1]": true, "10.0.0.1:9000": false, "localhost.example.com": false,
	} {
		if got := (S3{Endpoint: endpoint}).Loopback(); got != want {
			t.Errorf("%s is of this machine: %v", endpoint, got)
		}
	}
}

func TestALargeObjectGoesInPartsThroughLittleMemory(t *testing.T) {
	s := newBucketStore(t, services.S3(t))
	for _, size := range []int{partBytes - trailerBytes, partBytes - trailerBytes + 1, partBytes, 2*partBytes + 777} {
		want := make([]byte, size)
		rand.Read(want)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		object, err := s.Put(t.Context(), bytes.NewReader(want), int64(size))
		if err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
			t.Errorf("%d bytes took %d bytes of memory", size, used)
		}
		if left, err := filepath.Glob(filepath.Join(s.incoming(), "*")); err != nil || len(left) > 0 {
			t.Errorf("in the folder there are %v, error %v", left, err)
		}
		checkContent(t, s, object, want)
	}
}

// checkContent reads an object whole, and around the end of its first part.
func checkContent(t *testing.T, s *place, object Object, want []byte) {
	t.Helper()
	content, opened, err := s.Open(t.Context(), object.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if opened != object {
		t.Errorf("put %+v, opened %+v", object, opened)
	}
	got, err := io.ReadAll(content)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d of %d bytes, error %v", len(got), len(want), err)
	}
	from := int64(max(0, min(partBytes, len(want))-100))
	if _, err := content.Seek(from, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(content); err != nil || !bytes.Equal(got, want[from:]) {
		t.Errorf("from %d on: read %d bytes, error %v", from, len(got), err)
	}
}

func TestAFolderCanBeCopiedIntoABucket(t *testing.T) {
	folder, bucket := newStore(t), newBucketStore(t, services.S3(t))
	object := put(t, folder, "content")
	overwrite(t, bucket, object.Key, raw(t, folder, object.Key))
	checkContent(t, bucket, object, []byte("content"))
	if got, want := bucket.bucket.path(object.Key), "test/files/objects/"; !strings.HasPrefix(got, want) {
		t.Errorf("the object is called %s, want it below %s", got, want)
	}
}

func TestAnUploadThatIsGivenUpLeavesNoPart(t *testing.T) {
	s := newBucketStore(t, services.S3(t))
	gone := errors.New("the client went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	w, err := s.Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	writeParts(t, w)
	if len(files(t, s)) != 2 { // the part under way, and the upload
		t.Errorf("before the end there are %v", files(t, s))
	}
	cancel(gone)
	if _, err := w.Write(make([]byte, partBytes)); !errors.Is(err, gone) || errors.Is(err, ErrStorage) {
		t.Errorf("write: error %v, want %v", err, gone)
	}
	w.Abort()
	if left := files(t, s); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// writeParts writes so much that two parts are sent.
func writeParts(t *testing.T, w *Writer) {
	t.Helper()
	if _, err := w.Write(make([]byte, 2*partBytes+1)); err != nil {
		t.Fatal(err)
	}
}

func TestACommitOutlivesTheContextOfItsWriter(t *testing.T) {
	s := newBucketStore(t, services.S3(t))
	ctx, cancel := context.WithCancel(t.Context())
	w, err := s.Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "content"); err != nil {
		t.Fatal(err)
	}
	cancel()
	object, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	checkContent(t, s, object, []byte("content"))
}

func TestSweepAbortsUploadsOfTheDead(t *testing.T) {
	s := newBucketStore(t, services.S3(t))
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	writeParts(t, w)
	none := func(Key) (bool, error) { return false, nil }
	if removed, err := s.Sweep(t.Context(), time.Now().Add(-time.Hour), none); err != nil || removed != 0 {
		t.Errorf("of the living %d were removed, error %v", removed, err)
	}
	if removed, err := s.Sweep(t.Context(), time.Now().Add(time.Hour), none); err != nil || removed != 2 {
		t.Errorf("%d were removed, error %v; want the part under way and the upload", removed, err)
	}
	if left := files(t, s); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := w.Commit(); !errors.Is(err, ErrStorage) {
		t.Errorf("commit of a swept writer: error %v, want %v", err, ErrStorage)
	}
}

func TestSweepLeavesAloneWhatIsNotOurs(t *testing.T) {
	b := services.S3(t)
	s, other := newBucketStore(t, b), newBucketStore(t, b)
	other.bucket.prefix = "another/objects/"
	object := put(t, other, "content")
	if removed, err := s.Sweep(t.Context(), time.Now().Add(time.Hour), func(Key) (bool, error) { return false, nil }); err != nil || removed != 0 {
		t.Errorf("%d were removed, error %v", removed, err)
	}
	checkContent(t, other, object, []byte("content"))
}

func TestAWrongKeyAndAMissingBucketAreToldAtOnceAndAreErrStorage(t *testing.T) {
	b := services.S3(t)
	right := s3Of(t, b)
	for name, c := range map[string]struct {
		change func(*S3)
		says   string
	}{
		"right":            {func(*S3) {}, ""},
		"a missing bucket": {func(o *S3) { o.Bucket = "no-such-bucket" }, "bucket does not exist"},
		"a wrong secret":   {func(o *S3) { o.SecretKey = "wrong-secret-key" }, "signature"},
		"a wrong key":      {func(o *S3) { o.AccessKey = "nobody" }, "key"},
		"nobody there":     {func(o *S3) { o.Endpoint = "127.0.0.1:1" }, "connection refused"},
		"TLS to who has none": {
			func(o *S3) { o.TLS = true }, "HTTPS",
		},
	} {
		o := right
		c.change(&o)
		s, err := OpenS3(t.TempDir(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		err = s.Check(t.Context())
		if c.says == "" {
			if err != nil || s.Ping(t.Context()) != nil || len(files(t, &place{s, b.Folder})) > 0 {
				t.Errorf("%s: check %v, ping %v", name, err, s.Ping(t.Context()))
			}
			continue
		}
		if !errors.Is(err, ErrStorage) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), o.SecretKey) {
			t.Errorf("%s: check %v, want it to say %q", name, err, c.says)
		}
		_, put := s.Put(t.Context(), strings.NewReader("x"), 1)
		_, _, open := s.Open(t.Context(), newKey())
		_, sweep := s.Sweep(t.Context(), time.Now(), func(Key) (bool, error) { return true, nil })
		for doing, err := range map[string]error{
			"put": put, "open": open, "delete": s.Delete(t.Context(), newKey()), "sweep": sweep, "ping": s.Ping(t.Context()),
		} {
			if !errors.Is(err, ErrStorage) || errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %s: error %v, want %v", name, doing, err, ErrStorage)
			}
		}
	}
}

func TestABucketThatDiesInTheMiddleIsErrStorageAndGoesOnLater(t *testing.T) {
	server := services.StartS3(t)
	s := newBucketStore(t, server.Bucket(t))
	want := make([]byte, partBytes)
	rand.Read(want)
	object, err := s.Put(t.Context(), bytes.NewReader(want), partBytes)
	if err != nil {
		t.Fatal(err)
	}
	content, _, err := s.Open(t.Context(), object.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	beginning := make([]byte, 1000)
	if _, err := io.ReadFull(content, beginning); err != nil {
		t.Fatal(err)
	}
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	writeParts(t, w)

	server.Kill()
	if _, err := w.Write(make([]byte, partBytes)); !errors.Is(err, ErrStorage) {
		t.Errorf("write: error %v, want %v", err, ErrStorage)
	}
	w.Abort()
	if _, err := s.Put(t.Context(), strings.NewReader("x"), 1); !errors.Is(err, ErrStorage) {
		t.Errorf("put: error %v, want %v", err, ErrStorage)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, ErrStorage) {
		t.Errorf("ping: error %v, want %v", err, ErrStorage)
	}

	server.Restart(t)
	rest, err := io.ReadAll(content)
	if err != nil || !bytes.Equal(append(beginning, rest...), want) {
		t.Errorf("a read that was cut off went on for %d bytes, error %v", len(rest), err)
	}
	put(t, s, "there is a bucket again")
	if removed, err := s.Sweep(t.Context(), time.Now().Add(time.Hour), func(Key) (bool, error) { return true, nil }); err != nil || removed != 1 {
		t.Errorf("%d were removed, error %v; want the upload", removed, err)
	}
}

func TestASilentBucketIsGivenUpAndASlowOneIsNot(t *testing.T) {
	server := services.StartS3(t)
	b := server.Bucket(t)
	o := s3Of(t, b)
	o.Patience = time.Second
	o.Endpoint = slowed(t, o.Endpoint)
	slow, err := OpenS3(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(slow.Close)
	want := make([]byte, 8<<20)
	rand.Read(want)
	began := time.Now()
	object, err := slow.Put(t.Context(), bytes.NewReader(want), 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	checkContent(t, &place{slow, b.Folder}, object, want)
	if took := time.Since(began); took < 2*o.Patience {
		t.Errorf("it was not slow: %v", took)
	}

	o = s3Of(t, b)
	o.Patience = 100 * time.Millisecond
	silent, err := OpenS3(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(silent.Close)
	server.Pause()
	defer server.Resume()
	began = time.Now()
	if _, _, err := silent.Open(t.Context(), object.Key); !errors.Is(err, ErrStorage) {
		t.Errorf("open: error %v, want %v", err, ErrStorage)
	}
	if _, err := silent.Put(t.Context(), strings.NewReader("x"), 1); !errors.Is(err, ErrStorage) {
		t.Errorf("put: error %v, want %v", err, ErrStorage)
	}
	t.Logf("given up after %v", time.Since(began))
}

// slowed returns the address of who passes on to address 64 KiB each 20 ms, there and back.
func slowed(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			_ = from.(*net.TCPConn).SetReadBuffer(64 << 10) // what waits there looks like silence
			to, err := net.Dial("tcp", address)
			if err != nil {
				from.Close()
				continue
			}
			go trickle(to, from)
			go trickle(from, to)
		}
	}()
	return l.Addr().String()
}

func trickle(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.CopyN(to, from, 64<<10); err != nil {
			return
		}
		<-tick.C
	}
}

func TestAnObjectThatGoesWhileItIsReadIsNotFound(t *testing.T) {
	s := newBucketStore(t, services.S3(t))
	content, object, err := s.Open(t.Context(), put(t, s, "content").Key)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if err := s.Delete(t.Context(), object.Key); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(content); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v, want %v", err, ErrNotFound)
	}
}
