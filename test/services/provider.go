package services

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// OIDCProvider is a running OpenID provider.
type OIDCProvider struct {
	Issuer string
	Said   *bufio.Reader // what it prints after its issuer; io.EOF once it has ended
}

// StartOIDCProvider starts the OpenID provider of test/peers/oidc-provider, which lies in folder, with more
// in its environment: index.js says what it reads there. It ends with t. It has answered once when
// StartOIDCProvider returns, however long that took: on a busy machine its first answer is slow, and
// whoever asks for it next bounds their wait.
func StartOIDCProvider(t Host, folder string, environment ...string) *OIDCProvider {
	t.Helper()
	node := need(t, "node")
	installPackages(t, folder)
	said, writer, err := os.Pipe()
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { _ = said.Close() })
	command := exec.Command(node, "index.js")
	command.Dir, command.Stdout, command.Stderr = folder, writer, os.Stderr
	command.Env = append(append(os.Environ(), environment...), "PORT=0")
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	running, err := Spawn(command)
	_ = writer.Close() // the program has its own
	if err != nil {
		t.Fatalf("start the provider: %v", err)
	}
	t.Cleanup(func() { running.Stop(syscall.SIGKILL) })
	p := &OIDCProvider{Said: bufio.NewReader(said)}
	line, err := p.Said.ReadString('\n')
	if err != nil {
		t.Fatalf("the provider did not start: %v", err)
	}
	p.Issuer = strings.TrimSpace(line)
	p.warm(t)
	return p
}

// warm waits for the provider's first answers.
func (p *OIDCProvider) warm(t Host) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/.well-known/openid-configuration", "/jwks"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.Issuer+path, nil)
		if err != nil {
			t.Fatalf("%v", err)
		}
		answer, err := client.Do(request)
		if err != nil {
			t.Fatalf("the provider does not answer: %v", err)
		}
		_, err = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("the provider answers %s for %s: %v", answer.Status, path, err)
		}
	}
}

// installPackages brings in what npm installs in folder, unless it is there. The tests of several
// packages come here at once: one of them installs, the others wait.
func installPackages(t Host, folder string) {
	t.Helper()
	lock, err := os.Open(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer lock.Close() // and so unlocks
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatalf("lock %s: %v", folder, err)
	}
	if _, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json")); err == nil { // npm writes it last
		return
	}
	npm := exec.CommandContext(t.Context(), need(t, "npm"), "ci", "--no-audit", "--no-fund")
	npm.Dir = folder
	if out, err := npm.CombinedOutput(); err != nil {
		unavailable(t, "what npm ci installs in %s (%v) is not on this machine:\n%s", folder, err, out)
	}
}
