package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

type workflow struct {
	job
	Steps []struct {
		Name, Kind, State string
		Needs             []string
		Job               *struct {
			job
			Workflow *struct{ ID string }
		}
		Error *struct{ Code, Message string }
	}
}

const workflowFields = `{ id kind state priority sequence attempt progress { done total } error { code message }
	steps { name kind state needs job { id state attempt workflow { id } result { ... on CsvSummary { rows badRows } } } error { code message } } }`

func (c *client) tryWorkflow(in vars) answer {
	c.t.Helper()
	return c.say(`mutation($in: StartWorkflowInput!) { startWorkflow(input: $in) { job `+workflowFields+` userErrors { code field message } } }`, vars{"in": in})
}

func (c *client) startWorkflow(in vars) workflow {
	c.t.Helper()
	a := c.tryWorkflow(in)
	made := into[struct{ StartWorkflow struct{ Job *workflow } }](c.t, a).StartWorkflow.Job
	if made == nil {
		c.t.Fatalf("no workflow: %v", a)
	}
	return *made
}

// workflow reads a workflow that must exist.
func (c *client) workflow(id string) workflow {
	c.t.Helper()
	return ask[struct{ Job workflow }](c, `query($id: ID!) { job(id: $id) `+workflowFields+` }`, vars{"id": id}).Job
}

// states returns how the steps stand, by name.
func (w workflow) states() map[string]string {
	states := map[string]string{}
	for _, s := range w.Steps {
		states[s.Name] = s.State
	}
	return states
}

func TestAWorkflowHandsFilesAndResultsFromStepToStep(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(people(10, 3)) }))
	t.Cleanup(web.Close)
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		started := c.startWorkflow(vars{"steps": []vars{
			{"name": "read", "kind": "processCsv", "arguments": vars{"url": web.URL}},
			{"name": "rejects", "kind": "processCsv", "arguments": vars{"file": vars{"$artifact": "read", "name": "rejects.csv"}}},
			{"name": "picture", "kind": "processImage", "arguments": vars{"file": vars{"$artifact": "read", "name": "rejects.csv"}, "variants": []vars{{"width": 10}}}, "optional": true},
			{"name": "never", "kind": "processCsv", "arguments": vars{"url": web.URL}, "needs": []string{"picture"}},
			{"name": "again", "kind": "processCsv", "arguments": vars{"url": web.URL, "delimiter": vars{"$from": "read", "pointer": "/columns/0/name"}}, "optional": true},
		}})
		follow(t, c.watchEvents(started.ID, new(int)))
		far := c.at(last(d.servers))
		w := far.workflow(started.ID)
		if w.State != "SUCCEEDED" || w.Kind != "workflow" || w.Progress.Done != 5 || w.Progress.Total != 5 {
			t.Fatalf("the workflow is %+v", w)
		}
		want := map[string]string{"read": "SUCCEEDED", "rejects": "SUCCEEDED", "picture": "FAILED", "never": "SKIPPED", "again": "FAILED"}
		for name, state := range want {
			if got := w.states()[name]; got != state {
				t.Errorf("step %s is %s, want %s", name, got, state)
			}
		}
		rejects := w.Steps[1].Job
		if rejects == nil || rejects.Result == nil || rejects.Result.Rows != 3 || rejects.Workflow == nil || rejects.Workflow.ID != w.ID {
			t.Errorf("of the file of rejects came %+v", rejects)
		}
		if again := w.Steps[4]; again.Job != nil || again.Error == nil || !strings.Contains(again.Error.Message, "delimiter") {
			t.Errorf("a step that its kind refuses is %+v", again)
		}
		stranger := d.person()
		refused(t, "a stranger's look", stranger.say(`query($id: ID!) { job(id: $id) { steps { name } } }`, vars{"id": w.ID}), "NOT_FOUND")
		if a := c.say(`mutation($id: ID!) { deleteJob(input: {id: $id}) { deletedId } }`, vars{"id": w.ID}); !strings.Contains(a.String(), w.ID) {
			t.Errorf("deleted: %v", a)
		}
		if n := ask[struct{ Jobs struct{ TotalCount int } }](c, `{ jobs { totalCount } }`, nil).Jobs.TotalCount; n != 0 {
			t.Errorf("%d jobs are left of a workflow that was deleted", n)
		}
	})
}

func TestAWorkflowOutlivesTheWorkerOfAStepAndTheServerThatStartedIt(t *testing.T) {
	t.Parallel()
	d := distributed(t)
	c := d.person()
	rows := slowRows(t)
	started := c.startWorkflow(vars{"steps": []vars{
		{"name": "slow", "kind": "processCsv", "arguments": vars{"url": rows.url}},
		{"name": "left", "kind": "processCsv", "arguments": vars{"url": rows.url, "delimiter": ","}, "needs": []string{"slow"}},
		{"name": "right", "kind": "processCsv", "arguments": vars{"url": rows.url}, "needs": []string{"slow"}},
		{"name": "join", "kind": "processCsv", "arguments": vars{"url": rows.url}, "needs": []string{"left", "right"}},
	}})
	rows.awaitOpened(t, patience)
	d.servers[0].kill()
	for _, worker := range d.workers[:len(d.workers)-1] {
		worker.kill()
	}
	rows.open()
	c = c.at(d.servers[1])
	c.awaitState(started.ID, "SUCCEEDED")
	for name, state := range c.workflow(started.ID).states() {
		if state != "SUCCEEDED" {
			t.Errorf("step %s is %s", name, state)
		}
	}
	d.checkEndings(5)
}

func TestAStepOfAKindThatACredentialMayNotStartIsRefused(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	steps := []vars{{"name": "a", "kind": "processCsv", "arguments": vars{"url": "https://example.com/a.csv"}}}
	_, key := c.apiKey("account:read")
	refused(t, "a workflow by a key without the scope", key.tryWorkflow(vars{"steps": steps}), "FORBIDDEN")
	steps[0]["kind"] = "deliverMessage"
	if a := c.tryWorkflow(vars{"steps": steps}); a.userError() != "INVALID" {
		t.Errorf("a kind of the machinery is a step: %v", a)
	}
}
