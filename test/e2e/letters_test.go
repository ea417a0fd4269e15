package e2e

// letter is a message in the outbox.
type letter struct{ Message mail }

// letters returns the messages of a kind to an address, in the order in which they came.
func (d *deployment) letters(kind, to string) []letter {
	d.t.Helper()
	var found []letter
	for _, m := range d.mails() {
		if m.Kind == kind && m.To == to {
			found = append(found, letter{m})
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
