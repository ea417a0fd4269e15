package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/store"
)

// moveSchedule lets the next moment of a schedule come at a distance from now: cron knows whole minutes,
// and a test has no hour to wait.
var moveSchedule = store.SQL(`UPDATE schedules SET next_at = {now} + ? WHERE id = ?`)

func (d *deployment) move(schedule string, in time.Duration) {
	d.t.Helper()
	db, err := store.Open(d.t.Context(), d.database, store.Options{})
	if err != nil {
		d.t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(d.t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(d.t.Context(), moveSchedule, in.Microseconds(), schedule)
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

type schedule struct {
	ID, Name, Kind, Cron, TimeZone, CatchUp, Overlap, Priority string
	Paused                                                     bool
	NextRuns                                                   []time.Time
	LastRun                                                    *struct {
		Moment  time.Time
		Outcome string
	}
	LastJob *job
	Owner   *struct{ ID string }
}

const scheduleFields = `{ id name kind cron timeZone catchUp overlap priority paused nextRuns(first: 3)
	lastRun { moment outcome } lastJob ` + jobFields + ` owner { id } }`

func (c *client) trySchedule(in vars) answer {
	c.t.Helper()
	return c.say(`mutation($in: CreateScheduleInput!) { createSchedule(input: $in) { schedule `+scheduleFields+` userErrors { code field message } } }`, vars{"in": in})
}

func (c *client) schedule(in vars) schedule {
	c.t.Helper()
	a := c.trySchedule(in)
	made := into[struct{ CreateSchedule struct{ Schedule *schedule } }](c.t, a).CreateSchedule.Schedule
	if made == nil {
		c.t.Fatalf("no schedule: %v", a)
	}
	return *made
}

// scheduled returns the schedule as node has it.
func (c *client) scheduled(id string) schedule {
	c.t.Helper()
	return ask[struct{ Node schedule }](c, `query($id: ID!) { node(id: $id) { ... on Schedule `+scheduleFields+` } }`, vars{"id": id}).Node
}

// ran returns the schedule once its newest moment lies after after.
func (c *client) ran(id string, after time.Time) schedule {
	c.t.Helper()
	var s schedule
	until(c.t, patience, "the schedule has not run", func() bool {
		s = c.scheduled(id)
		return s.LastRun != nil && s.LastRun.Moment.After(after)
	})
	return s
}

func TestAScheduleStartsItsJobAtTheMomentOnceInTheDeployment(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(people(10, 0)) }))
	t.Cleanup(web.Close)
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.person()
		far := c.at(last(d.servers))
		s := c.schedule(vars{
			"name": "people at night", "kind": "processCsv", "arguments": vars{"url": web.URL, "delimiter": ","},
			"cron": "30 2 1 1 *", "timeZone": "Europe/Berlin", "priority": "HIGH",
		})
		if len(s.NextRuns) != 3 || s.NextRuns[0].UTC().Hour() != 1 || s.LastRun != nil || s.LastJob != nil || s.Owner == nil || s.Owner.ID != c.user {
			t.Errorf("the new schedule is %+v", s)
		}
		began := time.Now()
		for range 3 {
			d.move(s.ID, 1500*time.Millisecond)
			got := far.ran(s.ID, began)
			if got.LastRun.Outcome != "STARTED" || got.LastJob == nil {
				t.Fatalf("the moment: %+v", got)
			}
			done := far.awaitState(got.LastJob.ID, "SUCCEEDED")
			if done.Result == nil || done.Result.Rows != 10 || done.Priority != "HIGH" || done.Kind != "processCsv" {
				t.Errorf("the job is %+v", done)
			}
			late := done.StartedAt.Sub(got.LastRun.Moment)
			t.Logf("started %v after its moment", late)
			if late < 0 || late > 2*time.Second {
				t.Errorf("the job began %v after its moment", late)
			}
			began = got.LastRun.Moment
		}
		if n := ask[struct{ Jobs struct{ TotalCount int } }](c, `{ jobs { totalCount } }`, nil).Jobs.TotalCount; n != 3 {
			t.Errorf("%d jobs for 3 moments", n)
		}
		list := ask[struct {
			Schedules struct {
				TotalCount int
				Nodes      []schedule
			}
		}](far, `{ schedules(first: 5) { totalCount nodes { id nextRuns lastJob { id } owner { id } } } }`, nil).Schedules
		if list.TotalCount != 1 || len(list.Nodes) != 1 || list.Nodes[0].LastJob == nil {
			t.Errorf("the list is %+v", list)
		}
		stranger := d.person()
		refused(t, "a stranger's look", stranger.say(`query($id: ID!) { node(id: $id) { id } }`, vars{"id": s.ID}), "NOT_FOUND")
		refused(t, "a stranger's delete", stranger.say(`mutation($id: ID!) { deleteSchedule(input: {id: $id}) { deletedId } }`, vars{"id": s.ID}), "NOT_FOUND")

		admin := d.admin()
		change(admin, "disableUser", c.user, "")
		d.move(s.ID, 0)
		if got := admin.ran(s.ID, began); got.LastRun.Outcome != "NOT_ALLOWED" {
			t.Errorf("while its owner is disabled: %+v", got.LastRun)
		}
		paused := ask[struct {
			UpdateSchedule struct{ Schedule *schedule }
		}](admin, `mutation($id: ID!) { updateSchedule(input: {id: $id, paused: true}) { schedule `+scheduleFields+` userErrors { code } } }`, vars{"id": s.ID}).UpdateSchedule.Schedule
		if paused == nil || !paused.Paused || len(paused.NextRuns) != 0 {
			t.Errorf("paused by an administrator: %+v", paused)
		}
		if a := admin.say(`mutation($id: ID!) { deleteSchedule(input: {id: $id}) { deletedId userErrors { code } } }`, vars{"id": s.ID}); !strings.Contains(a.String(), s.ID) {
			t.Errorf("deleted by an administrator: %v", a)
		}
	})
}

func TestAScheduleIsCaughtUpOnAfterTheServerWasAway(t *testing.T) {
	t.Parallel()
	var fetched atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		_, _ = w.Write(people(10, 0))
	}))
	t.Cleanup(web.Close)
	d := embedded(t)
	c := d.person()
	ids := map[string]string{}
	for _, rule := range []string{"SKIP", "LAST", "ALL"} {
		ids[rule] = c.schedule(vars{
			"name": rule, "kind": "processCsv", "arguments": vars{"url": web.URL}, "cron": "@yearly", "catchUp": rule, "overlap": "ALLOW",
		}).ID
	}
	d.servers[0].kill()
	for _, id := range ids {
		d.move(id, -2*366*24*time.Hour) // two or three moments ago
	}
	back := time.Now()
	d.addServer("--workers", "4")
	c = c.at(d.servers[1])
	for rule, want := range map[string]string{"SKIP": "MISSED", "LAST": "STARTED", "ALL": "STARTED"} {
		got := c.ran(ids[rule], back.AddDate(-3, 0, 0))
		if got.LastRun.Outcome != want || !got.NextRuns[0].After(back) {
			t.Errorf("%s: %+v, next %v", rule, got.LastRun, got.NextRuns)
		}
	}
	until(t, patience, "not all jobs have run", func() bool { return fetched.Load() >= 4 })
	if n := ask[struct{ Jobs struct{ TotalCount int } }](c, `{ jobs { totalCount } }`, nil).Jobs.TotalCount; n != 4 {
		t.Errorf("%d jobs, want 1 for LAST and 3 for ALL", n)
	}
}

func TestAScheduleThatItsKindsMutationWouldRefuseIsRefusedAlike(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	good := vars{"name": "n", "kind": "processCsv", "arguments": vars{"url": "https://example.com/a.csv"}, "cron": "@daily"}
	for name, row := range map[string]struct {
		field string
		value any
		want  []string
	}{
		"an address that is none":  {"arguments", vars{"url": "ftp://example.com"}, []string{"arguments", "url"}},
		"a delimiter of two":       {"arguments", vars{"url": "https://example.com", "delimiter": ";;"}, []string{"arguments", "delimiter"}},
		"a number for an address":  {"arguments", vars{"url": 5}, []string{"arguments", "url"}},
		"a text":                   {"arguments", vars{"text": "a,b"}, []string{"arguments"}},
		"options":                  {"arguments", vars{"url": "https://example.com", "options": vars{}}, []string{"arguments"}},
		"a list":                   {"arguments", []int{1}, []string{"arguments"}},
		"a kind of the machinery":  {"kind", "deliverMessage", []string{"kind"}},
		"a kind that there is not": {"kind", "rm -rf", []string{"kind"}},
		"a time that never comes":  {"cron", "0 0 31 2 *", []string{"cron"}},
		"a zone of the machine":    {"timeZone", "Local", []string{"timeZone"}},
		"a path for a zone":        {"timeZone", "../../../etc/passwd", []string{"timeZone"}},
		"no attempt":               {"maxAttempts", 0, []string{"maxAttempts"}},
		"no name":                  {"name", "  ", []string{"name"}},
	} {
		in := vars{}
		for k, v := range good {
			in[k] = v
		}
		in[row.field] = row.value
		a := c.trySchedule(in)
		var got struct {
			CreateSchedule struct {
				UserErrors []struct{ Field []string }
			}
		}
		if err := json.Unmarshal(a.Data, &got); err != nil {
			t.Fatalf("%s: %v", name, a)
		}
		errors := got.CreateSchedule.UserErrors
		if len(errors) != 1 || strings.Join(errors[0].Field, ".") != strings.Join(row.want, ".") {
			t.Errorf("%s: %v", name, a)
		}
	}
	id, secret := c.service("jobs:run")
	token, err := c.grants(id, secret, 0)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "a service account's schedule", c.holding(token).trySchedule(good), "FORBIDDEN")
	_, key := c.apiKey("account:read")
	refused(t, "a schedule by a key without the scope", key.trySchedule(good), "FORBIDDEN")
}
