// Package limit says how often something may happen: sign-ins for an address, messages to a person,
// requests of a network.
//
// # Rule
//
// The rule is the generic cell rate algorithm (ITU-T I.371, annex A): a [Rule] gives one unit back
// every Per/Limit and saves up at most Burst of them, so within any time t no more than
// Burst + t×Limit/Per units pass. A subject's whole state is one moment: when its saved units would be
// full again.
//
// # Forms
//
// With Redis the state is shared by all servers and each decision is one script, at Redis's own clock.
// Without, it is in this process.
//
// # When Redis fails
//
// A decision waits for Redis for [Patience]; a Redis that refuses the connection fails at once. Then the
// Limiter decides in this process ([Decision.Local] tells), and one decision a second asks Redis again.
// It does not start from nothing: what Redis says of a subject is remembered here too. So a limit that
// was spent stays spent, and of one that was not, each of n servers grants by itself what was left when
// it last asked, and what comes back with time: n times the limit at the very most, where no server had
// asked for the subject before. Nobody is locked out by the failure.
//
// A Redis that comes back empty learns of each subject from the first server that asks for it. One that
// comes back with its memory goes on from there, and does not learn what was granted meanwhile.
//
// # Bounds
//
// In this process at most Options.MaxSubjects subjects are remembered, some 100 bytes each; of more,
// those are forgotten that have used least. In Redis a subject's key expires when its units are full. A
// subject appears nowhere but as a SHA-256.
package limit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxTolerance bounds how long a subject may be remembered, and keeps the script's numbers exact.
const maxTolerance = 366 * 24 * time.Hour

// maxRequests bounds one AllowAll.
const maxRequests = 16

// Rule is a limit by name: Limit units each Per, at most Burst at once.
type Rule struct {
	Name  string        // of the limit; part of the key, so a changed rule needs no new name
	Limit int           // units, at least 1
	Per   time.Duration // at least Limit microseconds
	Burst int           // units; zero: Limit
}

func (r Rule) burst() int {
	if r.Burst == 0 {
		return r.Limit
	}
	return r.Burst
}

// Request asks for Cost units of a rule for a subject, such as an address.
type Request struct {
	Rule    Rule
	Subject string
	Cost    int // 1 to the rule's burst
}

// Decision is the answer.
type Decision struct {
	Allowed    bool
	RetryAfter time.Duration // when refused: how long until the same request would pass; else 0
	Remaining  int           // units left to the subject that has fewest
	Rule       string        // the rule that has the fewest left, or that makes wait longest
	Local      bool          // decided in this process though Redis is configured: it did not answer
}

// Options of a Limiter. The zero value is a good default.
type Options struct {
	Namespace   string           // first part of the Redis keys; zero: "gatehouse"
	MaxSubjects int              // remembered in this process; zero: 100,000
	Now         func() time.Time // nil: Redis's clock for Redis, time.Now in this process
}

const (
	defaultNamespace   = "gatehouse"
	defaultMaxSubjects = 100_000
)

// Limiter decides. It is safe for concurrent use.
type Limiter struct {
	memory *memory
	remote *remote // nil: this process only
	now    func() time.Time
}

// New returns a Limiter that shares its counts through client, which [Tune] has prepared, or keeps them in
// this process if client is nil.
func New(client redis.Scripter, o Options) *Limiter {
	if o.Namespace == "" {
		o.Namespace = defaultNamespace
	}
	if o.MaxSubjects <= 0 {
		o.MaxSubjects = defaultMaxSubjects
	}
	l := &Limiter{memory: newMemory(o.MaxSubjects), now: time.Now}
	if o.Now != nil {
		l.now = o.Now
	}
	if client != nil {
		l.remote = &remote{client: client, namespace: o.Namespace, now: l.now, sendNow: o.Now != nil}
	}
	return l
}

// Allow counts cost units for subject if the rule lets them pass. An error is a rule or cost out of
// bounds, or that of ctx; a Redis that fails is no error.
func (l *Limiter) Allow(ctx context.Context, rule Rule, subject string, cost int) (Decision, error) {
	return l.AllowAll(ctx, Request{Rule: rule, Subject: subject, Cost: cost})
}

// AllowAll counts all requests, at most 16, if each of them passes, and else none, in one step that no
// other decision comes between. The same rule for the same subject twice is an error.
func (l *Limiter) AllowAll(ctx context.Context, requests ...Request) (Decision, error) {
	cells, err := newCells(requests)
	if err != nil {
		return Decision{}, fmt.Errorf("limit: %w", err)
	}
	outcomes, local, err := l.decide(ctx, cells)
	if err != nil {
		return Decision{}, err
	}
	decision := summary(cells, outcomes)
	decision.Local = local && l.remote != nil
	return decision, nil
}

// decide asks Redis where there is one, and decides in this process where there is none or it fails.
func (l *Limiter) decide(ctx context.Context, cells []cell) (outcomes []outcome, local bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	if l.remote != nil {
		if outcomes, err = l.remote.decide(ctx, cells, l.memory.used(l.now(), cells)); err == nil {
			l.memory.adopt(l.now(), cells, outcomes)
			return outcomes, false, nil
		}
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
	}
	return l.memory.decide(l.now(), cells), true, nil
}

// cell is a request in the numbers of the algorithm, in microseconds: both forms compute with these,
// and Redis's floating point holds them exactly.
type cell struct {
	rule      string
	key       [sha256.Size]byte // of rule and subject
	interval  int64             // T: the time that gives one unit back, rounded up
	tolerance int64             // interval × burst
	cost      int64             // interval × units; below zero: given back
}

// outcome is what the algorithm says of one cell: how long to wait, and what is left after.
type outcome struct {
	wait int64 // microseconds; zero: passes
	left int64 // microseconds of tolerance
}

func newCells(requests []Request) ([]cell, error) {
	if len(requests) == 0 || len(requests) > maxRequests {
		return nil, fmt.Errorf("%d requests, want 1 to %d", len(requests), maxRequests)
	}
	cells := make([]cell, len(requests))
	for i, request := range requests {
		made, err := newCell(request)
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", request.Rule.Name, err)
		}
		for _, other := range cells[:i] {
			if other.key == made.key {
				return nil, fmt.Errorf("rule %q: the same subject twice", request.Rule.Name)
			}
		}
		cells[i] = made
	}
	return cells, nil
}

func newCell(r Request) (cell, error) {
	rule := r.Rule
	rule.Burst = rule.burst()
	switch {
	case rule.Name == "":
		return cell{}, errors.New("no name")
	case rule.Limit < 1 || rule.Burst < 1 || rule.Per < time.Duration(rule.Limit)*time.Microsecond:
		return cell{}, errors.New("limit, period or burst out of bounds")
	case r.Cost < 1 || r.Cost > rule.Burst:
		return cell{}, fmt.Errorf("cost %d, want 1 to %d", r.Cost, rule.Burst)
	}
	interval := (rule.Per.Nanoseconds()/int64(time.Microsecond) + int64(rule.Limit) - 1) / int64(rule.Limit)
	if int64(rule.Burst) > maxTolerance.Microseconds()/interval {
		return cell{}, errors.New("burst takes more than a year to come back")
	}
	return cell{
		rule: rule.Name, key: hash(rule.Name, r.Subject),
		interval: interval, tolerance: interval * int64(rule.Burst), cost: interval * int64(r.Cost),
	}, nil
}

// hash keeps the subject out of sight and the key short; the length in front keeps ("ab", "c") and
// ("a", "bc") apart.
func hash(rule, subject string) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(rule), rule, subject))
}

// arrive is the algorithm: a subject that is full at moment full asks at now. after is when it would be
// full next; that, and the cost off the outcome's left, count only if every cell of the request passes.
// A moment beyond the tolerance comes of a rule that was changed or a clock that was set back.
func (c cell) arrive(now, full int64) (o outcome, after int64) {
	full = min(max(full, now), now+c.tolerance)
	after = max(full+c.cost, now)
	return outcome{wait: max(after-now-c.tolerance, 0), left: c.tolerance - (full - now)}, after
}

// summary makes one decision of several outcomes.
func summary(cells []cell, outcomes []outcome) Decision {
	d := Decision{Allowed: true, Remaining: -1}
	var longest int64
	for i, o := range outcomes {
		left := int(max(o.left, 0) / cells[i].interval)
		if o.wait > longest || longest == 0 && (d.Remaining < 0 || left < d.Remaining) {
			d.Rule = cells[i].rule
		}
		if d.Remaining < 0 || left < d.Remaining {
			d.Remaining = left
		}
		longest = max(longest, o.wait)
	}
	d.Allowed = longest == 0
	d.RetryAfter = time.Duration(longest) * time.Microsecond
	return d
}
