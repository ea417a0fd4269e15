package main

import (
	"strings"
	"testing"
	"time"

	"gatehouse/queue"
)

func TestQueuesAndKindsThatThereAreNotRefuseToStart(t *testing.T) {
	kinds := []queue.Definition{{Name: "processCsv", Retention: time.Hour}}
	if err := keep(kinds, map[string]time.Duration{"processCsv": 2 * time.Hour}); err != nil || kinds[0].Retention != 2*time.Hour {
		t.Errorf("kept for %v, %v", kinds[0].Retention, err)
	}
	if err := keep(kinds, map[string]time.Duration{"processCvs": time.Hour}); err == nil || !strings.Contains(err.Error(), "processCvs") {
		t.Errorf("a kind that there is not: %v", err)
	}
	s, err := parse(t, nil, "--data="+t.TempDir(), "--addr=127.0.0.1:0", "--queues=slow=1")
	if err != nil {
		t.Fatal(err)
	}
	if a, err := newApp(t.Context(), s.listening(), t.Output(), 1); err == nil || !strings.Contains(err.Error(), "default") {
		t.Errorf("a queue that there is not: %v", err)
		a.close()
	}
}

func TestManyJobsAreManagedThroughTheServer(t *testing.T) {
	h := newHouse(t)
	ada := h.register("ada@example.com")
	type refusal struct{ Code string }
	var bulk struct {
		CancelJobs struct {
			Count      int
			HasMore    bool
			UserErrors []refusal
		}
		RetryJobs struct {
			Count      int
			UserErrors []refusal
		}
	}
	const later = `mutation { processCsv(input: {text: "a\n1", options: {runAt: "2100-01-01T00:00:00Z"}}) { userErrors { code } } }`
	var started struct {
		ProcessCsv struct{ UserErrors []refusal }
	}
	h.ask(ada, strings.Replace(later, "2100-01-01T00:00:00Z", time.Now().Add(time.Hour).UTC().Format(time.RFC3339), 1), &started)
	h.ask(ada, `mutation { cancelJobs(input: {filter: {kinds: ["processCsv"]}}) { count hasMore userErrors { code } } retryJobs(input: {filter: {states: [FAILED]}}) { count userErrors { code } } }`, &bulk)
	if bulk.CancelJobs.Count != 1 || bulk.CancelJobs.HasMore || bulk.RetryJobs.Count != 0 {
		t.Errorf("got %+v", bulk)
	}
	var quota struct {
		JobQuota struct{ OpenJobs, MaxOpenJobs int }
	}
	h.ask(ada, `{ jobQuota { openJobs maxOpenJobs } }`, &quota)
	if quota.JobQuota.OpenJobs != 0 {
		t.Errorf("got %+v", quota)
	}
}
