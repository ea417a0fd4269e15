// Package jobs holds the kinds of work that Gatehouse does in the background, one file a kind: its
// arguments, its handler, its limits, its retry policy and its deadline.
//
// A kind is a [queue.Kind]; [Kinds] lists them for the queue. How to add one is told in
// docs/architecture.md.
package jobs

import (
	"gatehouse/queue"
)

// Options tunes the kinds; the zero value is a good default.
type Options struct {
	// AllowPrivate lets jobs fetch from loopback, private and link-local addresses.
	AllowPrivate bool
}

// Kinds returns every kind that a deployment runs.
func Kinds(o Options) []queue.Definition {
	return []queue.Definition{
		processCSVs(newFetcher(o.AllowPrivate)),
	}
}
