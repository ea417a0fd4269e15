package queue_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/queue"
	"gatehouse/test/services"
)

// forgetful stands before PostgreSQL and can lose a commit: its question, or its answer.
type forgetful struct {
	question, answer atomic.Bool // the next one is lost
}

// before returns the URL of database by way of f.
func (f *forgetful) before(t *testing.T, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	to := u.Host
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				t.Error(err)
				client.Close()
				return
			}
			lose := new(atomic.Bool)
			all.Go(func() { f.pass(server, client, lose, true) })
			all.Go(func() { f.pass(client, server, lose, false) })
		}
	})
	u.Host = l.Addr().String()
	return u.String()
}

// pass copies until an end closes or something is lost.
func (f *forgetful) pass(to, from net.Conn, lose *atomic.Bool, asks bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if asks && bytes.Contains(buffer[:n], []byte("commit\x00")) {
			if f.question.CompareAndSwap(true, false) {
				return
			}
			if f.answer.CompareAndSwap(true, false) {
				lose.Store(true)
			}
		}
		if !asks && n > 0 && lose.Load() {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// still are options with which nothing is committed but what a test does.
var still = queue.Options{Workers: 1, Beat: time.Hour, Lease: 10 * time.Hour, Sweep: time.Hour}

func TestAJobWhoseStartWasCommittedWithoutAnAnswerKeepsItsFile(t *testing.T) {
	var f forgetful
	y := newYard(t, f.before(t, services.Postgres(t)), services.Redis(t))
	k := echo("echo")
	o := still
	o.Workers = 0
	p := y.start(o, k.Define())
	upload, err := y.files.Receive(t.Context(), "a.csv", strings.NewReader("a\n1\n"), 100)
	if err != nil {
		t.Fatal(err)
	}
	r, err := k.Request(ada.User, args{}, queue.JobOptions{IdempotencyKey: "once"})
	if err != nil {
		t.Fatal(err)
	}
	r.Files = append(r.Files, upload)
	f.answer.Store(true)
	if _, err := p.Enqueue(t.Context(), r); err == nil {
		t.Fatal("the answer was not lost: the test shows nothing")
	}
	if owned, err := p.Owned(t.Context(), upload.Key); err != nil || !owned {
		t.Fatalf("the job was not committed (%v): the test shows nothing", err)
	}
	if !upload.Kept() {
		t.Error("the file of the job is left to be deleted")
	}
}

func TestAnEndingThatWasCommittedWithoutAnAnswerOrNotAtAllKeepsItsFiles(t *testing.T) {
	for name, lose := range map[string]func(*forgetful){
		"the answer is lost":   func(f *forgetful) { f.answer.Store(true) },
		"the question is lost": func(f *forgetful) { f.question.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			var f forgetful
			y := newYard(t, f.before(t, services.Postgres(t)), services.Redis(t))
			k := queue.Kind[args, answer]{Name: "write", MaxAttempts: 1, Handle: func(ctx context.Context, run *queue.Run, _ args) (answer, error) {
				m, err := run.Create(ctx, "a.txt", "text/plain")
				if err != nil {
					return answer{}, err
				}
				_, err = io.WriteString(m, "well done")
				lose(&f)
				return answer{}, err
			}}
			p := y.start(still, k.Define())
			j := p.finished(t, p.enqueue(t, k, "", queue.JobOptions{}).ID)
			wantState(t, j, queue.Succeeded)
			files, err := p.Artifacts(t.Context(), []queue.ID{j.ID})
			if err != nil || len(files[j.ID]) != 1 {
				t.Fatalf("the artifacts are %+v, %v", files, err)
			}
			content, _, err := y.files.Open(t.Context(), files[j.ID][0].Key)
			if err != nil {
				t.Fatalf("the artifact is gone: %v", err)
			}
			content.Close()
		})
	}
}

func TestWhatWasKeptWithoutAnAnswerKeepsItsFile(t *testing.T) {
	var f forgetful
	y := newYard(t, f.before(t, services.Postgres(t)), services.Redis(t))
	k := queue.Kind[args, answer]{Name: "keep", Handle: func(ctx context.Context, run *queue.Run, _ args) (answer, error) {
		m, err := run.Create(ctx, "a.txt", "text/plain")
		if err != nil {
			return answer{}, err
		}
		if _, err := io.WriteString(m, "so far"); err != nil {
			return answer{}, err
		}
		f.answer.Store(true)
		if _, err := run.Keep(ctx, "first", 1, m); err == nil {
			t.Error("the answer was not lost: the test shows nothing")
		}
		kept, err := run.Kept(ctx)
		if err != nil || len(kept) != 1 {
			t.Errorf("kept are %+v, %v", kept, err)
			return answer{}, err
		}
		content, err := run.Open(ctx, *kept[0].File)
		if err != nil {
			t.Errorf("the file that was kept is gone: %v", err)
			return answer{}, nil
		}
		return answer{}, content.Close()
	}}
	p := y.start(still, k.Define())
	wantState(t, p.finished(t, p.enqueue(t, k, "", queue.JobOptions{}).ID), queue.Succeeded)
}
