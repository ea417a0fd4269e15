package e2e

import (
	"context"
	"strings"
	"testing"
	"time"
)

// mutate sends a mutation of one input and returns whatever the server answers.
func (c *client) mutate(mutation string, in vars) answer {
	title := strings.ToUpper(mutation[:1]) + mutation[1:]
	a, err := c.try(context.Background(), `mutation($in: `+title+`Input!) { `+mutation+`(input: $in) { userErrors { code } } }`, vars{"in": in})
	if err != nil {
		c.t.Errorf("%s: no answer: %v", mutation, err)
	}
	return a
}

// withPhone returns a fresh account with a phone.
func (d *deployment) withPhone(number string) *client {
	d.t.Helper()
	c := d.person()
	id := call(d.t, c, "enrollPhone", "factorId", vars{"phoneNumber": number}).FactorID
	code, _ := d.posted("phoneConfirm", number, 0)
	call(d.t, c, "confirmPhone", "factor { id }", vars{"factorId": id, "code": code})
	return c
}

// challenges signs c in n times with the password, each time from a network of its own.
func (d *deployment) challenges(c *client, n int) []entry {
	d.t.Helper()
	all := make([]entry, n)
	for i := range all {
		all[i] = c.at(d.servers[i%len(d.servers)]).from(i).challenged(nil)
	}
	return all
}

// awaitPost waits until nothing is left to be sent.
func (d *deployment) awaitPost(admin *client) {
	d.t.Helper()
	until(d.t, patience, "mail waits to be sent", func() bool {
		return ask[struct{ Jobs struct{ TotalCount int } }](admin, `{ jobs(filter: {
			kinds: ["sendProof", "deliverMessage"], states: [SCHEDULED, QUEUED, RUNNING, RETRYING]
		}) { totalCount } }`, nil).Jobs.TotalCount == 0
	})
}

func TestOfAThousandParallelAnswersAndCodesExactlyTheAllowedNumberGetThrough(t *testing.T) {
	const attempts = 1000
	for _, row := range []struct {
		name           string
		number         string
		challenges     int
		networks       int
		answers, codes int
		every          time.Duration // one more of either
	}{
		{"one challenge", "+491701234501", 1, attempts, 5, 3, time.Hour},
		{"many challenges, one network", "+491701234502", 20, 1, 10, 5, time.Minute},
		{"many challenges and networks", "+491701234503", 60, attempts, 50, 20, 5 * time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			limitedForms(t, func(t *testing.T, d *deployment) {
				open := d.challenges(d.withPhone(row.number), row.challenges)
				input := func(i int, method string) vars {
					return vars{"challengeId": open[i%row.challenges].ID, "method": method}
				}
				codes, took := d.crowd(attempts, func(c *client, i int) answer {
					return c.from(i%row.networks).mutate("sendMfaCode", input(i, "SMS"))
				})
				among(t, "codes", codes, codes[""], row.codes, took, row.every)
				sent := codes[""]
				codes, took = d.crowd(attempts, func(c *client, i int) answer {
					in := input(i, "SMS")
					in["code"] = "000000"
					return c.from(i%row.networks).mutate("verifyMfa", in)
				})
				among(t, "answers", codes, codes["INVALID_CODE"], row.answers, took, row.every)
				d.awaitPost(d.admin())
				if _, arrived := d.posted("mfaCode", row.number, 0); arrived != sent {
					t.Errorf("%d codes have arrived, want %d", arrived, sent)
				}
			})
		})
	}
}

func TestOfAThousandParallelWishesForAMailExactlyTheAllowedNumberArrives(t *testing.T) {
	const attempts = 1000
	post := newSink(t)
	limitedForms(t, func(t *testing.T, d *deployment) {
		owner := d.person() // which has sent one that confirms the address
		unknown := d.seen.email()
		for _, row := range []struct {
			mutation        string
			owner, stranger int
		}{
			{"requestPasswordReset", 5, 5},
			{"requestLoginCode", 5, 5},
			{"requestEmailVerification", 1, 2}, // 12 in all
		} {
			for email, want := range map[string]int{owner.email: row.owner, unknown: row.stranger} {
				codes, took := d.crowd(attempts, func(c *client, i int) answer {
					return c.from(i).mutate(row.mutation, vars{"email": email})
				})
				passed(t, row.mutation, codes, took, attempts, want, 4*time.Minute)
			}
		}
		admin := d.admin()
		d.awaitPost(admin)
		if n := post.to(owner.email); n != 12 {
			t.Errorf("%d mails have arrived at the address with an account, want 12", n)
		}
		if n := post.to(unknown); n != 0 {
			t.Errorf("%d mails have arrived at the address without one", n)
		}
	}, "--smtp-url", post.url, "--mail-from", "no-reply@example.com")
}
