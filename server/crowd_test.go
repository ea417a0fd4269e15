package main

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"gatehouse/account"
	"gatehouse/account/totp"
	"gatehouse/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
	"gatehouse/queue"
	"gatehouse/session"
	"gatehouse/test/services"
)

// crowd is a house with many accounts of which each has two of everything that an account can have.
type crowd struct {
	*house
	admin string // an administrator's access token
	users []viewer.UserID
	jobs  []queue.ID
	plans []queue.ScheduleID
}

// markRun has a schedule started a job.
var markRun = store.SQL(`UPDATE schedules SET last_at = created_at, last_outcome = 'STARTED', last_job_id = ? WHERE id = ?`)

// The statements that make of two jobs that have run a workflow and its step.
var (
	makeWhole = store.SQL(`UPDATE jobs SET kind = 'workflow', result = '{"steps":1,"succeeded":1}',
		input = '{"steps":[{"name":"first","kind":"processCsv","arguments":{}}],"onFailure":"CANCEL_REST"}' WHERE id = ?`)
	makeStep = store.SQL(`INSERT INTO workflow_steps (workflow_id, name, state, job_id) VALUES (?, 'first', 'ENDED', ?)`)
	makePart = store.SQL(`UPDATE jobs SET parent_id = ? WHERE id = ?`)
)

// newCrowd makes a crowd of n accounts on the database at address.
func newCrowd(t testing.TB, address string, n int) *crowd {
	t.Helper()
	c := &crowd{house: newHouseOn(t, address)}
	admin, err := c.accounts.CreateAdmin(t.Context(), "root@example.com", "a long enough secret 7", "", false)
	c.must(err)
	c.admin = c.signIn(admin.ID).Access
	for i := range n {
		c.users = append(c.users, c.person(i))
	}
	for _, id := range c.jobs {
		c.await(id)
	}
	for i := 0; i < len(c.jobs); i += 2 {
		c.join(c.jobs[i], c.jobs[i+1])
	}
	return c
}

// join makes of the whole a workflow with one step.
func (c *crowd) join(step, whole queue.ID) {
	c.t.Helper()
	c.must(c.db.Update(c.t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(c.t.Context(), makeWhole, whole); err != nil {
			return err
		}
		if _, err := tx.Exec(c.t.Context(), makeStep, whole, step); err != nil {
			return err
		}
		_, err := tx.Exec(c.t.Context(), makePart, whole, step)
		return err
	}))
}

func (c *crowd) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// person makes an account with two sessions, an app, recovery codes, trusted devices, API keys, service
// accounts, identities, jobs, schedules and security events.
func (c *crowd) person(i int) viewer.UserID {
	c.t.Helper()
	id := c.newcomer(i)
	by := viewer.Viewer{User: id, Level: viewer.AAL2, AuthTime: time.Now(), Roles: []viewer.Role{viewer.User}}
	c.enrol(by)
	for n := range 2 {
		tokens := c.signIn(id)
		_, _, err := c.sessions.CreateAPIKey(c.t.Context(), by, session.KeyWish{Name: "key", Scopes: []viewer.Scope{viewer.RunJobs}})
		c.must(err)
		_, _, err = c.sessions.CreateServiceAccount(c.t.Context(), by, "robot", []viewer.Scope{viewer.RunJobs})
		c.must(err)
		c.must(c.audit.Record(c.t.Context(), audit.Event{Action: audit.LoginSucceeded, By: by, Subject: id, Session: tokens.Session.ID}))
		var begun struct {
			ProcessCsv struct{ Job struct{ ID queue.ID } }
		}
		c.ask(tokens.Access, fmt.Sprintf(`mutation { processCsv(input: {text: "a,b\n%d,%d\n"}) { job { id } } }`, i, n), &begun)
		c.jobs = append(c.jobs, begun.ProcessCsv.Job.ID)
		c.plan(by, begun.ProcessCsv.Job.ID)
	}
	return id
}

// plan makes a schedule of by that has started last.
func (c *crowd) plan(by viewer.Viewer, last queue.ID) {
	c.t.Helper()
	made, err := c.queue.CreateSchedule(c.t.Context(), by, queue.Schedule{
		Name: "report", Kind: "processCsv", Arguments: []byte(`{"url":"https://example.com/a.csv"}`), Cron: "@yearly", TimeZone: "UTC",
		CatchUp: queue.RunLast, CatchUpMost: 1, Overlap: queue.SkipMoment,
	})
	c.must(err)
	c.must(c.db.Update(c.t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(c.t.Context(), markRun, last, made.ID)
		return err
	}))
	c.plans = append(c.plans, made.ID)
}

// newcomer makes the account itself, with two identities.
func (c *crowd) newcomer(i int) viewer.UserID {
	c.t.Helper()
	identity := account.Federated{Provider: "acme", Title: "Acme", Issuer: "https://acme.example", Subject: fmt.Sprint("a", i), Profile: account.ProviderProfile{
		Email: fmt.Sprintf("person%d@example.com", i), EmailVerified: true, Name: fmt.Sprint("Person ", i),
	}}
	prepared, err := c.accounts.PrepareFederated(identity)
	c.must(err)
	var user account.User
	c.must(c.db.Update(c.t.Context(), func(tx *store.Tx) (err error) {
		if user, _, err = c.accounts.RegisterFederatedTx(c.t.Context(), tx, prepared, identity, "192.0.2.0/24"); err != nil {
			return err
		}
		second := identity
		second.Subject = fmt.Sprint("b", i)
		_, err = c.accounts.LinkTx(c.t.Context(), tx, viewer.Viewer{User: user.ID}, user, second, "192.0.2.0/24")
		return err
	}))
	return user.ID
}

// enrol gives the account of by two apps, with recovery codes, and two trusted devices.
func (c *crowd) enrol(by viewer.Viewer) {
	c.t.Helper()
	for range 2 {
		app, err := c.accounts.EnrollTOTP(c.t.Context(), by, "app")
		c.must(err)
		key, err := totp.Parse(app.Secret)
		c.must(err)
		proven, err := c.accounts.ProveTOTP(c.t.Context(), by, app.Factor, key.Code(totp.StepAt(time.Now())))
		c.must(err)
		c.must(c.db.Update(c.t.Context(), func(tx *store.Tx) error {
			if _, _, err := c.accounts.ConfirmTx(c.t.Context(), tx, by, proven); err != nil {
				return err
			}
			_, _, err := c.accounts.TrustTx(c.t.Context(), tx, by.User, session.Device{Name: "desk"}, session.Origin{Agent: "test"})
			return err
		}))
	}
}

// signIn begins a session.
func (c *crowd) signIn(id viewer.UserID) (tokens session.Tokens) {
	c.t.Helper()
	c.must(c.db.Update(c.t.Context(), func(tx *store.Tx) (err error) {
		tokens, err = c.sessions.StartTx(c.t.Context(), tx, session.Start{
			User: id, Level: viewer.AAL2, Methods: []string{"pwd"}, Origin: session.Origin{IP: netip.MustParseAddr("192.0.2.1")},
		})
		return err
	}))
	return tokens
}

// await returns when the job has ended.
func (c *crowd) await(id queue.ID) {
	c.t.Helper()
	events, err := c.queue.Watch(c.t.Context(), viewer.System(), id, nil)
	c.must(err)
	for range events {
	}
}

// databases returns the addresses of a fresh database of each kind.
func databases() map[string]func(testing.TB) string {
	return map[string]func(testing.TB) string{
		"SQLite":     func(testing.TB) string { return "" },
		"PostgreSQL": services.Postgres,
	}
}
