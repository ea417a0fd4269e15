package e2e

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestACSVIsProcessedFromAFileATextAndAURLAndWatchedOverBothTransports(t *testing.T) {
	t.Parallel()
	large, small := people(100_000, 25_000), people(500, 100)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(large) }))
	t.Cleanup(web.Close)
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		other := c.at(last(d.servers))
		for _, source := range []struct {
			name  string
			start func() job
			size  int
			rows  int64
			bad   int64
		}{
			{"file", func() job { return c.upload(bytes.NewReader(large), vars{}) }, len(large), 99_996, 4},
			{"text", func() job { return c.process(vars{"text": string(small)}) }, len(small), 495, 5},
			{"url", func() job { return c.process(vars{"url": web.URL + "/people.csv"}) }, len(large), 99_996, 4},
		} {
			for name, watch := range map[string]func(string, *int) watch{"socket": other.watchSocket, "events": other.watchEvents} {
				j := source.start()
				events := follow(t, watch(j.ID, nil))
				if e := last(events); e.Job.State != "SUCCEEDED" || e.Job.Result == nil || e.Job.Result.Rows != source.rows {
					t.Errorf("%s over %s ended with %+v", source.name, name, e)
				}
				if events[0].Type != "SNAPSHOT" {
					t.Errorf("%s over %s began with %+v, want a snapshot", source.name, name, events[0])
				}
				checkResult(t, other, c.job(j.ID), source.size, source.rows, source.bad)
			}
		}
	})
}

// checkResult checks what a job over people has brought, and fetches its artifacts from another server.
func checkResult(t *testing.T, c *client, j job, size int, rows, bad int64) {
	t.Helper()
	r := j.Result
	if r.Rows != rows || r.BadRows != bad || r.Bytes != int64(size) || r.Delimiter != "," || len(r.Columns) != 5 || int64(len(r.Rejects)) != bad {
		t.Fatalf("the result is %+v, want %d rows, %d bad ones, %d bytes", r, rows, bad, size)
	}
	for i, want := range []string{"INTEGER", "TEXT", "DATE", "DECIMAL", "BOOLEAN"} {
		if r.Columns[i].Type != want {
			t.Errorf("column %s is %s, want %s", r.Columns[i].Name, r.Columns[i].Type, want)
		}
	}
	if j.Progress.Done != j.Progress.Total || j.Progress.Done != int64(size) {
		t.Errorf("the progress is %+v of %d bytes", j.Progress, size)
	}
	if len(j.Artifacts) != 2 {
		t.Fatalf("there are %d artifacts, want 2", len(j.Artifacts))
	}
	for _, a := range j.Artifacts {
		content := c.fetch(a)
		want := rows
		if a.Name == "rejects.csv" {
			want = bad + 1 // its header
		}
		if got := int64(bytes.Count(content, []byte("\n"))); got != want {
			t.Errorf("%s has %d lines, want %d", a.Name, got, want)
		}
	}
}

func TestARunningJobIsCancelledWithinASecondRetriedAndDeleted(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		endless := newSource(t, drip{piece: bytes.Repeat([]byte("1,Ada\n"), 10_000), every: time.Millisecond, size: 400 << 20})
		j := c.process(vars{"url": endless.url})
		until(t, patience, "no progress was made", func() bool { return c.job(j.ID).Progress.Done > 1<<20 })
		asked := time.Now()
		if a := c.cancel(j.ID); a.userError() != "" {
			t.Fatalf("cancel: %v", a)
		}
		c.awaitState(j.ID, "CANCELLED")
		took := time.Since(asked)
		t.Logf("cancelled after %v", took)
		if took > time.Second {
			t.Errorf("cancelled after %v, want at most 1 s", took)
		}
		select {
		case <-endless.gone:
		case <-time.After(patience):
			t.Error("the source is still being read")
		}
		if a := c.cancel(j.ID); a.userError() != "WRONG_STATE" {
			t.Errorf("a second cancel: %v", a)
		}
		d.awaitNoFiles()

		quick := slowRows(t)
		again := c.process(vars{"url": quick.url})
		quick.awaitOpened(t, patience)
		c.cancel(again.ID)
		c.awaitState(again.ID, "CANCELLED")
		quick.open()
		retried := ask[struct {
			RetryJob struct{ Job job }
		}](c, `mutation($id: ID!) { retryJob(input: {id: $id}) { job `+jobFields+` userErrors { code } } }`, vars{"id": again.ID}).RetryJob.Job
		if retried.ID != again.ID || retried.Attempt != 0 {
			t.Errorf("retried: %+v", retried)
		}
		done := c.awaitState(again.ID, "SUCCEEDED")
		if done.Attempt != 1 || len(done.Attempts) != 2 {
			t.Errorf("after a retry the attempt is %d with %d in its history, want 1 and 2", done.Attempt, len(done.Attempts))
		}
		deleteJob(t, d, c, done)
	})
}

// deleteJob deletes a job with artifacts and checks that nothing is left of it.
func deleteJob(t *testing.T, d *deployment, c *client, j job) {
	t.Helper()
	if len(j.Artifacts) == 0 || len(d.files()) == 0 {
		t.Fatalf("a finished job has no files: %+v", j)
	}
	ask[any](c, `mutation($id: ID!) { deleteJob(input: {id: $id}) { deletedId userErrors { code } } }`, vars{"id": j.ID})
	refused(t, "a deleted job", c.say(`query($id: ID!) { job(id: $id) { id } }`, vars{"id": j.ID}), "NOT_FOUND")
	if status, _ := c.get(j.Artifacts[0].URL); status != http.StatusNotFound {
		t.Errorf("an artifact of a deleted job: status %d, want 404", status)
	}
	d.awaitNoFiles()
}

func TestAnIdempotencyKeyGivesTheFirstJobAgainAlsoToParallelCallers(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		in := vars{"text": "a,b\n1,2\n", "options": vars{"idempotencyKey": "monday's import"}}
		ids := make(chan string, 20)
		for i := range cap(ids) {
			go func() {
				a, err := c.at(d.servers[i%len(d.servers)]).try(t.Context(), processDocument, vars{"in": in})
				if err != nil {
					t.Error(err)
				}
				ids <- into[processed](quiet{t}, a).ProcessCsv.Job.ID
			}()
		}
		first := <-ids
		for range cap(ids) - 1 {
			if id := <-ids; id != first {
				t.Errorf("got job %s and job %s for one key", first, id)
			}
		}
		if stranger := d.person().process(in); stranger.ID == first {
			t.Error("another owner's key gave this owner's job")
		}
		c.awaitState(first, "SUCCEEDED")
		deleteAll := c.job(first)
		if len(deleteAll.Attempts) != 1 {
			t.Errorf("the job ran %d times", len(deleteAll.Attempts))
		}
	})
}

// quiet is a test whose Fatalf may be called from another goroutine.
type quiet struct{ testing.TB }

// Fatalf implements testing.TB.
func (q quiet) Fatalf(format string, args ...any) {
	q.Helper()
	q.Errorf(format, args...)
}

func TestAJobWaitsForItsTime(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		at := time.Now().Add(1500 * time.Millisecond)
		j := c.process(vars{"text": "a\n1\n", "options": vars{"runAt": at.UTC().Format(time.RFC3339Nano)}})
		if j.State != "SCHEDULED" {
			t.Errorf("the job is %s, want SCHEDULED", j.State)
		}
		follow(t, c.watchSocket(j.ID, nil))
		j = c.job(j.ID)
		late := j.StartedAt.Sub(j.RunAt)
		t.Logf("began %v after its time", late)
		if late < 0 || late > time.Second {
			t.Errorf("the job began %v after its time", late)
		}
	})
}

func TestUrgentJobsAreTakenFirst(t *testing.T) {
	t.Parallel()
	d := newDeployment(t, nil)
	d.database = "sqlite:" + d.data + "/gatehouse.db"
	d.watchSecrets()
	d.addServer("--workers", "1")
	c := d.person()
	gate := slowRows(t)
	c.process(vars{"url": gate.url})
	gate.awaitOpened(t, patience) // the only worker is busy
	const each = 8
	var jobs []job
	for i := range 2 * each {
		priority := []string{"LOW", "CRITICAL"}[i%2]
		jobs = append(jobs, c.process(vars{"text": "a\n1\n", "options": vars{"priority": priority}}))
	}
	gate.open()
	var low, critical time.Duration // sums of the times to the start, from one moment on
	for _, j := range jobs {
		done := c.awaitState(j.ID, "SUCCEEDED")
		if wait := done.StartedAt.Sub(jobs[0].CreatedAt); j.Priority == "LOW" {
			low += wait
		} else {
			critical += wait
		}
	}
	if critical >= low {
		t.Errorf("critical jobs waited %v on average, low ones %v", critical/each, low/each)
	}
}

type connection struct {
	Edges []struct {
		Cursor string
		Node   struct{ ID string }
	}
	Nodes    []struct{ ID string }
	PageInfo struct {
		HasNextPage, HasPreviousPage bool
		StartCursor, EndCursor       string
	}
	TotalCount int
}

const listDocument = `query($first: Int, $after: String, $last: Int, $before: String, $filter: JobFilter, $order: JobOrder) {
	jobs(first: $first, after: $after, last: $last, before: $before, filter: $filter, orderBy: $order) {
		edges { cursor node { id } } nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount } }`

func (c *client) list(v vars) connection {
	c.t.Helper()
	return ask[struct{ Jobs connection }](c, listDocument, v).Jobs
}

func TestJobsAreListedForwardsAndBackwards(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		var newestFirst []string
		for range 17 {
			newestFirst = append([]string{c.process(vars{"text": "a\n1\n"}).ID}, newestFirst...)
		}
		var forwards, backwards []string
		v := vars{"first": 5}
		for {
			page := c.list(v)
			for _, n := range page.Nodes {
				forwards = append(forwards, n.ID)
			}
			if page.TotalCount != 17 || page.PageInfo.HasPreviousPage != (len(v) > 1) {
				t.Errorf("after %d jobs: %+v", len(forwards), page.PageInfo)
			}
			if !page.PageInfo.HasNextPage {
				break
			}
			v = vars{"first": 5, "after": page.PageInfo.EndCursor}
		}
		v = vars{"last": 5}
		for {
			page := c.list(v)
			var ids []string
			for _, n := range page.Nodes {
				ids = append(ids, n.ID)
			}
			backwards = append(ids, backwards...)
			if !page.PageInfo.HasPreviousPage {
				break
			}
			v = vars{"last": 5, "before": page.PageInfo.StartCursor}
		}
		for name, got := range map[string][]string{"forwards": forwards, "backwards": backwards} {
			if strings.Join(got, " ") != strings.Join(newestFirst, " ") {
				t.Errorf("%s: got %v, want %v", name, got, newestFirst)
			}
		}
		for _, id := range newestFirst {
			c.awaitState(id, "SUCCEEDED")
		}
		if n := c.list(vars{"filter": vars{"states": []string{"SUCCEEDED"}, "kinds": []string{"processCsv"}}}).TotalCount; n != 17 {
			t.Errorf("%d jobs have succeeded, want 17", n)
		}
		if n := c.list(vars{"filter": vars{"states": []string{"FAILED", "CANCELLED"}}}).TotalCount; n != 0 {
			t.Errorf("%d jobs have failed, want none", n)
		}
		oldest := c.list(vars{"first": 1, "order": vars{"field": "CREATED_AT", "direction": "ASC"}})
		if oldest.Nodes[0].ID != last(newestFirst) {
			t.Errorf("the oldest is %s, want %s", oldest.Nodes[0].ID, last(newestFirst))
		}
	})
}
