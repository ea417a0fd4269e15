package queue_test

import (
	"context"
	"testing"
	"time"

	"gatehouse/internal/fault"
	"gatehouse/queue"
)

func TestAnOwnersJobsAreForgottenOnceNoneRunsAndNobodyElses(t *testing.T) {
	eachYard(t, func(t *testing.T, y *yard) {
		began, release := make(chan struct{}), make(chan struct{})
		stubborn := queue.Kind[args, answer]{Name: "stubborn", Handle: func(ctx context.Context, _ *queue.Run, _ args) (answer, error) {
			close(began)
			<-ctx.Done()
			<-release
			return answer{}, ctx.Err()
		}}
		quick := echo("quick")
		p := y.start(queue.Options{Workers: 2}, stubborn.Define(), quick.Define())
		done := p.enqueue(t, quick, "done", queue.JobOptions{})
		p.finished(t, done.ID)
		later := p.enqueue(t, quick, "later", queue.JobOptions{RunAt: time.Now().Add(time.Hour)})
		running := p.enqueue(t, stubborn, "", queue.JobOptions{})
		request, err := quick.Request(eve.User, args{"mine"}, queue.JobOptions{})
		if err != nil {
			t.Fatal(err)
		}
		others, err := p.Enqueue(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		<-began
		if left, err := p.Forget(t.Context(), ada.User); err != nil || left != 1 {
			t.Errorf("%d are left, %v; want the one that runs", left, err)
		}
		close(release)
		wantState(t, p.finished(t, running.ID), queue.Cancelled)
		if left, err := p.Forget(t.Context(), ada.User); err != nil || left != 0 {
			t.Errorf("%d are left, %v; want none", left, err)
		}
		for _, id := range []queue.ID{done.ID, later.ID, running.ID} {
			if _, err := p.Get(t.Context(), ada, id); !fault.Is(err, fault.NotFound) {
				t.Errorf("job %s is still there: %v", id, err)
			}
		}
		if _, err := p.Get(t.Context(), eve, others.ID); err != nil {
			t.Errorf("somebody else's job: %v", err)
		}
	})
}
