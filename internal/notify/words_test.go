package notify

import (
	"slices"
	"strings"
	"testing"
	"text/template/parse"

	"github.com/google/go-cmp/cmp"
)

// shared are the blocks that belong to no kind.
var shared = []string{
	"greeting", "copy", "code", "when", "device", "network", "reason", "footer", "minutes", "hours", "days", "months", "moment",
}

// wantedBlocks returns the blocks that every language must have, and none beside them.
func wantedBlocks() []string {
	wanted := slices.Clone(shared)
	for kind, shape := range shapes {
		for _, medium := range shape.media {
			if medium == BySMS {
				wanted = append(wanted, string(kind)+".sms")
				continue
			}
			wanted = append(wanted, string(kind)+".subject", string(kind)+".body", string(kind)+".note")
			if shape.takes(hasLink) {
				wanted = append(wanted, string(kind)+".button")
			}
		}
	}
	slices.Sort(wanted)
	return wanted
}

// placeholders returns the fields that a block names, sorted, each once.
func placeholders(node parse.Node) []string {
	var found []string
	var walk func(parse.Node)
	branch := func(b parse.BranchNode) {
		walk(b.Pipe)
		walk(b.List)
		if b.ElseList != nil {
			walk(b.ElseList)
		}
	}
	walk = func(node parse.Node) {
		switch node := node.(type) {
		case *parse.ListNode:
			for _, child := range node.Nodes {
				walk(child)
			}
		case *parse.ActionNode:
			walk(node.Pipe)
		case *parse.PipeNode:
			for _, command := range node.Cmds {
				walk(command)
			}
		case *parse.CommandNode:
			for _, arg := range node.Args {
				walk(arg)
			}
		case *parse.FieldNode:
			found = append(found, strings.Join(node.Ident, "."))
		case *parse.IfNode:
			branch(node.BranchNode)
		case *parse.WithNode:
			branch(node.BranchNode)
		}
	}
	walk(node)
	slices.Sort(found)
	return slices.Compact(found)
}

func TestEveryLanguageHasEveryBlockAndNoOther(t *testing.T) {
	for tag, l := range newPost(t, Options{}).words {
		var got []string
		for _, block := range l.blocks.Templates() {
			if block.Name() != tag+".txt" {
				got = append(got, block.Name())
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(wantedBlocks(), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tag, diff)
		}
	}
}

func TestEveryLanguageNamesTheSamePlaceholdersInABlock(t *testing.T) {
	words := newPost(t, Options{}).words
	for _, block := range wantedBlocks() {
		want := placeholders(words["en"].blocks.Lookup(block).Root)
		for tag, l := range words {
			if diff := cmp.Diff(want, placeholders(l.blocks.Lookup(block).Root)); diff != "" {
				t.Errorf("%s in %s (-en +%s):\n%s", block, tag, tag, diff)
			}
		}
	}
}

// guarded reports whether a block names a placeholder where there is something in it alone.
func guarded(block, name string) bool {
	return strings.Contains(block, "{{with ."+name+"}}") && !strings.Contains(block, "{{."+name+"}}")
}

func TestEveryBlockNamesOnlyWhatItsKindHas(t *testing.T) {
	needs := map[string]fields{
		"Expiry": hasMinutes, "Due": hasDue, "Factor": hasFactor, "Provider": hasProvider, "By": hasBy, "Code": hasCode,
		"Machine": hasMachine,
	}
	l := newPost(t, Options{}).words["en"]
	for kind, shape := range shapes {
		for _, part := range []string{"subject", "body", "note", "button", "sms"} {
			block := l.blocks.Lookup(string(kind) + "." + part)
			if block == nil {
				continue
			}
			for _, name := range placeholders(block.Root) {
				if need, known := needs[name]; known && shape.needs&need == 0 && !guarded(block.Root.String(), name) {
					t.Errorf("%s.%s names %s, which the kind may lack", kind, part, name)
				}
				if part == "subject" && name != "Product" {
					t.Errorf("the subject of %s names %s", kind, name)
				}
				if name == "Code" && part != "sms" {
					t.Errorf("%s.%s names the code, which has its own place", kind, part)
				}
			}
		}
	}
}

func TestABlockSaysSomethingInEveryLanguage(t *testing.T) {
	for tag, l := range newPost(t, Options{}).words {
		for _, block := range wantedBlocks() {
			if strings.HasSuffix(block, ".note") {
				continue // a message may end with its link
			}
			if strings.TrimSpace(l.blocks.Lookup(block).Root.String()) == "" {
				t.Errorf("%s is empty in %s", block, tag)
			}
		}
	}
}
