package audit

import (
	"encoding/json"
	"fmt"
	"time"

	"gatehouse/internal/store"
)

const columns = `id, at, action, outcome, actor, subject, session_id, network, request_id, details`

var (
	insertEvent = store.SQL(`INSERT INTO audit_events
		(id, at, action, outcome, actor, subject, session_id, network, request_id, details)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	selectByUser = store.SQL(`SELECT ` + columns + `
		FROM audit_events WHERE subject = ? ORDER BY id DESC LIMIT ?`)
	selectHistory = store.SQL(`SELECT ` + columns + `
		FROM audit_events WHERE subject = ? AND id > ? ORDER BY id LIMIT ?`)
	forgetSubject = store.SQL(`UPDATE audit_events SET actor = CASE WHEN actor = ? THEN ? ELSE actor END,
		subject = NULL, session_id = NULL, network = NULL, request_id = NULL, details = '{}' WHERE subject = ?`)
	pruneEvents = store.SQL(`DELETE FROM audit_events WHERE id IN
		(SELECT id FROM audit_events WHERE at < ? ORDER BY at LIMIT 500)`)
)

// What a person sees of their own account.
var (
	security       = ` FROM audit_events WHERE subject = ? AND action IN (` + personalList() + `) `
	selectSecurity = store.SQL(`SELECT ` + columns + security + `AND id < ? ORDER BY id DESC LIMIT ?`)
	selectAfter    = store.SQL(`SELECT ` + columns + security + `AND id > ? ORDER BY id LIMIT ?`)
	selectNewest   = store.SQL(`SELECT COALESCE(max(id), '')` + security)
	countSecurity  = store.SQL(`SELECT subject, count(*) FROM audit_events
		WHERE subject IN (?*) AND action IN (` + personalList() + `) GROUP BY subject`)
	selectByIDs = store.SQL(`SELECT ` + columns + ` FROM audit_events WHERE id IN (?*) AND action IN (` + personalList() + `)`)
)

func scanPointer(scan store.Scan) (*Entry, error) {
	e, err := scanEntry(scan)
	return &e, err
}

func scanEntry(scan store.Scan) (e Entry, err error) {
	var details string
	err = scan(&e.ID, store.Time(&e.At), &e.Action, &e.Outcome, &e.Actor, store.Text(&e.Subject),
		store.Text(&e.Session), store.Text(&e.Network), store.Text(&e.RequestID), &details)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal([]byte(details), &e.Details); err != nil {
		return e, fmt.Errorf("read details of event %s: %w", e.ID, err)
	}
	return e, nil
}

// activityQueries read what happened in a period.
type activityQueries struct{ days, actions, newest *store.Query }

var (
	activityOfSubject = activityWhere(`subject = ? AND action IN (` + personalList() + `) AND `)
	activityOfAll     = activityWhere(``)
)

// activityWhere returns the queries for the events of which whose holds.
func activityWhere(whose string) activityQueries {
	const (
		attempt = `action IN ('login.refused', 'challenge.refused', 'client.refused')`
		lockout = `(action IN ('session.suspended', 'account.disabled')
			OR ` + attempt + ` AND details LIKE '%"reason":"RATE_LIMITED"%')`
		counts = `count(*), count(CASE WHEN action = 'login.succeeded' THEN 1 END),
			count(CASE WHEN ` + attempt + ` AND NOT ` + lockout + ` THEN 1 END),
			count(CASE WHEN ` + lockout + ` THEN 1 END),
			count(CASE WHEN action IN ('account.registered', 'account.imported') AND outcome = 'SUCCEEDED' THEN 1 END)`
	)
	in := ` FROM audit_events WHERE ` + whose + `at >= ? AND at < ? `
	return activityQueries{
		days: store.SQL(`SELECT at / 86400000000, ` + counts + in + `GROUP BY 1 ORDER BY 1`),
		actions: store.SQL(`SELECT action, outcome, count(*), max(at), count(*) OVER ()` + in +
			`GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT ?`),
		newest: store.SQL(`SELECT ` + columns + in + `ORDER BY id DESC LIMIT ?`),
	}
}

func scanDayActivity(scan store.Scan) (d DayActivity, err error) {
	var day int64
	err = scan(&day, &d.Events, &d.SignIns, &d.Refusals, &d.Lockouts, &d.Registered)
	d.Day = time.Unix(day*24*60*60, 0).UTC()
	return d, err
}
