package conformance

import (
	"bytes"
	"sync"
)

// maxJournalBytes bounds what a journal keeps: the end of the log, where a failure stands.
const maxJournalBytes = 64 << 10

// journal keeps the end of a server's log and finds the address in it. It is good for use by several
// goroutines.
type journal struct {
	address chan string // takes one

	mu    sync.Mutex
	text  []byte
	found bool
}

func newJournal() *journal { return &journal{address: make(chan string, 1)} }

// Write implements io.Writer.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text = append(j.text, p...)
	if !j.found {
		j.lookForAddress()
	}
	if surplus := len(j.text) - maxJournalBytes; surplus > 0 {
		j.text = bytes.Clone(j.text[surplus:])
	}
	return len(p), nil
}

func (j *journal) lookForAddress() {
	if match := readyLine.FindSubmatch(j.text); match != nil {
		j.found = true
		j.address <- string(match[1])
	}
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(j.text)
}
