package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNoSecretIsLeftInLogAuditDatabaseOrRedis walks through what people do, wrong turns included, on a
// deployment that logs all it can; the search for what the clients have seen follows when its processes
// have ended. Other tests search too: this one makes sure that there is something to find, and where.
func TestNoSecretIsLeftInLogAuditDatabaseOrRedis(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		c := d.visitor(0).with("User-Agent", firefox)
		c.register()
		c.device = "laptop"
		c.login()
		wrong := *c
		wrong.access = ""
		for range 3 {
			if a := wrong.tryLogin(d.seen.password()); a.userError() != "INVALID_CREDENTIALS" {
				t.Fatalf("a wrong password: %v", a)
			}
		}
		stranger := wrong
		stranger.email = d.seen.email()
		stranger.tryLogin(d.seen.password())
		for _, broken := range []string{d.seen.add("garbled token", c.access[:len(c.access)-4]+"AAAA"), d.seen.add("unknown token", "ghr_"+d.seen.password())} {
			wrong.access = strings.ReplaceAll(broken, " ", "")
			wrong.say(`{ me { id } }`, nil)
			c.tryRefresh(broken)
		}
		c.renew()
		stolen := c.refresh
		c.renew()
		c.awaitState(c.process(vars{"text": "name,age\nAda,36\n"}).ID, "SUCCEEDED")
		fresh := d.seen.password()
		ask[any](c, `mutation($old: String!, $new: String!) { changePassword(input: {currentPassword: $old, newPassword: $new}) { userErrors { code } } }`,
			vars{"old": c.password, "new": fresh})
		c.password = fresh
		refused(t, "another browser", c.with("User-Agent", chrome).say(`{ me { id } }`, nil), "STEP_UP_REQUIRED")
		d.awaitLetter("sessionSuspended", c.email)
		c.at(last(d.servers)).tryRefresh(stolen)
		c.login()
		c.register() // another account
		s := c.dial()
		s.cut()
		ask[any](c, `mutation { logout { sessionId } }`, nil)
		d.checkThereIsSomethingToFind(c.user)
	})
}

// checkThereIsSomethingToFind makes sure that the audit, which holds no secret, is among what is searched.
func (d *deployment) checkThereIsSomethingToFind(user string) {
	d.t.Helper()
	logged := ""
	for _, p := range d.servers {
		logged += p.log.String()
	}
	if !strings.Contains(logged, "level=DEBUG") {
		d.t.Error("the log tells little")
	}
	if strings.HasPrefix(d.database, "postgres") {
		rows, err := d.query(fmt.Sprintf(`SELECT action FROM audit_events WHERE subject = '%s'`, user))
		if err != nil || len(rows) < 2 {
			d.t.Errorf("the audit knows %v of %s, %v", rows, user, err)
		}
		return
	}
	until(d.t, 10*time.Second, "the database's files do not name the account", func() bool {
		files, err := filepath.Glob(strings.TrimPrefix(d.database, "sqlite:") + "*")
		for _, file := range files {
			content, failed := os.ReadFile(file)
			if err == nil && failed == nil && strings.Contains(string(content), user) {
				return true
			}
		}
		return false
	})
}
