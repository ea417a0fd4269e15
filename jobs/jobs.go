// Package jobs holds the kinds of work that Gatehouse does in the background, one file a kind: its
// arguments, its handler, its limits, its retry policy and its deadline.
//
// A kind is a [queue.Kind]; [Kinds] lists them for the queue. How to add one is told in
// docs/architecture.md.
package jobs

import (
	"time"

	"gatehouse/internal/notify"
	"gatehouse/internal/secret"
	"gatehouse/queue"
	"gatehouse/vault"
)

// Parts are what the kinds work with; all but Vault are required.
type Parts struct {
	Ring *secret.Keyring // opens letters
	Post *notify.Post

	Vault *vault.Vault // seals values anew; nil: there is no such kind
}

// Options tunes the kinds; the zero value is a good default.
type Options struct {
	// AllowPrivate lets jobs fetch from loopback, private and link-local addresses.
	AllowPrivate bool
	Now          func() time.Time // nil: time.Now
}

// Kinds returns every kind that a deployment runs.
func Kinds(parts Parts, o Options) []queue.Definition {
	if o.Now == nil {
		o.Now = time.Now
	}
	kinds := []queue.Definition{
		processCSVs(newFetcher(o.AllowPrivate)),
		deliverMessages(parts.Ring, parts.Post, o.Now),
	}
	if parts.Vault != nil {
		kinds = append(kinds, reencrypts(parts.Vault))
	}
	return kinds
}
