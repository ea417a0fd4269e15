package e2e

import (
	"bytes"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/secret"
	"gatehouse/test/services"
)

// machines is a deployment whose processes have nothing in common but PostgreSQL, Redis and a bucket.
type machines struct {
	*deployment
	bucket services.Bucket
}

// onMachines starts two servers and a worker, each with a data folder of its own.
func onMachines(t *testing.T, b services.Bucket) *machines {
	t.Helper()
	d := newDeployment(t, []string{"--files-url", b.URL + "&region=us-east-1"})
	d.database, d.redis = services.Postgres(t), services.Redis(t)
	d.secrets = []string{
		"GATEHOUSE_SECRET_KEY=" + d.seen.add("secret key", secret.NewKey().Text()),
		"AWS_ACCESS_KEY_ID=" + services.S3AccessKey, "AWS_SECRET_ACCESS_KEY=" + d.seen.add("key of the bucket", services.S3SecretKey),
	}
	d.watchSecrets()
	m := &machines{d, b}
	d.addServer("--workers", "0", "--data", t.TempDir())
	d.addServer("--workers", "0", "--data", t.TempDir())
	d.addWorker("--data", t.TempDir())
	return m
}

// objects lists what lies in the bucket.
func (m *machines) objects() []string {
	m.t.Helper()
	var found []string
	err := filepath.WalkDir(m.bucket.Folder, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			found = append(found, path)
		}
		return nil // a file may go while we look
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return found
}

func (m *machines) awaitNoObjects() {
	m.t.Helper()
	until(m.t, patience, "objects are left behind", func() bool { return len(m.objects()) == 0 })
}

func TestServersAndWorkersOfSeveralMachinesShareTheFilesOfABucket(t *testing.T) {
	t.Parallel()
	m := onMachines(t, services.S3(t))
	c := m.person()
	large := people(400_000, 100_000) // more than one part of an upload
	j := c.awaitState(c.upload(bytes.NewReader(large), vars{}).ID, "SUCCEEDED")
	if len(m.objects()) != 3 { // the upload, the clean copy and the rejects
		t.Errorf("in the bucket there are %v", m.objects())
	}
	for _, server := range m.servers {
		checkResult(t, c.at(server), j, len(large), 399_996, 4)
		url := strings.Replace(j.Artifacts[0].URL, m.publicURL, server.url, 1)
		whole := fetchRange(t, url, "", http.StatusOK)
		if part := fetchRange(t, url, "bytes=17000000-17000999", http.StatusPartialContent); !bytes.Equal(part, whole[17_000_000:17_001_000]) {
			t.Errorf("a range of %s has %d bytes, and others", url, len(part))
		}
	}
	ask[any](c, `mutation($id: ID!) { deleteJob(input: {id: $id}) { deletedId userErrors { code } } }`, vars{"id": j.ID})
	m.awaitNoObjects()
	if status, _ := c.get(j.Artifacts[0].URL); status != http.StatusNotFound {
		t.Errorf("an artifact of a deleted job: status %d, want 404", status)
	}
	if a, err := c.tryUpload(bytes.NewReader(large), vars{"delimiter": "too long"}); err == nil && a.code() == "" && a.userError() == "" {
		t.Errorf("a refused upload: %v", a)
	}
	m.awaitNoObjects()
}

// fetchRange reads an artifact, all of it without a range.
func fetchRange(t *testing.T, url, wanted string, status int) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if wanted != "" {
		request.Header.Set("Range", wanted)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != status {
		t.Fatalf("%s of %s: %s, error %v", wanted, url, answer.Status, err)
	}
	return content
}

func TestABucketThatGoesAwayIsATypedAnswerAndJobsGoOnAfterwards(t *testing.T) {
	t.Parallel()
	s3 := services.StartS3(t)
	m := onMachines(t, s3.Bucket(t))
	c := m.person()
	done := c.awaitState(c.process(vars{"text": "name,age\nAda,36\n"}).ID, "SUCCEEDED")
	slow := slowRows(t)
	inHand := c.process(vars{"url": slow.url})
	slow.awaitOpened(t, patience)

	s3.Kill()
	slow.open()
	until(t, patience, "the attempt has not failed", func() bool { return c.job(inHand.ID).State == "RETRYING" })
	a, err := c.tryUpload(bytes.NewReader(people(1000, 0)), vars{})
	if err != nil {
		t.Errorf("an upload without a bucket was not answered: %v", err)
	} else {
		refused(t, "an upload without a bucket", a, "UNAVAILABLE")
	}
	if status, body := c.get(done.Artifacts[0].URL); status != http.StatusServiceUnavailable {
		t.Errorf("an artifact without a bucket: status %d, %s", status, body)
	}
	for _, p := range append(m.servers, m.workers...) {
		if status, body := c.get(p.url + "/readyz"); status != http.StatusOK || !strings.Contains(string(body), "degraded") {
			t.Errorf("readyz says %d %s", status, body)
		}
	}
	if !c.signedIn() {
		t.Error("me does not work without a bucket")
	}

	s3.Restart(t)
	c.awaitState(inHand.ID, "SUCCEEDED")
	c.fetch(done.Artifacts[0])
	c.awaitState(c.upload(bytes.NewReader(people(1000, 0)), vars{}).ID, "SUCCEEDED")
	if status, body := c.get(m.servers[0].url + "/readyz"); status != http.StatusOK || strings.Contains(string(body), "degraded") {
		t.Errorf("readyz says %d %s", status, body)
	}
}

func TestAWrongKeyOrBucketIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	b := services.S3(t)
	for says, c := range map[string]*command{
		"signature":             newCommand(t, "serve", "--addr", "127.0.0.1:0", "--files-url", b.URL, "--s3-access-key", services.S3AccessKey, "--s3-secret-key", "wrong-secret"),
		"bucket does not exist": newCommand(t, "serve", "--addr", "127.0.0.1:0", "--files-url", strings.Replace(b.URL, "://", "://no-", 1)),
	} {
		c.env = []string{"GATEHOUSE_S3_ACCESS_KEY=" + services.S3AccessKey, "GATEHOUSE_S3_SECRET_KEY=" + services.S3SecretKey}
		out, code := c.run()
		if code != 1 || !strings.Contains(out, says) || strings.Contains(out, "secret") {
			t.Errorf("ended with %d and said %q, want it to say %q and no key", code, out, says)
		}
	}
}
