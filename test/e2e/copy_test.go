package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"golang.org/x/oauth2"
)

func TestACopyOfOnesDataHasEachFactorAndDeviceAndNamesNoAdministrator(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	admin, c := d.admin(), d.person()
	id, secret := c.service("jobs:run")
	token, err := c.grants(id, secret, oauth2.AuthStyleInHeader)
	if err != nil {
		t.Fatal(err)
	}
	theirs := c.holding(token).process(vars{"text": "a\n1\n"})

	const number = "+491701234567"
	phone := call(t, c, "enrollPhone", "factorId", vars{"phoneNumber": number, "name": "Ada's phone"}).FactorID
	code, _ := d.posted("phoneConfirm", number, 0)
	call(t, c, "confirmPhone", "factor { id }", vars{"factorId": phone, "code": code})
	challenge := c.challenged(nil)
	call(t, c, "sendMfaCode", "sentTo", vars{"challengeId": challenge.ID, "method": "SMS"})
	code, _ = d.posted("mfaCode", number, 0)
	p := c.verify(challenge, "SMS", code, vars{"trustDevice": true})
	d.seen.add("trust token", *p.TrustedDeviceToken)
	call(t, admin, "impersonateUser", "outcome { accessToken }", vars{"userId": c.user, "reason": "a call for help"})

	job := ask[struct{ RequestDataExport struct{ Job job } }](c, `mutation { requestDataExport { job { id } userErrors { code } } }`, nil).RequestDataExport.Job
	done := c.awaitState(job.ID, "SUCCEEDED")
	content := c.fetch(done.Artifacts[0])
	var copied map[string]json.RawMessage
	if err := json.Unmarshal(content, &copied); err != nil {
		t.Fatalf("%v in %s", err, content)
	}
	for section, want := range map[string]string{
		"factors": number, "trustedDevices": `"expiresAt"`, "knownDevices": `"firstSeenAt"`, "jobs": theirs.ID,
		"sessions": `"by":"an administrator"`, "events": `"actor":"an administrator"`,
	} {
		if !strings.Contains(string(copied[section]), want) {
			t.Errorf("the %s are %s, without %s", section, copied[section], want)
		}
	}
	if _, there := copied["identities"]; !there {
		t.Error("the identities are left out")
	}
	if strings.Contains(string(content), admin.user) {
		t.Error("the copy names the administrator")
	}
	call(t, c, "deleteJob", "deletedId", vars{"id": job.ID}) // what is a person's own stands in the clear in its file
}
