package audit

import (
	"encoding/json"
	"fmt"

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
