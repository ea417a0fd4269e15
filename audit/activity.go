package audit

import (
	"context"
	"fmt"
	"time"

	"gatehouse/internal/store"
	"gatehouse/internal/viewer"
)

// Activity is what happened in a period, as far as events are kept.
type Activity struct {
	Counts
	Days    []DayActivity // those with events, oldest first
	Actions []ActionCount // the most frequent first
	Kinds   int           // how many there are of which Actions is the beginning
	Newest  []Entry       // of one account only, newest first
}

// Counts is how often it happened.
type Counts struct {
	Events     int64 // all of them, of which the others are a part; no event is in two parts
	SignIns    int64
	Refusals   int64 // attempts to get in that were refused: sign-ins, answers to challenges, grants to clients
	Lockouts   int64 // sessions suspended, accounts disabled, and attempts refused as being too many
	Registered int64
}

// Others returns how many events are in no part.
func (c Counts) Others() int64 {
	return c.Events - c.SignIns - c.Refusals - c.Lockouts - c.Registered
}

// DayActivity counts the events of a day, which begins at Day in UTC.
type DayActivity struct {
	Day time.Time
	Counts
}

// ActionCount counts the events of an action by how it ended.
type ActionCount struct {
	Action  Action
	Outcome Outcome
	Times   int64
	Last    time.Time
}

// Activity counts the events from a moment on and before another: those that user sees of their own account,
// and brings the newest of them, or with user "" all of the deployment, without whose they are. At most most
// actions and events are listed. Faults: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND for another's account.
func (l *Log) Activity(ctx context.Context, by viewer.Viewer, user viewer.UserID, from, to time.Time, most int) (Activity, error) {
	queries, whose := activityOfAll, []any(nil)
	err := by.Require(viewer.ReadAudit)
	if user != "" {
		queries, whose, err = activityOfSubject, []any{user}, mayRead(by, user)
	}
	if err != nil {
		return Activity{}, err
	}
	period := append(whose, store.At(from), store.At(to))
	cut := append(period[:len(period):len(period)], most)
	var a Activity
	err = l.db.View(ctx, func(tx *store.Tx) (err error) {
		a = Activity{}
		if a.Days, err = store.All(ctx, tx, queries.days, scanDayActivity, period...); err != nil {
			return err
		}
		for _, d := range a.Days {
			a.add(d.Counts)
		}
		a.Actions, err = store.All(ctx, tx, queries.actions, func(scan store.Scan) (c ActionCount, err error) {
			err = scan(&c.Action, &c.Outcome, &c.Times, store.Time(&c.Last), &a.Kinds)
			return c, err
		}, cut...)
		if err != nil || user == "" {
			return err
		}
		a.Newest, err = store.All(ctx, tx, queries.newest, scanEntry, cut...)
		return err
	})
	if err != nil {
		return Activity{}, fmt.Errorf("count events: %w", err)
	}
	return a, nil
}

func (c *Counts) add(other Counts) {
	c.Events += other.Events
	c.SignIns += other.SignIns
	c.Refusals += other.Refusals
	c.Lockouts += other.Lockouts
	c.Registered += other.Registered
}
