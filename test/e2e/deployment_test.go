package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse/test/services"
)

// deployment is the processes that serve one database.
type deployment struct {
	t         testing.TB
	data      string // the folder of files, shared by all processes
	database  string // its URL
	redis     string // its URL, "" when embedded
	namespace string // of the keys in Redis
	publicURL string
	servers   []*process
	workers   []*process
	seen      *sightings
	extra     []string // flags of every process
	secrets   []string // NAME=value in the environment of every process
}

var deployments atomic.Int64

// embedded starts one server on SQLite, with workers inside.
func embedded(t testing.TB, flags ...string) *deployment {
	t.Helper()
	d := newDeployment(t, flags)
	d.database = "sqlite:" + filepath.Join(d.data, "gatehouse.db")
	d.watchSecrets()
	d.addServer("--workers", "4")
	return d
}

// distributed starts two servers and two workers on PostgreSQL and Redis.
func distributed(t testing.TB, flags ...string) *deployment {
	t.Helper()
	return distributedOn(t, services.Postgres(t), services.Redis(t), flags...)
}

// distributedOn is distributed on a database and a Redis that the test has chosen.
func distributedOn(t testing.TB, database, redis string, flags ...string) *deployment {
	t.Helper()
	d := newDeployment(t, flags)
	d.database, d.redis = database, redis
	d.watchSecrets()
	d.addServer("--workers", "0")
	d.addServer("--workers", "0")
	d.addWorker()
	d.addWorker()
	return d
}

// newDeployment returns a deployment that no process serves yet. Jobs may fetch from this machine,
// where the tests' sources stand, and the logs tell all they ever do, since they are searched.
func newDeployment(t testing.TB, flags []string) *deployment {
	d := &deployment{
		t: t, data: filepath.Join(t.TempDir(), "data"), seen: newSightings(),
		namespace: fmt.Sprintf("e2e%d", deployments.Add(1)),
		extra:     append([]string{"--allow-private-fetch", "--log-level", "debug"}, flags...),
	}
	return d
}

// eachForm runs test on both forms, whose processes get more flags.
func eachForm(t *testing.T, test func(t *testing.T, d *deployment), flags ...string) {
	t.Helper()
	for _, form := range []struct {
		name  string
		start func(testing.TB, ...string) *deployment
	}{
		{"embedded", embedded},
		{"distributed", distributed},
	} {
		t.Run(form.name, func(t *testing.T) {
			t.Parallel()
			test(t, form.start(t, flags...))
		})
	}
}

// command returns a call of the binary with the settings of the deployment. Secrets travel in the
// environment, as an operator would have it.
func (d *deployment) command(args ...string) *command {
	c := newCommand(d.t, args...)
	c.env = []string{
		"GATEHOUSE_DATA=" + d.data, "GATEHOUSE_DATABASE_URL=" + d.database, "GATEHOUSE_NAMESPACE=" + d.namespace,
		"GATEHOUSE_PUBLIC_URL=" + d.publicURL,
	}
	if d.redis != "" {
		c.env = append(c.env, "GATEHOUSE_REDIS_URL="+d.redis)
	}
	c.env = append(c.env, d.secrets...)
	return c
}

// addServer starts one more server. All servers of a deployment have one public URL, that of the first.
func (d *deployment) addServer(flags ...string) *process {
	d.t.Helper()
	p := d.launch("serve", flags)
	d.servers = append(d.servers, p)
	return p
}

// addWorker starts one more worker with room for four jobs.
func (d *deployment) addWorker(flags ...string) *process {
	d.t.Helper()
	p := d.launch("worker", append([]string{"--workers", "4"}, flags...))
	d.workers = append(d.workers, p)
	return p
}

func (d *deployment) launch(subcommand string, flags []string) *process {
	d.t.Helper()
	addr := freeAddr(d.t)
	if d.publicURL == "" {
		d.publicURL = "http://" + addr
	}
	return start(d.t, d.command(append(append([]string{subcommand, "--addr", addr}, d.extra...), flags...)...))
}

// visitor returns a client of the server with this number that has not signed in.
func (d *deployment) visitor(server int) *client {
	return newClient(d.t, d.servers[server%len(d.servers)].url, d.seen)
}

// person returns a fresh account, signed in at the first server.
func (d *deployment) person() *client {
	d.t.Helper()
	c := d.visitor(0)
	c.register()
	return c
}

// admin makes an administrator by the command line and signs them in.
func (d *deployment) admin() *client {
	d.t.Helper()
	c := d.visitor(0)
	c.email, c.password = d.seen.email(), d.seen.password()
	create := d.command("admin", "create", "--email", c.email)
	create.stdin = c.password + "\n"
	if out := create.must(); !strings.Contains(out, "is an administrator") {
		d.t.Fatalf("admin create said %q", out)
	}
	c.login()
	return c
}

// files lists what stands under the data folder's store of files, folders aside.
func (d *deployment) files() []string {
	d.t.Helper()
	var found []string
	err := filepath.WalkDir(filepath.Join(d.data, "files"), func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			found = append(found, path)
		}
		return nil // a file may go while we look
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return found
}

// awaitNoFiles waits until nothing is left in the store of files: a job says how it ended a moment
// before it has tidied up.
func (d *deployment) awaitNoFiles() {
	d.t.Helper()
	until(d.t, patience, "files are left behind", func() bool { return len(d.files()) == 0 })
}
