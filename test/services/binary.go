package services

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// BuildServer compiles the server with more flags of go build.
func BuildServer(to string, flags ...string) error {
	args := append([]string{"build", "-o", to}, flags...)
	command := exec.Command("go", append(args, "gatehouse/server")...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return nil
}

// ReadSources looks at every folder of the module, once, from a package two folders deep. Tests of the binary
// do not import the program, so go test would give a remembered result after a change of it; but what a
// test has looked at, it watches.
var ReadSources = sync.OnceValue(func() error {
	return filepath.WalkDir("../..", func(_ string, e fs.DirEntry, err error) error {
		if e != nil && e.IsDir() && len(e.Name()) > 2 && (e.Name()[0] == '.' || e.Name() == "node_modules") {
			return filepath.SkipDir
		}
		return err
	})
})

// CleanEnvironment is ours without settings of Gatehouse.
func CleanEnvironment() []string {
	var kept []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "GATEHOUSE_") {
			kept = append(kept, entry)
		}
	}
	return kept
}
