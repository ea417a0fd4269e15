// Package rules keeps the plan of the house: who may import whom, and what generated code looks like.
package rules

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// floors says on which floor each room stands. An import goes to a lower floor, never sideways,
// save from a room to its own sub-rooms.
var floors = map[string]int{
	"server":      7,
	"resolvers":   6,
	"graph":       5,
	"dataloaders": 4,
	"jobs":        4,
	"login":       4,
	"account":     3,
	"session":     2,
	"queue":       2,
	"audit":       2,
	"vault":       2,
	"schema":      1,
	"console":     1,

	"internal/gqlgen": 8, // a program, run by go generate
}

// lowest are the rooms of internal/ that other rooms of internal/ may import: words that all share.
var lowest = []string{"internal/fault", "internal/viewer"}

// knowsGraphQL are the rooms that may import gqlgen.
var knowsGraphQL = []string{"server", "resolvers", "graph", "internal/marshal", "internal/gqlgen"}

// pure are the rooms without SQL and Redis, with the clock passed in.
var pure = []string{
	"account/password", "account/totp", "account/recovery", "account/otc", "account/passkey", "login/oauth",
	"session/token", "session/agent", "jobs/csvprofile", "jobs/imaging", "jobs/report", "jobs/webhook", "queue/cron", "server/guard",
}

const module = "gatehouse/"

type pkg struct {
	ImportPath string
	Imports    []string
	GoFiles    []string
	Dir        string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	command := exec.Command("go", "list", "-json", "./...")
	command.Dir = root(t)
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 {
			all = append(all, p)
		}
	}
}

func root(t *testing.T) string {
	t.Helper()
	folder, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// room returns the room that a package belongs to: its first folder, or two inside internal/.
func room(path string) string {
	path = strings.TrimPrefix(path, module)
	parts := strings.Split(path, "/")
	if parts[0] == "internal" && len(parts) > 1 {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

func floor(room string) int {
	if f, known := floors[room]; known {
		return f
	}
	if slices.Contains(lowest, room) {
		return 0
	}
	if strings.HasPrefix(room, "internal/") {
		return 1
	}
	return -1
}

func TestImportsGoDownwards(t *testing.T) {
	for _, p := range packages(t) {
		from := room(p.ImportPath)
		if from == "test" {
			continue
		}
		if floor(from) < 0 {
			t.Errorf("%s stands on no floor; give it one in this table and in docs/architecture.md", p.ImportPath)
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, module) {
				continue
			}
			to := room(imported)
			switch {
			case from == to:
				if parent := strings.TrimPrefix(p.ImportPath, imported+"/"); parent != p.ImportPath && floor(from) > 1 && from != "internal" {
					t.Errorf("%s imports %s, the room around it", p.ImportPath, imported)
				}
			case from == "internal/marshal" && to == "internal/blob": // the scalar Upload is a blob
			case slices.Contains(lowest, from) && slices.Contains(lowest, to): // a viewer refuses with a fault
			case floor(to) >= floor(from):
				t.Errorf("%s (floor %d) imports %s (floor %d)", p.ImportPath, floor(from), imported, floor(to))
			}
		}
	}
}

func TestOnlyTheEdgeKnowsGraphQL(t *testing.T) {
	for _, p := range packages(t) {
		from := room(p.ImportPath)
		if slices.Contains(knowsGraphQL, from) || from == "test" {
			continue
		}
		for _, imported := range p.Imports {
			if strings.Contains(imported, "gqlgen") || strings.Contains(imported, "gqlparser") || imported == module+"graph" {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

func TestPureRoomsTouchNoDatabaseAndNoClock(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		if !slices.Contains(pure, path) {
			continue
		}
		for _, imported := range p.Imports {
			if strings.Contains(imported, "redis") || strings.Contains(imported, "database/sql") || imported == module+"internal/store" {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
		for _, file := range p.GoFiles {
			source, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if clock.Match(source) {
				t.Errorf("%s/%s reads the clock", path, file)
			}
		}
	}
}

// clock is a call of time.Now; handing the function over as a default is no call.
var clock = regexp.MustCompile(`\btime\.Now\(\)`)

func TestOnlyTheServerReadsFlagsAndEnvironment(t *testing.T) {
	reads := regexp.MustCompile(`\bos\.(Getenv|LookupEnv|Environ|Args)\b|"flag"`)
	for _, p := range packages(t) {
		if from := room(p.ImportPath); from == "server" || from == "test" || from == "internal/gqlgen" {
			continue
		}
		for _, file := range p.GoFiles {
			source, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if reads.Match(source) {
				t.Errorf("%s/%s reads flags or the environment", p.ImportPath, file)
			}
		}
	}
}

// TestLeavesAreWrittenAtOnce fails when the executor was generated without our own step, or when
// gqlgen writes leaves in a form that the step no longer knows.
func TestLeavesAreWrittenAtOnce(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(root(t), "graph", "queue.generated.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"_Job_state", "_Job_id", "_Job_createdAt", "_JobProgress_fraction"} {
		body := regexp.MustCompile(`(?s)executionContext\) ` + field + `\(.*?\n}`).Find(source)
		if body == nil || strings.Contains(string(body), "ResolveField") {
			t.Errorf("%s goes the long way:\n%s", field, body)
		}
	}
}

// TestListsAreMarshalledInSequence fails when the executor was generated without our own step.
func TestListsAreMarshalledInSequence(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root(t), "graph", "*.generated.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no generated files: %v", err)
	}
	sequential := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sequential += strings.Count(string(source), "marshal.List(")
		if strings.Contains(string(source), "MarshalSliceConcurrently") {
			t.Errorf("%s starts a goroutine for each element of a list", filepath.Base(file))
		}
	}
	if sequential == 0 {
		t.Error("no list is marshalled in sequence")
	}
}

// TestObjectsAreOurs fails when gqlgen words its objects in a form that our own step no longer knows.
func TestObjectsAreOurs(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root(t), "graph", "*.generated.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no generated files: %v", err)
	}
	theirs := regexp.MustCompile(`graphql\.(NewFieldSet|NewDeferredGroup|CollectFields|MarshalString|MarshalID|WithLazyInputUnmarshalerIndex)\b|bytes\.Buffer`)
	objects := 0
	for _, file := range files {
		if filepath.Base(file) == "models.generated.go" {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		objects += strings.Count(string(source), "marshal.NewObject(")
		if found := theirs.Find(source); found != nil {
			t.Errorf("%s has %s", filepath.Base(file), found)
		}
	}
	if objects == 0 {
		t.Error("no object is ours")
	}
}
