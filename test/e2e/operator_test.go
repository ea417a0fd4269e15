package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// key is a secret key as an operator makes one.
const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

func TestMistakesOfAnOperatorAreRefusedWithASentenceThatHelps(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(secret, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		args []string
		env  []string
		want []string // all of them stand in what it says
	}{
		"a misspelt setting":          {[]string{"serve"}, []string{"GATEHOUSE_ADRR=:1"}, []string{"GATEHOUSE_ADRR", "GATEHOUSE_ADDR"}},
		"a misspelt setting in check": {[]string{"config", "check"}, []string{"GATEHOUSE_REDIS_URI=redis://x"}, []string{"GATEHOUSE_REDIS_URI", "GATEHOUSE_REDIS_URL"}},
		"an unknown flag":             {[]string{"serve", "--worker", "3"}, nil, []string{"--worker"}},
		"an unknown command":          {[]string{"sreve"}, nil, []string{"sreve"}},
		"production without secrets":  {[]string{"serve", "--env", "production"}, nil, []string{"secret-key", "public-url"}},
		"production over plain HTTP": {
			[]string{"serve", "--env", "production", "--public-url", "http://api.example.com"},
			[]string{"GATEHOUSE_SECRET_KEY=" + key},
			[]string{"https"},
		},
		"a secret that is too short":   {[]string{"serve"}, []string{"GATEHOUSE_SECRET_KEY=hunter2"}, []string{"secret-key", "32 bytes"}},
		"a secret given twice":         {[]string{"serve"}, []string{"GATEHOUSE_SECRET_KEY=" + key, "GATEHOUSE_SECRET_KEY_FILE=" + secret}, []string{"GATEHOUSE_SECRET_KEY_FILE"}},
		"a secret's file that is gone": {[]string{"serve"}, []string{"GATEHOUSE_SECRET_KEY_FILE=/nowhere"}, []string{"GATEHOUSE_SECRET_KEY_FILE", "/nowhere"}},
		"no workers and no Redis":      {[]string{"serve", "--workers", "0"}, nil, []string{"workers 0", "redis-url"}},
		"fewer than no workers":        {[]string{"serve", "--workers", "-5"}, nil, []string{"workers"}},
		"a worker without Redis":       {[]string{"worker"}, nil, []string{"redis-url"}},
		"a queue's Redis alone":        {[]string{"serve", "--work-redis-url", "redis://127.0.0.1:1"}, nil, []string{"work-redis-url", "redis-url"}},
		"a list that is not there":     {[]string{"serve", "--persisted-only"}, nil, []string{"persisted-queries"}},
		"an address that is none":      {[]string{"serve", "--addr", "8080"}, nil, []string{"addr", "8080"}},
		"origins with a wildcard":      {[]string{"serve", "--allowed-origins", "https://*.example.com"}, nil, []string{"allowed-origins"}},
		"a proxy that is no network":   {[]string{"serve", "--trusted-proxies", "proxy"}, nil, []string{"trusted-proxies", "proxy"}},
		"profiles open to the network": {[]string{"serve", "--debug-addr", "0.0.0.0:6060"}, nil, []string{"debug-addr"}},
		"a database of another kind":   {[]string{"serve", "--database-url", "mysql://x"}, nil, []string{"postgres://", "sqlite:"}},
		"a database that does not answer": {
			[]string{"serve", "--database-url", "postgres://ada:hunter2@127.0.0.1:1/x"}, nil, []string{"database"},
		},
		"an address without an account": {[]string{"admin", "create"}, nil, []string{"--email"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCommand(t, row.args...)
			c.env = append(row.env, "GATEHOUSE_DATA="+filepath.Join(t.TempDir(), "data"))
			began := time.Now()
			out, code := c.run()
			if code == 0 {
				t.Fatalf("it ended well and said %q", out)
			}
			for _, word := range row.want {
				if !strings.Contains(out, word) {
					t.Errorf("it said %q, which does not name %q", out, word)
				}
			}
			for _, hidden := range []string{"hunter2", key, "panic", "goroutine"} {
				if strings.Contains(out, hidden) {
					t.Errorf("it said %q, which shows %q", out, hidden)
				}
			}
			if took := time.Since(began); took > 12*time.Second {
				t.Errorf("the refusal took %v", took)
			}
		})
	}
}

func TestConfigCheckShowsWhatIsInForceAndMasksSecrets(t *testing.T) {
	t.Parallel()
	c := newCommand(t, "config", "check", "--addr", "127.0.0.1:1111")
	c.dir = t.TempDir()
	dotenv := "GATEHOUSE_ADDR=127.0.0.1:2222\nGATEHOUSE_NAMESPACE=fromfile\nGATEHOUSE_LOG_LEVEL=debug\n"
	if err := os.WriteFile(filepath.Join(c.dir, ".env"), []byte(dotenv), 0o600); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(c.dir, "token")
	if err := os.WriteFile(token, []byte("tokenhunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.env = []string{
		"GATEHOUSE_NAMESPACE=fromenvironment", "GATEHOUSE_SECRET_KEY=" + key, "GATEHOUSE_METRICS_TOKEN_FILE=" + token,
		"GATEHOUSE_DATABASE_URL=postgres://ada:hunter2@db.example.com/app?sslmode=disable&password=hunter2",
		"GATEHOUSE_REDIS_URL=redis://user:hunter2@one.example.com:6379/0,redis://user:hunter2@two.example.com:6379/0",
	}
	out := c.must()
	for _, want := range []string{"127.0.0.1:1111", "fromenvironment", "debug", "db.example.com", "one.example.com", "two.example.com"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not show %q:\n%s", want, out)
		}
	}
	for _, hidden := range []string{"hunter2", key, "2222", "fromfile"} {
		if strings.Contains(out, hidden) {
			t.Errorf("it shows %q:\n%s", hidden, out)
		}
	}
}

func TestASecretFromAFileGuardsTheMetrics(t *testing.T) {
	t.Parallel()
	d := newDeployment(t, nil)
	d.database = "sqlite:" + filepath.Join(d.data, "gatehouse.db")
	d.watchSecrets()
	token := d.seen.password()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := d.command("serve", "--addr", freeAddr(t))
	c.env = append(c.env[:3:3], "GATEHOUSE_METRICS_TOKEN_FILE="+file)
	d.servers = append(d.servers, start(t, c))
	for header, want := range map[string]int{"": http.StatusUnauthorized, "Bearer x": http.StatusUnauthorized, "Bearer " + token: http.StatusOK} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.servers[0].url+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", header)
		response, err := metricsClient().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("with %q: status %d, want %d", header, response.StatusCode, want)
		}
	}
}

func TestAPortInUseAndAFolderInUseAreRefused(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	addr := strings.TrimPrefix(d.servers[0].url, "http://")
	port := newCommand(t, "serve", "--addr", addr, "--data", filepath.Join(t.TempDir(), "data"))
	if out, code := port.run(); code != 1 || !strings.Contains(out, addr) || !strings.Contains(out, "in use") {
		t.Errorf("a port in use: ended with %d and said %q", code, out)
	}
	folder := d.command("serve", "--addr", freeAddr(t))
	if out, code := folder.run(); code != 1 || !strings.Contains(out, "another Gatehouse runs on") || strings.Contains(out, "panic") {
		t.Errorf("a folder in use: ended with %d and said %q", code, out)
	}
	c := d.person()
	if !c.signedIn() {
		t.Error("the running server has suffered")
	}
	d.servers[0].kill()
	d.servers = append(d.servers, d.launch("serve", nil)) // a dead owner holds no lock
	if !c.at(d.servers[1]).signedIn() {
		t.Error("the session did not outlive the process")
	}
}

func TestTheColdStartAndTheIdleMemoryAreMeasured(t *testing.T) {
	d := newDeployment(t, nil)
	d.database = "sqlite:" + filepath.Join(d.data, "gatehouse.db")
	d.watchSecrets()
	d.publicURL = "http://localhost:8080"
	for _, what := range []string{"first start, with an empty folder", "second start"} {
		p := start(t, d.command("serve", "--addr", freeAddr(t)))
		took := time.Since(p.began)
		d.servers = append(d.servers, p)
		t.Logf("%s: ready after %v; %.1f MiB resident", what, took, p.metric(t, "process_resident_memory_bytes")/(1<<20))
		if took > 5*time.Second {
			t.Errorf("%s took %v", what, took)
		}
		if code := p.stop(); code != 0 {
			t.Errorf("%s ended with %d", what, code)
		}
		if _, err := os.Stat(filepath.Join(d.data, "gatehouse.db-wal")); err == nil {
			t.Errorf("%s left a write-ahead log behind", what)
		}
	}
}
