package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const importDocument = `mutation($in: ImportUsersInput!) { importUsers(input: $in) { job ` + jobFields + ` userErrors { code field message } } }`

type imported struct {
	ImportUsers struct {
		Job        *job
		UserErrors []userError
	}
}

// tryImport uploads a list of accounts.
func (c *client) tryImport(list string, roles ...string) answer {
	c.t.Helper()
	in := vars{"file": nil, "allowRoles": append([]string{}, roles...)}
	operations, err := json.Marshal(map[string]any{"query": importDocument, "variables": vars{"in": in}})
	if err != nil {
		c.t.Fatal(err)
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	if err := writeForm(form, operations, strings.NewReader(list)); err != nil {
		c.t.Fatal(err)
	}
	a, err := c.postForm(form.FormDataContentType(), &body)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// importUsers uploads a list of which a job must be made.
func (c *client) importUsers(list string, roles ...string) job {
	c.t.Helper()
	got := into[imported](c.t, c.tryImport(list, roles...)).ImportUsers
	if got.Job == nil {
		c.t.Fatalf("no job: %+v", got)
	}
	return *got.Job
}

type importSummary struct {
	Created, Skipped, Failed int
	Rejects                  []struct {
		Line         int
		Code, Reason string
	}
}

func (c *client) imported(id string) importSummary {
	c.t.Helper()
	return ask[struct {
		Job struct{ Result importSummary }
	}](c, `query($id: ID!) { job(id: $id) { result { ... on ImportSummary {
		created skipped failed rejects { line code reason } } } } }`, vars{"id": id}).Job.Result
}

func TestAnImportedPersonSignsInWithTheirOldPassword(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, d *deployment) {
		admin := d.admin()
		ada := d.person() // who is there already
		grace := d.visitor(len(d.servers) - 1)
		grace.email, grace.password = "grace@example.com", d.seen.password()
		hash, err := bcrypt.GenerateFromPassword([]byte(grace.password), 6)
		if err != nil {
			t.Fatal(err)
		}
		list := "Email,name,password_hash,roles,verified,created_at\n" +
			grace.email + ",Grace Hopper," + string(hash) + ",DEVELOPER,true,2019-05-06\n" +
			"=cmd|' /C calc'!A0,,,,,\n" +
			"eve@example.com,,,ADMIN,true,\n" +
			"one,two\n" +
			"alan@example.com,,,,,\n"
		j := admin.importUsers(list, "DEVELOPER")
		done := admin.at(last(d.servers)).awaitState(j.ID, "SUCCEEDED")
		if done.Progress.Done != int64(len(list)) || done.Progress.Total != int64(len(list)) {
			t.Errorf("the progress is %+v of %d bytes", done.Progress, len(list))
		}
		got := admin.imported(j.ID)
		var codes []string
		for _, r := range got.Rejects {
			codes = append(codes, fmt.Sprint(r.Line, r.Code))
		}
		if got.Created != 2 || got.Skipped != 0 || got.Failed != 3 || len(codes) != 3 {
			t.Errorf("the summary is %+v", got)
		}
		checkRejects(t, admin.fetch(done.Artifacts[0]))
		grace.login()
		me := ask[struct {
			Me struct {
				Email, Name, CreatedAt string
				EmailVerified          bool
				Roles                  []string
			}
		}](grace, `{ me { email name emailVerified roles createdAt } }`, nil).Me
		if me.Name != "Grace Hopper" || !me.EmailVerified || !slices.Contains(me.Roles, "DEVELOPER") || !strings.HasPrefix(me.CreatedAt, "2019-05-06") {
			t.Errorf("Grace is %+v", me)
		}
		if d.redis != "" {
			until(t, patience, "the hash is still the old one", func() bool {
				left, err := d.query(`SELECT id FROM users WHERE password_hash LIKE '$2%'`)
				return err == nil && len(left) == 0
			})
			grace.login()
		}
		again := admin.imported(admin.awaitState(admin.importUsers(list+ada.email+",Eve,"+string(hash)+",,true,\n", "DEVELOPER").ID, "SUCCEEDED").ID)
		if again.Created != 0 || again.Skipped != 3 || again.Failed != 3 {
			t.Errorf("the same list and Ada once more: %+v", again)
		}
		ada.login() // nothing of hers has changed
		refuseImports(t, d, admin, grace, ada)
		d.cleanImports(admin)
	})
}

// checkRejects reads rejects.csv as a spreadsheet does.
func checkRejects(t *testing.T, content []byte) {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
	if err != nil || len(rows) != 4 {
		t.Fatalf("rejects.csv is %q, %v", content, err)
	}
	var got []string
	for _, row := range rows {
		got = append(got, strings.Join([]string{row[0], row[1], row[3]}, "|"))
	}
	for _, want := range []string{"line|code|email", "3|INVALID|'=cmd|' /C calc'!A0", "4|FORBIDDEN|eve@example.com", "5|TOO_FEW_FIELDS|"} {
		if !slices.Contains(got, want) {
			t.Errorf("rejects.csv has %q, and not %q", got, want)
		}
	}
	if bytes.Contains(content, []byte("$2a$")) {
		t.Error("rejects.csv holds a hash")
	}
}

// cleanImports deletes the jobs whose files hold addresses, which are searched for afterwards.
func (d *deployment) cleanImports(admin *client) {
	for _, n := range admin.list(vars{"filter": vars{"kinds": []string{"importUsers"}}}).Nodes {
		ask[any](admin, `mutation($id: ID!) { deleteJob(input: {id: $id}) { deletedId userErrors { code } } }`, vars{"id": n.ID})
	}
	d.awaitNoFiles()
}

// refuseImports checks who may not import, what is no list, and who may not see what came of one.
func refuseImports(t *testing.T, d *deployment, admin, developer, person *client) {
	t.Helper()
	const list = "email\nx@example.com\n"
	key := second(admin.apiKey("jobs:run", "jobs:read-all"))
	for name, c := range map[string]*client{"a person": person, "a developer": developer, "an administrator's key": key} {
		refused(t, name, c.tryImport(list), "FORBIDDEN")
	}
	for name, row := range map[string]struct{ list, code string }{
		"no file":             {"", "EMPTY_FILE"},
		"no address":          {"name\nAda\n", "UNSUPPORTED_FILE"},
		"a password in clear": {"email,password\na@example.com,x\n", "UNSUPPORTED_FILE"},
		"a column twice":      {"email,EMAIL\na@example.com,x\n", "UNSUPPORTED_FILE"},
		"an archive":          {"PK\x03\x04", "UNSUPPORTED_FILE"},
		"a page of columns":   {"email" + strings.Repeat(",x", 60) + "\n", "UNSUPPORTED_FILE"},
	} {
		if a := admin.tryImport(row.list); a.userError() != row.code || !strings.Contains(string(a.body), `"file"`) {
			t.Errorf("%s: %v, want %s at file", name, a, row.code)
		}
	}
	for _, field := range []string{"result { __typename }", "artifacts { url }"} {
		a := key.say(`{ jobs(filter: {kinds: ["importUsers"]}) { nodes { `+field+` } } }`, nil)
		refused(t, field+" for a key that may not read accounts", a, "FORBIDDEN")
	}
}

// crowdList is a list of n accounts from the first on, of which every thousandth has a bad address.
func crowdList(first, n int) string {
	var b strings.Builder
	b.WriteString("email,name,password_hash,verified\n")
	hash, err := bcrypt.GenerateFromPassword([]byte("correct horse battery staple"), bcrypt.MinCost)
	if err != nil {
		panic(err) // its parameters are ours
	}
	for i := first; i < first+n; i++ {
		at := "@"
		if i%1000 == 999 {
			at = " at "
		}
		fmt.Fprintf(&b, "person%d%sexample.com,Person %d,%s,true\n", i, at, i, hash)
	}
	return b.String()
}

func TestAnImportThatIsCutOffIsFinishedByAnotherWorker(t *testing.T) {
	t.Parallel()
	d := distributed(t)
	admin := d.admin()
	const rows = 20_000
	j := admin.importUsers(crowdList(0, rows))
	until(t, patience, "nothing was imported", func() bool { return admin.job(j.ID).Progress.Done > 200_000 })
	d.holder().kill()
	done := admin.awaitState(j.ID, "SUCCEEDED")
	if got := admin.imported(j.ID); got.Created != rows-rows/1000 || got.Skipped != 0 || got.Failed != rows/1000 || done.Attempt != 2 {
		t.Errorf("in attempt %d the summary is %d made, %d skipped, %d failed", done.Attempt, got.Created, got.Skipped, got.Failed)
	}
	if n, err := d.query(`SELECT count(*)::text FROM users`); err != nil || n[0] != fmt.Sprint(rows-rows/1000+1) {
		t.Errorf("there are %v accounts, %v", n, err)
	}
	if n, err := d.query(`SELECT count(*)::text FROM audit_events WHERE action = 'account.imported'`); err != nil || n[0] != fmt.Sprint(rows-rows/1000) {
		t.Errorf("%v imported accounts are recorded, %v", n, err)
	}
	if n, err := d.query(`SELECT details FROM audit_events WHERE action = 'users.imported'`); err != nil || len(n) != 1 || !strings.Contains(n[0], fmt.Sprintf(`"created":"%d"`, rows-rows/1000)) {
		t.Errorf("recorded at the administrator: %v, %v", n, err)
	}
}

// TestAHundredThousandAccountsAreImportedInBoundedMemory measures what they take beyond the first twenty
// thousand.
func TestAHundredThousandAccountsAreImportedInBoundedMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has its own memory")
	}
	t.Parallel()
	const rows, few, most = 100_000, 20_000, 32 // MiB
	d := embedded(t)
	admin := d.admin()
	list := crowdList(few, rows)
	admin.awaitState(admin.importUsers(crowdList(0, few)).ID, "SUCCEEDED")
	before, began := peakMemory(t, d.servers[0]), time.Now()
	j := admin.importUsers(list)
	until(t, 5*time.Minute, "the import has not ended", func() bool { return admin.job(j.ID).final() })
	took, grown := time.Since(began), peakMemory(t, d.servers[0])-before
	t.Logf("%d accounts from %d MiB in %v, %.0f a second; %d MiB more than the %d before", rows, len(list)>>20, took, rows/took.Seconds(), grown, before)
	if got := admin.imported(j.ID); got.Created != rows-rows/1000 || got.Failed != rows/1000 || len(got.Rejects) != 100 {
		t.Errorf("the summary is %d made, %d skipped, %d failed, %d listed", got.Created, got.Skipped, got.Failed, len(got.Rejects))
	}
	if grown > most {
		t.Errorf("the server holds %d MiB more than before, want at most %d", grown, most)
	}
}
