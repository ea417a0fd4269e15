package services

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// StartOIDCProvider starts the OpenID provider of test/peers/oidc-provider, which lies in folder with its
// packages installed, and returns its issuer. It sends people back to redirects only, and ends with t.
func StartOIDCProvider(t testing.TB, folder string, redirects ...string) (issuer string) {
	t.Helper()
	said, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	command := exec.Command(need(t, "node"), "index.js")
	command.Dir, command.Stdout, command.Stderr = folder, writer, os.Stderr
	command.Env = append(os.Environ(), "PORT=0", "REDIRECT_URI="+strings.Join(redirects, ","))
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	running, err := spawn(command)
	_ = writer.Close() // the program has its own
	if err != nil {
		t.Fatalf("start the provider: %v", err)
	}
	t.Cleanup(func() { running.stop(syscall.SIGKILL) })
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatalf("the provider did not start: %v", err)
	}
	return strings.TrimSpace(line)
}
