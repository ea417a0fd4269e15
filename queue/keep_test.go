package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/blob"
	"gatehouse/queue"
)

// keeper keeps a file in its first attempt, which fails, and goes on from it in its second.
func keeper(ends error) queue.Kind[args, answer] {
	return queue.Kind[args, answer]{
		Name: "keeps", MaxAttempts: 2, Backoff: func(int) time.Duration { return time.Millisecond },
		Handle: func(ctx context.Context, run *queue.Run, _ args) (answer, error) {
			kept, err := run.Kept(ctx)
			if err != nil {
				return answer{}, err
			}
			if len(kept) == 0 {
				for _, text := range []string{"replaced", "first half"} {
					if _, err := keepText(ctx, run, "half", text); err != nil {
						return answer{}, err
					}
				}
				if _, err := run.Keep(ctx, "word", "a note alone", nil); err != nil {
					return answer{}, err
				}
				if _, err := keepText(ctx, run, "dropped", "x"); err != nil {
					return answer{}, err
				}
				if _, err := keepText(ctx, run, "left over", "y"); err != nil {
					return answer{}, err
				}
				return answer{}, errors.Join(run.Drop(ctx, "dropped"), ends)
			}
			return recite(ctx, run, kept)
		},
	}
}

func keepText(ctx context.Context, run *queue.Run, name, text string) (queue.Kept, error) {
	file, err := run.Create(ctx, name, "text/plain")
	if err != nil {
		return queue.Kept{}, err
	}
	if _, err := io.WriteString(file, text); err != nil {
		return queue.Kept{}, err
	}
	return run.Keep(ctx, name, len(text), file)
}

// recite delivers the half and answers with all that was kept.
func recite(ctx context.Context, run *queue.Run, kept []queue.Kept) (answer, error) {
	var said []string
	for _, k := range kept {
		line := k.Name + " " + string(k.Note)
		if k.File != nil {
			content, err := run.Open(ctx, *k.File)
			if err != nil {
				return answer{}, err
			}
			text, err := io.ReadAll(content)
			content.Close()
			if err != nil {
				return answer{}, err
			}
			line += " " + string(text)
		}
		said = append(said, line)
		if k.Name == "half" {
			run.Deliver(k, "whole.txt", "text/csv")
		}
	}
	return answer{strings.Join(said, "; ")}, nil
}

const recited = `half 10 first half; left over 1 y; word "a note alone"`

func TestWhatAnAttemptKeepsIsThereForTheNextAndGoesWithTheJob(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		kind := keeper(errors.New("cut off"))
		p := y.start(queue.Options{Workers: 1}, kind.Define())
		j := ended(t, p, p.enqueue(t, kind, "", queue.JobOptions{}).ID, queue.Succeeded)
		checkRecited(t, y, p, j)
		if err := p.Delete(t.Context(), ada, j.ID); err != nil {
			t.Fatal(err)
		}
		y.awaitObjects(t, 0, "a deleted job")
	})
}

func TestWhatAFailedJobHasKeptServesItsRetryOrGoesWithIt(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		kind := keeper(queue.Permanent(errors.New("cut off for good")))
		p := y.start(queue.Options{Workers: 1}, kind.Define())
		j := ended(t, p, p.enqueue(t, kind, "", queue.JobOptions{}).ID, queue.Failed)
		if _, err := p.Retry(t.Context(), ada, j.ID); err != nil {
			t.Fatal(err)
		}
		checkRecited(t, y, p, ended(t, p, j.ID, queue.Succeeded))

		other := ended(t, p, p.enqueue(t, kind, "", queue.JobOptions{}).ID, queue.Failed)
		y.awaitObjects(t, 3, "the artifact and the two that are kept")
		if err := p.Delete(t.Context(), ada, other.ID); err != nil {
			t.Fatal(err)
		}
		y.awaitObjects(t, 1, "the artifact alone")
	})
}

// checkRecited checks that the job has its artifact, and that nothing else of what was kept is left.
func checkRecited(t *testing.T, y *yard, p *process, j *queue.Job) {
	t.Helper()
	var said answer
	if err := json.Unmarshal(j.Result, &said); err != nil || said.Echo != recited {
		t.Errorf("the second attempt found %q, want %q", said.Echo, recited)
	}
	files, err := p.Artifacts(t.Context(), []queue.ID{j.ID})
	if err != nil {
		t.Fatal(err)
	}
	if all := files[j.ID]; len(all) != 1 || all[0].Name != "whole.txt" || all[0].MediaType != "text/csv" || all[0].Bytes != 10 {
		t.Errorf("the artifacts are %+v", files)
	}
	y.awaitObjects(t, 1, "the artifact alone")
}

// ended waits for the end of a job, which must be that one.
func ended(t *testing.T, p *process, id queue.ID, state queue.State) *queue.Job {
	t.Helper()
	j := p.finished(t, id)
	wantState(t, j, state)
	return j
}

// awaitObjects waits until there are that many files: a job has ended a moment before it has tidied up.
func (y *yard) awaitObjects(t *testing.T, want int, what string) {
	t.Helper()
	late := time.After(10 * time.Second)
	for y.objects(t) != want {
		select {
		case <-time.After(time.Millisecond):
		case <-late:
			t.Fatalf("there are %d files, want %d: %s", y.objects(t), want, what)
		}
	}
}

// objects counts the files of the yard.
func (y *yard) objects(t *testing.T) int {
	t.Helper()
	count := 0
	_, err := y.files.Sweep(t.Context(), time.Now().Add(time.Hour), func(blob.Key) (bool, error) {
		count++
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return count
}

func TestAWorkerThatLostItsJobKeepsNothing(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		begun, stolen, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		kind := queue.Kind[args, answer]{
			Name: "late",
			Handle: func(ctx context.Context, run *queue.Run, _ args) (answer, error) {
				close(begun)
				<-stolen
				_, err := keepText(context.WithoutCancel(ctx), run, "half", "too late")
				ended <- err
				return answer{}, err
			},
		}
		p := y.start(queue.Options{Workers: 1}, kind.Define())
		j := p.enqueue(t, kind, "", queue.JobOptions{})
		<-begun
		y.do(nil, addProcess)
		y.do(j.ID, stealJob)
		close(stolen)
		if err := <-ended; err == nil {
			t.Error("a worker has kept a file of a job that is another's")
		}
		y.awaitObjects(t, 0, "what was kept too late")
	})
}
