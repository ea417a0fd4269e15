package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"gatehouse/schema"
)

// cost returns how many statements a query costs, and its data.
func (c *crowd) cost(query string) (statements int64, data any) {
	c.t.Helper()
	before := c.statements.Load()
	c.ask(c.admin, query, &data)
	return c.statements.Load() - before, data
}

func eachCrowd(t *testing.T, test func(t *testing.T, c *crowd)) {
	t.Helper()
	for name, address := range databases() {
		t.Run(name, func(t *testing.T) { test(t, newCrowd(t, address(t), 20)) })
	}
}

func TestAFieldOfTwentyAccountsCostsOneStatement(t *testing.T) {
	eachCrowd(t, func(t *testing.T, c *crowd) {
		bare, _ := c.cost(`{users(first:20){nodes{id}}}`)
		for _, row := range []struct {
			fields string
			cost   int64 // beside the list
		}{
			{"sessions{nodes{id current}}", 1},
			{"factors{id name}", 1},
			{"recoveryCodesLeft", 1},
			{"trustedDevices{id}", 1},
			{"apiKeys{nodes{id scopes}}", 1},
			{"serviceAccounts{nodes{id}}", 1},
			{"identities{id providerName}", 1},
			{"jobs(first:1){nodes{id}}", 1},
			{"jobs(first:1){totalCount}", 2},
			{"securityEvents(first:1){nodes{id}}", 1},
			{"securityEvents(first:1){totalCount}", 2},
			{"securityEvents(first:2){nodes{session{id}}}", 2},
			{"jobs(first:2){nodes{artifacts{id} attempts{number log}}}", 4}, // attempts have their log in a table of its own
			{"jobs(first:2){edges{node{owner{sessions{nodes{id}}}}}}", 2},
			{"sessions{nodes{id}} factors{id} apiKeys{nodes{id}} identities{id} jobs(first:2){nodes{state}}", 5},
			{"a:jobs(first:1){nodes{id}} b:jobs(first:2){nodes{id}}", 2},
		} {
			for _, form := range []string{`{users(first:20){nodes{%s}}}`, `{users(first:20){edges{node{%s}}}}`} {
				if n, _ := c.cost(fmt.Sprintf(form, row.fields)); n != bare+row.cost {
					t.Errorf(form+" costs %d statements, want %d for the list and %d", row.fields, n, bare, row.cost)
				}
			}
		}
	})
}

// TestAListOfAnyLengthCostsTheSame walks the schema from each list through all fields of its elements, so
// that a new field that loads one by one fails.
func TestAListOfAnyLengthCostsTheSame(t *testing.T) {
	types, err := gqlparser.LoadSchema(&ast.Source{Input: schema.SDL()})
	if err != nil {
		t.Fatal(err)
	}
	eachCrowd(t, func(t *testing.T, c *crowd) {
		for _, list := range c.lists() {
			walk := walker{types: types}
			walk.from(types.Types[list.element], nil, nil)
			for _, path := range walk.paths {
				few, _ := c.cost(fmt.Sprintf(list.form, list.few, path.text()))
				query := fmt.Sprintf(list.form, list.many, path.text())
				many, data := c.cost(query)
				if many > few {
					t.Errorf("%s costs %d statements, with fewer elements %d", query, many, few)
				}
				if !path.present(data) {
					t.Errorf("%s finds nothing: give the crowd some, or the walk an exception", query)
				}
			}
		}
	})
}

// list is a list of the schema in a few and in many elements.
type list struct{ element, form, few, many string }

func (c *crowd) lists() []list {
	users := make([]string, len(c.users))
	for i, id := range c.users {
		users[i] = string(id)
	}
	jobs := make([]string, len(c.jobs))
	for i, id := range c.jobs {
		jobs[i] = string(id)
	}
	plans := make([]string, len(c.plans))
	for i, id := range c.plans {
		plans[i] = string(id)
	}
	var answer struct {
		Users struct {
			Nodes []struct {
				SecurityEvents struct{ Nodes []struct{ ID string } }
			}
		}
	}
	c.ask(c.admin, `{users(first:20){nodes{securityEvents(first:2){nodes{id}}}}}`, &answer)
	var events []string
	for _, u := range answer.Users.Nodes {
		for _, e := range u.SecurityEvents.Nodes {
			events = append(events, e.ID)
		}
	}
	ids := func(list []string) string {
		text, err := json.Marshal(list)
		c.must(err)
		return string(text)
	}
	return []list{
		{"User", `{users(first:%s){nodes{%s}}}`, "3", "20"},
		{"User", `{users(first:%s){edges{node{%s}}}}`, "3", "20"},
		{"Job", `{jobs(first:%s){nodes{%s}}}`, "3", "20"},
		{"Job", `{jobs(first:%s){edges{node{%s}}}}`, "3", "20"},
		{"Schedule", `{schedules(first:%s){nodes{%s}}}`, "3", "20"},
		{"Schedule", `{schedules(first:%s){edges{node{%s}}}}`, "3", "20"},
		{"AuditEvent", `{auditEvents(filter:{action:"login."},first:%s){nodes{%s}}}`, "3", "20"},
		{"User", `{nodes(ids:%s){...on User{%s}}}`, ids(users[:3]), ids(users)},
		{"Job", `{nodes(ids:%s){...on Job{%s}}}`, ids(jobs[:3]), ids(jobs)},
		{"Schedule", `{nodes(ids:%s){...on Schedule{%s}}}`, ids(plans[:3]), ids(plans)},
		{"SecurityEvent", `{nodes(ids:%s){...on SecurityEvent{%s}}}`, ids(events[:3]), ids(events)},
	}
}

// fieldsOf returns each field of a type with something to select.
func fieldsOf(t *testing.T, name string) (fields []string) {
	t.Helper()
	types, err := gqlparser.LoadSchema(&ast.Source{Input: schema.SDL()})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range types.Types[name].Fields {
		if strings.HasPrefix(f.Name, "__") {
			continue
		}
		text := f.Name
		if !types.Types[f.Type.Name()].IsLeafType() {
			text += "{__typename}"
		}
		fields = append(fields, text)
	}
	return fields
}

// path leads from the element of a list through fields that are objects to one whose leaves are asked for.
type path struct {
	through []*ast.FieldDefinition
	leaves  []string
}

// walker collects the paths of a schema.
type walker struct {
	types *ast.Schema
	paths []path
}

// deepest is how many types a path goes through.
const deepest = 4

// from adds the paths that go through fields to d and on from there, no type twice.
func (w *walker) from(d *ast.Definition, through []*ast.FieldDefinition, seen []string) {
	seen = append(slices.Clone(seen), d.Name)
	here := path{through: through}
	for _, f := range d.Fields {
		inner := w.types.Types[f.Type.Name()]
		switch {
		case strings.HasPrefix(f.Name, "__"), f.Name == "edges", f.Name == "pageInfo": // edges hold the same as nodes
		case inner.IsLeafType():
			here.leaves = append(here.leaves, f.Name)
		case inner.Kind == ast.Union:
			here.leaves = append(here.leaves, f.Name+"{__typename}")
		case !slices.Contains(seen, inner.Name) && len(seen) < deepest:
			w.from(inner, append(slices.Clone(through), f), seen)
		}
	}
	if len(here.leaves) > 0 {
		w.paths = append(w.paths, here)
	}
}

// text writes the path as a selection.
func (p path) text() string {
	text := strings.Join(p.leaves, " ")
	for _, f := range slices.Backward(p.through) {
		arguments := ""
		if f.Arguments.ForName("first") != nil {
			arguments = "(first:2)"
		}
		text = f.Name + arguments + "{" + text + "}"
	}
	return text
}

// present reports whether data holds one of the object that the path leads to. No job of the crowd has failed.
func (p path) present(data any) bool {
	if len(p.through) == 0 {
		return true
	}
	last := p.through[len(p.through)-1].Name
	return last == "error" || holds(data, last)
}

// holds reports whether something of that name in data is neither null nor empty.
func holds(data any, name string) bool {
	switch d := data.(type) {
	case map[string]any:
		for key, value := range d {
			list, isList := value.([]any)
			if key == name && value != nil && (!isList || len(list) > 0) || holds(value, name) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(d, func(one any) bool { return holds(one, name) })
	}
	return false
}
