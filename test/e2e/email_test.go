package e2e

import (
	"strings"
	"testing"
)

const sendDocument = `mutation($in: SendEmailInput!) { sendEmail(input: $in) { job { id kind state input } userErrors { code field message } } }`

// send has a mail sent, which must be taken, and returns its job.
func (c *client) send(to, subject, text string) string {
	c.t.Helper()
	in := vars{"to": to, "subject": subject, "text": text, "html": "<p>" + text + "</p>"}
	return ask[struct {
		SendEmail struct{ Job struct{ ID string } }
	}](c, sendDocument, vars{"in": in}).SendEmail.Job.ID
}

type deliveryReport struct{ MessageID, To, AcceptedAt, Response string }

func (c *client) deliveryReport(id string) deliveryReport {
	c.t.Helper()
	return ask[struct {
		Job struct{ Result deliveryReport }
	}](c, `query($id: ID!) { job(id: $id) { result { ... on DeliveryReport {
		messageId to acceptedAt response } } } }`, vars{"id": id}).Job.Result
}

func TestAMailIsSentByWhoMayAndReportedToThem(t *testing.T) {
	t.Parallel()
	post := newSink(t)
	eachForm(t, func(t *testing.T, d *deployment) {
		admin := d.admin()
		to := d.seen.add("address of a mail", d.seen.email())
		subject, text := d.seen.add("subject", "Tea with "+d.seen.password()), d.seen.add("text of a mail", "Bring cake, "+d.seen.password())
		for name, c := range map[string]*client{"a person": d.person(), "a key without the scope": second(admin.apiKey("jobs:run"))} {
			refused(t, name, c.say(sendDocument, vars{"in": vars{"to": to, "subject": subject, "text": text}}), "FORBIDDEN")
		}
		if a := d.person().say(createKeyDocument, vars{"in": vars{"name": "post", "scopes": []string{"mail:send"}}}); a.userError() != "INVALID" {
			t.Errorf("a person makes a key that sends mails: %v", a)
		}
		key := second(admin.apiKey("jobs:run", "mail:send")).at(last(d.servers))
		if a := key.say(sendDocument, vars{"in": vars{"to": to, "subject": "Tea\r\nBcc: eve@example.com", "text": text}}); a.userError() != "INVALID" {
			t.Errorf("a second header: %v", a)
		}
		for name, c := range map[string]*client{"an administrator": admin, "their key": key} {
			id := c.send(to, subject, text)
			done := c.awaitState(id, "SUCCEEDED")
			if r := c.deliveryReport(id); r.To != to || r.MessageID != "<"+id+"@example.com>" || !strings.HasPrefix(r.Response, "250") || r.AcceptedAt == "" || done.Attempt != 1 {
				t.Errorf("%s sees %+v of %+v", name, r, done)
			}
		}
		if n := post.to(to); n != 2 {
			t.Errorf("%d mails have arrived, want 2", n)
		}
		shown := string(admin.say(`{ jobs(filter: {kinds: ["sendEmail"]}) { nodes { input } } }`, nil).body)
		if !strings.Contains(shown, "sealed") || strings.Contains(shown, to) || strings.Contains(shown, "Tea") {
			t.Errorf("Job.input shows %s", shown)
		}
		reader := second(admin.apiKey("jobs:run", "jobs:read-all"))
		if a := reader.say(`{ jobs(filter: {kinds: ["sendEmail"]}) { nodes { result { __typename } } } }`, nil); a.code() != "" {
			t.Errorf("a key sees the reports of its owner: %v", a)
		}
	}, "--smtp-url", post.url, "--mail-from", "no-reply@example.com")
}

func second(_ string, c *client) *client { return c }

// TestAMailWhoseWorkerIsKilledWithItInHandIsNotSentTwice kills the worker while the mail server has the mail
// and has not answered.
func TestAMailWhoseWorkerIsKilledWithItInHandIsNotSentTwice(t *testing.T) {
	t.Parallel()
	post := newSink(t)
	d := distributed(t, "--smtp-url", post.url, "--mail-from", "no-reply@example.com")
	admin := d.admin()
	to, came, answer := d.seen.email(), make(chan struct{}, 10), make(chan struct{})
	post.stop(func(string) {
		came <- struct{}{}
		<-answer
	})
	id := admin.send(to, "Tea at four", "Bring cake.")
	<-came
	d.holder().kill()
	close(answer)
	if j := admin.awaitState(id, "FAILED"); j.Error == nil || j.Error.Code != "UNCERTAIN" || j.Attempt != 2 {
		t.Errorf("the job failed in attempt %d with %+v, want UNCERTAIN in the second", j.Attempt, j.Error)
	}
	if n := post.to(to); n != 1 {
		t.Errorf("%d mails have arrived, want 1", n)
	}
	ask[any](admin, `mutation($id: ID!) { retryJob(input: {id: $id}) { job { id } userErrors { code } } }`, vars{"id": id})
	admin.awaitState(id, "SUCCEEDED")
	if n := post.to(to); n != 2 {
		t.Errorf("%d mails have arrived after their owner sent it again, want 2", n)
	}
}
