package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// letter is a message in the outbox.
type letter struct {
	Message struct{ Kind, To, Subject, Text, Link, Code string }
}

// letters returns the messages of a kind to an address, in the order in which they came.
func (d *deployment) letters(kind, to string) []letter {
	d.t.Helper()
	files, err := filepath.Glob(filepath.Join(d.data, "outbox", "*.json"))
	if err != nil {
		d.t.Fatal(err)
	}
	var found []letter
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the outbox keeps the newest only
		}
		var l letter
		if err := json.Unmarshal(text, &l); err != nil {
			d.t.Fatalf("the outbox holds %s: %v", file, err)
		}
		if l.Message.Kind == kind && l.Message.To == to {
			found = append(found, l)
		}
	}
	return found
}

// awaitLetter waits for a message of a kind to an address.
func (d *deployment) awaitLetter(kind, to string) letter {
	d.t.Helper()
	var found []letter
	until(d.t, patience, "no "+kind+" came", func() bool {
		found = d.letters(kind, to)
		return len(found) > 0
	})
	return found[0]
}
