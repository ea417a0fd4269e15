// Package jobs holds the kinds of work that Gatehouse does in the background, one file a kind: its
// arguments, its handler, its limits, its retry policy and its deadline.
//
// A kind is a [queue.Kind]; [Kinds] lists them for the queue. How to add one is told in
// docs/architecture.md.
package jobs

import (
	"cmp"
	"time"

	"gatehouse/account"
	"gatehouse/audit"
	"gatehouse/internal/notify"
	"gatehouse/internal/secret"
	"gatehouse/queue"
	"gatehouse/vault"
)

// Parts are what the kinds work with; Ring and Post are required, and without Accounts the jobs that need
// them fail.
type Parts struct {
	Ring *secret.Keyring // opens letters
	Post *notify.Post
	// Accounts returns the accounts once a job runs: they are built with the queue, and so after the kinds.
	Accounts func() *account.Accounts
	// Sections returns the parts of the copy of a person's data, each kept by another room; as Accounts.
	Sections func() []Section

	WebhookKeys WebhookKeys // nil: webhooks are not called
	// Audit returns what reports tell of accounts; as Accounts.
	Audit func() *audit.Log

	Vault   *vault.Vault // seals values anew; nil: there is no such kind
	Answers *Answers     // of fetchUrls; nil: none is kept
}

// Options tunes the kinds; the zero value is a good default.
type Options struct {
	// AllowPrivate lets jobs fetch from loopback, private and link-local addresses.
	AllowPrivate bool
	// ImageMemory is how many bytes all images that are worked on at once take together; 0: 768 MiB.
	ImageMemory int64
	Product     string           // what reports call the deployment; "": Gatehouse
	Now         func() time.Time // nil: time.Now
}

// Kinds returns every kind that a deployment runs.
func Kinds(parts Parts, o Options) []queue.Definition {
	if o.Now == nil {
		o.Now = time.Now
	}
	if parts.Accounts == nil {
		parts.Accounts = func() *account.Accounts { return nil }
	}
	if parts.Audit == nil {
		parts.Audit = func() *audit.Log { return nil }
	}
	if parts.Sections == nil {
		parts.Sections = func() []Section { return nil }
	}
	fetch := newFetcher(o.AllowPrivate)
	kinds := []queue.Definition{
		processCSVs(fetch),
		fetchesURLs(fetch, parts.Answers, o.Now),
		downloadsFiles(fetch, o.Now),
		processesImages(newImageMemory(o.ImageMemory)),
		deliverMessages(parts.Ring, parts.Post, o.Now),
		sendProofs(parts.Accounts),
		sendsEmails(parts.Ring, parts.Post),
		importsUsers(parts.Accounts),
		exportsData(parts.Accounts, parts.Sections, o.Now),
		queue.WorkflowKind.Define(),
	}
	if parts.WebhookKeys != nil {
		kinds = append(kinds, callsWebhooks(fetch, parts.WebhookKeys, o.Now))
	}
	kinds = append(kinds, reports(&reporter{parts.Accounts, parts.Audit, cmp.Or(o.Product, "Gatehouse"), o.Now})...)
	if parts.Vault != nil {
		kinds = append(kinds, reencrypts(parts.Vault))
	}
	return kinds
}
