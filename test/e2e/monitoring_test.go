package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// monitoring is where the examples for Prometheus and Grafana lie.
const monitoring = "../../examples/monitoring"

// figure is a figure that an expression asks for: its name and the labels that it chooses by.
type figure struct {
	name   string
	labels []string
}

var (
	figurePattern = regexp.MustCompile(`\b((?:gatehouse|process|go)_[a-z_]+)(?:\{([^}]*)\})?`)
	labelPattern  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	groupPattern  = regexp.MustCompile(`by \(([^)]*)\)`)
)

// figuresOf returns what expression asks for. The labels that it groups by are those of all its figures.
func figuresOf(expression string) []figure {
	var groups []string
	for _, m := range groupPattern.FindAllStringSubmatch(expression, -1) {
		for label := range strings.SplitSeq(m[1], ",") {
			groups = append(groups, strings.TrimSpace(label))
		}
	}
	var all []figure
	for _, m := range figurePattern.FindAllStringSubmatch(expression, -1) {
		f := figure{name: m[1], labels: slices.Clone(groups)}
		for _, label := range labelPattern.FindAllStringSubmatch(m[2], -1) {
			f.labels = append(f.labels, label[1])
		}
		all = append(all, f)
	}
	return all
}

// labelled reads which figures a process shows, each with its labels.
func (p *process) labelled(t *testing.T) map[string][]string {
	t.Helper()
	response, err := metricsClient().Get(p.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	shown := map[string][]string{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		name, rest, labelled := strings.Cut(lines.Text(), "{")
		if !labelled {
			name, _, _ = strings.Cut(lines.Text(), " ")
		}
		if strings.HasPrefix(name, "#") {
			continue
		}
		shown[name] = append(shown[name], "job", "instance") // Prometheus gives them
		for _, m := range labelPattern.FindAllStringSubmatch(rest, -1) {
			shown[name] = append(shown[name], m[1])
		}
	}
	return shown
}

func expressionsOfDashboard(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title, Type string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range dashboard.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	return all
}

// expressionsOfAlerts returns what stands between "expr:" and "for:" of each rule.
func expressionsOfAlerts(t *testing.T) []string {
	t.Helper()
	file, err := os.Open(filepath.Join(monitoring, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?s)expr:.*?for:`).FindAllString(string(text), -1)
}

func TestTheDashboardAndTheAlertsAskForFiguresThatThereAre(t *testing.T) {
	t.Parallel()
	d := embedded(t)
	c := d.person()
	c.awaitState(c.process(vars{"text": "a,b\n1,2\n"}).ID, "SUCCEEDED")
	c.awaitState(c.process(vars{"text": "\x00", "options": vars{"maxAttempts": 1}}).ID, "FAILED")
	c.process(vars{"text": "a\n1\n", "options": vars{"runAt": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}})
	refused(t, "a job of nobody", c.say(`{ job(id: "job_none") { id } }`, nil), "NOT_FOUND")
	shown := d.servers[0].labelled(t)
	shown["gatehouse_queue_oldest_seconds"] = []string{"queue", "job", "instance"} // while a job waits for a worker
	expressions := append(expressionsOfDashboard(t), expressionsOfAlerts(t)...)
	asked := 0
	for _, expression := range expressions {
		for _, f := range figuresOf(expression) {
			asked++
			if shown[f.name] == nil {
				t.Errorf("%s\nasks for %s, which there is not", expression, f.name)
				continue
			}
			for _, label := range f.labels {
				if !slices.Contains(shown[f.name], label) {
					t.Errorf("%s\nasks %s for the label %s; it has %v", expression, f.name, label, slices.Compact(shown[f.name]))
				}
			}
		}
	}
	if asked < 40 {
		t.Errorf("only %d figures were found in %d expressions", asked, len(expressions))
	}
}
