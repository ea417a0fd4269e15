package transport

import (
	"bytes"
	"slices"
)

// Of is the name of a message's value that says whose turn the message takes: letters, digits, _ and -.
// Messages without one take turns as if they were of one owner.
const Of = "of"

// turnsSuffix follows a lane's key in the key of its turns.
const turnsSuffix = ":turns"

var ofStart = []byte(`"` + Of + `":"`)

// owner returns whose turn an entry takes. popFunction says the same in Lua: an entry is asked when it is
// pushed and again when it is popped, and both must agree whatever it holds.
func owner(json []byte) string {
	_, rest, _ := bytes.Cut(json, ofStart)
	end := bytes.IndexByte(rest, '"')
	if end <= 0 || bytes.ContainsFunc(rest[:end], strange) {
		return ""
	}
	return string(rest[:end])
}

// strange is true of what stands in no owner's name.
func strange(c rune) bool {
	letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	return !letter && (c < '0' || c > '9') && c != '_' && c != '-'
}

// lane is what waits in memory: owners take turns, and the entries of each are first in, first out.
type lane struct {
	turns fifo[*turn] // each owner once
	of    map[string]*turn
	size  int // entries
}

// turn is an owner's place in a lane.
type turn struct {
	owner   string
	entries fifo[[]byte]
}

func (l *lane) len() int { return l.size }

// push reports whether there was room: an owner with a name has at most so many entries.
func (l *lane) push(json []byte, most int) bool {
	name := owner(json)
	t := l.of[name]
	if t != nil && name != "" && t.entries.len() >= most {
		return false
	}
	if t == nil {
		if l.of == nil {
			l.of = make(map[string]*turn)
		}
		t = &turn{owner: name}
		l.of[name] = t
		l.turns.push(t)
	}
	t.entries.push(json)
	l.size++
	return true
}

// pop takes the entry whose turn it is. The lane is not empty.
func (l *lane) pop() []byte {
	t := l.turns.pop()
	json := t.entries.pop()
	l.size--
	if t.entries.len() > 0 {
		l.turns.push(t)
	} else {
		delete(l.of, t.owner)
	}
	return json
}

// fifo is a first-in, first-out list: a slice whose front is given back once it is half of it, and all of it
// once it is empty.
type fifo[T any] struct {
	items []T
	front int
}

// smallFifo is the length up to which giving back is not worth the copy.
const smallFifo = 64

func (q *fifo[T]) len() int { return len(q.items) - q.front }

func (q *fifo[T]) push(item T) { q.items = append(q.items, item) }

func (q *fifo[T]) pop() T {
	item := q.items[q.front]
	var none T
	q.items[q.front] = none
	q.front++
	switch {
	case q.len() == 0 && cap(q.items) > smallFifo:
		*q = fifo[T]{}
	case q.len() == 0:
		*q = fifo[T]{items: q.items[:0]}
	case q.front >= smallFifo && 2*q.front >= len(q.items):
		*q = fifo[T]{items: slices.Delete(q.items, 0, q.front)}
	}
	return item
}
