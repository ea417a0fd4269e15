package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/internal/blob"
	"gatehouse/internal/bus"
	"gatehouse/internal/limit"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
	"gatehouse/queue/transport"
)

// ada and eve own the jobs of the tests.
var (
	ada = viewer.Viewer{User: "usr_ada"}
	eve = viewer.Viewer{User: "usr_eve"}
)

// yard runs the kinds that fetch, on SQLite, with this machine's own addresses allowed.
type yard struct {
	t       testing.TB
	files   *blob.Store
	queue   *queue.Queue
	fetcher *fetcher
	options queue.JobOptions
}

func newYard(t testing.TB) *yard {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "q.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	y := &yard{t: t, fetcher: newFetcher(true)}
	if y.files, err = blob.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	answers, err := NewAnswers(nil, nil, limit.New(nil, limit.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(answers.Close)
	kinds := []queue.Definition{fetchesURLs(y.fetcher, answers, time.Now), downloadsFiles(y.fetcher, time.Now)}
	y.queue, err = queue.New(db, transport.Local(transport.Options{}), bus.Local(), y.files, kinds, queue.Options{Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- y.queue.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("queue: %v", err)
		}
	})
	return y
}

// work runs a job to its end and returns it.
func work[A, R any](y *yard, by viewer.Viewer, kind queue.Kind[A, R], args A) (*queue.Job, R) {
	y.t.Helper()
	request, err := kind.Request(by.User, args, y.options)
	if err != nil {
		y.t.Fatal(err)
	}
	j, err := y.queue.Enqueue(y.t.Context(), request)
	if err != nil {
		y.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(y.t.Context(), 30*time.Second)
	defer cancel()
	events, err := y.queue.Watch(ctx, by, j.ID, nil)
	if err != nil {
		y.t.Fatal(err)
	}
	for range events {
	}
	if j, err = y.queue.Get(y.t.Context(), by, j.ID); err != nil {
		y.t.Fatal(err)
	}
	if j.State != queue.Succeeded {
		y.t.Fatalf("the job is %s: %+v", j.State, j.Error)
	}
	raw, err := y.queue.Result(y.t.Context(), j)
	var result R
	if err == nil {
		err = json.Unmarshal(raw, &result)
	}
	if err != nil {
		y.t.Fatal(err)
	}
	return j, result
}

// artifacts returns the content of a job's artifacts by name.
func (y *yard) artifacts(j *queue.Job) map[string][]byte {
	y.t.Helper()
	files, err := y.queue.Artifacts(y.t.Context(), []queue.ID{j.ID})
	if err != nil {
		y.t.Fatal(err)
	}
	contents := map[string][]byte{}
	for _, f := range files[j.ID] {
		content, _, err := y.files.Open(y.t.Context(), f.Key)
		if err != nil {
			y.t.Fatal(err)
		}
		contents[f.Name], err = io.ReadAll(content)
		content.Close()
		if err != nil {
			y.t.Fatal(err)
		}
	}
	return contents
}

// noise is content that no two parts of are alike.
func noise(bytesWanted int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < bytesWanted; i++ {
		b.WriteString(time.Unix(int64(i), 0).UTC().Format("2006-01-02T15:04:05Z|"))
	}
	return b.Bytes()[:bytesWanted]
}
