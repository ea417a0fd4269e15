package limit

import (
	"context"
	"fmt"
)

// GiveBack returns cost units of rule to subject, of those that it has used: an attempt that turned out
// well was none that is to be counted. Errors: those of Allow.
func (l *Limiter) GiveBack(ctx context.Context, rule Rule, subject string, cost int) error {
	_, err := l.giveBack(ctx, rule, subject, cost)
	return err
}

// Reset gives a subject all its units of a rule back, on every server. Errors: those of Allow, and a
// Redis that does not answer.
func (l *Limiter) Reset(ctx context.Context, rule Rule, subject string) error {
	local, err := l.giveBack(ctx, rule, subject, rule.burst())
	if err != nil {
		return err
	}
	l.memory.forget(hash(rule.Name, subject))
	if local && l.remote != nil {
		return fmt.Errorf("reset limit %q: redis does not answer", rule.Name)
	}
	return nil
}

func (l *Limiter) giveBack(ctx context.Context, rule Rule, subject string, units int) (local bool, err error) {
	c, err := newCell(Request{Rule: rule, Subject: subject, Cost: units})
	if err != nil {
		return false, fmt.Errorf("limit: rule %q: %w", rule.Name, err)
	}
	c.cost = -c.cost
	_, local, err = l.decide(ctx, []cell{c})
	return local, err
}
